"""Calls with arguments that a class or function does not have: the error says what to pass instead."""

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, Self, TypeVar

from tinycnn.errors import SettingError
from tinycnn.other_names.tables import EXAMPLES, IN_ONE_CALL, INSTEAD, LAST_AXIS, ORDER, SAME, SAME_TOO

COMPUTING = "evaluate", "predict", "TinyCNNClassifier"  # print nothing
P = ParamSpec("P")
R = TypeVar("R")


class UnknownArgumentError(SettingError, TypeError):
    """An argument that a class or function does not have."""


class MissingArgumentError(SettingError, TypeError):
    """An argument without which a class or function cannot be called."""


class NamedArguments:
    """A base of classes that refuse unknown arguments with a sentence that names the right one."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        if given or named:  # none of them: perhaps a copy, whose attributes are set later
            check_arguments(cls.__name__, cls.__init__, (cls, *given), named)
        return super().__new__(cls)


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, which refuses unknown arguments with a sentence that names the right one."""

    @functools.wraps(function)
    def checked(*given: P.args, **named: P.kwargs) -> R:
        check_arguments(function.__name__, function, given, named)
        return function(*given, **named)

    return checked


def explained(function: Callable[P, R], owner: str | None = None) -> Callable[P, R]:
    """The same function; a TypeError about its arguments gets a sentence. A call that works costs nothing more."""

    @functools.wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> R:
        try:
            return function(*given, **named)
        except TypeError as error:
            problem = error
        check_arguments(owner or function.__name__, function, given, named)
        raise problem

    return call


def explain_functions(module: str, names: Iterable[str]) -> None:
    """Make ``explained`` functions of those of a package, where they are defined too, unless they check themselves."""
    package = sys.modules[module]
    for name in names:
        function = getattr(package, name)
        if inspect.isfunction(function) and not hasattr(function, "__wrapped__"):
            better = explained(function)
            for place in (package, sys.modules[function.__module__]):
                setattr(place, name, better)


def check_arguments(owner: str, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise UnknownArgumentError for a name, and for more values without a name, than ``function`` takes.

    Raises MissingArgumentError where other arguments are given without ``parameters``, as to optimizers of Keras.
    """
    names, bound, most, takes_all = parameters_of(function)
    unknown = [name for name in named if name not in names]
    twice = [name for name in named if most is not None and name in names[: max(min(len(given), most) - bound, 0)]]
    absent = [name for name in _required(function) if name not in named and name not in names[: len(given) - bound]]
    if unknown and not (takes_all and {SAME.get(unknown[0]), SAME_TOO.get(unknown[0])}.isdisjoint(absent)):
        words = IN_ONE_CALL.get(unknown[0]) if owner in COMPUTING else None
        words = LAST_AXIS if "softmax" in owner.lower() and unknown[0] in ("axis", "dim") else words
        raise UnknownArgumentError(f"{owner} has no setting {unknown[0]}: {words or instead(unknown[0], names)}")
    if named and len(given) == bound == 1 and "parameters" in names and "parameters" not in named:
        by_fit = 'pass `optimizer="adam"` and `lr` to fit, which creates the optimizer'
        raise MissingArgumentError(f"{owner} needs `parameters`: {owner}(model.parameters(), ...); or {by_fit}")
    if owner in ORDER and len(given) > bound and ORDER[owner][0](given[bound:]):
        raise UnknownArgumentError(f"{owner}({', '.join(map(repr, given[bound:]))}): {ORDER[owner][1]}")
    if twice:
        call = ", ".join([*map(repr, given[bound:]), *(f"{name}={named[name]!r}" for name in twice)])
        words = ORDER[owner][1] if owner in ORDER else "pass it once"
        raise UnknownArgumentError(f"{owner}({call}) gives `{twice[0]}` twice: {words}")
    if most is not None and len(given) > most:
        as_in = f", as in {EXAMPLES[owner]}" if "=" in EXAMPLES.get(owner, "") else ""
        rest = (
            f"pass the others by name: {', '.join(names[most - bound :])}{as_in}"
            if len(names) > most - bound
            else "it has none"
        )
        counts = (
            f"takes at most {most - bound} value{'s' * (most - bound != 1)} without a name, got {len(given) - bound}"
        )
        raise UnknownArgumentError(f"{owner} {counts}: {rest}")
    if absent:
        every = " and ".join(f"`{name}`" for name in absent)
        example = EXAMPLES.get(owner, f"{owner}({', '.join(_required(function))})")
        raise MissingArgumentError(f"{owner} needs {every}: {example}")


def instead(name: str, names: Iterable[str]) -> str:
    """What to do in the place of an unknown argument; ``names`` are those that there are."""
    names = list(names)
    for table in (SAME, SAME_TOO):
        if table.get(name) in names:
            return f"pass `{table[name]}`"
    if name in INSTEAD:
        return INSTEAD[name]
    similar = difflib.get_close_matches(name, names, n=2)
    if similar:
        return f"did you mean {' or '.join(similar)}?"
    return f"choose from {', '.join(names)}" if names else "it has none"


@functools.cache
def parameters_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], int, int | None, bool]:
    """The names of the arguments without ``self``, and whether there is a ``self`` (0 or 1).

    Then, how many arguments may be passed without a name (None: any number), and whether any name is taken.
    """
    if function is object.__init__:
        return (), 1, 1, False
    parameters = list(inspect.signature(function).parameters.values())
    bound, kinds = int(parameters[0].name == "self"), [one.kind for one in parameters]
    names = tuple(one.name for one in parameters[bound:] if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    most = sum(kind.name in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") for kind in kinds)
    takes = {kind.name for kind in kinds}
    return names, bound, None if "VAR_POSITIONAL" in takes else most, "VAR_KEYWORD" in takes


@functools.cache
def _required(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments without a default, except ``self``."""
    if function is object.__init__:
        return ()
    parameters = [one for name, one in inspect.signature(function).parameters.items() if name != "self"]
    plain = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return tuple(one.name for one in plain if one.default is one.empty)


def not_a_layer(given: Any, kind: str) -> str:
    """What to do with something that was passed to a network in the place of a layer."""
    if isinstance(given, list | tuple):
        return f": pass the layers without the brackets, {kind}(a, b), or {kind}(*layers)"
    if isinstance(given, type):
        return f": pass an object, {given.__name__}()"
    return ": layers are objects, such as ReLU()" if isinstance(given, str) else ""
