"""Convolutions that run as one kernel of the backend, if it has one; the other files here have the mathematics."""

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Pair
from tinycnn.backends.fused_kernels import required
from tinycnn.tensor import Function, Tensor


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


class FusedGroupedConv2dFunction(Function):
    """An ordinary convolution for each group, by the kernel of the ordinary convolution; also for one group."""

    name = "GroupedConv2d"

    def __init__(self, stride: Pair, padding: Pair, groups: int) -> None:
        self.windows, self.groups = {"stride": stride, "padding": padding}, groups

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        bias = self.backend.xp.zeros(weight.shape[3], x.dtype) if bias is None else bias
        convolve = required(self.backend.fused.conv_forward)
        y, self.saved = [], []
        for seen, own in zip(self.parts(x.shape[3]), self.parts(weight.shape[3]), strict=True):
            y_of_group, saved = convolve(
                x[..., seen], weight[..., own], bias[own], **self.windows,
                relu=False, pool=None, need_grad_x=self.needs_grad[0],
            )  # fmt: skip
            y.append(y_of_group)  # (N, OH, OW, F/G)
            self.saved.append(saved)
        return self.joined(y, axis=3)  # (N, OH, OW, F)

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        backward, parts = required(self.backend.fused.conv_backward), self.parts(grad_y.shape[3])
        needs = {"need_grad_x": self.needs_grad[0], "need_grad_weight": any(self.needs_grad[1:])}
        grads = [backward(saved, grad_y[..., own], **needs) for saved, own in zip(self.saved, parts, strict=True)]
        axes = 3, 3, 0  # of x, weight and bias: which one the groups divide
        return tuple(
            self.joined([of_group[i] for of_group in grads], axes[i]) if needed else None
            for i, needed in enumerate(self.needs_grad)
        )

    def parts(self, size: int) -> list[slice]:
        """``size`` channels or filters in equal parts, one for each group."""
        length = size // self.groups
        return [slice(g * length, (g + 1) * length) for g in range(self.groups)]

    def joined(self, arrays: list[Array], axis: int) -> Array:
        """The results of all groups in one array."""
        return arrays[0] if self.groups == 1 else self.backend.xp.concatenate(arrays, axis=axis)


def fused_function(x: Tensor, stride: Pair, padding: Pair, groups: int) -> Function | None:
    """The function for ``groups`` groups of channels with fused kernels of the active backend; None if it has none."""
    kernels = get_backend().fused
    if x.dtype != "float32":
        return None
    if groups == x.shape[3] > 1 and kernels.depthwise_forward:
        return FusedDepthwiseConv2dFunction(stride, padding)
    return FusedGroupedConv2dFunction(stride, padding, groups) if kernels.conv_forward else None
