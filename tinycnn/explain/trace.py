"""Every number of one training step on one image: what each layer received, computed, kept, and got back.

`trace_step` runs the network forward and backward once, with the engine's own operations, and notes each array on its
way; it computes nothing itself. The result can be saved as a safetensors file, read again, and walked through as a page
(``tinycnn trace``, docs/backprop.md).

Evaluation or training mode makes a difference for two layers. In evaluation mode (the default), dropout passes its
input on and batch norm uses its running statistics: the numbers are those of the prediction that a user sees. In
training mode, dropout has a mask and batch norm uses the mean and variance of this image alone, a batch of one. The
argument ``training`` chooses.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends.base import Array
from tinycnn.errors import FileFormatError, SettingError, ShapeError, checked_bool
from tinycnn.explain.branches import KINDS, Branches
from tinycnn.explain.inputs import (
    HEADS,
    as_input,
    before_softmax,
    check_classes,
    checked_images,
    layers_within,
    plain_copy,
)
from tinycnn.explain.saliency import checked_label
from tinycnn.layers import Layer, Sequential
from tinycnn.layers.heads import last_layer
from tinycnn.saving import trace_file
from tinycnn.tensor import Function, Tensor

KEPT = ("winner", "mask", "mean", "var", "inverse_std", "x_hat")  # what functions keep, besides inputs and outputs
BATCHED = ("winner", "mask", "x_hat")  # those with a batch axis
FORMAT = 1


@dataclass(frozen=True)
class TracedLayer:
    """One layer of a trace. All arrays are without the batch axis; ``grad_`` is the gradient of the loss.

    ``calls``: the functions that the layer called, as ``module.Class``. ``kept``: what they kept for the way back, such
    as the ``winner`` of each pooling window, the ``mask`` of dropout, ``mean`` and ``var`` of batch norm, and what
    `Branches.kept` lists for a layer with branches. A frozen parameter has no entry in ``grad_parameters``.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    calls: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    grad_x: np.ndarray
    grad_y: np.ndarray
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    grad_parameters: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """One step on one image, from `trace_step`.

    ``probabilities`` and ``target``, both ``(K,)``, are p and the one-hot row t; the gradient at the scores, the output
    of the last layer, is p - t. ``head``: the kind of the final softmax layer, which the loss includes, or ``''``.
    """

    layers: tuple[TracedLayer, ...]
    label: int
    loss: float
    probabilities: np.ndarray
    target: np.ndarray
    training: bool
    class_names: tuple[str, ...]
    head: str = ""

    @property
    def predicted(self) -> int:
        """The class with the highest probability."""
        return int(self.probabilities.argmax())

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array once, by name: ``input``, ``conv2d_1.output``, ``conv2d_1.weight``, each also with ``.grad``."""
        first = self.layers[0]
        found = {"input": first.x, "input.grad": first.grad_x}
        for layer in self.layers:
            found |= {f"{layer.name}.output": layer.y, f"{layer.name}.output.grad": layer.grad_y}
            found |= {f"{layer.name}.{name}": array for name, array in layer.parameters.items()}
            found |= {f"{layer.name}.{name}.grad": array for name, array in layer.grad_parameters.items()}
            found |= {f"{layer.name}.{name}": array for name, array in layer.kept.items()}
        return found | {"probabilities": self.probabilities, "target": self.target}

    def size(self) -> int:
        """The number of numbers in all arrays."""
        return sum(array.size for array in self.arrays().values())

    def to_bytes(self) -> bytes:
        """The trace as the content of a safetensors file."""
        return trace_file.to_bytes(self.arrays(), self.description())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to ``path`` (``.safetensors``), atomically; every tool that reads safetensors can read it."""
        trace_file.save(path, self.arrays(), self.description())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Trace":
        """Read a file that ``save`` wrote; raises FileFormatError for any other file."""
        arrays, text = trace_file.load(path)
        try:
            return _from_file(arrays, text)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{os.fspath(path)}: the trace in it is damaged ({error!r}); write it again"
            ) from None

    def description(self) -> dict[str, Any]:
        """The trace without its arrays, as values for JSON."""
        layers = []
        for layer in self.layers:
            names = {"parameters": list(layer.parameters), "kept": list(layer.kept)}
            layers.append(
                {"name": layer.name, "kind": layer.kind, "settings": layer.settings, "calls": layer.calls} | names
            )
        return {
            "format": FORMAT,
            "label": self.label,
            "loss": self.loss,
            "training": self.training,
            "class_names": self.class_names,
            "head": self.head,
            "dtype": self.layers[0].x.dtype.name,
            "layers": layers,
        }


def trace_step(model: Sequential, image: np.ndarray, label: int, *, training: bool = False) -> Trace:
    """One step on the byte image ``(H, W, C)`` whose true class is ``label``: every array forward and backward.

    It runs on a copy, layer by layer on the NumPy backend, so ``model`` does not change. ``training``: in training mode
    (see above). Raises SettingError for a label that is no class, ShapeError for an image of another shape or a network
    whose output is not one score per class.
    """
    image, training = checked_images(model, image), checked_bool("trace_step: training", training)
    if len(model.output_shape) != 1:
        raise ShapeError(f"trace_step: the network returns {model.output_shape}, expected one score per class, (K,)")
    check_classes("trace_step", model)
    label = checked_label("trace_step", label, model.output_shape[0])
    with plain_copy(model, training=training) as copied:
        return _traced(copied, image, label, training)


def _traced(model: Sequential, image: np.ndarray, label: int, training: bool) -> Trace:
    layers = before_softmax(model)
    x = as_input(model, image[np.newaxis])
    x.requires_grad = True
    tensors = [x]
    for layer in layers.values():
        tensors.append(layer(tensors[-1]))
    logits = tensors[-1]
    loss = ops.softmax_cross_entropy(logits, np.array([label]))
    function: Any = loss.creator
    probabilities, target = np.exp(function.log_p[0]), function.target[0].copy()
    parts = [_calls(y, x) for x, y in pairwise(tensors)]
    single = [len(list(layers_within(layer))) == 1 for layer in layers.values()]
    kept = [_kept(calls) if alone else {} for calls, alone in zip(parts, single, strict=True)]
    branches = {
        i: Branches(layer, tensors[i], tensors[i + 1])
        for i, layer in enumerate(layers.values())
        if isinstance(layer, KINDS)
    }
    names = [tuple(f"{type(call).__module__}.{type(call).__name__}" for call in calls) for calls in parts]
    values = [tensor.numpy()[0].copy() for tensor in tensors]
    grads: dict[Function, Array] = {}
    for tensor in tensors:
        if tensor.creator and tensor.creator not in grads:
            _note(tensor.creator, grads)
    loss.backward()
    for i, one in branches.items():
        kept[i] = one.kept()
    at = [(grads[y.creator] if y.creator else _gradient_of(x))[0].copy() for y in tensors]
    return Trace(
        layers=tuple(
            _layer(name, layer, names[i], values[i : i + 2], at[i : i + 2], kept[i])
            for i, (name, layer) in enumerate(layers.items())
        ),
        label=label,
        loss=float(loss.numpy()),
        probabilities=probabilities,
        target=target,
        training=training,
        class_names=model.class_names,
        head=type(last_layer(model.layers)).__name__ if isinstance(last_layer(model.layers), HEADS) else "",
    )


def _layer(
    name: str,
    layer: Layer,
    calls: tuple[str, ...],
    values: list[np.ndarray],
    grads: list[np.ndarray],
    kept: dict[str, np.ndarray],
) -> TracedLayer:
    parameters = dict(layer.named_parameters())
    return TracedLayer(
        name=name,
        kind=type(layer).__name__,
        settings={} if isinstance(layer, Sequential) else {n: _plain(value) for n, value in layer.settings().items()},
        calls=calls,
        x=values[0],
        y=values[1],
        grad_x=grads[0],
        grad_y=grads[1],
        parameters={own: parameter.data.copy() for own, parameter in parameters.items()},
        grad_parameters={own: p.grad.copy() for own, p in parameters.items() if p.grad is not None},
        kept=kept,
    )


def _plain(value: Any) -> Any:
    """A setting as a value that JSON can hold; a layer inside of the layer as text."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _note(function: Function, grads: dict[Function, Array]) -> None:
    """Make ``function`` put the gradient of its output, which ``backward()`` gives it, into ``grads``."""

    def noting(original: Any, grad_y: Array) -> Any:
        grads[function] = grad_y
        return original(grad_y)

    function.input_gradients = partial(noting, function.input_gradients)  # type: ignore[method-assign]


def _gradient_of(leaf: Tensor) -> Array:
    assert leaf.grad is not None
    return leaf.grad


def _calls(y: Tensor, x: Tensor) -> list[Function]:
    """The functions between ``x`` and ``y``, in the order of their calls; none where the layer returned ``x``."""
    found: set[Function] = set()
    to_visit = [] if y is x else [y.creator]
    while to_visit:
        function = to_visit.pop()
        if function is not None and function not in found and function is not x.creator:
            found.add(function)
            to_visit += [one.creator for one in function.inputs if one is not x]
    return sorted(found, key=lambda function: function._order)


def _kept(calls: list[Function]) -> dict[str, np.ndarray]:
    """What the functions of a layer kept for their backward, by name."""
    return {name: array for call in calls for name, array in _arrays_of(call)}


def _arrays_of(call: Function) -> Iterator[tuple[str, np.ndarray]]:
    for name in KEPT:
        array = getattr(call, name, None)
        if isinstance(array, np.ndarray):
            array = (array[0] if name in BATCHED else array).copy()
            yield name, array.astype(np.int32) if array.dtype.kind in "biu" else array


def _from_file(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> Trace:
    if description["format"] != FORMAT:
        raise SettingError(f"format {description['format']!r}, expected {FORMAT}")
    layers, before = [], "input"
    for entry in description["layers"]:
        name, output = entry["name"], f"{entry['name']}.output"
        grads = {own: f"{name}.{own}.grad" for own in entry["parameters"]}
        layers.append(
            TracedLayer(
                name=name,
                kind=entry["kind"],
                settings=entry["settings"],
                calls=tuple(entry["calls"]),
                x=arrays[before],
                y=arrays[output],
                grad_x=arrays[f"{before}.grad"],
                grad_y=arrays[f"{output}.grad"],
                parameters={own: arrays[f"{name}.{own}"] for own in entry["parameters"]},
                grad_parameters={own: arrays[grad] for own, grad in grads.items() if grad in arrays},
                kept={own: arrays[f"{name}.{own}"] for own in entry["kept"]},
            )
        )
        before = output
    return Trace(
        layers=tuple(layers),
        label=int(description["label"]),
        loss=float(description["loss"]),
        probabilities=arrays["probabilities"],
        target=arrays["target"],
        training=bool(description["training"]),
        class_names=tuple(description["class_names"]),
        head=str(description["head"]),
    )
