"""The display of a run in progress: a progress bar in a terminal, a plain line every 15 seconds elsewhere."""

import sys
import time

from tinycnn.metrics import percent
from tinycnn.run.console import print_line
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.callbacks.progress_bar import EpochClock, ProgressBar
from tinycnn.train.history import EpochResult, Progress

PLAIN_LINE_S = 15.0


class PlainLines(Callback):
    """Prints a line every 15 seconds, for logs and pipes."""

    def __init__(self) -> None:
        self.clock = EpochClock()
        self.shown = 0.0

    def on_step_end(self, trainer: TrainerInRun, progress: Progress) -> None:
        """Print a line if it is time for one."""
        now = time.perf_counter()
        if self.clock.start_if_new_epoch(progress, now):
            self.shown = now
        if now - self.shown > PLAIN_LINE_S:
            self.shown = now
            where = f"epoch {progress.epoch}/{trainer.last_epoch} step {progress.step}/{progress.steps}"
            print_line(f"  {where}: {self.clock.describe(progress, now)}")


def progress_display(*, quiet: bool = False) -> list[Callback]:
    """A progress bar if standard error is a terminal, else plain lines; nothing if ``quiet``."""
    if quiet:
        return []
    if not sys.stderr.isatty():
        return [PlainLines()]
    try:
        return [ProgressBar(leave=False)]
    except ImportError:
        print_line("  a progress bar requires tqdm: `pip install tqdm`")
        return [PlainLines()]


def epoch_line(result: EpochResult, epochs: int) -> str:
    """The line printed after an epoch: losses, accuracies, seconds and speed."""
    line = f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"
    line += f"  loss {result.train_loss:.4f}  accuracy {percent(result.train_accuracy)}"
    if result.validation_loss is not None:
        accuracy = percent(result.validation_accuracy or 0)
        line += f"  validation loss {result.validation_loss:.4f}  accuracy {accuracy}"
    return f"{line}  {result.epoch_s:.1f} s  {result.images_per_s:,.0f} images/s"
