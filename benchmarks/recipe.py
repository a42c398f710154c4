"""The accuracy of a network with its best recipe over several seeds, without one trick, and with other recipes.

    python benchmarks/recipe.py digit_cnn --held-out 10000 --seeds 2 --ablation    # how recipes are compared
    python benchmarks/recipe.py lenet --held-out 10000 --seeds 2 --candidates --json lenet_recipes.json
    python benchmarks/recipe.py digit_cnn --seeds 5 --json digit_cnn.json          # the published figure

With ``--held-out`` the last training images are not trained on, and evaluated; the test images stay unseen. Other
options are those of ``tinycnn train``, such as ``--epochs 8 --lr 0.05``. Runs that the file of ``--json``
contains are not repeated, if it was written with the same options.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from tinycnn import data, models
from tinycnn.backends import use_backend
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.errors import DataError
from tinycnn.run.build import make_trainer
from tinycnn.run.options import add_train_options, train_config
from tinycnn.run.scripts import in_sentences
from tinycnn.train import evaluate
from tinycnn.train.warm_up import warm_up

ABLATION = {  # the trick that is left out → options of `tinycnn train`
    "nothing": [],
    "augmentation": ["--no-augment"],
    "average of the weights": ["--average-weights", "0"],
    "fading of the augmentation": ["--fade-epochs", "0"],
    "elastic distortion": ["--elastic", "0"],
    "one-cycle rate": ["--schedule", "constant", "--lr", "0.02"],
    "weight decay": ["--weight-decay", "0"],
    "the recipe: that of the author": ["--recipe", "author"],
}
ADAM = ["--optimizer", "adam", "--weight-decay", "0"]
SGD = ["--optimizer", "sgd", "--weight-decay", "0.0005"]
FADES, STAYS = ["--fade-epochs", "5"], ["--fade-epochs", "0"]
CANDIDATES = {  # recipes for the five published networks → options of `tinycnn train`
    "Adam, rate 0.003": [*ADAM, "--lr", "0.003", *STAYS],
    "Adam, rate 0.003, fading": [*ADAM, "--lr", "0.003", *FADES],
    "SGD, rate 0.05, fading": [*SGD, "--lr", "0.05", *FADES],
    "SGD, rate 0.1, fading": [*SGD, "--lr", "0.1", *FADES],
}
Examples = tuple[Any, np.ndarray]  # images and labels


def run(words: list[str], training: Examples, judged: Examples, dataset: data.Dataset) -> dict[str, Any]:
    """Train with the options ``words`` of `tinycnn train`; accuracies on the images ``judged``, and seconds."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_train_options(parser)
    config = train_config(parser.parse_args(words))
    if config.threads is not None:
        set_threads(config.threads)
    shape, classes = dataset.input_shape, dataset.num_classes
    model = models.create(config.model, seed=config.seed, input_shape=shape, classes=classes)
    trainer = make_trainer(config, model, len(training[0]))
    warm_up(trainer, *training)
    start = time.perf_counter()
    trainer.fit(*training, epochs=config.epochs)
    seconds = time.perf_counter() - start
    scores = evaluate(model, *judged)
    five, nine = (evaluate(model, *judged, views=views) for views in ("shift", "shift_9"))
    return {
        "seed": config.seed,
        "accuracy": scores.accuracy,
        "loss": scores.loss,
        "accuracy_of_5_views": five.accuracy,
        "accuracy_of_9_views": nine.accuracy,
        "seconds": seconds,
        "epochs": config.epochs,
        "why_eager": trainer.why_eager,
    }


def line(name: str, runs: list[dict[str, Any]]) -> str:
    """Mean and standard deviation of the accuracies, in percent, and the mean time."""
    words = []
    for key in ("accuracy", "accuracy_of_5_views", "accuracy_of_9_views"):
        values = [100 * one[key] for one in runs]
        spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        words.append(f"{statistics.mean(values):.3f}{spread} %")
    seconds = statistics.mean(one["seconds"] for one in runs)
    return f"{name}: {words[0]}, of 5 views {words[1]}, of 9 views {words[2]}, {seconds:.0f} s"


def finished(file: Path | None, kind: str, settings: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs of this ``kind`` in ``file``; none if there is no file. Ends the program for other ``settings``."""
    if file is None or not file.exists():
        return {}
    try:
        report = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise DataError(f"{file}: not a file of results; choose another file") from None
    if kind not in report or any(report.get(name) != value for name, value in settings.items()):
        raise SystemExit(f"{file} holds runs of another model or with other options: choose another file")
    return dict(report[kind])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("model", choices=models.NETWORKS)
    parser.add_argument("--seeds", type=machine.positive, default=5, metavar="N", help="seeds 0 to N-1 (default: 5)")
    parser.add_argument("--held-out", type=int, default=0, metavar="N", help="judge by the last N training images")
    parser.add_argument("--ablation", action="store_true", help="leave out one trick at a time")
    parser.add_argument("--candidates", action="store_true", help="compare the recipes for the five published networks")
    parser.add_argument("--dataset", default="mnist", help="default: mnist")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds the data set")
    parser.add_argument("--threads", type=machine.positive, metavar="N", help="the bits do not depend on it")
    parser.add_argument("--json", type=machine.result_file, metavar="FILE", help="write the figures, and the machine")
    options, others = parser.parse_known_args()
    with in_sentences(parser):
        benchmark(options, others)


def benchmark(options: argparse.Namespace, others: list[str]) -> None:
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    use_backend("auto")
    dataset = data.load(options.dataset, data_dir=options.data_dir)
    training, judged = (dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test)
    if options.held_out:
        (x, y), kept = training, len(training[0]) - options.held_out
        training, judged = (x[:kept], y[:kept]), (x[kept:], y[kept:])
    settings: dict[str, Any] = {
        "model": options.model,
        "judged by": f"the last {options.held_out} training images" if options.held_out else "all test images",
        "images": {"training": len(training[0]), "judged": len(judged[0])},
        "options": others,
    }
    kind = "candidates" if options.candidates else "left out"  # the key of the runs in the result file
    results = finished(options.json, kind, settings)
    compared = CANDIDATES if options.candidates else ABLATION if options.ablation else {"nothing": []}
    for name, words in compared.items():
        results.setdefault(name, [])
        for seed in range(len(results[name]), options.seeds):
            given = ["--model", options.model, "--recipe", "best", "--seed", str(seed), *threads, *others, *words]
            results[name].append(run(given, training, judged, dataset))
            print(f"  seed {seed}: {results[name][-1]['accuracy']:.2%}", flush=True)
            if options.json:
                report = {**settings, kind: results, "machine": machine.describe(get_threads())}
                options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        what = name if options.candidates else f"without {name}" if name != "nothing" else "whole recipe"
        print(line(what, results[name]), flush=True)


if __name__ == "__main__":
    main()
