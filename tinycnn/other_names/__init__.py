"""What the names of Keras and PyTorch are called here, for errors about names that do not exist.

The tables lead from a name to the end of the sentence. ``modules`` has the names of modules, ``arguments`` and
``tables`` the arguments of classes and functions, ``attributes`` the attributes of objects.
"""
