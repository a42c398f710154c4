"""An operation of your own, from its equation to a trained network, in one file and without changing the package.

The operation is SiLU (also called swish), a ReLU without the corner, applied to each element:

    y = x s(x)    with the sigmoid    s(x) = 1 / (1 + e⁻ˣ) = (1 + tanh(x/2)) / 2

By the product rule, and since ds/dx = s (1 - s),

    dy/dx = s + x s (1 - s) = s (1 + x (1 - s))        so    grad_x = grad_y s (1 + x (1 - s))

Five steps: the function, its check, a layer, faster kernels for two backends, and a network that uses it. Source:
Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units for neural network function approximation", 2018.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import tinycnn
from tinycnn import Tensor, layers, ops, optim
from tinycnn.gradcheck import GradcheckResult

# 1. The operation. Written with `xp` (numpy or cupy) it already runs on every backend.


def sigmoid(xp: Any, x: Any) -> Any:
    return (1 + xp.tanh(x / 2)) / 2  # 1 / (1 + e⁻ˣ) would overflow at x = -1000


class SiLUFunction(tinycnn.Function):
    def forward(self, x: Any) -> Any:
        self.x = x  # the derivative needs it
        kernel = self.backend.kernel("silu_forward")  # step 4; None where there is none
        return kernel(x) if kernel else x * sigmoid(self.backend.xp, x)

    def backward(self, grad_y: Any) -> Any:
        kernel = self.backend.kernel("silu_backward")
        if kernel:
            return kernel(self.x, grad_y)
        s = sigmoid(self.backend.xp, self.x)
        return grad_y * s * (1 + self.x * (1 - s))


def silu(x: Tensor) -> Tensor:
    """``x / (1 + e⁻ˣ)`` of each element, any shape → the same shape."""
    return SiLUFunction()(x)


# 2. Its check: the gradient against finite differences, at every element, in float64.


def check() -> GradcheckResult:
    """Raises GradientError, naming the element, when the gradient is wrong."""
    values = np.array([[-1000.0, -3.0, -0.5], [0.0, 1.0, 30.0]])
    return tinycnn.gradcheck(silu, Tensor(values, requires_grad=True))


# 3. A layer, so that a Sequential can contain it and a model file can store it.


@layers.register_layer
class SiLU(layers.Layer):
    """``x / (1 + e⁻ˣ)``."""

    def forward(self, x: Tensor) -> Tensor:
        return silu(x)


# 4. Kernels. The lines above make six passes over memory, one for each + - * / tanh; a kernel makes one.


def numba_kernel(formula: Callable[..., Any]) -> Callable[[Any], Any]:
    """A formula for one element → a loader of a compiled loop over whole arrays."""

    def load(backend: Any) -> Any:
        import numba

        one = numba.njit(formula, inline="always")

        @numba.njit(nogil=True, error_model="numpy")
        def loop(x: Any, grad_y: Any, result: Any) -> None:
            for i in range(x.size):
                result[i] = one(x[i], grad_y[i])

        def kernel(x: Any, grad_y: Any = None) -> Any:
            x, result = np.ascontiguousarray(x), np.empty(x.shape, x.dtype)
            grad_y = x if grad_y is None else np.ascontiguousarray(grad_y)
            loop(x.reshape(-1), grad_y.reshape(-1), result.reshape(-1))
            return result

        return kernel

    return load


def forward_of_one(x: Any, _: Any) -> Any:
    return x * (1 + np.tanh(x / 2)) / 2


def backward_of_one(x: Any, grad_y: Any) -> Any:
    s = (1 + np.tanh(x / 2)) / 2
    return grad_y * s * (1 + x * (1 - s))


CUDA = """
typedef REAL real;  // float or double, an option of the compiler

extern "C" __global__ void silu_forward(const real* x, const real* grad_y, real* y, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = x[i] * (1 + tanh(x[i] / 2)) / 2;
}
extern "C" __global__ void silu_backward(const real* x, const real* grad_y, real* grad_x, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    real s = (1 + tanh(x[i] / 2)) / 2;
    grad_x[i] = grad_y[i] * s * (1 + x[i] * (1 - s));
}
"""


def cuda_kernel(name: str) -> Callable[[Any], Any]:
    """The name of a kernel above → a loader that compiles it for this GPU, once per dtype."""

    def load(backend: Any) -> Any:
        cupy = backend.xp
        modules = {
            np.dtype(dtype): cupy.RawModule(code=CUDA, options=(f"-DREAL={real}",))
            for dtype, real in ((np.float32, "float"), (np.float64, "double"))
        }

        def kernel(x: Any, grad_y: Any = None) -> Any:
            x, result = cupy.ascontiguousarray(x), cupy.empty(x.shape, x.dtype)
            grad_y = x if grad_y is None else cupy.ascontiguousarray(grad_y)
            blocks = (max(1, -(-x.size // 256)),)
            modules[x.dtype].get_function(name)(blocks, (256,), (x, grad_y, result, np.int32(x.size)))
            return result

        return kernel

    return load


tinycnn.register_kernel("numba", "silu_forward", numba_kernel(forward_of_one))
tinycnn.register_kernel("numba", "silu_backward", numba_kernel(backward_of_one))
tinycnn.register_kernel("cupy", "silu_forward", cuda_kernel("silu_forward"))
tinycnn.register_kernel("cupy", "silu_backward", cuda_kernel("silu_backward"))


# 5. A network that uses it.


def train(steps: int = 60) -> list[float]:
    """The loss after each step on scikit-learn's 1,797 digits of 8x8 pixels."""
    digits = tinycnn.data.load("digits")
    model = tinycnn.Sequential(
        layers.Conv2d(8), SiLU(), layers.MaxPool2d(), layers.Flatten(), layers.Dense(10), input_shape=digits.input_shape
    )
    optimizer, losses = optim.Adam(model.parameters(), lr=0.01), []
    images = np.asarray(digits.x_train, np.float32) / 255
    for step in range(steps):
        batch = np.random.default_rng(step).integers(len(images), size=64)
        loss = ops.softmax_cross_entropy(model(images[batch]), digits.y_train[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    for name in tinycnn.available_backends():
        with tinycnn.use_backend(name) as backend:
            kernel = "own kernel" if backend.kernel("silu_forward") else "plain arithmetic"
            checked, losses = check(), train()
            print(
                f"{name}: {kernel}, {checked.checked} gradients right (worst error {checked.worst_error:.0e}), "
                f"loss {losses[0]:.2f} -> {losses[-1]:.2f}"
            )


if __name__ == "__main__":
    main()
