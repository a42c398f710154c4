"""Step 2: every number is visited once, after all of its uses.

    python docs/path/steps/step02_each_once.py

Step 1 follows every path from the result to the inputs. In ``y = x + x; z = y + y; ...`` the number of paths doubles in
each line: after 12 lines, 4,096 paths lead to x, and step 1 arrives there 4,096 times. Here each of the 13 numbers is
visited once. What a number passes on is proportional to what it has received, so it can wait until everything has
arrived, and pass on the sum. In which order? A result is created after what it was made of, so the order of creation,
read backwards, has every use of a number before the number.
"""

from step01_number import Number as FirstNumber


class Number:
    """A number as in step 1, which also knows its place in the order of creation."""

    count = 0

    def __init__(self, value, inputs=(), slopes=()):
        self.value, self.inputs, self.slopes, self.grad = value, inputs, slopes, 0.0
        Number.count += 1
        self.place = Number.count

    def __add__(self, other):
        return Number(self.value + other.value, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Number(self.value * other.value, (self, other), (other.value, self.value))

    def behind(self):
        """All numbers that this one depends on, and itself, latest first."""
        found, to_visit = {self}, [self]
        while to_visit:  # not by recursion: Python allows only about a thousand nested calls
            new = set(to_visit.pop().inputs) - found
            found |= new
            to_visit += new
        return sorted(found, key=lambda number: number.place, reverse=True)

    def backward(self):
        """Visit each number once: its gradient is complete, because all of its uses came before."""
        self.grad = 1.0
        for number in self.behind():
            for x, slope in zip(number.inputs, number.slopes, strict=True):
                x.grad += slope * number.grad


def doubled(kind, times):
    """``2^times``, by additions: the input, and the result."""
    first = y = kind(1.0)
    for _ in range(times):
        y = y + y
    return first, y


def main():
    """Chapter 2's example, then doublings: along every path, and each number once."""
    x, y = Number(2.0), Number(3.0)
    u = x * y
    v = u + x
    loss = u * v
    loss.backward()
    print("gradients: u", u.grad, "v", v.grad, "x", x.grad, "y", y.grad)  # gradients: u 14.0 v 6.0 x 48.0 y 28.0

    start, result = doubled(FirstNumber, 12)
    result.backward()  # arrives at `start` once per path, and adds 1 each time
    print("12 doublings, step 1:", start.grad, "arrivals")  # 12 doublings, step 1: 4096.0 arrivals
    start, result = doubled(Number, 12)
    result.backward()
    print("here:", start.grad, "from", len(result.behind()), "visits")  # here: 4096.0 from 13 visits
    start, result = doubled(Number, 1000)  # step 1 would not end
    result.backward()
    print("1,000 doublings give 2^1000:", start.grad == 2.0**1000)  # 1,000 doublings give 2^1000: True


if __name__ == "__main__":
    main()
