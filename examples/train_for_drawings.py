"""Train the network that comes with tinycnn, which reads the digits that you draw.

    python examples/train_for_drawings.py                                            # to runs/digit_cnn.safetensors
    python benchmarks/robustness.py runs/digit_cnn.safetensors                       # how well it reads drawings

An epoch has each training digit of MNIST twice: as it is, and redrawn, that is, turned by up to 35 degrees, with a
thinner or thicker pen, and prepared as the page prepares a drawing (``data/redrawn.py``). Network and recipe are those
of ``tinycnn train --model digit_cnn --recipe best``, with half as many epochs, without fading and distortion.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tinycnn
from tinycnn import data, models, optim
from tinycnn.backends.threads import set_threads
from tinycnn.data.augment import Affine
from tinycnn.data.redrawn import redrawn
from tinycnn.errors import SettingError
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

TURNS = 15  # degrees, on top of those of the redrawn digits


def trained(
    images: np.ndarray, labels: np.ndarray, seed: int, *, quiet: bool = False
) -> tuple[tinycnn.Sequential, float]:
    """The network after training on ``images (M, 28, 28, 1)`` and their redrawn copies, and the seconds it took."""
    recipe = models.NETWORKS["digit_cnn"].best
    model = models.create("digit_cnn", seed=seed)
    images, labels = np.concatenate([images, redrawn(images, seed)]), np.concatenate([labels, labels])
    epochs = recipe.epochs // 2
    schedule = optim.SCHEDULES[recipe.schedule](epochs * -(-len(images) // recipe.batch_size))
    optimizer = optim.SGD(
        model.parameters(), recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay, schedule=schedule
    )
    trainer = Trainer(
        model,
        optimizer,
        batch_size=recipe.batch_size,
        seed=seed,
        augment=Affine(rotation=TURNS),
        label_smoothing=recipe.label_smoothing,
        average_weights=recipe.average_weights,
    )
    warm_up(trainer, images, labels)
    start = time.perf_counter()
    trainer.fit(images, labels, epochs=epochs, progress=not quiet)
    return model, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds MNIST")
    parser.add_argument("--held-out", type=int, default=0, metavar="N", help="hold out the last N training images")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N training images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend (default: all cores)")
    parser.add_argument("--output", type=Path, default=Path("runs/digit_cnn.safetensors"), metavar="FILE")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args()
    with in_sentences(parser):
        if options.output.is_dir():
            raise SettingError(f"--output {options.output}: this is a folder; expected the name of a file")
        if options.threads is not None:
            set_threads(options.threads)
        tinycnn.use_backend("auto")
        mnist = data.load("mnist", data_dir=options.data_dir)
        x, y, x_test, y_test, what = mnist.x_train, mnist.y_train, mnist.x_test, mnist.y_test, "test"
        if options.held_out:
            kept = slice(len(x) - options.held_out), slice(len(x) - options.held_out, None)
            (x, x_test), (y, y_test), what = [x[part] for part in kept], [y[part] for part in kept], "held-out"
        model, seconds = trained(x[: options.limit], y[: options.limit], options.seed, quiet=options.quiet)
        scores = evaluate(model, x_test, y_test)
        model.class_names, model.pictures = mnist.class_names, mnist.pictures
        options.output.parent.mkdir(parents=True, exist_ok=True)
        tinycnn.save(model, options.output)
    print(f"{scores.accuracy:.2%} of all {len(y_test):,} {what} images, trained in {seconds:.0f} s: {options.output}")


if __name__ == "__main__":
    main()
