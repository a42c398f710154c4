"""Step 4: arrays instead of numbers.

    python docs/path/steps/step04_tensor.py

A network of this package has 225,034 weights. One Python object for each would be slow, so a Tensor holds a whole
array, and an operation is an object of its own, a Function: ``forward`` computes the output from the inputs and keeps
what the derivative needs, ``backward`` turns grad_y, d loss / d y, into one gradient per input. The engine is that of
step 2.

One question is new: ``matrix + row`` adds the row to every row of the matrix. The row is used once per row of the
matrix, so its gradient is a sum over them: ``unbroadcast``.
"""

import numpy as np


class Tensor:
    """An array, the function that made it, and d loss / d array, of the same shape."""

    dtype = np.float64

    def __init__(self, data, creator=None):
        self.data, self.creator, self.grad = np.asarray(data, dtype=self.dtype), creator, 0.0

    def backward(self):
        """Visit each function behind this one number once, latest first."""
        self.grad = np.ones_like(self.data)
        for function in self.functions_behind():
            grads = function.backward(function.y.grad)
            for x, grad in zip(function.inputs, grads if isinstance(grads, tuple) else (grads,), strict=True):
                x.grad = x.grad + grad

    def functions_behind(self):
        """All functions that led to this tensor, latest first."""
        found, to_visit = set(), [self]
        while to_visit:
            creator = to_visit.pop().creator
            if creator is not None and creator not in found:
                found.add(creator)
                to_visit += creator.inputs
        return sorted(found, key=lambda function: function.place, reverse=True)


class Function:
    """An operation: subclasses write ``forward`` on arrays, and ``backward`` for the gradient of the output."""

    count = 0

    def __call__(self, *inputs):
        Function.count += 1
        self.place, self.inputs = Function.count, inputs
        self.y = Tensor(self.forward(*(x.data for x in inputs)), creator=self)
        return self.y


def unbroadcast(grad, shape):
    """Sum ``grad`` over what was repeated, so that it has the ``shape`` of the input."""
    added = grad.ndim - len(shape)
    repeated = tuple(axis + added for axis, size in enumerate(shape) if size == 1 and grad.shape[axis + added] > 1)
    return grad.sum(axis=(*range(added), *repeated), keepdims=True).reshape(shape)


class Add(Function):
    def forward(self, a, b):
        self.shapes = a.shape, b.shape
        return a + b

    def backward(self, grad_y):
        return tuple(unbroadcast(grad_y, shape) for shape in self.shapes)


class Multiply(Function):
    def forward(self, a, b):
        self.a, self.b = a, b
        return a * b

    def backward(self, grad_y):
        return unbroadcast(grad_y * self.b, self.a.shape), unbroadcast(grad_y * self.a, self.b.shape)


class Mean(Function):
    def forward(self, x):
        self.shape = x.shape
        return x.mean()

    def backward(self, grad_y):
        return np.full(self.shape, grad_y / np.prod(self.shape))


def largest_error(loss, *tensors, eps=1e-6):
    """Gradients of ``loss()`` against finite differences, for every element: the largest difference."""
    for x in tensors:
        x.grad = 0.0
    loss().backward()
    errors = []
    for x in tensors:
        for index in np.ndindex(x.data.shape):
            original, sides = x.data[index], []
            for moved in (original + eps, original - eps):
                x.data[index] = moved
                sides.append(loss().data)
            x.data[index] = original
            errors.append(abs(x.grad[index] - (sides[0] - sides[1]) / (2 * eps)))
    return max(errors)


def main():
    """Gradients of a broadcast computation, checked."""
    rng = np.random.default_rng(0)
    matrix, row = Tensor(rng.normal(size=(3, 2))), Tensor(rng.normal(size=2))
    loss = lambda: Mean()(Multiply()(Add()(matrix, row), Multiply()(matrix, row)))  # noqa: E731
    error = largest_error(loss, matrix, row)
    print("gradients agree with finite differences:", error < 1e-8)  # gradients agree with finite differences: True
    print("the gradient of the row has the shape", row.grad.shape)  # the gradient of the row has the shape (2,)


if __name__ == "__main__":
    main()
