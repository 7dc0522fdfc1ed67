"""The classifier, BPTT written out, and the experiments on them."""
