"""The test accuracy of the five published networks, with their author's training and with the best recipe.

    python benchmarks/networks.py --json benchmarks/results/networks.json [--data-dir DIR] [--threads 2]
    python benchmarks/networks.py --json benchmarks/results/digits.json --dataset digits --model keras_cnn

Each run is the command `tinycnn train --model MODEL --recipe RECIPE --seed SEED`, which evaluates the network once, on
all test images after the last step. After each run the result file is written. Runs that it already contains are not
repeated, so the same command continues where it was stopped.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import machine

from tinycnn import commands, models
from tinycnn.backends.threads import get_threads
from tinycnn.run.scripts import in_sentences

RECIPES = {"author": 5, "best": 3, "digits": 10}  # the number of seeds


def train(model: str, recipe: str, seed: int, options: list[str]) -> dict[str, Any]:
    """Run `tinycnn train` with ``options``: accuracy on the test images, seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train", "--model", model, "--recipe", recipe, "--seed", str(seed)]
        code = commands.main([*command, "--output", folder, "--no-plots", "--quiet", *options])
        if code:
            raise SystemExit(code)
        found = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
    run = {"model": model, "recipe": recipe, "seed": seed}
    return run | {"accuracy": found["test_accuracy"], "seconds": found["training_s"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--model", nargs="+", choices=models.MODELS, default=list(models.MODELS))
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, help="default: author and best, or digits")
    parser.add_argument("--seeds", type=machine.positive, metavar="N", help=f"default, for each recipe: {RECIPES}")
    parser.add_argument("--threads", type=machine.positive, metavar="N")
    parser.add_argument("--limit", type=int, metavar="N", help="train on the first N images only")
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args(arguments)
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    recipes = options.recipe or (["digits"] if options.dataset == "digits" else ["author", "best"])
    passed = {
        "--dataset": options.dataset,
        "--data-dir": options.data_dir,
        "--threads": options.threads,
        "--limit": options.limit,
    }
    given = [str(word) for pair in passed.items() if pair[1] is not None for word in pair]
    runs = machine.runs_in(options.json)
    done = {(run["model"], run["recipe"], run["seed"]) for run in runs}
    for seed in range(options.seeds or max(RECIPES.values())):
        for recipe in recipes:
            for model in options.model:
                if (model, recipe, seed) in done or seed >= (options.seeds or RECIPES[recipe]):
                    continue
                runs.append(train(model, recipe, seed, given))
                print(runs[-1], flush=True)
                if options.json:
                    machine.write(runs, options.threads or get_threads(), options.json)
    machine.report(runs, options.threads or get_threads(), options.json, by=("recipe", "model"))


if __name__ == "__main__":
    main()
