"""Schedules: functions of the step number, from 0, that return the factor of the learning rate in that step.

All can be pickled, because they are a `partial` of a module-level function.
"""

import math
from collections.abc import Callable
from functools import partial

from tinycnn.errors import SettingError, in_range, shortened, whole_number
from tinycnn.optim.optimizer import Schedule, constant


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


def linear(total_steps: int, *, warmup: float = 0.0, start: float = 0.0, end: float = 0.0) -> Schedule:
    """In a straight line from ``start`` up to 1 during the first ``warmup`` of the run, then down to ``end``.

    The first step already takes its share of the way up, so that no step has a rate of 0.
    """
    total_steps = whole_number("total_steps", total_steps, at_least=1)
    start, end = in_range("start", start, at_least=0), in_range("end", end, at_least=0)
    warmup = in_range("warmup", warmup, at_least=0, at_most=1)
    return partial(_linear, total_steps, round(warmup * total_steps), start, end)


def _linear(total_steps: int, peak: int, start: float, end: float, step: int) -> float:
    if step < peak:
        return start + (1 - start) * (step + 1) / (peak + 1)
    return 1 + (end - 1) * min((step - peak) / max(total_steps - peak, 1), 1)


def warm_up(schedule: Schedule, steps: int, *, start: float = 0.0) -> Schedule:
    """``schedule``, times a factor that rises in a straight line from ``start`` to 1 during the first ``steps`` steps.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017.
    """
    if not callable(schedule):
        raise SettingError(f"`schedule={shortened(schedule)}`: expected a function of the step number, as cosine(9)")
    steps = whole_number("steps", steps)
    return partial(_warm_up, schedule, steps, in_range("start", start, at_least=0))


def _warm_up(schedule: Schedule, steps: int, start: float, step: int) -> float:
    rise = start + (1 - start) * (step + 1) / (steps + 1) if step < steps else 1.0
    return rise * schedule(step)


def length_of(schedule: Schedule) -> int | None:
    """The number of steps that a schedule of this module was made for; None for a constant, or one of your own."""
    if not isinstance(schedule, partial):
        return None
    if schedule.func is _warm_up:
        return length_of(schedule.args[0])
    return schedule.args[0] if schedule.func in (_step_decay, _cosine, _one_cycle, _linear) else None


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda total_steps: constant(),
    "step": step_decay,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
}
