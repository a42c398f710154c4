"""Step 8: the same convolution as one matrix product.

    python docs/path/steps/step08_im2col.py

A Python loop takes microseconds for each window, far more than the arithmetic of the window. So each window is first
copied into one row of a matrix ``cols`` (im2col), and then there is one product: step 5's dense layer, with windows in
place of images. Its gradients are those of step 5. ``grad_cols`` has one entry for each copy of a pixel, and the
gradient of a pixel is the sum over its copies (col2im).
"""

import time

import numpy as np
from step04_tensor import Function, largest_error
from step05_dense import parameters
from step06_softmax import SoftmaxCrossEntropy, digits, train
from step07_convolution import Conv2d as ByLoops
from step07_convolution import Flatten, network, start


def im2col(x, KH, KW):
    """(N, H, W, C) → (N*OH*OW, KH*KW*C): one row for each window. The loop is over the KH*KW places in a window."""
    N, H, W, C = x.shape
    OH, OW = H - KH + 1, W - KW + 1
    cols = np.empty((N, OH, OW, KH, KW, C), dtype=x.dtype)
    for kh, kw in np.ndindex(KH, KW):
        cols[:, :, :, kh, kw] = x[:, kh : kh + OH, kw : kw + OW]
    return cols.reshape(N * OH * OW, KH * KW * C)


def col2im(cols, shape, KH, KW):
    """The other way: every pixel is the sum of its copies; (N*OH*OW, KH*KW*C) → ``shape``, (N, H, W, C)."""
    N, H, W, C = shape
    OH, OW = H - KH + 1, W - KW + 1
    x, cols = np.zeros(shape, dtype=cols.dtype), cols.reshape(N, OH, OW, KH, KW, C)
    for kh, kw in np.ndindex(KH, KW):
        x[:, kh : kh + OH, kw : kw + OW] += cols[:, :, :, kh, kw]
    return x


class Conv2d(Function):
    """As in step 7: x (N, H, W, C), weight (KH, KW, C, F), bias (F,) → (N, OH, OW, F)."""

    def forward(self, x, weight, bias):
        (N, H, W, _), (KH, KW, _, F) = x.shape, weight.shape
        self.x_shape, self.weight, self.cols = x.shape, weight, im2col(x, KH, KW)
        y = self.cols @ weight.reshape(-1, F) + bias  # (N*OH*OW, F)
        return y.reshape(N, H - KH + 1, W - KW + 1, F)

    def backward(self, grad_y):
        grad_y = grad_y.reshape(-1, self.weight.shape[-1])  # (N*OH*OW, F)
        grad_weight = (self.cols.T @ grad_y).reshape(self.weight.shape)
        return self.grad_x(grad_y), grad_weight, grad_y.sum(axis=0)

    def grad_x(self, grad_y):
        """The gradient of the images, in their shape."""
        KH, KW, _, F = self.weight.shape
        return col2im(grad_y @ self.weight.reshape(-1, F).T, self.x_shape, KH, KW)


def same_numbers():
    """The largest difference of outputs and gradients between the loops and the matrix product."""
    results = []
    for convolution in (ByLoops, Conv2d):
        x, *learned = tensors = parameters((2, 6, 5, 3), (3, 3, 3, 2), (2,))
        logits = Flatten()(convolution()(x, *learned))
        SoftmaxCrossEntropy(np.array([1, 0]))(logits).backward()
        results.append([logits.data, *(tensor.grad for tensor in tensors)])
    return max(abs(one - other).max() for one, other in zip(*results, strict=True))


def step(images, labels, convolution):
    """Forward and backward of one training step."""
    SoftmaxCrossEntropy(labels)(network(images, start(), convolution)).backward()


def fastest_s(function, *arguments, tries=5):
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - began)
    return min(times)


def main(epochs=8):
    """The same numbers as by loops, in less time; then train to the end."""
    print("the same numbers as by loops:", same_numbers() < 1e-12)  # the same numbers as by loops: True
    x, *learned = parameters((2, 4, 5, 3), (3, 3, 3, 2), (2,))
    loss = lambda: SoftmaxCrossEntropy(np.array([1, 0]))(Flatten()(Conv2d()(x, *learned)))  # noqa: E731
    error = largest_error(loss, x, *learned)
    print("gradients agree with finite differences:", error < 1e-7)  # gradients agree with finite differences: True

    (images, labels), _ = digits()
    slow, fast = (fastest_s(step, images[:32], labels[:32], convolution) for convolution in (ByLoops, Conv2d))
    print(f"a step of 32 images: {slow * 1e3:.1f} ms by loops, {fast * 1e3:.1f} ms as a product")
    return train(lambda x, learned: network(x, learned, Conv2d), start(), epochs)


if __name__ == "__main__":
    main()
