"""The convolution block as its callers see it: which kernel serves which shapes, and how weights are packed for it.

All methods that take [start, stop) work on those images only and may run in several threads at once. grad_weight is
summed in parts, each over its own images, and the parts are added in order: their number is fixed by the number of
images, not of threads, so the result has the same bits however many threads there are.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from . import conv_block, conv_block_backward, conv_dense, conv_loops, winograd
from .geometry import WIDTH, ConvGeometry
from .lanes import LANES

Array = np.ndarray
CACHE_FLOATS = 1 << 15  # what a block of images may take, in floats, to stay in the first cache levels
MIN_WINOGRAD = 8  # channels and filters
MOST_PIXELS = 254  # a winner is one byte


def aligned_empty(shape: tuple[int, ...], dtype: type = np.float32) -> Array:
    """An array that starts on a cache line: a 16-lane load that crosses one costs twice as much."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + size].view(dtype).reshape(shape)


def aligned_zeros(shape: tuple[int, ...]) -> Array:
    """The same, filled with zeros."""
    array = aligned_empty(shape)
    array[...] = 0
    return array


@dataclass(frozen=True)
class PackedWeight:
    """The weights and bias in the orders in which the kernels read them; made once per step."""

    weight: Array  # (KH, KW, C, F), as given
    filters: Array  # (blocks, depth, floats in a tile's row)
    bias: Array  # (blocks * floats in a tile's row,)
    patches: Array  # (KH, F, whole vectors of KW * C floats), for grad_x
    transformed: Array | None = None  # (blocks, 16, C, floats in a tile's row): `filters` for Winograd
    transformed_patches: Array | None = None  # (blocks of channels, 16, F, floats in a tile's row): `patches` for Winograd


class ConvPlan:
    """Convolution -> bias -> ReLU -> max-pool; without a pool the ReLU is optional, and gradients are dense."""

    def __init__(self, geometry: ConvGeometry, pooled: bool):
        self.geometry, self.pooled = geometry, pooled
        if geometry.off > MOST_PIXELS:
            raise ValueError(f"conv block: a pool window of {geometry.off} outputs came, at most {MOST_PIXELS} fit a byte")

    @cached_property
    def pixels(self) -> Array:
        """The pixels of a window, and a place for "none", which is never read from."""
        return np.append(self.geometry.pixels, 0)

    @property
    def by_filter(self) -> bool:
        """Whether grad_weight lies as (depth, filters): always with dense gradients, else if a patch's runs are short."""
        return not self.pooled or self.geometry.run <= WIDTH // 2

    @cached_property
    def winograd(self) -> bool:
        """Whether Winograd's method serves: 3x3 kernels, whole vectors of channels and filters, and 2x2 tiles that pay."""
        g = self.geometry
        if not LANES or g.kernel != (3, 3) or g.stride != (1, 1) or min(g.image[2], g.filters) < MIN_WINOGRAD or min(g.conv_shape) < 2:
            return False
        if self.pooled:
            return g.pool == g.pool_stride == (2, 2)
        return 16 * len(g.tiles) < 0.75 * 9 * len(g.outputs)

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """PH, PW, F."""
        return (*self.geometry.pooled_shape, self.geometry.filters)

    @property
    def block(self) -> int:
        """How many images are worked on at a time."""
        return max(1, CACHE_FLOATS // (self.geometry.image_size + int(np.prod(self.output_shape))))

    def pack(self, weight: Array, bias: Array, need_grad_x: bool = True) -> PackedWeight:
        """(KH, KW, C, F), (F,) -> what forward and grad_x take."""
        g = self.geometry
        width = g.columns * WIDTH
        flat = weight.reshape(g.depth, g.filters)
        filters, padded_bias = aligned_zeros((g.blocks, g.depth, width)), aligned_zeros((g.blocks * width,))
        padded_bias[: g.filters] = bias
        for block in range(g.blocks):
            part = flat[:, block * width : (block + 1) * width]
            filters[block, :, : part.shape[1]] = part
        patches = aligned_zeros((g.kernel[0], g.filters, g.padded_run) if need_grad_x else (0,))
        if need_grad_x:
            patches[:, :, : g.run] = weight.reshape(g.kernel[0], g.run, g.filters).transpose(0, 2, 1)
        transformed = self.transform_filters(filters) if self.winograd else None
        transformed_patches = self.transform_patches(patches) if self.winograd and need_grad_x and not self.pooled else None
        return PackedWeight(weight, filters, padded_bias, patches, transformed, transformed_patches)

    def transform_filters(self, filters: Array) -> Array:
        """(blocks, depth, width) -> (blocks, 16, C, width)."""
        blocks, depth, width = filters.shape
        channels = self.geometry.image[2]
        result = aligned_empty((blocks, 16, channels, width))
        for block in range(blocks):
            source, steps = block * depth * width, (3 * channels * width, channels * width, width)
            winograd.transform_filters(
                flat(filters), source, *steps, channels, width, width, flat(result), block * 16 * channels * width
            )
        return result

    def transform_patches(self, patches: Array) -> Array:
        """(KH, F, whole vectors of KW * C floats) -> (blocks, 16, F, width), width channels in a block."""
        channels, filters = self.geometry.image[2], self.geometry.filters
        width = len(self.geometry.winograd_grad_tile[0]) * WIDTH
        result = aligned_empty((-(-channels // width), 16, filters, width))
        for block in range(len(result)):
            steps = patches[0].size, channels, patches.shape[2]
            first = block * width
            winograd.transform_filters(
                flat(patches), first, *steps, filters, channels - first, width, flat(result), block * result[0].size
            )
        return result

    def forward(self, x: Array, packed: PackedWeight, y: Array, winner: Array, start: int, stop: int, relu: bool = True):
        """x (N, H, W, C) -> y (N, PH, PW, F) and, with a pool, winner (N, PH, PW, F) of bytes; written in place."""
        g = self.geometry
        if not LANES:
            setting = g.stride, g.pool, g.pool_stride
            unused = winner if self.pooled else np.empty(y.shape, np.uint8)
            conv_loops.forward(x, packed.weight, packed.bias[: g.filters], *setting, relu or self.pooled, y, unused, start, stop)
        elif self.winograd:
            self.winograd_forward(x, packed, y, winner, start, stop, relu)
        elif self.pooled:
            conv_block.pooled_forward(
                flat(x), flat(packed.filters), packed.bias, g.taps, g.windows, g.pixels, g.image_size, g.pool_tile,
                g.filters, g.count, flat(y), flat(winner), start, stop,
            )  # fmt: skip
        else:
            conv_dense.dense_forward(
                flat(x), flat(packed.filters), packed.bias, g.taps, g.outputs, g.image_size, g.dense_tile,
                g.filters, g.count, relu, flat(y), start, stop,
            )  # fmt: skip

    def winograd_forward(self, x: Array, packed: PackedWeight, y: Array, winner: Array, start: int, stop: int, relu: bool):
        """`forward` by Winograd's method."""
        g = self.geometry
        weights = flat(packed.filters), flat(packed.transformed), packed.bias, g.taps
        sizes = g.image_size, g.row_size, g.image[2], g.winograd_tile, g.filters, g.count
        if self.pooled:
            winograd.pooled_forward(
                flat(x), *weights, g.windows, g.pixels, *sizes, flat(y), flat(winner), start, stop
            )
        else:
            winograd.dense_forward(
                flat(x), *weights, g.tiles, g.targets, g.tile_pixels, *sizes, relu, *self.outputs, flat(y), start, stop
            )

    @property
    def outputs(self) -> tuple[int, int]:
        """How many outputs an image has, and how many a row of them."""
        return len(self.geometry.outputs), self.geometry.conv_shape[1]

    def new_parts(self, parts: int) -> tuple[Array, Array]:
        """Zeros for `parts` partial sums of grad_weight and grad_bias."""
        g = self.geometry
        padded = g.blocks * g.columns * WIDTH
        if not LANES:
            return aligned_zeros((parts, *g.kernel, g.image[2], g.filters)), aligned_zeros((parts, g.filters))
        if self.by_filter:
            return aligned_zeros((parts, g.depth, padded)), aligned_zeros((parts, padded))
        return aligned_zeros((parts, g.filters, g.kernel[0], g.padded_run)), aligned_zeros((parts, g.filters))

    def grad_weight(self, x: Array, grad_y: Array, winner: Array, weight_part: Array, bias_part: Array, start: int, stop: int):
        """Add the gradients of images [start, stop) to one of the parts."""
        g = self.geometry
        if not LANES:
            setting = g.stride, g.pool, g.pool_stride
            conv_loops.grad_weight(x, grad_y, self.winners(winner, grad_y), *setting, weight_part, bias_part, start, stop)
        elif not self.pooled and self.winograd:
            winograd.dense_grad_weight(
                flat(x), flat(grad_y), g.tiles, g.targets, g.keep, g.image_size, g.row_size, g.image[2], g.winograd_sum_tile,
                g.filters, g.count, *self.outputs, flat(weight_part), bias_part, start, stop,
            )  # fmt: skip
        elif not self.pooled:
            conv_dense.dense_grad_weight(
                flat(x), flat(grad_y), g.taps, g.outputs, g.image_size, g.taps_tile, g.filters, g.count, self.block,
                flat(weight_part), bias_part, start, stop,
            )  # fmt: skip
        elif self.by_filter:
            conv_block_backward.masked_grad_weight(
                flat(x), flat(grad_y), flat(winner), g.taps, g.windows, self.pixels, g.image_size, g.taps_tile,
                g.filters, g.count, flat(weight_part), bias_part, start, stop,
            )  # fmt: skip
        else:
            conv_block_backward.sparse_grad_weight(
                flat(x), flat(grad_y), flat(winner), g.windows, self.pixels, g.image_size, g.row_size, g.kernel[0], g.run,
                g.patch_tile, g.tail, g.filters, self.block, flat(weight_part), bias_part, start, stop,
            )  # fmt: skip

    def winners(self, winner: Array, grad_y: Array) -> Array:
        """What the plain loops need as winners: without a pool, each output is its own."""
        return winner if self.pooled else np.zeros(grad_y.shape, np.uint8)

    def sum_parts(self, weight_parts: Array, bias_parts: Array) -> tuple[Array, Array]:
        """The parts -> grad_weight (KH, KW, C, F), grad_bias (F,)."""
        g = self.geometry
        weight, bias = weight_parts.sum(axis=0), bias_parts.sum(axis=0)[: g.filters]
        if LANES and self.by_filter:
            weight = weight[:, : g.filters]
        elif LANES:
            weight = weight[:, :, : g.run].transpose(1, 2, 0)
        return weight.reshape(*g.kernel, g.image[2], g.filters), bias

    def grad_x(self, packed: PackedWeight, grad_y: Array, winner: Array, grad_x: Array, start: int, stop: int):
        """Images [start, stop) of grad_x (N, H, W, C), overwritten."""
        g = self.geometry
        if not LANES:
            setting = g.stride, g.pool, g.pool_stride
            conv_loops.grad_x(packed.weight, grad_y, self.winners(winner, grad_y), *setting, grad_x, start, stop)
        elif self.pooled:
            conv_block_backward.sparse_grad_x(
                flat(packed.patches), flat(grad_y), flat(winner), g.windows, self.pixels, g.image_size, g.row_size,
                g.kernel[0], g.run, g.grad_x_tile, g.tail, g.filters, flat(grad_x), start, stop,
            )  # fmt: skip
        elif self.winograd:
            winograd.dense_grad_x(
                flat(packed.transformed_patches), flat(grad_y), g.tiles, g.targets, g.keep, g.image_size, g.row_size,
                g.image[2], g.winograd_grad_tile, g.filters, *self.outputs, flat(grad_x), start, stop,
            )  # fmt: skip
        else:
            conv_dense.dense_grad_x(
                flat(packed.patches), flat(grad_y), g.outputs, g.image_size, g.row_size, g.kernel[0], g.run,
                g.spread_tile, g.tail, g.filters, flat(grad_x), start, stop,
            )  # fmt: skip


def flat(array: Array) -> Array:
    """The array in one dimension, without a copy."""
    if not array.flags.c_contiguous:
        raise ValueError(f"conv block: an array of shape {array.shape} with strides {array.strides} came; expected C-contiguous")
    return array.reshape(-1)


@lru_cache(maxsize=256)
def conv_plan(
    image: tuple[int, int, int], kernel: tuple[int, int], filters: int, stride: tuple[int, int] = (1, 1),
    pool: tuple[int, int] | None = None, pool_stride: tuple[int, int] | None = None,
) -> ConvPlan:  # fmt: skip
    """The plan for (H, W, C) images, (KH, KW) kernels and, if there is a pool, its window and stride."""
    window = pool or (1, 1)
    return ConvPlan(ConvGeometry(image, kernel, filters, stride, window, pool_stride or window), pool is not None)
