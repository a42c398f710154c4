"""Augmentation: each training image is transformed at random every time it is used.

A network that sees each digit shifted, rotated, scaled, sheared and bent, or each photograph shifted and mirrored,
cannot memorise its pixels. One map per image gives, for each pixel of the new image, a position in the old one;
``Backend.gather_warped`` samples there. ``named`` returns an augmentation by its name.
"""

import sys
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tinycnn.backends.base import WAVES
from tinycnn.errors import SettingError, in_range, shortened, whole_number
from tinycnn.other_names.arguments import NamedArguments
from tinycnn.other_names.modules import missing_name, public_names


class Augmentation(Protocol):
    """The interface that a trainer uses; the ``repr`` of an augmentation contains all its settings.

    An augmentation may have an attribute ``edge``, see `reflects`.
    """

    terms: ClassVar[int]  # numbers per axis in a map

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, terms)`` float32 for ``Backend.gather_warped``; identity maps at ``strength`` 0."""


REFLECT, BLACK = EDGES = "reflect", "black"


def reflects(augment: Augmentation) -> bool:
    """Whether an image continues as its reflection beyond its edges (``edge = "reflect"``), instead of in black."""
    return getattr(augment, "edge", BLACK) == REFLECT


@dataclass(frozen=True)
class Affine(NamedArguments):
    """Random affine maps, up to ``shift`` pixels, ``rotation`` degrees, ``scale`` and ``shear`` as fractions."""

    terms: ClassVar[int] = 3

    shift: float = 2.0
    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1

    def __post_init__(self) -> None:
        for name, most in (("shift", 1000.0), ("rotation", 360.0), ("scale", 0.9), ("shear", 2.0)):
            in_range(f"Affine: {name}", getattr(self, name), at_least=0, at_most=most)

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 3)`` float32: ``(row, column, 1)`` → source ``(row, column)``, both from the centre.

        ``strength`` interpolates linearly from the identity (0) to the random map (1).
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
SMOOTHNESS = 5 / 28  # of the image: the standard deviation of the Gaussian that smooths the random field


@dataclass(frozen=True)
class Elastic(Affine):
    """An affine map, then a smooth random displacement of each pixel, with a root mean square of ``bend`` pixels.

    Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks", 2003, which smooths noise
    with a Gaussian. Here the same field is drawn as its 15 lowest cosine waves: the Gaussian leaves the others a
    negligible weight. A batch needs 30 numbers per image, and each backend sums the waves when it samples the pixels.
    """

    terms: ClassVar[int] = 3 + len(HALF_WAVES)

    bend: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.bend, Real) and 0 <= self.bend <= 100):
            raise SettingError(f"Elastic: got `bend={self.bend}`, expected a number of pixels from 0 to 100")

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 18)`` float32: those of `Affine`, then the amplitudes of the waves."""
        affine = super().maps(count, rng, strength)  # (count, 2, 3)
        waves = rng.standard_normal((count, 2, len(HALF_WAVES))) * self.bend * wave_heights() * strength
        return np.concatenate([affine, waves.astype(np.float32)], axis=2)


def wave_heights() -> np.ndarray:
    """The amplitude of each wave after smoothing, ``(15,)``, scaled so that the field has a root mean square of 1."""
    heights = np.exp(-0.5 * (np.pi * SMOOTHNESS) ** 2 * (HALF_WAVES**2).sum(axis=1))
    mean_squares = np.where(HALF_WAVES > 0, 0.5, 1).prod(axis=1)  # of a wave with amplitude 1
    return heights / np.sqrt(heights**2 @ mean_squares)


@dataclass(frozen=True)
class FlipAndCrop(NamedArguments):
    """Mirrors an image horizontally with probability ``flip``, and shifts it by up to ``shift`` whole pixels.

    This equals padding by ``shift`` pixels and a random crop of the original size. ``edge``: what the padding shows,
    "reflect" (the image itself, mirrored at its outermost pixels, as by ``np.pad(mode="reflect")``) or "black". Pixels
    keep their exact values. It suits photographs, which have sharp details and are seldom upside down.
    """

    terms: ClassVar[int] = 3

    flip: float = 0.5
    shift: int = 4
    edge: str = REFLECT

    def __post_init__(self) -> None:
        in_range("FlipAndCrop: flip", self.flip, at_least=0, at_most=1)
        in_range("FlipAndCrop: shift", whole_number("FlipAndCrop: shift", self.shift), at_most=1000)
        if self.edge not in EDGES:
            raise SettingError(f"FlipAndCrop: got `edge={shortened(self.edge)}`, expected 'reflect' or 'black'")

    def maps(self, count: int, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
        """Random maps ``(count, 2, 3)`` float32; ``strength`` scales the probability of mirroring and the shifts."""
        mirrored = rng.random(count) < self.flip * strength
        moves = np.rint(rng.integers(-self.shift, self.shift, (2, count), endpoint=True) * strength)
        maps = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))  # (count, 2, 3)
        maps[mirrored, 1, 1] = -1
        maps[:, :, 2] = moves.T
        return maps


@dataclass(frozen=True)
class AlternatingFlip(FlipAndCrop):
    """Mirrors each image in every second epoch, instead of at random, and shifts it by up to ``shift`` whole pixels.

    Mirrored at random, an image looks the same in two successive epochs with probability 1/2. Here the network always
    sees both sides of it. Which half of the images begins with the mirror image depends on their numbers. Source:
    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024. The published accuracies of `whitened_cnn` and
    `wide_whitened_cnn` were measured with the black ``edge``.
    """

    shift: int = 2
    edge: str = BLACK

    def __repr__(self) -> str:
        """All settings; without ``edge`` if it is black, so that checkpoints of older versions are resumed."""
        edge = "" if self.edge == BLACK else f", edge={self.edge!r}"
        return f"{type(self).__name__}(flip={self.flip!r}, shift={self.shift!r}{edge})"

    def maps_in_epoch(
        self, numbers: np.ndarray, epoch: int, rng: np.random.Generator, strength: float = 1.0
    ) -> np.ndarray:
        """Maps ``(count, 2, 3)`` as in ``maps``, for the images with these ``numbers (count,)`` in ``epoch``."""
        upright = FlipAndCrop(flip=0.0, shift=self.shift).maps(len(numbers), rng, strength)
        half = (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(63)  # 0 or 1, as if at random
        mirrored = ((half + np.uint64(epoch)) % 2 == 0) & (rng.random(len(numbers)) < 2 * self.flip * strength)
        upright[mirrored, 1, 1] = -1
        return upright


NAMES = ("affine", "flip_and_crop", "alternating_flip")


def named(name: str, *, bend: float = 0.0) -> Augmentation:
    """The augmentation called ``name`` with its default settings; ``bend`` in pixels turns "affine" into `Elastic`.

    Raises SettingError for an unknown name, and for ``bend`` with another name.
    """
    if name == "affine":
        return Elastic(bend=bend) if bend else Affine()
    if name in ("flip_and_crop", "alternating_flip") and not bend:
        return FlipAndCrop() if name == "flip_and_crop" else AlternatingFlip()
    known = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
    raise SettingError(f"augmentation {name!r}: expected {known}" + ", affine to bend" * bool(bend))


@dataclass(frozen=True)
class Fade(NamedArguments):
    """The strength of an augmentation over a run: 1 until step ``full``, then linearly down to 0 at step ``gone``.

    The last steps train on unchanged images, like those of the test set.
    """

    full: float
    gone: float

    def __post_init__(self) -> None:
        if not self.full <= self.gone:
            raise SettingError(f"Fade(full={self.full}, gone={self.gone}): expected full to come first")

    @classmethod
    def towards_the_end(cls, fade_epochs: float, *, epochs: int, steps: int) -> "Fade":
        """Fade from ``fade_epochs`` epochs before the end of a run to one epoch before; ``steps`` are per epoch."""
        if not fade_epochs >= 1:
            raise SettingError(f"`fade_epochs={fade_epochs:g}`: expected at least 1")
        return cls(full=(epochs - fade_epochs) * steps, gone=(epochs - 1) * steps)

    def strength(self, step: int) -> float:
        """The strength in step ``step`` of the run, counted from 0."""
        if self.full < step < self.gone:
            return (self.gone - step) / (self.gone - self.full)
        return float(step < self.gone)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, public_names(sys.modules[__name__]))
