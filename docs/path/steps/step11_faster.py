"""Step 11: the same network, faster, without changing what it computes.

    python docs/path/steps/step11_faster.py

Four changes, each a few lines:

- float32 instead of float64: half of the bytes, and twice the numbers per instruction.
- No gradient of the images: it is not used, and its col2im is the most expensive part of the first layer.
- ReLU after the pool instead of before: max and ReLU may change places, since both only grow when their input grows; so
  ReLU needs a quarter of the work.
- The pool's winner without a copy of all four places: a running maximum.

NumPy cannot keep a block of numbers in the processor's cache through convolution, ReLU and pooling: each line of
step 10 reads its input from memory and writes its output there. Chapter 11 counts what can still be saved, and the
kernels in tinycnn/backends/numba save it.
"""

import sys

import numpy as np
from step04_tensor import Tensor
from step05_dense import Dense, ReLU
from step06_softmax import SoftmaxCrossEntropy
from step07_convolution import Flatten
from step08_im2col import Conv2d as CompleteConv2d
from step08_im2col import fastest_s
from step09_pooling import MaxPool2d as StackedMaxPool2d
from step10_mnist import accuracy_on, start, train
from step10_mnist import network as plain_network

from tinycnn import data


class Conv2d(CompleteConv2d):
    """Without the gradient of the images, which no function made."""

    def grad_x(self, grad_y):
        return 0.0 if self.inputs[0].creator is None else super().grad_x(grad_y)


class MaxPool2d(StackedMaxPool2d):
    """The same winners, from a running maximum."""

    def forward(self, x):
        self.x_shape = x.shape
        first, *others = self.places()
        y = x[first].copy()
        self.winner = np.zeros(y.shape, dtype=np.uint8)
        for number, place in enumerate(others, start=1):
            greater = x[place] > y  # not >=: the first of equals wins
            self.winner[greater] = number
            np.maximum(y, x[place], out=y)
        return y


def network(images, learned):
    """As in step 10; ReLU comes after the pool."""
    filters1, bias1, filters2, bias2, weight, bias = learned
    x = Tensor(images / Tensor.dtype(255))
    x = ReLU()(MaxPool2d()(Conv2d()(x, filters1, bias1)))  # (N, 13, 13, 8)
    x = ReLU()(MaxPool2d()(Conv2d()(x, filters2, bias2)))  # (N, 5, 5, 16)
    return Dense()(Flatten()(x), weight, bias)  # (N, 10)


def gradients(network, images, labels):
    """The loss and the gradient of every weight, as one list of arrays."""
    learned = start()
    loss = SoftmaxCrossEntropy(labels)(network(images, learned))
    loss.backward()
    return [loss.data, *(tensor.grad for tensor in learned)]


def in_float32(function, *arguments):
    """Call ``function`` while every new tensor is of float32."""
    Tensor.dtype = np.float32
    try:
        return function(*arguments)
    finally:
        Tensor.dtype = np.float64


def main(limit=None):
    """The same gradients, in less time; then one epoch."""
    mnist = data.load("auto")
    images, labels = mnist.x_train[:64], mnist.y_train[:64]
    pairs = zip(gradients(plain_network, images, labels), gradients(network, images, labels), strict=True)
    difference = max(abs(one - other).max() for one, other in pairs)
    print("the same gradients as in step 10:", difference < 1e-12)  # the same gradients as in step 10: True
    before = fastest_s(gradients, plain_network, images, labels)
    after = fastest_s(in_float32, gradients, network, images, labels)
    print(f"a step of 64 images: {before * 1e3:.1f} ms in step 10, {after * 1e3:.1f} ms now")
    learned = in_float32(start)
    in_float32(train, mnist.x_train[:limit], mnist.y_train[:limit], learned, network)
    reached = in_float32(accuracy_on, mnist.x_test, mnist.y_test, learned, network)
    print(f"{reached:.1%} of {len(mnist.y_test):,} test images are read correctly ({mnist.name})")
    return reached


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
