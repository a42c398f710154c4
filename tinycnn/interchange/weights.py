"""Weights from PyTorch and Keras, and back: the same numbers, in another order.

Keras lies in memory as tinycnn does. PyTorch puts channels first and outputs before inputs:

    convolution             (F, C, KH, KW)                ↔  (KH, KW, C, F)
    dense                   (out, in)                     ↔  (in, out)
    dense behind Flatten    its inputs count (C, H, W)    ↔  its inputs count (H, W, C)
    batch norm              weight, bias, running_*       ↔  gamma, beta, running_*

What a weight file does not hold must agree as well: ``eps`` of batch norm (1e-5 in PyTorch, 1e-3 in Keras and here),
and whether pixels arrive as 0 to 1 or as 0 to 255. Neither library is imported: anything NumPy can read will do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, Layer, Sequential, Shape

TORCH_NAMES = {"gamma": "weight", "beta": "bias"}  # of batch norm; all other arrays are called the same
ONLY_TORCH = "num_batches_tracked"  # a counter of PyTorch's batch norm that no result depends on


@dataclass(frozen=True)
class _Entry:
    """One array of a layer, and how PyTorch would store it."""

    layer: Layer
    layer_name: str
    name: str
    order: Any  # ours[i] belongs to the input that PyTorch counts as order[i]
    values: np.ndarray

    @property
    def full_name(self) -> str:
        return f"{self.layer_name}.{self.name}"

    def to_torch(self) -> np.ndarray:
        values, back = self.values, self.order if isinstance(self.order, slice) else np.argsort(self.order)
        if values.ndim == 4:
            return values.transpose(3, 2, 0, 1)  # (F, C, KH, KW)
        if values.ndim == 2:
            return values[back].T  # (out, in)
        return values[back] if isinstance(self.layer, BatchNorm) else values  # a bias counts outputs: nothing to do

    def from_torch(self, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4:
            return values.transpose(2, 3, 1, 0)  # (KH, KW, C, F)
        if values.ndim == 2:
            return values.T[self.order]  # (in, out)
        return values[self.order] if isinstance(self.layer, BatchNorm) else values


def load_torch_state_dict(
    model: Sequential, state_dict: Mapping[str, Any], *, names: Mapping[str, str] | None = None
) -> None:
    """Copy the weights of a PyTorch module into ``model``: ``load_torch_state_dict(model, module.state_dict())``.

    Layers with weights are taken in the order of the file. ``names``, as in ``{"conv2d_1": "features.0"}``, tells for
    every such layer what it is called there instead, when a module lists its layers in another order than it runs them.
    Raises ShapeError when names or shapes do not fit, DtypeError for another dtype than the model's; then nothing has
    changed.
    """
    if not isinstance(state_dict, Mapping):
        raise SettingError(f"load_torch_state_dict: expected module.state_dict(), got {type(state_dict).__name__}")
    entries = list(_entries(model))
    theirs = _theirs_by_ours(entries, _torch_layers(state_dict), names)
    converted = {}
    for entry in entries:
        their_name = f"{theirs[entry.layer_name]}.{TORCH_NAMES.get(entry.name, entry.name)}".removeprefix(".")
        values = _as_array(their_name, state_dict[their_name])
        _check(their_name, values, entry.full_name, entry.to_torch().shape, model.dtype)
        converted[entry.full_name] = entry.from_torch(values)
    model.load_state_dict(converted)


def to_torch_state_dict(model: Sequential, *, names: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The weights of ``model`` as PyTorch stores them, under our names of layers or those that ``names`` gives them.

    For ``module.load_state_dict({name: torch.from_numpy(array) for name, array in ….items()}, strict=False)``; strict
    only without batch norm, whose ``num_batches_tracked`` we do not have.
    """
    called = names or {}
    return {
        f"{called.get(entry.layer_name, entry.layer_name)}.{TORCH_NAMES.get(entry.name, entry.name)}": (
            np.ascontiguousarray(entry.to_torch())
        )
        for entry in _entries(model)
    }


def load_keras_weights(model: Sequential, weights: Sequence[Any]) -> None:
    """Copy the weights of a Keras model into ``model``: ``load_keras_weights(model, keras_model.get_weights())``.

    Raises ShapeError when the number of arrays or a shape does not fit, DtypeError for another dtype than the model's;
    then nothing has changed.
    """
    if isinstance(weights, Mapping) or not isinstance(weights, Sequence):
        raise SettingError(f"load_keras_weights: expected keras_model.get_weights(), got {type(weights).__name__}")
    entries = list(_entries(model))
    if len(weights) != len(entries):
        ours = ", ".join(entry.full_name for entry in entries)
        raise ShapeError(f"load_keras_weights: got {len(weights)} arrays, the network has {len(entries)}: {ours}")
    converted = {}
    for i, (entry, array) in enumerate(zip(entries, weights, strict=True)):
        converted[entry.full_name] = _as_array(f"weights[{i}]", array)
        _check(f"weights[{i}]", converted[entry.full_name], entry.full_name, entry.values.shape, model.dtype)
    model.load_state_dict(converted)


def to_keras_weights(model: Sequential) -> list[np.ndarray]:
    """The weights of ``model`` as the list that ``keras_model.set_weights(list)`` takes."""
    return [entry.values.copy() for entry in _entries(model)]


def _entries(model: Sequential) -> Iterator[_Entry]:
    """Every array of the network, layer by layer, as Keras lists them; raises SettingError for a layer without rule."""
    order: Any = slice(None)
    shape, to_host = model.input_shape, get_backend().to_host
    for layer_name, layer in model.layers.items():
        arrays = {name: parameter.data for name, parameter in layer.named_parameters()} | dict(layer.named_buffers())
        if arrays and not isinstance(layer, Conv2d | Dense | BatchNorm):
            kind = type(layer).__name__
            raise SettingError(f"{layer_name}: no rule how PyTorch or Keras store the weights of a {kind} layer")
        if isinstance(layer, Flatten) and len(shape) == 3:
            order = _place_in_torch(shape)
        yield from (_Entry(layer, layer_name, name, order, to_host(array)) for name, array in arrays.items())
        if isinstance(layer, Dense):
            order = slice(None)  # its outputs have no places
        shape = layer.output_shape


def _place_in_torch(shape: Shape) -> np.ndarray:
    """For each feature of a flattened image ``(H, W, C)``, its number when channels come first."""
    H, W, C = shape
    return np.arange(C * H * W).reshape(C, H, W).transpose(1, 2, 0).ravel()  # (H*W*C,)


def _torch_layers(state_dict: Mapping[str, Any]) -> dict[str, set[str]]:
    """``{"conv1": {"weight", "bias"}, …}`` in the order of the file."""
    layers: dict[str, set[str]] = {}
    for key in state_dict:
        layer_name, _, name = key.rpartition(".")
        if name != ONLY_TORCH:
            layers.setdefault(layer_name, set()).add(name)
    return layers


def _theirs_by_ours(
    entries: list[_Entry], theirs: dict[str, set[str]], names: Mapping[str, str] | None
) -> dict[str, str]:
    """Our layer name → theirs; raises ShapeError unless every layer has its counterpart, with the same arrays."""
    ours: dict[str, set[str]] = {}
    for entry in entries:
        ours.setdefault(entry.layer_name, set()).add(TORCH_NAMES.get(entry.name, entry.name))
    pairs = dict(zip(ours, theirs, strict=False)) if names is None else dict(names)
    if len(theirs) != len(ours) or pairs.keys() != ours.keys() or set(pairs.values()) != theirs.keys():
        given = "" if names is None else f", names {dict(names)}"
        raise ShapeError(f"load_torch_state_dict: layers {list(theirs)} for our {list(ours)}{given}: not one for each")
    for name, their_name in pairs.items():
        if ours[name] != theirs[their_name]:
            raise ShapeError(
                f"load_torch_state_dict: {their_name} has {sorted(theirs[their_name])}, our {name} needs "
                f"{sorted(ours[name])}; if the file lists its layers in another order, say names={{{name!r}: …}}"
            )
    return pairs


def _as_array(name: str, values: Any) -> np.ndarray:
    """An array, a tensor on any device, or nested lists, as a NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # bfloat16 is one that NumPy has not
        array = np.empty(0, dtype=object)
    if array.dtype.kind != "f":
        kind = getattr(values, "dtype", type(values).__name__)
        raise DtypeError(f"{name}: expected an array of floating-point numbers, got {kind}")
    return array


def _check(name: str, values: np.ndarray, ours: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if values.shape != shape:
        raise ShapeError(f"{name} has shape {values.shape}, for {ours} it should have {shape}; is it the same network?")
    if values.dtype != dtype:
        raise DtypeError(f"{name} is {values.dtype}, the network {dtype}: make both the same, as in .astype({dtype})")
