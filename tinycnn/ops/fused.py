"""Several layers as one function, for backends with kernels that compute them in one pass over memory.

These functions add no new mathematics. Each one gives the same values and gradients as the operations named in its
docstring, and tests compare the two. Fusion saves memory traffic and arithmetic: with max-pooling, only one output per
window has a gradient, bias and ReLU are needed only for the maximum of each window, and convolution outputs that lie in
no window are not computed.
"""

from tinycnn.backends.array_types import Array, Pair, Pool
from tinycnn.backends.fused_kernels import required
from tinycnn.tensor import Function


class FusedConvFunction(Function):
    """``max_pool2d(relu(conv2d(x, weight, bias)))``; ``relu`` and ``pool`` enable ReLU and max-pooling."""

    def __init__(self, stride: Pair, padding: Pair, relu: bool, pool: Pool | None) -> None:
        self.windows, self.relu, self.pool = {"stride": stride, "padding": padding}, relu, pool

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        inference = self.backend.fused.conv_inference
        if inference and not any(self.needs_grad):
            return inference(x, weight, bias, **self.windows, relu=self.relu, pool=self.pool)
        forward = required(self.backend.fused.conv_forward)
        y, self.saved = forward(
            x, weight, bias, **self.windows, relu=self.relu, pool=self.pool, need_grad_x=self.needs_grad[0]
        )
        return y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        needs = {"need_grad_x": self.needs_grad[0], "need_grad_weight": any(self.needs_grad[1:])}
        return required(self.backend.fused.conv_backward)(self.saved, grad_y, **needs)


class FusedNormFunction(Function):
    """``max_pool2d(batch_norm(x, gamma, beta))``; uses the batch statistics if ``mean`` and ``var`` are None."""

    def __init__(self, mean: Array | None, var: Array | None, eps: float, pool: Pool) -> None:
        self.statistics, self.eps, self.pool = (mean, var), eps, pool

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        forward = required(self.backend.fused.norm_forward)
        y, self.mean, self.var, self.saved = forward(x, gamma, beta, *self.statistics, eps=self.eps, pool=self.pool)
        self.gamma = gamma
        return y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        needs = {"need_grad_x": self.needs_grad[0], "need_grad_gamma": any(self.needs_grad[1:])}
        return required(self.backend.fused.norm_backward)(self.saved, self.gamma, grad_y, **needs)


class FusedConvNormFunction(Function):
    """``max_pool2d(batch_norm(relu(conv2d(x, weight, bias)), gamma, beta))``; settings as in ``FusedNormFunction``."""

    def __init__(
        self, stride: Pair, padding: Pair, mean: Array | None, var: Array | None, eps: float, pool: Pool
    ) -> None:
        self.windows = {"stride": stride, "padding": padding}
        self.statistics, self.eps, self.pool = (mean, var), eps, pool

    def forward(self, x: Array, weight: Array, bias: Array, gamma: Array, beta: Array) -> Array:
        forward = required(self.backend.fused.conv_norm_forward)
        arrays = x, weight, bias, gamma, beta, *self.statistics
        y, self.mean, self.var, self.saved = forward(
            *arrays, **self.windows, eps=self.eps, pool=self.pool, need_grad_x=self.needs_grad[0]
        )
        self.gamma = gamma
        return y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        need_grad_x, need_grad_weight = self.needs_grad[0], any(self.needs_grad[1:3])
        needs = {"need_grad_x": need_grad_x, "need_grad_weight": need_grad_weight}
        backward = required(self.backend.fused.conv_norm_backward)
        return backward(self.saved, self.gamma, grad_y, **needs, need_grad_gamma=any(self.needs_grad[3:]))


class FusedDenseFunction(Function):
    """``relu(dense(x, weight, bias))``; ``relu`` enables ReLU."""

    def __init__(self, relu: bool) -> None:
        self.relu = relu

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        inference = self.backend.fused.dense_inference
        if inference and not any(self.needs_grad):
            return inference(x, weight, bias, relu=self.relu)
        self.x, self.weight = x, weight
        self.y = required(self.backend.fused.dense_forward)(x, weight, bias, relu=self.relu)
        return self.y

    def backward(self, grad_y: Array) -> tuple[Array | None, ...]:
        needs = {"need_grad_x": self.needs_grad[0], "need_grad_weight": any(self.needs_grad[1:])}
        backward = required(self.backend.fused.dense_backward)
        return backward(self.x, self.weight, self.y, grad_y, relu=self.relu, **needs)


class FusedDropoutFunction(Function):
    """``dropout``: recomputes the mask in the backward pass instead of storing it."""

    name = "Dropout"

    def __init__(self, p: float, key: Pair) -> None:
        self.p, self.key = p, key

    def forward(self, x: Array) -> Array:
        return required(self.backend.fused.dropout)(x, self.p, self.key)

    def backward(self, grad_y: Array) -> Array:
        return required(self.backend.fused.dropout)(grad_y, self.p, self.key)


class FusedSoftmaxCrossEntropyFunction(Function):
    """``softmax_cross_entropy``: loss and gradient in one pass, during the forward pass."""

    name = "SoftmaxCrossEntropy"
    grad_y_may_be_none = True

    def __init__(self, labels: Array) -> None:
        self.labels = labels

    def forward(self, logits: Array) -> Array:
        kernel = required(self.backend.fused.softmax_cross_entropy)
        loss, self.grad_logits = kernel(logits, self.backend.asarray(self.labels))  # (), (N, K)
        return loss

    def backward(self, grad_loss: Array | None) -> Array:
        grad, self.grad_logits = self.grad_logits, None  # not stored any more: the engine copies stored arrays
        return grad if grad_loss is None else grad * grad_loss  # (N, K)
