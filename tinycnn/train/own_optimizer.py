"""What to say about an optimizer of one's own that a trainer cannot use."""

from tinycnn.errors import SettingError
from tinycnn.optim import Optimizer

OWN_OPTIMIZER = (
    "derive an optimizer of your own from tinycnn.optim.Optimizer, with the method update(self, backend, p, g, lr): "
    "see docs/architecture.md"
)


def check_counted(optimizer: Optimizer, before: int) -> None:
    """Raise SettingError if a step was taken that the optimizer did not count, as a ``step`` of one's own may do.

    Its schedule would stay at the first rate, and the augmentation at the first maps.
    """
    if optimizer.step_count == before:
        kind = type(optimizer).__name__
        raise SettingError(f"{kind}.step does not count steps: call self.count_step() in it, or {OWN_OPTIMIZER}")
