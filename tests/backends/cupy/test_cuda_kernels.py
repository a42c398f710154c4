"""CUDA kernels in the checked emulator: no access out of bounds, no race, the same bits in any order, right values.

Each launch runs in four orders of blocks and threads, with every memory access recorded (see ``cuda_emulator``).
"""

import numpy as np
import pytest

import tinycnn
from tests.layers.test_fusion import layers_again
from tests.support import cuda_emulator, fake_cupy
from tests.support.backends import EmulatedCupyBackend
from tinycnn import backends
from tinycnn.backends.cupy import launch as cupy_launch
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential
from tinycnn.testing import kernel_cases as kernels

pytestmark = pytest.mark.skipif(cuda_emulator.COMPILER is None, reason="no g++: apt install g++")


@pytest.fixture(scope="module")
def supervised():
    """The GPU backend with checked kernels."""
    fake_cupy.checked_kernels = True
    yield EmulatedCupyBackend()
    fake_cupy.checked_kernels = False


STRIDED = {"kernel_size": (2, 3), "stride": (3, 2), "padding": (1, 1)}


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("settings", [kernels.TWO, kernels.OVERLAPPING, STRIDED], ids=str)
def test_window_kernels_match_the_loops(supervised, settings, dtype):
    shape = (3, 7, 6, 5)
    kernels.check_im2col(supervised, kernels.normal(shape, dtype), **settings)
    cols = kernels.normal(kernels.cols_shape(shape, settings), dtype)
    kernels.check_col2im(supervised, cols, shape, **settings)
    x, grad_y = kernels.with_specials(shape, dtype), kernels.normal(kernels.pooled_shape(shape, settings), dtype)
    kernels.check_max_pool2d(supervised, x, **settings)
    kernels.check_max_pool2d_backward(supervised, grad_y, x, **settings)


def test_max_pool_windows_with_more_than_256_positions(supervised):
    settings = {"kernel_size": (17, 16), "stride": (1, 2), "padding": (0, 3)}
    x = kernels.normal((1, 18, 18, 2))
    kernels.check_max_pool2d(supervised, x, **settings)
    kernels.check_max_pool2d_backward(
        supervised, kernels.normal(kernels.pooled_shape(x.shape, settings)), x, **settings
    )


@pytest.mark.parametrize("dtype", kernels.DTYPES)
def test_gather_kernels_match_the_loops(supervised, dtype):
    images, indices = kernels.bytes_of((5, 9, 8, 3)), np.array([4, 0, 4, 2])
    kernels.check_gather_images(supervised, images, indices, 1 / 255, dtype)
    maps = np.array([list(kernels.MAPS.values())[i] for i in (3, 5, 2, 6)], np.float64)
    kernels.check_gather_warped(supervised, images, indices, maps, 1 / 255, dtype)
    bent = np.array([kernels.MAPS["bent by all waves"]] * 4, np.float64)
    kernels.check_gather_warped(supervised, images, indices, bent, 1 / 255, dtype)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("count", [1, 1023, 1024])
def test_dropout_mask_matches_the_loops(supervised, count, dtype):
    kernels.check_dropout_mask(supervised, (count,), 0.3, dtype, (2**63 - 1, 2**33 + 7))


# ----------------------------------------------------------------------------------------- fused: against plain NumPy


@pytest.fixture
def trained_supervised(supervised, monkeypatch):
    """The backend with checked kernels, active."""
    monkeypatch.setitem(backends._loaded, "cupy-emulated", supervised)
    with tinycnn.use_backend("cupy-emulated") as backend:
        yield backend


BLOCKS = {
    "conv, relu, pool": [Conv2d(5, 3, padding=1), ReLU(), MaxPool2d(2)],
    "wide, overlapping pool": [Conv2d(33, (3, 2), stride=(2, 1)), ReLU(), MaxPool2d(3, stride=2)],
    "conv alone": [Conv2d(18, 2)],
    "pool larger than a tile": [Conv2d(2, 2), ReLU(), MaxPool2d(9, stride=1)],
    "two convolutions": [Conv2d(20), ReLU(), Conv2d(3), ReLU()],
    "large windows": [Conv2d(4), ReLU(), MaxPool2d(4)],
    "dense": [Flatten(), Dense(70), ReLU(), Dense(3)],
    "conv, relu, norm, pool": [Conv2d(5), ReLU(), BatchNorm(), MaxPool2d(2)],
    "norm of many channels": [Conv2d(40, bias=False), BatchNorm()],
    "dropout": [Flatten(), Dropout(0.3), Dense(3), Dropout(0.2)],  # 9 elements, not a multiple of 4
}


@pytest.mark.parametrize("layers", BLOCKS.values(), ids=BLOCKS)
def test_blocks_train_as_numpy_in_float64(trained_supervised, layers):
    """Forward, backward and two steps of Adam give the weights that NumPy computes in float64."""
    check_block(layers, begin=False)


def check_block(layers, *, begin):
    results = []
    for name, dtype in (("cupy-emulated", np.float32), ("numpy", np.float64)):
        with tinycnn.use_backend(name):
            model = Sequential(*layers_again(layers), input_shape=(11, 12, 3), dtype=dtype)
            optimizer = tinycnn.optim.AdamW(model.parameters(), lr=0.01) if model.parameters() else None
            results.append(two_steps(model, optimizer, kernels.normal((2, 11, 12, 3), dtype), begin))
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=3e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("layers", [block for block in BLOCKS.values() if isinstance(block[0], Conv2d)], ids=str)
def test_first_blocks_train_without_an_input_gradient(trained_supervised, layers):
    """Without an input gradient, the weight gradient is computed without unpooling first."""
    check_block(layers, begin=True)


def two_steps(model, optimizer, x, begin):
    """Return the outputs and input gradients of two steps, then the weights."""
    to_host, seen = tinycnn.get_backend().to_host, []
    for step in range(2):
        tensor = tinycnn.Tensor(x, requires_grad=not begin)
        y = model(tensor)
        y.backward(kernels.normal(y.shape, x.dtype, seed=step))
        seen += [y.numpy(), *([] if begin else [to_host(tensor.grad)])]
        if optimizer:
            optimizer.step()
            model.zero_grad()
    return seen + list(model.state_dict().values())


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("smooth", [False, True], ids=["labels", "targets"])
@pytest.mark.parametrize("images", [1, 7, 300])
def test_loss_and_gradient_match_numpy(trained_supervised, images, smooth, dtype):
    logits, labels = 3 * kernels.normal((images, 10), dtype), np.arange(images) % 10
    targets = (np.eye(10, dtype=dtype)[labels] * 0.9 + 0.01).astype(dtype) if smooth else labels
    results = []
    for name in ("cupy-emulated", "numpy"):
        with tinycnn.use_backend(name) as backend:
            tensor = tinycnn.Tensor(logits, requires_grad=True)
            loss = tinycnn.ops.softmax_cross_entropy(tensor, targets)
            loss.backward()
            results.append((loss.numpy(), backend.to_host(tensor.grad)))
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=64 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", kernels.DTYPES)
@pytest.mark.parametrize("images", [1, 7, 300])
def test_correct_predictions_and_sums_of_a_step(supervised, images, dtype):
    """Also with equal logits, NaN and infinity; after the last row of the table, the next row is zeros."""
    logits = np.random.default_rng(0).integers(0, 3, (images, 10)).astype(dtype)
    logits[::3, 4], logits[::5, 7], logits[2::3, 2] = np.nan, np.nan, np.inf
    labels = np.random.default_rng(1).integers(0, 10, images)
    labels[::2] = logits.argmax(axis=1)[::2]
    there = [supervised.asarray(array) for array in (logits, labels)]
    wanted = (logits.argmax(axis=1) == labels).sum()
    assert supervised.fused.count_correct(*there).item() == wanted
    table = np.random.default_rng(2).integers(0, 256, (3, 8 * 300), np.uint8)
    sums = supervised.asarray(np.array(0.75)), supervised.asarray(np.array(5))
    for row, after in [(0, table[1]), (1, table[2]), (2, np.zeros_like(table[0]))]:
        here, number = supervised.asarray(np.zeros_like(table[0])), supervised.asarray(np.array([row]))
        loss = supervised.asarray(np.array(0.1, dtype))
        supervised.fused.end_step(loss, *there, sums, number, supervised.asarray(table), here)
        assert number.tolist() == [row + 1]
        np.testing.assert_array_equal(here.get(), after)
    loss_sum, product = 0.75, float(dtype(0.1)) * images
    for _ in range(3):
        loss_sum += product
    assert sums[0].item() == loss_sum
    assert sums[1].item() == 5 + 3 * wanted


def test_a_missing_barrier_before_the_row_counter_is_detected(supervised, monkeypatch):
    original = cupy_launch.source.__wrapped__
    barrier = "    __syncthreads();  // all have read which row it was\n"
    assert barrier in original("scores.cu")
    monkeypatch.setattr(cupy_launch, "source", lambda name: original(name).replace(barrier, ""))
    with pytest.raises(cuda_emulator.KernelError, match="race"):
        test_correct_predictions_and_sums_of_a_step(EmulatedCupyBackend(), 7, np.float32)


def test_adam_steps_more_parameters_than_fit_one_launch(trained_supervised):
    """Adam with weight decay on 40 parameters, against the formulas in NumPy."""
    results = []
    for name in ("cupy-emulated", "numpy"):
        with tinycnn.use_backend(name) as backend:
            parameters = [tinycnn.Tensor(kernels.normal((i % 5 + 1, 3), seed=i), requires_grad=True) for i in range(40)]
            optimizer = tinycnn.optim.Adam(parameters, lr=0.1, weight_decay=0.1)
            for step in range(3):
                for i, parameter in enumerate(parameters):
                    parameter.grad = backend.asarray(kernels.normal(parameter.shape, seed=100 * step + i))
                optimizer.step()
            results.append([parameter.numpy() for parameter in parameters])
    for ours, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-12, atol=1e-14)


PLANTED = [  # file, correct text, wrong text, block that detects the bug
    ("tile.cuh", "__syncthreads();  // the parts are complete", "", "dense"),
    ("tile.cuh", "__syncthreads();  // the parts are no longer needed", "", "dense"),
    ("tile.cuh", "k < end_k ?", "k <= end_k ?", "dense"),
    ("dense.cu", "first + row < N ?", "first + row <= N ?", "dense"),
    ("dense.cu", "n < N && input < in", "n <= N && input < in", "dense"),
    ("conv2d.cu", "    __syncthreads();\n", "", "wide, overlapping pool"),
    ("conv2d.cu", "h : NO_PIXEL", "h : h", "conv, relu, pool"),
    ("conv2d.cu", "place = p;", "place = 0;", "conv, relu, pool"),
    ("conv2d.cu", "? NOBODY :", "? place :", "conv, relu, pool"),
    ("conv2d_backward.cu", ": y[o] > 0)", ": true)", "two convolutions"),
    ("conv2d_backward.cu", "if (down || across ||", "if (", "wide, overlapping pool"),
    ("conv2d_backward.cu", "blockIdx.x == gridDim.x - 1", "blockIdx.x == gridDim.x", "conv alone"),
    ("tile.cuh", "    __syncthreads();  // the lanes are complete\n", "", "dense"),
    ("tile.cuh", "column0 + column >= columns", "column0 + column > columns", "dense"),
    ("dense.cu", "(tile - x_tiles - weight_tiles)", "(tile - x_tiles)", "dense"),
    (
        "lane_sums.cuh",
        "    __syncthreads();  // the previous sums have been read\n",
        "",
        "norm of many channels",
    ),
    ("batch_norm.cu", "i < end && c < C; i += 8) square", "i <= end && c < C; i += 8) square", "norm of many channels"),
    ("adam.cu", "of.g[t][own] + weight_decay", "of.g[t][own + 1] + weight_decay", "dense"),
    ("dropout.cu", "4 * (int)block + lane < count", "4 * (int)block + lane <= count", "dropout"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "block"), PLANTED, ids=lambda value: str(value)[:30].strip())
def test_a_planted_bug_is_detected(trained_supervised, monkeypatch, file, right, wrong, block):
    plant(monkeypatch, file, right, wrong)
    with pytest.raises(AssertionError):
        check_block(BLOCKS[block], begin=False)


POOLED = [  # bugs in reading a gradient before the pool, in a first block: correct text, wrong text, block
    ("(int)winner[o] == down * conv.pool.KW + across ? value", "(int)winner[o] != NOBODY ? value", "conv, relu, pool"),
    ("down * conv.pool.KW + across", "across * conv.pool.KW + down", "conv, relu, pool"),
    ("if (h >= conv.pool.OH || w >= conv.pool.OW) return 0;", "", "large windows"),
    ("+ w) * conv.F + f;", "+ w) * conv.F;", "large windows"),
    ("return !y || y[k * conv.F + f] > 0 ? grad", "return true ? grad", "two convolutions"),
]


@pytest.mark.parametrize(("right", "wrong", "block"), POOLED)
def test_a_planted_bug_in_a_first_block_is_detected(trained_supervised, monkeypatch, right, wrong, block):
    plant(monkeypatch, "conv2d_backward.cu", right, wrong)
    with pytest.raises(AssertionError):
        check_block(BLOCKS[block], begin=True)


def plant(monkeypatch, file, right, wrong):
    """Replace ``right`` with ``wrong`` in the kernels of ``file``, on a new backend that has not compiled any."""
    original = cupy_launch.source.__wrapped__

    def planted(name):
        text = original(name)
        return text.replace(right, wrong) if file.endswith(".cuh") or name == file else text

    assert right in (cupy_launch.CUDA_FOLDER / file).read_text(encoding="utf-8")
    monkeypatch.setattr(cupy_launch, "source", planted)
    monkeypatch.setitem(backends._loaded, "cupy-emulated", EmulatedCupyBackend())
