"""Functions with a planted bug, for the tests of more than one checker."""

from tinycnn import Function


class InPlaceReLU(Function):
    """Returns the right gradient, but in the array ``grad_y``, which others may still need."""

    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad_y):
        grad_y *= self.mask
        return grad_y
