"""The kernel cases: inputs for every kernel of the contract, over settings, dtypes, layouts, sizes, ties and NaN.

``check_backend`` runs them, and ``tests/backends/test_kernels.py`` runs each of them on every backend of the package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tinycnn.backends.base import Backend
from tinycnn.testing.gradient_cases import window_settings
from tinycnn.testing.kernel_checks import (
    check_col2im,
    check_dropout_mask,
    check_gather_images,
    check_gather_warped,
    check_im2col,
    check_max_pool2d,
    check_max_pool2d_backward,
    check_reduction,
    check_transfer,
    cols_shape,
    pooled_shape,
)
from tinycnn.testing.layouts import LAYOUTS, VIEWS

DTYPES = [np.float32, np.float64]
IMAGE = (2, 5, 6, 2)  # N, H, W, C
KERNELS = [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1), (1, 4)]
STRIDES = [(1, 1), (2, 2), (1, 2), (3, 2)]
SETTINGS = list(window_settings(KERNELS, STRIDES, [(0, 0), (1, 1), (0, 1)], IMAGE[1:3]))
POOLS = [s for s in SETTINGS if all(2 * pad <= size for pad, size in zip(s["padding"], s["kernel_size"], strict=True))]
TWO = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
OVERLAPPING = {"kernel_size": (3, 2), "stride": (1, 1), "padding": (1, 1)}
WIDE_PADDING = {"kernel_size": (7, 8), "stride": (2, 3), "padding": (3, 4)}
RAGGED = [(N, *HWC) for N, HWC in product([0, 1, 3], [(3, 3, 1), (2, 7, 1), (5, 4, 3), (4, 4, 17)])]

IDENTITY = [[1, 0, 0], [0, 1, 0]]
MAPS = {
    "identity": IDENTITY,
    "shift by whole pixels": [[1, 0, 1], [0, 1, -2]],
    "shift by half a pixel": [[1, 0, 0.5], [0, 1, -0.25]],
    "quarter turn": [[0, -1, 0], [1, 0, 0]],
    "shrink": [[1.5, 0, 0], [0, 1.25, 0]],
    "turn, shear and shift": [[0.9, -0.3, 0.7], [0.4, 1.1, -1.3]],
    "far below": [[1, 0, 100], [0, 1, 0]],
    "far above": [[1, 0, -100], [0, 1, 0]],
    "far right": [[1, 0, 0], [0, 1, 100]],
    "far left": [[1, 0, 0], [0, 1, -100]],
    "bent by waves": [[1, 0, 0.2, 0.7, -0.4, 0, 0.3], [0, 0.9, 0, -0.5, 0.2, 0.1, 0.6]],
    "bent by all waves": np.random.default_rng(0).normal(0, 0.3, (2, 18)),
}


@dataclass(frozen=True)
class KernelCase:
    """``check(backend)`` compares the kernel on the input that ``label`` describes; raises KernelError."""

    kernel: str
    label: str
    check: Callable[[Backend], None]

    def __str__(self) -> str:
        return f"{self.kernel}-{self.label}"


Draw = Callable[..., np.ndarray]
Arrange = Callable[[str, np.ndarray], dict[str, Any]]  # name of an array, the array → arguments of a check


def normal(shape: tuple[int, ...], dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def with_ties(shape: tuple[int, ...], dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    """-1, 0 and 1."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(dtype)


def with_specials(shape: tuple[int, ...], dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    """NaN, both infinities, both zeros and a few numbers, all many times."""
    return np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0], shape).astype(dtype)


def bytes_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def window_label(settings: dict) -> str:
    """``kernel 2x3, stride 1x2, padding 0x1``"""
    words = {"kernel_size": "kernel", "stride": "stride", "padding": "padding"}
    return ", ".join(f"{words[name]} {down}x{across}" for name, (down, across) in settings.items())


def transfer_cases() -> Iterator[KernelCase]:
    """Arrays to the backend and back, in every memory layout."""
    for dtype, (name, layout) in product([*DTYPES, np.uint8, np.int64], LAYOUTS.items()):
        array = layout(bytes_of((2, 3, 4, 2)).astype(dtype))
        yield KernelCase("asarray", f"{np.dtype(dtype)}, {name} layout", partial(check_transfer, array=array))
    for shape in ((), (0, 3)):
        yield KernelCase("asarray", f"float32 {shape}", partial(check_transfer, array=normal(shape, np.float32)))


def image_to_column_cases() -> Iterator[KernelCase]:
    """Settings, ragged sizes, wide padding and memory layouts of ``im2col``."""
    for (shape, settings), dtype in product(_shapes_and_settings(SETTINGS), DTYPES):
        label = f"{np.dtype(dtype)} {shape}, {window_label(settings)}"
        draw = normal if shape == IMAGE else with_ties
        yield KernelCase("im2col", label, partial(check_im2col, x=draw(shape, dtype), **settings))
    for label, settings, dtype, arrange in _arrangements():
        yield KernelCase("im2col", label, partial(check_im2col, **arrange("x", with_ties(IMAGE, dtype)), **settings))


def column_to_image_cases() -> Iterator[KernelCase]:
    """The same of ``col2im``."""
    for (shape, settings), dtype in product(_shapes_and_settings(SETTINGS), DTYPES):
        label = f"{np.dtype(dtype)} {shape}, {window_label(settings)}"
        cols = normal(cols_shape(shape, settings), dtype)
        yield KernelCase("col2im", label, partial(check_col2im, cols=cols, x_shape=shape, **settings))
    for label, settings, dtype, arrange in _arrangements():
        cols = normal(cols_shape(IMAGE, settings), dtype)
        check = partial(check_col2im, **arrange("cols", cols), x_shape=IMAGE, **settings)
        yield KernelCase("col2im", label, check)


def _shapes_and_settings(of_image: list[dict]) -> Iterator[tuple[tuple[int, ...], dict]]:
    """All settings on ``IMAGE``, two of them on sizes that do not come out even, and padding wider than two pixels."""
    yield from product([IMAGE], of_image)
    yield from product(RAGGED, [TWO, OVERLAPPING])
    yield IMAGE, WIDE_PADDING


def _arrangements() -> Iterator[tuple[str, dict, type, Arrange]]:
    """Label, settings, dtype, and a memory layout: of the array itself, or of a view that the backend makes."""
    for settings, dtype in product([TWO, OVERLAPPING], DTYPES):
        for name, arrange in {**{f"{name} layout": _laid_out(name) for name in LAYOUTS}, **PLACED}.items():
            yield f"{np.dtype(dtype)}, {name}, {window_label(settings)}", settings, dtype, arrange


def _laid_out(layout: str) -> Arrange:
    return lambda name, array: {name: LAYOUTS[layout](array)}


def _placed(view: str) -> Arrange:
    return lambda name, array: {name: array, "place": VIEWS[view]}


PLACED = {view: _placed(view) for view in VIEWS}


def max_pool_cases() -> Iterator[KernelCase]:
    """Settings, ties, NaN, padding, ragged sizes and memory layouts of both max-pool kernels."""
    for settings, draw, dtype in product(POOLS, [normal, with_ties, with_specials], DTYPES):
        label = f"{np.dtype(dtype)} {draw.__name__}, {window_label(settings)}"
        yield from _pool_pair(label, draw(IMAGE, dtype), settings)
    for shape, settings, dtype in product(RAGGED, [TWO, OVERLAPPING], DTYPES):
        label = f"{np.dtype(dtype)} {shape}, {window_label(settings)}"
        yield from _pool_pair(label, with_ties(shape, dtype), settings)
    one_sided = OVERLAPPING | {"padding": (1, 0)}, OVERLAPPING | {"padding": (0, 1)}
    for value, settings in product([0.0, -np.inf, np.inf, np.nan, -1.0], (TWO, OVERLAPPING, *one_sided)):
        yield from _pool_pair(f"all pixels {value}, {window_label(settings)}", np.full(IMAGE, value), settings)
    for kernel_size in ((17, 16), (1, 257)):  # more places than a byte counts
        settings = {"kernel_size": kernel_size, "stride": (1, 1), "padding": (0, 0)}
        last_wins = np.arange(2.0 * 18 * 258).reshape(1, 18, 258, 2)
        yield from _pool_pair(f"the last place wins, {window_label(settings)}", last_wins, settings)
    yield from _pool_pair(f"float64, {window_label(WIDE_PADDING)}", normal(IMAGE), WIDE_PADDING)
    for label, settings, dtype, arrange in _arrangements():
        x, grad_y = with_ties(IMAGE, dtype), normal(pooled_shape(IMAGE, settings), dtype)
        yield KernelCase("max_pool2d", label, partial(check_max_pool2d, **arrange("x", x), **settings))
        check = partial(check_max_pool2d_backward, **arrange("grad_y", grad_y), x=x, **settings)
        yield KernelCase("max_pool2d_backward", label, check)


def _pool_pair(label: str, x: np.ndarray, settings: dict) -> Iterator[KernelCase]:
    """Forward, and backward for a random gradient."""
    grad_y = normal(pooled_shape(x.shape, settings), x.dtype.type)
    yield KernelCase("max_pool2d", label, partial(check_max_pool2d, x=x, **settings))
    check = partial(check_max_pool2d_backward, grad_y=grad_y, x=x, **settings)
    yield KernelCase("max_pool2d_backward", label, check)


def gather_cases() -> Iterator[KernelCase]:
    """Images picked by number, as they are."""
    shapes, scales, picks = [(5, 3, 4, 1), (5, 2, 2, 3)], [1.0, 1 / 255], [[], [0], [4, 0, 4, 2, 1]]
    for shape, scale, pick, dtype in product(shapes, scales, picks, DTYPES):
        indices = np.array(pick, np.int64)
        check = partial(check_gather_images, images=bytes_of(shape), indices=indices, scale=scale, dtype=dtype)
        label = f"{np.dtype(dtype)}, images {pick} of {shape}, scale {scale:.3g}"
        yield KernelCase("gather_images", label, check)
    images = bytes_of((5, 3, 4, 2))
    check = partial(check_gather_images, indices=np.array([3, 3, 0]), scale=1 / 255, dtype=np.float32)
    for name in ("C", "Fortran", "strided", "reversed", "read-only"):
        yield KernelCase("gather_images", f"{name} layout", partial(check, images=LAYOUTS[name](images)))
    for name, place in VIEWS.items():
        yield KernelCase("gather_images", name, partial(check, images=images, place=place))


def warp_cases() -> Iterator[KernelCase]:
    """Images picked by number and seen through a map; the second of three stays as it is."""
    shapes = [((5, 5, 4, 1), False), ((5, 3, 6, 2), False), ((5, 5, 4, 1), True), ((5, 1, 6, 2), True)]
    for (name, numbers), (shape, reflect), dtype in product(MAPS.items(), shapes, DTYPES):
        warp = np.array(numbers, np.float64)
        maps = np.stack([warp, np.eye(*warp.shape), warp])  # (3, 2, T)
        arguments: dict[str, Any] = {"indices": np.array([4, 0, 4]), "maps": maps, "scale": 1 / 255, "dtype": dtype}
        check = partial(check_gather_warped, images=bytes_of(shape), reflect=reflect, **arguments)
        label = f"{np.dtype(dtype)} {shape}, {name}{', reflected' * reflect}"
        yield KernelCase("gather_warped", label, check)


def dropout_cases() -> Iterator[KernelCase]:
    """Shapes, probabilities, keys of more than 32 bits."""
    shapes, keys = [(), (1,), (7,), (0, 3), (3, 5), (2, 3, 2, 2)], [(0, 0), (1, 0), (0, 1), (2**63 - 1, 2**33 + 7)]
    for shape, p, key, dtype in product(shapes, [0.0, 0.3, 0.5, 0.999], keys, DTYPES):
        check = partial(check_dropout_mask, shape=shape, p=p, dtype=dtype, key=key)
        yield KernelCase("dropout_mask", f"{np.dtype(dtype)} {shape}, p={p}, key {key}", check)


def reduction_cases() -> Iterator[KernelCase]:
    """Axes, dtypes and memory layouts of ``sum`` and ``mean``; then sums of 20,000 values of 0.1."""
    for kernel in ("sum", "mean"):
        for axis, dtype in product((None, 0, 1, -1, (0, 1), (0, 2), (0, 1, 2), (1, 2, 3), ()), DTYPES):
            keepdims = dtype == np.float64
            check = partial(check_reduction, kernel=kernel, x=normal((3, 5, 4, 2), dtype), axis=axis, keepdims=keepdims)
            yield KernelCase(kernel, f"{np.dtype(dtype)}, axis {axis}", check)
        for name, layout in LAYOUTS.items():
            x = layout(normal((70, 6, 3), np.float32))
            check = partial(check_reduction, kernel=kernel, x=x, axis=(0, 1), keepdims=False)
            yield KernelCase(kernel, f"{name} layout", check)
        for shape, axis in (((20_000, 3), 0), ((8, 50, 50, 2), (0, 1, 2)), ((2, 20_000), 1), ((20_000,), None)):
            x = np.full(shape, 0.1, np.float32)
            check = partial(check_reduction, kernel=kernel, x=x, axis=axis, keepdims=False)
            yield KernelCase(kernel, f"long sums, {shape}, axis {axis}", check)


CASES = [
    *transfer_cases(),
    *reduction_cases(),
    *image_to_column_cases(),
    *column_to_image_cases(),
    *max_pool_cases(),
    *gather_cases(),
    *warp_cases(),
    *dropout_cases(),
]
