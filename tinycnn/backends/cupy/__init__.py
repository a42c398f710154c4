"""The GPU backend: ``backend.py`` implements the contract with the kernels in ``backends/cuda``."""
