"""What a network is trained for: a loss, the labels that the loss takes, and the accuracy that fits them.

    softmax_cross_entropy                one class per image: labels (M,), or (M, K) with the probability of each class;
                                         the accuracy is the fraction of right classes
    binary_cross_entropy_with_logits     several labels per image: (M, K) of 0 and 1; the fraction of right labels
    mse_loss, l1_loss                    numbers: (M, *output_shape); no accuracy
    a function of your own               any labels with M rows; classes as above if they are integers (M,); own_loss.py

The two cross-entropies are computed from the logits of the network, before a final Softmax, LogSoftmax or Sigmoid, all
others from its outputs.
"""

import inspect
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinycnn import ops
from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import DataError, SettingError, shortened
from tinycnn.layers import LogSoftmax, Sequential, Softmax
from tinycnn.layers.heads import last_layer
from tinycnn.other_names.modules import loss_meant
from tinycnn.tensor import Tensor
from tinycnn.train.class_labels import check_classes, class_of
from tinycnn.train.own_loss import check_arguments, check_result, labels_for

LossFunction = Callable[..., Tensor]  # (outputs, labels) → the mean loss of the batch (); may take `weights=(N,)`
CLASSES, SEVERAL, NUMBERS, OWN = "classes", "several labels", "numbers", "labels of a loss of your own"


@dataclass(frozen=True)
class Objective:
    """A loss with all that follows from it. ``name``: the loss with its settings, as a run's description has it."""

    name: str
    loss: LossFunction
    labels: str  # CLASSES, SEVERAL, NUMBERS or OWN

    @property
    def has_accuracy(self) -> bool:
        """Whether predictions are right or wrong; True for a loss of your own, which may have classes."""
        return self.labels != NUMBERS

    def outputs(self, model: Sequential, x: Tensor) -> Tensor:
        """What the loss is computed from: ``x (N, *input_shape)`` → logits or outputs ``(N, ...)``."""
        return model.logits(x) if self.labels in (CLASSES, SEVERAL) else model(x)

    def mean_loss(self, outputs: Tensor, labels: Array, **settings: Any) -> Tensor:
        """The loss of a batch ``(N, ...)`` → ``()``; raises SettingError or ShapeError for a loss that is none."""
        if self.labels != OWN:
            return self.loss(outputs, labels, **settings)
        loss = self.loss(outputs, labels_for(outputs, labels), **settings)
        check_result(self.name, loss, outputs)
        return loss

    def right(self, outputs: Array, labels: Array) -> Array | None:
        """How right each prediction is, from 0 to 1: ``outputs (N, ...)`` → ``(N,)``; None without an accuracy."""
        if self.labels == CLASSES or (self.labels == OWN and are_classes(labels) and outputs.ndim == 2):
            return outputs.argmax(axis=1) == class_of(labels)
        if self.labels == SEVERAL:
            return ((outputs > 0) == (labels > 0.5)).reshape(len(outputs), math.prod(outputs.shape[1:])).mean(axis=1)
        return None

    def count_right(self, outputs: Array, labels: Array) -> Array:
        """The sum of ``right`` on the backend → ``()``; NaN without an accuracy."""
        fused = get_backend().fused.count_correct
        if fused and self.labels == CLASSES and labels.ndim == 1:
            return fused(outputs, labels)
        right = self.right(outputs, labels)
        return get_backend().asarray(np.array(math.nan)) if right is None else right.sum()

    def check_labels(self, labels: np.ndarray, model: Sequential) -> None:
        """Raise DataError unless the loss takes ``labels`` with ``M`` rows for the outputs of ``model``.

        Raises SettingError for several labels of a network that ends with a softmax, whose outputs are one choice.
        """
        if self.labels == CLASSES:
            check_classes(labels, model.output_shape)
            return
        last = last_layer(model.layers)
        if self.labels == SEVERAL and isinstance(last, Softmax | LogSoftmax):
            wanted = f"{self.name} is for outputs that are probabilities of their own: end it with Sigmoid()"
            raise SettingError(
                f"the network ends with {type(last).__name__}, whose probabilities sum to 1, and {wanted}"
            )
        got = f"labels are {labels.dtype} {labels.shape}"
        if labels.dtype.kind not in "biuf":
            raise DataError(f"{got}: expected numbers.")
        if self.labels in (SEVERAL, NUMBERS):
            if labels.shape[1:] != model.output_shape:
                expected = ", ".join(map(str, ("M", *model.output_shape)))
                raise DataError(f"{got}: {self.name} expects ({expected}), one number for each output of the network.")
            if not np.isfinite(labels).all():
                raise DataError(f"{got}: expected finite numbers.")
        if self.labels == SEVERAL and labels.size and not 0 <= labels.min() <= labels.max() <= 1:
            raise DataError(f"labels range from {labels.min()} to {labels.max()}: {self.name} expects 0 to 1.")

    def check_weights(self, name: str) -> None:
        """Raise SettingError, naming the argument ``name``, if the loss takes no weights of images."""
        parameters = inspect.signature(self.loss).parameters.values()
        if not any(one.name == "weights" or one.kind is one.VAR_KEYWORD for one in parameters):
            raise SettingError(f"`{name}` needs a loss with an argument `weights`, which {self.name} does not have")

    def check_ranks(self, ranks: int) -> None:
        """Raise SettingError if the mean over a batch is not the mean over the shards of several ``ranks``."""
        if ranks > 1 and "class_weights" in getattr(self.loss, "keywords", {}):
            raise SettingError(
                "`class_weights` divides by the weights of a batch, but a rank has only its shard: pass the weight of "
                "each image, `sample_weight=class_weights[labels]`"
            )


def are_classes(labels: Array) -> bool:
    """Whether these are integers ``(M,)``."""
    return labels.ndim == 1 and labels.dtype.kind in "iu"


CLASSIFICATION = Objective("softmax_cross_entropy", ops.softmax_cross_entropy, CLASSES)
SEVERAL_LABELS = Objective("binary_cross_entropy_with_logits", ops.binary_cross_entropy_with_logits, SEVERAL)
REGRESSION = Objective("mse_loss", ops.mse_loss, NUMBERS)
ABSOLUTE_REGRESSION = Objective("l1_loss", ops.l1_loss, NUMBERS)
LOSSES = {one.name: one for one in (CLASSIFICATION, SEVERAL_LABELS, REGRESSION, ABSOLUTE_REGRESSION)}


def objective(loss: str | LossFunction | Objective) -> Objective:
    """The objective of a loss: a name in LOSSES, one of these functions, also with settings, or a function of your own.

    ``functools.partial(ops.softmax_cross_entropy, class_weights=[1, 5])`` is such a function with settings.
    """
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if isinstance(loss, str) or not callable(loss):
        hint = f"; did you mean {loss_meant(loss)}?" if loss_meant(loss) in LOSSES else ""
        raise SettingError(f"`loss` is {shortened(loss)}: expected one of {', '.join(LOSSES)}, or a function{hint}")
    function = loss.func if isinstance(loss, partial) else loss
    name = getattr(function, "__qualname__", type(function).__name__)
    if isinstance(loss, partial):
        values = [*loss.args, *(f"{key}={_plain(value)}" for key, value in loss.keywords.items())]
        name = f"{name}({', '.join(map(str, values))})"
    known = next((one for one in LOSSES.values() if one.loss is function), None)
    if known is None:
        check_arguments(name, loss)
    return known if known and loss is function else Objective(name, loss, known.labels if known else OWN)


_trained: weakref.WeakKeyDictionary[Sequential, Objective] = weakref.WeakKeyDictionary()


def remember(model: Sequential, purpose: Objective) -> None:
    """Remember what ``model`` is trained for, for the messages of ``checking_for``."""
    _trained[model] = purpose


@contextmanager
def checking_for(model: Any, purpose: Objective) -> Iterator[None]:
    """Labels are checked inside the block; if the network was trained with another loss, an error begins with that."""
    try:
        yield
    except DataError as error:
        trained = _trained.get(model) if isinstance(model, Sequential) else None
        if trained is None or trained.labels == purpose.labels or not str(error).startswith("labels"):
            raise
        same = f'`loss="{trained.name}"`' if trained.name in LOSSES else "the same `loss`"
        found = f"{purpose.name} does not take these labels, and the network was trained with {trained.name}"
        raise DataError(f"{found}: pass {same} here, too.") from None


def _plain(value: Any) -> Any:
    """An array or tensor as nested lists."""
    value = value.data if isinstance(value, Tensor) else value
    return get_backend().to_host(value).tolist() if hasattr(value, "dtype") else value
