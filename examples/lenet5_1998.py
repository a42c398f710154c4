"""LeNet-5 as it was published in 1998, with tanh and average pooling, on MNIST.

    python examples/lenet5_1998.py

The layers and their sizes are those of LeCun et al., "Gradient-based learning applied to document recognition", 1998,
section II.B; the frame of two zero pixels makes its input of 32x32. Three things are simpler here, as in most programs
that bear its name: a pool has no factor and bias of its own, each map of the second convolution sees all six maps
before it, and the last layer ends in softmax with cross-entropy. The paper reports 0.95 % errors after 20 epochs.
"""

import time

import tinycnn
from tinycnn import data, optim
from tinycnn.layers import AvgPool2d, Conv2d, Dense, Flatten, Sequential, Tanh
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate

EPOCHS, BATCH_SIZE, RATE = 8, 64, 2e-3
GLOROT = "glorot_uniform"  # tanh keeps a signal that neither grows nor shrinks


def network(seed: int = 0) -> Sequential:
    """61,706 parameters; C1, S2, C3, S4, C5, F6 and the output are the names of the paper."""
    return Sequential(
        *(Conv2d(6, 5, padding=2, initializer=GLOROT), Tanh()),  # C1 (N, 28, 28, 6)
        AvgPool2d(2),  # S2 (N, 14, 14, 6)
        *(Conv2d(16, 5, initializer=GLOROT), Tanh()),  # C3 (N, 10, 10, 16)
        AvgPool2d(2),  # S4 (N, 5, 5, 16)
        Flatten(),  # (N, 400)
        *(Dense(120, initializer=GLOROT), Tanh()),  # C5: a convolution over all of S4 is a dense layer
        *(Dense(84, initializer=GLOROT), Tanh()),  # F6
        Dense(10, initializer=GLOROT),  # (N, 10)
        input_shape=(28, 28, 1),
        seed=seed,
    )


def main() -> None:
    tinycnn.use_backend("auto")
    mnist = data.load("auto")
    print(mnist.notice or f"training on {mnist.name}")
    model = network()
    print(f"{model.parameter_count():,} parameters")
    rates = optim.cosine(EPOCHS * -(-len(mnist.y_train) // BATCH_SIZE))  # from RATE down to 0 over the whole run
    trainer = Trainer(model, optim.Adam(model.parameters(), RATE, schedule=rates), batch_size=BATCH_SIZE)
    start = time.perf_counter()
    for result in trainer.epochs(mnist.x_train, mnist.y_train, epochs=EPOCHS):
        print(f"epoch {result.epoch}: loss {result.train_loss:.4f}, {time.perf_counter() - start:.0f} s")
    scores = evaluate(model, mnist.x_test, mnist.y_test)
    print(f"test accuracy {scores.accuracy:.4f} on {len(mnist.y_test):,} images")


if __name__ == "__main__":
    with in_sentences():
        main()
