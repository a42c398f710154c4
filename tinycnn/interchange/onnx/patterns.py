"""Layers that exporters write as several operators, with branches: GELU, SiLU, HardSwish, Softsign, LayerNorm, powers.

An operator that is no layer by itself is planned as a ``Part``. Where two branches are joined, ``joined`` looks at
their layers. Factors that the exporter put elsewhere, such as the 0.5 of GELU, become a Rescaling.
"""

import math

from tinycnn.interchange.planned import Part, PlannedLayer
from tinycnn.layers import GELU, Abs, Clip, HardSwish, LayerNorm, Rescaling, Sigmoid, SiLU, Softsign, Tanh

Layers = tuple[PlannedLayer, ...]
ONE_MORE = {"scale": 1.0, "offset": 1.0}
CLOSE = 1e-6  # relative; constants of the file are float32


class Erf(Part):
    """The error function."""

    whole = "GELU"


class Power(Part):
    """A square, or another whole power; alone it is a product."""


class Root(Part):
    """A square root."""

    whole = "LayerNorm"


class Reciprocal(Part):
    """One divided by its input."""

    whole = "LayerNorm"


class ChannelMean(Part):
    """The mean over the channels of each pixel."""

    whole = "LayerNorm"


class Centred(Part):
    """The input minus its mean over the channels."""

    whole = "LayerNorm"


class EdgePad(Part):
    """A border with the values at the edge, or with -infinity; a max-pool ignores both."""

    whole = "a max-pool"


def joined(operator: str, before: PlannedLayer | None, first: Layers, second: Layers) -> tuple[int, Layers] | None:
    """The layers for ``first operator second``, two branches after the layer ``before``; None: they form no pattern.

    Also the number of layers, 0 or 1, that they replace before the branches.
    """
    if operator == "Mul":
        short, long = sorted((first, second), key=len)
        found = multiplied(short, long)
        if found is not None:
            return 0, found
        if before and before.kind is Centred and not short and kinds(long)[-1:] == [Reciprocal]:
            return layer_norm(long[:-1])
    if operator == "Sub" and not first and kinds(second) == [ChannelMean]:
        return 0, (PlannedLayer(Centred, node=second[0].node),)
    if operator == "Div" and not first and before and before.kind is Centred:
        return layer_norm(second)
    if operator == "Div" and not first and kinds(second) == [Abs, Rescaling] and second[1].settings == ONE_MORE:
        return 0, (PlannedLayer(Softsign),)
    return None


def multiplied(short: Layers, long: Layers) -> Layers | None:
    """The layers for the product of two branches, of which ``short`` is at most a factor."""
    if not short and not long:
        return (PlannedLayer(Power, {"exponent": 2}),)
    if not short and kinds(long) == [Power]:
        return (long[0].changed(exponent=long[0].settings["exponent"] + 1),)
    factor = factor_of(short)
    if factor is None or not long:
        return None
    if not short and kinds(long) == [Sigmoid]:
        return (PlannedLayer(SiLU),)
    last = factor_of(long[-1:])
    if last is not None and len(long) > 1:
        long, factor = long[:-1], factor * last
    if kinds(long) == [Rescaling, Clip]:
        return hard_swish(long[0], long[1], factor)
    if kinds(long) == [Rescaling, Erf, Rescaling] and is_scale(long[0], 1 / math.sqrt(2)) and is_one_plus(long[2]):
        return scaled(PlannedLayer(GELU), 2 * factor * long[2].settings["scale"])
    if len(long) > 2 and kinds(long[-2:]) == [Tanh, Rescaling] and is_one_plus(long[-1]) and is_gelu_cubic(long[:-2]):
        return scaled(PlannedLayer(GELU, {"approximate": True}), 2 * factor * long[-1].settings["scale"])
    return None


def hard_swish(rescaling: PlannedLayer, clip: PlannedLayer, factor: float) -> Layers | None:
    """``x · min(max(s x + s 3, 0), 6 s) · factor`` → HardSwish."""
    scale, offset = (rescaling.settings[name] for name in ("scale", "offset"))
    if not (close(offset, 3 * scale) and clip.settings["low"] == 0 and close(clip.settings["high"], 6 * scale)):
        return None
    return scaled(PlannedLayer(HardSwish), 6 * scale * factor) if scale > 0 else None


def is_gelu_cubic(layers: Layers) -> bool:
    """Whether ``layers`` are ``sqrt(2 / pi) (x + 0.044715 x³)``."""
    *first, last = layers
    if len(first) != 1 or not is_scale(last, math.sqrt(2 / math.pi)) or len(first[0].branches) != 2:
        return False
    short, cubic = sorted(first[0].branches, key=len)
    power = cubic[0].settings.get("exponent") if kinds(cubic) == [Power, Rescaling] else None
    return not short and power == 3 and is_scale(cubic[1], 0.044715)


def layer_norm(layers: Layers) -> tuple[int, Layers] | None:
    """``layers``, of which the centred input is a quotient, are ``sqrt(mean(x²) + eps)`` → LayerNorm."""
    if kinds(layers) != [Power, ChannelMean, Rescaling, Root] or layers[0].settings["exponent"] != 2:
        return None
    eps = layers[2].settings["offset"]
    return (1, (PlannedLayer(LayerNorm, {"eps": eps}),)) if layers[2].settings["scale"] == 1 and eps > 0 else None


def kinds(layers: Layers) -> list[type]:
    """The kinds of ``layers``."""
    return [layer.kind for layer in layers]


def factor_of(layers: Layers) -> float | None:
    """The factor by which ``layers``, none or a Rescaling, multiply; None if they do anything else."""
    if not layers:
        return 1.0
    single = len(layers) == 1 and layers[0].kind is Rescaling and layers[0].settings["offset"] == 0
    return layers[0].settings["scale"] if single else None


def is_scale(layer: PlannedLayer, scale: float) -> bool:
    """Whether ``layer`` multiplies by ``scale``."""
    return layer.kind is Rescaling and layer.settings["offset"] == 0 and close(layer.settings["scale"], scale)


def is_one_plus(layer: PlannedLayer) -> bool:
    """Whether ``layer`` is ``s x + s``."""
    return layer.kind is Rescaling and layer.settings["scale"] == layer.settings["offset"]


def close(a: float, b: float) -> bool:
    """Whether two constants are the same but for rounding."""
    return math.isclose(a, b, rel_tol=CLOSE)


def scaled(layer: PlannedLayer, factor: float) -> Layers:
    """``layer``, and a Rescaling unless ``factor`` is 1."""
    return (layer,) if close(factor, 1) else (layer, PlannedLayer(Rescaling, {"scale": factor, "offset": 0.0}))
