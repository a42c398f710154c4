"""Step 7: convolution, by its definition: a loop over all windows of all images.

    python docs/path/steps/step07_convolution.py

The dense network of step 6 does not know which pixels are neighbours, and has to learn the same stroke again at each
place. A filter is a small dense layer that looks at one window of 3x3 pixels; the same filter goes over the whole
image. Loops in Python are slow, so only a few steps are taken, and the test has 100 digits. The accuracy is below that
of step 6, until step 8 makes the steps fast.

Each weight is used once per window, and a pixel once per window that covers it. The gradient of a number that is used
several times is the sum over its uses, and so both gradients are a ``+=`` in the same loop.
"""

import numpy as np
from step04_tensor import Function, Tensor, largest_error
from step05_dense import Dense, ReLU, descend, parameters
from step06_softmax import SoftmaxCrossEntropy, accuracy, batches, digits


class Conv2d(Function):
    """x (N, H, W, C), weight (KH, KW, C, F), bias (F,) → (N, OH, OW, F), with OH = H - KH + 1."""

    def forward(self, x, weight, bias):
        self.x, self.weight = x, weight
        N, H, W, _ = x.shape
        KH, KW, _, F = weight.shape
        y = np.empty((N, H - KH + 1, W - KW + 1, F))
        for n, oh, ow in np.ndindex(y.shape[:3]):
            window = x[n, oh : oh + KH, ow : ow + KW]  # (KH, KW, C)
            y[n, oh, ow] = (window[..., None] * weight).sum(axis=(0, 1, 2)) + bias  # (F,)
        return y

    def backward(self, grad_y):
        KH, KW = self.weight.shape[:2]
        grad_x, grad_weight = np.zeros_like(self.x), np.zeros_like(self.weight)
        for n, oh, ow in np.ndindex(grad_y.shape[:3]):
            place = n, slice(oh, oh + KH), slice(ow, ow + KW)
            grad_x[place] += self.weight @ grad_y[n, oh, ow]  # (KH, KW, C, F) @ (F,) → (KH, KW, C)
            grad_weight += self.x[place][..., None] * grad_y[n, oh, ow]  # (KH, KW, C, 1) * (F,)
        return grad_x, grad_weight, grad_y.sum(axis=(0, 1, 2))


class Flatten(Function):
    """(N, H, W, C) → (N, H*W*C): the same numbers in one row per image."""

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, grad_y):
        return grad_y.reshape(self.shape)


def network(images, learned, convolution=Conv2d):
    """Images (N, 8, 8, 1) → four filters → (N, 6, 6, 4) → 10 logits."""
    filters, filter_bias, weight, bias = learned
    seen = ReLU()(convolution()(Tensor(images), filters, filter_bias))  # (N, 6, 6, 4)
    return Dense()(Flatten()(seen), weight, bias)  # (N, 10)


def start():
    """The weights of the network."""
    return parameters((3, 3, 1, 4), (4,), (144, 10), (10,))


def main(steps=47):
    """Check every gradient, and take a few slow steps."""
    x, *learned = parameters((2, 4, 5, 3), (3, 3, 3, 2), (2,))
    loss = lambda: SoftmaxCrossEntropy(np.array([1, 0]))(Flatten()(Conv2d()(x, *learned)))  # noqa: E731
    error = largest_error(loss, x, *learned)
    print("gradients agree with finite differences:", error < 1e-7)  # gradients agree with finite differences: True

    (images, labels), (test_images, test_labels) = digits()
    learned = start()
    for _, (x, y) in zip(range(steps), batches(images, labels, size=32, seed=0), strict=False):
        SoftmaxCrossEntropy(y)(network(x, learned)).backward()
        descend(learned, rate=0.3)
    reached = accuracy(network(test_images[:100], learned), test_labels[:100])
    print(f"{reached:.0%} of 100 test digits are read correctly after {steps} steps")
    return reached


if __name__ == "__main__":
    main()
