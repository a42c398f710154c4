"""One training step: forward, loss, backward, all-reduce, clipping, update. Read it from top to bottom.

A step receives everything that changes from one step to the next as a `Batch`. It stores what stays constant: the
network, the optimizer and two settings. ``trainer.py`` loops over steps, ``capture.py`` records one, and
``divergence.py`` repeats steps to find where NaN or infinity first appeared.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.distributed.communicator import Communicator, get_communicator
from tinycnn.distributed.sharding import Shard, sharded_batch
from tinycnn.layers import Dropout, Layer, Sequential, pixel_scale
from tinycnn.optim import Optimizer, WeightAverage, clip_gradients
from tinycnn.optim.optimizer import Rate
from tinycnn.tensor import Tensor
from tinycnn.train.objective import LossFunction, Objective, objective


@dataclass(frozen=True)
class Batch:
    """Everything that changes from one step to the next. N is the size of the whole batch, even if ranks share it.

    ``rates``, ``share`` and ``dropout_steps`` depend on the number of the step. They are None where the optimizer, the
    average of the weights and the dropout layers count the steps themselves. In a recorded step they are arrays, into
    which the numbers of each step are written before it is replayed.
    """

    images: Array  # (M, H, W, C) bytes: the data set, or the part of it that is in memory
    chosen: Array  # (N,) indices into images
    labels: Array  # (N,) the classes of the chosen images, or (N, ...) what else the loss takes
    maps: Array | None = None  # (N, 2, T) the coordinate maps of the augmentation, see `Backend.gather_warped`
    reflect: bool = False  # whether these reflect an image at its edges, or show black beyond them
    rates: Sequence[Rate] | None = None  # what `Optimizer.rates` returns for this step
    share: Rate | None = None  # the factor of the new weights in the moving average, see `WeightAverage.share`
    dropout_steps: Sequence[Any] | None = None  # the step number of the mask of each dropout layer


class Outputs(NamedTuple):
    """The results of forward and loss, for the n images of the batch that this rank computes."""

    loss: Array  # () the mean over n images
    logits: Array  # (n, K), or what else the loss is computed from, see `Objective.outputs`
    labels: Array  # (n,), or (n, ...)
    shard: Shard  # the part of the batch that this rank computes


def never() -> bool:
    """The default of ``stop``: a module-level function, so that a trainer can be pickled."""
    return False


class StopRequest:
    """Whether to stop training. With several ranks, all of them stop after the same step.

    Each rank calls its own ``stop()`` once per step. The results are summed over the ranks, together with the
    gradients, so that the request of one rank reaches all of them.
    """

    def __init__(self, stop: Callable[[], bool] = never) -> None:
        self.stop, self.stop_votes = stop, 0.0

    def __call__(self) -> bool:
        return self.stop() if get_communicator().size == 1 else bool(self.stop_votes)


class TrainingStep:
    """Trains ``model`` with ``optimizer`` on one batch each time it is called.

    ``loss``: a name or a function, see ``objective.py``. ``label_smoothing``: the fraction of each target that is
    spread over all classes. ``clip_norm``: the maximum gradient norm of a step; None disables clipping. ``weights
    (M,)``: the factor of each image of the data set in the loss, with a mean of 1; None if all count the same.
    ``average``: the moving average of the weights, to which every step adds its own; None for no average.
    """

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer,
        *,
        loss: str | LossFunction | Objective = "softmax_cross_entropy",
        label_smoothing: float = 0.0,
        clip_norm: float | None = None,
        stop_request: StopRequest | None = None,
        weights: Array | None = None,
        average: WeightAverage | None = None,
    ) -> None:
        self.model, self.optimizer, self.objective = model, optimizer, objective(loss)
        self.label_smoothing, self.clip_norm, self.weights = label_smoothing, clip_norm, weights
        self.stop_request, self.average = stop_request or StopRequest(), average

    def __call__(self, batch: Batch) -> tuple[Array, Array]:
        """Take one step → mean loss ``()`` of the batch, number of correct predictions ``()``.

        Both stay on the backend, so that the host does not wait for a GPU.
        """
        if self.average:
            self.average.take_out()  # the network holds its own weights again, in place of their average
        outputs = self.forward_backward(batch)
        loss, correct = self.sum_over_ranks(outputs, self.objective.count_right(outputs.logits, outputs.labels))
        self.update(batch.rates, batch.share)
        return loss, correct

    def forward_backward(self, batch: Batch) -> Outputs:
        """Compute the loss of this rank's shard of ``batch``, and its gradient with respect to every parameter."""
        with sharded_batch(len(batch.chosen)) as shard, dropout_steps(self.model, batch.dropout_steps):
            x = self.pixels(batch, shard.rows)  # (n, H, W, C)
            labels = batch.labels[shard.rows]  # (n,)
            # A cross-entropy includes a final softmax or sigmoid, so it is computed from the logits.
            logits = self.objective.outputs(self.model, Tensor(x))  # (n, K)
            weights = None if self.weights is None else self.weights[batch.chosen[shard.rows]]  # (n,)
            loss = self.loss(logits, labels, weights)  # ()
            self.optimizer.zero_grad()
            loss.backward(shard.weight)
        return Outputs(loss.data, logits.data, labels, shard)

    def pixels(self, batch: Batch, rows: slice) -> Array:
        """The images ``rows`` of ``batch`` as floats, augmented where the batch has maps → ``(n, H, W, C)``."""
        backend, dtype = get_backend(), self.model.dtype
        scale = pixel_scale(self.model, batch.images.dtype)
        if batch.maps is None:
            return backend.gather_images(batch.images, batch.chosen[rows], scale, dtype)
        maps = backend.asarray(batch.maps[rows])  # (n, 2, T)
        return backend.gather_warped(batch.images, batch.chosen[rows], maps, scale, dtype, batch.reflect)

    def loss(self, logits: Tensor, labels: Array, weights: Array | None = None) -> Tensor:
        """Mean loss of ``logits (n, K)`` for ``labels (n,)``, each times its weight → ``()``."""
        if not len(labels):  # the shard may be empty if the batch is small; sum and gradients are then 0
            return logits.sum()
        settings: dict[str, Any] = {"label_smoothing": self.label_smoothing} if self.label_smoothing else {}
        return self.objective.mean_loss(logits, labels, **settings | ({} if weights is None else {"weights": weights}))

    def sum_over_ranks(self, outputs: Outputs, correct: Array) -> tuple[Array, Array]:
        """Turn this rank's gradients, loss and correct predictions into those of the whole batch."""
        weight = outputs.shard.weight
        if weight is None:  # a single rank has computed the whole batch
            return outputs.loss, correct
        numbers = outputs.loss * weight, correct, self.stop_request.stop()
        sums = all_reduce_gradients(outputs.shard.ranks, self.optimizer.parameters, *numbers)
        loss, correct, self.stop_request.stop_votes = sums
        return loss, correct

    def update(self, rates: Sequence[Rate] | None = None, share: Rate | None = None) -> None:
        """Clip the gradients, change the parameters, and add the new weights to the average.

        The optimizer and the average count the step, unless ``rates`` and ``share`` are given: the caller has then
        counted it, to compute these.
        """
        if self.clip_norm is not None:
            clip_gradients(self.optimizer.parameters, self.clip_norm)
        if rates is None:
            self.optimizer.step()
        else:
            self.optimizer.move(rates)
        if self.average and share is None:
            self.average.update()
        elif self.average:
            self.average.move(share)


def all_reduce_gradients(ranks: Communicator, parameters: Iterable[Tensor], *numbers: Any) -> Array:
    """Replace the gradients by their sums over all ranks; returns the sums of ``numbers``.

    Each rank's gradient is that of its own images, divided by the number of images in the whole batch, so the sum is
    the gradient of the whole batch (``docs/path/12_training_at_scale.md``), and every rank takes the same step.
    Everything is sent in one flat buffer, so that a step needs only one all-reduce.
    """
    xp, trained = get_backend().xp, [(p, p.grad.reshape(-1)) for p in parameters if p.grad is not None]
    extra = [xp.asarray(number, trained[0][0].dtype).reshape(1) for number in numbers]
    flat = xp.concatenate([*(gradient for _, gradient in trained), *extra])
    ranks.all_reduce(flat)
    start = 0
    for parameter, gradient in trained:
        parameter.grad = flat[start : start + gradient.size].reshape(parameter.shape)
        start += gradient.size
    return flat[start:]


def layer_and_inner(layer: Layer) -> Iterator[Layer]:
    """The layer itself and all layers inside it, without the names that ``Layer.all_layers`` also returns."""
    yield layer
    for inner in layer.sublayers().values():
        yield from layer_and_inner(inner)


def dropout_layers(model: Sequential) -> list[Dropout]:
    """The dropout layers of ``model``, in order."""
    return [layer for layer in layer_and_inner(model) if isinstance(layer, Dropout)]


@contextmanager
def dropout_steps(model: Sequential, steps: Sequence[Any] | None) -> Iterator[None]:
    """Make the dropout layers of ``model`` use the step numbers ``steps`` instead of their own counters."""
    if steps is None:
        yield
        return
    layers = dropout_layers(model)
    counters = [layer.step for layer in layers]
    for layer, step in zip(layers, steps, strict=True):
        layer.step = step
    try:
        yield
    finally:
        for layer, counter in zip(layers, counters, strict=True):
            layer.step = counter
