"""``model.fit``, ``evaluate`` and ``predict``: a `Trainer` with defaults, and the functions of ``evaluation.py``."""

import inspect
import logging
import math
from typing import Any

import numpy as np

from tinycnn.errors import DataError, SettingError, shortened, whole_number
from tinycnn.layers import Sequential
from tinycnn.models import OPTIMIZER_DEFAULTS
from tinycnn.optim import OPTIMIZERS, SCHEDULES, Optimizer, Schedule
from tinycnn.other_names.arguments import UnknownArgumentError, instead
from tinycnn.train.batches import check_images
from tinycnn.train.divergence import first_bad_parameter
from tinycnn.train.evaluation import Scores
from tinycnn.train.evaluation import evaluate as evaluate_arrays
from tinycnn.train.examples import IN_BATCHES, as_array, collected, held_out, is_dataset
from tinycnn.train.history import History
from tinycnn.train.objective import checking_for, objective
from tinycnn.train.own_optimizer import OWN_OPTIMIZER
from tinycnn.train.stream import is_stream
from tinycnn.train.trainer import Trainer
from tinycnn.train.validation import network_outputs

LOGGER = logging.getLogger("tinycnn.train")
OF_TRAINER = set(inspect.signature(Trainer).parameters) - {"model", "optimizer"}
OF_FIT = set(inspect.signature(Trainer.fit).parameters) - {"self", "images", "labels"}


def fit(
    model: Sequential,
    images: Any,
    labels: Any,
    *,
    optimizer: str | Optimizer = "adam",
    lr: float | None = None,
    schedule: str | Schedule | None = None,
    progress: Any = True,
    **settings: Any,
) -> History:
    """Train ``model`` with a new `Trainer`; ``lr=None`` is the default rate of the optimizer.

    ``schedule``: the name of a schedule in ``tinycnn.optim``, which then reaches over this call, or a function of the
    step number. Raises SettingError for a setting that neither the trainer nor its ``fit`` has.
    """
    unknown = sorted(settings.keys() - OF_TRAINER - OF_FIT)
    if unknown:
        names = sorted(OF_TRAINER | OF_FIT | {"images", "labels", "optimizer", "lr", "schedule", "progress"})
        raise UnknownArgumentError(f"fit has no setting {unknown[0]}: {instead(unknown[0], names)}")
    trainer = Trainer(
        model,
        _optimizer(model, optimizer, lr, _schedule(schedule, images, labels, settings)),
        **{name: value for name, value in settings.items() if name in OF_TRAINER},
    )
    others = {name: value for name, value in settings.items() if name in OF_FIT}
    return trainer.fit(images, labels, progress=progress, **others)


def _schedule(schedule: Any, images: Any, labels: Any, settings: dict[str, Any]) -> Schedule | None:
    """The schedule, made for the steps of this call if it is given by its name."""
    if not isinstance(schedule, str):
        return schedule
    if schedule not in SCHEDULES:
        names = ", ".join(SCHEDULES)
        raise SettingError(f"`schedule` is {shortened(schedule)}: expected one of {names}, or a function of the step")
    size = whole_number("batch_size", settings["batch_size"], at_least=1)
    epochs = whole_number("epochs", settings["epochs"])
    return SCHEDULES[schedule](max(epochs * _steps_per_epoch(images, labels, size, settings), 1))


def _steps_per_epoch(images: Any, labels: Any, batch_size: int, settings: dict[str, Any]) -> int:
    """The batches of one epoch, as `Trainer.fit` will count them; it checks the images and labels themselves."""
    if is_stream(images, labels):
        try:
            return settings.get("steps_per_epoch") or len(images)
        except TypeError:
            raise SettingError("`schedule` needs the number of batches: pass `steps_per_epoch`") from None
    count = len(images) if hasattr(images, "__len__") else 1
    if fraction := settings.get("validation_split"):
        count = len(held_out(images, count, fraction, settings.get("seed", 0))[0])
    return -(-count // batch_size)


def _optimizer(model: Sequential, optimizer: str | Optimizer, lr: float | None, schedule: Schedule | None) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        if lr is not None or schedule is not None:
            name = "schedule" if lr is None else "lr"
            raise SettingError(f"`{name}` is for an optimizer that is given by its name; this one has its own")
        return optimizer
    if optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        hint = f"; did you mean {optimizer.lower()}?" if str(optimizer).lower() in OPTIMIZERS else ""
        if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
            hint = f": pass {optimizer.__name__.lower()!r}, or {optimizer.__name__}(model.parameters())"
        elif callable(getattr(optimizer, "step", None)):
            hint = f"; {OWN_OPTIMIZER}"
        raise SettingError(f"`optimizer` is {shortened(optimizer)}: expected one of {names}, or an optimizer{hint}")
    settings: dict[str, Any] = OPTIMIZER_DEFAULTS[optimizer] | ({} if lr is None else {"lr": lr})
    return OPTIMIZERS[optimizer](model.parameters(), schedule=schedule, **settings)


def evaluate(model: Sequential, images: Any, labels: Any = None, **settings: Any) -> Scores:
    """Loss and accuracy; without labels, ``images`` is an iterable of batches, which is read once."""
    if labels is None and is_dataset(images):
        raise DataError(f"images are a {type(images).__name__}; {IN_BATCHES}.")
    if is_stream(images, labels):
        purpose = objective(settings.get("loss", "softmax_cross_entropy"))
        with checking_for(model, purpose):
            examples = collected(images, model, purpose)
        if examples is None:
            raise DataError("no images: expected at least one.")
        images, labels = examples
    scores = evaluate_arrays(model, images, labels, **settings)
    if not math.isfinite(scores.loss):
        name = first_bad_parameter(model)
        reason = f"{name} has NaN or infinity in it" if name else "an output, or a number on the way to it, overflows"
        LOGGER.warning("note: the loss is %s: %s", scores.loss, reason)
    return scores


def predict(model: Sequential, images: Any) -> np.ndarray:
    """The outputs of the network ``(M, *output_shape)``."""
    images = as_array("images", images)
    check_images(images, model)
    return network_outputs(model, images)
