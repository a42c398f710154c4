"""Several runs side by side: what they reached, and in which options they differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinycnn.errors import FileFormatError, SettingError, printable
from tinycnn.metrics import percent
from tinycnn.run.folder import METRICS, STAGED
from tinycnn.run.metrics_file import read_metrics
from tinycnn.run.results import NO_EFFECT_ON_RESULTS
from tinycnn.train.history import EpochResult, History, best

COLUMNS = ("run", "network", "data", "epochs", "test accuracy", "test loss", "best validation", "training")


@dataclass(frozen=True)
class FoundRun:
    """The results of one run: its folder, relative to the folder that was searched, and its ``metrics.json``."""

    name: str
    metrics: dict[str, Any]

    @property
    def history(self) -> History:
        """The results of its epochs."""
        return History(EpochResult(**epoch) for epoch in self.metrics["epochs"])


def find_runs(folder: Path) -> tuple[list[FoundRun], list[str]]:
    """The runs in ``folder`` and the folders inside it, best test accuracy first; a sentence for each unreadable one.

    Raises SettingError if there is none.
    """
    if not folder.is_dir():
        raise SettingError(f"{printable(str(folder))}: no such folder; pass the folder that holds the outputs of runs")
    found, failures = [], []
    for path in sorted(folder.rglob(METRICS)):
        if STAGED in path.parts:
            continue
        try:
            name = str(path.parent.relative_to(folder)) if path.parent != folder else folder.name or "."
            found.append(FoundRun(name, read_metrics(path)))
        except FileFormatError as error:
            failures.append(str(error))
    if not found:
        more = f" that can be read: {failures[0]}" if failures else ": train one with `tinycnn train`"
        raise SettingError(f"{printable(str(folder))} contains no results of a run{more}")
    return sorted(found, key=lambda run: (-run.metrics["test_accuracy"], run.name)), failures


def rows(runs: Sequence[FoundRun]) -> list[list[str]]:
    """A row of texts for each run, in the order of COLUMNS."""
    return [_row(run) for run in runs]


def _row(run: FoundRun) -> list[str]:
    metrics, chosen = run.metrics, best(run.history)
    validation = f"{percent(chosen.validation_accuracy or 0)}, epoch {chosen.epoch}" if chosen else "–"
    return [
        printable(run.name),
        printable(metrics["model"]),
        printable(metrics["dataset"]),
        f"{len(metrics['epochs'])}",
        percent(metrics["test_accuracy"]),
        f"{metrics['test_loss']:.4f}",
        validation,
        f"{metrics['training_s']:,.1f} s",
    ]


def differences(runs: Sequence[FoundRun]) -> list[list[str]]:
    """The options in which the runs differ: a row for each, the name first, then its value in every run."""
    names = {name for run in runs for name in run.metrics["options"]} - NO_EFFECT_ON_RESULTS
    values = {name: [run.metrics["options"].get(name) for run in runs] for name in sorted(names)}
    return [
        [printable(name.replace("_", " ")), *(_shown(value) for value in own)]
        for name, own in values.items()
        if any(value != own[0] for value in own)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value in (None, [], "") else printable(f"{value:g}" if isinstance(value, float) else str(value))


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Rows of texts below a head, in columns as wide as their longest text; numbers are not aligned."""
    lines = [list(head), *map(list, body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
