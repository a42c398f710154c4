"""Layers that the five published networks do not need: branches, and activations beyond ReLU."""
