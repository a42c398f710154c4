"""Gradient checks: compare the gradients of a function with finite differences, in float64.

For outputs ``y = f(x)`` and a random upstream gradient ``v``, the chain rule gives ``grad_x = d(v·y)/dx``. The same
number follows from two evaluations, without calculus: ``(v·f(x + eps·e) - v·f(x - eps·e)) / 2 eps``.

The upstream gradient is random because with ``v`` all ones, errors that cancel in the sum (a flipped image, swapped
axes, a softmax whose gradients sum to zero anyway) stay hidden.

Kinks: at ``ReLU(0)`` or at a tie in a max the slopes to the left and to the right differ, and the two-sided difference
is neither of them. The check then repeats with a smaller step. If the two slopes of an output still differ, every value
between them is a valid gradient (a subgradient) of this output, and the result lists the place as a kink. An input may
lie at the kinks of several outputs at once (overlapping max-pool windows): the ranges of valid values add up.

A ``backward`` that changes ``grad_y`` in place can give correct gradients here and wrong ones elsewhere. `watch_arrays`
therefore checks that no function changes its inputs or ``grad_y``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import DtypeError, GradientError, SettingError, checked_bool, in_range
from tinycnn.tensor import Function, Tensor, no_grad

Place = tuple[int, tuple[int, ...]]  # (number of the input, index into it)
CLOSER = 1.0, 1 / 8, 1 / 64  # factors of eps: a mismatch counts only if it remains at the smallest


@dataclass
class GradcheckResult:
    """True if every gradient is right; ``kinks`` lists the places where the function has no derivative.

    ``worst_error`` is the largest ``|analytic - numeric| / (|numeric| + atol/rtol)``, or with ``rtol=0`` the largest
    ``|analytic - numeric|``; ``failure`` is the message, or None.
    """

    checked: int = 0
    worst_error: float = 0.0
    kinks: list[Place] = field(default_factory=list)
    failure: str | None = None

    def __bool__(self) -> bool:
        return self.failure is None


def gradcheck(
    fn: Callable[..., Tensor],
    inputs: Tensor | Sequence[Tensor],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    nondet_tol: float = 0.0,
    fast_mode: bool = False,
    raise_exception: bool = True,
) -> GradcheckResult:
    """Check the gradients of ``fn(*inputs) → Tensor`` for every float64 input that requires one, element by element.

    ``fast_mode`` checks one random direction per input instead of every element. A gradient passes when
    ``|analytic - numeric| <= atol + rtol·|numeric|``; running backward twice may differ by ``nondet_tol``. Raises
    GradientError (or returns a false result, if not ``raise_exception``) with the input, the index and both
    numbers. Arguments as in ``torch.autograd.gradcheck``.
    """
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs) if isinstance(inputs, tuple | list) else ()
    if not callable(fn) or not all(isinstance(x, Tensor) for x in inputs):
        raise SettingError("gradcheck takes a function and its inputs, a tensor or a list of tensors")
    eps = in_range("gradcheck: eps", eps, above=0)
    atol, rtol = in_range("gradcheck: atol", atol, at_least=0), in_range("gradcheck: rtol", rtol, at_least=0)
    fast_mode = checked_bool("gradcheck: fast_mode", fast_mode)
    nondet_tol = in_range("gradcheck: nondet_tol", nondet_tol, at_least=0)
    check = _Check(fn, inputs, eps, atol, rtol)
    try:
        grads = check.analytic_gradients(nondet_tol)
        for i, grad in grads.items():
            for place, direction in check.directions(i, grad.shape, fast_mode):
                check.compare(place, direction, grad)
        check.inputs_unchanged()
    except GradientError as error:
        check.result.failure = str(error)
        if raise_exception:
            raise
    return check.result


class _Check:
    """One run of ``gradcheck``: the function, its inputs, the random upstream gradient, and the result so far."""

    def __init__(self, fn: Callable[..., Tensor], inputs: tuple[Tensor, ...], eps: float, atol: float, rtol: float):
        self.fn, self.inputs, self.eps, self.atol, self.rtol = fn, inputs, eps, atol, rtol
        self.wanted = [i for i, x in enumerate(inputs) if x.requires_grad]
        self.rng = np.random.default_rng(0)
        self.result = GradcheckResult()
        self.values = [x.numpy().copy() for x in inputs]
        self._check_inputs()
        self.y = self.evaluate()
        self.upstream = self.rng.normal(size=self.y.shape)

    def _check_inputs(self) -> None:
        if not self.wanted:
            raise SettingError("gradcheck: no input requires a gradient; create inputs with requires_grad=True")
        for i in self.wanted:
            if self.inputs[i].dtype != np.float64:
                raise DtypeError(f"gradcheck: input {i} is {self.inputs[i].dtype}; finite differences need float64")

    def evaluate(self) -> np.ndarray:
        with no_grad():
            y = self.fn(*self.inputs)
        if not isinstance(y, Tensor):
            raise SettingError(f"gradcheck: the function returned a {type(y).__name__}, expected a Tensor")
        return y.numpy().copy()

    def analytic_gradients(self, nondet_tol: float) -> dict[int, np.ndarray]:
        """The gradient of each wanted input by backward(), run twice and compared with itself."""
        first, second = self._backward(), self._backward()
        for i in self.wanted:
            if not np.allclose(first[i], second[i], rtol=0, atol=nondet_tol, equal_nan=True):
                gap = np.abs(first[i] - second[i]).max()
                raise GradientError(f"gradcheck: two backward passes differ by {gap:.3g} in the gradient of input {i}")
        return first

    def _backward(self) -> dict[int, np.ndarray]:
        for i in self.wanted:
            self.inputs[i].grad = None
        y = self.fn(*self.inputs)
        self.inputs_unchanged()
        if y.requires_grad:
            watch_arrays(y)
            y.backward(self.upstream.copy())
        to_host = get_backend().to_host
        grads = {i: self.inputs[i].grad for i in self.wanted}
        return {i: np.zeros(self.inputs[i].shape) if g is None else to_host(g).copy() for i, g in grads.items()}

    def directions(self, i: int, shape: tuple[int, ...], fast_mode: bool) -> Iterator[tuple[Place, np.ndarray]]:
        """The directions in which to move input ``i``: each element alone, or (fast mode) one random direction."""
        if fast_mode:
            yield (i, ()), self.rng.normal(size=shape)
            return
        for index in np.ndindex(shape):
            direction = np.zeros(shape)
            direction[index] = 1
            yield (i, index), direction

    def compare(self, place: Place, direction: np.ndarray, grad: np.ndarray) -> None:
        """Raise GradientError unless the analytic slope along ``direction`` agrees with the numeric one."""
        i, index = place
        analytic = float((grad * direction).sum())
        self.result.checked += 1
        for factor in CLOSER:
            left, right = self._slopes(i, direction, self.eps * factor)
            numeric = float((left + right).sum() / 2)
            error = abs(analytic - numeric)
            if error <= self.atol + self.rtol * abs(numeric):
                self._note_error(error, numeric)
                return
        if self._is_subgradient(analytic, left, right):
            self.result.kinks.append(place)
            return
        where = f"index {index}" if index else "a random direction" if direction.ndim else "its only element"
        raise GradientError(
            f"gradcheck: the gradient of input {i} at {where} is wrong: analytic {analytic:.9g}, numeric {numeric:.9g}"
        )

    def _slopes(self, i: int, direction: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
        """The slopes of ``v·f`` to the left and right of input ``i``, one contribution per output (shape of y)."""
        below, above = self._moved(i, -eps * direction), self._moved(i, eps * direction)
        return self.upstream * (self.y - below) / eps, self.upstream * (above - self.y) / eps

    def _moved(self, i: int, step: np.ndarray) -> np.ndarray:
        x, backend = self.inputs[i], get_backend()
        original = x.data
        try:
            x.data = backend.asarray(self.values[i] + step)
            return self.evaluate()
        finally:
            x.data = original

    def _is_subgradient(self, analytic: float, left: np.ndarray, right: np.ndarray) -> bool:
        """Whether some output has a kink, and ``analytic`` is a sum of slopes between ``left`` and ``right`` there."""
        kinks = abs(left - right) > self.atol + self.rtol * np.maximum(abs(left), abs(right))
        middle = (left + right) / 2
        low = float(np.where(kinks, np.minimum(left, right), middle).sum())
        high = float(np.where(kinks, np.maximum(left, right), middle).sum())
        slack = self.atol + self.rtol * max(abs(low), abs(high))
        return bool(kinks.any()) and low - slack <= analytic <= high + slack

    def _note_error(self, error: float, numeric: float) -> None:
        if error > 0:
            relative_to = abs(numeric) + self.atol / self.rtol if self.rtol else 1.0
            self.result.worst_error = max(self.result.worst_error, error / relative_to)

    def inputs_unchanged(self) -> None:
        for i, (x, before) in enumerate(zip(self.inputs, self.values, strict=True)):
            if not np.array_equal(x.numpy(), before, equal_nan=True):
                raise GradientError(f"gradcheck: the function changed its input {i} in place; compute into a new array")


def watch_arrays(y: Tensor) -> None:
    """Make ``y.backward()`` raise GradientError if a function changes ``grad_y`` or one of its inputs in place."""
    seen, to_visit = set(), [y.creator]
    while to_visit:
        function = to_visit.pop()
        if function is not None and function not in seen:
            seen.add(function)
            to_visit += [x.creator for x in function.inputs]
            function.input_gradients = partial(_watched, function, function.input_gradients)  # type: ignore[method-assign]


def _watched(function: Function, input_gradients: Callable[..., Any], grad_y: Any) -> Any:
    """``input_gradients(grad_y)``; raises GradientError if it changes an array."""
    arrays = {"grad_y": grad_y} | {f"its input {i}": x.data for i, x in enumerate(function.inputs)}
    before = {what: None if array is None else array.copy() for what, array in arrays.items()}
    grads, to_host = input_gradients(grad_y), get_backend().to_host
    for what, copy in before.items():
        if copy is not None and not np.array_equal(to_host(arrays[what]), to_host(copy), equal_nan=True):
            raise GradientError(
                f"gradcheck: {function.name}.backward changed {what} in place, which other functions may need: compute "
                "into a new array"
            )
    return grads
