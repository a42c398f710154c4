"""The time to 99 % accuracy on the MNIST test images, starting from fresh weights.

    python examples/speedrun.py                      # one run: about a second on two cores
    python examples/speedrun.py --seeds 30           # thirty runs: mean accuracy and median time
    python examples/speedrun.py --against torch      # the same in PyTorch, too
    python examples/speedrun.py --network keras_cnn  # a published network, two epochs
    python examples/speedrun.py --held-out           # tests on 10,000 training images, which it does not train on

The clock runs from the first step to the end of the evaluation on all 10,000 images. Reading the files and compiling
kernels is done before. docs/records.md explains the recipe, which was chosen with `--held-out`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import tinycnn
from tinycnn import data, layers, models, optim
from tinycnn.backends import use_tf32
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.errors import SettingError, requires, whole_number
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

GOAL = 0.99
HELD_OUT = 10_000  # the last training images


@dataclass(frozen=True)
class Recipe:
    """A network, and how it is trained."""

    layers: Callable[[], list[layers.Layer]]
    crop: int  # pixels at each side that are cut off: the digits leave a black border
    epochs: int
    lr: float
    betas: tuple[float, float]  # of Adam
    schedule: Callable[[int], optim.Schedule]  # number of steps -> learning rate over the run
    label_smoothing: float
    batch_size: int = 128


def small() -> list[layers.Layer]:
    """38,538 parameters for 24x24 pixels; most of the arithmetic is in the second convolution."""
    return [
        *(layers.Conv2d(16, kernel_size=5), layers.ReLU(), layers.MaxPool2d()),  # (N, 10, 10, 16)
        *(layers.Conv2d(32, kernel_size=3), layers.ReLU(), layers.MaxPool2d()),  # (N, 4, 4, 32)
        *(layers.Flatten(), layers.Dense(64), layers.ReLU(), layers.Dense(10)),
    ]


def triangle(steps: int) -> optim.Schedule:
    """Up to the full rate in a straight line during the first fifth of the run, then down to 0."""
    return optim.linear(steps, warmup=0.2)


RECIPES = {
    "small": Recipe(small, 2, 1, 0.012, (0.8, 0.95), triangle, label_smoothing=0.1),
    "keras_cnn": Recipe(lambda: models.keras_cnn(), 0, 2, 3e-3, (0.9, 0.999), optim.one_cycle, label_smoothing=0.0),
}


def steps_of(recipe: Recipe, images: int) -> int:
    """The steps of a run on ``images`` training images."""
    return recipe.epochs * -(-images // recipe.batch_size)


def network(recipe: Recipe, mnist: data.Dataset, seed: int) -> tinycnn.Sequential:
    """The network with fresh weights."""
    return tinycnn.Sequential(*recipe.layers(), input_shape=mnist.input_shape, seed=seed)


def run(recipe: Recipe, mnist: data.Dataset, seed: int) -> tuple[float, float]:
    """Train once: accuracy, seconds."""
    model = network(recipe, mnist, seed)
    schedule = recipe.schedule(steps_of(recipe, len(mnist.y_train)))
    adam = optim.Adam(model.parameters(), recipe.lr, betas=recipe.betas, schedule=schedule)
    smoothing = recipe.label_smoothing
    trainer = Trainer(model, adam, batch_size=recipe.batch_size, seed=seed, label_smoothing=smoothing)
    warm_up(trainer, mnist.x_train, mnist.y_train)  # compiles
    start = time.perf_counter()
    trainer.fit(mnist.x_train, mnist.y_train, epochs=recipe.epochs)
    accuracy = evaluate(model, mnist.x_test, mnist.y_test).accuracy
    return accuracy, time.perf_counter() - start


def images(options: argparse.Namespace, crop: int) -> data.Dataset:
    """MNIST, cropped; with ``--held-out``, the last training images are the test images."""
    mnist = data.load("mnist", data_dir=options.data_dir)
    if options.held_out:
        x, y = mnist.x_train, mnist.y_train
        mnist = replace(mnist, x_train=x[:-HELD_OUT], y_train=y[:-HELD_OUT], x_test=x[-HELD_OUT:], y_test=y[-HELD_OUT:])
    inner = slice(crop, -crop or None)
    return replace(mnist, x_train=mnist.x_train[:, inner, inner].copy(), x_test=mnist.x_test[:, inner, inner].copy())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", choices=RECIPES, default="small", help="default: small")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="run with seeds 0 to N-1 (default: 1)")
    parser.add_argument("--held-out", action="store_true", help="test on training images that are held out")
    parser.add_argument("--against", choices=["torch"], help="also train the same network with PyTorch")
    parser.add_argument("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    parser.add_argument("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds MNIST")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results and the machine to FILE")
    options = parser.parse_args(arguments)
    recipe, contestants = RECIPES[options.network], {"tinycnn": run}
    sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # for PyTorch, and for the result file
    with in_sentences(parser):
        whole_number("--seeds", options.seeds, at_least=1)
        if options.json and options.json.is_dir():
            raise SettingError(f"--json {options.json}: this is a folder; expected the name of a file")
        tinycnn.use_backend(options.backend)
        set_threads(options.threads or get_threads())
        use_tf32(options.tf32)
        mnist = images(options, recipe.crop)
        if options.against:
            with requires("torch", "--against torch"):
                from speedrun_torch import torch_runs

            contestants |= torch_runs(get_threads())
    results = []
    for seed in range(options.seeds):
        for library, train in contestants.items():
            accuracy, seconds = train(recipe, mnist, seed)
            results.append({"library": library, "seed": seed, "accuracy": accuracy, "seconds": seconds})
            print(f"seed {seed}: {library} {accuracy:.2%} in {seconds:.2f} s", flush=True)
    print_summary(results, len(mnist.y_test))
    if options.json:
        import machine

        machine.write(results, get_threads(), options.json)
    return 0


def print_summary(results: list[dict], images: int) -> None:
    """Mean, deviation and median of each library, and the ratio of the medians."""
    medians = {}
    for library in dict.fromkeys(result["library"] for result in results):
        own = [result for result in results if result["library"] == library]
        accuracies = [result["accuracy"] for result in own]
        medians[library] = statistics.median(result["seconds"] for result in own)
        spread = f" ± {statistics.stdev(accuracies):.2%}" if len(own) > 1 else ""
        reached = sum(accuracy >= GOAL for accuracy in accuracies)
        print(f"{library}: {statistics.mean(accuracies):.2%}{spread} of {images:,} images, ", end="")
        print(f"{reached} of {len(own)} seeds at {GOAL:.0%} or more; median time {medians[library]:.2f} s")
    others = {library: seconds for library, seconds in medians.items() if library != "tinycnn"}
    if others:
        best = min(others, key=others.__getitem__)
        print(f"tinycnn takes {medians['tinycnn'] / others[best]:.2f} of the time of {best}, PyTorch's fastest mode")


if __name__ == "__main__":
    sys.exit(main())
