"""The results of a training run: the network, the history, the metrics, the best epoch."""

import importlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.data import Dataset
from tinycnn.errors import printable, shortened
from tinycnn.files import write_atomically
from tinycnn.layers import Sequential
from tinycnn.metrics import percent
from tinycnn.run.console import counted
from tinycnn.run.folder import EARLIER, keep_earlier, named_as_results, replacing
from tinycnn.run.metrics_file import read_json
from tinycnn.saving.model_file import of_bytes, save
from tinycnn.train.checkpoint import BEST_FILE
from tinycnn.train.evaluation import evaluate
from tinycnn.train.history import EpochResult, History, best, stalled
from tinycnn.version import __version__

NAMED_AFTER_LIBRARY = ("numba", "cupy")  # backends
NO_EFFECT_ON_RESULTS = {"quiet", "no_plots", "output", "threads", "resume", "checkpoint_every"}
NO_EFFECT_ON_RESULTS |= {"csv", "tensorboard"}
KEPT = "it will be kept in {0}, unless this run gives the same network"


def write_results(
    output: Path,
    model: Sequential,
    history: list[EpochResult],
    metrics: dict[str, Any],
    best_network: bytes | None = None,
) -> tuple[list[str], Path | None]:
    """Write the trained network, the history and ``metrics`` to the folder ``output``; returns the file names.

    ``best_network``: the content of ``BEST_FILE``. The files replace the results of an earlier run, which are
    unchanged if one of the new files cannot be written. Returns also the folder to which the earlier results have
    moved; None if there were none, or the same network.
    """
    with replacing(output) as folder:
        if best_network:
            write_atomically(folder / BEST_FILE, best_network)
        save(model, folder / "model.safetensors")
        write_atomically(folder / "history.csv", History(history).to_csv().encode())
        write_atomically(folder / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        kept = keep_earlier(output, folder)
    return ["history.csv", "metrics.json", "model.safetensors"] + [BEST_FILE] * (best_network is not None), kept


def working_folder(output: Path) -> str:
    """The folder in which the process runs, relative to ``output``, so that both can be moved together."""
    here = os.path.realpath(os.curdir)
    try:
        return os.path.relpath(here, os.path.realpath(output))
    except ValueError:  # on another drive of Windows
        return here


def started_in(folder: Path, metrics: dict[str, Any]) -> str:
    """The folder in which the run of ``folder`` was started, also of results that a later run moved to ``EARLIER``."""
    output = os.path.realpath(folder)
    outer, inner = os.path.split(os.path.dirname(output))
    return os.path.join(outer if inner == EARLIER else output, metrics.get("working_folder", os.getcwd()))


def replaced_run(output: Path, options: dict[str, Any], *, resumed: bool = False) -> str | None:
    """The earlier results in ``output``, which this run will replace, as text; None if there are none.

    A ``resumed`` run replaces its own results, which have the same options: None, too.
    """
    where, earlier_in = printable(str(output)), printable(str(output / EARLIER))
    try:
        earlier = read_json(output / "metrics.json")
        old_options, accuracy = earlier["options"], float(earlier["test_accuracy"])
        names = (old_options.keys() | options.keys()) - NO_EFFECT_ON_RESULTS
    except FileNotFoundError:
        names = ", ".join(path.name for path in named_as_results(output))
        kept = f"they will be kept in {earlier_in}, unless they are the same"
        return f"files that no run wrote in {where} ({names}); {kept}" if names else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return f"a run in {where}, whose metrics.json cannot be read; {KEPT.format(earlier_in)}"
    differing = sorted(name for name in names if old_options.get(name) != options.get(name))
    changed = [f"`{name}`" if name in options else shortened(name, 40) for name in differing]
    if resumed and not changed:
        return None
    differences = f"different {', '.join(changed)}" if changed else "the same options"
    return f"a run in {where} (test accuracy {percent(accuracy)}, {differences}); {KEPT.format(earlier_in)}"


def best_epoch(network: bytes, history: list[EpochResult], dataset: Dataset) -> dict[str, Any] | None:
    """The epoch with the smallest validation loss, and the test scores of the ``network`` kept after it."""
    epoch = best(history)
    if epoch is None:
        return None
    test = evaluate(of_bytes(network, BEST_FILE), dataset.x_test, dataset.y_test)
    scores = {name: getattr(epoch, name) for name in ("epoch", "validation_loss", "validation_accuracy")}
    return scores | {"test_accuracy": test.accuracy, "test_loss": test.loss, "file": BEST_FILE}


def versions() -> dict[str, str]:
    """Versions of tinycnn, Python, NumPy, and Numba or CuPy where it computes; a foreign backend adds none."""
    found = {"tinycnn": __version__, "python": platform.python_version(), "numpy": np.__version__}
    name = get_backend().name
    if name in NAMED_AFTER_LIBRARY:
        found[name] = importlib.import_module(name).__version__
    return found


def stopped_early(history: list[EpochResult], epochs: int, patience: int | None) -> str | None:
    """When and why a run of ``epochs`` epochs ended early, as text; None when it did not."""
    chosen = best(history)
    if patience is None or chosen is None or len(history) == epochs or not stalled(history, patience):
        return None
    duration = f"for {counted(patience, 'epoch')}; best: epoch {chosen.epoch}"
    return f"after epoch {len(history)}: the validation loss has not improved {duration}"
