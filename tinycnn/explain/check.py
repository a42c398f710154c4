"""Check a gradient by hand: nudge one number up and down, and see how far the loss moves.

    numeric = (loss(v + eps) - loss(v - eps)) / (2 eps)

Everything is computed in float64, in which the rounding of the loss is small enough for such a difference.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from tinycnn import ops
from tinycnn.errors import SettingError, ShapeError, in_range, shortened
from tinycnn.explain.inputs import as_input, check_classes, checked_images, plain_copy, plain_logits
from tinycnn.explain.saliency import checked_label
from tinycnn.layers import Sequential
from tinycnn.tensor import Tensor, no_grad

INPUT = "input"  # the name of the pixels


@dataclass(frozen=True)
class Nudge:
    """What `nudge` measured: ``gradient`` is that of ``backward()``, ``numeric`` the slope between the two losses.

    ``left`` and ``right`` are the slopes on either side. They differ where a ReLU or a pooling window switches between
    the two; then no single number is the slope, and ``at_kink`` is true.
    """

    name: str
    index: tuple[int, ...]
    value: float
    eps: float
    loss: float
    loss_minus: float
    loss_plus: float
    gradient: float

    @property
    def numeric(self) -> float:
        """The slope between the loss below and the loss above."""
        return (self.loss_plus - self.loss_minus) / (2 * self.eps)

    @property
    def left(self) -> float:
        """The slope from below to the value."""
        return (self.loss - self.loss_minus) / self.eps

    @property
    def right(self) -> float:
        """The slope from the value to above."""
        return (self.loss_plus - self.loss) / self.eps

    @property
    def at_kink(self) -> bool:
        """Whether the slopes on the two sides differ by more than rounding and curvature explain."""
        return abs(self.left - self.right) > 1e-4 + 1e-2 * max(abs(self.left), abs(self.right))


def nudge(
    model: Sequential,
    image: np.ndarray,
    label: int,
    name: str,
    index: tuple[int, ...],
    *,
    eps: float = 1e-5,
    training: bool = False,
) -> Nudge:
    """Compare the gradient of the loss at one number with a finite difference, both in float64.

    ``name``: a parameter such as ``conv2d_1.weight``, or ``input`` for a pixel (in units of the network's input).
    Raises SettingError for a name that the network does not have, ShapeError for an index outside of its array.
    """
    if not (isinstance(index, tuple | list) and all(isinstance(i, Integral) for i in index)):
        raise SettingError(f"nudge: index {shortened(index)}: expected whole numbers, one per axis")
    (found,) = nudges(model, image, label, [(name, tuple(index))], eps=eps, training=training)
    return found


def nudges(
    model: Sequential,
    image: np.ndarray,
    label: int,
    places: Iterable[tuple[str, tuple[int, ...]]],
    *,
    eps: float = 1e-5,
    training: bool = False,
) -> list[Nudge]:
    """``nudge`` at several places ``(name, index)``, for which the gradients are computed once."""
    image, eps = checked_images(model, image), in_range("nudge: eps", eps, above=0)
    check_classes("nudge", model)
    label = checked_label("nudge", label, model.output_shape[-1])
    with plain_copy(model, training=training, dtype=np.dtype(np.float64)) as copied:
        return list(_Nudges(copied, image, label, eps).at(places))


class _Nudges:
    """The loss of a float64 network as a function of each of its numbers."""

    def __init__(self, model: Sequential, image: np.ndarray, label: int, eps: float) -> None:
        self.model, self.label, self.eps = model, label, eps
        self.counters, self.x = model.counters(), as_input(model, image[np.newaxis])
        self.tensors = {INPUT: self.x, **dict(model.named_parameters())}
        for tensor in self.tensors.values():
            tensor.requires_grad = True  # of a frozen parameter, too
        loss = self._loss()
        loss.backward()
        self.loss = float(loss.numpy())

    def _loss(self) -> Tensor:
        self.model.load_counters(self.counters)  # the same dropout masks each time
        return ops.softmax_cross_entropy(plain_logits(self.model, self.x), np.array([self.label]))

    def at(self, places: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[Nudge]:
        """The check of each place."""
        for name, index in places:
            place = self._checked_place(name, index)
            tensor = self.tensors[name]
            assert tensor.grad is not None
            value, gradient = float(tensor.numpy()[place]), float(tensor.grad[place])
            below, above = (self._loss_with(tensor, place, value + step) for step in (-self.eps, self.eps))
            yield Nudge(name, tuple(map(int, index)), value, self.eps, self.loss, below, above, gradient)

    def _loss_with(self, tensor: Tensor, place: tuple[int, ...], value: float) -> float:
        """The loss with ``value`` at one place of ``tensor``."""
        original = tensor.data
        changed = original.copy()
        changed[place] = value
        tensor.data = changed
        with no_grad():
            loss = float(self._loss().numpy())
        tensor.data = original
        return loss

    def _checked_place(self, name: str, index: tuple[int, ...]) -> tuple[int, ...]:
        """``index`` with the batch axis of the picture; raises an error unless it is in the array ``name``."""
        if not isinstance(name, str) or name not in self.tensors:
            known = ", ".join(list(self.tensors)[1:])
            raise SettingError(f"nudge: name {shortened(name)}: expected input or one of {known}")
        tensor, place = self.tensors[name], (0, *index) if name == INPUT else tuple(index)
        if len(place) != tensor.ndim or not all(0 <= i < size for i, size in zip(place, tensor.shape, strict=True)):
            shape = tensor.shape[1:] if name == INPUT else tensor.shape
            raise ShapeError(f"nudge: index {shortened(index)} is not in {name}, which has shape {shape}")
        return place
