"""Attributes, operators and arguments of the tensors of other libraries: errors that say what to write here."""

from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinycnn.errors import AutogradError
from tinycnn.other_names.arguments import explained
from tinycnn.other_names.attributes import NamedAttributes


class NotRecordedError(AutogradError, TypeError):
    """A function of NumPy was to compute with a tensor, whose history would be lost."""


def _each(names: str, words: str) -> dict[str, str]:
    """``words`` for each of ``names``; ``{}`` in it is the name."""
    return {name: words.format(name) for name in names.split()}


ELSEWHERE = {
    **_each(
        "all any argmax argmin argsort cumprod cumsum nonzero prod round sort tolist",
        "`x.numpy().{}(...)`, without a gradient",
    ),
    **_each("size numel nelement nbytes", "`x.shape`, or `x.data.size`, the number of elements"),
    **_each("dim", "`x.ndim`"),
    **_each("view reshape_as flatten ravel squeeze view_as", "`x.reshape(...)`"),
    **_each("unsqueeze expand_dims", "`x[:, None]`, with None at the place of the new axis"),
    **_each("permute swapaxes t mT", "`x.transpose(...)`, with the numbers of all axes"),
    **_each("cpu", "`x.numpy()`, the values on the host"),
    **_each("to cuda device", '`tinycnn.use_backend("cupy")` before the tensor is created'),
    **_each("astype type float double", "`Tensor(x.data.astype(numpy.float64))`, or another dtype"),
    **_each("half bfloat16", "float32 or float64"),
    **_each("clone copy", "`Tensor(x.data.copy())`, or `x + 0`, which is recorded"),
    **_each("requires_grad_", "`x.requires_grad = True`"),
    **_each("grad_fn", "`x.creator`"),
    **_each("is_leaf", "`x.creator is None`"),
    **_each("retain_grad register_hook", "`requires_grad=True` at a leaf: results keep no gradient"),
    **_each("gradient", "`x.backward()`, and `leaf.grad`"),
    **_each("min amin", "`-(-x).max(...)`"),
    **_each("amax", "`x.max(...)`"),
    **_each("std var", "`((x - x.mean()) ** 2).mean()`, the variance"),
    **_each("sqrt", "`x ** 0.5`"),
    **_each("pow square", "`x ** exponent`"),
    **_each("mm bmm matmul dot", "`x @ y`"),
    **_each("add sub subtract mul multiply div divide neg", "the operators `+`, `-`, `*` and `/`"),
    **_each("relu sigmoid softmax log_softmax tanh gelu", "`tinycnn.ops.{}(x)`"),
    **_each("abs absolute fabs", "`tinycnn.ops.abs(x)`"),
    **_each("maximum minimum", "`tinycnn.ops.{}(x, y)`"),
    **_each("clamp clip", "`tinycnn.ops.clip(x, lowest, highest)`"),
    **_each("add_ sub_ mul_ div_ copy_ fill_ zero_ normal_ uniform_ clamp_ assign", "`x.data[...] = values`"),
    **_each("assign_sub assign_add", "`x.data -= values`"),
}


def _in_place(operator: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        """Refuse ``p -= rate * gradient``, which would only bind the name ``p`` to another tensor."""
        if self.requires_grad and self.creator is None:
            raise AutogradError(
                f"x {operator}= y would leave the parameter x as it is, because arithmetic makes a new tensor: write "
                f"x.data {operator}= y to change the parameter, or x = x {operator} y for a new tensor"
            )
        return NotImplemented  # Python then computes x = x + y

    return method


REFLECTED = {  # what computes array ∘ tensor → the method of the tensor
    np.add: "__radd__",
    np.subtract: "__rsub__",
    np.multiply: "__rmul__",
    np.divide: "__rtruediv__",
    np.power: "__rpow__",
    np.matmul: "__rmatmul__",
    np.equal: "__eq__",
    np.not_equal: "__ne__",
    np.less: "__gt__",
    np.less_equal: "__ge__",
    np.greater: "__lt__",
    np.greater_equal: "__le__",
}


def recorded_instead(kind: type, function: str) -> str:
    """What to write for ``np.function(x)`` with a tensor ``x``, so that it is recorded; "" if there is nothing."""
    if callable(getattr(kind, function, None)):
        return f"`x.{function}()`"
    words = ELSEWHERE.get(function, "")
    return "" if "without a gradient" in words else words


class ForeignNames(NamedAttributes):
    """The base of tensors: what they have in other libraries, and not here."""

    __slots__ = ()

    foreign_attributes: ClassVar[dict[str, str]] = ELSEWHERE

    def __init_subclass__(cls, **settings: Any) -> None:
        """Let errors about arguments of the methods, and of the class, say what to write here."""
        super().__init_subclass__(**settings)
        for name, method in list(vars(cls).items()):
            is_public = name == "__init__" or not name.startswith("_")
            if is_public and isinstance(method, FunctionType) and not hasattr(method, "__wrapped__"):
                setattr(cls, name, explained(method, cls.__name__ if name == "__init__" else name))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        """``array + tensor`` calls ``Tensor.__radd__``; ``np.exp(tensor)`` raises, because it would not be recorded."""
        if method == "__call__" and ufunc in REFLECTED and len(inputs) == 2 and inputs[0] is not self:
            return getattr(self, REFLECTED[ufunc])(inputs[0])
        name = ufunc.__name__
        words = recorded_instead(type(self), name)
        what = f"use {words}, or " if words else "use "
        raise NotRecordedError(
            f"np.{name} of a tensor would not be recorded: {what}np.{name}(x.numpy()), without a gradient"
        )

    if not TYPE_CHECKING:
        __iadd__, __isub__, __imul__, __itruediv__, __ipow__, __imatmul__ = map(
            _in_place, ("+", "-", "*", "/", "**", "@")
        )
