"""Augmentation: every time an image is seen, it lies a little differently.

A network that has seen each digit shifted, turned, stretched and slanted cannot learn its pixels by heart. One affine
map per image tells, for each pixel of the new image, where in the old one to look; ``Backend.gather_warped`` looks
there.
"""

from dataclasses import dataclass

import numpy as np

from tinycnn.errors import SettingError


@dataclass(frozen=True)
class Affine:
    """The largest change of each kind: ``shift`` in pixels, ``rotation`` in degrees, ``scale``, ``shear`` fractions."""

    shift: float = 2.0
    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1

    def __post_init__(self) -> None:
        for name, most in (("shift", 1000.0), ("rotation", 360.0), ("scale", 0.9), ("shear", 2.0)):
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"Affine({name}={getattr(self, name)}): expected a number from 0 to {most:g}")

    def maps(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Random maps ``(count, 2, 3)`` float32: ``(row, column, 1)`` from the centre → where to look, likewise."""
        shift_rows, shift_columns, turn, slant, stretch_rows, stretch_columns = rng.uniform(-1, 1, (6, count))
        angle = np.radians(self.rotation) * turn
        cos, sin, slant = np.cos(angle), np.sin(angle), self.shear * slant
        down, across = 1 / (1 + self.scale * stretch_rows), 1 / (1 + self.scale * stretch_columns)
        maps = np.empty((count, 2, 3))
        maps[:, 0] = np.stack([cos * down, -sin * down, self.shift * shift_rows], axis=1)
        slanted_sin, slanted_cos = sin + slant * cos, cos - slant * sin
        maps[:, 1] = np.stack([slanted_sin * across, slanted_cos * across, self.shift * shift_columns], axis=1)
        return maps.astype(np.float32)
