"""Loss and accuracy of a network on whole sets of images, in batches of bounded size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import get_communicator
from tinycnn.distributed.sharding import shard_of
from tinycnn.errors import DataError
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.tensor import Tensor, no_grad
from tinycnn.train.batches import check_examples, check_images

EVALUATION_BATCH = 256  # images per batch; limits the memory use


@dataclass(frozen=True)
class Scores:
    """Mean loss in nats, and accuracy as a fraction, over a set of images."""

    loss: float
    accuracy: float


def predict_logits(model: Sequential, images: Images) -> np.ndarray:
    """Logits of uint8 ``images (M, H, W, C)``, in evaluation mode → ``(M, K)`` on the host.

    Raises DataError for images that the network does not take.
    """
    check_images(images, model)
    backend, was_training = get_backend(), model.training
    model.eval()
    try:
        with no_grad():
            logits = [backend.to_host(model.logits(Tensor(x)).data) for x in pixel_batches(model, images)]
            return np.concatenate(logits)  # (M, K)
    finally:
        model.train(was_training)


def pixel_batches(model: Sequential, images: Images) -> Iterator[Array]:
    """Network inputs for uint8 ``images (M, H, W, C)``, in batches ``(N, H, W, C)``."""
    backend, scale = get_backend(), pixel_scale(model)
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = backend.asarray(images[start : start + EVALUATION_BATCH])
        yield backend.gather_images(batch, backend.xp.arange(len(batch)), scale, model.dtype)


def evaluate(model: Sequential, images: Images, labels: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """Mean loss in nats and accuracy of ``model`` on uint8 ``images (M, H, W, C)`` with ``labels (M,)``.

    ``weights (M,)``: the factor of each image in both means; None if all count the same. Raises DataError for images
    that the network does not take, and for labels that are not its classes.
    """
    check_examples(images, labels, model)
    return scores_of(predict_logits(model, images), labels, weights)


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


def scores_of(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """Mean loss in nats and accuracy of ``logits (M, K)`` for ``labels (M,)``, all on the host."""
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise DataError(f"labels range from {labels.min()} to {labels.max()}: expected 0 to {logits.shape[1] - 1}.")
    logits = logits.astype(np.float64)  # (M, K)
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))  # (M,)
    cross_entropy = log_sum - logits[np.arange(len(labels)), labels]  # (M,)
    correct = logits.argmax(axis=1) == labels  # (M,)
    if weights is not None:
        cross_entropy, correct = weights * cross_entropy, weights * correct
    return Scores(float(cross_entropy.mean()), float(correct.mean()))
