"""The GPU backend: CuPy's arrays, and the kernels in ``cuda/`` that it compiles for the GPU at hand.

Arrays stay on the GPU. Kernels are queued on the current stream, and only ``to_host`` waits for them. The module
``cupy`` is an argument, so that tests can pass a stand-in that needs no GPU.
"""

import math
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.backends.base import Array, Backend, Pair, warp_terms, window_grid
from tinycnn.backends.cupy.fused import fused_kernels
from tinycnn.backends.cupy.graph import GraphRecorder
from tinycnn.backends.cupy.launch import BYTE, Launcher, windows_of
from tinycnn.backends.cupy.step import mask_key
from tinycnn.backends.philox import keep_threshold
from tinycnn.distributed.communicator import Communicator, when_joined
from tinycnn.errors import BackendError

INSTALL = "`pip install 'cupy-cuda13x[ctk]'` (CUDA 13 driver) or `pip install 'cupy-cuda12x[ctk]'` (CUDA 12)"
ELSEWHERE = 'or use `backend="numba"` or `backend="numpy"`'
WORD = np.dtype(np.int32)
TF32_CAPABILITY = 80  # Ampere: A100, RTX 30


class CupyBackend(Backend):
    """Kernels on one NVIDIA GPU, the current device of CuPy; raises BackendError where none can be used."""

    name = "cupy"
    compiles = True
    fused_norm_over_ranks = False

    def __init__(self, cupy: ModuleType) -> None:
        self.xp = cupy
        when_joined(partial(use_gpu_of_rank, cupy))
        self.launch = Launcher(cupy)
        self.terms: dict[tuple[int, int, int, np.dtype], Array] = {}
        self.recorder = partial(GraphRecorder, cupy)
        self.fused = fused_kernels(self.launch, self)
        check_usable(cupy, self.launch)
        self.capability = int(cupy.cuda.Device().compute_capability)
        self.tf32 = False if self.capability >= TF32_CAPABILITY else None

    @property
    def tf32(self) -> bool | None:
        """Whether matrix products round their inputs to TF32; None where the GPU has no tensor cores for it."""
        return self.launch.tf32

    @tf32.setter
    def tf32(self, wanted: bool | None) -> None:
        self.launch.tf32 = wanted

    def why_no_tf32(self) -> str:
        return f"TF32 needs a GPU of compute capability 8.0 or newer, this one has {self.capability / 10}"

    def free_memory(self) -> int:
        self.xp.get_default_memory_pool().free_all_blocks()
        return self.xp.cuda.Device().mem_info[0]

    def owns(self, array: object) -> bool:
        return isinstance(array, self.xp.ndarray)

    def asarray(self, array: Array) -> Array:
        return self.xp.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)

    def im2col(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        x, windows = self.launch.contiguous(x), windows_of(x.shape, kernel_size, stride, padding)
        rows = len(x) * math.prod(window_grid(x.shape, kernel_size, stride, padding))
        cols = self.xp.empty((rows, math.prod(kernel_size) * x.shape[3]), x.dtype)  # (N*OH*OW, KH*KW*C)
        self.launch.elementwise("im2col.cu", "im2col", cols, x, cols, windows)
        return cols

    def col2im(self, cols: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        cols, windows = self.launch.contiguous(cols), windows_of(x_shape, kernel_size, stride, padding)
        x = self.xp.empty(x_shape, cols.dtype)  # (N, H, W, C)
        self.launch.elementwise("col2im.cu", "col2im", x, cols, x, windows)
        return x

    def max_pool2d(self, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Array, Array]:
        x, windows = self.launch.contiguous(x), windows_of(x.shape, kernel_size, stride, padding)
        y = self.xp.empty((len(x), *window_grid(x.shape, kernel_size, stride, padding), x.shape[3]), x.dtype)
        winner = self.xp.empty(y.shape, BYTE if math.prod(kernel_size) <= 256 else WORD)  # (N, OH, OW, C)
        self.launch.elementwise("max_pool2d.cu", "max_pool2d", y, x, y, winner, windows, place=winner.dtype)
        return y, winner

    def max_pool2d_backward(
        self, grad_y: Array, winner: Array, x_shape: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair
    ) -> Array:
        grad_y, winner = self.launch.contiguous(grad_y), self.launch.contiguous(winner)
        grad_x = self.xp.empty(x_shape, grad_y.dtype)  # (N, H, W, C)
        windows, kernel = windows_of(x_shape, kernel_size, stride, padding), "max_pool2d_backward"
        self.launch.elementwise("max_pool2d.cu", kernel, grad_x, grad_y, winner, grad_x, windows, place=winner.dtype)
        return grad_x

    def gather_images(self, images: Array, indices: Array, scale: float, dtype: np.dtype) -> Array:
        if images.dtype != np.uint8:  # the kernel reads bytes
            return images[indices].astype(dtype) * dtype.type(scale)
        images, x = self.launch.contiguous(images), self.xp.empty((len(indices), *images.shape[1:]), dtype)
        indices, size = self._indices(indices), math.prod(images.shape[1:])
        self.launch.elementwise("gather_images.cu", "gather_images", x, images, indices, x, float(scale), size)
        return x

    def gather_warped(
        self, images: Array, indices: Array, maps: Array, scale: float, dtype: np.dtype, reflect: bool = False
    ) -> Array:
        if images.dtype != np.uint8:
            raise BackendError(f"augmentation on a GPU is for uint8 images, these are {images.dtype}: pass bytes")
        images, x = self.launch.contiguous(images), self.xp.empty((len(indices), *images.shape[1:]), dtype)
        maps = self.xp.ascontiguousarray(maps, dtype)  # (N, 2, T)
        terms = self._warp_terms(x.shape[1], x.shape[2], maps.shape[2], np.dtype(dtype))
        windows = windows_of(x.shape, (1, 1), (1, 1), (0, 0))
        arguments = images, self._indices(indices), maps, terms, len(terms), x, float(scale), int(reflect), windows
        self.launch.elementwise("gather_warped.cu", "gather_warped", x, *arguments)
        return x

    def _warp_terms(self, H: int, W: int, count: int, dtype: np.dtype) -> Array:
        """Brought to the GPU once: while a step is recorded, nothing may be."""
        key = H, W, count, dtype
        if key not in self.terms:
            self.terms[key] = self.asarray(warp_terms(H, W, count).astype(dtype))  # (T, H, W)
        return self.terms[key]

    def dropout_mask(self, shape: tuple[int, ...], p: float, dtype: np.dtype, key: Pair) -> Array:
        mask = self.xp.empty(shape, dtype)
        arguments = mask, *mask_key(key), np.uint32(keep_threshold(p)), 1 / (1 - p)
        self.launch.elementwise("dropout.cu", "dropout_mask", mask, *arguments)
        return mask

    def _indices(self, indices: Array) -> Array:
        return self.xp.ascontiguousarray(indices, np.int64)


def use_gpu_of_rank(cupy: ModuleType, communicator: Communicator) -> None:
    """Make one GPU of this machine the current device: ranks are numbered, and begin again after the last GPU."""
    if communicator.local_rank is not None and cupy.is_available():
        cupy.cuda.Device(communicator.local_rank % cupy.cuda.runtime.getDeviceCount()).use()


def check_usable(cupy: ModuleType, launch: Launcher) -> None:
    """Raise BackendError, with what repairs it, unless there is a GPU and a kernel runs on it."""
    if not cupy.is_available():
        raise BackendError(
            "backend 'cupy' finds no NVIDIA GPU with a driver: see whether `nvidia-smi` lists one, and whether this "
            f"program may use it (CUDA_VISIBLE_DEVICES; docker run --gpus all), {ELSEWHERE}"
        )
    try:
        result = cupy.zeros(1, np.float32)
        launch("probe.cu", "probe", result.dtype, (1,), result, block=(1,))
        found = float(result[0])
    except Exception as error:  # whatever CuPy, NVRTC and the driver may raise
        raise BackendError(
            f"backend 'cupy' finds a GPU, but cannot compile and run a kernel on it ({one_line(error)}): install CuPy "
            f"with the compiler that fits your driver, {INSTALL}, {ELSEWHERE}"
        ) from error
    if found != 42:
        raise BackendError(f"backend 'cupy': the GPU computes {found} where 42 is right; restart it, {ELSEWHERE}")


def one_line(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    first = str(error).strip().splitlines()[:1]
    return ": ".join([type(error).__name__, *first])
