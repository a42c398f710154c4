"""Compile every kernel that training needs, on a copy of the network, before the clock starts."""

import copy
import math
import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import SingleProcess, get_communicator, rank_0_first, use_communicator
from tinycnn.train.batches import batches, to_backend
from tinycnn.train.capture import StepCapture
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.history import Progress
from tinycnn.train.step import TrainingStep
from tinycnn.train.trainer import Trainer


@np.errstate(all="ignore")  # these results are discarded
def warm_up(trainer: Trainer, images: Images, labels: np.ndarray) -> float:
    """Compile every kernel that ``trainer`` needs, on a temporary copy; returns the elapsed seconds.

    Does nothing on a backend that does not compile. Compiled kernels are cached on disk, so a second run is quick. In a
    distributed run, rank 0 compiles first, and the other ranks load the compiled kernels. Sets
    ``trainer.capture.why_eager``.
    """
    start = time.perf_counter()
    if not get_backend().compiles:
        return 0.0
    rank_0_first(lambda: _run_every_kernel(trainer, images, labels))
    return time.perf_counter() - start


def _run_every_kernel(trainer: Trainer, images: Images, labels: np.ndarray) -> None:
    """Two steps and a prediction with a copy of the network, on this rank only."""
    model, optimizer = copy.deepcopy((trainer.model, trainer.optimizer))  # together, because they share parameters
    step = TrainingStep(
        model,
        optimizer,
        loss=trainer.objective,
        label_smoothing=trainer.label_smoothing,
        clip_norm=trainer.clip_norm,
    )
    share = -(-trainer.batch_size // get_communicator().size)  # the largest shard of a batch
    sampler, capture = replace(trainer.sampler, batch_size=share), StepCapture(trainer.capture.enabled)
    some = slice(2 * share)  # one step to record, and one to replay
    images_on_backend, labels_on_backend = to_backend(images[some], labels[some])
    progress = Progress(1, math.ceil(len(labels_on_backend) / share))
    with capture.epoch(step, sampler, images_on_backend, labels_on_backend, progress) as captured:
        while captured and progress.step < progress.steps and captured.take(progress):
            continue
    trainer.capture.why_eager = capture.why_eager
    order = np.arange(len(labels_on_backend))
    with (
        use_communicator(SingleProcess()),
        closing(batches(images_on_backend, labels_on_backend, order, share)) as selections,
    ):
        step(sampler.batch(*next(selections), epoch=1, step=optimizer.step_count))
    predict_logits(model, images[:1])
