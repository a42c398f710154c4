"""What stands around the mathematics of a network: what it is given and asked for, and errors for mistaken uses.

Layers found by name, ``fit`` and ``predict``, images as inputs, checks of layers that are put into a network, and
sentences for habits of other libraries. A reader of the engine can leave it out.
"""
