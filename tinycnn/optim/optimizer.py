"""What all optimizers share: parameters, the arrays stored beside them, the learning rate, steps, and the state.

Every optimizer stores a few arrays per parameter, in its shape ("slots", such as the velocity), and counts its steps.
If the update depends on the number of earlier updates (Adam), the steps that a parameter missed are counted too.
Notation: p parameter, g gradient, lr learning rate. Updates happen in place.
"""

import logging
import math
import weakref
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ClassVar

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array, Backend
from tinycnn.errors import SettingError, ShapeError, in_range, shortened, whole_number
from tinycnn.other_names.arguments import NamedArguments
from tinycnn.other_names.attributes import OPTIMIZER_ATTRIBUTES, NamedAttributes
from tinycnn.tensor import Tensor

LOGGER = logging.getLogger("tinycnn.optim")
Rate = Any  # a number, or an array () where the number is already on a GPU
Schedule = Callable[[int], float]  # step number, from 0 → factor of the learning rate
Moving = list[tuple[Array, Array, dict[str, Array]]]  # parameters, their gradients, their slots


class Optimizer(NamedArguments, NamedAttributes):
    """Base class. ``lr``: learning rate; ``schedule(step)``: its factor, by default 1.

    ``optimizer.learning_rate`` (or ``lr``) is the learning rate of the next step. A number assigned to it is exactly
    that; a schedule goes on from there, in proportion: later steps keep the ratios that the schedule gives them.

    Frozen parameters are left out; parameters without a gradient are not changed, not even by weight decay. Raises
    SettingError when there is nothing to train, or when a parameter is given twice.
    """

    foreign_attributes: ClassVar[dict[str, str]] = OPTIMIZER_ATTRIBUTES
    slot_names: ClassVar[tuple[str, ...]] = ()
    counts_updates: ClassVar[bool] = False  # whether the rates of a parameter depend on how often it was updated

    def __init__(self, parameters: Iterable[Tensor], lr: float, schedule: Schedule | None = None) -> None:
        self.base_lr = self.given_lr = in_range("lr", lr, above=0)
        if schedule is not None and not callable(schedule):
            what = shortened(schedule)
            raise SettingError(f"`schedule={what}`: expected a function of the step number, as cosine(9)")
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
    def learning_rate(self) -> float:
        """The learning rate of the next step; assigning a number scales this and all later steps."""
        return self.rate(self.step_count)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        value, factor = in_range("learning_rate", value, above=0), self.rate(self.step_count) / self.base_lr
        if not factor:
            what = f"`learning_rate={value}`"
            raise SettingError(f"{what}: the schedule has ended at 0, and 0 cannot be scaled to a rate")
        self.base_lr = value / factor

    lr = learning_rate

    @property
    def parts(self) -> list["Optimizer"]:
        """The optimizers that share the parameters: this one, unless it is a `ParameterGroups`."""
        return [self]

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
        resting = [i for i, parameter in enumerate(self.parameters) if parameter.grad is None]
        self.count_step(resting)
        if len(resting) == len(self.parameters):
            note_without_gradients(self)

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
        check_gradients(self.parameters)
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
        """The name of the optimizer and its numbers: two optimizers with equal settings take the same steps.

        A learning rate that was assigned later is part of the state instead.
        """
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, bool | int | float)}
        del numbers["step_count"], numbers["base_lr"]
        return {"optimizer": type(self).__name__, "learning rate": numbers.pop("given_lr"), **numbers}

    def state_dict(self) -> dict[str, Any]:
        """``step`` and copies of all slots on the host, ``{"step": int, "slots": [{name: array}]}``.

        ``missed``, a list of integers, is included if a parameter has missed steps; ``lr``, the learning rate without
        schedule of each part, if one was assigned after the optimizer was made.
        """
        to_host = get_backend().to_host
        slots = [{name: to_host(array).copy() for name, array in slots.items()} for slots in self.slots]
        state = {"step": self.step_count, "slots": slots}
        if any(self.missed):
            state["missed"] = list(self.missed)
        if any(part.base_lr != part.given_lr for part in self.parts):
            state["lr"] = [part.base_lr for part in self.parts]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was called; raises ShapeError for the state of other parameters."""
        try:
            step, missed = state["step"], state.get("missed", [0] * len(self.slots))
            fits = len(missed) == len(self.slots)
            fits = fits and _shapes_and_dtypes(self.slots) == _shapes_and_dtypes(state["slots"])
            damaged = any(whole_number("step", count) > step for count in (step, *missed))
            rates = [in_range("lr", lr, above=0) for lr in state.get("lr", [part.given_lr for part in self.parts])]
            fits = fits and len(rates) == len(self.parts)
        except (LookupError, TypeError, AttributeError):
            raise SettingError("expected an optimizer state, as state_dict() returns it") from None
        if not fits:
            raise ShapeError("this optimizer state belongs to other parameters or to another optimizer")
        if damaged:
            raise SettingError(f"this optimizer state is damaged: {step} steps, of which {missed} were missed")
        self.step_count, self.missed = int(step), list(map(int, missed))
        for part, lr in zip(self.parts, rates, strict=True):
            part.base_lr = lr
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
    if strange == "dict":
        raise SettingError("expected a list of tensors, got dictionaries: groups with own settings are ParameterGroups")
    if strange:
        raise SettingError(f"expected a list of tensors, such as model.parameters(), got one with a {strange}")
    if len(set(given)) < len(given):
        raise SettingError("the list of parameters contains a tensor twice, which would be updated twice: remove one")
    return given


_noted: weakref.WeakSet[Optimizer] = weakref.WeakSet()


def note_without_gradients(optimizer: Optimizer) -> None:
    """Log a sentence, once for an optimizer, about a step that had no gradient of any of its parameters."""
    if optimizer not in _noted:
        _noted.add(optimizer)
        LOGGER.warning(
            "note: %s.step() changed nothing, because none of its parameters has a gradient: call loss.backward() "
            "before, on a loss that is computed from model(images), not from predict(...) or .numpy()",
            type(optimizer).__name__,
        )


def check_gradients(parameters: Iterable[Tensor]) -> None:
    """Raise ShapeError for a gradient that was assigned and is no array in the shape of its parameter."""
    for p in parameters:
        if p.grad is not None and (isinstance(p.grad, Tensor) or getattr(p.grad, "shape", None) != p.shape):
            raise ShapeError(f"a parameter has the gradient {shortened(p.grad)}: expected an array {p.shape}")


def _shapes_and_dtypes(slots: list[dict[str, Array]]) -> list[dict[str, tuple[Any, ...]]]:
    return [{name: (array.shape, array.dtype) for name, array in by_name.items()} for by_name in slots]


def constant() -> Schedule:
    """The same learning rate throughout: step → 1."""
    return _constant


def _constant(step: int) -> float:
    return 1.0
