"""Reduce the learning rate when a loss has stopped improving."""

import math
from numbers import Real
from typing import Any

from tinycnn.errors import SettingError, in_range, shortened, whole_number
from tinycnn.optim.optimizer import Optimizer


class ReduceOnPlateau:
    """Multiplies the learning rate by ``factor`` after over ``patience`` calls of ``step(loss)`` without a new best.

    A loss is a new best if it is below ``best · (1 - threshold)``; with ``mode="max"``, for an accuracy, if it is above
    ``best · (1 + threshold)``. With ``patience=3``, the fourth call in a row without a new best reduces, as in PyTorch
    (Keras: the third), and the patience begins anew. The rate does not fall below ``lowest``. A schedule goes on in
    proportion, as after any assignment to ``optimizer.learning_rate``. In a run of a trainer, use the callback of this
    name. Source: PyTorch's ``ReduceLROnPlateau``.
    """

    def __init__(
        self,
        optimizer: Optimizer | None,
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "min",
        threshold: float = 1e-4,
        lowest: float = 0.0,
    ) -> None:
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise SettingError(f"expected an optimizer, such as Adam(parameters), got a {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.factor, self.patience = in_range("factor", factor, above=0, below=1), whole_number("patience", patience)
        self.threshold = in_range("threshold", threshold, at_least=0, below=1)
        self.lowest = in_range("lowest", lowest, at_least=0)
        if not isinstance(mode, str) or mode not in ("min", "max"):
            raise SettingError(f"`mode` is {shortened(mode)}: expected min or max")
        self.sign = 1 if mode == "min" else -1
        self.best, self.waited = self.sign * math.inf, 0

    def step(self, loss: float) -> bool:
        """Take notice of a loss, usually that of the validation images after an epoch; returns whether it reduced."""
        if not isinstance(loss, Real):
            raise SettingError(f"`loss` is {shortened(loss)}: expected a number")
        if self.sign * loss < self.sign * self.best * (1 - self.sign * self.threshold):
            self.best, self.waited = float(loss), 0
            return False
        self.waited += 1
        if self.waited <= self.patience or self.optimizer is None:
            return False
        self.waited = 0
        rate = max(self.optimizer.learning_rate * self.factor, self.lowest)
        if not 0 < rate < self.optimizer.learning_rate:
            return False
        self.optimizer.learning_rate = rate
        return True

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` restores; the learning rate itself is part of the optimizer's state."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was called."""
        try:
            self.best, self.waited = float(state["best"]), whole_number("waited", state["waited"])
        except (LookupError, TypeError, ValueError):
            raise SettingError("expected the state of a ReduceOnPlateau, as state_dict() returns it") from None
