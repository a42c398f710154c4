"""Print a training step as the table of kernel calls that the CPU replays.

Each line is a row of the table: its parts may run at the same time, and a row begins when the one before is done. The
step is recorded on random images, with Adam. Needs the backend numba.
"""

import argparse
from typing import Any

import numpy as np

from tinycnn import models
from tinycnn.backends import use_backend
from tinycnn.backends.threads import set_threads
from tinycnn.commands.shared_options import open_network
from tinycnn.errors import SettingError, whole_number
from tinycnn.optim import Adam
from tinycnn.train.trainer import Trainer
from tinycnn.train.whitening import whiten

WIDTH = 44  # of the column with kernels


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    names = ", ".join(models.NETWORKS)
    parser.add_argument("model", metavar="MODEL|MODEL_FILE", help=f"one of {names}; or a model file")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step (default: its own, or 64)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")


def run(options: argparse.Namespace) -> None:
    """Record a step, print its table."""
    use_backend("numba")
    if options.threads is not None:
        set_threads(options.threads)
    model = open_network(options.model)
    known = models.MODELS.get(options.model)
    size = known.author.batch_size if known else 64
    if options.batch_size is not None:
        size = whole_number("--batch-size", options.batch_size, at_least=1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3 * size, *model.input_shape), dtype=np.uint8)
    if options.model in models.NETWORKS and models.NETWORKS[options.model].whitened:
        whiten(model, images)  # as a run begins: the step computes no gradients of the first layer
    trainer = Trainer(model, Adam(model.parameters()), batch_size=size)
    trainer.train_epoch(images, rng.integers(0, model.output_shape[-1], 3 * size), epoch=1)
    if trainer.why_eager or trainer.capture.steps is None:
        raise SettingError(f"the step of this network is not recorded: {trainer.why_eager}")
    recording: Any = trainer.capture.steps.replays[size]
    rows = recording.describe()
    print(f"{options.model}: a training step with {size} images")
    print(f"{'row':>3} {'parts':>5}  {'kernels (number of calls)':<{WIDTH}} {'KiB':>8} {'MFLOP':>8} {'µs':>7}  GFLOP/s")
    for number, row in enumerate(rows):
        first, *more = wrapped([f"{name} ({count})" if count > 1 else name for name, count in row.kernels.items()])
        rate = f"{row.operations / row.microseconds / 1e3:7.1f}" if row.operations else ""
        figures = f"{row.bytes / 1024:8.0f} {row.operations / 1e6:8.2f} {row.microseconds:7.0f}  {rate}"
        print(f"{number:3} {row.parts:5}  {first:<{WIDTH}} {figures}".rstrip())
        for line in more:
            print(f"{'':9}  {line}")
    calls, total = sum(sum(row.kernels.values()) for row in rows), sum(row.microseconds for row in rows)
    memory = f"{recording.memory.size / 2**20:.1f} MiB"
    print(f"{len(rows)} rows, {calls} calls, {total:.0f} µs; memory of the recording: {memory}")
    print("Each row was run alone, 20 times: the shortest time counts. Operations are those of the definition.")


def wrapped(words: list[str]) -> list[str]:
    """The words, separated by commas, in lines of at most WIDTH characters."""
    lines = [""]
    for word in words:
        joined = f"{lines[-1]}, {word}" if lines[-1] else word
        if len(joined) > WIDTH and lines[-1]:
            lines[-1] += ","
            lines.append(word)
        else:
            lines[-1] = joined
    return lines
