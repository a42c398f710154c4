"""Whole training steps, recorded once and replayed: no Python runs between kernels.

A step of a small network starts about eighty kernels. Starting one from Python takes 5 to 60 µs, which is longer than
most of them run. A recording holds them all. On a GPU it is a CUDA graph, which the driver replays (``cupy/graph.py``),
on a CPU a table of calls, which one compiled loop per thread walks (``numba/step_table.py``). Addresses and values in a
recording are fixed, so everything that changes from step to step is read from memory: the fields of a `Batch`. Before
each epoch, a table with one row per step is copied to the backend:

    indices of the images | labels | rates of the optimizer | the share of the new weights in their average
    | step numbers of the dropout masks | augmentation maps

The recorded step computes what `TrainingStep` computes, on the batch in the current row. It then adds to the loss and
the correct predictions of the epoch, and loads the next row. The rows are made on the host by the code that eager steps
use, so both give bit-identical results. During the epoch Python only counts steps, and draws the maps of the next epoch
(while a GPU computes). Its counters are correct between steps, so a run may stop after any step.

The first step of each batch size runs eagerly; then it is recorded. On a CPU the first replay is compared, bit for bit,
with the same step run from Python. A smaller last batch has a separate recording. Steps that cannot be recorded run
eagerly; ``why_eager`` gives the reason.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.array_types import Array, StepInMemory
from tinycnn.backends.base import Replay
from tinycnn.backends.fused_kernels import required
from tinycnn.backends.recording import as_it_is
from tinycnn.data.stored import StoredImages
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import BackendError
from tinycnn.optim import SGD, Adam, AdamW, MatrixMuon, RMSprop, UnitMuon
from tinycnn.train.batches import Sampler
from tinycnn.train.divergence import changing_arrays
from tinycnn.train.history import Progress
from tinycnn.train.objective import CLASSIFICATION
from tinycnn.train.step import Batch, TrainingStep, dropout_layers, layer_and_inner
from tinycnn.train.stream import BatchStream
from tinycnn.train.tracking import Track, place_of, with_tracked_arrays

STREAMED_IMAGES = "the images are streamed from disk"
ROWS = "the labels are rows of probabilities, and a recorded step reads class numbers"
RECORDABLE = (SGD, Adam, AdamW, RMSprop, MatrixMuon, UnitMuon)


class StepCapture:
    """The recorded steps of one trainer: created when an epoch needs them, and reused while valid.

    ``why_eager`` is the reason why steps are not recorded although recording is enabled; "" if they are recorded, or if
    the backend does not support recording.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled, self.why_eager = enabled, ""
        self.steps: CapturedSteps | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle or copy: without recordings, which are valid only for this process and its parameters."""
        return vars(self) | {"steps": None}

    @contextmanager
    def epoch(
        self, step: TrainingStep, sampler: Sampler, images: Array, labels: Array, progress: Progress
    ) -> Iterator["CapturedSteps | None"]:
        """The recorded steps, ready for the epoch of ``progress``; None if all its steps run eagerly."""
        if not self.enabled or get_backend().recorder is None:
            yield None
            return
        self.why_eager = reason_not_recordable(step, images) or ("" if labels.ndim == 1 else ROWS)
        if self.why_eager:
            yield None
            return
        if self.steps is None or not self.steps.are_valid(step, sampler, images, labels):
            self.steps = CapturedSteps(step, sampler, images, labels)
        with self.steps.recorder.session():
            self.steps.begin_epoch(step, sampler, progress)
            try:
                yield self.steps
            finally:
                self.why_eager = self.steps.why_eager


def reason_not_recordable(step: TrainingStep, images: Array) -> str:
    """Why steps on ``images`` cannot be recorded; "" if they can.

    Layers and optimizers from outside tinycnn may change in ways that a recording would miss.
    """
    if isinstance(images, StoredImages):
        return STREAMED_IMAGES
    if isinstance(images, BatchStream):
        return "the batches come from an iterable"
    if get_communicator().size > 1:
        return "several ranks share each batch"
    if step.weights is not None:
        return "the images have weights"
    if step.objective is not CLASSIFICATION:
        return f"the loss is {step.objective.name}, and a recorded step computes softmax_cross_entropy"
    layers = [type(layer) for layer in layer_and_inner(step.model)]
    external = [layer.__name__ for layer in layers if not layer.__module__.startswith("tinycnn.")]
    optimizers = [type(part) for part in step.optimizer.parts]
    external += [kind.__name__ for kind in optimizers if not kind.__module__.startswith("tinycnn.")]
    if external:
        return f"{', '.join(external)} is not part of tinycnn and may compute something different in every step"
    unknown = [kind.__name__ for kind in optimizers if kind not in RECORDABLE]
    if unknown:
        return f"the update of {', '.join(unknown)} is not recorded"
    optimizer = step.optimizer
    if any(missed and p.requires_grad for missed, p in zip(optimizer.missed, optimizer.parameters, strict=True)):
        return "a parameter that was frozen for some steps needs its own rates"
    return ""


class CapturedSteps:
    """The recordings of a training step on one data set, one for each batch size, and the memory that they read."""

    def __init__(self, step: TrainingStep, sampler: Sampler, images: Array, labels: Array) -> None:
        backend, xp = get_backend(), get_backend().xp
        assert backend.recorder is not None
        self.step, self.sampler, self.why_eager = step, sampler, ""
        self.images, self.labels, self.labels_on_host = images, labels, backend.to_host(labels)
        self.unusable = why_wrong(
            self.labels_on_host, step.model.output_shape[-1]
        )  # a reason for all steps; "" if none
        self.recorder, self.replays = backend.recorder(), dict[int, Replay]()
        self.verified: set[int] = set()  # the batch sizes whose first replay has been compared
        self.objects, self.settings = recorded_objects(step), recorded_settings(step, sampler)
        self.dropouts = dropout_layers(step.model)
        self.base_rates: list[float] = []  # those that the table was made with
        self.resting: list[int] = []  # the parameters without a gradient: frozen after the optimizer was made
        self.row_type = self._row_type()
        self.table = xp.zeros((-(-len(labels) // sampler.batch_size), self.row_type.itemsize), np.uint8)
        self.current = xp.zeros(self.row_type.itemsize, np.uint8)  # the row of the next step
        self.row = xp.zeros(1, np.int64)  # index of that row
        self.loss_sum, self.correct = xp.zeros((), np.float64), xp.zeros((), np.int64)
        self.drawn, self.drawn_settings = (
            dict[tuple[int, int], np.ndarray | None](),
            "",
        )  # keyed by (epoch, step of the run)
        self.orders = dict[tuple[int, int], np.ndarray]()

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Return None: a copied trainer creates its own recordings."""

    def are_valid(self, step: TrainingStep, sampler: Sampler, images: Array, labels: Array) -> bool:
        """Whether the recorded objects and settings are still those that the step uses."""
        now = [images, labels, *recorded_objects(step)]
        then = [self.images, self.labels, *self.objects]
        same = list(map(id, now)) == list(map(id, then)) and recorded_settings(step, sampler) == self.settings
        return same and all(replay.is_valid() for replay in self.replays.values())

    def begin_epoch(self, step: TrainingStep, sampler: Sampler, progress: Progress) -> None:
        """Copy the remaining rows and the running sums of this epoch to the memory that the recordings read."""
        backend = get_backend()
        self.step, self.sampler, self.why_eager = step, sampler, self.unusable
        self.base_rates = [part.base_lr for part in step.optimizer.parts]
        rows = self.rows(progress.epoch, progress.step)
        self.table[...] = backend.asarray(rows.view(np.uint8).reshape(self.table.shape))
        first = min(progress.step, len(rows) - 1)  # a run may be resumed after the last step of an epoch
        self.current[...], self.row[...] = self.table[first], first
        self.loss_sum[...], self.correct[...] = progress.loss_sum, progress.correct
        progress.loss_sum, progress.correct = self.loss_sum, self.correct

    def take(self, progress: Progress) -> bool:
        """Take the next step of the epoch; returns False when it has to be taken eagerly."""
        if self.base_rates != [part.base_lr for part in self.step.optimizer.parts]:
            self.begin_epoch(self.step, self.sampler, progress)  # with the rates of the steps that are left
        count = self.count(progress.step)
        if self.why_eager:
            return False
        if self.step.average:
            self.step.average.take_out()
        if count not in self.replays:
            self._record(count)
        elif get_backend().verifies_recordings and count not in self.verified:
            self._verify(count)
        else:
            self.replays[count]()
        self._draw_ahead(progress.epoch + 1, progress.step)
        self.step.optimizer.count_step(self.resting)
        if self.step.average:
            self.step.average.count += 1
        for dropout in self.dropouts:
            dropout.step += 1
        progress.count(count)
        return True

    def _record(self, count: int) -> None:
        """Take a step eagerly, then record it for later steps."""
        try:
            self.replays[count] = self.recorder.record(partial(self._compute, count))
        except BackendError as error:
            self.why_eager = f"{place_of(error)}{error}"

    def _verify(self, count: int) -> None:
        """Take a step as a replay and from Python; record no more steps if the results differ in a bit."""
        arrays = [*changing_arrays(self.step), self.loss_sum, self.correct, self.row, self.current]
        before = [array.copy() for array in arrays]
        self.replays[count]()
        replayed = [array.tobytes() for array in arrays]
        for array, values in zip(arrays, before, strict=True):
            array[...] = values
        self._compute(count, as_it_is)
        self.verified.add(count)
        if replayed != [array.tobytes() for array in arrays]:
            self.unusable = self.why_eager = "a replayed step gave other numbers than the same step run from Python"

    def _compute(self, count: int, track: Track) -> None:
        """The recorded step: train on the ``count`` images of the current row, then load the next row."""
        step = copy.copy(self.step)
        step.model, step.optimizer, step.average = with_tracked_arrays(step.model, step.optimizer, step.average, track)
        current = track(self.current)
        batch = self._current_batch(count, current, track(self.images))
        outputs = step.forward_backward(batch)
        self.resting = [i for i, parameter in enumerate(step.optimizer.parameters) if parameter.grad is None]
        step.update(batch.rates, batch.share)
        step.optimizer.zero_grad()  # so that recording starts with the same memory state
        sums = track(self.loss_sum), track(self.correct)
        end_step = required(get_backend().fused.end_step)  # adds to the sums, and copies the next row of the table
        end_step(outputs.loss, outputs.logits, batch.labels, sums, track(self.row), track(self.table), current)

    def _current_batch(self, count: int, current: Array, images: Array) -> Batch:
        """The batch of ``count`` images in the row ``current``; its fields are views, not copies."""
        row = {name: self._field(name, current) for name in self.row_type.names or ()}
        return Batch(
            images,
            row["chosen"][:count],
            row["labels"][:count],
            row["maps"][:count] if self.sampler.augment else None,
            self.sampler.reflect,
            rates=[row["rates"][i, ...] for i in range(len(row["rates"]))],
            share=row["share"][0, ...] if self.step.average else None,
            dropout_steps=[StepInMemory(row["dropout_steps"][i, ...]) for i in range(len(self.dropouts))],
        )

    def _field(self, name: str, current: Array) -> Array:
        """The field ``name`` of the row ``current``."""
        assert self.row_type.fields is not None
        kind, offset = self.row_type.fields[name][:2]
        base, shape = kind.subdtype or (kind, ())
        return current[offset : offset + kind.itemsize].view(base).reshape(shape)  # shape of the field

    def _row_type(self) -> np.dtype:
        """The fields of a row, aligned as a C structure."""
        step, size = self.step, self.sampler.batch_size
        maps, terms = (size, self.sampler.augment.terms) if self.sampler.augment else (0, 0)
        return np.dtype(
            [
                ("chosen", np.int64, (size,)),
                ("labels", np.int64, (size,)),
                ("dropout_steps", np.int64, (len(self.dropouts),)),
                ("rates", step.model.dtype, (len(step.optimizer.rates(0)),)),
                ("share", step.model.dtype, (1 if step.average else 0,)),
                ("maps", np.float32, (maps, 2, terms)),
            ],
            align=True,
        )

    def rows(self, epoch: int, done: int) -> np.ndarray:
        """The table of an epoch after its first ``done`` steps, ``(steps,)`` of ``row_type``, on the host."""
        optimizer, steps = self.step.optimizer, len(self.table)
        rows = np.zeros(steps, self.row_type)
        order = self.sampler.order(self.images, epoch)
        chosen = np.zeros(rows["chosen"].size, np.int64)
        chosen[: len(order)] = order
        rows["chosen"] = chosen.reshape(rows["chosen"].shape)
        rows["labels"] = self.labels_on_host[rows["chosen"]]
        self._discard_stale_maps(repr(self.sampler))
        for step in range(done, steps):
            number = optimizer.step_count + step - done  # step number within the run
            rows["rates"][step] = optimizer.rates(number)
            if self.step.average:
                rows["share"][step] = self.step.average.share(self.step.average.count + step - done + 1)
            rows["dropout_steps"][step] = [dropout.step + step - done for dropout in self.dropouts]
            if self.sampler.augment:
                rows["maps"][step, : self.count(step)] = self._maps(epoch, step, number)
        self.drawn.clear()  # discard maps of an epoch that was not trained
        return rows

    def count(self, step: int) -> int:
        """The number of images in step ``step`` of an epoch."""
        return min(self.sampler.batch_size, len(self.labels) - step * self.sampler.batch_size)

    def _maps(self, epoch: int, step: int, number: int) -> np.ndarray | None:
        """The maps of step ``step`` of ``epoch`` (step ``number`` of the run), drawn ahead of time or now."""
        if (epoch, number) in self.drawn:
            return self.drawn.pop((epoch, number))
        return self.sampler.maps(self.count(step), epoch, number, self._numbers(epoch, step))

    def _numbers(self, epoch: int, step: int) -> np.ndarray | None:
        """The numbers of the images in step ``step`` of ``epoch``, if their augmentation depends on them."""
        if not self.sampler.by_number:
            return None
        key = (self.sampler.seed, epoch)
        if key not in self.orders:
            self.orders = {key: self.sampler.order(self.images, epoch)}  # of one epoch at a time
        return self.orders[key][step * self.sampler.batch_size :][: self.count(step)]

    def _draw_ahead(self, epoch: int, step: int) -> None:
        """Draw the maps of the same step in the next ``epoch``, while the GPU is busy."""
        number = self.step.optimizer.step_count + len(self.table)
        if self.sampler.augment:
            self.drawn[epoch, number] = self._maps(epoch, step, number)

    def _discard_stale_maps(self, settings: str) -> None:
        """Discard maps that were drawn ahead with other settings."""
        if settings != self.drawn_settings:
            self.drawn, self.drawn_settings = {}, settings


def why_wrong(labels: np.ndarray, classes: int) -> str:
    """Why a recorded step cannot use these labels, whose values only a step run from Python checks; "" if it can."""
    fit = not labels.size or 0 <= labels.min() <= labels.max() < classes
    return "" if fit else f"a label is not one of the {classes} classes"


def recorded_objects(step: TrainingStep) -> list[object]:
    """The objects whose memory a recording uses: replacing one of them invalidates the recording."""
    parts = [step.model, step.optimizer, *(parameter.data for parameter in step.optimizer.parameters)]
    parts += [slot for slots in step.optimizer.slots for slot in slots.values()]
    parts += [step.average, *step.average.arrays] if step.average else []
    return parts + [buffer for _, buffer in step.model.named_buffers()]


def recorded_settings(step: TrainingStep, sampler: Sampler) -> dict[str, Any]:
    """The settings that are part of a recording: changing one of them invalidates the recording."""
    settings = step.optimizer.settings() | {"network": repr(step.model)}  # with the settings of all layers
    del settings["learning rate"]  # it is in the table
    settings |= {"batch_size": sampler.batch_size, "map terms": sampler.augment.terms if sampler.augment else 0}
    settings |= {"reflect": sampler.reflect}
    settings |= {"label_smoothing": step.label_smoothing, "clip_norm": step.clip_norm}
    trained = [parameter.requires_grad for parameter in step.model.parameters()]
    return settings | {"TF32": get_backend().tf32, "trained": trained}
