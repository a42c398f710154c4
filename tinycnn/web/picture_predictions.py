"""What a network for whole pictures, grey or in colour, predicts: classes, labels or numbers, as values for JSON."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinycnn import explain
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError
from tinycnn.explain.saliency import map_layer, map_layers
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import CLASSES, DRAWING, NUMBERS, advice_for_rows
from tinycnn.layers.summary import flops
from tinycnn.train.predicting import is_classifier, output_names, predictions
from tinycnn.web.predictions import Predictor, encode_method
from tinycnn.web.request_picture import MAX_BODY, MAX_PIXELS

MAX_SAMPLED = 500_000_000  # operations for one picture: SmoothGrad takes 24 times as many, about a second of one core
LEAST_MAP = 3  # rows and columns of the maps of Grad-CAM; smaller ones show no place


class PicturePredictor:
    """One network for many threads, of which one computes at a time, as `Predictor`.

    Raises SettingError unless the network takes pictures of one or three channels and returns K numbers for each.
    """

    def __init__(self, model: Sequential) -> None:
        if len(model.input_shape) != 3 or model.input_shape[2] not in (1, 3) or len(model.output_shape) != 1:
            raise SettingError(
                f"the page takes pictures, (H, W, 1) or (H, W, 3), and shows K numbers for each; this network takes "
                f"{model.input_shape} and returns {model.output_shape}. Serve one that was trained on pictures."
                + advice_for_rows(model.input_shape)
            )
        self.model, self.lock = model.eval(), threading.Lock()
        self.shape = model.input_shape  # (H, W, C)
        self.names = output_names(model)
        self.outputs = CLASSES if is_classifier(model) else model.outputs  # a single output may choose between two
        self.maps = self._methods()

    def describe(self) -> dict[str, Any]:
        """What `Predictor.describe` returns, what the outputs mean, and the size of a picture that may be sent."""
        return {
            "input_shape": self.model.input_shape,
            "classes": len(self.names),
            "class_names": self.names,
            "outputs": self.outputs,
            "parameters": self.model.parameter_count(),
            "backend": get_backend().name,
            "layers": [repr(layer) for layer in self.model.layers.values()],
            "most_bytes": MAX_BODY,
            "most_pixels": MAX_PIXELS,
        }

    def predict(self, picture: np.ndarray, inside: bool = False) -> dict[str, Any]:
        """``picture (1, H, W, C)`` bytes → class and probabilities, or numbers; with ``inside`` also what mattered.

        Raises SettingError if the network returns numbers that are not finite.
        """
        with self.lock:
            start = time.perf_counter()
            values = predictions(self.model, picture)[0]  # (K,)
            if not np.isfinite(values).all():
                raise SettingError("the network returns numbers that are not finite: its weights are too large")
            maps = self._inside(picture[0], values) if inside else {}
            compute_ms = 1000 * (time.perf_counter() - start)
        are_numbers = self.outputs == NUMBERS
        return {
            "outputs": self.outputs,
            "class_names": self.names,
            "answer": self.names[int(values.argmax())] if self.outputs == CLASSES else None,
            "probabilities": None if are_numbers else values.tolist(),
            "numbers": values.tolist() if are_numbers else None,
            **maps,
            "compute_ms": round(compute_ms, 2),
        }

    def _inside(self, picture: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        score = self._explained(values)
        maps = () if score is None else self._maps(picture, score)
        return {
            "picture": {"shape": picture.shape, "pixels": base64.b64encode(picture.tobytes()).decode()},
            "explained": None if score is None else self.names[-1 if self.model.output_shape == (1,) else score],
            "saliencies": [encode_method(name, one) for name, one in maps],
        }

    def _explained(self, values: np.ndarray) -> int | None:
        """The score to explain: the highest, or the only one, which is that of the second of two classes.

        None for several numbers, of which none matters more than the others.
        """
        if self.model.output_shape == (1,):
            return 0
        return None if self.outputs == NUMBERS else int(values.argmax())

    def _maps(self, picture: np.ndarray, score: int) -> Iterator[tuple[str, np.ndarray]]:
        """One number per pixel ``(H, W, 1)`` for each method; the channels of a gradient are summed."""
        for name, method in self.maps.items():
            yield name, method(self.model, picture, score).reshape(*picture.shape[:2], -1).sum(axis=2, keepdims=True)

    def _methods(self) -> dict[str, Callable[..., np.ndarray]]:
        """The methods that this network allows; the page begins with the first.

        On most photographs, Grad-CAM is blue on and around the object that decided. A gradient need not be: on a red
        apple it is orange wherever a darker pixel would raise the score even more.
        """
        methods: dict[str, Callable[..., np.ndarray]] = {"input × gradient": explain.input_times_gradient}
        if map_layers(self.model):
            own: dict[str, Callable[..., np.ndarray]] = {"Grad-CAM": explain.grad_cam}
            small = min(self.model.layers[map_layer(self.model)].output_shape[:2]) < LEAST_MAP
            methods = methods | own if small else own | methods
        count = flops(self.model, self.shape)
        if count is not None and count <= MAX_SAMPLED:
            methods["SmoothGrad"] = partial(explain.smooth_grad, samples=8)
        return methods | {"gradient": explain.saliency}


def predictor_for(model: Sequential) -> Predictor | PicturePredictor:
    """The predictor for what ``model.pictures`` states: drawings, or whole pictures."""
    return Predictor(model) if model.pictures == DRAWING else PicturePredictor(model)
