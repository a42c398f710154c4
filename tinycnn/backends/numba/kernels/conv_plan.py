"""The convolution block as its callers see it: the plan for a shape chooses the kernels and how weights are packed.

All methods that take [start, stop) work on those images only and may run in several threads at once. grad_weight is
summed in parts, each over its own images, and the parts are added in order. The number of parts depends on the number
of images, not of threads, so the result has the same bits for any number of threads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tinycnn.backends.array_types import Array
from tinycnn.backends.fused_kernels import MAX_POOL_PIXELS
from tinycnn.backends.threads import MEMORY_ACCESS, in_parallel, pieces

from . import conv_block, conv_block_backward, conv_dense, packing, winograd, winograd_backward
from .arrays import aligned_empty, flat
from .geometry import ConvGeometry, TileShape
from .lanes import WIDTH

CACHE_FLOATS = 1 << 14  # floats of images and gradients processed at a time


@dataclass
class PackedWeight:
    """The weights and bias in the orders in which kernels read them; packed anew in each forward pass.

    Lanes that belong to no weight are 0.
    """

    bias: Array  # (F rounded up,)
    filters: Array  # (blocks, depth, floats in a tile's row)
    patches: Array  # (KH, F, whole vectors of KW * C floats), for grad_x; empty where grad_x is not needed
    transformed: Array  # (blocks, 16, C, floats in a tile's row): `filters` for Winograd
    transformed_patches: Array  # (blocks of channels, 16, F, floats in a tile's row): `patches` for Winograd


class ConvPlan:
    """Convolution -> bias -> ReLU -> max-pool; without a pool, the ReLU is optional and gradients are dense."""

    forward_tile: TileShape
    grad_weight_tile: TileShape
    grad_x_tile: TileShape
    skips_winners = False  # whether `forward` takes less time where no gradient will be needed
    least_images = 1  # in a call of `grad_weight`, where there are as many: with fewer, other work than products counts

    def __init__(self, geometry: ConvGeometry):
        self.geometry = geometry
        self.layout = tuple(geometry.layout)  # a plain tuple, see `Layout`

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """PH, PW, F."""
        return (*self.geometry.pooled_shape, self.geometry.filters)

    @property
    def padded_filters(self) -> int:
        """F, rounded up to whole tiles."""
        return self.geometry.blocks * self.geometry.columns * WIDTH

    @property
    def block(self) -> int:
        """The number of images processed at a time."""
        return max(1, CACHE_FLOATS // (self.geometry.image_size + int(np.prod(self.output_shape))))

    def new_packed(self, need_grad_x: bool = True) -> PackedWeight:
        """Arrays for `pack` to fill; the first layer needs no grad_x."""
        g, nothing = self.geometry, np.empty((0, 0, 0, 0), np.float32)
        filters = aligned_empty((g.blocks, g.depth, g.columns * WIDTH))
        patches = aligned_empty((g.kernel[0], g.filters, g.padded_run)) if need_grad_x else nothing
        return PackedWeight(aligned_empty((self.padded_filters,)), filters, patches, nothing, nothing)

    def pack(self, weight: Array, bias: Array, packed: PackedWeight) -> None:
        """(KH, KW, C, F), (F,) -> `packed`, from which forward and grad_x read."""
        g = self.geometry
        packing.pack_bias(bias, packed.bias)
        packing.pack_filters(weight.reshape(g.depth, g.filters), packed.filters, 0, g.depth)
        if packed.patches.size:
            runs, some = weight.reshape(g.kernel[0], g.run, g.filters), pieces(g.filters, MEMORY_ACCESS * g.depth)
            in_parallel(lambda part: packing.pack_patches(runs, packed.patches, *some[part]), len(some))

    def forward(
        self, x: Array, packed: PackedWeight, y: Array, winner: Array | None, start: int, stop: int, relu: bool = True
    ) -> None:
        """x (N, H, W, C) -> y (N, PH, PW, F) and, with a pool, winner (N, PH, PW, F) of bytes; both overwritten.

        The winner may be None where the plan `skips_winners`.
        """
        raise NotImplementedError

    def grad_weight(
        self, x: Array, grad_y: Array, winner: Array, weight_part: Array, bias_part: Array, start: int, stop: int
    ) -> None:
        """Add the gradients of images [start, stop) to one of the parts."""
        raise NotImplementedError

    def grad_x(self, packed: PackedWeight, grad_y: Array, winner: Array, grad_x: Array, start: int, stop: int) -> None:
        """Images [start, stop) of grad_x (N, H, W, C), overwritten."""
        raise NotImplementedError

    def new_parts(self, parts: int) -> tuple[Array, Array]:
        """Arrays for `parts` partial sums of grad_weight and, in float64, grad_bias, not initialised."""
        weight_parts = aligned_empty((parts, self.geometry.depth, self.padded_filters))
        return weight_parts, aligned_empty((parts, self.padded_filters), np.float64)

    def add_parts(
        self, weight_parts: Array, bias_parts: Array, grad_weight: Array, grad_bias: Array, some: slice
    ) -> None:
        """Rows `some` of the sum of all parts -> grad_weight (KH, KW, C, F); with the first row grad_bias (F,)."""
        g = self.geometry
        packing.add_weight_parts(weight_parts, grad_weight.reshape(g.depth, g.filters), some.start, some.stop)
        if some.start == 0:
            packing.add_bias_parts(bias_parts, grad_bias)

    @property
    def rows_to_add(self) -> int:
        """The number of rows in the sums of `add_parts`."""
        return self.geometry.depth


class PooledPlan(ConvPlan):
    """With a pool: gradients are sparse, and kernels list those that are not zero."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.forward_tile = conv_block.forward_tile(geometry)
        self.grad_weight_tile = conv_block_backward.grad_weight_tile(geometry)
        self.grad_x_tile = conv_block_backward.grad_x_tile(geometry)

    def forward(self, x, packed, y, winner, start, stop, relu=True):
        conv_block.pooled_forward(
            flat(x), flat(packed.filters), packed.bias, self.layout, self.forward_tile, self.geometry.count,
            flat(y), None if winner is None else flat(winner), start, stop,
        )  # fmt: skip

    def grad_weight(self, x, grad_y, winner, weight_part, bias_part, start, stop):
        conv_block_backward.sparse_grad_weight(
            flat(x), flat(grad_y), flat(winner), self.layout, self.grad_weight_tile, self.geometry.tail, self.block,
            flat(weight_part), bias_part, start, stop,
        )  # fmt: skip

    def new_parts(self, parts):
        g = self.geometry
        weight_parts = aligned_empty((parts, g.filters, g.kernel[0], g.padded_run))
        return weight_parts, aligned_empty((parts, g.filters), np.float64)

    def add_parts(self, weight_parts, bias_parts, grad_weight, grad_bias, some):
        g = self.geometry
        packing.add_patch_parts(weight_parts, grad_weight.reshape(g.kernel[0], g.run, g.filters), some.start, some.stop)
        if some.start == 0:
            packing.add_bias_parts(bias_parts, grad_bias)

    @property
    def rows_to_add(self):
        return self.geometry.filters

    def grad_x(self, packed, grad_y, winner, grad_x, start, stop):
        conv_block_backward.sparse_grad_x(
            flat(packed.patches), flat(grad_y), flat(winner), self.layout, self.grad_x_tile, self.geometry.tail,
            flat(grad_x), start, stop,
        )  # fmt: skip


class ShortRunPlan(PooledPlan):
    """With a pool, and patches whose rows are too short to fill a vector, as in the first layer."""

    new_parts, add_parts, rows_to_add = ConvPlan.new_parts, ConvPlan.add_parts, ConvPlan.rows_to_add
    skips_winners = True  # nine products per output: finding the winner takes a quarter of the time

    def __init__(self, geometry):
        super().__init__(geometry)
        self.grad_weight_tile = geometry.weight_tile

    def grad_weight(self, x, grad_y, winner, weight_part, bias_part, start, stop):
        conv_block_backward.masked_grad_weight(
            flat(x), flat(grad_y), flat(winner), self.layout, self.grad_weight_tile, self.geometry.count,
            flat(weight_part), bias_part, start, stop,
        )  # fmt: skip


class DensePlan(ConvPlan):
    """Without a pool."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.forward_tile = conv_dense.forward_tile(geometry)
        self.grad_weight_tile = geometry.weight_tile
        self.grad_x_tile = conv_dense.grad_x_tile(geometry)

    def forward(self, x, packed, y, winner, start, stop, relu=True):
        conv_dense.dense_forward(
            flat(x), flat(packed.filters), packed.bias, self.layout, self.forward_tile, self.geometry.count, relu,
            flat(y), start, stop,
        )  # fmt: skip

    def grad_weight(self, x, grad_y, winner, weight_part, bias_part, start, stop):
        conv_dense.dense_grad_weight(
            flat(x), flat(grad_y), self.layout, self.grad_weight_tile, self.geometry.count, self.block,
            flat(weight_part), bias_part, start, stop,
        )  # fmt: skip

    def grad_x(self, packed, grad_y, winner, grad_x, start, stop):
        conv_dense.dense_grad_x(
            flat(packed.patches), flat(grad_y), self.layout, self.grad_x_tile, self.geometry.tail,
            flat(grad_x), start, stop,
        )  # fmt: skip


def pack_transformed(plan: ConvPlan, packed: PackedWeight) -> None:
    """`filters` -> `transformed`, for each block."""
    channels, width = plan.geometry.image[2], packed.filters.shape[2]
    steps = 3 * channels * width, channels * width, width

    def transform(block: int, target: Array) -> None:
        winograd.transform_filters(flat(packed.filters[block]), 0, steps, channels, width, width, flat(target))

    for_each_block(transform, packed.transformed)


def pack_transformed_patches(plan: ConvPlan, packed: PackedWeight) -> None:
    """`patches` -> `transformed_patches`, for each block of channels."""
    channels, filters, width = plan.geometry.image[2], plan.geometry.filters, packed.transformed_patches.shape[3]
    steps = filters * plan.geometry.padded_run, channels, plan.geometry.padded_run

    def transform(block: int, target: Array) -> None:
        left = channels - block * width
        winograd.transform_filters(flat(packed.patches), block * width, steps, filters, left, width, flat(target))

    for_each_block(transform, packed.transformed_patches)


def for_each_block(transform: Callable[[int, Array], None], targets: Array) -> None:
    """Call ``transform(block, targets[block])`` for all blocks, on several threads."""
    some = pieces(len(targets), MEMORY_ACCESS * targets[:1].size)

    def work(part: int) -> None:
        for block in range(*some[part]):
            transform(block, targets[block])

    in_parallel(work, len(some))


class WinogradPooledPlan(PooledPlan):
    """3x3 kernels and 2x2 pools: forward with fewer multiplications."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.forward_tile = winograd.forward_tile(geometry)

    def new_packed(self, need_grad_x=True):
        packed = super().new_packed(need_grad_x)
        packed.transformed = aligned_empty((len(packed.filters), 16, self.geometry.image[2], packed.filters.shape[2]))
        return packed

    def pack(self, weight, bias, packed):
        super().pack(weight, bias, packed)
        pack_transformed(self, packed)

    def forward(self, x, packed, y, winner, start, stop, relu=True):
        winograd.pooled_forward(
            flat(x), flat(packed.filters), flat(packed.transformed), packed.bias, self.layout, self.forward_tile,
            self.geometry.count, flat(y), flat(winner), start, stop,
        )  # fmt: skip


class WinogradDensePlan(DensePlan):
    """3x3 kernels without a pool: forward and backward with fewer multiplications."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.tiling = tuple(winograd.output_tiles(geometry))
        self.forward_tile = winograd.forward_tile(geometry)
        self.channels_at_a_time = winograd_backward.channels_at_a_time(geometry)
        self.grad_weight_tile = winograd_backward.grad_weight_tile(geometry, self.channels_at_a_time)
        self.least_images = winograd_backward.least_images(geometry)
        self.grad_x_tile = winograd_backward.grad_x_tile(geometry)
        self.groups = winograd.groups(geometry)

    @property
    def block(self) -> int:
        """The number of images whose bias gradients are added at a time."""
        return winograd_backward.images_at_a_time(self.geometry)

    def new_packed(self, need_grad_x=True):
        packed, g = super().new_packed(need_grad_x), self.geometry
        packed.transformed = aligned_empty((g.blocks, 16, g.image[2], packed.filters.shape[2]))
        if need_grad_x:
            width = len(self.grad_x_tile[0]) * WIDTH
            packed.transformed_patches = aligned_empty((-(-g.image[2] // width), 16, g.filters, width))
        return packed

    def pack(self, weight, bias, packed):
        super().pack(weight, bias, packed)
        pack_transformed(self, packed)
        pack_transformed_patches(self, packed)

    def forward(self, x, packed, y, winner, start, stop, relu=True):
        winograd.dense_forward(
            flat(x), flat(packed.filters), flat(packed.transformed), packed.bias, self.layout, self.tiling,
            self.forward_tile, self.groups, self.geometry.count, relu, flat(y), start, stop,
        )  # fmt: skip

    def grad_weight(self, x, grad_y, winner, weight_part, bias_part, start, stop):
        winograd_backward.dense_grad_weight(
            flat(x), flat(grad_y), self.layout, self.tiling, self.grad_weight_tile, self.channels_at_a_time,
            self.geometry.count, self.block, flat(weight_part), bias_part, start, stop,
        )  # fmt: skip

    def grad_x(self, packed, grad_y, winner, grad_x, start, stop):
        winograd_backward.dense_grad_x(
            flat(packed.transformed_patches), flat(grad_y), self.layout, self.tiling, self.grad_x_tile, self.groups,
            flat(grad_x), start, stop,
        )  # fmt: skip


@lru_cache(maxsize=256)
def conv_plan(
    image: tuple[int, int, int], kernel: tuple[int, int], filters: int, stride: tuple[int, int] = (1, 1),
    pool: tuple[int, int] | None = None, pool_stride: tuple[int, int] | None = None,
) -> ConvPlan:  # fmt: skip
    """The plan for (H, W, C) images, (KH, KW) kernels and, if there is a pool, its window and stride.

    Raises ValueError for a pool window of more than `MAX_POOL_PIXELS` outputs.
    """
    window = pool or (1, 1)
    g = ConvGeometry(image, kernel, filters, stride, window, pool_stride or window)
    if g.off > MAX_POOL_PIXELS:
        raise ValueError(
            f"conv block: got a pool window of {g.off} outputs; expected at most {MAX_POOL_PIXELS}, so that the winner "
            "fits in one byte"
        )
    if pool is None:
        return WinogradDensePlan(g) if winograd.supports(g) else DensePlan(g)
    if g.pool == g.pool_stride == (2, 2) and winograd.supports(g):
        return WinogradPooledPlan(g)
    return ShortRunPlan(g) if g.run <= WIDTH // 2 else PooledPlan(g)
