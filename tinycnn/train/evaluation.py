"""How good a network is: its scores for whole sets of images, in batches that bound the memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import get_communicator
from tinycnn.distributed.sharding import shard_of
from tinycnn.layers import Sequential, pixel_scale
from tinycnn.tensor import Tensor, no_grad

EVALUATION_BATCH = 256  # bounds the memory of an evaluation, whatever the size of the data set


@dataclass(frozen=True)
class Scores:
    """Loss in nats and accuracy as a fraction, over whole sets of images."""

    loss: float
    accuracy: float


def predict_logits(model: Sequential, images: Images) -> np.ndarray:
    """Scores of byte ``images (M, H, W, C)``, before softmax, in evaluation mode → ``(M, K)`` on the host."""
    backend, was_training = get_backend(), model.training
    model.eval()
    try:
        with no_grad():
            logits = [backend.to_host(model.logits(Tensor(x)).data) for x in number_batches(model, images)]
            return np.concatenate(logits)  # (M, K)
    finally:
        model.train(was_training)


def number_batches(model: Sequential, images: Images) -> Iterator[Array]:
    """All ``images (M, H, W, C)`` bytes as numbers ``(N, H, W, C)``, in batches."""
    backend, scale = get_backend(), pixel_scale(model)
    for start in range(0, len(images), EVALUATION_BATCH):
        batch = backend.asarray(images[start : start + EVALUATION_BATCH])
        yield backend.gather_images(batch, backend.xp.arange(len(batch)), scale, model.dtype)


def count_correct(logits: Array, labels: Array) -> Array:
    """How many of ``logits (N, K)`` are largest where ``labels (N,)`` say, ``()``: a number of the active backend."""
    fused = get_backend().fused.count_correct
    return fused(logits, labels) if fused else (logits.argmax(axis=1) == labels).sum()


def evaluate(model: Sequential, images: Images, labels: np.ndarray) -> Scores:
    """Loss and accuracy of byte ``images (M, H, W, C)`` with ``labels (M,)``: every image, each weighing the same."""
    return scores_of(predict_logits(model, images), labels)


def shared_scores(scores: Callable[[slice], Scores], count: int) -> Scores:
    """Scores of ``count`` images, of which each rank looks at some, ``scores(some)``; the same for all ranks."""
    ranks = get_communicator()
    if ranks.size == 1:
        return scores(slice(count))
    mine, sums = shard_of(count, ranks), np.zeros(2)
    if mine.stop > mine.start:
        own = scores(mine)
        sums += np.array([own.loss, own.accuracy]) * (mine.stop - mine.start)
    ranks.all_reduce(sums)
    return Scores(*map(float, sums / count))


def scores_of(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Mean loss and accuracy of ``logits (M, K)`` for ``labels (M,)``, both on the host."""
    logits = logits.astype(np.float64)  # (M, K)
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))  # (M,)
    surprise = log_sum - logits[np.arange(len(labels)), labels]  # (M,)
    return Scores(float(surprise.mean()), float((logits.argmax(axis=1) == labels).mean()))
