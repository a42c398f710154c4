"""Upsampling: every pixel becomes a block of SH x SW equal pixels (nearest neighbour).

    y[n, h·SH + i, w·SW + j, c] = x[n, h, w, c]     so     grad_x[n, h, w, c] = Σ_ij grad_y[n, h·SH + i, w·SW + j, c]

The gradient of a pixel is the sum over its block.
"""

from tinycnn.backends.base import Array, Pair
from tinycnn.errors import ShapeError
from tinycnn.ops.inputs import tensors
from tinycnn.ops.windows.checks import as_pair
from tinycnn.tensor import Function, Tensor


class Upsample2dFunction(Function):
    def __init__(self, scale: Pair) -> None:
        self.scale = scale

    def forward(self, x: Array) -> Array:
        (N, H, W, C), (SH, SW) = x.shape, self.scale
        self.blocks = N, H, SH, W, SW, C
        y = self.backend.xp.broadcast_to(x[:, :, None, :, None, :], self.blocks)  # (N, H, SH, W, SW, C)
        return y.reshape(N, H * SH, W * SW, C)

    def backward(self, grad_y: Array) -> Array:
        return self.backend.sum(grad_y.reshape(self.blocks), axis=(2, 4))  # (N, H, W, C)


def upsample2d(x: Tensor, *, scale: int | Pair = 2) -> Tensor:
    """``x (N, H, W, C)`` → ``(N, H*SH, W*SW, C)``, every pixel repeated ``scale`` times down and across.

    Raises ShapeError unless ``x`` has four axes, SettingError for a ``scale`` below 1.
    """
    pair = as_pair(scale, "scale", minimum=1)
    (x,) = tensors(x)
    if x.ndim != 4:
        raise ShapeError(f"upsample2d: x has shape {x.shape}, expected images (N, H, W, C)")
    return Upsample2dFunction(pair)(x)
