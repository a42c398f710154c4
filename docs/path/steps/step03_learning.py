"""Step 3: numbers that learn. A network of three neurons learns "either, but not both".

    python docs/path/steps/step03_learning.py

A neuron multiplies its inputs by weights and adds a bias. Two of the three then apply ReLU, max(x, 0), to the sum.
Without ReLU, any number of neurons would be one straight line, and no straight line separates this table. The network
begins with random weights, measures how wrong it is by one number, the loss, and moves every weight a little against
its gradient.

Try the rates 0.1, 0.2 and 0.3 in `main`, then the seeds 1, 2, 3 and 15. Where the loss stops above 0, print what each
neuron computes for the four inputs, and find out why it learns no further. Lesson 3 of docs/teaching.md says what
happens.
"""

import random

from step02_each_once import Number

TABLE = [((0, 0), 0), ((0, 1), 1), ((1, 0), 1), ((1, 1), 0)]  # inputs, and what is wanted


def relu(x):
    """max(x, 0): slope 1 where x is positive, else 0."""
    return Number(max(x.value, 0.0), (x,), (float(x.value > 0),))


def weights(seed):
    """Two neurons with two inputs, one neuron with theirs; each has a bias last."""
    draw = random.Random(seed)
    return [[Number(draw.uniform(-1, 1)) for _ in range(3)] for _ in range(3)]


def network(layers, inputs):
    """Two neurons with ReLU, and one without, since its output may be any number."""
    *hidden, last = layers
    outputs = [relu(neuron(own, inputs)) for own in hidden]
    return neuron(last, outputs)


def neuron(own, inputs):
    """own[0] * inputs[0] + own[1] * inputs[1] + own[2]."""
    total = own[-1]
    for weight, x in zip(own[:-1], inputs, strict=True):
        total = total + weight * x
    return total


def loss_of(layers):
    """The sum over the table of (output - wanted)^2."""
    total = Number(0.0)
    for inputs, wanted in TABLE:
        error = network(layers, [Number(float(x)) for x in inputs]) + Number(-float(wanted))
        total = total + error * error
    return total


def main(steps=201, rate=0.02, seed=14):
    """Descend, and print the loss and the outputs of the network."""
    layers = weights(seed)
    for step in range(steps):
        loss = loss_of(layers)
        loss.backward()
        if step % 20 == 0:
            print(f"step {step:3}  loss {loss.value:.4f}")
        if loss.value > 1000:
            print(f"step {step:3}  loss above 1000: each step goes too far, and the next one farther")
            break
        for weight in (weight for own in layers for weight in own):
            weight.value -= rate * weight.grad  # downhill
            weight.grad = 0.0  # the next step adds up its own
    for inputs, wanted in TABLE:
        output = network(layers, [Number(float(x)) for x in inputs]).value
        # + 0.0 makes 0.0 of -0.0
        print(inputs, "wanted", wanted, "output", round(output, 1) + 0.0)
    return loss_of(layers).value


if __name__ == "__main__":
    main()
