"""Activations: operators that apply one function to every number."""

import math

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.operators.elementwise import affine, change_all, change_norm, decimal
from tinycnn.interchange.onnx.patterns import Erf, Power, Reciprocal, Root
from tinycnn.interchange.planned import PlannedLayer
from tinycnn.layers import (
    ELU,
    GELU,
    Abs,
    Add,
    Clip,
    HardSwish,
    LeakyReLU,
    Multiply,
    ReLU,
    Rescaling,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)

PLAIN = {"Relu": ReLU, "Sigmoid": Sigmoid, "Tanh": Tanh, "HardSwish": HardSwish, "Softplus": Softplus}
PLAIN |= {"Softsign": Softsign, "Abs": Abs}
PARTS = {"Erf": Erf, "Sqrt": Root, "Reciprocal": Reciprocal}


def plain(chain: Chain, node: Node) -> None:
    """→ the layer of the same function."""
    node.settings()
    chain.plan(PLAIN[node.operator])


def part(chain: Chain, node: Node) -> None:
    """→ a part of GELU or of a layer norm."""
    node.settings()
    chain.plan(PARTS[node.operator], node=str(node))


def leaky_relu(chain: Chain, node: Node) -> None:
    """→ LeakyReLU."""
    chain.plan(LeakyReLU, slope=decimal(np.float32(node.settings(alpha=0.01)["alpha"])))


def p_relu(chain: Chain, node: Node) -> None:
    """One slope → LeakyReLU; a slope per channel → ``relu(x) - slope relu(-x)``, as two branches."""
    node.settings()
    slope = chain.required_weights(node, 1)
    if slope.size == 1 and slope.ndim <= len(chain.axes):
        chain.plan(LeakyReLU, slope=decimal(slope.ravel()[0]))
        return
    channels = chain.channel_constant(slope)
    if channels is None:
        raise FileFormatError(f"{node}: slopes of shape {slope.shape}; tinycnn supports one slope, or one per channel")
    below = change_norm(affine(channels), "Mul", -channels, constant_first=False)
    negative = PlannedLayer(Rescaling, {"scale": -1.0, "offset": 0.0})
    relu = PlannedLayer(ReLU)
    chain.append(PlannedLayer(Add, branches=((relu,), (negative, relu, below))))


def elu(chain: Chain, node: Node) -> None:
    """→ ELU."""
    chain.plan(ELU, alpha=decimal(np.float32(node.settings(alpha=1.0)["alpha"])))


def celu(chain: Chain, node: Node) -> None:
    """``a ELU(x / a)`` → ELU between two factors."""
    alpha = decimal(np.float32(node.settings(alpha=1.0)["alpha"]))
    if not alpha > 0:
        raise FileFormatError(f"{node}: alpha={alpha}; expected a number above 0")
    change_all(chain, "Div", alpha, constant_first=False)
    chain.plan(ELU)
    change_all(chain, "Mul", alpha, constant_first=False)


def selu(chain: Chain, node: Node) -> None:
    """→ ELU and a factor."""
    settings = node.settings(alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)
    chain.plan(ELU, alpha=decimal(np.float32(settings["alpha"])))
    change_all(chain, "Mul", decimal(np.float32(settings["gamma"])), constant_first=False)


def hard_sigmoid(chain: Chain, node: Node) -> None:
    """``clip(a x + b, 0, 1)``."""
    settings = node.settings(alpha=0.2, beta=0.5)
    for operator, name in (("Mul", "alpha"), ("Add", "beta")):
        change_all(chain, operator, decimal(np.float32(settings[name])), constant_first=False)
    chain.plan(Clip, low=0.0, high=1.0)


def gelu(chain: Chain, node: Node) -> None:
    """→ GELU."""
    approximate = node.settings(approximate="none")["approximate"]
    if approximate not in ("none", "tanh"):
        raise FileFormatError(f"{node}: approximate={approximate!r:.40}, expected none or tanh")
    chain.plan(GELU, approximate=approximate == "tanh")


def mish(chain: Chain, node: Node) -> None:
    """``x tanh(softplus(x))`` → Multiply of two branches."""
    node.settings()
    gate = PlannedLayer(Softplus), PlannedLayer(Tanh)
    chain.append(PlannedLayer(Multiply, branches=((), gate)))


def clip(chain: Chain, node: Node) -> None:
    """→ Clip, or ReLU where it only cuts below 0."""
    settings = node.settings(min=-math.inf, max=math.inf)
    low, high = (bound(chain, node, i, settings[name]) for i, name in ((1, "min"), (2, "max")))
    between(chain, node, low, high)


def bound(chain: Chain, node: Node, position: int, default: float) -> float:
    """The bound at an input of a Clip, or in an attribute before opset 11."""
    constant = chain.weights(node, position)
    if constant is None:
        return default if math.isinf(default) else decimal(np.float32(default))
    if constant.size != 1:
        raise FileFormatError(f"{node}: bounds of shape {constant.shape}, expected one number")
    return decimal(constant.ravel()[0])


def extreme(chain: Chain, node: Node) -> None:
    """The maximum or minimum with one number → Clip."""
    node.settings()
    positions = [i for i, name in enumerate(node.inputs) if name != chain.current]
    constant = chain.weights(node, positions[0]) if len(positions) == 1 else None
    if constant is None or constant.size != 1 or constant.ndim > len(chain.axes):
        raise FileFormatError(f"{node}: tinycnn supports only the extreme of an array and one number")
    number = decimal(constant.ravel()[0])
    between(chain, node, *((number, math.inf) if node.operator == "Max" else (-math.inf, number)))


def between(chain: Chain, node: Node, low: float, high: float) -> None:
    """Cut numbers below ``low`` and above ``high``, together with a layer before that cut them on the other side."""
    final = chain.final
    before = (-math.inf, math.inf)
    if final and final.kind is ReLU:
        before = 0.0, math.inf
    elif final and final.kind is Clip:
        before = (
            (-math.inf if final.settings["low"] is None else final.settings["low"]),
            (math.inf if final.settings["high"] is None else final.settings["high"]),
        )
    if before != (-math.inf, math.inf) and max(low, before[0]) < min(high, before[1]):
        chain.drop_last()
        low, high = max(low, before[0]), min(high, before[1])
    if not low < high:
        raise FileFormatError(f"{node}: bounds {low} and {high}; expected the lower one first")
    if (low, high) == (0, math.inf):
        chain.plan(ReLU)
    elif (low, high) != (-math.inf, math.inf):
        chain.plan(Clip, low=None if math.isinf(low) else low, high=None if math.isinf(high) else high)


def power(chain: Chain, node: Node) -> None:
    """A whole power → a part of GELU or of a layer norm, or a product; 1/2 → a root."""
    node.settings()
    exponent = chain.constant(node, 1)
    if exponent is None or node.inputs[0] != chain.current or exponent.size != 1 or exponent.ndim > len(chain.axes):
        raise FileFormatError(f"{node}: expected an array and one exponent")
    number = float(exponent.ravel()[0])
    if number == 1:
        return
    if number in (0.5, -1.0):
        chain.plan(Root if number == 0.5 else Reciprocal, node=str(node))
    elif number in (2.0, 3.0):
        chain.plan(Power, node=str(node), exponent=int(number))
    else:
        raise FileFormatError(f"{node}: the power {number:g}; tinycnn reads 2 and 3, and those of a layer norm")


def negative(chain: Chain, node: Node) -> None:
    """→ Rescaling by -1."""
    node.settings()
    change_all(chain, "Mul", -1.0, constant_first=False)
