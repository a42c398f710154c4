"""Operators that keep the shape: arithmetic, activations, batch norm, dropout, softmax."""

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.chain import Chain, LayoutError
from tinycnn.interchange.onnx.file import Node
from tinycnn.layers import BatchNorm, Dropout, LogSoftmax, ReLU, Rescaling, Softmax

TRAINS = "is in training mode; export the network in evaluation mode"
DIGITS = 7  # after the point: what is left of 1 - momentum, where momentum is a float32


def arithmetic(chain: Chain, node: Node) -> None:
    """``+ - * /`` with a constant, on either side → part of the previous layer, or a Rescaling."""
    node.settings()
    first = chain.current == node.inputs[0]
    constant = chain.weights(node, 1 if first else 0)
    if constant is None:
        raise FileFormatError(f"{node}: expected two inputs, got {len(node.inputs)}")
    if not first and node.operator == "Div":
        raise FileFormatError(f"{node}: divides by the result of the previous layers; tinycnn has no layer for this")
    if constant.ndim > len(chain.axes):
        raise FileFormatError(
            f"{node}: a constant of shape {constant.shape} adds axes to an array with {chain.described()}"
        )
    if node.operator == "Div" and not constant.all():
        raise FileFormatError(f"{node}: divides by 0")
    last = chain.planned[-1] if chain.planned else None
    if last and last.is_linear and is_per_channel(chain, constant):
        change_linear(last.arrays, node.operator, constant.ravel(), constant_first=not first)
    elif constant.size == 1:
        change_all(chain, node.operator, decimal(constant.ravel()[0]), constant_first=not first)
    else:
        raise FileFormatError(
            f"{node}: a constant of shape {constant.shape}; tinycnn supports only one number, or one per channel after "
            "a convolution or dense layer"
        )


def is_per_channel(chain: Chain, constant: np.ndarray) -> bool:
    """Whether the constant has one number per channel, along the axis of the channels."""
    axes = [axis - constant.ndim for axis, size in enumerate(constant.shape) if size > 1]
    if constant.size != chain.sizes["C"] or constant.ndim > len(chain.axes):
        return False
    return all(chain.axes[axis] == "C" for axis in axes)


def change_linear(arrays: dict[str, np.ndarray], operator: str, constant: np.ndarray, constant_first: bool) -> None:
    """Apply ``constant (F,)`` to the output of a layer, by changing its weights ``(..., F)`` and bias ``(F,)``."""
    if operator in ("Mul", "Div"):
        arrays |= {name: array * constant if operator == "Mul" else array / constant for name, array in arrays.items()}
        return
    if operator == "Sub" and constant_first:
        arrays |= {name: -array for name, array in arrays.items()}
    term = -constant if operator == "Sub" and not constant_first else constant
    arrays["bias"] = arrays["bias"] + term if "bias" in arrays else term


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
    if not (chain.planned and chain.planned[-1].kind is Rescaling):
        chain.plan(Rescaling, scale=1.0, offset=0.0)
    settings = chain.planned[-1].settings
    settings |= {"scale": settings["scale"] * factor, "offset": settings["offset"] * factor + term}


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


def relu(chain: Chain, node: Node) -> None:
    """→ ReLU."""
    node.settings()
    chain.plan(ReLU)


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
    """→ Softmax or LogSoftmax over the channels."""
    modern = chain.graph.opset >= 13
    axis = node.settings(axis=-1 if modern else 1)["axis"]
    rank = len(chain.axes)
    over = chain.axes[axis] if -rank <= axis < rank else "?"
    if (over != chain.letters("C") if chain.is_image else over != chain.row) or (not modern and rank != 2):
        kind = LayoutError if chain.is_image else FileFormatError
        raise kind(f"{node}: over axis {axis} of {chain.described()}; tinycnn supports only the channels, C")
    chain.plan(Softmax if node.operator == "Softmax" else LogSoftmax)


def decimal(number: np.floating) -> float:
    """The shortest decimal that has this value in the dtype of ``number``: 0.001 for float32, not 0.00100000005.

    ONNX attributes are float32. A float64 number is returned as it is.
    """
    return float(str(number))
