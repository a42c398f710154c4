"""Callbacks: what a run does besides training. `Callback` in ``base.py`` states the hooks, and what each may change."""

from typing import TYPE_CHECKING, Any

from tinycnn.other_names.modules import missing_name
from tinycnn.train.callbacks.base import Callback
from tinycnn.train.callbacks.early_stopping import EarlyStopping
from tinycnn.train.callbacks.files import CSVLogger, ModelCheckpoint
from tinycnn.train.callbacks.learning_rate import LearningRateScheduler
from tinycnn.train.callbacks.progress_bar import ProgressBar
from tinycnn.train.callbacks.reduce_on_plateau import ReduceOnPlateau
from tinycnn.train.callbacks.tensorboard import TensorBoard

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceOnPlateau",
    "TensorBoard",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
