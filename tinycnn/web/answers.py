"""What the network says about a picture, and what happened inside it, as values that JSON can carry."""

import base64
import threading
import time
from typing import Any

import numpy as np

from tinycnn import explain, metrics
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError
from tinycnn.layers import Conv2d, Dense, Dropout, Flatten, Layer, LogSoftmax, ReLU, Rescaling, Sequential, Softmax
from tinycnn.train.evaluation import predict_logits

MOST_MAPS, MOST_BYTES = 256, 1 << 16  # of one layer: what does not fit is left out
ALIKE = (Rescaling, Flatten, Dropout, Softmax, LogSoftmax)  # their output looks like their input, or like the answer


class Answers:
    """One network for many threads: only one computes at a time, since the backend and its memory belong to all.

    Raises SettingError for a network that does not take drawings of one channel and answer classes.
    """

    def __init__(self, model: Sequential) -> None:
        if len(model.input_shape) != 3 or model.input_shape[2] != 1 or len(model.output_shape) != 1:
            raise SettingError(
                f"the page draws pictures (H, W, 1) and expects classes; this network takes {model.input_shape} and "
                f"answers {model.output_shape}. Serve one that was trained on MNIST, or use the command predict."
            )
        if model.pictures != "drawing":
            raise SettingError("the page draws, this network was trained on whole pictures: use the command predict")
        self.model, self._one_at_a_time = model.eval(), threading.Lock()
        self.shape = model.input_shape[0], model.input_shape[1]
        self.seen = layers_to_show(model)

    def about(self) -> dict[str, Any]:
        """The network in numbers, for the page's head."""
        return {
            "input_shape": self.model.input_shape,
            "classes": self.model.output_shape[0],
            "class_names": self.model.class_names,
            "parameters": self.model.parameter_count(),
            "backend": get_backend().name,
            "layers": [repr(layer) for layer in self.model.layers.values()],
        }

    def answer(self, picture: np.ndarray, inside: bool = False) -> dict[str, Any]:
        """``picture (1, H, W, 1)`` bytes → class and probabilities; with ``inside`` the maps of every layer, too."""
        with self._one_at_a_time:
            start = time.perf_counter()
            probabilities = metrics.probabilities(predict_logits(self.model, picture))[0]  # (K,)
            found = self._inside(picture[0]) if inside else {}
            took_ms = 1000 * (time.perf_counter() - start)
        return {
            "empty": False,
            "digit": int(probabilities.argmax()),
            "answer": self.model.class_names[int(probabilities.argmax())],
            "probabilities": probabilities.tolist(),
            "picture": picture[0, :, :, 0].tolist(),
            **found,
            "compute_ms": round(took_ms, 2),
        }

    def _inside(self, picture: np.ndarray) -> dict[str, Any]:
        outputs = explain.activations(self.model, picture)
        return {
            "layers": [packed(label, outputs[name]) for name, label in self.seen.items()],
            "saliency": packed("saliency", explain.saliency(self.model, picture)),
        }


def layers_to_show(model: Sequential) -> dict[str, str]:
    """The layers worth a look, by name, each with its label: a ReLU stands for the layer before it, too."""
    names, layers = list(model.layers), list(model.layers.values())
    followers: list[Layer | None] = [*layers[1:], None]
    shown, before = {}, ""
    for name, layer, follower in zip(names, layers, followers, strict=True):
        joined = isinstance(layer, Conv2d | Dense) and isinstance(follower, ReLU)
        if not joined and not isinstance(layer, ALIKE):
            shown[name] = before + name
        before = f"{name} + " if joined else ""
    return shown


def packed(label: str, output: np.ndarray) -> dict[str, Any]:
    """Numbers ``(OH, OW, F)`` or ``(F,)`` as bytes in base64, map after map: 128 is zero, 255 the largest magnitude."""
    maps = output[None, None, :] if output.ndim == 1 else output
    OH, OW, F = maps.shape
    kept = maps[:, :, : max(1, min(F, MOST_MAPS, MOST_BYTES // (OH * OW)))]
    most = float(np.abs(kept).max())
    scaled = np.rint(128 + 127 * kept / (most or 1.0)).astype(np.uint8).transpose(2, 0, 1)  # (maps, OH, OW)
    text = base64.b64encode(scaled.tobytes()).decode()
    return {"name": label, "shape": [OH, OW, F], "shown": len(scaled), "largest": most, "maps": text}
