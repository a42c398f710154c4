"""What each trick of ``examples/speedrun.py`` brings: the recipe with one of them left out, changed or added.

    python benchmarks/ablation.py --data-dir DIR --json benchmarks/results/ablation.json [--seeds 10]

Trains on the first 50,000 training images and tests on the other 10,000, on which the recipe was chosen, too; the test
images are not used. Runs that the result file already contains are not repeated.
"""

import argparse
import runpy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import machine

import tinycnn
from tinycnn import data, layers, optim
from tinycnn.backends.threads import get_threads
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "speedrun.py"))
RECIPE = EXAMPLE["RECIPES"]["small"]


class Variant(NamedTuple):
    """A recipe, and the tricks that the recipe of the example does not have."""

    recipe: Any = RECIPE
    average: float | None = None  # the decay of a moving average of the weights
    muon: float = 0  # the rate of Muon for the filters; Adam keeps the other parameters
    views: str | None = None  # test-time augmentation


def wider() -> list[layers.Layer]:
    """The network with more filters and units, as in tuomaso/train_mnist_fast."""
    return [
        *(layers.Conv2d(24, kernel_size=5), layers.ReLU(), layers.MaxPool2d()),
        *(layers.Conv2d(32, kernel_size=3), layers.ReLU(), layers.MaxPool2d()),
        *(layers.Flatten(), layers.Dense(256), layers.ReLU(), layers.Dense(10)),
    ]


def flat(steps: int) -> optim.Schedule:
    """A constant rate with the mean of the triangle's."""
    return half


def half(step: int) -> float:
    return 0.5


VARIANTS = {
    "the recipe": Variant(),
    "no label smoothing": Variant(replace(RECIPE, label_smoothing=0.0)),
    "constant rate": Variant(replace(RECIPE, schedule=flat)),
    "rate of Adam's default, 0.001": Variant(replace(RECIPE, lr=0.001)),
    "betas of Adam's default": Variant(replace(RECIPE, betas=(0.9, 0.999))),
    "batch of 256": Variant(replace(RECIPE, batch_size=256)),
    "no crop": Variant(replace(RECIPE, crop=0)),
    "24 filters, 256 units": Variant(replace(RECIPE, layers=wider)),
    "Muon for the filters": Variant(muon=0.1),
    "average of the weights, 0.98": Variant(average=0.98),
    "five views at test time": Variant(views="shift"),
    "two epochs": Variant(replace(RECIPE, epochs=2)),
}


def run(variant: Variant, mnist: data.Dataset, seed: int) -> dict[str, float]:
    """Train once: accuracy, CPU seconds of training and evaluation."""
    recipe = variant.recipe
    model = tinycnn.Sequential(*recipe.layers(), input_shape=mnist.input_shape, seed=seed)
    schedule = recipe.schedule(EXAMPLE["steps_of"](recipe, len(mnist.y_train)))
    trainer = Trainer(
        model,
        optimizer(model, variant, schedule),
        batch_size=recipe.batch_size,
        seed=seed,
        label_smoothing=recipe.label_smoothing,
        average_weights=variant.average,
    )
    warm_up(trainer, mnist.x_train, mnist.y_train)
    start = time.process_time()
    trainer.fit(mnist.x_train, mnist.y_train, epochs=recipe.epochs)
    accuracy = evaluate(model, mnist.x_test, mnist.y_test, views=variant.views).accuracy
    return {"accuracy": accuracy, "cpu_seconds": time.process_time() - start}


def optimizer(model: tinycnn.Sequential, variant: Variant, schedule: optim.Schedule) -> optim.Optimizer:
    """Adam for all parameters, or Muon for the filters."""
    filters = [p for p in model.parameters() if p.ndim == 4 and variant.muon]
    rest = [p for p in model.parameters() if not any(p is own for own in filters)]
    adam = optim.Adam(rest, variant.recipe.lr, betas=variant.recipe.betas, schedule=schedule)
    if not filters:
        return adam
    muon = optim.MatrixMuon(filters, variant.muon, momentum=0.85, schedule=schedule)
    return optim.ParameterGroups(muon, adam)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--seeds", type=machine.positive, default=10, metavar="N")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args(arguments)
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    options.held_out = True
    tinycnn.use_backend("auto")
    mnist = {crop: EXAMPLE["images"](options, crop) for crop in (0, RECIPE.crop)}
    runs = machine.runs_in(options.json)
    done = {(run["variant"], run["seed"]) for run in runs}
    for name in options.variant:
        for seed in range(options.seeds):
            if (name, seed) in done:
                continue
            variant = VARIANTS[name]
            runs.append({"variant": name, "seed": seed} | run(variant, mnist[variant.recipe.crop], seed))
            print(runs[-1], flush=True)
            if options.json:
                machine.write(runs, get_threads(), options.json)
    machine.report(runs, get_threads(), options.json, by=("variant",))


if __name__ == "__main__":
    main()
