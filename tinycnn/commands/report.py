"""Redraw the plots and report.html of a training run from its output folder.

It reads metrics.json and model.safetensors from the folder, and loads the data set from where the run found it, or from
--dataset. Exit codes: 0 if all plots are drawn, 1 if some failed (each is reported on stderr), 2 error.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from tinycnn import data
from tinycnn.backends import use_backend
from tinycnn.commands.shared_options import show_notice
from tinycnn.data import Dataset
from tinycnn.data.load_options import NAMES, applicable
from tinycnn.errors import DataError, printable
from tinycnn.layers import Sequential
from tinycnn.run.metrics_file import read_metrics
from tinycnn.run.results import started_in
from tinycnn.saving.model_file import load_finite


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the folder, the backend and the data."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder of a run")
    parser.add_argument("--backend", default="auto", help="auto, numpy, numba or cupy (default: auto)")
    parser.add_argument("--dataset", help="the data set of the run, if its file or folder has moved")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds the data set, if not found otherwise")


def run(options: argparse.Namespace) -> int:
    """Draw, and print what was written and what failed; returns the exit code."""
    from tinycnn import report

    use_backend(options.backend)
    results = read_metrics(options.folder / "metrics.json")
    given = results["options"]
    found = partial(as_found, started_in(options.folder, results))
    name = options.dataset or found(given["dataset"])
    if name not in NAMES and not os.path.exists(os.path.expanduser(name)):
        raise DataError(f"{printable(name)}: the data set of the run is no longer there; pass it with --dataset")
    data_dir = options.data_dir or (given["data_dir"] and found(given["data_dir"]))
    model = load_finite(options.folder / "model.safetensors")
    dataset = data.load(
        name,
        limit=given["limit"],
        **applicable(
            name,
            data_dir=data_dir,
            image_size=given.get("image_size"),  # not in the metrics of older runs
            colour=given.get("colour"),
            pixels=given.get("pixels"),
        ),
    )
    check_fits(model, dataset, options.folder)
    show_notice(dataset, options.in_options)
    drawn = report.draw(options.folder, model, dataset, results)
    for failure in drawn.failures:
        print(f"not drawn: {failure}", file=sys.stderr)
    print(f"{len(drawn.files)} files in {drawn.seconds:.1f} s: {options.folder / 'report.html'}")
    return 1 if drawn.failures else 0


def as_found(folder: str, path: str) -> str:
    """``path`` from ``folder``, where the run was started, if it is there; otherwise ``path``, from where we are."""
    there = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    return there if path not in NAMES and os.path.exists(there) else path


def check_fits(model: Sequential, dataset: Dataset, folder: Path) -> None:
    """Raise DataError unless the network in ``folder`` takes the images of ``dataset`` and has one output per class."""
    ours, theirs = (model.input_shape, model.output_shape), (dataset.input_shape, (dataset.num_classes,))
    if ours != theirs:
        raise DataError(
            f"{folder}: model.safetensors takes images {ours[0]} and returns {ours[1]}, but the data "
            f"set, {dataset.name}, has images {theirs[0]} of {theirs[1][0]} classes; pass the output folder of one "
            "run, or its --dataset"
        )
