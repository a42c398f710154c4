"""TF32: matrix products on tensor cores, which round their inputs; here emulated (``ptx`` in ``emulator.cpp``).

The oracle rounds in NumPy and sums in float64. Results may differ from it by the rounding of the sums, and from strict
float32 by the rounding of two factors.
"""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import tinycnn
from tests.support import cuda_emulator, fake_cupy
from tests.support.backends import EmulatedCupyBackend, activated
from tests.support.cuda_emulator import FORWARD, ORDERS, EmulatedModule, KernelError, without_asm
from tests.train.test_capture import everything, make_trainer, pictures, train
from tinycnn import backends
from tinycnn.backends.cupy import launch as cupy_launch
from tinycnn.backends.cupy.backend import CupyBackend
from tinycnn.errors import SettingError

pytestmark = pytest.mark.skipif(cuda_emulator.COMPILER is None, reason="no g++: apt install g++")
SUMS = 2e-5  # of the largest value: float32 sums of some hundred terms


@pytest.fixture(params=["cupy", "cupy-emulated"])
def rounding(request):
    """A backend with TF32 enabled, for the duration of a test."""
    for backend in activated(request):
        if backend.tf32 is None:
            pytest.skip(backend.why_no_tf32())
        tinycnn.backends.use_tf32()
        yield backend
        tinycnn.backends.use_tf32(False)


@pytest.fixture
def supervised(monkeypatch):
    """The emulated backend with TF32 and checked kernels: accesses are recorded, in four orders of threads."""
    monkeypatch.setattr(fake_cupy, "checked_kernels", True)
    backend = EmulatedCupyBackend()
    backend.tf32 = True
    return backend


def rounded(x):
    """Round to 10 bits after the point with NumPy's arithmetic on fractions, in float64."""
    fraction, exponent = np.frexp(np.float64(x))  # 0.5 <= |fraction| < 1
    return np.ldexp(np.trunc(fraction * 2**11 + np.copysign(0.5, fraction)), exponent - 11)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def im2col(x, KH, KW):
    """``(N, H, W, C)`` → ``(N, OH, OW, KH, KW, C)``, as a view."""
    return sliding_window_view(x, (KH, KW), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)


class Products:
    """The matrix products of the GPU backend, and the same in float64 of inputs rounded by ``cut``.

    The gradient of a bias is no product: nothing is rounded.
    """

    def __init__(self, backend, cut):
        self.backend, self.cut = backend, cut

    def both(self, ours, wanted):
        return [self.backend.to_host(array) for array in ours], wanted

    def dense(self, N, inputs, units):
        x, weight, bias, grad = numbers(N, inputs), numbers(inputs, units, seed=1), numbers(units), numbers(N, units)
        there = [self.backend.asarray(array) for array in (x, weight, bias, grad)]
        y = self.backend.fused.dense_forward(*there[:3], relu=True)
        gradients = self.backend.fused.dense_backward(
            *there[:2], y, there[3], relu=True, need_grad_x=True, need_grad_weight=True
        )
        mask = self.backend.to_host(y) > 0
        grad_bias = (np.float64(grad) * mask).sum(axis=0)
        x, weight, grad = self.cut(x), self.cut(weight), self.cut(grad) * mask
        sums = x @ weight + np.float64(bias)
        return self.both([y, *gradients], [sums * (sums > 0), grad @ weight.T, x.T @ grad, grad_bias])

    def conv(self, N, H, C, K, F):
        x, weight, bias = numbers(N, H, H + 1, C), numbers(K, K, C, F, seed=1), numbers(F)
        x_there, weight_there, bias_there = map(self.backend.asarray, (x, weight, bias))
        settings = {"stride": (1, 1), "padding": (0, 0), "relu": False, "pool": None, "need_grad_x": True}
        y, saved = self.backend.fused.conv_forward(x_there, weight_there, bias_there, **settings)
        grad = numbers(*y.shape, seed=2)
        gradients = self.backend.fused.conv_backward(
            saved, self.backend.asarray(grad), need_grad_x=True, need_grad_weight=True
        )
        grad_bias = np.float64(grad).sum(axis=(0, 1, 2))
        x, weight, grad = self.cut(x), self.cut(weight), self.cut(grad)
        wanted = np.einsum("nhwijc,ijcf->nhwf", im2col(x, K, K), weight) + np.float64(bias)
        padded = np.pad(grad, ((0, 0), (K - 1, K - 1), (K - 1, K - 1), (0, 0)))
        grad_x = np.einsum("nhwijf,ijcf->nhwc", im2col(padded, K, K), weight[::-1, ::-1])
        grad_weight = np.einsum("nhwijc,nhwf->ijcf", im2col(x, K, K), grad)
        return self.both([y, *gradients], [wanted, grad_x, grad_weight, grad_bias])


SIZES = {  # around the edges of tiles (64 rows; 16, 32, 64 columns) and of the instruction (16, 8, 8)
    "dense": [(1, 1, 1), (7, 9, 3), (16, 8, 8), (17, 33, 16), (65, 31, 17), (63, 300, 33), (130, 40, 70)],
    "conv": [(1, 3, 1, 3, 1), (2, 9, 1, 3, 32), (3, 7, 5, 2, 17), (2, 8, 33, 3, 5), (1, 12, 16, 5, 6)],
}
CASES = [(kind, size) for kind, sizes in SIZES.items() for size in sizes]


def near(ours, wanted, tolerance):
    return all(np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max()) for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize(("kind", "size"), CASES, ids=str)
def test_products_match_those_of_rounded_inputs(rounding, kind, size):
    ours, wanted = getattr(Products(rounding, rounded), kind)(*size)
    assert [array.shape for array in ours] == [array.shape for array in wanted]
    assert near(ours, wanted, SUMS)


@pytest.mark.parametrize(("kind", "size"), CASES, ids=str)
def test_products_are_close_to_float32(rounding, kind, size):
    """Each of two factors differs by at most one part in 2^11; the terms of a sum are normally distributed."""
    ours, wanted = getattr(Products(rounding, np.float64), kind)(*size)
    assert near(ours, wanted, 2 * 2**-11)
    if min(size) > 1:
        assert not near(ours, wanted, SUMS)  # the inputs were rounded
    tinycnn.backends.use_tf32(False)
    assert near(*getattr(Products(rounding, np.float64), kind)(*size), SUMS)


@pytest.mark.parametrize(("kind", "size"), [("dense", (17, 33, 20)), ("conv", (2, 6, 3, 2, 5))], ids=str)
def test_checked_kernels_match_rounded_inputs(supervised, kind, size):
    ours, wanted = getattr(Products(supervised, rounded), kind)(*size)
    assert near(ours, wanted, SUMS)


def test_convolution_with_pool_matches_rounded_inputs(rounding):
    """The pool reads the sums of a tile, whose layout must match that of the instruction."""
    x, weight, bias = numbers(3, 11, 12, 4), numbers(3, 3, 4, 20, seed=1), numbers(20)
    settings = {"stride": (1, 1), "padding": (1, 1), "relu": True, "pool": ((2, 2), (2, 2)), "need_grad_x": False}
    y, _ = rounding.fused.conv_forward(*map(rounding.asarray, (x, weight, bias)), **settings)
    padded = np.pad(rounded(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    z = np.maximum(np.einsum("nhwijc,ijcf->nhwf", im2col(padded, 3, 3), rounded(weight)) + np.float64(bias), 0)
    pooled = z[:, :10].reshape(3, 5, 2, 6, 2, 20).max(axis=(2, 4))
    assert near([rounding.to_host(y)], [pooled], SUMS)


def test_infinity_and_nan_propagate(rounding):
    x, weight = np.array([[np.inf, 0], [np.nan, 0], [3e38, 1]], np.float32), np.eye(2, dtype=np.float32)
    y = rounding.fused.dense_forward(*map(rounding.asarray, (x, weight, np.zeros(2, np.float32))), relu=False)
    (infinite, *_), (unknown, *_), large = rounding.to_host(y)
    assert infinite == np.inf
    assert np.isnan(unknown)
    np.testing.assert_allclose(large, [3e38, 1], rtol=2**-11)


def test_float64_is_not_rounded(rounding):
    x, weight, bias = (array.astype(np.float64) for array in (numbers(9, 20), numbers(20, 5, seed=1), numbers(5)))
    y = rounding.fused.dense_forward(*map(rounding.asarray, (x, weight, bias)), relu=False)
    np.testing.assert_allclose(rounding.to_host(y), x @ weight + bias, rtol=1e-13, atol=1e-13)


def test_captured_and_eager_training_give_the_same_bits(rounding):
    """Captured twice and eager; the bits differ from those of strict float32."""
    results = [train(make_trainer(capture=wanted), epochs=2) for wanted in (True, True, False)]
    assert results[0] == results[1] == results[2]
    tinycnn.backends.use_tf32(False)
    assert train(make_trainer(), epochs=2) != results[0]


def test_a_new_precision_discards_the_captured_graph(rounding):
    results = []
    for wanted in (True, False):
        tinycnn.backends.use_tf32()
        trainer, (images, labels) = make_trainer(capture=wanted), map(rounding.asarray, pictures())
        trainer.train_epoch(images, labels, epoch=1)
        tinycnn.backends.use_tf32(False)
        results.append((trainer.train_epoch(images, labels, epoch=2), everything(trainer)))
    assert results[0] == results[1]


def test_use_tf32_raises_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(fake_cupy.Device, "compute_capability", "75")
    monkeypatch.setitem(backends._loaded, "turing", CupyBackend(fake_cupy))
    monkeypatch.setitem(backends._LOADERS, "turing", None)
    with tinycnn.use_backend("turing") as backend:
        assert backend.tf32 is None
        with pytest.raises(SettingError, match=r"compute capability 8\.0 or newer, this one has 7\.5: leave it out"):
            tinycnn.backends.use_tf32()


# ---------------------------------------------------------------------------------------------------- planted mistakes

PLANTED = [  # correct and wrong text in tile_tf32.cuh
    ("i % 2 * 8])", "i % 2 * 4])"),  # rows of A
    ("(k + i / 2 * 4)", "(k + i % 2 * 4)"),  # columns of A
    ("b[(k + 4) * PITCH", "b[(k + 1) * PITCH"),  # rows of B
    ('"r"(y0), "r"(y1)', '"r"(y1), "r"(y0)'),
    ("{%4, %5, %6, %7}", "{%4, %6, %5, %7}"),
    ("/ 4 + i / 2 * 8", "/ 4 + i % 2 * 8"),  # rows of the result
    ("% 4 * 2 + i % 2", "% 4 * 2 + i / 2"),  # columns of the result
    ("cvt.rna.tf32.f32 %0, %1;", "mov.b32 %0, %1;"),
]


@pytest.mark.parametrize(("right", "wrong"), PLANTED, ids=str)
def test_a_planted_bug_is_detected(monkeypatch, right, wrong):
    original = cupy_launch.source.__wrapped__
    assert right in original("tile_tf32.cuh")
    monkeypatch.setattr(cupy_launch, "source", lambda name: original(name).replace(right, wrong))
    backend = EmulatedCupyBackend()
    backend.tf32 = True
    with pytest.raises(AssertionError):
        test_checked_kernels_match_rounded_inputs(backend, "dense", (17, 33, 20))


WARPS = """
extern "C" __global__ void warps(float* y, int count) {
    float d[4] = {0, 0, 0, 0};
    unsigned one = __float_as_uint(1.0f + WRONG * threadIdx.x);
    if (CONDITION)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %4, %4, %4}, {%4, %4}, "
                     "{%0, %1, %2, %3};" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(one));
    BARRIER
    if (threadIdx.x < count) y[threadIdx.x] = d[0] + d[3];
}
"""


def warps(condition="1", wrong="0", barrier="", order=FORWARD):
    source = WARPS.replace("CONDITION", condition).replace("WRONG", wrong).replace("BARRIER", barrier)
    y = cuda_emulator.guarded(np.zeros(96, np.float32))
    EmulatedModule(source, {}, checked=True).get_function("warps")((1,), (96,), (y, np.int32(96)), order)
    return y.tolist()


@pytest.mark.parametrize("barrier", ["", "__syncthreads();"])
@pytest.mark.parametrize("order", ORDERS)
def test_each_warp_multiplies_independently(order, barrier):
    """A warp does not wait for the others."""
    assert warps(barrier=barrier, order=order) == [16] * 96
    assert warps(condition="threadIdx.x / 32 == 1", barrier=barrier, order=order) == [0] * 32 + [16] * 32 + [0] * 32


@pytest.mark.parametrize("order", ORDERS)
def test_a_warp_with_inactive_threads_is_an_error(order):
    with pytest.raises(KernelError, match="not all threads of a warp reach line"):
        warps(condition="threadIdx.x != 40", order=order)


def test_unrounded_inputs_are_an_error():
    with pytest.raises(KernelError, match="a number that is not TF32 reaches a tensor core"):
        warps(wrong="1e-6f")


def test_an_unknown_instruction_does_not_compile():
    assert without_asm('asm("nop.b32 %0, %1;" : "=r"(f(a)[1]) : "r"(b));') == "ptx::nop_b32(__LINE__, f(a)[1], b);"
    with pytest.raises(KernelError, match="does not compile"):
        EmulatedModule('extern "C" __global__ void k(float* y) { asm("nop.b32 %0;" : "=f"(y[0]) : ); }', {})
