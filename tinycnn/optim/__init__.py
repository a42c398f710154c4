"""Optimizers, which update parameters from their gradients, and schedules, which change the learning rate over a run.

``sgd_and_adam.py`` holds those that most networks need; ``optimizer.py`` is what all of them share.
"""

from typing import TYPE_CHECKING, Any

from tinycnn.optim.average import WeightAverage
from tinycnn.optim.clipping import clip_gradients, gradient_norm
from tinycnn.optim.groups import ParameterGroups
from tinycnn.optim.muon import FilterMuon, MatrixMuon, Muon, UnitMuon
from tinycnn.optim.optimizer import Optimizer, Schedule, constant
from tinycnn.optim.plateau import ReduceOnPlateau
from tinycnn.optim.rmsprop import RMSprop
from tinycnn.optim.schedules import SCHEDULES, cosine, linear, one_cycle, step_decay, warm_up
from tinycnn.optim.sgd_and_adam import SGD, Adam, AdamW
from tinycnn.other_names.arguments import explain_functions
from tinycnn.other_names.modules import missing_name

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "muon": Muon,
    "filter_muon": FilterMuon,
}

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "FilterMuon",
    "MatrixMuon",
    "Muon",
    "Optimizer",
    "ParameterGroups",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "UnitMuon",
    "WeightAverage",
    "clip_gradients",
    "constant",
    "cosine",
    "gradient_norm",
    "linear",
    "one_cycle",
    "step_decay",
    "warm_up",
]

explain_functions(__name__, __all__)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
