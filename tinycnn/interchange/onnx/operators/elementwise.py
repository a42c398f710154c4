"""Operators that keep the shape: arithmetic with constants, normalisation, dropout, softmax."""

from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.chain import Chain, LayoutError
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.patterns import Reciprocal
from tinycnn.interchange.planned import Affine, PlannedLayer
from tinycnn.layers import BatchNorm, ConvTranspose2d, Dropout, GroupNorm, LayerNorm, LogSoftmax, Rescaling, Softmax

TRAINS = "is in training mode; export the network in evaluation mode"
DIGITS = 7  # after the point: what is left of 1 - momentum, where momentum is a float32


def arithmetic(chain: Chain, node: Node) -> None:
    """``+ - * /`` with a constant, on either side → part of the previous layer, a Rescaling, or a BatchNorm."""
    node.settings()
    if len(node.inputs) != 2:
        raise FileFormatError(f"{node}: expected two inputs, got {len(node.inputs)}")
    first = chain.current == node.inputs[0]
    constant = chain.weights(node, 1 if first else 0)
    if constant is None:
        raise FileFormatError(f"{node}: expected two inputs, one of them a constant")
    if not first and node.operator == "Div":
        divide(chain, node, constant)
        return
    if constant.ndim > len(chain.axes):
        raise FileFormatError(
            f"{node}: a constant of shape {constant.shape} adds axes to an array with {chain.described()}"
        )
    if node.operator == "Div" and not constant.all():
        raise FileFormatError(f"{node}: divides by 0")
    channels, last = chain.channel_constant(constant), chain.foldable
    if channels is not None and last and (last.is_linear or (last.kind in NORMS and constant.size > 1)):
        change = change_linear if last.is_linear else change_norm
        chain.replace_last(change(last, node.operator, channels, constant_first=not first))
    elif constant.size == 1:
        change_all(chain, node.operator, decimal(constant.ravel()[0]), constant_first=not first)
    elif channels is not None:
        chain.append(change_norm(affine(channels), node.operator, channels, constant_first=not first))
    else:
        raise FileFormatError(
            f"{node}: a constant of shape {constant.shape}; tinycnn supports only one number, or one per channel"
        )


def divide(chain: Chain, node: Node, constant: np.ndarray) -> None:
    """A constant divided by the array → the reciprocal as a part of a layer norm."""
    if constant.size != 1 or constant.ravel()[0] != 1:
        raise FileFormatError(f"{node}: divides by the result of the previous layers; tinycnn has no layer for this")
    chain.plan(Reciprocal, node=str(node))


def change_linear(layer: PlannedLayer, operator: str, constant: np.ndarray, constant_first: bool) -> PlannedLayer:
    """Apply ``constant (F,)`` to the output of a layer, by changing its weights ``(..., F)`` and bias ``(F,)``.

    Those of a transposed convolution are ``(..., F, C)``.
    """
    arrays = dict(layer.arrays)
    if operator in ("Mul", "Div"):
        factors = dict.fromkeys(arrays, constant)
        if layer.kind is ConvTranspose2d:
            factors["weight"] = constant[:, np.newaxis]  # (F, 1)
        changed = {
            name: array * factors[name] if operator == "Mul" else array / factors[name]
            for name, array in arrays.items()
        }
        return layer.with_arrays(**changed)
    if operator == "Sub" and constant_first:
        arrays |= {name: -array for name, array in arrays.items()}
    term = -constant if operator == "Sub" and not constant_first else constant
    arrays["bias"] = arrays["bias"] + term if "bias" in arrays else term
    return layer.with_arrays(**arrays)


def change_norm(layer: PlannedLayer, operator: str, constant: np.ndarray, constant_first: bool) -> PlannedLayer:
    """Apply ``constant (C,)`` to the output of a normalisation, by changing its gamma and beta."""
    arrays = dict(layer.arrays)
    gamma, beta = arrays["gamma"], arrays["beta"]
    match operator:
        case "Mul":
            gamma, beta = gamma * constant, beta * constant
        case "Div":
            gamma, beta = gamma / constant, beta / constant
        case "Add":
            beta = beta + constant
        case _ if constant_first:
            gamma, beta = -gamma, constant - beta
        case _:
            beta = beta - constant
    return layer.with_arrays(gamma=gamma, beta=beta)


NORMS = Affine, BatchNorm, LayerNorm, GroupNorm


def affine(like: np.ndarray) -> PlannedLayer:
    """A factor of 1 and a term of 0 for ``like (C,)`` channels."""
    return PlannedLayer(Affine, {}, {"gamma": np.ones_like(like), "beta": np.zeros_like(like)})


def change_all(chain: Chain, operator: str, number: float, constant_first: bool) -> None:
    """Append a Rescaling, or change a previous one: ``(x s + o) a + b = x (s a) + (o a + b)``."""
    match operator:
        case "Add":
            factor, term = 1.0, number
        case "Sub":
            factor, term = (-1.0, number) if constant_first else (1.0, -number)
        case "Mul":
            factor, term = number, 0.0
        case _:
            factor, term = 1 / number, 0.0
    scale, offset = 1.0, 0.0
    if chain.final and chain.final.kind is Rescaling:
        scale, offset = (chain.final.settings[name] for name in ("scale", "offset"))
        chain.drop_last()
    settings: dict[str, Any] = {"scale": scale * factor, "offset": offset * factor + term}
    if settings != {"scale": 1.0, "offset": 0.0} or chain.last is None:
        chain.plan(Rescaling, **settings)


def batch_normalization(chain: Chain, node: Node) -> None:
    """``scale, B, mean, var`` → BatchNorm; ONNX's momentum weights the old value, ours the new one."""
    settings = node.settings(epsilon=1e-5, momentum=0.9, training_mode=0, spatial=1)
    if settings["training_mode"] or any(node.outputs[1:]):  # before opset 14, further outputs are the only sign
        raise FileFormatError(f"{node}: {TRAINS} (training_mode={settings['training_mode']})")
    node.require(settings, spatial=1)
    arrays = [chain.required_weights(node, position) for position in (1, 2, 3, 4)]
    if chain.is_image:
        chain.expect_channels_second(node)
    if {array.shape for array in arrays} != {chain.shape[-1:]}:
        raise FileFormatError(f"{node}: constants {[array.shape for array in arrays]} for {chain.shape[-1]} channels")
    order = slice(None) if chain.is_image else chain.file_index()
    names = ("gamma", "beta", "running_mean", "running_var")
    values = {name: array[order] for name, array in zip(names, arrays, strict=True)}
    old, eps = (decimal(np.float32(settings[name])) for name in ("momentum", "epsilon"))
    chain.plan(BatchNorm, values, momentum=round(1 - old, DIGITS), eps=eps)


def layer_normalization(chain: Chain, node: Node) -> None:
    """``Scale, B`` over the last axis of the file, which must hold the channels → LayerNorm."""
    settings = node.settings(axis=-1, epsilon=1e-5, stash_type=1)
    rank, axis = len(chain.axes), settings["axis"]
    over = chain.axes[axis] if axis in (-1, rank - 1) else "?"
    if over != (chain.letters("C") if chain.is_image else chain.row) or (not chain.is_image and rank != 2):
        kind = LayoutError if chain.is_image else FileFormatError
        raise kind(f"{node}: over axis {axis} of {chain.described()}; tinycnn supports only the channels, C")
    channels = chain.shape[-1]
    scale, beta = chain.required_weights(node, 1), chain.weights(node, 2)
    beta = np.zeros_like(scale) if beta is None else beta
    if not scale.shape == beta.shape == (channels,):
        raise FileFormatError(f"{node}: constants {[scale.shape, beta.shape]} for {channels} channels")
    order = slice(None) if chain.is_image else chain.file_index()
    eps = decimal(np.float32(settings["epsilon"]))
    chain.plan(LayerNorm, {"gamma": scale[order], "beta": beta[order]}, eps=eps)


def instance_normalization(chain: Chain, node: Node) -> None:
    """Each group of channels normalised over its pixels → GroupNorm; channels that are no group are groups of one.

    PyTorch writes a group norm as a Reshape to (N, groups, …), this operator, and a Reshape back.
    """
    settings = node.settings(epsilon=1e-5)
    scale, beta = chain.required_weights(node, 1), chain.required_weights(node, 2)
    second, rest = chain.axes[1] if len(chain.axes) > 2 else "?", "".join(chain.axes[2:])
    groups = chain.length(second) if second in ("", "g", "C") else 0
    if not chain.is_image or not groups or sorted(rest + second) != sorted(chain.row) or scale.shape != beta.shape:
        raise LayoutError(f"{node}: normalises {chain.described()}; tinycnn has no layer for this")
    if scale.shape != (groups,):
        raise FileFormatError(f"{node}: constants {[scale.shape, beta.shape]} for {groups} groups")
    size = chain.sizes["C"] // groups
    arrays = {"gamma": np.repeat(scale, size), "beta": np.repeat(beta, size)}
    chain.plan(GroupNorm, arrays, groups=groups, eps=decimal(np.float32(settings["epsilon"])))


def group_normalization(chain: Chain, node: Node) -> None:
    """→ GroupNorm; before opset 21, scale and bias have one number per group."""
    settings = node.settings(epsilon=1e-5, num_groups=0, stash_type=1)
    chain.expect_channels_second(node)
    scale, beta = chain.required_weights(node, 1), chain.required_weights(node, 2)
    groups, channels = settings["num_groups"], chain.sizes["C"]
    if groups < 1 or channels % groups:
        raise FileFormatError(f"{node}: {groups} groups of {channels} channels")
    if chain.graph.opset < 21 and scale.shape == beta.shape == (groups,):
        scale, beta = np.repeat(scale, channels // groups), np.repeat(beta, channels // groups)
    if not scale.shape == beta.shape == (channels,):
        raise FileFormatError(f"{node}: constants {[scale.shape, beta.shape]} for {channels} channels")
    eps = decimal(np.float32(settings["epsilon"]))
    chain.plan(GroupNorm, {"gamma": scale, "beta": beta}, groups=groups, eps=eps)


def moments_normalization(chain: Chain, node: Node) -> None:
    """``x, gamma, beta`` and reshaped means (``rewriting.py``) → LayerNorm or GroupNorm, by the axes of the mean."""
    axes = {axis % len(chain.axes) for axis in node.attributes["axes"] if -len(chain.axes) <= axis < len(chain.axes)}
    sizes = [-1 if axis == 0 else 1 if axis in axes else size for axis, size in enumerate(chain.file_shape().tolist())]
    for position in range(3, len(node.inputs)):
        shape = chain.constant(node, position)
        if shape is None or [-1, *shape.ravel().tolist()[1:]] != sizes:
            raise FileFormatError(f"{node}: its mean is reshaped; tinycnn expects the shape {sizes}")
    over = "".join(chain.axes[axis] for axis in sorted(axes))
    channels, C = chain.letters("C") if chain.is_image else chain.row, chain.shape[-1]
    eps, dtype = decimal(np.float32(node.attributes["epsilon"])), chain.graph.dtype
    if over == channels and over:
        kind: type = LayerNorm
        settings: dict[str, Any] = {"eps": eps}
    elif chain.is_image and 0 not in axes and over.replace("C", "").replace("c", "") == chain.letters("HW"):
        groups = 1 if "C" in over else chain.sizes["g"] if "c" in over else C
        kind, settings = GroupNorm, {"groups": groups, "eps": eps}
    else:
        raise LayoutError(f"{node}: normalises over {over} of {chain.described()}; tinycnn has no layer for this")
    arrays = {"gamma": np.ones(C, dtype), "beta": np.zeros(C, dtype)}
    for position, name in ((1, "gamma"), (2, "beta")):
        constant = chain.weights(node, position)
        if constant is not None:
            arrays[name] = of_channels(chain, node, constant)
    chain.plan(kind, arrays, **settings)


def of_channels(chain: Chain, node: Node, constant: np.ndarray) -> np.ndarray:
    """``constant`` with one number for every channel, which may be divided into groups → ``(C,)``."""
    channels, count = chain.letters("C") if chain.is_image else chain.row, constant.ndim
    axes = [
        chain.axes[axis - count] for axis, size in enumerate(constant.shape) if size > 1 and count <= len(chain.axes)
    ]
    if constant.size != chain.shape[-1] or "".join(axes).replace("gc", "C") != channels:
        raise LayoutError(f"{node}: a constant of shape {constant.shape} for {chain.shape[-1]} channels")
    return constant.ravel() if chain.is_image else constant.ravel()[chain.file_index()]


def dropout(chain: Chain, node: Node) -> None:
    """→ Dropout, which is used when the network is trained further; the file must have it in evaluation mode."""
    settings = node.settings(ratio=0.5, seed=0)
    ratio, training = chain.constant(node, 1), chain.constant(node, 2)
    if training is not None and training.any():
        raise FileFormatError(f"{node}: {TRAINS}")
    if ratio is not None and (ratio.size != 1 or ratio.dtype.kind != "f"):
        raise FileFormatError(f"{node}: a ratio {ratio.dtype} {ratio.shape}, expected one floating-point number")
    chain.plan(Dropout, p=decimal(np.float32(settings["ratio"]) if ratio is None else ratio.ravel()[0]))


def softmax(chain: Chain, node: Node) -> None:
    """→ Softmax or LogSoftmax over the channels; before opset 13, over all axes from ``axis`` on."""
    modern = chain.graph.opset >= 13
    axis = node.settings(axis=-1 if modern else 1)["axis"]
    rank = len(chain.axes)
    over = chain.axes[axis] if -rank <= axis < rank else "?"
    alone = modern or axis in (-1, rank - 1)
    if (over != chain.letters("C") if chain.is_image else over != chain.row) or not alone:
        kind = LayoutError if chain.is_image else FileFormatError
        raise kind(f"{node}: over axis {axis} of {chain.described()}; tinycnn supports only the channels, C")
    chain.plan(Softmax if node.operator == "Softmax" else LogSoftmax)


def decimal(number: np.floating) -> float:
    """The shortest decimal that has this value in the dtype of ``number``: 0.001 for float32, not 0.00100000005.

    ONNX attributes are float32. A float64 number is returned as it is.
    """
    return float(str(number))
