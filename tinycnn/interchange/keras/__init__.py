"""Files of Keras: ``.keras``, ``.h5`` and ``.weights.h5``."""
