"""The autograd engine: arrays that record how they were computed, and the chain rule applied to that record.

Calling a ``Function`` on tensors computes ``y = f(x1, x2, ...)`` and, when a gradient is needed, links ``y`` to the
function and the function to its inputs. ``loss.backward()`` follows these links from the loss to the leaves. Each
function receives ``grad_y = d loss / d y`` and computes ``grad_x = d loss / d x`` for each of its inputs. A tensor that
was used twice receives two gradients, which are added, as the multivariable chain rule requires.

The first half of this file is the engine. The second half is the arithmetic ``+ - * / ** @ sum mean max exp log reshape
transpose x[index]``, each a function with its derivative. It is defined here rather than in ``ops/`` because the
operators of ``Tensor`` call it, and this module must not import ``ops``. All other operations are in ``ops/``.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.backends.array_guard import Guard, GuardedArray
from tinycnn.backends.base import Array, Backend
from tinycnn.backends.foreign_arrays import ArrayProtocols, as_float_array
from tinycnn.backends.scatter import sums_by_place
from tinycnn.errors import AutogradError, BackendError, DtypeError, ShapeError, checked_bool, shortened
from tinycnn.other_names.arguments import named_arguments

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_call_order = itertools.count(1)


@contextmanager
def no_grad() -> Iterator[None]:
    """Disable recording inside the block: results require no gradient, and their inputs can be freed immediately."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor(GuardedArray, ArrayProtocols):
    """An array of float32 or float64, the gradient of a loss with respect to it, and the function that computed it.

    ``array``: an array of any library, a number or nested lists. Floating arrays keep their dtype; integers, lists and
    Python numbers become float32. Raises DtypeError for anything else. ``data`` is the array.
    """

    __slots__ = ("__weakref__", "creator", "grad", "requires_grad")

    def __init__(self, array: Any, requires_grad: bool = False) -> None:
        self._array: Array = as_float_array(array)
        self._guard = None
        self.grad: Array | None = None  # same shape, dtype and backend as data; filled by backward() in leaves
        self.requires_grad = requires_grad
        self.creator: Function | None = None  # None: a leaf

    @property
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def __repr__(self) -> str:
        return f"Tensor({self._array}, shape={self.shape}, dtype={self.dtype}, requires_grad={self.requires_grad})"

    def __reduce__(self) -> Any:
        """Copy or pickle a leaf; raises AutogradError for the result of a function, as PyTorch does."""
        if self.creator is not None:
            raise AutogradError("only leaves can be copied or pickled, not results with a history: use tensor.detach()")
        return _restored, (self._array, self.requires_grad, self.grad)

    def detach(self) -> "Tensor":
        """A new leaf that shares this tensor's memory but not its history."""
        return Tensor(self.data)

    def backward(self, grad: Any = None) -> None:
        """Add d(self)/d(leaf), weighted by ``grad`` (of the same shape; 1 by default), to the ``.grad`` of every leaf.

        Frees the graph: run the forward pass again before a second call. Raises AutogradError when the tensor does not
        require a gradient, when ``grad`` is omitted for a tensor with more than one element, when an array of the graph
        was changed after the forward pass, or when a function returns a gradient of the wrong shape.
        """
        if not self.requires_grad:
            raise AutogradError(
                "backward(): the tensor has requires_grad=False: compute it from model(images), not from predict(...) "
                "or .numpy() or inside no_grad(); leaves of your own need requires_grad=True"
            )
        if self.creator is None:
            _add_to_leaf(self, _upstream_gradient(self, grad))
            return
        functions = _in_reverse_order(self.creator)  # users of y come before its creator, so grad_y is complete
        for function in functions:
            function.check_arrays_unchanged()
        # The accumulated d loss / d y, keyed by the function that computed y: a function has exactly one output.
        grad_of_output = {self.creator: _upstream_gradient(self, grad)}
        for function in functions:
            grad_y = grad_of_output.pop(function)
            for x, grad_x in zip(function.inputs, function.input_gradients(grad_y), strict=True):
                if grad_x is None or not x.requires_grad:
                    continue
                if x.creator is None:
                    _add_to_leaf(x, grad_x)
                elif x.creator in grad_of_output:  # a second path from x to the loss: add the gradients
                    grad_of_output[x.creator] = grad_of_output[x.creator] + grad_x
                else:
                    grad_of_output[x.creator] = grad_x
            function.free()

    def zero_grad(self) -> None:
        """Clear the gradient, so that the next ``backward()`` starts from zero."""
        self.grad = None

    # Arithmetic: the derivatives are in the second half of this file.
    def __add__(self, other: Any) -> "Tensor":
        return Add()(self, other)

    def __sub__(self, other: Any) -> "Tensor":
        return Subtract()(self, other)

    def __mul__(self, other: Any) -> "Tensor":
        return Multiply()(self, other)

    def __truediv__(self, other: Any) -> "Tensor":
        return Divide()(self, other)

    def __pow__(self, exponent: Any) -> "Tensor":
        return Power()(self, exponent)

    def __matmul__(self, other: Any) -> "Tensor":
        return matmul(self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return Subtract()(other, self)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return Divide()(other, self)

    def __rpow__(self, base: Any) -> "Tensor":
        return Power()(base, self)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return matmul(other, self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> "Tensor":
        return Multiply()(self, -1.0)

    def __getitem__(self, index: Any) -> "Tensor":
        """The chosen elements; ``index`` as in NumPy: integers, slices, ``None``, ``...``, arrays of integers or bools.

        Raises ShapeError for an index outside of the tensor, or of another type.
        """
        return Index(index)(self)

    def exp(self) -> "Tensor":
        """eˣ of each element, any shape → the same shape."""
        return Exp()(self)

    def log(self) -> "Tensor":
        """ln x of each element, any shape → the same shape."""
        return Log()(self)

    @named_arguments
    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The sum over ``axis`` (all axes if None); ``keepdims`` keeps the reduced axes with length 1.

        Raises ShapeError when ``axis`` is not an axis of the tensor.
        """
        return Sum(axis, checked_bool("keepdims", keepdims))(self)

    @named_arguments
    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The mean over ``axis``, with the arguments of ``sum``; raises ShapeError for an empty tensor."""
        return Mean(axis, checked_bool("keepdims", keepdims))(self)

    @named_arguments
    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Tensor":
        """The maximum over ``axis``, as for ``sum``; in a tie, the first maximum receives the gradient."""
        return Max(axis, checked_bool("keepdims", keepdims))(self)

    def reshape(self, *shape: Any) -> "Tensor":
        """The same elements in a new shape, ``reshape(2, 3)`` or ``reshape((2, 3))``.

        Raises ShapeError when the number of elements differs.
        """
        return Reshape(tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape)(self)

    def transpose(self, *axes: Any) -> "Tensor":
        """Permute the axes (reversed by default); raises ShapeError unless every axis appears exactly once."""
        return Transpose(tuple(axes[0]) if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes)(self)

    @property
    def T(self) -> "Tensor":
        """The axes in reverse order."""
        return self.transpose()


class Function:
    """One differentiable operation; subclass it to add your own.

    ``__init__`` takes settings, ``forward(*arrays) → array`` computes, ``backward(grad_y)`` returns one gradient per
    input (None if it is not needed; a single gradient may be returned without a tuple). ``forward`` stores the values
    that ``backward`` needs as attributes of ``self``. Neither may change an array that it receives, that is, its inputs
    or ``grad_y``. Call each instance once: ``y = MyOp(settings)(x, weight)``.

    Use ``self.backend.xp`` instead of ``numpy``, so that the operation also runs on a GPU. Results and gradients must
    have the dtype of the inputs; for example, ``xp.where(x > 0, 1, 0.1)`` is always float64. ``self.backend.sum`` and
    ``mean`` add float32 in float64. ``self.needs_grad[i]`` is True if the gradient of input ``i`` is needed.
    """

    backend: Backend
    inputs: tuple[Tensor, ...] = ()
    guards: tuple[Guard, ...] = ()  # of the inputs and of the output
    needs_grad: tuple[bool, ...] = ()
    grad_y_may_be_none: bool = False  # True: for grad_y = 1, backward gets None, which saves an array and a product
    _order: int = 0  # the call number, starting at 1; 0 before the call

    def forward(self, *arrays: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, *arrays)")

    def backward(self, grad_y: Array) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, grad_y)")

    def __call__(self, *inputs: Any) -> Tensor:
        """Run forward on tensors (numbers and arrays are constants); record the call if a gradient is needed."""
        if self._order:
            call = f"lambda x: {type(self).__name__}()(x)"
            raise AutogradError(f"{self.name}: call a Function only once; create a new one for each call: `{call}`")
        self._order = next(_call_order)
        self.backend = get_backend()
        tensors = _as_tensors(self.name, inputs)
        _check_active_backend(self, tensors)
        self.needs_grad = tuple(_recording.get() and x.requires_grad for x in tensors)
        y = Tensor(self.forward(*(x._array for x in tensors)))
        if tensors and y.dtype != tensors[0].dtype:
            raise AutogradError(f"{self.name}.forward returned {y.dtype} for inputs of {tensors[0].dtype}")
        if any(self.needs_grad):
            self.inputs, y.creator, y.requires_grad = tensors, self, True
            self.guards = tuple(x.guard() for x in (*tensors, y))
        return y

    @property
    def name(self) -> str:
        return type(self).__name__.removesuffix("Function")

    def check_arrays_unchanged(self) -> None:
        """Raise AutogradError unless inputs and output have the values of the forward pass."""
        for i, guard in enumerate(self.guards):
            if guard.in_doubt and not guard.is_intact():
                what = f"input {i}" if i < len(self.inputs) else "the output"
                raise AutogradError(
                    f"{self.name}: {what} was changed in place after the forward pass, so its gradient would be wrong: "
                    "change arrays after backward(), or run the forward pass again"
                )

    def input_gradients(self, grad_y: Array) -> tuple[Array | None, ...]:
        """``backward(grad_y)`` as a tuple, each gradient checked against the shape and dtype of its input."""
        try:
            grads = self.backward(grad_y)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            raise AutogradError(f"{self.name}.backward changes grad_y or a view of it: use a new array") from error
        grads = tuple(grads) if isinstance(grads, tuple | list) else (grads,)
        grads = tuple(None if grad_x is None else self.backend.asarray(grad_x) for grad_x in grads)
        if len(grads) != len(self.inputs):
            raise AutogradError(f"{self.name}.backward returned {len(grads)} gradients for {len(self.inputs)} inputs")
        for i, (x, grad_x) in enumerate(zip(self.inputs, grads, strict=True)):
            if grad_x is None and self.needs_grad[i]:
                raise AutogradError(f"{self.name}.backward returned None for input {i}, whose gradient is needed")
            if grad_x is not None and (grad_x.shape != x.shape or grad_x.dtype != x.dtype):
                raise AutogradError(
                    f"{self.name}.backward: the gradient of input {i} is {grad_x.dtype} {grad_x.shape}, "
                    f"but the input is {x.dtype} {x.shape}"
                )
        return tuple(self._copy_shared(grads))

    def _copy_shared(self, grads: tuple[Array | None, ...]) -> Iterator[Array | None]:
        """Yield ``grads``; copy each array whose memory is returned twice, was stored by ``forward`` or is an input.

        Without the copies, two leaves, or two functions, could share memory: if a ``backward`` returned ``self.weight``
        itself, ``x.grad *= 2`` would double the weight; ``Add`` returns ``grad_y`` for both inputs.
        """
        used = {_memory(array) for array in (*vars(self).values(), *[x._array for x in self.inputs])}
        for grad_x in grads:
            memory = _memory(grad_x)
            yield grad_x.copy() if grad_x is not None and memory in used else grad_x
            used.add(memory)

    def free(self) -> None:
        """Release everything that ``forward`` stored, including arrays and links to the rest of the graph."""
        order = self._order
        self.__dict__.clear()
        self._order = order


def _in_reverse_order(last: Function) -> list[Function]:
    """``last`` and all functions that it depends on, most recently called first.

    A function is called after those that computed its inputs, so reverse call order visits every user of a result
    before its creator.
    """
    found, to_visit = {last}, [last]
    while to_visit:
        function = to_visit.pop()
        if not function.inputs:
            raise AutogradError(f"{function.name}: graph already used by backward(); run the forward pass again")
        creators = {x.creator for x in function.inputs if x.creator is not None} - found
        found |= creators
        to_visit += creators
    return sorted(found, key=lambda function: function._order, reverse=True)


def _upstream_gradient(y: Tensor, grad: Any) -> Array | None:
    """The initial gradient of the backward pass, with the shape and dtype of ``y``; a copy, not ``grad``."""
    backend = get_backend()
    if grad is None:
        if y._array.size != 1:
            raise AutogradError(f"backward() for shape {y.shape} needs a gradient: pass `grad`, or reduce with .sum()")
        return None if y.creator and y.creator.grad_y_may_be_none else backend.xp.ones(y.shape, y.dtype)
    grad = grad.data if isinstance(grad, Tensor) else grad
    grad = grad.copy() if backend.owns(grad) else as_float_array(grad, y.dtype)
    if grad.ndim == 0 and y._array.size == 1:
        grad = grad.reshape(y.shape)
    if grad.shape != y.shape or grad.dtype != y.dtype:
        raise AutogradError(f"backward(grad): grad is {grad.dtype} {grad.shape}, the tensor is {y.dtype} {y.shape}")
    return grad


def _add_to_leaf(leaf: Tensor, grad: Array) -> None:
    """Add ``grad`` to ``leaf.grad``, which owns its memory: a view, such as ``Reshape`` returns, is copied."""
    if leaf.grad is not None:
        leaf.grad = leaf.grad + grad
    else:
        leaf.grad = grad if grad.base is None else grad.copy()


def _memory(array: Any) -> int:
    """The identity of the array that owns the memory of ``array``."""
    base = getattr(array, "base", None)
    return id(array if base is None else base)


def _restored(array: Array, requires_grad: bool, grad: Array | None) -> Tensor:
    """The leaf that ``Tensor.__reduce__`` describes."""
    tensor = Tensor(array, requires_grad)
    tensor.grad = grad
    return tensor


def _as_tensors(name: str, inputs: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """All inputs as tensors of one dtype; Python numbers take the dtype of the tensors."""
    dtypes = {x.dtype for x in inputs if isinstance(x, Tensor)}
    if len(dtypes) == 1:
        (dtype,) = dtypes
        if all(isinstance(x, Tensor) for x in inputs):
            return inputs
        full = get_backend().xp.full  # creates the number on the device, which avoids a copy from the host
        inputs = tuple(full((), x, dtype) if isinstance(x, int | float) else x for x in inputs)
    tensors = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
    if len({x.dtype for x in tensors}) > 1:
        raise DtypeError(
            f"{name}: inputs of {' and '.join(str(x.dtype) for x in tensors)} cannot be mixed; "
            "convert them to one dtype first, as in Tensor(array.astype(np.float32))"
        )
    return tensors


def _check_active_backend(function: Function, tensors: tuple[Tensor, ...]) -> None:
    for x in tensors:
        if not function.backend.owns(x._array):
            raise BackendError(
                f"{function.name}: an input is a {type(x._array).__module__} array, but the active backend is "
                f"{function.backend.name!r}; create tensors and models after use_backend({function.backend.name!r})"
            )


# ---------------------------------------------------------------------------------------------------------------------
# Arithmetic. Notation: grad_y is d loss / d y; each backward returns d loss / d input.


def unbroadcast(grad: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: the gradient of an element is the sum over all positions to which it was broadcast."""
    added = grad.ndim - len(shape)
    backend = get_backend()
    grad = backend.sum(grad, axis=tuple(range(added))) if added else grad  # the leading axes that broadcasting added
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and grad.shape[axis] != 1)
    return backend.sum(grad, axis=stretched, keepdims=True) if stretched else grad  # shape


def _check_broadcast(what: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(f"{what} shapes {a} and {b} cannot be broadcast together") from None


class _Elementwise(Function):
    """A function of two inputs that broadcast against each other."""

    def check(self, a: Array, b: Array) -> None:
        """Store the shapes; raise ShapeError unless they can be broadcast together."""
        _check_broadcast(f"{self.name}:", a.shape, b.shape)
        self.shapes = a.shape, b.shape

    def unbroadcast(self, grad_a: Array, grad_b: Array) -> tuple[Array, Array]:
        return unbroadcast(grad_a, self.shapes[0]), unbroadcast(grad_b, self.shapes[1])


class Add(_Elementwise):
    """y = a + b."""

    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        return a + b

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y, grad_y)


class Subtract(_Elementwise):
    """y = a - b."""

    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        return a - b

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y, -grad_y)


class Multiply(_Elementwise):
    """y = a b, so dy/da = b and dy/db = a."""

    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        self.a, self.b = a, b
        return a * b

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y * self.b, grad_y * self.a)


class Divide(_Elementwise):
    """y = a / b, so dy/da = 1/b and dy/db = -a/b²."""

    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        self.a, self.b = a, b
        return a / b

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        return self.unbroadcast(grad_y / self.b, -grad_y * self.a / (self.b * self.b))


class Power(_Elementwise):
    """y = aᵇ, so dy/da = b aᵇ⁻¹ and dy/db = aᵇ ln a (0 if a is 0, where y does not depend on b)."""

    def forward(self, a: Array, b: Array) -> Array:
        self.check(a, b)
        self.a, self.b, self.y = a, b, a**b
        return self.y

    def backward(self, grad_y: Array) -> tuple[Array | None, Array | None]:
        xp = self.backend.xp
        grad_a = grad_b = None
        if self.needs_grad[0]:
            reduced_exponent = xp.where(self.b == 0, 1, self.b) - 1  # avoids 0 * 0**-1 at a = 0, b = 0
            grad_a = unbroadcast(grad_y * self.b * self.a**reduced_exponent, self.shapes[0])
        if self.needs_grad[1]:
            log_a = xp.log(xp.where(self.a == 0, 1, self.a))
            grad_b = unbroadcast(grad_y * self.y * log_a, self.shapes[1])
        return grad_a, grad_b


class Exp(Function):
    """y = eˣ, which is its own derivative."""

    def forward(self, x: Array) -> Array:
        self.y = self.backend.xp.exp(x)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * self.y


class Log(Function):
    """y = ln x, so dy/dx = 1/x."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return self.backend.xp.log(x)

    def backward(self, grad_y: Array) -> Array:
        return grad_y / self.x


class MatMul(Function):
    """y = a b for stacks of matrices: y[i, k] = Σ_j a[i, j] b[j, k].

    a[i, j] is used once for each k, in the term a[i, j] b[j, k] of y[i, k], so there its slope is b[j, k]. Its gradient
    is the sum over these uses: grad_a[i, j] = Σ_k grad_y[i, k] b[j, k], the matrix product of grad_y and bᵀ. Likewise
    b[j, k] is used once for each i, with the slope a[i, j]: grad_b[j, k] = Σ_i a[i, j] grad_y[i, k], the product of aᵀ
    and grad_y.
    """

    def forward(self, a: Array, b: Array) -> Array:
        if a.shape[-1] != b.shape[-2]:
            raise ShapeError(
                f"matmul: {a.shape} @ {b.shape}: axis -1 of the left and axis -2 of the right operand differ"
            )
        self.a, self.b = a, b
        return a @ b  # (..., n, m) @ (..., m, k) → (..., n, k)

    def backward(self, grad_y: Array) -> tuple[Array, Array]:
        grad_a = grad_y @ self.b.swapaxes(-1, -2)  # (..., n, m)
        grad_b = self.a.swapaxes(-1, -2) @ grad_y  # (..., m, k)
        return unbroadcast(grad_a, self.a.shape), unbroadcast(grad_b, self.b.shape)


def matmul(a: Any, b: Any) -> Tensor:
    """``a @ b`` with NumPy's rules: a vector on the left is a row, one on the right a column.

    Raises ShapeError when the shapes are incompatible.
    """
    a, b = _as_tensors("matmul", (a, b))
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError("matmul: a scalar has no rows or columns; use * instead of @")
    _check_broadcast("matmul: stacks of", a.shape[:-2], b.shape[:-2])
    row = a.reshape(1, -1) if a.ndim == 1 else a
    column = b.reshape(-1, 1) if b.ndim == 1 else b
    y = MatMul()(row, column)
    if a.ndim == 1:
        y = y.reshape(*y.shape[:-2], y.shape[-1])
    return y.reshape(y.shape[:-1]) if b.ndim == 1 else y


class Sum(Function):
    """y = Σ x over ``axis``: every summand has derivative 1, so each receives grad_y."""

    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        self.axes, self.x_shape = _reduced_axes(self.axis, x), x.shape
        return self.backend.sum(x, axis=self.axes, keepdims=self.keepdims)

    def backward(self, grad_y: Array) -> Array:
        xp = self.backend.xp
        return xp.broadcast_to(_restore_axes(xp, grad_y, self.axes, self.keepdims), self.x_shape)


class Mean(Sum):
    """y = 1/M Σ x over the M elements of ``axis``: each receives grad_y / M."""

    def forward(self, x: Array) -> Array:
        _check_not_empty("mean", x)
        self.axes, self.x_shape = _reduced_axes(self.axis, x), x.shape
        y = self.backend.mean(x, axis=self.axes, keepdims=self.keepdims)
        self.M = x.size // y.size
        return y

    def backward(self, grad_y: Array) -> Array:
        return super().backward(grad_y / self.M)


class Max(Function):
    """y = max x over ``axis``: y depends only on the maximum, which receives grad_y; in a tie, the first maximum."""

    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, x: Array) -> Array:
        _check_not_empty("max", x)
        xp = self.backend.xp
        self.axes = _reduced_axes(self.axis, x)
        last = tuple(range(-len(self.axes), 0))
        moved = xp.moveaxis(x, self.axes, last)  # (kept axes, reduced axes)
        self.moved_shape = moved.shape
        rows = moved.reshape(*moved.shape[: x.ndim - len(self.axes)], -1)  # (kept axes, all reduced elements)
        self.argmax = rows.argmax(axis=-1)[..., None]  # (kept axes, 1); the first NaN, if there is one
        y = xp.take_along_axis(rows, self.argmax, axis=-1)[..., 0]  # (kept axes)
        return xp.expand_dims(y, self.axes) if self.keepdims else y

    def backward(self, grad_y: Array) -> Array:
        xp = self.backend.xp
        grad_y = grad_y.reshape(self.argmax.shape)  # (kept axes, 1)
        size = int(np.prod(self.moved_shape[grad_y.ndim - 1 :]))
        grad_rows = xp.where(xp.arange(size) == self.argmax, grad_y, 0)  # (kept axes, all reduced elements)
        last = tuple(range(-len(self.axes), 0))
        return xp.moveaxis(grad_rows.reshape(self.moved_shape), last, self.axes)  # shape of x


class Reshape(Function):
    """The same elements in a new shape; the gradient is reshaped back."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        try:
            return x.reshape(self.shape)
        except (ValueError, TypeError, OverflowError):
            wanted = shortened(self.shape)
            raise ShapeError(f"reshape: cannot reshape {x.size} elements of shape {x.shape} to {wanted}") from None

    def backward(self, grad_y: Array) -> Array:
        return grad_y.reshape(self.x_shape)


class Transpose(Function):
    """Permute the axes (reversed if none are given); the gradient is transposed with the inverse permutation."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = tuple(axes)

    def forward(self, x: Array) -> Array:
        self.axes = self.axes or tuple(reversed(range(x.ndim)))
        if not _are_axes(self.axes, x) or len({axis % x.ndim for axis in self.axes}) < x.ndim:
            raise ShapeError(
                f"transpose: axes {shortened(self.axes)} are not a permutation of the {x.ndim} axes of {x.shape}"
            )
        return x.transpose(self.axes)

    def backward(self, grad_y: Array) -> Array:
        return grad_y.transpose(np.argsort([axis % grad_y.ndim for axis in self.axes]).tolist())


class Index(Function):
    """y = x[index]: each element of y is one of x; an element that was chosen several times receives their sum."""

    def __init__(self, index: Any) -> None:
        self.index = index if isinstance(index, tuple) else (index,)

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        try:
            if all(part is None or part is ... or type(part) in (int, slice) for part in self.index):
                return x[self.index]
            places = np.arange(x.size).reshape(x.shape)[self.index]  # on the host, which checks them
        except (IndexError, ValueError, TypeError) as error:
            raise ShapeError(f"index {shortened(self.index)} for a tensor of shape {x.shape}: {error}") from None
        self.places = self.backend.asarray(places)
        return x.reshape(-1)[self.places]

    def backward(self, grad_y: Array) -> Array:
        xp = self.backend.xp
        if hasattr(self, "places"):
            size = int(np.prod(self.x_shape))
            return sums_by_place(xp, grad_y.reshape(-1), self.places.reshape(-1), size).reshape(self.x_shape)
        grad_x = xp.zeros(self.x_shape, grad_y.dtype)
        grad_x[self.index] = grad_y
        return grad_x


def _reduced_axes(axis: int | tuple[int, ...] | None, x: Array) -> tuple[int, ...]:
    """The axes to reduce, as a sorted tuple of non-negative integers."""
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if not _are_axes(axes, x):
        wrong = f"axis {shortened(axis)} is out of range for shape {x.shape}"
        raise ShapeError(f"{wrong}: expected an integer or a tuple of integers")
    reduced = {a % x.ndim for a in axes}
    if len(reduced) < len(axes):
        raise ShapeError(f"axis {axis} names an axis of shape {x.shape} twice")
    return tuple(sorted(reduced))


def _are_axes(axes: tuple[Any, ...], x: Array) -> bool:
    """Whether each of ``axes`` is the index of an axis of ``x``, counted from the front or the back."""
    return all(isinstance(a, Integral) and not isinstance(a, bool) and -x.ndim <= a < x.ndim for a in axes)


def _check_not_empty(name: str, x: Array) -> None:
    if x.size == 0:
        raise ShapeError(f"{name}: an array of shape {x.shape} is empty, so its {name} is undefined")


def _restore_axes(xp: Any, grad_y: Array, axes: tuple[int, ...], kept: bool) -> Array:
    """Restore the axes that a reduction removed, with length 1."""
    return grad_y if kept else xp.expand_dims(grad_y, axes)
