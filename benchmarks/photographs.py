"""The accuracy of a network on Fashion-MNIST, or on CIFAR-10 as a folder of pictures, with its best recipe.

    python benchmarks/photographs.py --dataset fashion_mnist --runs runs/fashion --json benchmarks/results/fashion.json
    python benchmarks/photographs.py --dataset cifar10_jpeg --seeds 0 --runs runs/cifar --json ... --threads 2
    python benchmarks/photographs.py --dataset fashion_mnist --held-out --runs runs/choice -- --lr 0.05

Each run is ``tinycnn train --model MODEL --recipe best --seed SEED``, followed by one evaluation of the last weights on
all test images: as they are, with their mirror images, and with mirrored and shifted views. ``--held-out`` is for
choosing a recipe: the last 10,000 training images take the place of the test images, which are not read. Options after
``--`` are passed to the training. The same command continues a run that was stopped: a checkpoint is written every 100
steps. Runs that the result file contains are not repeated.
"""

import argparse
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np

from tinycnn import commands, data, models
from tinycnn.run.scripts import in_sentences
from tinycnn.saving.model_file import load
from tinycnn.train.evaluation import evaluate

HELD_OUT = 10_000  # images
VIEWS = ("mirror", "mirror_and_shift")
CHECKPOINT_STEPS = 100


def held_out(dataset: data.Dataset) -> data.Dataset:
    """``dataset`` with the last training images in the place of the test images."""
    x, y = np.asarray(dataset.x_train), dataset.y_train
    kept, out = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    return replace(dataset, x_train=x[kept], y_train=y[kept], x_test=x[out], y_test=y[out])


def stored(dataset: data.Dataset, folder: Path) -> str:
    """Write the arrays to an .npz file → its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dataset.name}_held_out.npz"
    if not path.exists():
        parts = {name: getattr(dataset, name) for name in ("x_train", "y_train", "x_test", "y_test")}
        np.savez(path, **parts)
    return os.fspath(path)


def train(name: str, model: str, seed: int, folder: Path, further: list[str]) -> dict[str, Any]:
    """Run ``tinycnn train`` on the data set ``name``, or the rest of such a run: its seconds and settings."""
    command = ["train", "--dataset", name, "--model", model, "--recipe", "best", "--seed", str(seed), *further]
    kept = [*folder.glob("checkpoints/*.safetensors")]
    saving = ["--checkpoint-every", str(CHECKPOINT_STEPS), "--output", str(folder), "--csv", f"{folder}.csv"]
    if code := commands.main([*command, *saving, "--no-plots", *(["--resume"] if kept else [])]):
        raise SystemExit(code)
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"train": shlex.join(["tinycnn", *command]), "epochs": found["options"]["epochs"], "s": found["training_s"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", default="fashion_mnist", help="fashion_mnist, or the folder of pictures")
    parser.add_argument("--model", choices=models.NETWORKS, default="whitened_cnn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=machine.positive, metavar="N", help="default: those of the recipe")
    parser.add_argument("--held-out", action="store_true", help="evaluate on training images that are not trained on")
    parser.add_argument("--threads", type=machine.positive, default=2)
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR", help="folder for networks and checkpoints")
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="changes nothing: a run that was stopped is continued")
    parser.add_argument("further", nargs="*", metavar="-- OPTION", help="options of tinycnn train")
    options = parser.parse_args(arguments)
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    dataset = data.load(options.dataset)
    name = options.dataset
    if options.held_out:
        dataset = held_out(dataset)
        name = stored(dataset, options.runs)
    further = [*options.further, *(["--epochs", str(options.epochs)] if options.epochs else [])]
    runs = machine.runs_in(options.json)
    for seed in options.seeds:
        if any((run["model"], run["seed"], run["dataset"]) == (options.model, seed, dataset.name) for run in runs):
            continue
        folder = options.runs / f"{options.model}-{dataset.name}-{seed}"
        taken = train(name, options.model, seed, folder, ["--threads", str(options.threads), *further])
        network = load(folder / "model.safetensors")
        found = {view: evaluate(network, dataset.x_test, dataset.y_test, views=view).accuracy for view in VIEWS}
        found = {"plain": evaluate(network, dataset.x_test, dataset.y_test).accuracy} | found
        runs.append({"dataset": dataset.name, "model": options.model, "seed": seed, **found, **taken})
        print(runs[-1], flush=True)
        if options.json:
            machine.write(runs, options.threads, options.json)
    for kind in ("plain", *VIEWS):
        accuracies = [run[kind] for run in runs if run["model"] == options.model]
        print(f"{options.model} {kind:<17} {machine.mean_and_deviation(accuracies)} ({len(accuracies)} seeds)")


if __name__ == "__main__":
    main()
