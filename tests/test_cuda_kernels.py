"""Every CUDA kernel under supervision: no access out of bounds, no race, the same bits in any order, the right values.

Each launch runs in four orders of blocks and threads, with every memory access recorded (see ``cuda_emulator``).
"""

import cuda_emulator
import fake_cupy
import numpy as np
import pytest
import test_kernels as kernels
from conftest import EmulatedCupyBackend

pytestmark = pytest.mark.skipif(cuda_emulator.COMPILER is None, reason="no g++: apt install g++")


@pytest.fixture(scope="module")
def supervised():
    """The GPU backend, its kernels supervised."""
    fake_cupy.checked_kernels = True
    yield EmulatedCupyBackend()
    fake_cupy.checked_kernels = False


STRIDED = {"kernel_size": (2, 3), "stride": (3, 2), "padding": (1, 1)}


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("settings", [kernels.TWO, kernels.OVERLAPPING, STRIDED], ids=str)
def test_windows(supervised, settings, dtype):
    shape = (3, 7, 6, 5)
    kernels.check_im2col(supervised, kernels.normal(shape, dtype), **settings)
    cols = kernels.normal(kernels.cols_shape(shape, settings), dtype)
    kernels.check_col2im(supervised, cols, shape, **settings)
    x, grad_y = kernels.with_specials(shape, dtype), kernels.normal(kernels.pooled_shape(shape, settings), dtype)
    kernels.check_max_pool2d(supervised, x, **settings)
    kernels.check_max_pool2d_backward(supervised, grad_y, x, **settings)


def test_more_places_than_a_byte_holds(supervised):
    settings = {"kernel_size": (17, 16), "stride": (1, 2), "padding": (0, 3)}
    x = kernels.normal((1, 18, 18, 2))
    kernels.check_max_pool2d(supervised, x, **settings)
    kernels.check_max_pool2d_backward(
        supervised, kernels.normal(kernels.pooled_shape(x.shape, settings)), x, **settings
    )


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_batches(supervised, dtype):
    images, indices = kernels.bytes_of((5, 9, 8, 3)), np.array([4, 0, 4, 2])
    kernels.check_gather_images(supervised, images, indices, 1 / 255, dtype)
    maps = np.array([list(kernels.MAPS.values())[i] for i in (3, 5, 2, 6)], np.float64)
    kernels.check_gather_warped(supervised, images, indices, maps, 1 / 255, dtype)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("count", [1, 1023, 1024])
def test_dropout_mask(supervised, count, dtype):
    kernels.check_dropout_mask(supervised, (count,), 0.3, dtype, (2**63 - 1, 2**33 + 7))
