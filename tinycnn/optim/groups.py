"""Groups of parameters with settings of their own: one optimizer for each group, and one object for all."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Protocol, Self

from tinycnn.errors import SettingError, shortened
from tinycnn.optim.optimizer import Optimizer, Rate, Schedule, checked_parameters
from tinycnn.tensor import Tensor


class HasNamedParameters(Protocol):
    """A network, or a layer."""

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter with its name, such as ``conv2d_1.weight``."""


class ParameterGroups(Optimizer):
    """Several optimizers, each with its own parameters, that take every step together and are used like one.

        ParameterGroups(SGD(weights, lr=0.1, momentum=0.9), Adam(biases, lr=0.001))

    The learning rate is that of the first group. Assigning to it scales the rates of all groups, so that their ratios
    stay; the rate of one group is assigned with ``groups.parts[1].learning_rate = ...``.
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        if not optimizers or not all(isinstance(one, Optimizer) for one in optimizers):
            raise SettingError(f"expected optimizers, such as Adam(parameters), got {shortened(optimizers)}")
        self._parts = [part for one in optimizers for part in one.parts]
        if len({part.step_count for part in self._parts}) > 1:
            raise SettingError("the optimizers of several groups have taken different numbers of steps: make new ones")
        self.parameters = checked_parameters(p for part in self._parts for p in part.parameters)
        self.slots = [slots for part in self._parts for slots in part.slots]
        self.schedule: Schedule = partial(_factors, [part.schedule for part in self._parts])

    @classmethod
    def by_name(
        cls,
        kind: type[Optimizer],
        model: HasNamedParameters,
        settings: Mapping[str, Mapping[str, Any]],
        **common: Any,
    ) -> Self:
        """One optimizer of ``kind`` for each pattern of names in ``settings``, and one for all other parameters.

            ParameterGroups.by_name(Adam, model, {"*.bias": {"weight_decay": 0.0}, "conv2d_*": {"lr": 1e-4}}, lr=1e-3)

        A parameter belongs to the first pattern that fits. ``common``: the settings of every group, where its own do
        not say otherwise. Raises SettingError for a pattern that fits no parameter.
        """
        if not (isinstance(kind, type) and issubclass(kind, Optimizer)):
            raise SettingError(f"`kind` is {shortened(kind)}: expected a class of optimizers, such as Adam")
        if not hasattr(model, "named_parameters"):
            raise SettingError(f"`model` is {shortened(model)}: expected a network, whose parameters have names")
        good = isinstance(settings, Mapping) and all(isinstance(own, Mapping) for own in settings.values())
        if not good or not all(isinstance(pattern, str) and pattern for pattern in settings):
            raise SettingError(f"`settings` is {shortened(settings)}: expected settings for each pattern of names")
        named = list(model.named_parameters())
        chosen: dict[str, list[Tensor]] = {pattern: [] for pattern in (*settings, "")}
        for name, parameter in named:
            pattern = next((pattern for pattern in settings if fnmatchcase(name, pattern)), "")
            chosen[pattern].append(parameter)
        for pattern in settings:
            if not any(fnmatchcase(name, pattern) for name, _ in named):
                names = shortened([name for name, _ in named], 300)
                raise SettingError(f"no parameter is called {shortened(pattern)}: their names are {names}")
        groups = {"": chosen.pop(""), **chosen}  # those without a pattern first: theirs is the learning rate
        own = {pattern: {**common, **settings.get(pattern, {})} for pattern in groups}
        trained = {pattern: some for pattern, some in groups.items() if any(p.requires_grad for p in some)}
        return cls(*(kind(parameters, **own[pattern]) for pattern, parameters in (trained or groups).items()))

    @property
    def parts(self) -> list[Optimizer]:
        """The optimizer of each group."""
        return self._parts

    @property
    def step_count(self) -> int:
        """The steps taken so far, by each of them."""
        return self._parts[0].step_count

    @step_count.setter
    def step_count(self, count: int) -> None:
        for part in self._parts:
            part.step_count = count

    @property
    def missed(self) -> list[int]:
        """The missed steps of every parameter; a copy."""
        return [missed for part in self._parts for missed in part.missed]

    @missed.setter
    def missed(self, missed: list[int]) -> None:
        missing = iter(missed)
        for part in self._parts:
            part.missed = [next(missing) for _ in part.parameters]

    @property
    def base_lr(self) -> float:
        """The learning rate of the first group without its schedule; assigning to it scales those of all groups."""
        return self._parts[0].base_lr

    @base_lr.setter
    def base_lr(self, value: float) -> None:
        before = self.base_lr
        for part in self._parts:
            part.base_lr = value if part is self._parts[0] else part.base_lr * value / before

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for part in self._parts:
            part.step()

    def count_step(self, resting: Iterable[int] = ()) -> None:
        """Count a step, and a missed step for each parameter whose index is in ``resting``."""
        resting, start = set(resting), 0
        for part in self._parts:
            stop = start + len(part.parameters)
            part.count_step(i - start for i in resting if start <= i < stop)
            start = stop

    def rate(self, step: int) -> float:
        """The learning rate of the first group in step ``step``."""
        return self._parts[0].rate(step)

    def rates(self, step: int, missed: int = 0) -> tuple[float, ...]:
        """The rates of all groups, one group after the other."""
        return tuple(rate for part in self._parts for rate in part.rates(step, missed))

    def move(self, rates: Iterable[Rate], missed: int | None = None) -> None:
        """Update the parameters with the ``rates`` of all groups; does not count a step."""
        rates, start = tuple(rates), 0
        for part in self._parts:
            stop = start + len(part.rates(part.step_count))
            part.move(rates[start:stop], missed)
            start = stop

    def settings(self) -> dict[str, Any]:
        """The settings of every group, and the shapes of its parameters."""
        found: dict[str, Any] = {"optimizer": type(self).__name__, "learning rate": self._parts[0].given_lr}
        for number, part in enumerate(self._parts, start=1):
            shapes = ", ".join(str(parameter.shape) for parameter in part.parameters)
            own = part.settings() | {"parameters": shapes}
            found |= {f"{name} of group {number}": value for name, value in own.items()}
        return found


def _factors(schedules: list[Schedule], step: int) -> Any:
    """The factors of several schedules, with which a checkpoint compares those of the run that it resumes."""
    return [schedule(step) for schedule in schedules]
