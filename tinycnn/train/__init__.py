"""Training: ``step.py`` is one step, ``trainer.py`` the loop over them, ``evaluation.py`` measures the result.

The names below are loaded when they are first used, so that ``tinycnn.train.batches`` alone stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinycnn.train.evaluation import Scores, evaluate, predict_logits
    from tinycnn.train.history import EpochResult
    from tinycnn.train.trainer import Trainer, TrainingDivergedError

_HOMES = {
    "EpochResult": "history",
    "Scores": "evaluation",
    "Trainer": "trainer",
    "TrainingDivergedError": "trainer",
    "evaluate": "evaluation",
    "predict_logits": "evaluation",
}

__all__ = ["EpochResult", "Scores", "Trainer", "TrainingDivergedError", "evaluate", "predict_logits"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
