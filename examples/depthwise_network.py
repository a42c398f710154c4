"""A small network of depthwise separable convolutions, as in MobileNet, on MNIST.

    python examples/depthwise_network.py

A depthwise convolution filters each channel by itself, and a 1x1 convolution mixes the channels. For 3x3 filters and 64
channels, the two need an eighth of the weights and of the arithmetic of an ordinary convolution. ``"same"`` padding is
that of Keras: a stride of 2 halves the image, rounded up. Source: Howard et al., "MobileNets", 2017.
"""

import time

import tinycnn
from tinycnn import data, optim
from tinycnn.layers import BatchNorm, Conv2d, Dense, GlobalAvgPool2d, Layer, ReLU, Sequential
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate

EPOCHS, BATCH_SIZE, RATE = 3, 64, 3e-3


def separable(channels: int, filters: int, stride: int = 1) -> list[Layer]:
    """``(N, H, W, channels)`` → ``(N, ceil(H / stride), ceil(W / stride), filters)``."""
    depthwise = Conv2d(channels, 3, stride=stride, padding="same", groups=channels, bias=False)
    pointwise = Conv2d(filters, 1, bias=False)
    return [depthwise, BatchNorm(), ReLU(), pointwise, BatchNorm(), ReLU()]


def network(seed: int = 0) -> Sequential:
    """19,000 parameters; with an ordinary 3x3 convolution in place of each pair it would have 136,000."""
    return Sequential(
        *(Conv2d(16, 3, stride=2, padding="same", bias=False), BatchNorm(), ReLU()),  # (N, 14, 14, 16)
        *separable(16, 32),  # (N, 14, 14, 32)
        *separable(32, 64, stride=2),  # (N, 7, 7, 64)
        *separable(64, 64),  # (N, 7, 7, 64)
        *separable(64, 128, stride=2),  # (N, 4, 4, 128)
        GlobalAvgPool2d(),  # (N, 128)
        Dense(10),  # (N, 10)
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
