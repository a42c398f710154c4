"""A progress bar for each epoch: in a terminal, in a notebook, and as a line per epoch elsewhere."""

import math
import sys
import time
import warnings
from typing import Any

from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import requires
from tinycnn.metrics import percent
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.history import EpochResult, Progress

REFRESH_S = 0.25  # reading loss and accuracy synchronises with a GPU, so not at every step


class EpochClock:
    """When, and at which image, this process started the current epoch; a resumed run may start mid-epoch."""

    def __init__(self) -> None:
        self.epoch = self.seen = 0
        self.started = 0.0

    def start_if_new_epoch(self, progress: Progress, now: float) -> bool:
        """Whether this step is the first of its epoch in this process; if so, the clock starts."""
        if progress.epoch == self.epoch:
            return False
        self.epoch, self.started = progress.epoch, now
        self.seen = 0 if progress.step == 1 else progress.seen
        return True

    def describe(self, progress: Progress, now: float) -> str:
        """Loss, accuracy and speed as text."""
        scores, elapsed_s = progress.scores(), now - self.started
        speed = f"{(progress.seen - self.seen) / elapsed_s:,.0f} images/s" if elapsed_s > 0 else ""
        return f"loss {scores.loss:.4f}{accuracy_text(scores.accuracy)}, {speed}"


class ProgressBar(Callback):
    """Shows loss, accuracy and images per second of the current epoch, with tqdm.

    ``leave``: the bar of a finished epoch stays, with the scores of the epoch and of its validation. In a notebook the
    bar is a widget where ipywidgets is installed, and text otherwise. Where there is neither a terminal nor a notebook,
    a line is printed after each epoch.
    """

    def __init__(self, *, leave: bool = True) -> None:
        self.leave, self.clock, self.shown = leave, EpochClock(), 0.0
        self.bar: Any = None
        self.in_notebook = in_notebook()
        self.shows_bars = self.in_notebook or sys.stderr.isatty()
        if self.shows_bars:
            with requires("tqdm", "a progress bar"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about ipywidgets, without which the bar is text
                from tqdm.auto import tqdm
            self.make_bar = tqdm

    def on_run_begin(self, trainer: TrainerInRun) -> None:
        """Start the clock again, for a callback that is used twice."""
        self.clock = EpochClock()

    def on_step_end(self, trainer: TrainerInRun, progress: Progress) -> None:
        """Move the bar of the epoch."""
        if not self.shows_bars or get_communicator().rank:
            return
        now = time.perf_counter()
        if self.clock.start_if_new_epoch(progress, now):
            self.bar = self.make_bar(
                total=progress.steps or None,
                initial=progress.step - 1,
                desc=f"epoch {progress.epoch}/{trainer.last_epoch}",
                unit="step",
                leave=self.leave,
                delay=0.0 if self.leave else 0.5,
                file=sys.stdout if self.in_notebook else sys.stderr,
            )
        self.bar.update(1)
        if now - self.shown > REFRESH_S:
            self.shown = now
            self.bar.set_postfix_str(self.clock.describe(progress, now), refresh=False)
        if progress.step == progress.steps and not self.leave:
            self._close()

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Show the scores of the epoch."""
        if not self.leave or get_communicator().rank:
            return
        if self.bar is not None:
            self.bar.set_postfix_str(scores_line(result), refresh=False)
            self._close()
        elif not self.shows_bars:
            print(f"epoch {result.epoch}/{trainer.last_epoch}: {scores_line(result)}", flush=True)

    def on_run_end(self, trainer: TrainerInRun, error: BaseException | None) -> None:
        """Remove the bar of an epoch that did not end."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def in_notebook() -> bool:
    """Whether this is code of a notebook: IPython runs it, for a kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def accuracy_text(accuracy: float | None) -> str:
    """``, accuracy 98.76 %``; "" for a loss without an accuracy."""
    return "" if accuracy is None or math.isnan(accuracy) else f", accuracy {percent(accuracy)}"


def scores_line(result: EpochResult) -> str:
    """Losses, accuracies and metrics of an epoch as text."""
    line = f"loss {result.train_loss:.4f}{accuracy_text(result.train_accuracy)}"
    if result.validation_loss is not None:
        line += f", validation loss {result.validation_loss:.4f}{accuracy_text(result.validation_accuracy)}"
    return line + "".join(f", {name} {value:.4f}" for name, value in result.metrics.items() if value is not None)
