"""The output of every layer for one image."""

import numpy as np

from tinycnn.explain.inputs import as_input, checked_images, evaluating
from tinycnn.layers import Sequential
from tinycnn.tensor import no_grad


def activations(model: Sequential, image: np.ndarray) -> dict[str, np.ndarray]:
    """One byte image ``(H, W, C)`` → the output of every layer by name: ``(OH, OW, F)`` or ``(units,)``."""
    outputs, image = {}, checked_images(model, image)
    with evaluating(model), no_grad():
        x = as_input(model, image[np.newaxis])
        for name, layer in model.layers.items():
            x = layer(x)
            outputs[name] = x.numpy()[0].copy()
    return outputs
