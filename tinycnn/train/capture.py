"""Whole training steps, recorded once and replayed: nothing of Python runs between two kernels any more.

A step of a small network is some eighty kernels, and starting one from Python takes a GPU's host 5 to 8 µs: longer than
most of them run. A recording (a CUDA graph) starts them all at once. It freezes every address and every number, so
whatever changes from step to step is read from memory. A table goes to the GPU before the epoch, one row for each step:

    numbers of the images | labels | rates of the optimizer | step numbers of the dropout masks | maps

The recorded step computes exactly what ``Trainer.step`` computes, from the row that lies ready, adds to the epoch's
loss and correct answers, and puts the next row in its place. The rows are made on the host by the same code that the
eager steps call, so both give the same bits. During the epoch the host only counts along, and draws the maps of the
next epoch while the GPU computes. Between two steps its counters tell the truth, and a run may stop there.

The first step of each batch size runs as it is, on the memory pool of its recording; then it is recorded. The smaller
last batch has a recording of its own. What cannot be recorded runs eagerly, and ``Trainer.why_eager`` says why.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.array_types import Array, StepInMemory
from tinycnn.backends.fused_kernels import required
from tinycnn.data.stored import StoredImages
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import BackendError
from tinycnn.layers import Dropout, Layer, Sequential
from tinycnn.optim import OPTIMIZERS, Optimizer

Trainer = Any  # of train.py, which stands above this module
Progress = Any
PART_BY_PART = "the images come from the disk, part by part"


@contextmanager
def captured_epoch(
    trainer: Trainer, images: Array, labels: Array, epoch: int, running: Progress
) -> Iterator["CapturedSteps | None"]:
    """The recorded steps of ``trainer``, ready for the epoch that ``running`` is at; None where steps run eagerly."""
    backend = get_backend()
    if not trainer.capture or backend.recorder is None:
        yield None
        return
    trainer.why_eager = PART_BY_PART if isinstance(images, StoredImages) else unrecordable(trainer)
    if trainer.why_eager:
        yield None
        return
    if trainer.captured is None or not trainer.captured.fits(trainer, images, labels):
        trainer.captured = CapturedSteps(trainer, images, labels)
    with trainer.captured.recorder.session():
        trainer.captured.begin(epoch, running)
        yield trainer.captured


def unrecordable(trainer: Trainer) -> str:
    """Why the steps of ``trainer`` are not recorded: parts that are not ours may change in ways a recording misses."""
    if get_communicator().size > 1:
        return "several ranks share each batch"
    layers = [type(layer) for layer in all_layers(trainer.model)]
    foreign = [kind.__name__ for kind in layers if not kind.__module__.startswith("tinycnn.")]
    if type(trainer.optimizer) not in OPTIMIZERS.values():
        foreign.append(type(trainer.optimizer).__name__)
    if foreign:
        return f"{', '.join(foreign)} is no part of tinycnn, and may do something else in every step"
    return ""


def all_layers(layer: Layer) -> Iterator[Layer]:
    """The layer itself and those inside."""
    yield layer
    if isinstance(layer, Sequential):
        for inner in layer.layers.values():
            yield from all_layers(inner)


class CapturedSteps:
    """The recordings of a trainer's steps on one data set, and the memory they read from."""

    def __init__(self, trainer: Trainer, images: Array, labels: Array) -> None:
        backend, xp = get_backend(), get_backend().xp
        assert backend.recorder is not None
        self.trainer, self.images, self.labels, self.labels_here = trainer, images, labels, backend.to_host(labels)
        self.recorder, self.replays = backend.recorder(), dict[int, Callable[[], None]]()
        self.frozen, self.numbers = frozen_parts(trainer), frozen_numbers(trainer)
        self.dropouts = [layer for layer in all_layers(trainer.model) if isinstance(layer, Dropout)]
        self.row_type = self._row_type()
        self.table = xp.zeros((-(-len(labels) // trainer.batch_size), self.row_type.itemsize), np.uint8)
        self.here = xp.zeros(self.row_type.itemsize, np.uint8)  # the row of the step that comes next
        self.row = xp.zeros(1, np.int64)  # its number
        self.loss_sum, self.correct = xp.zeros((), trainer.model.dtype), xp.zeros((), np.int64)
        self.ahead, self.drawn_for = dict[tuple[int, int], np.ndarray](), ""  # by epoch, and step of the optimizer

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a trainer records for itself."""

    def fits(self, trainer: Trainer, images: Array, labels: Array) -> bool:
        """Whether the recordings still are of this trainer's network, optimizer and data: not of others put there."""
        now = [images, labels, *frozen_parts(trainer)]
        then = [self.images, self.labels, *self.frozen]
        return list(map(id, now)) == list(map(id, then)) and frozen_numbers(trainer) == self.numbers

    def begin(self, epoch: int, running: Progress) -> None:
        """Put what the steps of this epoch need where the recordings look for it."""
        backend = get_backend()
        rows = self.rows(epoch, running.step)
        self.table[...] = backend.asarray(rows.view(np.uint8).reshape(self.table.shape))
        ahead = min(running.step, len(rows) - 1)  # an epoch may be taken up after its last step: none is taken then
        self.here[...], self.row[...] = self.table[ahead], ahead
        self.loss_sum[...], self.correct[...] = running.loss_sum, running.correct
        running.loss_sum, running.correct = self.loss_sum, self.correct

    def step(self, running: Progress) -> bool:
        """Take the next step of the epoch; False when it has to be taken eagerly."""
        count = self.count(running.step)
        if self.trainer.why_eager:
            return False
        if count in self.replays:
            self.replays[count]()
        else:
            self._record(count)
        self._draw_ahead(running.epoch + 1, running.step)
        self.trainer.optimizer.step_count += 1
        for dropout in self.dropouts:
            dropout.step += 1
        running.count(count)
        return True

    def _record(self, count: int) -> None:
        """Take a step for real, then record it for the next time."""
        try:
            self.replays[count] = self.recorder.record(partial(self._compute, count))
        except BackendError as error:
            self.trainer.why_eager = str(error)

    def _compute(self, count: int) -> None:
        """The step as it is recorded: ``count`` images of the row that is here, which makes room for the next one."""
        live = {name: self._field(self.here, name) for name in self.row_type.names or ()}
        labels = live["labels"][:count]
        trainer = copy.copy(self.trainer)
        trainer.optimizer = RowOptimizer(self.trainer.optimizer, live["rates"])
        if trainer.augment:
            trainer.augment = RowMaps(live["maps"][:count])
        trainer.count_correct = lambda logits, labels: logits  # they are counted at the end, with the sums
        with self._dropout_steps(live["dropout_steps"]):
            loss, logits = trainer.step(self.images, RowLabels(labels), live["chosen"][:count])
        trainer.optimizer.zero_grad()  # the recording finds memory as this run found it
        sums = self.loss_sum, self.correct
        required(get_backend().fused.end_step)(loss, logits, labels, sums, self.row, self.table, self.here)

    def _row_type(self) -> np.dtype:
        """What a row holds, as the C structure it lies in memory as."""
        trainer, size = self.trainer, self.trainer.batch_size
        maps, terms = (size, trainer.augment.terms) if trainer.augment else (0, 0)
        return np.dtype(
            [
                ("chosen", np.int64, (size,)),
                ("labels", np.int64, (size,)),
                ("dropout_steps", np.int64, (len(self.dropouts),)),
                ("rates", trainer.model.dtype, (len(trainer.optimizer.rates(0)),)),
                ("maps", np.float32, (maps, 2, terms)),
            ],
            align=True,
        )

    def rows(self, epoch: int, done: int) -> np.ndarray:
        """The table of an epoch of which ``done`` steps are done, ``(steps,)`` of ``row_type``."""
        trainer, steps = self.trainer, len(self.table)
        rows = np.zeros(steps, self.row_type)
        order = trainer.order(self.images, epoch)
        chosen = np.zeros(rows["chosen"].size, np.int64)
        chosen[: len(order)] = order
        rows["chosen"] = chosen.reshape(rows["chosen"].shape)
        rows["labels"] = self.labels_here[rows["chosen"]]
        self._keep_ahead_for(f"{trainer.augment!r} {trainer.fade!r} {trainer.seed}")
        for step in range(done, steps):
            number = trainer.optimizer.step_count + step - done  # of the optimizer's steps
            rows["rates"][step] = trainer.optimizer.rates(number)
            rows["dropout_steps"][step] = [dropout.step + step - done for dropout in self.dropouts]
            if trainer.augment:
                rows["maps"][step, : self.count(step)] = self._maps(epoch, step, number)
        self.ahead.clear()  # what was drawn for an epoch that did not come
        return rows

    def count(self, step: int) -> int:
        """The images of a step."""
        return min(self.trainer.batch_size, len(self.labels) - step * self.trainer.batch_size)

    def _maps(self, epoch: int, step: int, number: int) -> np.ndarray:
        """The maps of a step, number ``number`` of the optimizer's: those drawn ahead, or drawn now."""
        drawn = self.ahead.pop((epoch, number), None)
        return self.trainer.maps(self.trainer.augment, self.count(step), epoch, number) if drawn is None else drawn

    def _draw_ahead(self, epoch: int, step: int) -> None:
        """Draw the maps of the same step in the next ``epoch``: the GPU has just been given work."""
        number = self.trainer.optimizer.step_count + len(self.table)
        if self.trainer.augment:
            self.ahead[epoch, number] = self._maps(epoch, step, number)

    def _keep_ahead_for(self, settings: str) -> None:
        """Forget what was drawn ahead with other settings."""
        if settings != self.drawn_for:
            self.ahead, self.drawn_for = {}, settings

    def _field(self, row: Array, name: str) -> Array:
        """The field ``name`` of a row of bytes, as numbers, without a copy."""
        assert self.row_type.fields is not None
        kind, offset = self.row_type.fields[name][:2]
        base, shape = kind.subdtype or (kind, ())
        return row[offset : offset + kind.itemsize].view(base).reshape(shape)  # shape of the field

    @contextmanager
    def _dropout_steps(self, steps: Array) -> Iterator[None]:
        """Inside, dropout layers find their step number in memory."""
        before = [dropout.step for dropout in self.dropouts]
        for number, dropout in enumerate(self.dropouts):
            step: Any = StepInMemory(steps[number, ...])
            dropout.step = step
        try:
            yield
        finally:
            for dropout, step in zip(self.dropouts, before, strict=True):
                dropout.step = step


class RowOptimizer:
    """An optimizer that moves at the rates of a row, and does not count."""

    step_count = 0

    def __init__(self, optimizer: Optimizer, rates: Array) -> None:
        self.optimizer, self.rates = optimizer, rates
        self.parameters = optimizer.parameters

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Move every parameter once."""
        self.optimizer.move(self.rates[number, ...] for number in range(len(self.rates)))


class RowLabels:
    """The labels of the data set, of which those of a batch are drawn already."""

    def __init__(self, drawn: Array) -> None:
        self.drawn = drawn

    def __getitem__(self, chosen: Array) -> Array:
        """Those of the row, ``(count,)``."""
        return self.drawn


class RowMaps:
    """An augmentation whose maps are drawn already."""

    def __init__(self, drawn: Array) -> None:
        self.drawn = drawn

    def maps(self, count: int, rng: np.random.Generator, strength: float) -> Array:
        """Those of the row, ``(count, 2, T)``, which have their strength already."""
        return self.drawn


def frozen_parts(trainer: Trainer) -> list[object]:
    """The objects whose memory a recorded step of ``trainer`` goes on using, whatever is put in their place."""
    parts = [trainer.model, trainer.optimizer, *(parameter.data for parameter in trainer.optimizer.parameters)]
    parts += [slot for slots in trainer.optimizer.slots for slot in slots.values()]
    return parts + [buffer for _, buffer in trainer.model.named_buffers()]


def frozen_numbers(trainer: Trainer) -> dict[str, Any]:
    """The settings that are part of a recorded step, whatever they are changed to; ``repr`` tells those of layers."""
    numbers = trainer.optimizer.settings() | {"network": repr(trainer.model)}
    del numbers["learning rate"]  # it comes with the table
    own = {name: getattr(trainer, name) for name in ("batch_size", "label_smoothing", "clip_norm")}
    terms = trainer.augment.terms if trainer.augment else 0
    trained = [parameter.requires_grad for parameter in trainer.model.parameters()]
    return numbers | own | {"numbers in a map": terms, "TF32": get_backend().tf32, "trained": trained}
