"""The contract between the mathematics (``ops/``) and the machines that compute it.

A backend is one object that owns a kind of array and supplies the few kernels below. Everything else that an operation
needs is elementary array arithmetic, taken from ``backend.xp`` (the module ``numpy`` or ``cupy``).

Rules that every backend keeps, so that all of them train the same network:

* Images are channels last, ``(N, H, W, C)``; kernels accept any memory layout and return C-contiguous arrays.
* The result has the dtype of the input (float32 or float64); nothing is up- or downcast.
* Windows: ``OH = (H + 2*PH - KH) // SH + 1``, rows and columns that fill no whole window are ignored. Kernels need not
  know other paddings, dilation or groups: ``ops/windows`` and ``ops/convolutions`` reduce them to these windows.
* Max-pool: padding is minus infinity and never the winner, a tie goes to the first position in row-major order, NaN
  wins over every number.
* ReLU passes gradient where its output is positive, so its derivative at 0 is 0.
* A batch may hold no image: results and gradients then have N = 0, and gradients of parameters are zeros. What divides
  by the number of images (a mean loss, batch norm in training, ``mean``, ``max``) refuses it with ShapeError.
* A backward kernel is given finite gradients. In a run that has diverged, it may return NaN or 0 for 0 · NaN.
* The error of a sum must not grow with its length: sums over the batch or the pixels add in float64, pairwise or with
  compensation, and round once, as ``sum`` and ``mean`` do. Matrix products are computed by the library.
* The same input gives the same bits on every run.
* Random numbers come from a counter, not from a state: the same key gives the same mask on every backend.

Faster kernels that join several operations are optional. ``fused_kernels.py`` states what each computes, and
``Backend.fused`` holds those that a backend has. Where it has none, the operations run one by one. An operation from
outside the package registers its own kernels with ``register_kernel`` and gets them from ``Backend.kernel``.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from tinycnn.backends.array_types import Array, Pair
from tinycnn.backends.fused_kernels import FusedKernels

Kernel = Callable[..., Any]

_kernel_loaders: dict[tuple[str, str], Callable[["Backend"], Kernel]] = {}  # by (name of the backend, of the kernel)


def register_kernel(backend: str, name: str, loader: Callable[["Backend"], Kernel]) -> None:
    """Give the backend called ``backend`` a kernel for an operation of your own.

    The operation gets it from ``Backend.kernel(name)``. ``loader(backend)`` makes the kernel at its first use, so
    nothing is compiled or imported before.
    """
    _kernel_loaders[backend, name] = functools.cache(loader)


def window_count(size: int, kernel: int, stride: int, padding: int) -> int:
    """How many whole windows fit along one axis of ``size`` pixels."""
    return (size + 2 * padding - kernel) // stride + 1


def window_grid(x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Pair:
    """``(OH, OW)``: how many windows fit down and across an image batch of shape ``(N, H, W, C)``."""
    (KH, KW), (SH, SW), (PH, PW) = kernel_size, stride, padding
    return window_count(x_shape[1], KH, SH, PH), window_count(x_shape[2], KW, SW, PW)


class Replay(Protocol):
    """Recorded work."""

    def __call__(self) -> None:
        """Do the work again, with the values that its arrays have now."""

    def is_valid(self) -> bool:
        """Whether Python, run again, would start the same kernels: which ones can depend on values in the arrays."""


class Recorder(Protocol):
    """Records work that only reads and writes memory, so that it can be replayed without Python (``capture.py``)."""

    def session(self) -> AbstractContextManager[None]:
        """Inside, all work, replays included, runs in the order of the calls."""

    def record(self, work: Callable[[Callable[[Array], Array]], None]) -> Replay:
        """Run ``work`` once, then record it; raises BackendError when it ran but cannot be recorded.

        ``work(track)`` passes every array that it changes, or that changes between steps, through ``track``.
        """


# (i, j): a cosine with i half periods from the top of an image to the bottom and j from the left to the right
WAVES = [(i, j) for i in range(4) for j in range(4) if (i, j) != (0, 0)]


def warp_terms(H: int, W: int, count: int) -> np.ndarray:
    """The functions of a pixel's position whose weighted sums are the maps of ``gather_warped``, ``(count, H, W)``.

    The first three are the row and the column, both counted from the centre, and the constant 1: their weighted sums
    are the affine maps. Up to 15 cosines (``WAVES``) follow, which bend an image smoothly.
    """
    h, w = np.indices((H, W))
    waves = (np.cos(np.pi * i * (h + 0.5) / H) * np.cos(np.pi * j * (w + 0.5) / W) for i, j in WAVES[: count - 3])
    return np.stack([h - (H - 1) / 2, w - (W - 1) / 2, np.ones((H, W)), *waves])  # (count, H, W)


class Backend(ABC):
    """One way to compute: its arrays, its kernels, its optional fused kernels."""

    name: str
    compiles: bool = False  # whether the first step takes long because kernels are compiled
    xp: ModuleType  # numpy, or a module with the same functions
    fused: FusedKernels = FusedKernels()  # the optional kernels that it has
    fused_norm_over_ranks: bool = True  # whether fused batch norm takes the statistics of a batch that ranks share
    tf32: bool | None = None  # whether matrix products may round their inputs for tensor cores; None: there are none
    recorder: Callable[[], Recorder] | None = None  # makes one, on a machine where starting kernels costs time
    verifies_recordings: bool = False  # whether to compare a first replay with the work run from Python

    def activate(self) -> None:  # noqa: B027  (a backend may have nothing to do here)
        """Called when this backend becomes the active one, for example to set the number of threads."""

    def kernel(self, name: str) -> Kernel | None:
        """The kernel that ``register_kernel`` added as ``name``; None where there is none: use plain arithmetic."""
        loader = _kernel_loaders.get((self.name, name))
        return loader(self) if loader else None

    def why_no_tf32(self) -> str:
        """The error message for ``use_tf32`` where ``tf32`` is None."""
        return f"TF32 is for tensor cores, which backend {self.name!r} does not use"

    def free_memory(self) -> int | None:
        """How many bytes could be allocated now; None where that is unknown."""
        return None

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        """The sum of ``x`` over ``axis`` (all elements if None), added in float64 and rounded once."""
        return self.float64_sum(x, axis, keepdims).astype(x.dtype, copy=False)

    def mean(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        """The mean of ``x`` over ``axis`` (all elements if None), as exact as ``sum``; 0 if there are no elements."""
        total = self.float64_sum(x, axis, keepdims)
        count = x.size // max(total.size, 1)
        return (total / max(count, 1)).astype(x.dtype, copy=False)

    def float64_sum(self, x: Array, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
        """The float64 sum that ``sum`` and ``mean`` round; a backend may override it with a faster one."""
        return x.sum(axis=axis, dtype=np.float64, keepdims=keepdims)

    def gram(self, x: Array) -> Array:
        """``x (n, m)`` → ``x xᵀ (n, n)``."""
        return x @ x.T

    @abstractmethod
    def owns(self, array: object) -> bool:
        """Whether ``array`` already is this backend's kind of array."""

    @abstractmethod
    def asarray(self, array: Array) -> Array:
        """Host array → this backend's array of the same dtype (no copy where none is needed)."""

    @abstractmethod
    def to_host(self, array: Array) -> np.ndarray:
        """An array of this backend → ``numpy.ndarray``; waits until the value is computed."""

    @abstractmethod
    def im2col(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        """``x (N, H, W, C)`` → ``cols (N*OH*OW, KH*KW*C)``: one row per window, 0 where it covers padding."""

    @abstractmethod
    def col2im(self, cols: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        """``cols (N*OH*OW, KH*KW*C)`` → ``x (N, H, W, C)``: each pixel sums all the windows it lies in.

        The transpose of ``im2col``, which is linear: ``<im2col(x), cols> = <x, col2im(cols)>``.
        """

    @abstractmethod
    def max_pool2d(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Array, Array]:
        """``x (N, H, W, C)`` → ``y (N, OH, OW, C)`` and ``winner``, the place ``kh*KW + kw`` of each maximum."""

    @abstractmethod
    def max_pool2d_backward(
        self, grad_y: Array, winner: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
    ) -> Array:
        """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)``: each gradient goes to its window's winner."""

    @abstractmethod
    def gather_images(self, images: Array, indices: Array, scale: float, dtype: np.dtype) -> Array:
        """``images (M, H, W, C)`` bytes, ``indices (N,)`` → ``x (N, H, W, C)``, the chosen images times ``scale``."""

    @abstractmethod
    def gather_warped(
        self, images: Array, indices: Array, maps: Array, scale: float, dtype: np.dtype, reflect: bool = False
    ) -> Array:
        """As ``gather_images``, each image seen through its map ``maps (N, 2, T)`` (see ``data/augment.py``).

        Pixel ``(h, w)`` of image ``n`` is read at ``maps[n] @ warp_terms(H, W, T)[:, h, w]``, row and column counted
        from the centre, by bilinear interpolation between the four nearest pixels. Outside the image, all is zero, or
        with ``reflect`` the image itself, mirrored at its outermost pixels as by ``np.pad(mode="reflect")``.
        """

    @abstractmethod
    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> Array:
        """A mask of ``shape``: 0 with probability ``p``, else ``1 / (1 - p)``; ``key = (seed, step)`` fixes it.

        ``step`` may be a ``StepInMemory``.
        """
