"""ResNet-8, a small residual network, on Fashion-MNIST.

    python examples/resnet8.py

A residual block adds its input to its output, so the gradient reaches the first layers undiminished. Source: He et al.,
"Deep residual learning for image recognition", 2015; the sizes are those of MLPerf Tiny's ResNet-8.
"""

import time

import tinycnn
from tinycnn import data, optim
from tinycnn.layers import BatchNorm, Conv2d, Dense, GlobalAvgPool2d, Layer, ReLU, Residual, Sequential
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate

EPOCHS, BATCH_SIZE, RATE = 5, 64, 3e-3


def convolution(filters: int, stride: int = 1) -> list[Layer]:
    """A 3x3 convolution and its batch norm: ``(N, H, W, C)`` → ``(N, ceil(H / stride), ceil(W / stride), filters)``."""
    return [Conv2d(filters, 3, stride=stride, padding=1, bias=False), BatchNorm()]


def block(filters: int, stride: int = 1) -> list[Layer]:
    """Two convolutions, to which the input is added, and a ReLU; the shape changes as in ``convolution``."""
    shortcut = None if stride == 1 else [Conv2d(filters, 1, stride=stride, bias=False), BatchNorm()]
    return [Residual(*convolution(filters, stride), ReLU(), *convolution(filters), shortcut=shortcut), ReLU()]


def network(seed: int = 0) -> Sequential:
    return Sequential(
        *(*convolution(16), ReLU()),  # (N, 28, 28, 16)
        *block(16),  # (N, 28, 28, 16)
        *block(32, stride=2),  # (N, 14, 14, 32)
        *block(64, stride=2),  # (N, 7, 7, 64)
        GlobalAvgPool2d(),  # (N, 64)
        Dense(10),  # (N, 10)
        input_shape=(28, 28, 1),
        seed=seed,
    )


def main() -> None:
    tinycnn.use_backend("auto")
    images = data.load("fashion_mnist")
    model = network()
    print(f"{model.parameter_count():,} parameters, training on {images.name}")
    rates = optim.cosine(EPOCHS * -(-len(images.y_train) // BATCH_SIZE))  # from RATE down to 0
    trainer = Trainer(model, optim.Adam(model.parameters(), RATE, schedule=rates), batch_size=BATCH_SIZE)
    start = time.perf_counter()
    for result in trainer.epochs(images.x_train, images.y_train, epochs=EPOCHS):
        print(f"epoch {result.epoch}: loss {result.train_loss:.4f}, {time.perf_counter() - start:.0f} s")
    scores = evaluate(model, images.x_test, images.y_test)
    print(f"test accuracy {scores.accuracy:.4f} on {len(images.y_test):,} images")


if __name__ == "__main__":
    with in_sentences():
        main()
