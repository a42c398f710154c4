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


@np.errstate(all="ignore")  # these numbers are thrown away
def warm_up(trainer: Trainer, images: Images, labels: np.ndarray) -> float:
    """Compile every kernel that ``trainer`` needs, on a copy that is thrown away; returns the seconds it took.

    Does nothing on a backend that does not compile. Compiled kernels are cached on disk, so a second run is quick. With
    several ranks, rank 0 compiles first, and the others load what it compiled. Sets ``trainer.capture.why_eager``.
    """
    start = time.perf_counter()
    if not get_backend().compiles:
        return 0.0
    rank_0_first(lambda: _run_every_kernel(trainer, images, labels))
    return time.perf_counter() - start


def _run_every_kernel(trainer: Trainer, images: Images, labels: np.ndarray) -> None:
    """Two steps and a prediction with a copy of the network, by this rank alone."""
    model, optimizer = copy.deepcopy((trainer.model, trainer.optimizer))  # together: they share the parameters
    step = TrainingStep(model, optimizer, label_smoothing=trainer.label_smoothing, clip_norm=trainer.clip_norm)
    share = -(-trainer.batch_size // get_communicator().size)  # the most images of a batch that one rank computes
    sampler, capture = replace(trainer.sampler, batch_size=share), StepCapture(trainer.capture.wanted)
    some = slice(2 * share)  # one step to record, and one to replay
    images_here, labels_here = to_backend(images[some], labels[some])
    progress = Progress(1, math.ceil(len(labels_here) / share))
    with capture.epoch(step, sampler, images_here, labels_here, progress) as captured:
        while captured and progress.step < progress.steps and captured.take(progress):
            continue
    trainer.capture.why_eager = capture.why_eager
    order = np.arange(len(labels_here))
    with use_communicator(SingleProcess()), closing(batches(images_here, labels_here, order, share)) as coming:
        step(sampler.batch(*next(coming), epoch=1, step=optimizer.step_count))
    predict_logits(model, images[:1])
