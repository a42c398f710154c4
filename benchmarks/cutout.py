"""The accuracy of `wide_whitened_cnn` on CIFAR-10 as a folder of pictures, with cutout and reflected edges.

    python benchmarks/cutout.py FOLDER --json benchmarks/results/cifar10_jpeg_wide_cutout.json

Before each epoch, every training image is moved by up to two pixels, with its reflection where it leaves a gap, and a
square at a random place is replaced by the mean colour (DeVries and Taylor, "Improved regularization of convolutional
neural networks with cutout", 2017). The rest is the recipe "best" of the network, with Muon, without its own
shifts, which leave black gaps. The test images are evaluated once, at the end: as they are, with mirror images, and
with ten views, mirrored and moved by one pixel, once with black gaps, once with reflected ones.
"""

import argparse
import time
from typing import Any

import machine
import numpy as np

from tinycnn import data, models
from tinycnn.backends import use_backend
from tinycnn.backends.threads import set_threads
from tinycnn.data.augment import AlternatingFlip
from tinycnn.run.build import make_trainer
from tinycnn.run.options import add_train_options, train_config
from tinycnn.run.scripts import in_sentences
from tinycnn.saving import model_file
from tinycnn.train import evaluate, predict_logits, whiten
from tinycnn.train.views import SHIFTS

MODEL = "wide_whitened_cnn"
MUON = ["--optimizer", "muon", "--lr", "0.17", "--momentum", "0.6", "--weight-decay", "0.03", "--schedule", "one_cycle"]
PLACES_SEED = 77  # of the shifts and squares


def changed(images: np.ndarray, whole: np.ndarray, size: int, shift: int, rng: np.random.Generator) -> None:
    """Write ``whole (N, H, W, C)`` into ``images``: each moved by up to ``shift`` pixels, with a square cut out."""
    count, height, width, _ = whole.shape
    colour, half = whole.mean((0, 1, 2)).astype(whole.dtype), size // 2
    moves = rng.integers(0, 2 * shift, (count, 2), endpoint=True)
    places = rng.integers(0, height, (count, 2))
    for n in range(count):
        (down, right), (row, column) = moves[n], places[n]
        images[n] = reflected(whole[n], shift)[down : down + height, right : right + width]
        images[n, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = colour


def reflected(image: np.ndarray, by: int) -> np.ndarray:
    """``image (H, W, C)`` → ``(H + 2 by, W + 2 by, C)``: continued beyond each edge by its mirror image."""
    return np.pad(image, ((by, by), (by, by), (0, 0)), mode="reflect")


def accuracy_of_ten_views(model: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """As ``views="mirror_and_shift"``, with the reflection of the image where a shift leaves a gap."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    _, height, width, _ = images.shape
    moved = (wide[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width] for down, right in SHIFTS)
    logits = [predict_logits(model, np.ascontiguousarray(view), views="mirror") for view in moved]
    return float(np.mean(np.sum(logits, axis=0).argmax(1) == labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", help="pictures in train/CLASS and test/CLASS")
    parser.add_argument("--size", type=int, default=12, metavar="N", help="pixels; 0: none (default: 12)")
    parser.add_argument("--shift", type=int, default=2, metavar="N", help="pixels (default: 2)")
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
    words = ["--model", MODEL, "--recipe", "best", "--epochs", str(options.epochs), "--seed", str(options.seed), *MUON]
    recipe = argparse.ArgumentParser(allow_abbrev=False)
    add_train_options(recipe)
    trainer = make_trainer(train_config(recipe.parse_args(words)), model, len(whole))
    trainer.augment = AlternatingFlip(shift=0)
    images, rng, start = whole.copy(), np.random.default_rng(PLACES_SEED), time.perf_counter()
    changed(images, whole, options.size, options.shift, rng)
    for result in trainer.epochs(images, labels, epochs=options.epochs, progress=False):
        seconds = time.perf_counter() - start
        line = f"loss {result.train_loss:.4f}, accuracy {result.train_accuracy:.2%}, {seconds:.0f} s"
        print(f"epoch {result.epoch}: {line}", flush=True)
        changed(images, whole, options.size, options.shift, rng)
    if options.json:  # an error below costs no training
        model_file.save(model, options.json.with_suffix(".safetensors"))
    test = dataset.x_test, dataset.y_test
    found = {"plain": evaluate(model, *test).accuracy}
    found |= {view: evaluate(model, *test, views=view).accuracy for view in ("mirror", "mirror_and_shift")}
    found["mirror_and_shift, reflected"] = accuracy_of_ten_views(model, np.asarray(dataset.x_test), dataset.y_test)
    found["training images"] = evaluate(model, whole[:4000], labels[:4000]).accuracy
    chosen = {name: getattr(options, name) for name in ("size", "shift", "seed", "epochs")}
    run = {"dataset": dataset.name, "model": MODEL, **chosen, **found, "s": time.perf_counter() - start}
    print(run)
    if options.json:
        machine.write([run], options.threads, options.json)


if __name__ == "__main__":
    main()
