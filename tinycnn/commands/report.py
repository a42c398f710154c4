"""Redraw the plots and report.html of a training run from its output folder.

It reads metrics.json and model.safetensors from the folder, and loads the data set from where the run found it. Exit
codes: 0 if all plots are drawn, 1 if some failed (each is reported on stderr), 2 error.
"""

import argparse
import sys
from pathlib import Path

from tinycnn import data
from tinycnn.backends import use_backend
from tinycnn.commands.shared_options import show_notice
from tinycnn.data import Dataset
from tinycnn.data.load_options import applicable
from tinycnn.errors import DataError
from tinycnn.layers import Sequential
from tinycnn.run.metrics_file import read_metrics
from tinycnn.saving.model_file import load_finite


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the folder, the backend and the data."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="output folder of a run")
    parser.add_argument("--backend", default="auto", help="auto, numpy, numba or cupy (default: auto)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds the data set, if not found otherwise")


def run(options: argparse.Namespace) -> int:
    """Draw, and print what was written and what failed; returns the exit code."""
    from tinycnn import report

    use_backend(options.backend)
    results = read_metrics(options.folder / "metrics.json")
    given = results["options"]
    model = load_finite(options.folder / "model.safetensors")
    dataset = data.load(
        given["dataset"],
        limit=given["limit"],
        **applicable(
            given["dataset"],
            data_dir=options.data_dir or given["data_dir"],
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


def check_fits(model: Sequential, dataset: Dataset, folder: Path) -> None:
    """Raise DataError unless the network in ``folder`` takes the images of ``dataset`` and has one output per class."""
    ours, theirs = (model.input_shape, model.output_shape), (dataset.input_shape, (dataset.num_classes,))
    if ours != theirs:
        raise DataError(
            f"{folder}: model.safetensors takes images {ours[0]} and returns {ours[1]}, but {dataset.name}, which "
            f"metrics.json names, has images {theirs[0]} of {theirs[1][0]} classes; pass the output folder of one run"
        )
