"""Normalisation within one image, which does not depend on the rest of the batch, one file per operation."""
