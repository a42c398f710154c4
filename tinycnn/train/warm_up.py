"""Before the clock starts: every kernel that training needs is compiled, on a copy of the trainer."""

import copy
import math
import time
from contextlib import closing

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import SingleProcess, get_communicator, rank_0_first, use_communicator
from tinycnn.train.batches import batches, bring
from tinycnn.train.capture import captured_epoch
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.history import Progress
from tinycnn.train.trainer import Trainer


@np.errstate(all="ignore")  # a rehearsal: whatever goes wrong is told when it counts
def warm_up(trainer: Trainer, images: Images, labels: np.ndarray) -> float:
    """Compile every kernel that training needs, on a copy that is thrown away; answers the seconds it took.

    Does nothing on a backend that does not compile. Compiled kernels are cached on disk, so a second run is quick. Of
    several ranks, the first compiles, and the others load what it has compiled.
    """
    start = time.perf_counter()
    if not get_backend().compiles:
        return 0.0
    rank_0_first(lambda: _rehearse(trainer, images, labels))
    return time.perf_counter() - start


def _rehearse(trainer: Trainer, images: Images, labels: np.ndarray) -> None:
    """Two steps and a prediction of a copy of ``trainer``, without the other ranks."""
    rehearsal = copy.deepcopy(trainer)
    rehearsal.batch_size = -(-trainer.batch_size // get_communicator().size)  # the most that a rank has of a batch
    some = slice(2 * rehearsal.batch_size)  # one step, and one more to replay it
    images_here, labels_here = bring(images[some], labels[some])
    running = Progress(1, math.ceil(len(labels_here) / rehearsal.batch_size))
    with captured_epoch(rehearsal, images_here, labels_here, 1, running) as captured:
        while captured and running.step < running.steps and captured.step(running):
            continue
    trainer.why_eager = rehearsal.why_eager
    order = np.arange(len(labels_here))
    with (
        use_communicator(SingleProcess()),
        closing(batches(images_here, labels_here, order, rehearsal.batch_size)) as coming,
    ):
        rehearsal.step(*next(coming))
    predict_logits(rehearsal.model, images[:1])
