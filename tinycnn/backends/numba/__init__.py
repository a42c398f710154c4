"""The compiled CPU backend: ``backend.py`` implements the contract, and ``kernels/`` contains the compiled loops."""
