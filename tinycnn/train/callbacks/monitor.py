"""Which number of an epoch a callback compares, and when it is better."""

from dataclasses import dataclass
from typing import Any

from tinycnn.errors import SettingError, shortened
from tinycnn.other_names.attributes import COLUMNS
from tinycnn.train.callbacks.base import TrainerInRun
from tinycnn.train.history import MODES, is_largest_best


@dataclass(frozen=True)
class Monitor:
    """A column of the history. ``mode``: "min", "max", or "auto", which `is_largest_best` decides by the name."""

    name: str = "validation_loss"
    mode: str = "auto"
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingError(f"`mode` is {shortened(self.mode)}: expected one of {', '.join(MODES)}")

    def check(self, trainer: TrainerInRun, purpose: str) -> None:
        """Raise SettingError unless the run of ``trainer`` records this number, and its best is known."""
        if self.name not in trainer.columns:
            name = COLUMNS.get(self.name, self.name)
            hint = "" if name == self.name else f"; did you mean {name}?"
            if name.startswith("validation_") and name not in trainer.columns:
                hint = f"{hint} Then pass" if hint else ": pass"
                hint += " `validation=(images, labels)`"
            raise SettingError(
                f"{purpose} monitors {shortened(self.name)}, but this run records {', '.join(trainer.columns)}{hint}"
            )

        try:
            is_largest_best(self.name, self.mode)
        except SettingError as error:
            raise SettingError(f"{purpose}: {error}") from None

    def how(self) -> dict[str, Any]:
        """The arguments of `history.best`."""
        largest = is_largest_best(self.name, self.mode)
        return {"monitor": self.name, "largest": largest, "min_delta": self.min_delta}

    def settings(self, purpose: str) -> dict[str, Any]:
        """The description of a monitor that is not the usual one; {} for the usual one."""
        usual = Monitor()
        return {} if self == usual else {f"{purpose} compares": f"{self.name} {self.mode} {self.min_delta}"}
