"""Step 6: ten classes. A dense network learns 1,797 handwritten digits of 8x8 pixels.

    python docs/path/steps/step06_softmax.py

The network ends in one score per class, its logit. Softmax makes probabilities of them, and the loss is the negative
logarithm of the probability of the label, averaged over the batch. With z the logits, c the label, and the target t,
which is 1 at the label and 0 elsewhere,

    loss = -log p_c = log(sum_j exp(z_j)) - z_c
    d loss / d z_k = exp(z_k) / sum_j exp(z_j) - t_k = p_k - t_k

since the derivative of log(s) is 1/s, and of the sum only exp(z_k) depends on z_k. Chapter 4 has every line of it.
"""

import numpy as np
from sklearn.datasets import load_digits
from step04_tensor import Function, Tensor
from step05_dense import Dense, ReLU, descend, parameters


class SoftmaxCrossEntropy(Function):
    """Logits (N, K) → the mean of -log p[label], one number."""

    def __init__(self, labels):
        self.labels = labels  # (N,)

    def forward(self, z):
        shifted = np.exp(z - z.max(axis=1, keepdims=True))  # softmax stays the same, and exp cannot overflow
        self.p = shifted / shifted.sum(axis=1, keepdims=True)  # (N, K)
        return -np.log(self.p[np.arange(len(z)), self.labels]).mean()

    def backward(self, grad_loss):
        grad = self.p.copy()
        grad[np.arange(len(grad)), self.labels] -= 1  # p - target, (N, K)
        return grad_loss * grad / len(grad)  # / N: the loss is a mean


def digits():
    """Images ``(N, 8, 8, 1)`` from 0 to 1 and labels ``(N,)``: 1,500 to learn from, 297 by other writers."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1) / 16
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])


def batches(images, labels, size, seed):
    """All images once, in a random order, in batches."""
    order = np.random.default_rng(seed).permutation(len(images))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield images[chosen], labels[chosen]


def network(images, learned):
    """Images → logits: 64 pixels, 32 neurons, 10 logits."""
    first_weight, first_bias, second_weight, second_bias = learned
    pixels = Tensor(images.reshape(len(images), -1))  # (N, 64)
    hidden = ReLU()(Dense()(pixels, first_weight, first_bias))  # (N, 32)
    return Dense()(hidden, second_weight, second_bias)  # (N, 10)


def accuracy(logits, labels):
    """The share of images whose highest logit is that of the label."""
    return float((logits.data.argmax(axis=1) == labels).mean())


def train(network, learned, epochs):
    """Train on the digits; print and return the accuracy on images that were not trained on."""
    (images, labels), (test_images, test_labels) = digits()
    for epoch in range(epochs):
        for x, y in batches(images, labels, size=32, seed=epoch):
            SoftmaxCrossEntropy(y)(network(x, learned)).backward()
            descend(learned, rate=0.3)
    reached = accuracy(network(test_images, learned), test_labels)
    print(f"{reached:.0%} of the test digits are read correctly")
    return reached


def main(epochs=15):
    """Train the dense network."""
    return train(network, parameters((64, 32), (32,), (32, 10), (10,)), epochs)


if __name__ == "__main__":
    main()
