"""The accuracy of `wide_whitened_cnn` on CIFAR-10 as a folder of pictures, with cutout.

    python benchmarks/cutout.py FOLDER --json benchmarks/results/cifar10_jpeg_wide_cutout.json

Before each epoch, a square of every training image, at a random place, is replaced by the mean colour (DeVries and
Taylor, "Improved regularization of convolutional neural networks with cutout", 2017). The rest is the recipe "best" of
the network, with more epochs. The test images are evaluated once, at the end: as they are, with mirror images, and with
mirrored and shifted views.
"""

import argparse
import time

import machine
import numpy as np

from tinycnn import data, models
from tinycnn.backends import use_backend
from tinycnn.backends.threads import set_threads
from tinycnn.run.build import make_trainer
from tinycnn.run.options import add_train_options, train_config
from tinycnn.run.scripts import in_sentences
from tinycnn.train import evaluate, whiten

MODEL = "wide_whitened_cnn"
PLACES_SEED = 77  # of the squares


def cut(images: np.ndarray, whole: np.ndarray, size: int, rng: np.random.Generator) -> None:
    """Write ``whole (N, H, W, C)`` into ``images``, with a square around a random pixel of each in the mean colour."""
    images[:] = whole
    colour, half = whole.mean((0, 1, 2)).astype(whole.dtype), size // 2
    for image, (row, column) in zip(images, rng.integers(0, whole.shape[1], (len(whole), 2)), strict=True):
        image[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = colour


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", help="pictures in train/CLASS and test/CLASS")
    parser.add_argument("--size", type=int, default=10, metavar="N", help="pixels; 0: none (default: 10)")
    parser.add_argument("--epochs", type=machine.positive, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=machine.positive, default=1)
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    use_backend("numba")
    set_threads(options.threads)
    dataset = data.load(options.folder)
    whole, labels = np.asarray(dataset.x_train), dataset.y_train
    model = models.create(MODEL, seed=options.seed, input_shape=dataset.input_shape, classes=dataset.num_classes)
    whiten(model, whole)
    words = ["--model", MODEL, "--recipe", "best", "--epochs", str(options.epochs), "--seed", str(options.seed)]
    recipe = argparse.ArgumentParser(allow_abbrev=False)
    add_train_options(recipe)
    trainer = make_trainer(train_config(recipe.parse_args(words)), model, len(whole))
    images, places, start = whole.copy(), np.random.default_rng(PLACES_SEED), time.perf_counter()
    cut(images, whole, options.size, places)
    for result in trainer.epochs(images, labels, epochs=options.epochs, progress=False):
        print(f"epoch {result.epoch}: loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}", flush=True)
        cut(images, whole, options.size, places)
    test = dataset.x_test, dataset.y_test
    found = {"plain": evaluate(model, *test).accuracy}
    found |= {view: evaluate(model, *test, views=view).accuracy for view in ("mirror", "mirror_and_shift")}
    found["training images"] = evaluate(model, whole[:4000], labels[:4000]).accuracy
    run = {"dataset": dataset.name, "model": MODEL, "size": options.size, "seed": options.seed, **found}
    print(run)
    if options.json:
        runs = [{**run, "epochs": options.epochs, "s": time.perf_counter() - start}]
        machine.write(runs, options.threads, options.json)


if __name__ == "__main__":
    main()
