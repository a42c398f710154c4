"""Augmentation: every time an image is seen, it lies a little differently.

A network that has seen each digit shifted, turned, stretched, slanted and bent, or each photograph shifted and
mirrored, cannot learn its pixels by heart. One map per image tells, for each pixel of the new image, where in the old
one to look; ``Backend.gather_warped`` looks there. ``named`` makes the augmentation that goes by a name.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from tinycnn.backends.base import WAVES
from tinycnn.errors import SettingError


class Augmentation(Protocol):
    """What a trainer asks of an augmentation; its ``repr`` names all its settings."""

    terms: ClassVar[int]  # numbers per axis in a map

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, terms)`` float32 for ``Backend.gather_warped``; at ``strength`` 0, no change."""


@dataclass(frozen=True)
class Affine:
    """The largest change of each kind: ``shift`` in pixels, ``rotation`` in degrees, ``scale``, ``shear`` fractions."""

    terms: ClassVar[int] = 3

    shift: float = 2.0
    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1

    def __post_init__(self) -> None:
        for name, most in (("shift", 1000.0), ("rotation", 360.0), ("scale", 0.9), ("shear", 2.0)):
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"Affine({name}={getattr(self, name)}): expected a number from 0 to {most:g}")

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 3)`` float32: ``(row, column, 1)`` from the centre → where to look, likewise.

        ``strength`` leads in a straight line from the map that changes nothing (0) to the drawn one (1).
        """
        shift_rows, shift_columns, turn, slant, stretch_rows, stretch_columns = rng.uniform(-1, 1, (6, count))
        angle = np.radians(self.rotation) * turn
        cos, sin, slant = np.cos(angle), np.sin(angle), self.shear * slant
        down, across = 1 / (1 + self.scale * stretch_rows), 1 / (1 + self.scale * stretch_columns)
        maps = np.empty((count, 2, 3))
        maps[:, 0] = np.stack([cos * down, -sin * down, self.shift * shift_rows], axis=1)
        slanted_sin, slanted_cos = sin + slant * cos, cos - slant * sin
        maps[:, 1] = np.stack([slanted_sin * across, slanted_cos * across, self.shift * shift_columns], axis=1)
        return (strength * maps + (1 - strength) * np.eye(2, 3)).astype(np.float32)  # exact at both ends


HALF_WAVES = np.array(WAVES)  # (15, 2)
SMOOTHNESS = 5 / 28  # of the image: the width of the bell that smooths the random field


@dataclass(frozen=True)
class Elastic(Affine):
    """An affine map, and then each pixel displaced by a smooth random field, ``bend`` pixels in the root mean square.

    Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", 2003, smooth a field of noise with a
    Gaussian bell. Here the same field is drawn as its 15 lowest cosine waves, for the bell leaves no others of weight:
    a batch takes 30 numbers per image, and each backend adds up the waves where it looks for the pixels.
    """

    terms: ClassVar[int] = 3 + len(HALF_WAVES)

    bend: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.bend <= 100:
            raise SettingError(f"Elastic(bend={self.bend}): expected a number of pixels from 0 to 100")

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 18)`` float32: those of `Affine`, then the heights of the waves."""
        affine = super().maps(count, rng, strength)  # (count, 2, 3)
        waves = rng.standard_normal((count, 2, len(HALF_WAVES))) * self.bend * wave_heights() * strength
        return np.concatenate([affine, waves.astype(np.float32)], axis=2)


def wave_heights() -> np.ndarray:
    """How high each wave is, ``(15,)``: as the bell leaves it, and in all a field of root mean square 1."""
    heights = np.exp(-0.5 * (np.pi * SMOOTHNESS) ** 2 * (HALF_WAVES**2).sum(axis=1))
    mean_squares = np.where(HALF_WAVES > 0, 0.5, 1).prod(axis=1)  # of a wave of height 1
    return heights / np.sqrt(heights**2 @ mean_squares)


@dataclass(frozen=True)
class FlipAndCrop:
    """Mirrors an image, left to right, with probability ``flip``, and moves it by up to ``shift`` whole pixels.

    The same as a frame of ``shift`` zeros around the image and a random crop of the old size. Whole pixels stay what
    they are, to the byte: for photographs, in which everything is sharp and seldom stands on its head.
    """

    terms: ClassVar[int] = 3

    flip: float = 0.5
    shift: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise SettingError(f"FlipAndCrop(flip={self.flip}): expected a probability from 0 to 1")
        if self.shift != int(self.shift) or not 0 <= self.shift <= 1000:
            raise SettingError(f"FlipAndCrop(shift={self.shift}): expected a whole number of pixels from 0 to 1000")

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 3)`` float32; with less ``strength``, fewer are mirrored and all move less."""
        mirrored = rng.random(count) < self.flip * strength
        moves = np.rint(rng.integers(-self.shift, self.shift, (2, count), endpoint=True) * strength)
        maps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))  # (count, 2, 3)
        maps[mirrored, 1, 1] = -1
        maps[:, :, 2] = moves.T
        return maps


NAMES = ("affine", "flip_and_crop")


def named(name: str, *, bend: float = 0.0) -> Augmentation:
    """The augmentation called ``name`` with its usual settings; ``bend`` pixels for affine ones (`Elastic`).

    Raises SettingError for an unknown name, and for photographs that are to be bent.
    """
    if name == "affine":
        return Elastic(bend=bend) if bend else Affine()
    if name == "flip_and_crop" and not bend:
        return FlipAndCrop()
    raise SettingError(f"augmentation {name!r}: expected {' or '.join(NAMES)}" + ", affine to bend" * bool(bend))


@dataclass(frozen=True)
class Fade:
    """The strength of an augmentation over a run: 1 until step ``full``, then in a straight line to 0 at step ``gone``.

    The last steps see the images as they are, those that the network will have to read.
    """

    full: float
    gone: float

    def __post_init__(self) -> None:
        if not self.full <= self.gone:
            raise SettingError(f"Fade(full={self.full}, gone={self.gone}): expected full to come first")

    @classmethod
    def towards_the_end(cls, fade_epochs: float, *, epochs: int, steps: int) -> "Fade":
        """From ``fade_epochs`` epochs before the end of a run of ``epochs`` to one before; ``steps`` in an epoch."""
        if not fade_epochs >= 1:
            raise SettingError(f"to fade {fade_epochs:g} epochs before the end: expected at least 1")
        return cls(full=(epochs - fade_epochs) * steps, gone=(epochs - 1) * steps)

    def strength(self, step: int) -> float:
        """In step number ``step`` of the run, from 0."""
        if self.full < step < self.gone:
            return (self.gone - step) / (self.gone - self.full)
        return float(step < self.gone)
