"""Every kernel of every backend against the loop oracle, and the oracle against SciPy and published numbers.

The same ``check_*`` functions that pass the backends must catch backends that lie (at the end of this file).
"""

import numpy as np
import pytest
from scipy.signal import correlate2d

import tinycnn
from tests.support.layouts import LAYOUTS
from tinycnn.backends import load_backend
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.backends.philox import philox4x32, random_bits
from tinycnn.testing.gradient_cases import window_settings
from tinycnn.testing.loop_backend import LoopBackend, philox

LOOPS = LoopBackend()
DTYPES = [np.float32, np.float64]
IMAGE = (2, 5, 6, 2)  # N, H, W, C
KERNELS = [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1), (1, 4)]
STRIDES = [(1, 1), (2, 2), (1, 2), (3, 2)]
SETTINGS = list(window_settings(KERNELS, STRIDES, [(0, 0), (1, 1), (0, 1)], IMAGE[1:3]))
POOLS = [s for s in SETTINGS if all(2 * pad <= size for pad, size in zip(s["padding"], s["kernel_size"], strict=True))]
TWO = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)}
OVERLAPPING = {"kernel_size": (3, 2), "stride": (1, 1), "padding": (1, 1)}


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def with_ties(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(dtype)


def with_specials(shape, dtype=np.float64, seed=0):
    """NaN, both infinities, both zeros and a few numbers, all many times."""
    return np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0], shape).astype(dtype)


# ---------------------------------------------------------------------------------------------------------- comparing


def run_kernel(backend, kernel, arrays, *settings):
    """The result on the host, once it is sure that inputs are unchanged and that a second run gives the same bits."""
    before = [array.copy() for array in arrays]
    inputs = [backend.asarray(array) for array in arrays]
    results = []
    for _ in range(2):
        result = getattr(backend, kernel)(*inputs, *settings)
        result = result if isinstance(result, tuple) else (result,)
        assert all(backend.owns(array) and array.flags.c_contiguous for array in result), "not a C-contiguous result"
        results.append([backend.to_host(array) for array in result])
    for array, ours in zip(before, inputs, strict=True):
        np.testing.assert_array_equal(backend.to_host(ours), array, err_msg="an input was changed")
    for first, second in zip(*results, strict=True):
        assert first.tobytes() == second.tobytes(), "two runs differ"
    return results[0] if len(results[0]) > 1 else results[0][0]


def assert_same(ours, wanted, tolerance=0.0):
    """Same shape, dtype and values; sums may be taken in another order: ``tolerance`` in units of the last place."""
    assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
    limit = tolerance * np.finfo(ours.dtype).eps
    np.testing.assert_allclose(ours, wanted, rtol=limit, atol=limit)


def check_im2col(backend, x, kernel_size, stride, padding):
    wanted = LOOPS.im2col(x, kernel_size, stride, padding)
    assert_same(run_kernel(backend, "im2col", [x], kernel_size, stride, padding), wanted)


def check_col2im(backend, cols, x_shape, kernel_size, stride, padding):
    wanted = LOOPS.col2im(cols, x_shape, kernel_size, stride, padding)
    assert_same(run_kernel(backend, "col2im", [cols], x_shape, kernel_size, stride, padding), wanted, tolerance=16)


def check_max_pool2d(backend, x, kernel_size, stride, padding):
    y, winner = run_kernel(backend, "max_pool2d", [x], kernel_size, stride, padding)
    wanted_y, wanted_winner = LOOPS.max_pool2d(x, kernel_size, stride, padding)
    assert_same(y, wanted_y)
    np.testing.assert_array_equal(winner, wanted_winner)


def check_max_pool2d_backward(backend, grad_y, x, kernel_size, stride, padding):
    """Backward takes the winners that the backend's own forward has found."""
    _, winner = run_kernel(backend, "max_pool2d", [x], kernel_size, stride, padding)
    settings = x.shape, kernel_size, stride, padding
    wanted = LOOPS.max_pool2d_backward(grad_y, winner, *settings)
    assert_same(run_kernel(backend, "max_pool2d_backward", [grad_y, winner], *settings), wanted, tolerance=16)


def check_gather_images(backend, images, indices, scale, dtype):
    wanted = LOOPS.gather_images(images, indices, scale, np.dtype(dtype))
    assert_same(run_kernel(backend, "gather_images", [images, indices], scale, np.dtype(dtype)), wanted, tolerance=1)


def check_gather_warped(backend, images, indices, maps, scale, dtype):
    """Places are computed in ``dtype``: an error of the last place there is one of up to 255 * scale in a pixel."""
    wanted = LOOPS.gather_warped(images, indices, maps, scale, np.dtype(dtype))
    ours = run_kernel(backend, "gather_warped", [images, indices, maps], scale, np.dtype(dtype))
    assert_same(ours / dtype(255 * scale), wanted / dtype(255 * scale), tolerance=64)


def check_dropout_mask(backend, shape, p, dtype, key):
    wanted = LOOPS.dropout_mask(shape, p, np.dtype(dtype), key)
    assert_same(run_kernel(backend, "dropout_mask", [], shape, p, np.dtype(dtype), key), wanted)


def cols_shape(x_shape, settings):
    return LOOPS.im2col(np.zeros(x_shape), **settings).shape


def pooled_shape(x_shape, settings):
    return LOOPS.max_pool2d(np.zeros(x_shape), **settings)[0].shape


# ------------------------------------------------------------------------------------------------ settings and dtypes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
class TestWindows:
    def test_im2col(self, backend, settings, dtype):
        check_im2col(backend, normal(IMAGE, dtype), **settings)

    def test_col2im(self, backend, settings, dtype):
        check_col2im(backend, normal(cols_shape(IMAGE, settings), dtype), IMAGE, **settings)

    def test_col2im_is_the_transpose_of_im2col(self, backend, settings, dtype):
        x, cols = normal(IMAGE, dtype), normal(cols_shape(IMAGE, settings), dtype, seed=1)
        there = run_kernel(backend, "im2col", [x], *settings.values())
        back = run_kernel(backend, "col2im", [cols], x.shape, *settings.values())
        assert np.vdot(there, cols) == pytest.approx(np.vdot(x, back), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [normal, with_ties, with_specials])
@pytest.mark.parametrize("settings", POOLS, ids=str)
def test_max_pool2d(backend, settings, draw, dtype):
    x = draw(IMAGE, dtype)
    check_max_pool2d(backend, x, **settings)
    check_max_pool2d_backward(backend, normal(pooled_shape(IMAGE, settings), dtype), x, **settings)


@pytest.mark.parametrize("settings", [TWO, OVERLAPPING], ids=["apart", "overlapping"])
@pytest.mark.parametrize("N", [0, 1, 3])
@pytest.mark.parametrize(("H", "W", "C"), [(3, 3, 1), (2, 7, 1), (5, 4, 3), (4, 4, 17)])
def test_sizes_that_do_not_come_out_even(backend, N, H, W, C, settings):
    for dtype in DTYPES:
        x = with_ties((N, H, W, C), dtype)
        check_im2col(backend, x, **settings)
        check_col2im(backend, normal(cols_shape(x.shape, settings), dtype), x.shape, **settings)
        check_max_pool2d(backend, x, **settings)
        check_max_pool2d_backward(backend, normal(pooled_shape(x.shape, settings), dtype), x, **settings)


@pytest.mark.parametrize("value", [0.0, -np.inf, np.inf, np.nan, -1.0])
def test_all_pixels_equal_and_padding_never_wins(backend, value):
    one_sided = OVERLAPPING | {"padding": (1, 0)}, OVERLAPPING | {"padding": (0, 1)}
    for settings in (TWO, OVERLAPPING, *one_sided):
        x = np.full(IMAGE, value)
        check_max_pool2d(backend, x, **settings)
        check_max_pool2d_backward(backend, normal(pooled_shape(IMAGE, settings)), x, **settings)
        grad_y = np.ones(pooled_shape(IMAGE, settings))
        _, winner = run_kernel(backend, "max_pool2d", [x], *settings.values())
        grad_x = run_kernel(backend, "max_pool2d_backward", [grad_y, winner], IMAGE, *settings.values())
        assert grad_x.sum() == grad_y.sum()


@pytest.mark.parametrize("kernel_size", [(17, 16), (1, 257)], ids=str)
def test_windows_with_more_places_than_a_byte_counts(backend, kernel_size):
    settings = {"kernel_size": kernel_size, "stride": (1, 1), "padding": (0, 0)}
    x = np.arange(2.0 * 18 * 258).reshape(1, 18, 258, 2)  # the last place wins
    check_max_pool2d(backend, x, **settings)
    check_max_pool2d_backward(backend, normal(pooled_shape(x.shape, settings)), x, **settings)


def test_padding_wider_than_two_pixels(backend):
    settings = {"kernel_size": (7, 8), "stride": (2, 3), "padding": (3, 4)}
    x, pooled = normal(IMAGE), pooled_shape(IMAGE, settings)
    check_im2col(backend, x, **settings)
    check_col2im(backend, normal(cols_shape(IMAGE, settings)), IMAGE, **settings)
    check_max_pool2d(backend, x, **settings)
    check_max_pool2d_backward(backend, normal(pooled), x, **settings)


def test_many_images_are_cut_into_parts_without_a_seam(backend):
    """Large enough that a backend with threads uses several of them."""
    x = with_ties((64, 16, 16, 8), np.float32)
    numpy, settings = load_backend("numpy"), ((2, 2), (2, 2), (0, 0))
    y, winner = run_kernel(backend, "max_pool2d", [x], *settings)
    np.testing.assert_array_equal((y, winner), numpy.max_pool2d(x, *settings))
    cols = run_kernel(backend, "im2col", [x], (3, 3), (1, 1), (1, 1))
    np.testing.assert_array_equal(cols, numpy.im2col(x, (3, 3), (1, 1), (1, 1)))
    np.testing.assert_array_equal(
        run_kernel(backend, "col2im", [cols], x.shape, (3, 3), (1, 1), (1, 1)),
        numpy.col2im(cols, x.shape, (3, 3), (1, 1), (1, 1)),  # whole numbers: exact in any order
    )


# ------------------------------------------------------------------------------------------------------ memory layouts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_memory_layout(backend, layout, dtype):
    for settings in (TWO, OVERLAPPING):
        x = layout(with_ties(IMAGE, dtype))
        check_im2col(backend, x, **settings)
        check_col2im(backend, layout(normal(cols_shape(IMAGE, settings), dtype)), IMAGE, **settings)
        check_max_pool2d(backend, x, **settings)
        check_max_pool2d_backward(backend, layout(normal(pooled_shape(IMAGE, settings), dtype)), x, **settings)


# ------------------------------------------------------------------------------------------------------------- images


def bytes_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("indices", [[], [0], [4, 0, 4, 2, 1]], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
@pytest.mark.parametrize("shape", [(5, 3, 4, 1), (5, 2, 2, 3)], ids=str)
def test_gather_images(backend, shape, scale, indices, dtype):
    check_gather_images(backend, bytes_of(shape), np.array(indices, np.int64), scale, dtype)


@pytest.mark.parametrize("layout", ["C", "Fortran", "strided", "reversed", "read-only"])
def test_gather_images_from_any_layout(backend, layout):
    check_gather_images(backend, LAYOUTS[layout](bytes_of((5, 3, 4, 2))), np.array([3, 3, 0]), 1 / 255, np.float32)


IDENTITY = [[1, 0, 0], [0, 1, 0]]
MAPS = {
    "identity": IDENTITY,
    "shift by whole pixels": [[1, 0, 1], [0, 1, -2]],
    "shift by half a pixel": [[1, 0, 0.5], [0, 1, -0.25]],
    "quarter turn": [[0, -1, 0], [1, 0, 0]],
    "shrink": [[1.5, 0, 0], [0, 1.25, 0]],
    "turn, shear and shift": [[0.9, -0.3, 0.7], [0.4, 1.1, -1.3]],
    "far below": [[1, 0, 100], [0, 1, 0]],
    "far above": [[1, 0, -100], [0, 1, 0]],
    "far right": [[1, 0, 0], [0, 1, 100]],
    "far left": [[1, 0, 0], [0, 1, -100]],
    "bent by waves": [[1, 0, 0.2, 0.7, -0.4, 0, 0.3], [0, 0.9, 0, -0.5, 0.2, 0.1, 0.6]],
    "bent by all waves": np.random.default_rng(0).normal(0, 0.3, (2, 18)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("warp", MAPS.values(), ids=MAPS)
def test_gather_warped(backend, warp, dtype):
    indices = np.array([4, 0, 4])
    warp = np.array(warp, np.float64)
    maps = np.stack([warp, np.eye(*warp.shape), warp])  # the second leaves its image as it is
    for shape in [(5, 5, 4, 1), (5, 3, 6, 2)]:
        check_gather_warped(backend, bytes_of(shape), indices, maps, 1 / 255, dtype)


def test_gather_warped_without_a_warp_gathers(backend):
    images, indices, maps = bytes_of((5, 4, 4, 1)), np.array([2, 1]), np.array([IDENTITY, IDENTITY], np.float64)
    ours = run_kernel(backend, "gather_warped", [images, indices, maps], 1.0, np.dtype(np.float32))
    np.testing.assert_array_equal(ours, images[indices])


# ------------------------------------------------------------------------------------------------------------ dropout

# From Random123's file of known answers for philox4x32 with 10 rounds: counter, key, result.
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", [(0, 0), (1, 0), (0, 1), (2**63 - 1, 2**33 + 7)], ids=str)
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (3, 5), (2, 3, 2, 2)], ids=str)
def test_dropout_mask(backend, shape, p, key, dtype):
    check_dropout_mask(backend, shape, p, dtype, key)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_mask_drops_the_fraction_p(backend, p):
    mask = run_kernel(backend, "dropout_mask", [], (200, 500), p, np.dtype(np.float64), (3, 4))
    dropped = (mask == 0).mean()
    assert dropped == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / mask.size))
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - p)])
    assert np.abs(np.corrcoef(mask[:100].ravel(), mask[100:].ravel())[0, 1]) < 0.03


def test_dropout_mask_keeps_a_word_at_the_threshold(backend):
    first = int(random_bits(1, 3, 4)[0])
    for p, kept in ((first / 2**32, True), ((first + 1) / 2**32, False)):
        assert bool(run_kernel(backend, "dropout_mask", [], (1,), p, np.dtype(np.float64), (3, 4))[0]) == kept


def test_dropout_mask_with_p_0_keeps_everything(backend):
    assert (run_kernel(backend, "dropout_mask", [], (50,), 0.0, np.dtype(np.float32), (0, 0)) == 1).all()


def test_dropout_masks_of_different_keys_differ(backend):
    keys = [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (1, 1)]
    masks = [run_kernel(backend, "dropout_mask", [], (64,), 0.5, np.dtype(np.float32), key).tobytes() for key in keys]
    assert len(set(masks)) == len(keys)


# ----------------------------------------------------------------------------------------------- is the oracle right?


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_oracle_convolution_is_scipys(settings):
    x, weight = normal(IMAGE), normal((*settings["kernel_size"], IMAGE[3], 3), seed=1)
    grid = pooled_shape(IMAGE, settings)[1:3]
    ours = (LOOPS.im2col(x, **settings) @ weight.reshape(-1, 3)).reshape(len(x), *grid, 3)
    (PH, PW), (SH, SW) = settings["padding"], settings["stride"]
    padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)))
    for n, f in np.ndindex(len(x), 3):
        planes = (correlate2d(padded[n, :, :, c], weight[:, :, c, f], mode="valid") for c in range(IMAGE[3]))
        np.testing.assert_allclose(ours[n, :, :, f], sum(planes)[::SH, ::SW], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_oracle_col2im_is_the_transposed_matrix_of_im2col(settings):
    shape = (1, *IMAGE[1:3], 1)
    size = shape[1] * shape[2]
    matrix = np.stack([LOOPS.im2col(pixel.reshape(shape), **settings).ravel() for pixel in np.eye(size)])
    cols = normal(cols_shape(shape, settings))
    np.testing.assert_allclose(LOOPS.col2im(cols, shape, **settings).ravel(), matrix @ cols.ravel(), atol=1e-12)


def test_oracle_max_pool_on_paper():
    nan, inf = np.nan, np.inf
    x = np.array([[5, 5, -inf, -inf], [1, 5, -inf, -inf], [nan, 9, 1, 2], [nan, inf, 4, 3]]).reshape(1, 4, 4, 1)
    y, winner = LOOPS.max_pool2d(x, (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y.ravel(), [5, -inf, nan, 4])
    assert winner.ravel().tolist() == [0, 0, 0, 2]
    y, winner = LOOPS.max_pool2d(x, (2, 2), (4, 4), (1, 1))  # each window sees one corner pixel, and padding
    np.testing.assert_array_equal(y.ravel(), [5, -inf, nan, 3])
    assert winner.ravel().tolist() == [3, 2, 1, 0]


# ------------------------------------------------------------------------------------------ do the comparisons notice?


class NoPadding(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        cols = super().im2col(x, kernel_size, stride, padding)
        cols[cols == 0] = x.flat[0]  # the border repeats a pixel
        return cols


class AxesSwapped(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        KH, KW = kernel_size
        cols = super().im2col(x, kernel_size, stride, padding).reshape(-1, KH, KW, x.shape[3])
        return cols.transpose(0, 2, 1, 3).reshape(len(cols), -1)


class NotContiguous(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        return np.asfortranarray(super().im2col(x, kernel_size, stride, padding))


class Upcast(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        return super().im2col(x, kernel_size, stride, padding).astype(np.float64)


class LostAccumulation(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        ones = np.ones_like(cols)
        counts = super().col2im(ones, x_shape, kernel_size, stride, padding)
        return super().col2im(cols, x_shape, kernel_size, stride, padding) / np.maximum(counts, 1)


class BorderForgotten(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        x = super().col2im(cols, x_shape, kernel_size, stride, padding)
        x[:, -1, -1] = 0
        return x


class LastTieWins(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        KH, KW = kernel_size
        y, winner = super().max_pool2d(x[:, ::-1, ::-1], kernel_size, stride, padding)
        return np.ascontiguousarray(y[:, ::-1, ::-1]), np.ascontiguousarray(KH * KW - 1 - winner[:, ::-1, ::-1])


class ZeroPadding(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        PH, PW = padding
        padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)))
        return super().max_pool2d(padded, kernel_size, stride, (0, 0))


class NanLoses(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        return super().max_pool2d(np.where(np.isnan(x), -np.inf, x), kernel_size, stride, padding)


class GradientToTheFirst(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, *settings):
        return super().max_pool2d_backward(grad_y, np.zeros_like(winner), *settings)


class ChangesItsInput(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, *settings):
        grad_x = super().max_pool2d_backward(grad_y, winner, *settings)
        grad_y *= 2
        return grad_x


class NextImage(NumpyBackend):
    def gather_images(self, images, indices, scale, dtype):
        return super().gather_images(images, (indices + 1) % len(images), scale, dtype)


class NearestPixel(NumpyBackend):
    def gather_warped(self, images, indices, maps, scale, dtype):
        return super().gather_warped(images, indices, np.round(maps), scale, dtype)


class NotScaledUp(NumpyBackend):
    def dropout_mask(self, shape, p, dtype, key):
        return super().dropout_mask(shape, p, dtype, key) * dtype.type(1 - p)


class StepIgnored(NumpyBackend):
    def dropout_mask(self, shape, p, dtype, key):
        return super().dropout_mask(shape, p, dtype, (key[0], 0))


class NotRepeatable(NumpyBackend):
    calls = 0

    def dropout_mask(self, shape, p, dtype, key):
        self.calls += 1
        return super().dropout_mask(shape, p, dtype, (key[0], key[1] + self.calls - 1))


def lie_about_im2col(backend):
    check_im2col(backend, normal(IMAGE, np.float32), **OVERLAPPING)


def lie_about_col2im(backend):
    check_col2im(backend, normal(cols_shape(IMAGE, OVERLAPPING)), IMAGE, **OVERLAPPING)


def lie_about_max_pool2d(draw):
    def check(backend):
        check_max_pool2d(backend, draw(IMAGE), **OVERLAPPING)

    return check


def lie_about_backward(backend):
    check_max_pool2d_backward(backend, normal(pooled_shape(IMAGE, TWO)), normal(IMAGE), **TWO)


def lie_about_gather(backend):
    check_gather_images(backend, bytes_of((5, 3, 4, 1)), np.array([0, 2]), 1.0, np.float32)


def lie_about_warp(backend):
    maps = np.array([MAPS["shift by half a pixel"]] * 2)
    check_gather_warped(backend, bytes_of((5, 3, 4, 1)), np.array([0, 2]), maps, 1.0, np.float32)


def lie_about_dropout(backend):
    check_dropout_mask(backend, (20,), 0.3, np.float64, (1, 2))


LIES = [
    (NoPadding, lie_about_im2col),
    (AxesSwapped, lie_about_im2col),
    (NotContiguous, lie_about_im2col),
    (Upcast, lie_about_im2col),
    (LostAccumulation, lie_about_col2im),
    (BorderForgotten, lie_about_col2im),
    (LastTieWins, lie_about_max_pool2d(with_ties)),
    (ZeroPadding, lie_about_max_pool2d(normal)),
    (NanLoses, lie_about_max_pool2d(with_specials)),
    (GradientToTheFirst, lie_about_backward),
    (ChangesItsInput, lie_about_backward),
    (NextImage, lie_about_gather),
    (NearestPixel, lie_about_warp),
    (NotScaledUp, lie_about_dropout),
    (StepIgnored, lie_about_dropout),
    (NotRepeatable, lie_about_dropout),
]


@pytest.mark.parametrize(("liar", "check"), LIES, ids=lambda value: getattr(value, "__name__", ""))
def test_comparison_catches_a_lying_backend(liar, check):
    check(NumpyBackend())
    with pytest.raises(AssertionError):
        check(liar())


def test_the_oracle_can_be_chosen_like_any_backend():
    with tinycnn.use_backend("loops") as backend:
        assert isinstance(backend, LoopBackend)
        y = tinycnn.ops.max_pool2d(tinycnn.Tensor(np.arange(16.0).reshape(1, 4, 4, 1)))
    assert y.data.ravel().tolist() == [5, 7, 13, 15]
