"""Loss and accuracy of a network on whole sets of images, in batches of bounded size."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.backends.preparation import announcing
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import get_communicator
from tinycnn.distributed.sharding import shard_of
from tinycnn.errors import DataError, SettingError, shortened
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.layers.interface.likely_pixels import note_pixels
from tinycnn.other_names.arguments import named_arguments
from tinycnn.tensor import Tensor, no_grad
from tinycnn.train.batches import check_images
from tinycnn.train.examples import checked_examples
from tinycnn.train.objective import CLASSIFICATION, OWN, LossFunction, Objective, checking_for, objective
from tinycnn.train.recorded_forward import recorded_forward
from tinycnn.train.views import SAME, maps_of

EVALUATION_BATCH = 256  # images per batch; limits the memory use


@dataclass(frozen=True)
class Scores:
    """Mean loss, and accuracy as a fraction, over a set of images; NaN for a loss without an accuracy, as mse_loss."""

    loss: float
    accuracy: float

    def __iter__(self) -> Iterator[float]:
        """Both numbers, for ``loss, accuracy = model.evaluate(images, labels)``."""
        return iter((self.loss, self.accuracy))

    def __getitem__(self, key: int | str) -> float:
        """``scores[1]``, and ``scores["accuracy"]``."""
        if isinstance(key, str):
            if key not in vars(self):
                raise SettingError(f"scores have a loss and an accuracy, no {shortened(key)}")
            return float(getattr(self, key))
        return (self.loss, self.accuracy)[key]


def predict_logits(model: Sequential, images: Images, *, views: Any = None) -> np.ndarray:
    """Logits of uint8 ``images (M, H, W, C)``, in evaluation mode → ``(M, K)`` on the host.

    ``views``: test-time augmentation, the mean over several views of each image; a name or maps, as in ``views.py``.
    Raises DataError for images that the network does not take.
    """
    return predict_for(CLASSIFICATION, model, images, views)


def predict_for(purpose: Objective, model: Sequential, images: Images, views: Any = None) -> np.ndarray:
    """What the loss of ``purpose`` is computed from, for uint8 ``images (M, H, W, C)`` → ``(M, ...)`` on the host."""
    check_images(images, model)
    if isinstance(images, np.ndarray):
        note_pixels(model, images)
    was_training = model.training
    maps = [None] if views is None else maps_of(views)
    model.eval()
    try:
        with no_grad(), announcing(logging.getLogger("tinycnn.train").info, unless_others=True):
            outputs = [np.concatenate(list(output_batches(purpose, model, images, view))) for view in maps]  # (M, K)
    finally:
        model.train(was_training)
    return outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0)


def output_batches(
    purpose: Objective, model: Sequential, images: Images, view: np.ndarray | None
) -> Iterator[np.ndarray]:
    """What the loss of ``purpose`` is computed from, in batches ``(N, ...)`` on the host."""
    if view is not None:
        to_host = get_backend().to_host
        yield from (to_host(purpose.outputs(model, Tensor(x)).data) for x in pixel_batches(model, images, view))
        return
    with recorded_forward(model, purpose) as forward:
        yield from map(forward, image_batches(model, images))


def image_batches(model: Sequential, images: Images) -> Iterator[Array]:
    """``images (M, H, W, C)`` on the backend, in batches ``(N, H, W, C)`` of bytes or of the network's floats."""
    for start in range(0, len(images), EVALUATION_BATCH):
        part = images[start : start + EVALUATION_BATCH]
        yield get_backend().asarray(part.astype(model.dtype, copy=False) if part.dtype.kind == "f" else part)


def pixel_batches(model: Sequential, images: Images, view: np.ndarray | None = None) -> Iterator[Array]:
    """Network inputs for ``view`` of ``images (M, H, W, C)``, in batches ``(N, H, W, C)``."""
    backend, scale = get_backend(), pixel_scale(model, images.dtype)
    for batch in image_batches(model, images):
        chosen = backend.xp.arange(len(batch))
        if view is None or np.array_equal(view, SAME):
            yield backend.gather_images(batch, chosen, scale, model.dtype)
        else:
            maps = backend.asarray(np.repeat(view[None], len(batch), axis=0))  # (N, 2, 3)
            yield backend.gather_warped(batch, chosen, maps, scale, model.dtype)


@named_arguments
def evaluate(
    model: Sequential,
    images: Images,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    loss: str | LossFunction | Objective = "softmax_cross_entropy",
    views: Any = None,
) -> Scores:
    """Mean loss and accuracy of ``model`` on uint8 ``images (M, H, W, C)`` with ``labels (M,)``.

    ``loss``, and the labels that it takes: as in ``objective.py``. ``weights (M,)``: the factor of each image in both
    means; None if all count the same. ``views``: test-time augmentation, as in ``predict_logits``. Raises DataError for
    images that the network does not take, and for labels that the loss does not take.
    """
    purpose = objective(loss)
    with checking_for(model, purpose):
        images, labels = checked_examples(images, labels, model, purpose)
    return scores_of(predict_for(purpose, model, images, views), labels, weights, purpose)


def scores_over_ranks(scores: Callable[[slice], Scores], count: int) -> Scores:
    """Scores of ``count`` images, each rank evaluating a shard with ``scores``; the same result on all ranks."""
    ranks = get_communicator()
    if ranks.size == 1:
        return scores(slice(count))
    shard, sums = shard_of(count, ranks), np.zeros(2)
    if shard.stop > shard.start:
        own = scores(shard)
        sums += np.array([own.loss, own.accuracy]) * (shard.stop - shard.start)
    ranks.all_reduce(sums)
    return Scores(*map(float, sums / count))


def scores_of(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, purpose: Objective = CLASSIFICATION
) -> Scores:
    """Mean loss and accuracy of ``logits (M, K)`` for ``labels (M,)``, all on the host, in float64.

    A loss of your own may hold arrays in the dtype of the network, and receives the outputs in that.
    """
    logits = logits if purpose.labels == OWN else logits.astype(np.float64)  # (M, K)
    right = purpose.right(logits, labels)  # (M,)
    accuracy = math.nan if right is None else float((right if weights is None else weights * right).mean())
    loss = mean_cross_entropy if purpose is CLASSIFICATION else partial(mean_loss, purpose)
    return Scores(loss(logits, labels, weights), accuracy)


def mean_cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> float:
    """The mean cross-entropy in nats of ``logits (M, K)`` for ``labels (M,)`` or ``(M, K)``, each times its weight."""
    if labels.ndim == 1 and labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise DataError(f"labels range from {labels.min()} to {labels.max()}: expected 0 to {logits.shape[1] - 1}.")
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))  # (M,)
    if labels.ndim == 1:
        cross_entropy = log_sum - logits[np.arange(len(labels)), labels]  # (M,)
    else:
        cross_entropy = (labels * (log_sum[:, None] - logits)).sum(axis=1)  # (M,)
    return float((cross_entropy if weights is None else weights * cross_entropy).mean())


def mean_loss(purpose: Objective, outputs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None) -> float:
    """The loss of ``purpose`` for all ``outputs (M, ...)`` together, computed by the backend."""
    backend = get_backend()
    settings = {} if weights is None else {"weights": backend.asarray(weights)}
    with nullcontext() if purpose.labels == OWN else no_grad():  # a graph, in which `own_loss.py` looks for mistakes
        x = Tensor(backend.asarray(outputs), requires_grad=True)
        return purpose.mean_loss(x, backend.asarray(labels), **settings).item()
