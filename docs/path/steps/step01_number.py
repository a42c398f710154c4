"""Step 1: a number that remembers how it was made, and so can say what it depends on.

    python docs/path/steps/step01_number.py

Each result keeps the numbers that it was computed from, and for each of them a slope: by how much the result changes
per change of that input. No other calculus is needed. The chain rule says how to go on: the gradient of the result
(by how much the loss changes per change of the result), multiplied by the slope, is what the input contributes to the
loss through this result.
"""


class Number:
    """A value, the numbers that it was made of, and d value / d input for each of them."""

    def __init__(self, value, inputs=(), slopes=()):
        self.value, self.inputs, self.slopes = value, inputs, slopes
        self.grad = 0.0  # d result / d this, once result.backward() has run

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other), (other.value, self.value))

    def backward(self, grad=1.0):
        """Add ``grad`` here, and pass it on to the inputs, multiplied by the slopes: the chain rule."""
        self.grad += grad
        for x, slope in zip(self.inputs, self.slopes, strict=True):
            x.backward(grad * slope)


def main():
    """Chapter 1's example: the square of the distance between w x + b and 5."""
    x, w, b, minus_5 = Number(3.0), Number(2.0), Number(1.0), Number(-5.0)
    error = w * x + b + minus_5
    loss = error * error
    loss.backward()
    print("loss", loss.value)  # loss 4.0
    print("gradients: w", w.grad, "x", x.grad, "b", b.grad)  # gradients: w 12.0 x 8.0 b 4.0

    # The 12 is a prediction: raise w by 0.001, and the loss rises by about 0.012.
    moved = (2.001 * 3.0 + 1.0 - 5.0) ** 2
    print("measured for w:", round((moved - loss.value) / 0.001, 1))  # measured for w: 12.0


if __name__ == "__main__":
    main()
