"""Functions of each element, or of pairs of elements, that are no activations, one file per function."""
