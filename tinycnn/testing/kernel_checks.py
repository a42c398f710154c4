"""Comparisons of one kernel with the loop oracle, for one input each; they raise KernelError where the two differ.

Beyond the values they check that the result is a C-contiguous array of the backend with the expected shape and dtype,
that the inputs are unchanged, and that a second run returns the same bits.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinycnn.backends.base import Array, Backend, Pair, window_grid
from tinycnn.errors import KernelError
from tinycnn.testing.layouts import Place, as_it_is
from tinycnn.testing.loop_backend import LoopBackend

LOOPS = LoopBackend()
CLOSE = 1e-6  # relative, of a sum in float32: 8 units of the last place
_remembered: dict[tuple, Any] = {}


def oracle(kernel: str, *arguments: Any) -> Any:
    """The result of a kernel of the loop oracle; remembered, because several backends are compared with one result."""
    parts = [(a.tobytes(), a.shape, a.dtype.str) if isinstance(a, np.ndarray) else a for a in arguments]
    key = (kernel, *parts)
    if key not in _remembered:
        _remembered[key] = getattr(LOOPS, kernel)(*arguments)
    return _remembered[key]


def run_kernel(
    backend: Backend, kernel: str, arrays: Sequence[np.ndarray], *settings: object, place: Place = as_it_is
) -> list[np.ndarray]:
    """Run ``backend.<kernel>(*arrays, *settings)``; returns its results on the host, see ``run_twice``."""

    def compute(*inputs: Array) -> Sequence[Array]:
        result = getattr(backend, kernel)(*inputs, *settings)
        return result if isinstance(result, tuple) else (result,)

    return run_twice(backend, compute, arrays, place)


def run_twice(
    backend: Backend,
    compute: Callable[..., Sequence[Array]],
    arrays: Sequence[np.ndarray],
    place: Place = as_it_is,
    any_layout: bool = False,
) -> list[np.ndarray]:
    """Run ``compute(*arrays)`` twice on the backend; returns its results on the host.

    ``place`` moves the arrays to the backend.
    Raises KernelError where a result is not a C-contiguous array of the backend (with ``any_layout``, an array or a
    number of it), an input was changed, or the two runs differ.
    """
    before = [array.copy() for array in arrays]
    inputs = [place(backend, array) for array in arrays]
    try:
        first, second = (_on_host(backend, compute(*inputs), any_layout) for _ in range(2))
        for i, (array, ours) in enumerate(zip(before, inputs, strict=True)):
            if not _same_bits(backend.to_host(ours), array):
                raise KernelError(f"array {i} of its inputs was changed: write to memory of your own")
    finally:
        _restore(arrays, before)
    if any(not _same_bits(a, b) for a, b in zip(first, second, strict=True)):
        raise KernelError("two runs with the same input differ: the same input must give the same bits")
    return first


def _restore(arrays: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> None:
    """Undo what a kernel did to the inputs of a case, which other cases share."""
    for array, values in zip(arrays, before, strict=True):
        if not _same_bits(array, values):
            array[...] = values


def _on_host(backend: Backend, arrays: Sequence[Array], any_layout: bool) -> list[np.ndarray]:
    if any_layout:
        arrays = [backend.asarray(array) if isinstance(array, np.generic) else array for array in arrays]
    for array in arrays:
        if not backend.owns(array):
            raise KernelError(f"returned {type(array).__name__}, expected an array for which `backend.owns` is true")
        if not any_layout and not array.flags.c_contiguous:
            raise KernelError(f"returned an array with strides {array.strides}, expected a C-contiguous one")
    return [backend.to_host(array).copy() for array in arrays]


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def compare(name: str, ours: np.ndarray, expected: np.ndarray, tolerance: float = 0.0) -> None:
    """Raise KernelError unless shape, dtype and values are the same.

    Sums may be taken in another order: ``tolerance`` is in units of the last place, relative and absolute.
    """
    if ours.dtype != expected.dtype:
        raise KernelError(f"{name} has dtype {ours.dtype}, expected {expected.dtype}")
    limit = tolerance * float(np.finfo(ours.dtype).eps)
    compare_values(name, ours, expected, relative=limit, absolute=limit)


def compare_values(
    name: str, ours: np.ndarray, expected: np.ndarray, *, relative: float = 0.0, absolute: float = 0.0
) -> None:
    """Raise KernelError with the first element that differs, unless shapes are equal and values close; NaN is NaN."""
    if ours.shape != expected.shape:
        raise KernelError(f"{name} has shape {ours.shape}, expected {expected.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf
        wrong = ~np.isclose(ours, expected, rtol=relative, atol=absolute, equal_nan=True)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise KernelError(
            f"{name}{list(place)} is {ours[place]}, expected {expected[place]}; "
            f"{wrong.sum()} of {wrong.size} elements differ"
        )


# -------------------------------------------------------------------------------------------- one kernel, one input


def check_im2col(
    backend: Backend, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, place: Place = as_it_is
) -> None:
    """Exactly the oracle's ``cols (N*OH*OW, KH*KW*C)``."""
    expected = oracle("im2col", x, kernel_size, stride, padding)
    (cols,) = run_kernel(backend, "im2col", [x], kernel_size, stride, padding, place=place)
    compare("cols", cols, expected)


def check_col2im(
    backend: Backend,
    cols: np.ndarray,
    x_shape: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    place: Place = as_it_is,
) -> None:
    """The oracle's ``x (N, H, W, C)``, its sums in any order."""
    expected = oracle("col2im", cols, x_shape, kernel_size, stride, padding)
    (x,) = run_kernel(backend, "col2im", [cols], x_shape, kernel_size, stride, padding, place=place)
    compare("x", x, expected, tolerance=16)


def check_max_pool2d(
    backend: Backend, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, place: Place = as_it_is
) -> None:
    """Exactly the oracle's ``y`` and ``winner (N, OH, OW, C)``; the winner may be of any whole-number dtype."""
    expected_y, expected_winner = oracle("max_pool2d", x, kernel_size, stride, padding)
    y, winner = _pooled(backend, x, kernel_size, stride, padding, place)
    compare("y", y, expected_y)
    compare_values("winner", winner, expected_winner)


def check_max_pool2d_backward(
    backend: Backend,
    grad_y: np.ndarray,
    x: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    place: Place = as_it_is,
) -> None:
    """The oracle's ``grad_x (N, H, W, C)`` for the winners that the backend's own forward kernel found."""
    _, winner = _pooled(backend, x, kernel_size, stride, padding, as_it_is)
    settings = x.shape, kernel_size, stride, padding
    expected = oracle("max_pool2d_backward", grad_y, winner, *settings)
    (grad_x,) = run_kernel(backend, "max_pool2d_backward", [grad_y, winner], *settings, place=place)
    compare("grad_x", grad_x, expected, tolerance=16)


def _pooled(backend: Backend, x: np.ndarray, kernel_size: Pair, stride: Pair, padding: Pair, place: Place) -> list:
    results = run_kernel(backend, "max_pool2d", [x], kernel_size, stride, padding, place=place)
    if len(results) != 2:
        raise KernelError(f"max_pool2d returned {len(results)} arrays, expected y and winner")
    return results


def check_gather_images(
    backend: Backend, images: np.ndarray, indices: np.ndarray, scale: float, dtype: type, place: Place = as_it_is
) -> None:
    """The oracle's ``x (N, H, W, C)`` within one unit of the last place."""
    expected = oracle("gather_images", images, indices, scale, np.dtype(dtype))
    (x,) = run_kernel(backend, "gather_images", [images, indices], scale, np.dtype(dtype), place=place)
    compare("x", x, expected, tolerance=1)


def check_gather_warped(
    backend: Backend,
    images: np.ndarray,
    indices: np.ndarray,
    maps: np.ndarray,
    scale: float,
    dtype: type,
    reflect: bool = False,
) -> None:
    """The oracle's ``x (N, H, W, C)``; positions are computed in ``dtype``, which moves a pixel by up to 255 * scale.

    The tolerance is 64 units of the last place of that.
    """
    expected = oracle("gather_warped", images, indices, maps, scale, np.dtype(dtype), reflect)
    (x,) = run_kernel(backend, "gather_warped", [images, indices, maps], scale, np.dtype(dtype), reflect)
    if x.dtype != expected.dtype:
        raise KernelError(f"x has dtype {x.dtype}, expected {expected.dtype}")
    limit = 64 * float(np.finfo(dtype).eps)
    compare_values("x", x, expected, relative=limit, absolute=limit * 255 * scale)


def check_dropout_mask(backend: Backend, shape: tuple[int, ...], p: float, dtype: type, key: Pair) -> None:
    """Exactly the oracle's mask, to the last bit."""
    expected = oracle("dropout_mask", shape, p, np.dtype(dtype), key)
    (mask,) = run_kernel(backend, "dropout_mask", [], shape, p, np.dtype(dtype), key)
    compare("mask", mask, expected)


def check_reduction(
    backend: Backend, kernel: str, x: np.ndarray, axis: int | tuple[int, ...] | None, keepdims: bool
) -> None:
    """``sum`` or ``mean`` in the dtype of ``x``, within ``CLOSE`` of the sum of magnitudes; 1e-12 in float64.

    The expected sums are those of ``math.fsum``, which rounds once.
    """
    (y,) = run_twice(backend, lambda x: [getattr(backend, kernel)(x, axis, keepdims)], [x], any_layout=True)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = x.transpose(*kept, *axes).reshape(*(x.shape[a] for a in kept), -1)  # (kept axes, elements of a sum)
    count = rows.shape[-1] if kernel == "mean" else 1
    exact, size = (np.apply_along_axis(lambda row: math.fsum(row.tolist()), -1, r) / count for r in (rows, abs(rows)))
    if keepdims:
        exact, size = np.expand_dims(exact, axes), np.expand_dims(size, axes)
    if y.dtype != x.dtype or y.shape != exact.shape:
        raise KernelError(f"{kernel} is {y.dtype} {y.shape}, expected {x.dtype} {exact.shape}")
    tolerance = CLOSE if x.dtype == np.float32 else 1e-12
    compare_values(kernel, (y - exact) / size, np.zeros(exact.shape), absolute=tolerance)


def check_transfer(backend: Backend, array: np.ndarray) -> None:
    """``asarray`` returns an array of the backend, and ``to_host`` the same bits; shape and dtype are kept."""
    ours = backend.asarray(array)
    if not backend.owns(ours):
        raise KernelError("`backend.owns` is false for what `backend.asarray` returned")
    back = backend.to_host(ours)
    if not isinstance(back, np.ndarray):
        raise KernelError(f"to_host returned {type(back).__name__}, expected numpy.ndarray")
    if (back.dtype, back.shape) != (array.dtype, array.shape):
        raise KernelError(f"came back as {back.dtype} {back.shape}, expected {array.dtype} {array.shape}")
    if not _same_bits(back, array):
        raise KernelError("came back with other values")


def cols_shape(x_shape: tuple[int, ...], settings: dict[str, Pair]) -> tuple[int, int]:
    """``(N*OH*OW, KH*KW*C)``, the shape of ``im2col`` of an array of ``x_shape``."""
    N, OH, OW, C = pooled_shape(x_shape, settings)
    KH, KW = settings["kernel_size"]
    return N * OH * OW, KH * KW * C


def pooled_shape(x_shape: tuple[int, ...], settings: dict[str, Pair]) -> tuple[int, int, int, int]:
    """``(N, OH, OW, C)``, the shape of ``y`` of ``max_pool2d`` of an array of ``x_shape``."""
    OH, OW = window_grid(x_shape, **settings)
    return x_shape[0], OH, OW, x_shape[3]
