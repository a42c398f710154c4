"""The compiled CPU backend: ``backend.py`` implements the contract, ``kernels/`` the loops."""
