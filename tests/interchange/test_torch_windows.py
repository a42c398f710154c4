"""The same numbers as PyTorch in float64: uneven padding, dilation, groups, ``ceil_mode`` and ``count_include_pad``."""

import itertools

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install 'tinycnn[bench]'`")

from tests.interchange.test_torch_parity import F, assert_same_op, normal  # noqa: E402  (it needs torch)
from tinycnn import ops  # noqa: E402

SIZES = [(7, 8), (9, 7)]


def padded(x, padding):
    """``x (N, C, H, W)`` with zeros for ``((top, bottom), (left, right))``, and the padding that is left."""
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        return F.pad(x, (*padding[1], *padding[0])), 0
    return x, padding


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, (2, 1), ((0, 1), (0, 1)), ((1, 0), (2, 1))], ids=str)
def test_conv2d(padding, groups):
    compared = 0
    for kernel_size, stride, dilation, size in itertools.product(
        [(1, 1), (3, 3), (2, 3), (4, 1)], [(1, 1), (2, 2), (1, 3), (3, 2)], [(1, 1), (2, 2), (1, 3)], SIZES
    ):
        settings = {"stride": stride, "dilation": dilation, "groups": groups}
        arrays = {"x": normal(2, *size, 4), "weight": normal(*kernel_size, 4 // groups, 8), "bias": normal(8)}

        def theirs(x, weight, bias, settings=settings):
            x, left = padded(x, padding)
            return F.conv2d(x, weight, bias, padding=left, **settings)

        assert_same_op(lambda *a, s=settings: ops.conv2d(*a, padding=padding, **s), theirs, arrays)
        compared += 1
    assert compared == 96


@pytest.mark.parametrize("padding", [0, 1, (1, 0)], ids=str)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools(ceil_mode, padding):
    for kernel_size, stride, size in itertools.product(
        [(2, 2), (3, 3), (3, 2), (4, 5)], [None, (1, 1), (2, 2), (3, 2), (5, 4)], SIZES
    ):
        settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
        arrays = {"x": normal(2, *size, 3)}
        assert_same_op(lambda x, s=settings: ops.max_pool2d(x, **s), lambda x, s=settings: F.max_pool2d(x, **s), arrays)
        for counted in (True, False):
            means = settings | {"count_include_pad": counted}
            assert_same_op(lambda x, s=means: ops.avg_pool2d(x, **s), lambda x, s=means: F.avg_pool2d(x, **s), arrays)
