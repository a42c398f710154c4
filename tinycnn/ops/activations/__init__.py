"""Activations beyond ReLU, one file per function and derivative. The five published networks need none of them."""
