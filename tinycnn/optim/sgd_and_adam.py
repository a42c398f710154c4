"""Gradient descent with momentum, Adam and AdamW: what most networks are trained with.

Each is one method, ``update``, for one parameter p with gradient g, learning rate lr, and the arrays that it stores for
this parameter. Updates happen in place.
"""

from collections.abc import Callable, Iterable

from tinycnn.backends.base import Array, Backend
from tinycnn.errors import SettingError, checked_bool, in_range, shortened
from tinycnn.optim.optimizer import Optimizer, Rate, Schedule
from tinycnn.tensor import Tensor


class SGD(Optimizer):
    """Gradient descent with momentum: v ← momentum·v + g,  p ← p - lr·v  (Nesterov: p ← p - lr·(g + momentum·v)).

    ``weight_decay`` adds ``weight_decay·p`` to the gradient. Source: Sutskever et al., 2013, in PyTorch's form.
    """

    slot_names = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        self.momentum = in_range("momentum", momentum, at_least=0, below=1)
        self.weight_decay = in_range("weight_decay", weight_decay, at_least=0)
        self.nesterov = checked_bool("nesterov", nesterov)
        if nesterov and momentum == 0:
            raise SettingError("SGD(nesterov=True) needs a `momentum` above 0")
        super().__init__(parameters, lr, schedule)

    def update(self, backend: Backend, p: Array, g: Array, lr: Rate, *, velocity: Array) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * p
        velocity *= self.momentum
        velocity += g
        p -= lr * (g + self.momentum * velocity if self.nesterov else velocity)


class Adam(Optimizer):
    """A step size per weight, from the running mean m and the running uncentred variance v of its gradient:

    m ← β₁m + (1-β₁)g      v ← β₂v + (1-β₂)g²      p ← p - lr · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + eps)

    The divisions by ``1-βᵗ`` correct for m and v starting at zero. ``weight_decay`` adds ``weight_decay·p`` to the
    gradient. Source: Kingma, Ba, "Adam", 2015.
    """

    slot_names = ("m", "v")
    counts_updates = True
    coupled = True  # whether weight_decay is part of the gradient

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        if not (isinstance(betas, tuple | list) and len(betas) == 2):
            raise SettingError(f"`betas={shortened(betas)}`: expected two numbers")
        self.beta1, self.beta2 = (in_range("betas", beta, at_least=0, below=1) for beta in betas)
        self.eps = in_range("eps", eps, above=0)
        self.weight_decay = in_range("weight_decay", weight_decay, at_least=0)
        super().__init__(parameters, lr, schedule)

    def rates(self, step: int, missed: int = 0) -> tuple[float, ...]:
        """The learning rate divided by ``1-β₁ᵗ``, and the factor ``1 / (1-β₂ᵗ)`` of v, with t from 1."""
        lr, t = self.rate(step), step + 1 - missed
        return lr / (1 - self.beta1**t), 1 / (1 - self.beta2**t)

    def fused_kernel(self, backend: Backend) -> Callable[..., None] | None:
        return backend.fused.adam_all

    def fused_settings(self) -> tuple[float, ...]:
        return self.beta1, self.beta2, self.eps, self.weight_decay if self.coupled else 0.0

    def update(
        self, backend: Backend, p: Array, g: Array, step_size: Rate, v_scale: Rate, *, m: Array, v: Array
    ) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * p
        self.adam_update(backend, p, g, step_size, v_scale, m, v)

    def adam_update(
        self, backend: Backend, p: Array, g: Array, step_size: Rate, v_scale: Rate, m: Array, v: Array
    ) -> None:
        """The formula above, in place: ``step_size`` is lr / (1-β₁ᵗ), ``v_scale`` is 1 / (1-β₂ᵗ)."""
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * (g * g)
        p -= step_size * m / (backend.xp.sqrt(v * v_scale) + self.eps)


class AdamW(Adam):
    """Adam that shrinks weights directly, p ← p - lr·weight_decay·p, so that Adam's step sizes do not scale the decay.

    Source: Loshchilov, Hutter, "Decoupled weight decay regularization", 2019.
    """

    fused_kernel = Adam.fused_kernel
    coupled = False

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay, schedule=schedule)

    def rates(self, step: int, missed: int = 0) -> tuple[float, ...]:
        """Those of Adam, and the factor ``1 - lr·weight_decay`` by which weights shrink."""
        return *super().rates(step, missed), 1 - self.rate(step) * self.weight_decay

    def update(self, backend: Backend, p: Array, g: Array, *rates: Rate, **slots: Array) -> None:
        *adam_rates, shrink = rates
        p *= shrink
        self.adam_update(backend, p, g, *adam_rates, **slots)
