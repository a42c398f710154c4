"""Step 9: max-pooling. Whether there is a stroke matters more than its exact position.

    python docs/path/steps/step09_pooling.py

Of every 2x2 window only the largest value goes on: a quarter of the numbers for the next layer. A change of the winner
changes the output by as much, a change of the others not at all; so the winner gets the whole gradient, and forward has
to remember which place in the window it had. Among equals the first one wins.
"""

import numpy as np
from step04_tensor import Function, Tensor, largest_error
from step05_dense import Dense, ReLU, parameters
from step06_softmax import SoftmaxCrossEntropy, digits, train
from step07_convolution import Flatten
from step08_im2col import Conv2d


class MaxPool2d(Function):
    """(N, H, W, C) → (N, H//2, W//2, C); an odd last row or column is in no window.

    The windows do not overlap, so each pixel is in at most one, and backward may store with ``=``. Where windows
    overlap, a pixel can win several times: then ``+=``, as in step 8's col2im.
    """

    def forward(self, x):
        self.x_shape = x.shape
        four = np.stack([x[place] for place in self.places()])  # (4, N, OH, OW, C)
        self.winner = four.argmax(axis=0)  # (N, OH, OW, C); the first of equals
        return four.max(axis=0)

    def backward(self, grad_y):
        grad_x = np.zeros(self.x_shape, dtype=grad_y.dtype)
        for number, place in enumerate(self.places()):
            grad_x[place] = grad_y * (self.winner == number)
        return grad_x

    def places(self):
        """The four places of a window, each for all windows at once."""
        _, H, W, _ = self.x_shape
        for kh, kw in np.ndindex(2, 2):
            yield np.s_[:, kh : H // 2 * 2 : 2, kw : W // 2 * 2 : 2]


def network(images, learned):
    """Images (N, 8, 8, 1) → eight filters → pooled (N, 3, 3, 8) → 10 logits."""
    filters, filter_bias, weight, bias = learned
    seen = ReLU()(Conv2d()(Tensor(images), filters, filter_bias))  # (N, 6, 6, 8)
    return Dense()(Flatten()(MaxPool2d()(seen)), weight, bias)  # (N, 10)


def main(epochs=12):
    """Check the gradient of every weight of the whole network, then train it."""
    (images, labels), _ = digits()
    learned = parameters((3, 3, 1, 8), (8,), (72, 10), (10,))
    loss = lambda: SoftmaxCrossEntropy(labels[:5])(network(images[:5], learned))  # noqa: E731
    error = largest_error(loss, *learned)
    print("gradients agree with finite differences:", error < 1e-5)  # gradients agree with finite differences: True
    for tensor in learned:
        tensor.grad = 0.0  # of the check
    return train(network, learned, epochs)


if __name__ == "__main__":
    main()
