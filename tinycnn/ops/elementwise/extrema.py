"""The larger, or the smaller, of two elements: y = max(a, b) or y = min(a, b).

The output depends only on the element that was chosen, which receives ``grad_y``; the other receives 0. In a tie, the
first input is chosen, as in ``Tensor.max``. NaN wins over every number. The inputs broadcast against each other.
"""

from tinycnn.backends.base import Array
from tinycnn.tensor import Tensor, _Elementwise


class MaximumFunction(_Elementwise):
    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        self.first = ~(a < b)
        return self.backend.xp.maximum(a, b)

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y * self.first, grad_y * ~self.first)


class MinimumFunction(_Elementwise):
    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        self.first = ~(a > b)
        return self.backend.xp.minimum(a, b)

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y * self.first, grad_y * ~self.first)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """The larger of each pair, ``a`` and ``b`` broadcast; raises ShapeError if their shapes do not allow it."""
    return MaximumFunction()(a, b)


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of each pair, ``a`` and ``b`` broadcast; raises ShapeError if their shapes do not allow it."""
    return MinimumFunction()(a, b)
