"""The language model, its training, and n-gram models beside it."""
