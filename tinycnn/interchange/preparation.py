"""What was done to the pixels before the first layer of an imported network, which its file does not record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.interchange.planned import PlannedLayer
from tinycnn.layers import Normalization, Rescaling
from tinycnn.layers.interface.likely_pixels import by_numbers
from tinycnn.layers.metadata import BYTES

Numbers = float | Sequence[float]  # one for all channels, or one for each


@dataclass(frozen=True)
class Preparation:
    """``x scale + offset``, or ``(x - mean) / std``; raises SettingError for other numbers and for both at once."""

    scale: float | None = None
    offset: float = 0.0
    mean: Numbers | None = None
    std: Numbers | None = None

    def __post_init__(self) -> None:
        if self.scale is None and self.offset:
            raise SettingError("`offset`: requires `scale`; the network receives pixels times scale plus offset")
        if (self.mean is None) != (self.std is None):
            name, missing = ("mean", "std") if self.std is None else ("std", "mean")
            raise SettingError(f"`{name}`: requires `{missing}`; the network receives (pixels - mean) / std")
        if self.scale is not None and self.mean is not None:
            raise SettingError("`scale` and `mean` both prepare the pixels: pass `mean` and `std`, or `scale`")
        self.layers()

    def layers(self) -> list[PlannedLayer]:
        """The layer to put in front of the network, if there is one."""
        if self.mean is not None and self.std is not None:
            layer = Normalization(self.mean, self.std)  # which checks the numbers
            return [PlannedLayer(Normalization, {"mean": layer.mean, "std": layer.std})]
        if self.scale is None:
            return []
        return [
            PlannedLayer(Rescaling, {"scale": finite("scale", self.scale), "offset": finite("offset", self.offset)})
        ]

    def pixels(self) -> tuple[str, str]:
        """The range of the pixels that this prepares, and the reason."""
        if self.mean is None or self.std is None:
            return BYTES, "`scale` applies to bytes"
        found, _ = by_numbers(float(np.max(self.mean)), float(np.max(self.std)), "")
        return found, f"`mean` and `std` look like those of pixels {found}"

    def of(self, x: np.ndarray) -> np.ndarray:
        """The prepared images ``x (..., C)``."""
        if self.mean is not None and self.std is not None:
            return (x - np.asarray(self.mean, x.dtype)) / np.asarray(self.std, x.dtype)
        return x if self.scale is None else x * self.scale + self.offset


NOTHING = Preparation()


def finite(name: str, value: float) -> float:
    """``value`` as a float; raises SettingError unless it is a finite number."""
    if not isinstance(value, Real) or not math.isfinite(value):
        raise SettingError(f"`{name}={value!r:.60}`: expected a finite number")
    return float(value)
