"""The display of a run in progress: a progress bar in a terminal, a plain line every 15 seconds elsewhere."""

import sys
import time
from typing import Any

from tinycnn.run.console import print_line
from tinycnn.train.history import EpochResult, Progress

REFRESH_S = 0.25  # reading loss and accuracy synchronises with a GPU, so not at every step
PLAIN_LINE_S = 15.0


class ProgressBar:
    """Called after every step; shows loss, accuracy and images per second of the current epoch with tqdm."""

    def __init__(self, epochs: int) -> None:
        from tqdm import tqdm

        self.make_bar, self.epochs = tqdm, epochs
        self.bar: Any = None
        self.clock = EpochClock()
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if self.clock.start_if_new_epoch(progress, now):
            self.bar = self.make_bar(
                total=progress.steps,
                initial=progress.step - 1,
                desc=f"epoch {progress.epoch}/{self.epochs}",
                unit="step",
                leave=False,
                delay=0.5,
            )
        self.bar.update(1)
        if now - self.shown > REFRESH_S:
            self.shown = now
            self.bar.set_postfix_str(self.clock.describe(progress, now), refresh=False)
        if progress.step == progress.steps:
            self.bar.close()


class PlainLines:
    """Called after every step; prints a line every 15 seconds, for logs and pipes."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.clock = EpochClock()
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if self.clock.start_if_new_epoch(progress, now):
            self.shown = now
        if now - self.shown > PLAIN_LINE_S:
            self.shown = now
            where = f"epoch {progress.epoch}/{self.epochs} step {progress.step}/{progress.steps}"
            print_line(f"  {where}: {self.clock.describe(progress, now)}")


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
        return f"loss {scores.loss:.4f}, accuracy {scores.accuracy:.4f}, {speed}"


def progress_display(epochs: int, *, quiet: bool = False) -> ProgressBar | PlainLines | None:
    """A progress bar if standard error is a terminal, else plain lines; None if ``quiet``."""
    if quiet:
        return None
    if not sys.stderr.isatty():
        return PlainLines(epochs)
    try:
        return ProgressBar(epochs)
    except ImportError:
        print_line("  a progress bar requires tqdm: `pip install tqdm`")
        return PlainLines(epochs)


def epoch_line(result: EpochResult, epochs: int) -> str:
    """The line printed after an epoch: losses, accuracies, seconds and speed."""
    line = f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"
    line += f"  loss {result.train_loss:.4f}  accuracy {result.train_accuracy:.4f}"
    if result.validation_loss is not None:
        line += f"  validation loss {result.validation_loss:.4f}  accuracy {result.validation_accuracy:.4f}"
    return f"{line}  {result.epoch_s:.1f} s  {result.images_per_s:,.0f} images/s"
