"""A learning-rate finder: one short run in which the learning rate grows from step to step.

While the rate is too small the loss stays; where it rises, the rate is too large; a good rate is large, and the loss
still falls there. Source: Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import SettingError, in_range, whole_number
from tinycnn.train.batches import batches, to_backend
from tinycnn.train.examples import checked_examples
from tinycnn.train.rate_choice import choose_rate
from tinycnn.train.trainer import Trainer

SMOOTHING = 0.9  # of the loss before: the mean reaches over about ten steps
TOO_HIGH = 4.0  # times the smallest loss: the sweep ends


@dataclass(frozen=True)
class RateSweep:
    """The learning rate and the loss of each step, ``(steps,)``, and the loss as a moving average.

    ``suggestion``: the rate at which most of the fall of the loss is done (``rate_choice.py``). None if the loss does
    not fall clearly, or falls fastest at an end of the sweep; ``advice`` is then the reason, and what to change.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float | None
    advice: str = ""


def find_learning_rate(
    trainer: Trainer, images: Any, labels: Any, *, lowest: float = 1e-6, highest: float = 10.0, steps: int = 200
) -> RateSweep:
    """Train a copy of the network and its optimizer for ``steps`` steps with rates from ``lowest`` to ``highest``.

    The rates grow by the same factor from step to step. The sweep ends early when the loss is not finite, or exceeds
    its smallest value so far by a factor of four. The trainer and its network are unchanged. Raises SettingError for
    several ranks.
    """
    lowest = in_range("lowest", lowest, above=0)
    highest, steps = in_range("highest", highest, above=lowest), whole_number("steps", steps, at_least=10)
    if get_communicator().size > 1:
        raise SettingError("the learning-rate finder is for a single process: start it without ranks")
    images, labels = checked_examples(images, labels, trainer.model, trainer.objective)
    copied = copy.deepcopy(trainer)
    copied.model.train()
    images, labels = to_backend(images, labels)
    rates, losses = lowest * (highest / lowest) ** (np.arange(steps) / (steps - 1)), list[float]()
    with np.errstate(all="ignore"):  # the last rates are meant to be too large
        for rate, loss in zip(rates, _losses(copied, images, labels, rates), strict=False):
            if not math.isfinite(loss):
                break
            losses.append(loss)
            smooth = _smoothed(losses)
            if rate > lowest and smooth[-1] > TOO_HIGH * smooth.min():
                break
    return _sweep(rates[: len(losses)], np.array(losses))


def _losses(trainer: Trainer, images: Any, labels: Any, rates: np.ndarray) -> Iterator[float]:
    """The loss of each step, which is taken with the next of ``rates``."""
    step, sampler = trainer.training_step, trainer.sampler
    numbers = iter(rates)
    for epoch in count(1):
        for selection in batches(images, labels, sampler.order(images, epoch), trainer.batch_size):
            rate = next(numbers, None)
            if rate is None:
                return
            trainer.optimizer.learning_rate = float(rate)
            loss, _ = step(sampler.batch(*selection, epoch, trainer.optimizer.step_count))
            yield float(loss)


def _smoothed(losses: list[float]) -> np.ndarray:
    """The moving average after each loss, without the bias towards its start at 0."""
    averages, average = [], 0.0
    for n, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**n))
    return np.array(averages)


def _sweep(rates: np.ndarray, losses: np.ndarray) -> RateSweep:
    return RateSweep(rates, losses, _smoothed(list(losses)), *choose_rate(rates, losses))
