"""``model.fit``, ``evaluate`` and ``predict``: a `Trainer` with defaults, and the functions of ``evaluation.py``."""

import inspect
from typing import Any

import numpy as np

from tinycnn.errors import DataError, SettingError, shortened
from tinycnn.layers import Sequential
from tinycnn.models import OPTIMIZER_DEFAULTS
from tinycnn.optim import OPTIMIZERS, Optimizer
from tinycnn.train.batches import check_images
from tinycnn.train.evaluation import Scores
from tinycnn.train.evaluation import evaluate as evaluate_arrays
from tinycnn.train.examples import as_array, collected
from tinycnn.train.history import History
from tinycnn.train.objective import objective
from tinycnn.train.stream import is_stream
from tinycnn.train.trainer import Trainer
from tinycnn.train.validation import network_outputs

OF_TRAINER = set(inspect.signature(Trainer).parameters) - {"model", "optimizer"}
OF_FIT = set(inspect.signature(Trainer.fit).parameters) - {"self", "images", "labels"}


def fit(
    model: Sequential,
    images: Any,
    labels: Any,
    *,
    optimizer: str | Optimizer = "adam",
    lr: float | None = None,
    progress: Any = True,
    **settings: Any,
) -> History:
    """Train ``model`` with a new `Trainer`; ``lr=None`` is the default rate of the optimizer.

    Raises SettingError for a setting that neither the trainer nor its ``fit`` has.
    """
    unknown = sorted(settings.keys() - OF_TRAINER - OF_FIT)
    if unknown:
        names = ", ".join(sorted(OF_TRAINER | OF_FIT | {"optimizer", "lr"}))
        raise SettingError(f"fit has no setting {unknown[0]}: choose from {names}")
    trainer = Trainer(
        model,
        _optimizer(model, optimizer, lr),
        **{name: value for name, value in settings.items() if name in OF_TRAINER},
    )
    others = {name: value for name, value in settings.items() if name in OF_FIT}
    return trainer.fit(images, labels, progress=progress, **others)


def _optimizer(model: Sequential, optimizer: str | Optimizer, lr: float | None) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        if lr is not None:
            raise SettingError("`lr` is the rate of an optimizer that is given by its name; this one has its own")
        return optimizer
    if optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        raise SettingError(f"`optimizer` is {shortened(optimizer)}: expected one of {names}, or an optimizer")
    settings: dict[str, Any] = OPTIMIZER_DEFAULTS[optimizer] | ({} if lr is None else {"lr": lr})
    return OPTIMIZERS[optimizer](model.parameters(), **settings)


def evaluate(model: Sequential, images: Any, labels: Any = None, **settings: Any) -> Scores:
    """Loss and accuracy; without labels, ``images`` is an iterable of batches, which is read once."""
    if is_stream(images, labels):
        examples = collected(images, model, objective(settings.get("loss", "softmax_cross_entropy")))
        if examples is None:
            raise DataError("no images: expected at least one.")
        images, labels = examples
    return evaluate_arrays(model, images, labels, **settings)


def predict(model: Sequential, images: Any) -> np.ndarray:
    """The outputs of the network ``(M, *output_shape)``."""
    images = as_array("images", images)
    check_images(images, model)
    return network_outputs(model, images)
