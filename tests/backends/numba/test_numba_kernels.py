"""The convolution-block kernels against float64 loops; other lane counts run some cases in their own process."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tinycnn.backends import threads
from tinycnn.backends.numba.kernels import conv_plan as plans
from tinycnn.backends.numba.kernels.arrays import aligned_empty
from tinycnn.backends.numba.kernels.conv_plan import conv_plan

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Case:
    """One shape of the block; `pool` is None for a block without max-pooling."""

    images: int = 3
    image: tuple[int, int, int] = (9, 9, 3)
    kernel: tuple[int, int] = (3, 3)
    filters: int = 5
    stride: tuple[int, int] = (1, 1)
    pool: tuple[int, int] | None = (2, 2)
    pool_stride: tuple[int, int] | None = None
    relu: bool = True

    @property
    def plan(self):
        return conv_plan(self.image, self.kernel, self.filters, self.stride, self.pool, self.pool_stride)

    @property
    def window(self):
        return self.pool or (1, 1)

    @property
    def window_stride(self):
        return self.pool_stride or self.window


def conv_outputs(case, x, weight):
    """The plain convolution, one output at a time."""
    (KH, KW), (SH, SW) = case.kernel, case.stride
    OH, OW = (case.image[0] - KH) // SH + 1, (case.image[1] - KW) // SW + 1
    outputs = np.zeros((len(x), OH, OW, case.filters))
    for n, oh, ow, f in np.ndindex(*outputs.shape):
        patch = x[n, oh * SH : oh * SH + KH, ow * SW : ow * SW + KW]
        outputs[n, oh, ow, f] = np.sum(patch * weight[..., f])
    return outputs


def first_winner(values):
    """The position of the first NaN, or else of the first maximum."""
    best = 0
    for i, value in enumerate(values):
        if np.isnan(values[best]):
            break
        if np.isnan(value) or value > values[best]:
            best = i
    return best


def oracle(case, x, weight, bias, grad_y=None):
    """y, winner, grad_weight, grad_bias, grad_x in float64, by the definition: bias, then ReLU, then pool."""
    x, weight, bias = (array.astype(np.float64) for array in (x, weight, bias))
    outputs = conv_outputs(case, x, weight) + bias
    (PKH, PKW), (PSH, PSW), (KH, KW), (SH, SW) = case.window, case.window_stride, case.kernel, case.stride
    PH, PW = (outputs.shape[1] - PKH) // PSH + 1, (outputs.shape[2] - PKW) // PSW + 1
    y, winner = np.zeros((len(x), PH, PW, case.filters)), np.zeros((len(x), PH, PW, case.filters), np.uint8)
    grads = np.zeros_like(weight), np.zeros_like(bias), np.zeros_like(x)
    for n, ph, pw, f in np.ndindex(*y.shape):
        values = outputs[n, ph * PSH : ph * PSH + PKH, pw * PSW : pw * PSW + PKW, f].ravel()
        pixel = first_winner(values)
        off = case.relu and values[pixel] <= 0
        y[n, ph, pw, f] = 0 if off else values[pixel]
        winner[n, ph, pw, f] = PKH * PKW if off else pixel
        if grad_y is None or off:
            continue
        grad = float(grad_y[n, ph, pw, f])
        h, w = (ph * PSH + pixel // PKW) * SH, (pw * PSW + pixel % PKW) * SW
        grads[0][..., f] += grad * x[n, h : h + KH, w : w + KW]
        grads[1][f] += grad
        grads[2][n, h : h + KH, w : w + KW] += grad * weight[..., f]
    return y, winner, *grads


def ranges(images, pieces):
    """Divide all images into `pieces` ranges."""
    return [(images * i // pieces, images * (i + 1) // pieces) for i in range(pieces)]


def pack(case, weight, bias):
    """The weights in the order in which the kernels read them."""
    packed = case.plan.new_packed()
    case.plan.pack(weight, bias, packed)
    return packed


def run_forward(case, x, weight, bias, pieces=1):
    """y and winner, computed in the given number of pieces."""
    y = aligned_empty((len(x), *case.plan.output_shape))
    winner = aligned_empty(y.shape, np.uint8)
    y[...], winner[...] = 77, 77
    packed = pack(case, weight, bias)
    for start, stop in ranges(len(x), pieces):
        case.plan.forward(x, packed, y, winner, start, stop, case.relu)
    return y, winner


def new_sums(case, parts):
    """Partial sums of grad_weight and grad_bias, initially zero."""
    weight_parts, bias_parts = case.plan.new_parts(parts)
    weight_parts[...], bias_parts[...] = 0, 0
    return weight_parts, bias_parts


def added(case, weight_parts, bias_parts):
    """grad_weight and grad_bias: the sums of the parts, computed in three pieces."""
    weight = np.full((*case.kernel, case.image[2], case.filters), 77, np.float32)
    bias = np.full(case.filters, 77, np.float32)
    for some in ranges(case.plan.rows_to_add, 3):
        case.plan.add_parts(weight_parts, bias_parts, weight, bias, slice(*some))
    return weight, bias


def run_backward(case, x, weight, bias, grad_y, winner, pieces=1, parts=2):
    """grad_weight, grad_bias, grad_x; grad_x is computed in `pieces` pieces, grad_weight in `parts` parts."""
    packed, grad_x = pack(case, weight, bias), np.full_like(x, 77)
    weight_parts, bias_parts = new_sums(case, parts)
    for part, (start, stop) in enumerate(ranges(len(x), parts)):
        case.plan.grad_weight(x, grad_y, winner, weight_parts[part], bias_parts[part], start, stop)
    for start, stop in ranges(len(x), pieces):
        case.plan.grad_x(packed, grad_y, winner, grad_x, start, stop)
    return *added(case, weight_parts, bias_parts), grad_x


def draw(case, seed=0, whole_numbers=False):
    """x, weight, bias, grad_y; with whole numbers, sums are exact and ties frequent."""
    rng = np.random.default_rng(seed)
    shapes = (case.images, *case.image), (*case.kernel, case.image[2], case.filters), (case.filters,)
    shapes = (*shapes, (case.images, *case.plan.output_shape))
    if whole_numbers:
        return [rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def check(case, x, weight, bias, grad_y):
    """Forward and backward agree with the oracle."""
    y, winner = run_forward(case, x, weight, bias)
    expected = oracle(case, x, weight, bias, grad_y)
    rounding = 4e-6 * np.sqrt(weight[..., 0].size)  # of a sum of that many products of size 1
    np.testing.assert_allclose(y, expected[0], rtol=2e-5, atol=rounding)
    if case.pool:
        np.testing.assert_array_equal(winner, expected[1])
    grad_in = grad_y if case.pool else np.where(expected[1] == 1, 0, grad_y).astype(np.float32)
    grads = run_backward(case, x, weight, bias, grad_in, winner)
    for name, got, want in zip(("weight", "bias", "x"), grads, expected[2:], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4, err_msg=f"grad_{name} of {case}")


# Each size of a tile is a kernel of its own, half a second to compile: these are the smallest and largest tiles, with
# and without a mask, and few between. The sizes of images below give the convolutions 72 outputs: whole tiles of 24.
SIZES = ((1, 1), (3, 4), (7, 7), (1, 4), (2, 6), (24, 1), (3, 3))
KERNELS = [Case(image=(7 + KH, 8 + KW, 2), kernel=(KH, KW)) for KH, KW in SIZES]
FILTERS = [Case(filters=filters) for filters in (1, 3, 4, 8, 15, 16, 32, 33, 48, 64, 65, 80, 100)]
CHANNELS = [Case(image=(10, 11, channels)) for channels in (1, 2, 4, 6, 8, 16, 64, 130)]
STRIDES = [  # a last row or column that a stride leaves out
    Case(image=(7 * SH + 3 + (SH > 1), 8 * SW + 3 + (SW > 1), 3), stride=(SH, SW))
    for SH, SW in itertools.product((1, 2, 3), (1, 2, 4))
]
STRIDES += [Case(image=(12, 13, 3), stride=(3, 4))]  # 12 outputs: fewer than a tile
POOLS = [
    Case(image=(12, 13, 3), pool=pool, pool_stride=stride)
    for pool in ((1, 1), (2, 8), (4, 1), (4, 4), (7, 7))
    for stride in (None, (1, 1), (2, 1), (3, 4))
]
REAL = [
    Case(1, (28, 28, 1), filters=32), Case(1, (28, 28, 1), filters=6), Case(2, (13, 13, 32), filters=64),
    Case(2, (13, 13, 6), filters=16), Case(3, (5, 5, 64), filters=128),
]  # fmt: skip
BATCHES = [Case(images=images) for images in (1, 2, 5, 9)]
WINOGRAD = [
    Case(2, image, filters=filters, pool=pool)
    for image, filters in (((8, 9, 16), 16), ((10, 7, 33), 70), ((4, 5, 64), 9), ((11, 13, 64), 40), ((6, 6, 8), 130))
    for pool in ((2, 2), None)
]
POOLED = [*KERNELS, *FILTERS, *CHANNELS, *STRIDES, *POOLS, *REAL, *BATCHES]
DENSE = [
    replace(case, pool=None, pool_stride=None, relu=i % 2 == 0) for i, case in enumerate(POOLED) if case not in POOLS
]
SPLIT = [
    Case(7, (13, 13, 32), filters=64, pool=None),
    Case(7),
    Case(7, (13, 13, 32), filters=64),
    Case(7, (13, 13, 1), filters=6),
    Case(7, pool=None),
]


@pytest.mark.parametrize("case", [*POOLED, *DENSE, *WINOGRAD], ids=str)
def test_results_match_the_loops(case):
    check(case, *draw(case))


@pytest.mark.parametrize("case", [*REAL, *SPLIT, *POOLS, *WINOGRAD], ids=str)
def test_ties_go_to_the_first(case):
    check(case, *draw(case, whole_numbers=True))


@pytest.mark.parametrize(
    "case", [Case(), Case(image=(9, 9, 1)), Case(filters=33), Case(1, (13, 13, 32), filters=64)], ids=str
)
def test_the_first_nan_wins_and_passes_its_gradient(case):
    x, weight, bias, grad_y = draw(case)
    x[0, 2, 3, 0] = x[0, 5, 5, 0] = np.nan
    y, winner = run_forward(case, x, weight, bias)
    expected = oracle(case, x, weight, bias, grad_y)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected[0]))
    assert np.isnan(y).any()
    assert not np.isnan(y).all()
    np.testing.assert_array_equal(winner, expected[1])
    grad_x = run_backward(case, x, weight, bias, grad_y, winner)[2]
    np.testing.assert_allclose(grad_x, expected[4], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [Case(image=(9, 9, 1)), REAL[0]], ids=str)
def test_outputs_are_the_same_without_winners(case):
    """The same bits, and NaN where one of a window's outputs is NaN, whichever it is."""
    x, weight, bias, _ = draw(case)
    x[0, 2, 3, 0] = x[0, 5, 5, 0] = np.nan
    y, _ = run_forward(case, x, weight, bias)
    without = np.full_like(y, 77)
    assert case.plan.skips_winners
    case.plan.forward(x, pack(case, weight, bias), without, None, 0, len(x))
    np.testing.assert_array_equal(without, y)
    assert 0 < np.isnan(y).mean() < 0.5


@pytest.mark.parametrize("case", SPLIT, ids=str)
def test_splitting_the_images_does_not_change_a_bit(case):
    x, weight, bias, grad_y = draw(case)
    whole, winner = run_forward(case, x, weight, bias)
    gradients = run_backward(case, x, weight, bias, grad_y, winner)
    for pieces in (2, 3, 7):
        y, index = run_forward(case, x, weight, bias, pieces)
        assert y.tobytes() == whole.tobytes()
        assert not case.pool or index.tobytes() == winner.tobytes()
        grad_x = run_backward(case, x, weight, bias, grad_y, winner, pieces)[2]
        assert grad_x.tobytes() == gradients[2].tobytes()


@pytest.mark.parametrize("case", [Case(pool=None), Case(2, (13, 13, 32), filters=64, pool=None)], ids=str)
def test_nan_does_not_spread_to_other_outputs(case):
    x, weight, bias, _ = draw(case)
    x[0, 4, 4, 1], x[0, 0, 0, 0] = np.nan, np.inf
    y, _ = run_forward(case, x, weight, bias)
    expected = oracle(case, x, weight, bias)[0]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


INFINITE = [Case(), Case(image=(9, 9, 1)), Case(pool=None), Case(image=(9, 9, 16), filters=16)]


@pytest.mark.parametrize("case", INFINITE, ids=str)
def test_infinite_weights_match_the_loops(case):
    x, weight, bias, _ = draw(case)
    weight[0, 0, 0, :] = -np.inf
    x[...] = np.abs(x)
    y, _ = run_forward(case, x, weight, bias)
    expected = oracle(case, x, weight, bias)
    np.testing.assert_array_equal(y, expected[0].astype(np.float32))


def test_inputs_are_not_modified():
    case = Case()
    arrays = draw(case)
    before = [array.tobytes() for array in arrays]
    check(case, *arrays)
    assert [array.tobytes() for array in arrays] == before


def falsify(monkeypatch, index, change):
    """Change one of the gradients that `run_backward` returns."""
    correct = run_backward

    def falsified(*arguments):
        grads = list(correct(*arguments))
        grads[index] = change(grads[index])
        return grads

    monkeypatch.setattr(sys.modules[__name__], "run_backward", falsified)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("change", [lambda grad: grad * 1.01, lambda grad: grad[..., ::-1], np.zeros_like])
def test_the_check_notices_a_wrong_gradient(monkeypatch, index, change):
    falsify(monkeypatch, index, change)
    with pytest.raises(AssertionError):
        check(Case(), *draw(Case()))


def test_thread_count_does_not_change_a_bit():
    case = Case(64, (13, 13, 32), filters=64)
    x, weight, bias, grad_y = draw(case)
    whole, winner = run_forward(case, x, weight, bias)
    gradients = run_backward(case, x, weight, bias, grad_y, winner, parts=4)
    y, packed = np.empty_like(whole), pack(case, weight, bias)
    weight_parts, bias_parts = new_sums(case, 4)
    grad_x, index = np.empty_like(x), np.empty_like(winner)

    def task(part, start, stop):
        case.plan.forward(x, packed, y, index, start, stop)
        case.plan.grad_weight(x, grad_y, index, weight_parts[part], bias_parts[part], start, stop)
        case.plan.grad_x(packed, grad_y, index, grad_x, start, stop)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(task, range(4), *zip(*threads.ranges(64, 4), strict=True)))
    assert y.tobytes() == whole.tobytes()
    sums = added(case, weight_parts, bias_parts)
    for got, want in zip((*sums, grad_x), gradients, strict=True):
        assert got.tobytes() == want.tobytes()


def test_float64_raises():
    case = Case()
    x, weight, bias, _ = draw(case)
    with pytest.raises(TypeError, match="got an array of float64; expected float32"):
        run_forward(case, x.astype(np.float64), weight, bias)


def test_a_non_contiguous_array_raises():
    case = Case()
    x, weight, bias, _ = draw(case)
    with pytest.raises(ValueError, match="contiguous"):
        run_forward(case, np.repeat(x, 2, axis=2)[:, :, ::2], weight, bias)


PLANS = [  # Winograd needs 3x3 kernels, and at least 8 channels, 8 filters and 2x2 outputs
    (Case(1, (4, 4, 8), filters=8), plans.WinogradPooledPlan),
    (Case(1, (4, 10, 8), filters=8, pool=None), plans.WinogradDensePlan),
    (Case(1, (3, 10, 8), filters=8, pool=None), plans.DensePlan),
    (Case(1, (9, 9, 7), filters=8, pool=None), plans.DensePlan),
    (Case(1, (9, 9, 8), filters=7, pool=None), plans.DensePlan),
    (Case(1, (9, 9, 8), (3, 2), filters=8, pool=None), plans.DensePlan),
    (Case(1, (9, 9, 8), filters=8, stride=(1, 2), pool=None), plans.DensePlan),
    (Case(1, (9, 9, 8), filters=8, pool=(3, 3)), plans.PooledPlan),
    (Case(1, (9, 9, 8), filters=8, pool_stride=(1, 1)), plans.PooledPlan),
]


@pytest.mark.parametrize(("case", "plan"), PLANS, ids=str)
def test_plan_selected_for_a_shape(case, plan):
    assert type(case.plan) is plan


def test_a_pool_window_with_256_positions_raises():
    with pytest.raises(ValueError, match="256 outputs; expected at most 254"):
        conv_plan((20, 20, 1), (3, 3), 2, pool=(16, 16))


# Each case compiles kernels of its own (0.3 to 2 s): one per plan and kernel, with full and with partial tiles.
FEW_TIES = [REAL[1], REAL[3], SPLIT[1], SPLIT[4], POOLS[3], POOLS[14], *WINOGRAD[2:6]]
TIES = """
from tests.backends.numba import test_numba_kernels as tests
from tinycnn.backends.numba.kernels.lanes import LANES

for case in tests.FEW_TIES:
    tests.check(case, *tests.draw(case, whole_numbers=True))
print(LANES, len(tests.FEW_TIES))
"""
# Compiling takes a third less time without LLVM's optimizations. Such kernels need a folder of their own, because the
# name of a kernel's file does not contain the level.
FAST_TO_COMPILE = {"NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(ROOT / ".pytest_cache" / "kernels")}


@pytest.mark.parametrize("lanes", ["8", "4"])
def test_every_lane_count_passes_the_tie_tests(lanes):
    environment = os.environ | {"TINYCNN_SIMD_LANES": lanes} | FAST_TO_COMPILE
    command = [sys.executable, "-W", "error", "-c", TIES]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == [lanes, str(len(FEW_TIES))]


WITHOUT_SIMD = """
import numpy as np
import tinycnn
from tinycnn import models, optim
from tinycnn.train import Trainer

images, labels = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1), dtype=np.uint8), np.arange(32) % 10
losses = {}
for backend in ("numpy", "numba"):
    with tinycnn.use_backend(backend):
        model = models.create("lenet")
        trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), batch_size=32)
        losses[backend] = [float(trainer.step(images, labels, np.arange(32))[0]) for _ in range(3)]
np.testing.assert_allclose(losses["numba"], losses["numpy"], rtol=1e-4)
assert losses["numba"][2] < losses["numba"][0]
print(sorted(tinycnn.backends.load_backend("numba").fused.names()))
"""


def test_without_simd_the_plain_kernels_train_the_same_network():
    environment = {**os.environ, "TINYCNN_SIMD_LANES": "0"}
    command = [sys.executable, "-c", WITHOUT_SIMD]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    names = "adam_all count_correct dropout end_step gradient_norm softmax_cross_entropy update_statistics"
    assert result.stdout.strip() == str(names.split())
