"""RMSprop: each weight moves by its gradient, divided by the running root mean square of that gradient."""

from collections.abc import Iterable

from tinycnn.backends.base import Array, Backend
from tinycnn.errors import in_range
from tinycnn.optim.optimizer import Optimizer, Rate, Schedule
from tinycnn.tensor import Tensor


class RMSprop(Optimizer):
    """A step size per weight, from the running mean v of its squared gradient; momentum of these steps, if wanted:

    v ← α v + (1-α) g²      u ← momentum·u + g / (√v + eps)      p ← p - lr·u

    The start of ``v`` at zero is not corrected as in Adam: with constant gradients, the first step is 1 / √(1-α) times
    as long as the last. ``weight_decay`` adds ``weight_decay·p`` to the gradient. Source: Hinton, "Neural networks for
    machine learning", lecture 6, 2012, in PyTorch's form.
    """

    slot_names = ("v", "u")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        self.alpha = in_range("alpha", alpha, at_least=0, below=1)
        self.eps = in_range("eps", eps, above=0)
        self.momentum = in_range("momentum", momentum, at_least=0, below=1)
        self.weight_decay = in_range("weight_decay", weight_decay, at_least=0)
        super().__init__(parameters, lr, schedule)

    def update(self, backend: Backend, p: Array, g: Array, lr: Rate, *, v: Array, u: Array) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * p
        v *= self.alpha
        v += (1 - self.alpha) * (g * g)
        u *= self.momentum
        u += g / (backend.xp.sqrt(v) + self.eps)
        p -= lr * u
