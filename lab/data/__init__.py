"""Reviews, vocabulary, arrays and word vectors."""
