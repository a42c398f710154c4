"""Layers that the five published networks do not need: branches, more activations, normalisations and shapes."""
