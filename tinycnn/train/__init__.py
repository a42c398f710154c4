"""Training: ``step.py`` is one step, ``trainer.py`` is the training loop, ``evaluation.py`` computes scores.

The names below are imported when they are first used, so that importing one module does not load the others.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tinycnn.other_names.modules import missing_name

if TYPE_CHECKING:
    from tinycnn.train.callbacks import (
        Callback,
        CSVLogger,
        EarlyStopping,
        LearningRateScheduler,
        ModelCheckpoint,
        ProgressBar,
        ReduceOnPlateau,
        TensorBoard,
    )
    from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
    from tinycnn.train.divergence import TrainingDivergedError
    from tinycnn.train.evaluation import Scores, evaluate, predict_logits
    from tinycnn.train.history import EpochResult, History
    from tinycnn.train.lr_find import RateSweep, find_learning_rate
    from tinycnn.train.predicting import predictions
    from tinycnn.train.step import Batch, TrainingStep
    from tinycnn.train.trainer import Trainer
    from tinycnn.train.whitening import whiten

_MODULE_OF = {
    "CSVLogger": "callbacks",
    "Batch": "step",
    "Callback": "callbacks",
    "Checkpoints": "checkpoint",
    "EarlyStopping": "callbacks",
    "EpochResult": "history",
    "History": "history",
    "LearningRateScheduler": "callbacks",
    "ModelCheckpoint": "callbacks",
    "ProgressBar": "callbacks",
    "RateSweep": "lr_find",
    "ReduceOnPlateau": "callbacks",
    "Scores": "evaluation",
    "TensorBoard": "callbacks",
    "Trainer": "trainer",
    "TrainingDivergedError": "divergence",
    "TrainingStep": "step",
    "TrainingStopped": "checkpoint",
    "evaluate": "evaluation",
    "find_learning_rate": "lr_find",
    "predict_logits": "evaluation",
    "predictions": "predicting",
    "whiten": "whitening",
}

__all__ = [
    "Batch",
    "CSVLogger",
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "EpochResult",
    "History",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgressBar",
    "RateSweep",
    "ReduceOnPlateau",
    "Scores",
    "TensorBoard",
    "Trainer",
    "TrainingDivergedError",
    "TrainingStep",
    "TrainingStopped",
    "evaluate",
    "find_learning_rate",
    "predict_logits",
    "predictions",
    "whiten",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise missing_name(__name__, name, __all__)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
