"""The engine behind the walk of a server: one step, checks of its gradients, practice.

It keeps nothing of a request. Every request holds the picture, so clients do not see each other's steps, and the
served network never changes.
"""

import base64
import threading
from typing import Any

import numpy as np

from tinycnn.explain import nudge, practise, saliency_methods
from tinycnn.layers import Sequential
from tinycnn.optim import OPTIMIZERS
from tinycnn.saving import trace_file
from tinycnn.web.walk import as_json, check_finite, descriptions, traced, walk_html
from tinycnn.web.walk_requests import RATES, WalkRequest


class Walker:
    """One network for many threads, of which one computes at a time: ``lock`` is that of the predictions."""

    def __init__(self, model: Sequential, lock: threading.Lock) -> None:
        self.model, self.lock = model, lock
        self.description: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """What the page shows besides the numbers; raises SettingError for a network that is too large for it.

        Computed at the first call: a class that opens the page at the same time would wait for two steps per page.
        """
        with self.lock:
            if self.description is None:
                blank = np.zeros(self.model.input_shape, np.uint8)
                both = [traced(self.model, blank, 0, training=training) for training in (False, True)]
                self.description = {**descriptions(*both), "optimizers": list(OPTIMIZERS), "rates": RATES}
            return self.description

    def trace(self, request: WalkRequest) -> bytes:
        """One step, as the bytes of a trace file."""
        with self.lock:
            return traced(self.model, request.image, request.label, training=request.training).to_bytes()

    def check(self, request: WalkRequest) -> dict[str, Any]:
        """A finite difference beside the gradient; raises SettingError or ShapeError for no such number."""
        name, index = request.fields["name"], request.fields["index"]
        with self.lock:
            return as_json(nudge(self.model, request.image, request.label, name, index, training=request.training))

    def practise(self, request: WalkRequest) -> bytes:
        """Some steps on the picture, as a trace file of the end; its description holds every loss on the way."""
        with self.lock:
            done = practise(self.model, request.image, request.label, training=request.training, **request.fields)
        check_finite(done.losses)
        losses = {"losses": done.losses, "probabilities": done.probabilities.tolist()}
        return trace_file.to_bytes(done.trace.arrays(), done.trace.description() | {"practice": losses})

    def saliency(self, request: WalkRequest) -> dict[str, str]:
        """Each method by name: one number per pixel, float32 in base64."""
        with self.lock:
            maps = saliency_methods(self.model, request.image)
        return {name: base64.b64encode(each.astype(np.float32).tobytes()).decode() for name, each in maps.items()}

    def file(self, request: WalkRequest) -> bytes:
        """The walk as one HTML file."""
        with self.lock:
            return walk_html(self.model, request.image, request.label, training=request.training).encode()
