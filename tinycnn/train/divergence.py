"""Why a run lost its numbers to NaN or infinity: the steps since the last good state are taken again, one look each.

Looking after every step of every run would make a GPU wait each time. Since a state leads to the same bits every time,
it is enough to look now and then, and to go back. The states to go back to stay where the network is: copying them
makes nobody wait.
"""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.optim import gradient_norm
from tinycnn.train import nonfinite
from tinycnn.train.batches import batches

Trainer = Any  # of train.py, which stands above this module


class Snapshot:
    """The state of a trainer in the middle of an epoch."""

    def __init__(self, trainer: Trainer) -> None:
        self.arrays = [array.copy() for array in _living(trainer)]
        self.counters, self.step_count = trainer.model.counters(), trainer.optimizer.step_count
        self.running = trainer.running.copy()

    def restore(self, trainer: Trainer) -> None:
        """Put ``trainer`` back to where it was."""
        for array, values in zip(_living(trainer), self.arrays, strict=True):
            array[...] = values
        trainer.model.load_counters(self.counters)
        trainer.optimizer.step_count = self.step_count
        trainer.running = self.running.copy()


def _living(trainer: Trainer) -> list[Array]:
    """The arrays that training changes in place."""
    weights = [parameter.data for parameter in trainer.model.parameters()]
    buffers = [buffer for _, buffer in trainer.model.named_buffers()]
    return weights + buffers + [slot for slots in trainer.optimizer.slots for slot in slots.values()]


def is_healthy(trainer: Trainer) -> bool:
    """Whether the network, its optimizer and the loss so far are finite; waits for a GPU, once."""
    return nonfinite.all_finite([*_living(trainer), trainer.running.loss_sum])


def trace(trainer: Trainer, good: Snapshot, images: Array, labels: Array, order: np.ndarray) -> str:
    """What happened since ``good``, in a sentence; leaves ``trainer`` as it was before the step that went wrong."""
    good.restore(trainer)
    for images_here, labels_here, chosen in batches(images, labels, order, trainer.batch_size, trainer.running.step):
        good, lr, running = Snapshot(trainer), trainer.optimizer.lr, trainer.running
        with np.errstate(all="ignore"):
            loss, correct = trainer.step(images_here, labels_here, chosen, running.epoch)
            running.add(loss, correct, len(chosen))
            if not is_healthy(trainer):
                where = f"in epoch {running.epoch}, step {running.step} of {running.steps}"
                numbers = f"learning rate {lr:g}, gradient norm {float(gradient_norm(trainer.model.parameters())):.4g}"
                late = nonfinite.in_gradients(trainer.model) or nonfinite.in_parameters(trainer.model) or "the loss"
                good.restore(trainer)
                x = trainer.batch(images_here, chosen, running.epoch)
                first = nonfinite.in_activations(trainer.model, x) or late
                good.restore(trainer)
                return f"{_what(loss)} {where} ({numbers}), first in {first}: try a smaller --lr"
    return "a number was not finite, but all are when the steps are repeated: is the hardware sound?"


def _what(loss: Array) -> str:
    value = float(get_backend().to_host(loss))
    return "the weights left the range of numbers" if np.isfinite(value) else f"the loss became {value}"
