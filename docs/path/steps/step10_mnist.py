"""Step 10: MNIST, 60,000 digits of 28x28 pixels, with two convolutions and Adam.

    python docs/path/steps/step10_mnist.py             # one epoch: about a minute
    python docs/path/steps/step10_mnist.py 10000       # the first 10,000 images only

Only the size and the optimizer are new. Plain descent takes the same rate for every weight; Adam divides by the typical
size of each weight's gradient, so the rate is about the distance that a weight moves per step (chapter 8). Only the
reading of the files is the package's: without MNIST and the internet it gives 1,797 smaller digits, scaled up.
"""

import sys
import time

import numpy as np
from step04_tensor import Tensor
from step05_dense import Dense, ReLU, parameters
from step06_softmax import SoftmaxCrossEntropy, accuracy, batches
from step07_convolution import Flatten
from step08_im2col import Conv2d
from step09_pooling import MaxPool2d

from tinycnn import data


class Adam:
    """Two running means for each weight: of the gradient, and of its square. Source: Kingma and Ba, 2014."""

    def __init__(self, tensors, rate=2e-3):
        self.tensors, self.rate, self.steps = tensors, rate, 0
        self.means = [(np.zeros_like(x.data), np.zeros_like(x.data)) for x in tensors]

    def step(self):
        """Move every weight, and clear its gradient."""
        self.steps += 1
        for x, (mean, square) in zip(self.tensors, self.means, strict=True):
            mean += 0.1 * (x.grad - mean)
            square += 0.001 * (x.grad * x.grad - square)
            unbiased_mean, unbiased_square = mean / (1 - 0.9**self.steps), square / (1 - 0.999**self.steps)
            x.data -= self.rate * unbiased_mean / (np.sqrt(unbiased_square) + 1e-8)
            x.grad = 0.0


def start():
    """The weights of the network: 5,258 numbers."""
    return parameters((3, 3, 1, 8), (8,), (3, 3, 8, 16), (16,), (400, 10), (10,))


def network(images, learned):
    """Byte images (N, 28, 28, 1) → 10 logits."""
    filters1, bias1, filters2, bias2, weight, bias = learned
    x = Tensor(images / 255)
    x = MaxPool2d()(ReLU()(Conv2d()(x, filters1, bias1)))  # (N, 13, 13, 8)
    x = MaxPool2d()(ReLU()(Conv2d()(x, filters2, bias2)))  # (N, 5, 5, 16)
    return Dense()(Flatten()(x), weight, bias)  # (N, 10)


def train(images, labels, learned, network=network):
    """One epoch of batches of 64; of a small data set as many epochs as give 300 steps."""
    optimizer, began = Adam(learned), time.perf_counter()
    for epoch in range(max(1, 300 * 64 // len(images))):
        for x, y in batches(images, labels, size=64, seed=epoch):
            loss = SoftmaxCrossEntropy(y)(network(x, learned))
            loss.backward()
            optimizer.step()
            if optimizer.steps % 100 == 0:
                print(f"step {optimizer.steps:3}  loss {loss.data:.3f}  {time.perf_counter() - began:.1f} s")


def accuracy_on(images, labels, learned, network=network):
    """The share of the test images that are read correctly, a thousand at a time."""
    parts = range(0, len(labels), 1000)
    right = [accuracy(network(images[i : i + 1000], learned), labels[i : i + 1000]) for i in parts]
    return float(np.average(right, weights=[len(labels[i : i + 1000]) for i in parts]))


def main(limit=None):
    """Train for one epoch and test."""
    mnist = data.load("auto")
    learned = start()
    train(mnist.x_train[:limit], mnist.y_train[:limit], learned)
    reached = accuracy_on(mnist.x_test, mnist.y_test, learned)
    print(f"{reached:.1%} of {len(mnist.y_test):,} test images are read correctly ({mnist.name})")
    return reached


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
