"""Depthwise convolution by the kernels of a backend that has some; the mathematics are in ``depthwise.py``."""

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair
from tinycnn.backends.fused_kernels import required
from tinycnn.ops.convolutions.depthwise import DepthwiseConv2dFunction
from tinycnn.tensor import Function


class FusedDepthwiseConv2dFunction(Function):
    name = "DepthwiseConv2d"

    def __init__(self, stride: Pair, padding: Pair) -> None:
        self.windows = {"stride": stride, "padding": padding}

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        bias = self.backend.xp.zeros(weight.shape[3], x.dtype) if bias is None else bias
        y, self.saved = required(self.backend.fused.depthwise_forward)(x, weight, bias, **self.windows)
        return y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        needs = {"need_grad_x": self.needs_grad[0], "need_grad_weight": any(self.needs_grad[1:])}
        grads = required(self.backend.fused.depthwise_backward)(self.saved, grad_y, **needs)
        return grads[: len(self.inputs)]


def depthwise_function(stride: Pair, padding: Pair, dtype: object) -> Function:
    """The function with the fastest kernels for ``dtype`` on the active backend."""
    fused = dtype == "float32" and get_backend().fused.depthwise_forward
    return FusedDepthwiseConv2dFunction(stride, padding) if fused else DepthwiseConv2dFunction(stride, padding)
