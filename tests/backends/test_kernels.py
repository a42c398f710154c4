"""Every kernel case on every backend against the loop oracle, and the oracle against SciPy and published numbers.

The cases are those of ``tinycnn/testing/kernel_cases.py``. ``tests/testing/test_check_backend.py`` shows that they find
wrong kernels.
"""

from operator import attrgetter

import numpy as np
import pytest
from scipy.signal import correlate2d

import tinycnn
from tests.support.batches import Batch, batches
from tinycnn.backends import load_backend
from tinycnn.backends.philox import philox4x32, random_bits
from tinycnn.testing.fused_cases import CASES as FUSED_CASES
from tinycnn.testing.kernel_cases import (
    CASES,
    IDENTITY,
    IMAGE,
    OVERLAPPING,
    SETTINGS,
    TWO,
    bytes_of,
    cols_shape,
    normal,
    pooled_shape,
    with_ties,
)
from tinycnn.testing.kernel_checks import run_kernel
from tinycnn.testing.long_sums import CASES as LONG_SUMS
from tinycnn.testing.loop_backend import LoopBackend, philox

LOOPS = LoopBackend()


BY_KERNEL = attrgetter("kernel")


@pytest.mark.parametrize("batch", batches(CASES, BY_KERNEL), ids=str)
def test_kernel(backend, batch: Batch):
    batch.check(lambda case: case.check(backend))


FUSED_VIEWS = [case for case in FUSED_CASES if " view" in case.label]
SOME = FUSED_CASES[::7]  # test_fusion.py runs the kernels in networks, except these:
OTHERS = [case for case in FUSED_CASES if case.kernel.startswith("depthwise") or case.kernel.endswith("inference")]
FUSED_CASES_HERE = dict.fromkeys([*FUSED_VIEWS, *SOME, *OTHERS, *LONG_SUMS])


@pytest.mark.parametrize("batch", batches(FUSED_CASES_HERE, BY_KERNEL), ids=str)
@pytest.mark.parametrize("backend", ["numba", "cupy", "cupy-emulated"], indirect=True)
def test_fused_kernel(backend, batch: Batch):
    if getattr(backend.fused, batch.key) is None:
        pytest.skip(f"backend {backend.name!r} has no {batch.key}")
    batch.check(lambda case: case.check(backend))


def only_result(backend, kernel, arrays, *settings):
    (result,) = run_kernel(backend, kernel, arrays, *settings)
    return result


# ---------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("value", [0.0, -np.inf, np.inf, np.nan, -1.0])
def test_padding_takes_no_gradient(backend, value):
    for settings in (TWO, OVERLAPPING, OVERLAPPING | {"padding": (1, 0)}, OVERLAPPING | {"padding": (0, 1)}):
        grad_y = np.ones(pooled_shape(IMAGE, settings))
        _, winner = run_kernel(backend, "max_pool2d", [np.full(IMAGE, value)], *settings.values())
        grad_x = only_result(backend, "max_pool2d_backward", [grad_y, winner], IMAGE, *settings.values())
        assert grad_x.sum() == grad_y.sum()


def test_a_large_batch_split_into_parts_matches_the_reference(backend):
    """The batch is large enough for a backend with threads to use several."""
    x = with_ties((64, 16, 16, 8), np.float32)
    numpy, settings = load_backend("numpy"), ((2, 2), (2, 2), (0, 0))
    y, winner = run_kernel(backend, "max_pool2d", [x], *settings)
    np.testing.assert_array_equal((y, winner), numpy.max_pool2d(x, *settings))
    cols = only_result(backend, "im2col", [x], (3, 3), (1, 1), (1, 1))
    np.testing.assert_array_equal(cols, numpy.im2col(x, (3, 3), (1, 1), (1, 1)))
    np.testing.assert_array_equal(
        only_result(backend, "col2im", [cols], x.shape, (3, 3), (1, 1), (1, 1)),
        numpy.col2im(cols, x.shape, (3, 3), (1, 1), (1, 1)),  # whole numbers: exact in any order
    )


def test_gather_warped_with_identity_maps_equals_gather_images(backend):
    images, indices, maps = bytes_of((5, 4, 4, 1)), np.array([2, 1]), np.array([IDENTITY, IDENTITY], np.float64)
    ours = only_result(backend, "gather_warped", [images, indices, maps], 1.0, np.dtype(np.float32))
    np.testing.assert_array_equal(ours, images[indices])


# ------------------------------------------------------------------------------------------------------------ dropout

# Random123's known-answer tests for philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, wanted):
    assert philox(counter, key) == wanted
    words = philox4x32(tuple(np.array([c], np.uint64) for c in counter), key)
    assert tuple(int(word[0]) for word in words) == wanted


def test_random_bits_are_the_lanes_of_consecutive_counters():
    seed, step = 2**63 - 5, 2**40 + 3
    wanted = [philox((i // 4, 0, step % 2**32, step >> 32), (seed % 2**32, seed >> 32))[i % 4] for i in range(11)]
    assert random_bits(11, seed, step).tolist() == wanted


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_mask_drops_the_fraction_p(backend, p):
    mask = only_result(backend, "dropout_mask", [], (200, 500), p, np.dtype(np.float64), (3, 4))
    dropped = (mask == 0).mean()
    assert dropped == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / mask.size))
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - p)])
    assert np.abs(np.corrcoef(mask[:100].ravel(), mask[100:].ravel())[0, 1]) < 0.03


def test_dropout_mask_keeps_a_word_at_the_threshold(backend):
    first = int(random_bits(1, 3, 4)[0])
    for p, kept in ((first / 2**32, True), ((first + 1) / 2**32, False)):
        assert bool(only_result(backend, "dropout_mask", [], (1,), p, np.dtype(np.float64), (3, 4))[0]) == kept


def test_dropout_mask_with_p_0_keeps_everything(backend):
    assert (only_result(backend, "dropout_mask", [], (50,), 0.0, np.dtype(np.float32), (0, 0)) == 1).all()


def test_dropout_masks_of_different_keys_differ(backend):
    keys = [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (1, 1)]
    masks = [only_result(backend, "dropout_mask", [], (64,), 0.5, np.dtype(np.float32), key).tobytes() for key in keys]
    assert len(set(masks)) == len(keys)


# ---------------------------------------------------------------------------------------------------------- the oracle


WINDOWS = batches(SETTINGS, lambda settings: "windows")


@pytest.mark.parametrize("batch", WINDOWS, ids=str)
def test_oracle_convolution_matches_scipy(batch: Batch):
    batch.check(check_oracle_convolution)


def check_oracle_convolution(settings):
    x, weight = normal(IMAGE), normal((*settings["kernel_size"], IMAGE[3], 3), seed=1)
    grid = pooled_shape(IMAGE, settings)[1:3]
    ours = (LOOPS.im2col(x, **settings) @ weight.reshape(-1, 3)).reshape(len(x), *grid, 3)
    (PH, PW), (SH, SW) = settings["padding"], settings["stride"]
    padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)))
    for n, f in np.ndindex(len(x), 3):
        planes = (correlate2d(padded[n, :, :, c], weight[:, :, c, f], mode="valid") for c in range(IMAGE[3]))
        np.testing.assert_allclose(ours[n, :, :, f], sum(planes)[::SH, ::SW], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", WINDOWS, ids=str)
def test_oracle_col2im_is_the_transposed_matrix_of_im2col(batch: Batch):
    batch.check(check_oracle_col2im)


def check_oracle_col2im(settings):
    shape = (1, *IMAGE[1:3], 1)
    size = shape[1] * shape[2]
    matrix = np.stack([LOOPS.im2col(pixel.reshape(shape), **settings).ravel() for pixel in np.eye(size)])
    cols = normal(cols_shape(shape, settings))
    np.testing.assert_allclose(LOOPS.col2im(cols, shape, **settings).ravel(), matrix @ cols.ravel(), atol=1e-12)


def test_oracle_max_pool_matches_values_worked_out_by_hand():
    nan, inf = np.nan, np.inf
    x = np.array([[5, 5, -inf, -inf], [1, 5, -inf, -inf], [nan, 9, 1, 2], [nan, inf, 4, 3]]).reshape(1, 4, 4, 1)
    y, winner = LOOPS.max_pool2d(x, (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y.ravel(), [5, -inf, nan, 4])
    assert winner.ravel().tolist() == [0, 0, 0, 2]
    y, winner = LOOPS.max_pool2d(x, (2, 2), (4, 4), (1, 1))  # each window sees one corner pixel, and padding
    np.testing.assert_array_equal(y.ravel(), [5, -inf, nan, 3])
    assert winner.ravel().tolist() == [3, 2, 1, 0]


# ----------------------------------------------------------------------------------------------------------- the cases


def test_case_names_are_unique():
    assert len({str(case) for case in CASES}) == len(CASES)


def test_every_kernel_of_the_contract_has_cases():
    kernels = set(LoopBackend.__abstractmethods__ or tinycnn.backends.base.Backend.__abstractmethods__)
    checked_elsewhere = {"owns", "to_host"}  # by the transfer cases
    assert kernels - checked_elsewhere | {"sum", "mean"} == {case.kernel for case in CASES}


def test_the_oracle_can_be_chosen_like_any_backend():
    with tinycnn.use_backend("loops") as backend:
        assert isinstance(backend, LoopBackend)
        y = tinycnn.ops.max_pool2d(tinycnn.Tensor(np.arange(16.0).reshape(1, 4, 4, 1)))
    assert y.data.ravel().tolist() == [5, 7, 13, 15]
