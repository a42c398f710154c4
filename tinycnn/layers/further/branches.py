"""Branches: layers that give the same input to several layers and join the results.

A branch is a layer, or a list of layers that run one after the other. A residual network is a ``Sequential`` of these:

    Residual(Conv2d(8, padding=1), BatchNorm(), ReLU(), Conv2d(8, padding=1), BatchNorm())     body(x) + x
    Concatenate(Identity(), [BatchNorm(), ReLU(), Conv2d(8, padding=1)])                       a DenseNet block
    Multiply(Identity(), [AvgPool2d(6), Conv2d(2, 1), ReLU(), Conv2d(8, 1), Sigmoid()])        squeeze and excite

Sources: He et al., "Deep residual learning", 2015; Huang et al., "Densely connected convolutional networks", 2016; Hu
et al., "Squeeze-and-excitation networks", 2017.
"""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any, Self

import numpy as np

from tinycnn import ops
from tinycnn.errors import SettingError, ShapeError, shortened
from tinycnn.layers.base import Layer, Shape, register_layer
from tinycnn.layers.building import building
from tinycnn.layers.sequential import Sequential, layer_names
from tinycnn.tensor import Tensor

Branch = Layer | Sequence[Layer]


@register_layer
class Identity(Layer):
    """The input itself, any shape → the same shape."""

    allocates_output = False

    def forward(self, x: Tensor) -> Tensor:
        return x

    def flops(self, input_shape: Shape) -> int:
        return 0


@register_layer
class Residual(Layer):
    """``body(x) + shortcut(x)``; the body is ``layers``, one after the other, and the shortcut is the input itself.

    ``shortcut``: a layer or a list of layers, for a body that changes the shape, such as ``Conv2d(16, 1, stride=2)``.
    Raises ShapeError unless body and shortcut have the same output shape.
    """

    def __init__(self, *layers: Layer, shortcut: Branch | None = None) -> None:
        super().__init__()
        self.body = Sequential(*layers)
        self.shortcut = Identity() if shortcut is None else as_layer("Residual", shortcut)
        layer_names((self.body, self.shortcut), "Residual")

    def sublayers(self) -> dict[str, Layer]:
        return {"body": self.body, "shortcut": self.shortcut}

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        with building(self, rng, dtype) as build_inner:
            shapes = [build_inner(layer, input_shape) for layer in (self.body, self.shortcut)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                f"Residual: the body returns {shapes[0]}, the shortcut {shapes[1]}, but the two are added: use "
                "`padding` in the body, or a `shortcut` with the same strides and filters"
            )
        return shapes[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)

    def flops(self, input_shape: Shape) -> int:
        return prod(self.output_shape)

    def settings(self) -> dict[str, Any]:
        shortcut = None if isinstance(self.shortcut, Identity) else self.shortcut
        return {"layers": tuple(self.body.layers.values()), "shortcut": shortcut}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        return cls(*settings["layers"], **{name: value for name, value in settings.items() if name != "layers"})

    def __repr__(self) -> str:
        settings = self.settings()
        shortcut = [f"shortcut={settings['shortcut']!r}"] if settings["shortcut"] else []
        return f"Residual({', '.join([*map(repr, settings['layers']), *shortcut])})"


class _Branches(Layer):
    """Several layers with the same input; a subclass joins their outputs."""

    def __init__(self, *branches: Branch) -> None:
        super().__init__()
        kind = type(self).__name__
        self.branches = tuple(as_layer(kind, branch) for branch in branches)
        if len(self.branches) < 2:
            raise SettingError(f"{kind} got {len(branches)} branches, expected at least two layers or lists of layers")
        self._by_name = dict(zip(layer_names(self.branches, kind), self.branches, strict=True))

    def sublayers(self) -> dict[str, Layer]:
        return self._by_name

    def build(self, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
        with building(self, rng, dtype) as build_inner:
            return self.joined_shape([build_inner(branch, input_shape) for branch in self.branches])

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        """The output shape, from those of the branches, which must broadcast against each other."""
        try:
            return np.broadcast_shapes(*shapes) if len({*map(len, shapes)}) == 1 else self._refuse(shapes)
        except ValueError:
            return self._refuse(shapes)

    def _refuse(self, shapes: list[Shape]) -> Shape:
        raise ShapeError(
            f"{type(self).__name__}: the branches return {', '.join(map(str, shapes))}, expected equal shapes, or 1 in "
            "place of a size"
        )

    def flops(self, input_shape: Shape) -> int:
        return (len(self.branches) - 1) * prod(self.output_shape)

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        return cls(*settings["branches"], **{name: value for name, value in settings.items() if name != "branches"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.branches))})"


@register_layer
class Add(_Branches):
    """The sum of the outputs of several branches, which have the same shape, or broadcast as ``(1, 1, C)`` does.

    Raises ShapeError if they do not.
    """

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.branches)
        for y in others:
            first = first + y
        return first


@register_layer
class Multiply(_Branches):
    """The product of the outputs of several branches, which have the same shape, or broadcast as ``(1, 1, C)`` does.

    Raises ShapeError if they do not.
    """

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (branch(x) for branch in self.branches)
        for y in others:
            first = first * y
        return first


@register_layer
class Maximum(_Branches):
    """The largest of the outputs of several branches, which have the same shape, or broadcast as ``(1, 1, C)`` does.

    Raises ShapeError if they do not. Of equal numbers, the first receives the gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        return reduce(ops.maximum, [branch(x) for branch in self.branches])


@register_layer
class Minimum(_Branches):
    """The smallest of the outputs of several branches, which have the same shape, or broadcast as ``(1, 1, C)`` does.

    Raises ShapeError if they do not. Of equal numbers, the first receives the gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        return reduce(ops.minimum, [branch(x) for branch in self.branches])


@register_layer
class Concatenate(_Branches):
    """The channels of several branches one behind the other: ``(…, C1), (…, C2)`` → ``(…, C1 + C2)``.

    Raises ShapeError for branches with different heights or widths.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.concatenate([branch(x) for branch in self.branches], axis=-1)

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ShapeError(
                f"Concatenate: the branches return {', '.join(map(str, shapes))}, expected shapes that differ only in "
                "the last size, the channels"
            )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def flops(self, input_shape: Shape) -> int:
        return 0


def as_layer(kind: str, branch: Any) -> Layer:
    """A branch as one layer: a list becomes a ``Sequential``; raises SettingError for anything but layers."""
    if isinstance(branch, Layer):
        return branch
    if isinstance(branch, list | tuple) and branch and all(isinstance(layer, Layer) for layer in branch):
        return branch[0] if len(branch) == 1 else Sequential(*branch)
    raise SettingError(f"{kind} takes layers such as Conv2d(32) and lists of layers, got {shortened(branch)}")
