"""A network with two outputs of several labels each: what is in a picture of two handwritten digits, and what is true.

    python examples/several_labels.py

Several of the thirteen labels may be 1, so each has a sigmoid of its own, and the loss is the binary cross-entropy.
"""

import numpy as np

import tinycnn
from tinycnn import data, optim
from tinycnn.layers import Concatenate, Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Sigmoid
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate, predict_logits

OUTPUTS = {"digits in the picture": slice(0, 10), "facts about the pair": slice(10, 13)}
TRAINING, EPOCHS, BATCH_SIZE, RATE = 40_000, 4, 64, 2e-3
LOSS = "binary_cross_entropy_with_logits"


def pairs(images: np.ndarray, digits: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` random pairs of ``images (M, 28, 28, 1)`` → pictures ``(count, 28, 56, 1)``, labels ``(count, 13)``."""
    left, right = np.random.default_rng(seed).integers(0, len(images), (2, count))
    a, b = digits[left], digits[right]
    occurs = (a[:, None] == np.arange(10)) | (b[:, None] == np.arange(10))  # (count, 10)
    facts = np.stack([(a + b) % 2 == 0, a > b, a == b], axis=1)  # (count, 3)
    return np.concatenate([images[left], images[right]], axis=2), np.concatenate([occurs, facts], axis=1)


def network(seed: int = 0) -> Sequential:
    """Convolutions that both outputs share, and a dense layer for each output."""
    return Sequential(
        *(Conv2d(16), ReLU(), MaxPool2d()),  # (N, 13, 27, 16)
        *(Conv2d(32), ReLU(), MaxPool2d()),  # (N, 5, 12, 32)
        *(Flatten(), Dense(128), ReLU()),
        *(Concatenate(Dense(10), Dense(3)), Sigmoid()),  # (N, 13)
        input_shape=(28, 56, 1),
        seed=seed,
    )


def main() -> None:
    tinycnn.use_backend("auto")
    mnist = data.load("auto")
    print(mnist.notice or f"pairs of {mnist.name}")
    training = pairs(np.asarray(mnist.x_train), mnist.y_train, TRAINING, seed=0)
    pictures, labels = pairs(np.asarray(mnist.x_test), mnist.y_test, 10_000, seed=1)
    model = network()
    trainer = Trainer(model, optim.Adam(model.parameters(), RATE), batch_size=BATCH_SIZE, loss=LOSS)
    for result in trainer.epochs(*training, epochs=EPOCHS):
        print(f"epoch {result.epoch}: loss {result.train_loss:.4f}, right labels {result.train_accuracy:.4f}")
    print(f"right labels of all test pictures: {evaluate(model, pictures, labels, loss=LOSS).accuracy:.4f}")
    right = (predict_logits(model, pictures) > 0) == labels  # (10000, 13)
    for name, columns in OUTPUTS.items():
        print(f"{name}: all labels are right in {right[:, columns].all(axis=1).mean():.4f} of the pictures")


if __name__ == "__main__":
    with in_sentences():
        main()
