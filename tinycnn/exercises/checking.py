"""Helpers of the checks: gradients are compared with finite differences, and mistakes described in words."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.errors import GradientError
from tinycnn.exercises.diagnosis import Count, diagnosed, typical_key
from tinycnn.exercises.symptoms import ATOL, BOTH, FORM, RTOL, Symptom
from tinycnn.exercises.tracing import Returns, line_of_list, line_of_value, student_file
from tinycnn.exercises.wrong_shapes import wrong_gradient, wrong_shape
from tinycnn.gradcheck import watch_arrays
from tinycnn.tensor import Function, Tensor

Arrays = Mapping[str, np.ndarray]
Suspects = Mapping[str, Callable[[str, np.ndarray], np.ndarray | None]]  # by symptom: (input, grad_y) → its gradient
EPS = 1e-6
MOST_NUMBERS = 16  # in an input that a message shows: enough for a computation on paper
WRONG_SHAPES = "shape", "not summed", "wrong axis", "axis of length 1", "transposed"  # symptoms of ``wrong_shape``


class Mistake(Exception):
    """A mistake in a student's code, described so that the student can find it.

    ``symptom`` and ``about``, the name of the gradient, choose the hints; ``line`` or ``place`` say where to look.
    ``came``: the wrong numbers, all of them. ``outcome``: more numbers, by which mistakes can be told apart; ``grads``:
    all gradients, by name; ``given``: the arrays from which the numbers are computed, by name.
    """

    outcome: Any = None
    grads: Mapping[str, Any] = {}
    given: Mapping[str, np.ndarray] = {}

    def __init__(
        self,
        text: str,
        *,
        symptom: str = "",
        about: str = "",
        line: int | None = None,
        place: str = "",
        came: Any = None,
    ) -> None:
        super().__init__(text)
        self.symptom, self.about, self.line, self.place, self.came = symptom, about, line, place, came


@contextmanager
def situation(what: str) -> Iterator[None]:
    """Name the situation in every error that is raised within the block, whatever its kind."""
    try:
        yield
    except Exception as error:
        error.add_note(what)
        raise


@contextmanager
def after(first_task: str, *, is_extra: bool = False) -> Iterator[None]:
    """Errors raised within the block say that ``first_task``, which was checked before, is right.

    ``is_extra``: the block is an extra step, without which the file can be used.
    """
    try:
        yield
    except Exception as error:
        error.first_task, error.is_extra = first_task, is_extra  # type: ignore[attr-defined]
        raise


@contextmanager
def renamed(symptoms: Iterable[str], key: str) -> Iterator[None]:
    """Mistakes with one of the symptoms, raised within the block, get the hints of ``key``."""
    try:
        yield
    except Mistake as mistake:
        if mistake.symptom in symptoms:
            mistake.symptom = key
        raise


@contextmanager
def shown_at(line: int | None, symptoms: Iterable[str], about: str = "") -> Iterator[None]:
    """Mistakes with one of the symptoms, raised within the block, belong to ``line`` and, if it is given, ``about``."""
    try:
        yield
    except Mistake as mistake:
        if mistake.symptom in symptoms:
            mistake.line, mistake.about = line, about or mistake.about
        raise


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers, the same on every call."""
    return np.random.default_rng(seed).normal(size=shape)


def check_gradients(
    call: Callable[..., Any],
    inputs: Arrays,
    *,
    of: str = "",
    differences_at: Arrays | None = None,
    suspects: Suspects | None = None,
    has_mean: bool = False,
    order: Iterable[str] = (),
    others: Arrays | None = None,
) -> None:
    """Raise Mistake unless ``call(*tensors).backward(grad_y)`` gives every input the gradient of finite differences.

    On float32 inputs, the gradients must be float32, too: networks are trained on these.
    ``of``: the operation, which with the name of the input is the key of the formula. ``differences_at``: inputs at
    which to take the differences instead, where they are not defined at ``inputs``. ``has_mean``: whether forward takes
    a mean; a loss does. ``order``: the names in which to compare the gradients, where one is made from another.
    ``others``: arrays without a gradient, such as the target of a loss, for the message.
    """
    tensors = {name: Tensor(array.copy(), requires_grad=True) for name, array in inputs.items()}
    y = call(*tensors.values())
    grad_y = normal(*y.shape, seed=99)  # random: with ones, errors that cancel in the sum would stay hidden
    values = y.numpy().copy()

    @cache
    def slopes(name: str) -> np.ndarray:
        return slopes_of(call, differences_at or inputs, name)

    try:
        returns = backward(y, grad_y, of)
    except Mistake as mistake:
        if mistake.symptom in ("bool", "integers"):
            ((name, grad),) = mistake.grads.items()
            typical = typical_numbers(name, inputs[name], slopes(name), grad_y, suspects or {})
            mistake.symptom = typical_key(np.asarray(grad, dtype=float), typical) or mistake.symptom
        raise
    given = {**inputs, **(others or {}), "grad_y" if y.shape else "grad_loss": grad_y}
    given = given if grad_y.size <= MOST_NUMBERS else {}  # without grad_y, nothing can be computed
    numbers = {name: weighted(slopes(name), grad_y) for name in inputs}
    names = list(tensors)
    for name in order or names:
        index, tensor = names.index(name), tensors[name]
        typical = typical_numbers(name, inputs[name], slopes(name), grad_y, suspects or {})
        typical["order"] = partial(of_another, numbers, name, {key: x.grad for key, x in tensors.items()})
        about = f"{of}.{name}" if of else name
        what, counts = f"the gradient of {name}", counts_in(inputs[name].shape, grad_y.shape, has_mean)
        line = None if agree(tensor.grad, numbers[name]) else made_at(returns.line_of(f"grad_{name}"), index)
        has_a_mean = has_mean or y.shape == ()
        try:
            with shown_at(listed_at(returns.line_of(f"grad_{name}")), ("order",)):
                compare(
                    what, numbers[name], tensor.grad, about=about, line=line, suspects=typical, counts=counts,
                    has_mean=has_a_mean, given=given,
                )  # fmt: skip
        except Mistake as mistake:
            mistake.grads = {key: x.grad for key, x in tensors.items()}
            raise
        if not np.array_equal(tensor.data, inputs[name]):
            text = f"{name} itself has changed: compute into new arrays, the old one is still needed"
            raise Mistake(text, symptom="in place", about=about)
    if not np.array_equal(y.numpy(), values, equal_nan=True):
        text = "y itself, the output of forward, has changed in backward: compute into new arrays"
        raise Mistake(text, symptom="in place", place=next(reversed(returns.lines), ""))
    with situation("on float32 inputs"):
        y = call(*(Tensor(array.astype(np.float32), requires_grad=True) for array in inputs.values()))
        backward(y, grad_y.astype(np.float32), of)


def typical_numbers(
    name: str, x: np.ndarray, slopes: np.ndarray, grad_y: np.ndarray, suspects: Suspects
) -> dict[str, Callable[[], np.ndarray | None]]:
    """By symptom, what typical mistakes lead to in the gradient of the input ``name``, whose value is ``x``."""
    ones = np.ones_like(grad_y)
    typical: dict[str, Callable[[], np.ndarray | None]] = {
        key: partial(suspect, name, grad_y) for key, suspect in suspects.items()
    }
    typical["upstream"] = partial(weighted, slopes, ones)
    for key, suspect in suspects.items():
        symptom, _, form = key.partition(FORM)
        typical[f"{symptom}{BOTH}upstream{FORM}{form}"] = partial(suspect, name, ones)
    typical["upstream alone"] = grad_y.copy
    for form, part in single_uses(grad_y).items():
        typical[f"overwritten{FORM}{form}"] = partial(weighted, slopes, part)
    typical["input itself"] = x.copy
    if x.ndim < grad_y.ndim:
        typical["all axes"] = partial(np.full, x.shape, grad_y.sum())
        typical[f"all axes{FORM}mean"] = partial(np.full, x.shape, grad_y.mean())
    return typical


def single_uses(grad_y: np.ndarray, name: str = "grad_y") -> dict[str, np.ndarray]:
    """``grad_y`` at the last, and at the first, image, window or column alone, and 0 elsewhere; by names for it.

    A loop with = in place of += leaves what the last one contributes. A name is ``grad_y[:, -1]``, for instance.
    """
    axes = [(0,), (1, 2), (0, 1, 2), (3,)] if grad_y.ndim == 4 else [(axis,) for axis in range(grad_y.ndim)]
    parts = {}
    for end, fixed in product((-1, 0), axes):
        place = tuple(end if axis in fixed else slice(None) for axis in range(max(fixed) + 1))
        part = np.zeros_like(grad_y)
        part[place] = grad_y[place]
        parts[f"{name}[{', '.join(':' if one == slice(None) else str(one) for one in place)}]"] = part
    return parts


def made_at(line: int | None, index: int = 0) -> int | None:
    """The line where the student's file makes the value that it returns at ``line`` and ``index``."""
    return line_of_value(Path(student_file.get()), line, index)


def listed_at(line: int | None) -> int | None:
    """``line``, at which the student's file returns several values."""
    return line_of_list(Path(student_file.get()), line)


def created_at(line: int | None, index: int = 0) -> int | None:
    """The line where the array was created that the student's file returns at ``line`` and ``index``."""
    return line_of_value(Path(student_file.get()), line, index, created=True)


def of_another(numbers: Arrays, name: str, came: Mapping[str, Any]) -> np.ndarray | None:
    """The numeric gradient of another input, to which that of ``name`` came; None if there is none."""
    others = [key for key in numbers if key != name and agree(came[key], numbers[name])]
    return numbers[others[0]] if others else None


def counts_in(x: tuple[int, ...], y: tuple[int, ...], has_mean: bool) -> list[Count]:
    """What a mean in forward or backward may have counted, the likely first."""
    counts = [(shape[0], "images" if len(shape) == 4 else "rows") for shape in (x, y) if shape]
    counts.append((int(np.prod(y[:-1])), "windows" if len(y) == 4 else "rows"))
    if len(y) == 4 and not has_mean:
        counts.append((y[1] * y[2], "windows in each image"))
    if y == () and len(x) == 2:  # a loss
        counts += [(x[1], "columns"), (x[0] * x[1], "numbers")]
    return counts


def backward(y: Tensor, grad_y: np.ndarray, of: str = "") -> Returns:
    """Call ``y.backward(grad_y)``; returns the lines of the last ``return`` of the functions in the student's file.

    Raises Mistake when a function of that file returns a gradient of the wrong shape or dtype, or changes an array.
    """
    returns, names = Returns(), list(inspect.signature(y.creator.forward).parameters) if y.creator else []
    for function in functions_behind(y.creator):
        if type(function).backward.__code__.co_filename == student_file.get():
            function.backward = partial(examined, function, function.backward, returns, of)  # type: ignore[method-assign]
    try:
        watch_arrays(y)
        with returns.watched():
            y.backward(grad_y.copy())
    except GradientError as error:
        text, place = str(error).removeprefix("gradcheck: "), next(reversed(returns.lines), "")
        text = re.sub(r"its input (\d+)", lambda found: names[int(found[1])], text)
        raise Mistake(text, symptom="in place", place=place) from None
    return returns


def functions_behind(last: Function | None) -> set[Function]:
    """``last``, and all functions that led to it."""
    found: set[Function] = set()
    to_visit = [last]
    while to_visit:
        function = to_visit.pop()
        if function is not None and function not in found:
            found.add(function)
            to_visit += [x.creator for x in function.inputs]
    return found


def examined(function: Function, backward: Callable[..., Any], returns: Returns, of: str, grad_y: np.ndarray) -> Any:
    """``backward(grad_y)``; raises Mistake, which names the input, for a gradient of the wrong shape or dtype."""
    grads = backward(grad_y)
    each = tuple(grads) if isinstance(grads, tuple | list) else (grads,)
    parameters = list(inspect.signature(type(function).forward).parameters)[1:]
    names, absent = parameters[: len(function.inputs)], parameters[len(function.inputs) :]
    where = f"{type(function).__name__}.backward"
    of_all = f"{gradients(len(names))}: of {', '.join(names)}"
    if grads is None:
        raise Mistake(f"{where} returned None, expected {of_all}", symptom="return", about=where, line=returns.last)
    if len(each) != len(names):
        text = f"{where} returned {gradients(len(each))}, expected {of_all}"
        given = len(each) > len(names) and absent
        text += f"; {' and '.join(absent)} was not given" if given else ""
        too_many = "too many" if absent else "too many gradients"
        key = too_many if len(each) > len(names) else "none"
        raise Mistake(text, symptom=key, about=where, line=listed_at(returns.last))
    tensors = [name for name, grad in zip(names, each, strict=True) if isinstance(grad, Tensor)]
    if tensors:
        text = f"{where} returned a Tensor, expected {of_all}, as arrays"
        about = f"{type(function).__name__}.{tensors[0]}" if len(tensors) == 1 else where
        raise Mistake(text, symptom="tensor", about=about, place=where)
    exchanged = sorted(map(np.shape, each)) == sorted(x.shape for x in function.inputs)
    owners = {x.shape: name for name, x in zip(names, function.inputs, strict=True)} if exchanged else {}
    for index, (name, x, grad, needed) in enumerate(
        zip(names, function.inputs, each, function.needs_grad, strict=True)
    ):
        about = f"{of}.{name}" if of else name
        if grad is None and needed:
            text = f"{where} returned None for {name}, whose gradient is needed"
            raise Mistake(text, symptom="none", about=about, line=made_at(returns.last, index))
        shape, dtype = np.shape(grad), getattr(grad, "dtype", None)
        if grad is not None and shape != x.shape:
            text = f"the gradient of {name} has shape {shape}, expected that of {name}, {x.shape}"
            if owner := owners.get(shape):
                text += f"; {shape} is the shape of {owner}"
                raise Mistake(text, symptom="order", about=about, line=listed_at(returns.last))
            symptom = wrong_gradient(x.shape, np.asarray(grad), grad_y)
            text += f"; grad_y has shape {grad_y.shape}" + (f"\n  {symptom.sentence}" if symptom.sentence else "")
            raise Mistake(text, symptom=symptom.key, about=about, line=made_at(returns.last, index))
        if grad is not None and dtype != x.dtype:
            text = f"the gradient of {name} is {dtype}, expected {x.dtype} as {name} is"
            counts = "bool" if np.isin(grad, (0, 1)).all() else "integers"
            key = counts if np.asarray(grad).dtype.kind in "biu" else "dtype"
            mistake = Mistake(text, symptom=key, about=about, line=created_at(returns.last, index))
            mistake.grads = {name: grad}
            raise mistake
    return grads


def gradients(count: int) -> str:
    """``1 gradient``, ``2 gradients``."""
    return f"{count} gradient{'s' * (count != 1)}"


def returned(value: Any, place: str) -> Any:
    """``value``, which the student's ``place`` returned; raises Mistake for None."""
    if value is None:
        raise Mistake(f"{place} returned None", symptom="return", about=place, place=place)
    return value


def check_float32(what: str, came: np.ndarray, place: str, line: int | None) -> None:
    """Raise Mistake unless ``came``, which ``place`` computed from float32 numbers, is float32; ``line``: where."""
    if came.dtype != np.float32:
        text = f"the numbers of {what} are right, but their dtype is {came.dtype}, expected that of the input, float32"
        raise Mistake(text, symptom="dtype", about=place, line=line, place=place)


def numeric_gradient(call: Callable[..., Any], inputs: Arrays, upstream: np.ndarray, name: str) -> np.ndarray:
    """``(v·f(x + eps) - v·f(x - eps)) / 2 eps`` for every element of the input ``name``."""
    return weighted(slopes_of(call, inputs, name), upstream)


def slopes_of(call: Callable[..., Any], inputs: Arrays, name: str) -> np.ndarray:
    """``(f(x + eps) - f(x - eps)) / 2 eps`` for every element of an input: the axes of the input, then those of y."""

    def slope(index: tuple[int, ...]) -> np.ndarray:
        ys = []
        for step in (EPS, -EPS):
            moved = {other: array.copy() for other, array in inputs.items()}
            moved[name][index] += step
            ys.append(call(*map(Tensor, moved.values())).data)
        return np.asarray(ys[0] - ys[1]) / (2 * EPS)

    shape = inputs[name].shape
    slopes = np.array([slope(index) for index in np.ndindex(shape)])
    return slopes.reshape(*shape, *slopes.shape[1:])


def weighted(slopes: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """The sum over all outputs of their slopes, each times its ``upstream``."""
    return np.tensordot(slopes, upstream, upstream.ndim)


def agree(came: Any, expected: np.ndarray) -> bool:
    """Whether the arrays have one shape, and agree."""
    return np.shape(came) == expected.shape and bool(np.allclose(came, expected, rtol=RTOL, atol=ATOL))


def compare(
    what: str,
    expected: np.ndarray,
    came: Any,
    source: str = "finite differences",
    *,
    about: str = "",
    line: int | None = None,
    place: str = "",
    suspects: Mapping[str, Callable[[], np.ndarray | None]] | None = None,
    counts: Iterable[Count] = (),
    has_mean: bool = True,
    grad_y: tuple[int, ...] = (),
    given: Arrays | None = None,
) -> None:
    """Raise Mistake unless the arrays agree, with the first wrong place, both numbers, and the likely mistake.

    ``suspects``: by symptom, a function that returns the numbers to which a typical mistake leads. ``grad_y``: the
    shape of what was summed, if it is known. ``given``: from which to compute the numbers; the small ones are shown.
    """
    if came is None:
        raise Mistake(f"{what} is None: no gradient arrived there", symptom="none", about=about, line=line, place=place)
    came = np.asarray(came)
    if came.shape != expected.shape:
        text, key = (
            f"{what} has shape {came.shape}, expected {expected.shape}",
            wrong_shape(expected.shape, came.shape, grad_y).key,
        )
        raise Mistake(text, symptom=key, about=about, line=line, place=place)
    if came.dtype == bool:
        text = f"{what} is bool: True and False, expected numbers"
        raise Mistake(text, symptom="bool", about=about, line=line, place=place)
    wrong = ~np.isclose(came, expected, rtol=RTOL, atol=ATOL)
    if not wrong.any():
        return
    index = tuple(map(int, np.argwhere(wrong)[0]))
    symptom: Symptom = diagnosed(expected, came, suspects=suspects, counts=counts, has_mean=has_mean)
    sentence = f"\n  {symptom.sentence}" if symptom.sentence else ""
    text = (
        f"{what} is wrong at index {index} ({wrong.sum()} of {wrong.size} are):\n"
        f"    expected  {expected[index]:.6g}  ({source})\n"
        f"    came      {came[index] + 0.0:.6g}{sentence}"  # + 0.0: not "-0"
    )
    mistake = Mistake(text, symptom=symptom.key, about=about, line=line, place=place, came=came)
    mistake.given = given or {}
    raise mistake


def numbers_of(given: Arrays) -> str:
    """The small ones of the arrays, as lines of a message."""
    small = {name: np.asarray(array) for name, array in given.items() if np.size(array) <= MOST_NUMBERS}
    width = max(map(len, small), default=0)
    lines = []
    for name, array in small.items():
        head = f"    {name:<{width}} = "
        numbers = np.array2string(array, precision=6, separator=", ", max_line_width=70, prefix=head)
        lines.append(f"{head}{numbers}")
    return "".join(f"\n{line}" for line in ("  computed from", *lines)) if lines else ""
