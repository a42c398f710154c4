"""Convert weights from and to PyTorch and Keras: the same numbers in another memory layout.

Keras uses the same layout as tinycnn. PyTorch puts channels first, and outputs before inputs:

    convolution             (F, C, KH, KW)                ↔  (KH, KW, C, F)
    dense                   (out, in)                     ↔  (in, out)
    dense after Flatten     inputs in order (C, H, W)     ↔  inputs in order (H, W, C)
    batch norm              weight, bias, running_*       ↔  gamma, beta, running_*

Two settings that a weight file does not contain must agree as well: ``eps`` of batch norm (1e-5 in PyTorch, 1e-3 in
Keras and tinycnn), and whether pixels range from 0 to 1 or from 0 to 255 (``model.pixels``). Neither library is
imported; the functions accept anything that NumPy can read. ``layer_pairs.py`` finds the layers that belong together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.interchange.layer_pairs import Arrays, pair_layers, shown
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, Layer, Sequential, Shape

TORCH_NAMES = {"gamma": "weight", "beta": "bias"}  # of batch norm; all other arrays have the same names
ONLY_TORCH = "num_batches_tracked"  # a counter of PyTorch's batch norm that does not affect any result


@dataclass(frozen=True)
class _Entry:
    """One array of a layer, with its conversion to and from PyTorch's layout."""

    layer: Layer
    layer_name: str
    name: str
    order: Any  # input i here is input order[i] in PyTorch; slice(None) where both orders are equal
    values: np.ndarray

    @property
    def full_name(self) -> str:
        return f"{self.layer_name}.{self.name}"

    @property
    def torch_name(self) -> str:
        return TORCH_NAMES.get(self.name, self.name)

    def to_torch(self) -> np.ndarray:
        values, inverse = self.values, self.order if isinstance(self.order, slice) else np.argsort(self.order)
        if values.ndim == 4:
            return values.transpose(3, 2, 0, 1)  # (F, C, KH, KW)
        if values.ndim == 2:
            return values[inverse].T  # (out, in)
        return values[inverse] if isinstance(self.layer, BatchNorm) else values  # a bias has one number per output

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

    Layers are paired by the shapes of their arrays. Layers with equal shapes are paired by the numbers in their names,
    or in the order of ``state_dict`` if a module has written it. Where that leaves a choice, pass ``names``, which maps
    every layer of ``model`` with weights to its name in PyTorch, as in ``{"conv2d_1": "features.0"}``; the other
    entries of ``state_dict`` are then ignored. Raises ShapeError when names or shapes do not match, or do not determine
    the pairs, and DtypeError for a dtype other than that of ``model``; the model is then unchanged.
    """
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


def to_torch_state_dict(model: Sequential, *, names: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The weights of ``model`` in PyTorch's layout; ``names`` maps layers to their names in PyTorch, if they differ.

    For ``module.load_state_dict({name: torch.from_numpy(array) for name, array in ….items()}, strict=False)``. Use
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


def load_keras_weights(model: Sequential, weights: Sequence[Any]) -> None:
    """Copy the weights of a Keras model into ``model``: ``load_keras_weights(model, keras_model.get_weights())``.

    Raises ShapeError when the number of arrays or a shape does not match, and DtypeError for a dtype other than that of
    ``model``; the model is then unchanged.
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
        if entry.name == "running_var" and (converted[entry.full_name] < 0).any():
            raise SettingError(
                f"weights[{i}] has negative numbers, but {entry.full_name} holds variances; is this the order of "
                "keras_model.get_weights()?"
            )
    model.load_state_dict(converted)


def to_keras_weights(model: Sequential) -> list[np.ndarray]:
    """The weights of ``model`` as the list that ``keras_model.set_weights(list)`` takes."""
    return [entry.values.copy() for entry in _entries(model)]


def _entries(model: Sequential) -> Iterator[_Entry]:
    """Every array of the network, in the order of Keras; raises SettingError for a layer without a conversion."""
    order: Any = slice(None)
    shape, to_host = model.input_shape, get_backend().to_host
    for layer_name, layer in model.layers.items():
        arrays = {name: parameter.data for name, parameter in layer.named_parameters()} | dict(layer.named_buffers())
        if arrays and not isinstance(layer, Conv2d | Dense | BatchNorm):
            kind = type(layer).__name__
            raise SettingError(f"{layer_name}: no rule for how PyTorch or Keras store the weights of a {kind} layer")
        if isinstance(layer, Flatten) and len(shape) == 3:
            order = _channels_first_index(shape)
        yield from (_Entry(layer, layer_name, name, order, to_host(array)) for name, array in arrays.items())
        if isinstance(layer, Dense):
            order = slice(None)  # its outputs have no spatial order
        shape = layer.output_shape


def _channels_first_index(shape: Shape) -> np.ndarray:
    """The index of each feature of a flattened image ``(H, W, C)`` in the same image flattened channels first."""
    H, W, C = shape
    return np.arange(C * H * W).reshape(C, H, W).transpose(1, 2, 0).ravel()  # (H*W*C,)


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
    """Convert an array, a tensor on any device, or nested lists to a NumPy array; raises DtypeError unless floating."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # for example bfloat16, which NumPy does not have
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
