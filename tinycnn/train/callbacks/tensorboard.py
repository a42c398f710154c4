"""The numbers of each epoch for TensorBoard, written by the package tensorboardX."""

import os
from typing import Any

from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import requires
from tinycnn.train.callbacks.base import Callback, TrainerInRun
from tinycnn.train.history import EpochResult

TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
}


class TensorBoard(Callback):
    """Writes loss, accuracy, learning rate and metrics of each epoch to ``folder``: ``tensorboard --logdir folder``.

    Needs the package tensorboardX, or a ``writer`` of your own with ``add_scalar(tag, value, step)`` and ``flush()``,
    such as ``torch.utils.tensorboard.SummaryWriter``. The horizontal axis is the number of the epoch.
    """

    def __init__(self, folder: str | os.PathLike[str] = "", *, writer: Any = None) -> None:
        self.folder, self.writer, self.owned = os.path.expanduser(folder), writer, writer is None
        if writer is None:
            with requires("tensorboardX", "a log for TensorBoard"):
                import tensorboardX  # noqa: F401  (an error now, not after the first epoch)

    def on_epoch_end(self, trainer: TrainerInRun, result: EpochResult) -> None:
        """Write the numbers."""
        if get_communicator().rank:
            return
        if self.writer is None:
            from tensorboardX import SummaryWriter

            self.writer = SummaryWriter(self.folder)
        for name, value in result.row().items():
            if value is not None and (name in TAGS or name in result.metrics):
                self.writer.add_scalar(TAGS.get(name, f"validation/{name}"), value, result.epoch)
        self.writer.flush()

    def on_run_end(self, trainer: TrainerInRun, error: BaseException | None) -> None:
        """Close the file."""
        if self.owned and self.writer is not None:
            self.writer.close()
            self.writer = None
