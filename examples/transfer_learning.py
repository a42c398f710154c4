"""Transfer learning from the digits 0 to 4 to the digits 5 to 9, with only a few examples of each.

    python examples/transfer_learning.py                       # 10 examples of each of 5 to 9, five seeds
    python examples/transfer_learning.py --per-class 3 --seeds 10

A network is trained on 5,000 images of the digits 0 to 4. Then three networks are trained in the same way on the same
few examples of 5 to 9: a fresh one, a copy with a new head, and a copy with a new head and frozen convolutions.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable

import numpy as np

import tinycnn
from tinycnn import data, models, optim
from tinycnn.data.split import only_classes
from tinycnn.errors import whole_number
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate

SOURCE_IMAGES, SOURCE_EPOCHS, BATCH_SIZE = 5000, 3, 64
FEW_STEPS, FEW_BATCH = 200, 10


def train(model: tinycnn.Sequential, dataset: data.Dataset, epochs: int, batch_size: int, seed: int) -> float:
    """Train the layers that are not frozen; returns the accuracy on all test images."""
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=batch_size, seed=seed)
    trainer.fit(dataset.x_train, dataset.y_train, epochs=epochs)
    return evaluate(model, dataset.x_test, dataset.y_test).accuracy


def compare(whole: data.Dataset, per_class: int, seed: int) -> dict[str, float]:
    """The accuracy on the digits 5 to 9 for each way of training, on the same ``per_class`` examples per digit."""
    low = only_classes(whole, range(5), seed=seed)
    order = np.random.default_rng(seed).permutation(len(low.y_train))[:SOURCE_IMAGES]
    low = dataclasses.replace(low, x_train=low.x_train[order], y_train=low.y_train[order])
    high = only_classes(whole, range(5, 10), per_class=per_class, seed=seed)
    source = models.create("keras_cnn", seed=seed, input_shape=whole.input_shape, classes=5)
    train(source, low, SOURCE_EPOCHS, BATCH_SIZE, seed)
    ways: dict[str, Callable[[], tinycnn.Sequential]] = {
        "from scratch": lambda: models.create("keras_cnn", seed=seed, input_shape=whole.input_shape, classes=5),
        "new head, all trained": lambda: source.with_head(5, seed=seed),
        "new head, convolutions frozen": lambda: source.with_head(5, seed=seed).freeze_only("conv2d_1", "conv2d_2"),
    }
    epochs = -(-FEW_STEPS * FEW_BATCH // len(high.y_train))  # the same number of steps for any number of examples
    return {name: train(make(), high, epochs, FEW_BATCH, seed) for name, make in ways.items()}


def run(options: argparse.Namespace) -> None:
    whole_number("--seeds", options.seeds, at_least=1)
    whole_number("--per-class", options.per_class, at_least=1)
    tinycnn.use_backend(options.backend)
    whole = data.load("auto", data_dir=options.data_dir)
    print(whole.notice or f"{whole.name}: {options.per_class} examples of each of the digits 5 to 9", flush=True)
    results = []
    for seed in range(options.seeds):
        results.append(compare(whole, options.per_class, seed))
        print(
            f"seed {seed}: " + ", ".join(f"{name} {accuracy:.4f}" for name, accuracy in results[-1].items()), flush=True
        )
    for name in results[0]:
        found = [result[name] for result in results]
        print(f"{name:<30} mean {statistics.mean(found):.4f}, from {min(found):.4f} to {max(found):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds MNIST")
    parser.add_argument(
        "--per-class", type=int, default=10, metavar="N", help="examples of each new digit (default: 10)"
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="run with seeds 0 to N-1 (default: 5)")
    options = parser.parse_args()
    with in_sentences(parser):
        run(options)


if __name__ == "__main__":
    main()
