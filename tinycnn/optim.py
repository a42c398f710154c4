"""Optimizers, which update parameters from their gradients, and schedules, which change the learning rate over a run.

Every optimizer stores a few arrays per parameter, in its shape ("slots", such as the velocity), and counts its steps.
If the update depends on the number of earlier updates (Adam), the steps that a parameter missed are counted too.
Notation: p parameter, g gradient, lr learning rate. Updates happen in place.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from typing import Any, ClassVar

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.errors import SettingError, ShapeError, checked_bool, in_range, shortened, whole_number
from tinycnn.tensor import Tensor

Rate = Any  # a number, or an array () where the number is already on a GPU
Schedule = Callable[[int], float]  # step number, from 0 → factor of the learning rate
Moving = list[tuple[Array, Array, dict[str, Array]]]  # parameters, their gradients, their slots


class Optimizer:
    """Base class. ``lr``: learning rate; ``schedule(step)``: its factor, by default 1.

    Frozen parameters are left out; parameters without a gradient are not changed, not even by weight decay. Raises
    SettingError when there is nothing to train, or when a parameter is given twice.
    """

    slot_names: ClassVar[tuple[str, ...]] = ()
    counts_updates: ClassVar[bool] = False  # whether the rates of a parameter depend on how often it was updated

    def __init__(self, parameters: Iterable[Tensor], lr: float, schedule: Schedule | None = None) -> None:
        self.base_lr = in_range("lr", lr, above=0)
        if schedule is not None and not callable(schedule):
            raise SettingError(f"schedule={shortened(schedule)}: expected a function of the step number, as cosine(9)")
        given = checked_parameters(parameters)
        self.parameters = [parameter for parameter in given if parameter.requires_grad]
        if not self.parameters:
            raise SettingError(f"nothing is left to train: all {len(given)} parameters are frozen; unfreeze a layer")
        self.schedule = schedule or constant()
        self.step_count = 0
        self.missed = [0] * len(self.parameters)  # steps in which a parameter had no gradient, if they are counted
        xp = get_backend().xp
        self.slots = [{name: xp.zeros(p.shape, p.dtype) for name in self.slot_names} for p in self.parameters]

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self.rate(self.step_count)

    def rate(self, step: int) -> float:
        """The learning rate of step ``step``; raises SettingError when the schedule makes it negative or not finite."""
        factor = self.schedule(step)
        if not (isinstance(factor, Real) and 0 <= self.base_lr * factor < math.inf):
            raise SettingError(
                f"the schedule returns {shortened(factor)} for step {step}: expected a number, at least 0"
            )
        return self.base_lr * factor

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for missed in sorted(set(self.missed)):
            rates = self.rates(self.step_count, missed) if missed else self.rates(self.step_count)
            self.move(rates, missed)
        self.count_step([i for i, parameter in enumerate(self.parameters) if parameter.grad is None])

    def count_step(self, resting: Iterable[int] = ()) -> None:
        """Count a step, and a missed step for each parameter whose index is in ``resting``."""
        self.step_count += 1
        if self.counts_updates:
            for i in resting:
                self.missed[i] += 1

    def rates(self, step: int, missed: int = 0) -> tuple[float, ...]:
        """The numbers of ``update`` that depend on the step number ``step``, from 0: here the learning rate."""
        return (self.rate(step),)

    def move(self, rates: Iterable[Rate], missed: int | None = None) -> None:
        """Update all parameters, or those that missed ``missed`` steps, with these rates; does not count a step."""
        chosen = (missed is None or missed == own for own in self.missed)
        for p in self.parameters:
            if p.grad is not None and (isinstance(p.grad, Tensor) or getattr(p.grad, "shape", None) != p.shape):
                raise ShapeError(f"a parameter has the gradient {shortened(p.grad)}: expected an array {p.shape}")
        triples = zip(self.parameters, self.slots, chosen, strict=True)
        moving = [(p.data_to_change(), p.grad, slots) for p, slots, now in triples if now and p.grad is not None]
        if moving:
            self.update_all(get_backend(), moving, tuple(rates))

    def update_all(self, backend: Backend, moving: Moving, rates: tuple[Rate, ...]) -> None:
        """Change all these parameters and their slots in place, in one pass over memory where the backend has a kernel.

        ``fused_kernel`` belongs to the ``update`` of the same class; a subclass with another ``update`` has its own.
        """
        fused = self.fused_kernel(backend) if "fused_kernel" in vars(type(self)) else None
        if fused and all(p.flags.c_contiguous for p, _, _ in moving):
            contiguous = backend.xp.ascontiguousarray
            arrays = [(p, contiguous(g), *(slots[name] for name in self.slot_names)) for p, g, slots in moving]
            fused(arrays, rates, *self.fused_settings())
            return
        for p, g, slots in moving:
            self.update(backend, p, g, *rates, **slots)

    def fused_kernel(self, backend: Backend) -> Callable[..., None] | None:
        """The kernel that does ``update`` for all parameters at once; None where the backend has none."""
        return None

    def fused_settings(self) -> tuple[float, ...]:
        """The arguments of ``fused_kernel`` after parameters and rates."""
        raise NotImplementedError

    def update(self, backend: Backend, p: Array, g: Array, *rates: Any, **slots: Any) -> None:
        """Change ``p`` and its slots in place."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters, before the next ``backward()``."""
        for parameter in self.parameters:
            parameter.grad = None

    def settings(self) -> dict[str, Any]:
        """The name of the optimizer and its numbers: two optimizers with equal settings take the same steps."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, bool | int | float)}
        del numbers["step_count"]
        return {"optimizer": type(self).__name__, "learning rate": numbers.pop("base_lr"), **numbers}

    def state_dict(self) -> dict[str, Any]:
        """``step`` and copies of all slots on the host, ``{"step": int, "slots": [{name: array}]}``.

        ``missed``, a list of integers, is included if a parameter has missed steps.
        """
        to_host = get_backend().to_host
        slots = [{name: to_host(array).copy() for name, array in slots.items()} for slots in self.slots]
        return {"step": self.step_count, "slots": slots} | ({"missed": list(self.missed)} if any(self.missed) else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was called; raises ShapeError for the state of other parameters."""
        try:
            step, missed = state["step"], state.get("missed", [0] * len(self.slots))
            fits = len(missed) == len(self.slots)
            fits = fits and _shapes_and_dtypes(self.slots) == _shapes_and_dtypes(state["slots"])
            damaged = any(whole_number("step", count) > step for count in (step, *missed))
        except (LookupError, TypeError, AttributeError):
            raise SettingError("expected an optimizer state, as state_dict() returns it") from None
        if not fits:
            raise ShapeError("this optimizer state belongs to other parameters or to another optimizer")
        if damaged:
            raise SettingError(f"this optimizer state is damaged: {step} steps, of which {missed} were missed")
        self.step_count, self.missed = int(step), list(map(int, missed))
        for slots, values in zip(self.slots, state["slots"], strict=True):
            for name, array in slots.items():
                array[...] = get_backend().asarray(values[name])


def checked_parameters(parameters: Iterable[Tensor]) -> list[Tensor]:
    """``parameters`` as a list; raises SettingError unless they are one or more different tensors."""
    if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
        kind = type(parameters).__name__
        raise SettingError(f"expected a list of parameters, such as model.parameters(), got a {kind}")
    given = list(parameters)
    if not given:
        raise SettingError("an optimizer needs at least one parameter")
    strange = next((type(one).__name__ for one in given if not isinstance(one, Tensor)), None)
    if strange:
        raise SettingError(f"expected a list of tensors, such as model.parameters(), got one with a {strange}")
    if len(set(given)) < len(given):
        raise SettingError("the list of parameters contains a tensor twice, which would be updated twice: remove one")
    return given


def _shapes_and_dtypes(slots: list[dict[str, Array]]) -> list[dict[str, tuple[Any, ...]]]:
    return [{name: (array.shape, array.dtype) for name, array in by_name.items()} for by_name in slots]


def gradient_norm(parameters: Iterable[Tensor]) -> Array:
    """The length √(Σ g²) of all gradients as one vector: an array ``()`` of the backend, without waiting for a GPU."""
    backend = get_backend()
    squares = [backend.sum(p.grad * p.grad) for p in checked_parameters(parameters) if p.grad is not None]
    return backend.xp.sqrt(sum(squares))


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Array:
    """Scale all gradients together, in place, to a norm of at most ``max_norm``; returns the norm before.

        g ← g · min(1, max_norm / (norm + 1e-6))

    The direction stays the same, so a single unusual batch cannot move the weights far. Raises SettingError unless
    ``max_norm`` is above 0. Source: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013;
    the 1e-6 is PyTorch's.
    """
    if not (isinstance(max_norm, float) and max_norm == math.inf):
        max_norm = in_range("max_norm", max_norm, above=0)
    parameters = checked_parameters(parameters)
    norm = gradient_norm(parameters)
    factor = get_backend().xp.minimum(1.0, max_norm / (norm + 1e-6))
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad *= factor
    return norm


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
            raise SettingError(f"betas={shortened(betas)}: expected two numbers")
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


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


# The functions below return schedules that can be pickled: `partial` of a module-level function.


def constant() -> Schedule:
    """The same learning rate throughout: step → 1. (A schedule is a function of the step number, from 0.)"""
    return _constant


def _constant(step: int) -> float:
    return 1.0


def step_decay(total_steps: int, *, drops: int = 3, factor: float = 0.1) -> Schedule:
    """Multiply by ``factor`` after each of ``drops + 1`` equal parts of the run."""
    drops, factor = whole_number("drops", drops), in_range("factor", factor, above=0)
    return partial(_step_decay, whole_number("total_steps", total_steps, at_least=1), drops, factor)


def _step_decay(total_steps: int, drops: int, factor: float, step: int) -> float:
    return factor ** min(step * (drops + 1) // total_steps, drops)


def cosine(total_steps: int, *, floor: float = 0.0) -> Schedule:
    """From 1 down to ``floor`` along half a cosine. Source: Loshchilov, Hutter, "SGDR", 2017."""
    floor = in_range("floor", floor, at_least=0)
    return partial(_cosine, whole_number("total_steps", total_steps, at_least=1), floor)


def _cosine(total_steps: int, floor: float, step: int) -> float:
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(step / total_steps, 1))) / 2


def one_cycle(total_steps: int, *, warmup: float = 0.3, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """From ``start`` up to 1 during the first ``warmup`` of the run, then down to ``end``, both along half a cosine.

    Source: Smith, "Super-convergence", 2018.
    """
    total_steps = whole_number("total_steps", total_steps, at_least=1)
    start, end = in_range("start", start, at_least=0), in_range("end", end, at_least=0)
    warmup = in_range("warmup", warmup, at_least=0, at_most=1)
    return partial(_one_cycle, total_steps, max(round(warmup * total_steps), 1), start, end)


def _one_cycle(total_steps: int, peak: int, start: float, end: float, step: int) -> float:
    low, progress = (start, 1 - step / peak) if step < peak else (end, (step - peak) / max(total_steps - peak, 1))
    return low + (1 - low) * (1 + math.cos(math.pi * min(progress, 1))) / 2


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda total_steps: constant(),
    "step": step_decay,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
