"""Layers that are planned but not built yet, because the next node of the file may still change them.

The planned layers of an array form a list that is linked backwards: a ``Step`` is a layer and the step before it. Two
arrays of the file that have a part of their layers in common share the steps of that part. So the place where branches
part is the last step that they share.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.layers import Conv2d, ConvTranspose2d, Dense, Dropout, Layer

OF_SCOPE = "tinycnn has layers for convolutional networks, not for sequences: no recurrent layers, no attention"
MAX_DEPTH = 32  # of branches in branches
MAX_LAYERS = 4096  # counted with the layers of all branches


class Part(Layer):
    """An operator that is a layer only together with others; ``patterns.py`` joins them. Alone it is refused."""

    whole = "a longer computation"


class Affine(Part):
    """A factor and a term for every channel: a Normalization in front of a network, a BatchNorm in it."""


@dataclass(frozen=True, eq=False)
class PlannedLayer:
    """A layer with its settings, its arrays, and the layers of its branches, if it is a container of branches."""

    kind: type[Layer]
    settings: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    branches: tuple[tuple["PlannedLayer", ...], ...] = ()
    node: str = ""  # of a Part, for the message

    @property
    def is_linear(self) -> bool:
        return issubclass(self.kind, Conv2d | ConvTranspose2d | Dense)

    @cached_property
    def count(self) -> int:
        """The number of layers, with those of its branches."""
        return 1 + sum(layer.count for branch in self.branches for layer in branch)

    @cached_property
    def depth(self) -> int:
        """How deep its branches lie in branches."""
        return 1 + max((layer.depth for branch in self.branches for layer in branch), default=0) if self.branches else 0

    @cached_property
    def unique(self) -> frozenset[int]:
        """The identities of those of its layers that must not be in a network twice: with weights, or random."""
        inner = (layer.unique for branch in self.branches for layer in branch)
        return frozenset([id(self)] if self.arrays or self.kind is Dropout else []).union(*inner)

    def changed(self, **settings: Any) -> "PlannedLayer":
        """The same layer with other settings."""
        return replace(self, settings=self.settings | settings)

    def with_arrays(self, **arrays: np.ndarray) -> "PlannedLayer":
        """The same layer with other arrays."""
        return replace(self, arrays=self.arrays | arrays)


@dataclass(frozen=True, eq=False)
class Step:
    """A planned layer and the step before it; None is the input of the file."""

    layer: PlannedLayer
    before: "Step | None"

    @cached_property
    def place(self) -> int:
        """The number of steps up to this one."""
        return 1 + place(self.before)


def place(step: Step | None) -> int:
    """The number of steps from the input up to ``step``."""
    return 0 if step is None else step.place


def backwards(step: Step | None, until: Step | None = None) -> Iterator[Step]:
    """The steps from ``step`` back to the one after ``until``."""
    while step is not None and step is not until:
        yield step
        step = step.before


def layers_between(until: Step | None, step: Step | None) -> tuple[PlannedLayer, ...]:
    """The layers after ``until`` up to ``step``, in the order in which they run."""
    return tuple(one.layer for one in backwards(step, until))[::-1]


def common_step(steps: list[Step | None]) -> Step | None:
    """The last step that all have in common; None is the input of the file."""
    first, *others = steps
    for other in others:
        while first is not other:
            if place(first) >= place(other):
                first = first.before if first else None
            else:
                other = other.before if other else None
    return first


def branches_between(
    node: object, common: Step | None, steps: list[Step | None]
) -> tuple[tuple[PlannedLayer, ...], ...]:
    """The layers from ``common`` to each of ``steps``; raises FileFormatError where they are very many."""
    if sum(place(step) - place(common) for step in steps) > MAX_LAYERS:
        raise FileFormatError(f"{node}: its branches have more than {MAX_LAYERS:,} layers")
    return tuple(layers_between(common, step) for step in steps)


def checked_branches(node: object, branches: tuple[tuple[PlannedLayer, ...], ...]) -> None:
    """Raise FileFormatError where branches share weights, or where there are too many layers."""
    layers = [layer for branch in branches for layer in branch]
    if sum(layer.count for layer in layers) > MAX_LAYERS:
        raise FileFormatError(f"{node}: its branches have more than {MAX_LAYERS:,} layers")
    if max((layer.depth for layer in layers), default=0) >= MAX_DEPTH:
        raise FileFormatError(f"{node}: branches within branches, more than {MAX_DEPTH} deep")
    found = [layer.unique for layer in layers]
    if sum(map(len, found)) > len(frozenset[int]().union(*found)):
        raise FileFormatError(
            f"{node}: its inputs share layers with weights in a way that no nesting of branches expresses; tinycnn "
            "reads branches that part at one array and are joined by one Add, Mul or Concat"
        )
