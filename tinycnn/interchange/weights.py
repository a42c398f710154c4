"""Convert weights from and to PyTorch and Keras: the same numbers in another memory layout.

Keras uses the same layout as tinycnn. PyTorch puts channels first, and outputs before inputs:

    convolution             (F, C/groups, KH, KW)         ↔  (KH, KW, C/groups, F)
    dense                   (out, in)                     ↔  (in, out)
    dense after Flatten     inputs in order (C, H, W)     ↔  inputs in order (H, W, C)
    norms                   weight, bias, running_*       ↔  gamma, beta, running_*

Two settings that a weight file does not contain must agree as well: ``eps`` of batch norm (1e-5 in PyTorch, 1e-3 in
Keras and tinycnn), and whether pixels range from 0 to 1 or from 0 to 255 (``model.pixels``). Neither library is
imported; the functions accept anything that NumPy can read. ``layer_pairs.py`` finds the layers that belong together,
``row_orders.py`` the dense layers whose inputs are in another order. A layer of one's own states its layout in
``torch_arrays``.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.interchange.layer_pairs import Arrays, pair_layers, shown
from tinycnn.interchange.row_orders import Order, row_orders
from tinycnn.layers import BatchNorm, Conv2d, Dense, GroupNorm, Layer, LayerNorm, Sequential
from tinycnn.saving.safetensors_file import arrays_in

LOGGER = logging.getLogger("tinycnn.interchange")
NORMS = BatchNorm, LayerNorm, GroupNorm
TORCH_NAMES = {"gamma": "weight", "beta": "bias"}  # of NORMS; all other arrays have the same names
HALVES = "float16", "bfloat16"  # every such number is a float32 number
TORCH_EPS = 1e-5  # the default of NORMS in PyTorch
ONLY_TORCH = "num_batches_tracked"  # a counter of PyTorch's batch norm that does not affect any result


@dataclass(frozen=True)
class _Entry:
    """One array of a layer, with its conversion to and from PyTorch's layout."""

    layer: Layer
    layer_name: str
    name: str
    order: Order  # input i here is input order[i] in PyTorch; None where both orders are equal
    values: np.ndarray

    @property
    def full_name(self) -> str:
        return f"{self.layer_name}.{self.name}"

    @property
    def torch_name(self) -> str:
        if self.name in self.layer.torch_arrays:
            return self.layer.torch_arrays[self.name][0]
        return TORCH_NAMES.get(self.name, self.name) if isinstance(self.layer, NORMS) else self.name

    @property
    def torch_axes(self) -> tuple[int, ...] | None:
        """Our axes in PyTorch's order; None: the same."""
        if self.name in self.layer.torch_arrays:
            return self.layer.torch_arrays[self.name][1]
        if isinstance(self.layer, Conv2d) and self.name == "weight":
            return (3, 2, 0, 1)  # (F, C/groups, KH, KW)
        return (1, 0) if isinstance(self.layer, Dense) and self.name == "weight" else None  # (out, in)

    @property
    def input_order(self) -> np.ndarray:
        return np.arange(len(self.values)) if self.order is None else self.order

    @property
    def is_ordered(self) -> bool:
        """Whether its first axis follows the order of a flattened image; a bias has one number per output."""
        return self.order is not None and (isinstance(self.layer, NORMS) or self.values.ndim == 2)

    def to_torch(self) -> np.ndarray:
        values = self.values[np.argsort(self.input_order)] if self.is_ordered else self.values
        return values if self.torch_axes is None else values.transpose(self.torch_axes)

    def from_torch(self, values: np.ndarray) -> np.ndarray:
        values = values if self.torch_axes is None else values.transpose(np.argsort(self.torch_axes))
        return values[self.input_order] if self.is_ordered else values

    def to_keras(self) -> np.ndarray:
        """Keras stores depthwise filters as ``(KH, KW, C, multiplier)``."""
        if not (self.is_depthwise and isinstance(self.layer, Conv2d)):
            return self.values
        KH, KW, _, F = self.values.shape
        return self.values.reshape(KH, KW, self.layer.groups, F // self.layer.groups)

    @property
    def is_depthwise(self) -> bool:
        layer, shape = self.layer, self.values.shape
        return isinstance(layer, Conv2d) and layer.groups > 1 and len(shape) == 4 and shape[2] == 1


def load_torch_state_dict(
    model: Sequential,
    state_dict: Mapping[str, Any] | str | os.PathLike[str],
    *,
    names: Mapping[str, str] | None = None,
) -> None:
    """Copy the weights of a PyTorch module into ``model``: ``load_torch_state_dict(model, module.state_dict())``.

    ``state_dict`` may also be the name of a safetensors file with the same arrays. Layers are paired by the shapes of
    their arrays. Layers with equal shapes are paired by the numbers in their names, or in the order of ``state_dict``
    if a module has written it. Where that leaves a choice, pass ``names``, which maps every layer of ``model`` with
    weights to its name in PyTorch, as in ``{"conv2d_1": "features.0"}``; the other entries of ``state_dict`` are then
    ignored. Raises FileFormatError for a file of another kind, ShapeError when names or shapes do not match, or do not
    determine the pairs, and DtypeError for a dtype other than that of ``model``; the model is then unchanged.
    """
    if isinstance(state_dict, str | os.PathLike):
        state_dict = arrays_in(state_dict)
    if not isinstance(state_dict, Mapping):
        raise SettingError(f"load_torch_state_dict: expected module.state_dict(), got {type(state_dict).__name__}")
    if names is not None and not isinstance(names, Mapping):
        raise SettingError(f"load_torch_state_dict: expected `names` as a mapping, got {type(names).__name__}")
    entries = list(_entries(model))
    ours: dict[str, Arrays] = {}
    for entry in entries:
        ours.setdefault(entry.layer_name, {})[entry.torch_name] = entry.to_torch().shape
    pairs = pair_layers(ours, _torch_layers(state_dict), list(state_dict), names)
    converted = {}
    for entry in entries:
        name = f"{pairs[entry.layer_name]}.{entry.torch_name}".removeprefix(".")
        values = _as_array(shown(name), state_dict[name])
        _check(shown(name), values, entry.full_name, entry.to_torch().shape, model.dtype)
        converted[entry.full_name] = entry.from_torch(values)
    model.load_state_dict(converted)
    _note_eps(entries, pairs, state_dict)


def _note_eps(entries: Sequence[_Entry], pairs: Mapping[str, str], state_dict: Mapping[str, Any]) -> None:
    """Log a sentence about norms whose ``eps`` is not PyTorch's default, since a state_dict does not contain it.

    A batch norm without PyTorch's counter, and layers with the names of tinycnn, come from another program.
    """
    differing = {}
    for name, layer in {entry.layer_name: entry.layer for entry in entries}.items():
        counted = not isinstance(layer, BatchNorm) or f"{pairs[name]}.{ONLY_TORCH}".removeprefix(".") in state_dict
        if isinstance(layer, NORMS) and layer.eps != TORCH_EPS and counted and pairs[name] != name:
            differing[name] = f"{name} (eps={layer.eps:g})"
    if differing:
        LOGGER.warning(
            "note: the default of PyTorch's norms is eps=%g, and a state_dict does not contain it. If the module has "
            "this default, its outputs differ from those of the network, until you write eps=%g for %s",
            *(TORCH_EPS, TORCH_EPS, ", ".join(differing.values())),
        )


def to_torch_state_dict(model: Sequential, *, names: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The weights of ``model`` in PyTorch's layout, named as ``names`` maps the layers to those of the module.

    Without ``names``, they have the names of tinycnn's layers, such as ``conv2d_1.weight``. For
    ``module.load_state_dict({name: torch.from_numpy(array) for name, array in ….items()}, strict=False)``. Use
    ``strict=True`` only without batch norm, because tinycnn has no ``num_batches_tracked``. Raises SettingError for a
    name that is not a layer with weights, and for two layers with the same name.
    """
    entries = list(_entries(model))
    torch_names = {entry.layer_name: entry.layer_name for entry in entries}
    if unknown := [name for name in names or {} if name not in torch_names]:
        raise SettingError(f"to_torch_state_dict: `names` has {unknown}; layers with weights are {list(torch_names)}")
    torch_names |= names or {}
    if len(set(torch_names.values())) < len(torch_names):
        raise SettingError(f"to_torch_state_dict: `names` gives two layers the same name: {torch_names}")
    return {
        f"{torch_names[entry.layer_name]}.{entry.torch_name}": np.ascontiguousarray(entry.to_torch())
        for entry in entries
    }


def load_keras_weights(model: Sequential, weights: Sequence[Any] | str | os.PathLike[str]) -> None:
    """Copy the weights of a Keras model into ``model``: ``load_keras_weights(model, keras_model.get_weights())``.

    ``weights`` may also be the name of a file: ``.weights.h5``, ``.keras`` or ``.h5`` (needs the package ``h5py``).
    Raises FileFormatError for a file that is damaged or has other layers, ShapeError when the number of arrays or a
    shape does not match, and DtypeError for a dtype other than that of ``model``; the model is then unchanged.
    """
    if isinstance(weights, str | os.PathLike):
        from tinycnn.interchange.keras.weights_file import weights_for

        weights = weights_for(model, weights)
    if isinstance(weights, Mapping) or not isinstance(weights, Sequence):
        raise SettingError(f"load_keras_weights: expected keras_model.get_weights(), got {type(weights).__name__}")
    entries = list(_entries(model, keras=True))
    if len(weights) != len(entries):
        ours = ", ".join(entry.full_name for entry in entries)
        raise ShapeError(f"load_keras_weights: got {len(weights)} arrays, the network has {len(entries)}: {ours}")
    converted = {}
    for i, (entry, array) in enumerate(zip(entries, weights, strict=True)):
        converted[entry.full_name] = _as_array(f"weights[{i}]", array)
        if entry.is_depthwise and converted[entry.full_name].shape == entry.to_keras().shape:
            converted[entry.full_name] = converted[entry.full_name].reshape(entry.values.shape)
        _check(f"weights[{i}]", converted[entry.full_name], entry.full_name, entry.values.shape, model.dtype)
        if entry.name == "running_var" and (converted[entry.full_name] < 0).any():
            raise SettingError(
                f"weights[{i}] has negative numbers, but {entry.full_name} holds variances; is this the order of "
                "keras_model.get_weights()?"
            )
    model.load_state_dict(converted)


def to_keras_weights(model: Sequential) -> list[np.ndarray]:
    """The weights of ``model`` as the list that ``keras_model.set_weights(list)`` takes."""
    return [entry.to_keras().copy() for entry in _entries(model, keras=True)]


def _entries(model: Sequential, *, keras: bool = False) -> Iterator[_Entry]:
    """Every array of the network, in the order of Keras; raises SettingError for a layer without a conversion."""
    orders = {} if keras else row_orders(model)
    to_host = get_backend().to_host
    for layer_name, layer in model.all_layers():
        arrays = {name: parameter.data for name, parameter in layer.parameters_by_name.items()} | layer.buffers_by_name
        known = isinstance(layer, (Conv2d, Dense, *NORMS)) or arrays.keys() <= layer.torch_arrays.keys()
        if arrays and not known:
            kind = type(layer).__name__
            raise SettingError(
                f"{layer_name}: no rule for how PyTorch or Keras store the weights of a {kind} layer; set "
                "`torch_arrays` of the class"
            )
        order = orders.get(layer)
        yield from (_Entry(layer, layer_name, name, order, to_host(array)) for name, array in arrays.items())


def _torch_layers(state_dict: Mapping[str, Any]) -> dict[str, Arrays]:
    """``{"conv1": {"weight": (6, 1, 3, 3), "bias": (6,)}, …}`` in the order of the file."""
    layers: dict[str, Arrays] = {}
    for key, values in state_dict.items():
        if not isinstance(key, str):
            raise SettingError(f"load_torch_state_dict: expected names of arrays, got the key {key!r:.120}")
        layer_name, _, name = key.rpartition(".")
        if not layer_name and isinstance(values, Mapping):  # a checkpoint around the weights
            raise SettingError(f"load_torch_state_dict: {key!r:.120} holds another mapping; pass the weights alone")
        if name != ONLY_TORCH:
            layers.setdefault(layer_name, {})[name] = _shape(values)
    return layers


def _shape(values: Any) -> tuple[int, ...]:
    try:
        return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)
    except (TypeError, ValueError):  # lists of different lengths; _as_array reports them
        return ()


def _as_array(name: str, values: Any) -> np.ndarray:
    """Convert an array, a tensor on any device, or nested lists to a NumPy array; halves become float32.

    Raises DtypeError unless the numbers are floating-point numbers.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values  # NumPy does not have it
    try:
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype.name in HALVES else array
    except (TypeError, ValueError, RuntimeError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind != "f":
        kind = getattr(values, "dtype", type(values).__name__)
        raise DtypeError(f"{name}: expected an array of floating-point numbers, got {kind}")
    return array


def _check(name: str, values: np.ndarray, ours: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if values.shape != shape:
        raise ShapeError(f"{name} has shape {values.shape}, for {ours} it should have {shape}; is it the same network?")
    if values.dtype != dtype:
        raise DtypeError(f"{name} is {values.dtype}, the network {dtype}: convert it with .astype({str(dtype)!r})")
