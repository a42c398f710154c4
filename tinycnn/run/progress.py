"""What a person sees while a network trains: a live bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import Any

from tinycnn.run.console import print_line
from tinycnn.train.history import EpochResult, Progress

REFRESH_S = 0.25  # reading loss and accuracy waits for a GPU, so not at every step
PLAIN_LINE_S = 15.0


class ProgressBar:
    """Called after every step: loss, accuracy, images per second of the running epoch, through tqdm."""

    def __init__(self, epochs: int) -> None:
        from tqdm import tqdm

        self.make_bar, self.epochs = tqdm, epochs
        self.bar: Any = None
        self.clock = Clock()
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if self.clock.starts(progress, now):
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
    """The same for logs and pipes: one line every 15 seconds."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.clock = Clock()
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if self.clock.starts(progress, now):
            self.shown = now
        if now - self.shown > PLAIN_LINE_S:
            self.shown = now
            where = f"epoch {progress.epoch}/{self.epochs} step {progress.step}/{progress.steps}"
            print_line(f"  {where}: {self.clock.describe(progress, now)}")


class Clock:
    """When this process took up the epoch that is running, and where: a resumed one is in the middle of it."""

    def __init__(self) -> None:
        self.epoch = self.seen = 0
        self.started = 0.0

    def starts(self, progress: Progress, now: float) -> bool:
        """Whether this is the first step of an epoch that is seen here; the clock begins then."""
        if progress.epoch == self.epoch:
            return False
        self.epoch, self.started = progress.epoch, now
        self.seen = 0 if progress.step == 1 else progress.seen
        return True

    def describe(self, progress: Progress, now: float) -> str:
        """Loss, accuracy and speed in words."""
        scores, elapsed_s = progress.scores(), now - self.started
        speed = f"{(progress.seen - self.seen) / elapsed_s:,.0f} images/s" if elapsed_s > 0 else ""
        return f"loss {scores.loss:.4f}, accuracy {scores.accuracy:.4f}, {speed}"


def progress_display(epochs: int, *, quiet: bool = False) -> ProgressBar | PlainLines | None:
    """The display that suits where the output goes: none if ``quiet``."""
    if quiet:
        return None
    return ProgressBar(epochs) if sys.stderr.isatty() else PlainLines(epochs)


def epoch_line(result: EpochResult, epochs: int) -> str:
    """What stays of an epoch when it is over: its losses, accuracies, seconds and speed."""
    line = f"epoch {result.epoch:>{len(str(epochs))}}/{epochs}"
    line += f"  loss {result.train_loss:.4f}  accuracy {result.train_accuracy:.4f}"
    if result.validation_loss is not None:
        line += f"  validation loss {result.validation_loss:.4f}  accuracy {result.validation_accuracy:.4f}"
    return f"{line}  {result.epoch_s:.1f} s  {result.images_per_s:,.0f} images/s"
