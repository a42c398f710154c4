"""The network's prediction for a picture, with the feature maps behind it, as values that JSON can carry."""

import base64
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinycnn import explain
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError
from tinycnn.explain.saliency import COLOURS, map_layers
from tinycnn.layers import Conv2d, Dense, Dropout, Flatten, Layer, LogSoftmax, ReLU, Rescaling, Sequential, Softmax
from tinycnn.layers.metadata import CLASSES, advice_for_rows, described_outputs
from tinycnn.train.predicting import is_classifier, output_names, predictions
from tinycnn.web.digit_names import class_of_each_digit

MAX_MAPS, MAX_BYTES = 256, 1 << 16  # per layer; further maps are left out
NOT_SHOWN = (Rescaling, Flatten, Dropout, Softmax, LogSoftmax)  # output looks like the input, or like the prediction


class Predictor:
    """One network for many threads. Only one thread computes at a time, because all share the backend and its memory.

    Raises SettingError unless the network takes drawings of one channel and chooses one of several classes, by a score
    for each, or by one output for two of them.
    """

    def __init__(self, model: Sequential) -> None:
        if len(model.input_shape) != 3 or model.input_shape[2] != 1 or len(model.output_shape) != 1:
            raise SettingError(
                f"the page draws pictures (H, W, 1) and expects class scores; this network takes {model.input_shape} "
                f"and returns {model.output_shape}. Serve one that was trained on MNIST."
                + advice_for_rows(model.input_shape)
            )
        if not is_classifier(model):
            found = described_outputs(model.outputs, model.output_shape)
            raise SettingError(
                f"the page shows one class per drawing; {found}: use the command predict, which cuts the digits out, "
                'or pass `pictures="whole"` for the page that takes whole pictures and shows labels and numbers'
            )
        if model.pictures != "drawing":
            raise SettingError(
                "the page sends drawings, but this network takes whole pictures: use the command predict; if it was "
                'trained on drawings like those of MNIST, pass `pictures="drawing"`'
            )
        self.model, self.lock = model.eval(), threading.Lock()
        self.shape = model.input_shape[0], model.input_shape[1]
        self.names = output_names(model)
        self.has_walk = model.outputs == CLASSES  # it explains the loss of a score for each class
        self.shown_layers = layers_to_show(model)

    def describe(self) -> dict[str, Any]:
        """Shapes, class names, number of parameters, backend and layers, for the head of the page.

        ``digits``: digit → number of the class that means it, if the classes are digits, else empty.
        """
        return {
            "input_shape": self.model.input_shape,
            "classes": len(self.names),
            "class_names": self.names,
            "digits": class_of_each_digit(self.names),
            "has_walk": self.has_walk,
            "parameters": self.model.parameter_count(),
            "backend": get_backend().name,
            "layers": [repr(layer) for layer in self.model.layers.values()],
        }

    def predict(self, picture: np.ndarray, inside: bool = False) -> dict[str, Any]:
        """``picture (D, H, W, 1)`` bytes → class and probabilities; with ``inside`` also the maps of every layer.

        All of these are for the first of D digits; if there are more, ``several`` lists what each is read as. Raises
        SettingError if the network returns numbers that are not finite.
        """
        with self.lock:
            start = time.perf_counter()
            each = predictions(self.model, picture)  # (D, K)
            if not np.isfinite(each).all():
                raise SettingError("the network returns numbers that are not finite: its weights are too large")
            probabilities = each[0]
            maps = self._inside(picture[0], probabilities) if inside else {}
            compute_ms = 1000 * (time.perf_counter() - start)
        return {
            "empty": False,
            "digit": int(probabilities.argmax()),
            "answer": self.names[int(probabilities.argmax())],
            "probabilities": probabilities.tolist(),
            "several": [self._read(p) for p in each] if len(each) > 1 else [],
            "picture": picture[0, :, :, 0].tolist(),
            **maps,
            "compute_ms": round(compute_ms, 2),
        }

    def _read(self, p: np.ndarray) -> dict[str, Any]:
        digit = int(p.argmax())
        return {"digit": digit, "answer": self.names[digit], "probability": float(p[digit])}

    def _inside(self, picture: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
        outputs = explain.activations(self.model, picture)
        explained = -1 if self.model.output_shape == (1,) else int(probabilities.argmax())  # a single score: the second
        return {
            "explained": self.names[explained],
            "layers": [encode_maps(label, outputs[name]) for name, label in self.shown_layers.items()],
            "saliency": encode_method("gradient", explain.saliency(self.model, picture)),
            "saliencies": [encode_method(name, each) for name, each in self._readable(picture)],
        }

    def _readable(self, picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Maps of what mattered that are easier to read than the gradient, and fast enough while a person draws."""
        yield "input × gradient", explain.input_times_gradient(self.model, picture)
        yield "SmoothGrad", explain.smooth_grad(self.model, picture, samples=8)
        if map_layers(self.model):
            yield "Grad-CAM", explain.grad_cam(self.model, picture)[:, :, np.newaxis]


def layers_to_show(model: Sequential) -> dict[str, str]:
    """Name → label of each layer to show. A layer followed by a ReLU is shown after it, as ``conv2d_1 + relu_1``."""
    next_layers: list[Layer | None] = [*model.layers[1:], None]
    labels, prefix = {}, ""
    for (name, layer), next_layer in zip(model.layers.items(), next_layers, strict=True):
        joined = isinstance(layer, Conv2d | Dense) and isinstance(next_layer, ReLU)
        if not joined and not isinstance(layer, NOT_SHOWN):
            labels[name] = prefix + name
        prefix = f"{name} + " if joined else ""
    return labels


def encode_maps(label: str, output: np.ndarray) -> dict[str, Any]:
    """Encode maps ``(OH, OW, F)`` or units ``(F,)`` as base64 bytes, map by map.

    Byte 128 is zero; 255 and 1 are the largest magnitude, positive and negative.
    """
    maps = output[None, None, :] if output.ndim == 1 else output  # (OH, OW, F)
    OH, OW, F = maps.shape
    kept = maps[:, :, : max(1, min(F, MAX_MAPS, MAX_BYTES // (OH * OW)))]  # (OH, OW, shown)
    largest = float(np.abs(kept).max())
    scaled = np.rint(128 + 127 * kept / (largest or 1.0)).astype(np.uint8).transpose(2, 0, 1)  # (shown, OH, OW)
    text = base64.b64encode(scaled.tobytes()).decode()
    return {"name": label, "shape": [OH, OW, F], "shown": len(scaled), "largest": largest, "maps": text}


def encode_method(name: str, output: np.ndarray) -> dict[str, Any]:
    """Encode the map of a method of ``tinycnn.explain``, with what its colours mean."""
    return encode_maps(name, output) | {"colours": COLOURS[name]}
