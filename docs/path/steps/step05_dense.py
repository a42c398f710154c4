"""Step 5: a dense layer and ReLU. A network of 16 neurons learns which points lie inside a circle.

    python docs/path/steps/step05_dense.py

A dense layer is many neurons for many inputs at once, ``y = x @ weight + bias``: x (N, I), weight (I, O), bias (O,),
y (N, O). Written with indices, y[n, o] = sum_i x[n, i] weight[i, o] + bias[o], so

    d loss / d x[n, i]      = sum_o grad_y[n, o] weight[i, o]    grad_x = grad_y @ weight.T
    d loss / d weight[i, o] = sum_n x[n, i] grad_y[n, o]         grad_weight = x.T @ grad_y
    d loss / d bias[o]      = sum_n grad_y[n, o]                 grad_bias = grad_y.sum(axis=0)
"""

import numpy as np
from step04_tensor import Add, Function, Mean, Multiply, Tensor, largest_error


class Dense(Function):
    """x (N, I), weight (I, O), bias (O,) → (N, O)."""

    def forward(self, x, weight, bias):
        self.x, self.weight = x, weight
        return x @ weight + bias

    def backward(self, grad_y):
        return grad_y @ self.weight.T, self.x.T @ grad_y, grad_y.sum(axis=0)


class ReLU(Function):
    """max(x, 0), element by element."""

    def forward(self, x):
        self.positive = x > 0
        return x * self.positive

    def backward(self, grad_y):
        return grad_y * self.positive


def parameters(*shapes, seed=0):
    """Random weights with variance 2 / inputs, so that values keep their size (chapter 3), and biases of 0."""
    rng = np.random.default_rng(seed)
    fan_in = lambda shape: np.prod(shape[:-1])  # noqa: E731
    return [Tensor(rng.normal(size=s) * np.sqrt(2 / fan_in(s)) if len(s) > 1 else np.zeros(s)) for s in shapes]


def descend(tensors, rate):
    """One step against the gradients, which are then cleared."""
    for x in tensors:
        x.data -= rate * x.grad
        x.grad = 0.0


def main(steps=300):
    """Points in a square; 1 inside the circle, -1 outside; the loss is the mean square of the error."""
    points = np.random.default_rng(1).uniform(-1, 1, size=(200, 2))
    wanted = np.where((points**2).sum(axis=1, keepdims=True) < 0.6, 1.0, -1.0)  # (200, 1)
    learned = parameters((2, 16), (16,), (16, 1), (1,))

    def output():
        first_weight, first_bias, second_weight, second_bias = learned
        hidden = ReLU()(Dense()(Tensor(points), first_weight, first_bias))  # (200, 16)
        return Dense()(hidden, second_weight, second_bias)  # (200, 1)

    def loss():
        error = Add()(output(), Tensor(-wanted))  # output - wanted, (200, 1)
        return Mean()(Multiply()(error, error))

    error = largest_error(loss, *learned)
    print("gradients agree with finite differences:", error < 1e-6)  # gradients agree with finite differences: True
    for _ in range(steps):
        loss().backward()
        descend(learned, rate=0.1)
    accuracy = ((output().data > 0) == (wanted > 0)).mean()
    print(f"{accuracy:.0%} of the points are on the right side")
    return accuracy


if __name__ == "__main__":
    main()
