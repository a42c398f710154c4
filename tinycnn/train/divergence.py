"""Find where a run first computed NaN or infinity, by repeating and checking the steps since the last good state.

A check after every step would synchronise with the GPU each time. Training is deterministic, so occasional checks are
enough: when one fails, training returns to the state at the previous check and repeats the steps since then. Snapshots
stay on the backend, because copying them to the host would also synchronise.
"""

import math
from collections.abc import Callable, Iterable
from functools import reduce
from operator import and_
from typing import Protocol

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.stored import Images
from tinycnn.errors import TinyCNNError
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer, gradient_norm
from tinycnn.tensor import Tensor, no_grad
from tinycnn.train.batches import Sampler, Selection
from tinycnn.train.evaluation import Scores, evaluate, pixel_batches, scores_over_ranks
from tinycnn.train.history import Progress
from tinycnn.train.objective import Objective
from tinycnn.train.step import Batch, TrainingStep

CHECK_EVERY = 500  # steps between checks; each check synchronises with the GPU


class TrainingDivergedError(TinyCNNError, ArithmeticError):
    """The loss, a weight, or the state of the optimizer became NaN or infinite."""


class HasModelAndOptimizer(Protocol):
    """The network, optimizer and objective attributes that `TrainingStep` and `Trainer` share."""

    model: Sequential
    optimizer: Optimizer
    objective: Objective


def evaluate_finite(
    trained: HasModelAndOptimizer, images: Images, labels: np.ndarray, when: str, weights: np.ndarray | None = None
) -> Scores:
    """``evaluate`` across all ranks; raises TrainingDivergedError, naming a layer, when the loss is not finite."""
    model, optimizer = trained.model, trained.optimizer

    def scores_of_part(part: slice) -> Scores:
        part_weights = None if weights is None else weights[part]
        return evaluate(model, images[part], labels[part], part_weights, loss=trained.objective)

    with np.errstate(all="ignore"):  # the error below replaces NumPy's warnings
        scores = scores_over_ranks(scores_of_part, len(labels))
        if math.isfinite(scores.loss):
            return scores
        layers = (first_bad_activation(model, x) for x in pixel_batches(model, images))
        where = next((layer for layer in layers if layer), "the loss itself")
    rate = f"learning rate {optimizer.lr:g}"
    raise TrainingDivergedError(f"the loss became {scores.loss} {when} ({rate}), first in {where}: try a smaller `lr`")


class DivergenceCheck:
    """Checks during one epoch that all numbers are finite, and stores the last state in which all were finite.

    ``selections(done)`` yields the batches of the epoch again, after the first ``done`` steps; None if they are gone.
    """

    def __init__(
        self,
        step: TrainingStep,
        sampler: Sampler,
        selections: Callable[[int], Iterable[Selection]] | None,
        progress: Progress,
    ) -> None:
        self.step, self.sampler, self.selections, self.progress = step, sampler, selections, progress
        self.good = Snapshot(step, progress)

    def due(self) -> bool:
        """Whether to check after this step: every ``CHECK_EVERY`` steps, and at the end of the epoch."""
        return self.progress.step % CHECK_EVERY == 0 or self.progress.step == self.progress.steps

    def check(self) -> None:
        """Raise TrainingDivergedError unless weights, optimizer and loss are finite; synchronises with a GPU once.

        The error names the first step and layer that were not finite. Network, optimizer and progress are restored to
        the state before that step.
        """
        if not self.is_finite():
            failed = self.progress.step
            self.good.restore()
            raise TrainingDivergedError(self._first_bad_step(failed))
        self.good = Snapshot(self.step, self.progress)

    def is_finite(self) -> bool:
        """Whether weights, optimizer and loss are finite; synchronises with a GPU once."""
        return all_finite([*changing_arrays(self.step), self.progress.loss_sum])

    def _first_bad_step(self, failed: int) -> str:
        """Repeat the steps since the last good state, until one produces a non-finite number; describe it."""
        progress = self.progress
        if self.selections is None:
            where = f"between steps {progress.step + 1} and {failed} of epoch {progress.epoch}"
            lr = self.step.optimizer.lr
            return f"a number was no longer finite {where} (learning rate {lr:g}): try a smaller `lr`"
        for images, labels, chosen in self.selections(progress.step):
            before = Snapshot(self.step, progress)
            lr = self.step.optimizer.lr
            batch = self.sampler.batch(images, labels, chosen, progress.epoch, self.step.optimizer.step_count)
            with np.errstate(all="ignore"):
                loss, correct = self.step(batch)
                progress.add(loss, correct, len(chosen))
                if not self.is_finite():
                    return self._describe(batch, loss, lr, before)
        return "a number was not finite, but all numbers were finite when the steps were repeated: check the hardware"

    def _describe(self, batch: Batch, loss: Array, lr: float, before: "Snapshot") -> str:
        """The error message for the failed step on ``batch``; restores the state ``before`` it."""
        model, value = self.step.model, float(get_backend().to_host(loss))
        what = "a weight became infinite or NaN" if math.isfinite(value) else f"the loss became {value}"
        where = f"in epoch {self.progress.epoch}, step {self.progress.step} of {self.progress.steps}"
        numbers = f"learning rate {lr:g}, gradient norm {float(gradient_norm(model.parameters())):.4g}"
        after_forward = first_bad_gradient(model) or first_bad_parameter(model) or "the loss"
        before.restore()
        first = first_bad_activation(model, self.step.pixels(batch, slice(None))) or after_forward
        before.restore()  # again: forward has changed running statistics and counters
        return f"{what} {where} ({numbers}), first in {first}: try a smaller `lr`"


class Snapshot:
    """A copy of everything that training changes, in the middle of an epoch."""

    def __init__(self, step: TrainingStep, progress: Progress) -> None:
        self.step, self.progress = step, progress
        self.arrays = [array.copy() for array in changing_arrays(step)]
        self.counters = step.model.counters()
        self.step_count, self.missed = step.optimizer.step_count, list(step.optimizer.missed)
        self.averaged = step.average.count if step.average else 0
        self.saved_progress = progress.copy()

    def restore(self) -> None:
        """Restore network, optimizer and progress."""
        for array, values in zip(changing_arrays(self.step), self.arrays, strict=True):
            array[...] = values
        self.step.model.load_counters(self.counters)
        self.step.optimizer.step_count, self.step.optimizer.missed = self.step_count, list(self.missed)
        if self.step.average:
            self.step.average.count = self.averaged
        self.progress.restore(self.saved_progress)


def changing_arrays(step: TrainingStep) -> list[Array]:
    """The arrays that training changes in place: parameters, buffers, their averages, the slots of the optimizer."""
    weights = [parameter.data for parameter in step.model.parameters()]
    buffers = [buffer for _, buffer in step.model.named_buffers()]
    averages = step.average.arrays if step.average else []
    return weights + buffers + averages + [slot for slots in step.optimizer.slots for slot in slots.values()]


def all_finite(arrays: Iterable[Array]) -> bool:
    """Whether all numbers of all arrays are finite; synchronises with a GPU once, not once per array."""
    xp = get_backend().xp
    return bool(reduce(and_, (xp.isfinite(array).all() for array in arrays)))


def is_finite(array: Array) -> bool:
    """Whether all numbers of one array are finite; synchronises with a GPU."""
    return bool(np.isfinite(get_backend().to_host(array)).all())


def first_bad_activation(model: Sequential, x: Array) -> str | None:
    """The first layer whose output for ``x (N, H, W, C)`` is not finite, as text; None if there is none.

    Runs every layer separately, in the current mode of the network, so running statistics and counters change.
    """
    y = Tensor(x)
    with no_grad():
        for name, layer in model.layers.items():
            y = layer(y)
            if not is_finite(y.data):
                return f"the activations of {name}"
    return None


def first_bad_gradient(model: Sequential) -> str | None:
    """The parameter nearest to the loss whose gradient is not finite, as text; None if there is none."""
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not is_finite(parameter.grad):
            return f"the gradient of {name}"
    return None


def first_bad_parameter(model: Sequential) -> str | None:
    """The first parameter that is not finite; None if there is none."""
    return next((name for name, parameter in model.named_parameters() if not is_finite(parameter.data)), None)
