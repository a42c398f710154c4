"""How the Numba backend splits its work: this changes speed and memory, but no result."""

import copy
import dataclasses
import functools
import math

import numpy as np
import pytest

import tinycnn
from tinycnn import Tensor
from tinycnn.backends.numba.conv import blocks, make_conv
from tinycnn.backends.numba.fused import adam_all
from tinycnn.backends.numba.kernels import batch_norm, conv_dense, packing, winograd, winograd_backward
from tinycnn.backends.numba.kernels.geometry import ConvGeometry
from tinycnn.backends.numba.kernels.lanes import LANES, MAX_ACCUMULATORS, WIDTH
from tinycnn.backends.numba.norm import Source, image_parts, norm_backward, norm_forward, norm_grad_x
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential

pytestmark = pytest.mark.skipif(not LANES, reason="TINYCNN_SIMD_LANES=0: nothing is fused")


def conv_of(images, kernel, filters, **settings):
    """A convolution of zeros, not computed yet."""
    weight = np.zeros((*kernel, images[3], filters), np.float32)
    settings = {"stride": (1, 1), "padding": (0, 0), "relu": True, "pool": None, "need_grad_x": True} | settings
    return make_conv(np.zeros(images, np.float32), weight, np.zeros(filters, np.float32), **settings)


@pytest.mark.parametrize(("filters", "counted"), [(20, 20), (17, 17), (16, 16), (15, 16), (1, 16)])
def test_operation_count_per_image(filters, counted):
    """A multiplication and an addition per weight and output; few filters count as a full SIMD register."""
    conv = conv_of((2, 9, 8, 3), (3, 2), filters, stride=(2, 1), padding=(1, 0))
    assert conv.y.shape == (2, 5, 7, filters)
    assert conv.flops == 2 * 5 * 7 * (3 * 2 * 3) * counted


@pytest.mark.parametrize("vectors", range(1, 17))
def test_tiles_compute_at_most_one_vector_of_filters_too_many(vectors):
    """Six vectors of filters are two tiles of three: two tiles of four would compute a third more."""
    geometry = ConvGeometry((9, 9, 8), (3, 3), vectors * WIDTH)
    computed = geometry.blocks * geometry.columns
    assert vectors <= computed <= vectors + vectors % 2
    if MAX_ACCUMULATORS > 12 and vectors % 3 == 0:
        assert computed == vectors


@pytest.mark.parametrize("outputs", [(11, 11), (3, 3), (6, 5), (5, 2), (4, 4)], ids=str)
def test_winograd_takes_three_products_for_a_single_output(outputs):
    """And four for two, in each direction: 529 for 11x11 outputs. Every output is computed once."""
    (OH, OW), images, together = outputs, 5, 4
    tiling = winograd.output_tiles(ConvGeometry((OH + 2, OW + 2, 8), (3, 3), 16))
    total = images * len(tiling.patches)
    some = [
        winograd.needed.py_func(product, first, min(together, total - first), images, tiling.kinds)
        for product in range(16)
        for first in range(0, total, together)
    ]
    along = [(length // 2) * 4 + (length % 2) * 3 for length in outputs]
    assert sum(max(end - begin, 0) for begin, end in some) == images * along[0] * along[1]
    kept = tiling.targets[tiling.keep == 1]
    np.testing.assert_array_equal(np.sort(kept), np.arange(OH * OW) * 16)


def test_winograd_takes_the_tiles_of_each_image_once():
    tiling, images = winograd.output_tiles(ConvGeometry((9, 6, 8), (3, 3), 16)), 3
    places = [winograd.tile_at.py_func(i, images, tiling.kinds) for i in range(images * len(tiling.patches))]
    assert sorted(places) == [(n, t) for n in range(images) for t in range(len(tiling.patches))]


@pytest.mark.parametrize("size", [(3, 3), (6, 5), (7, 9)], ids=str)
@pytest.mark.parametrize(("channels", "filters"), [(24, 20), (9, 70)])
def test_groups_of_tiles_do_not_change_a_bit(size, channels, filters):
    """Also where the last group is not full; outputs that the transformations make NaN are computed again."""
    rng, images, (OH, OW) = np.random.default_rng(0), 11, size
    x = rng.normal(size=(images, OH + 2, OW + 2, channels)).astype(np.float32)
    x[1, 1, 1, 0], x[3, 2, 1, 2] = np.nan, np.inf
    grad_y = rng.normal(size=(images, OH, OW, filters)).astype(np.float32)
    weight = rng.normal(size=(3, 3, channels, filters)).astype(np.float32)
    settings = {"relu": False, "pool": None, "need_grad_x": True}
    conv = make_conv(x, weight, np.zeros(filters, np.float32), (1, 1), (0, 0), **settings)
    plan, results = copy.copy(conv.plan), []
    assert plan.groups == 1
    for plan.groups in (1, 2, 6):
        y, grad_x = np.full_like(conv.y, 7), np.full_like(x, 7)
        plan.forward(x, conv.packed, y, conv.winner, 0, images, False)
        plan.grad_x(conv.packed, grad_y, conv.winner, grad_x, 0, images)
        results.append((y.tobytes(), grad_x.tobytes()))
    assert results[1:] == results[:1] * 2
    with np.errstate(invalid="ignore"):
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2)).astype(np.float64)
        expected = np.einsum("nhwckl,klcf->nhwf", windows, weight)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def test_only_filters_that_leave_the_cache_are_read_by_several_groups():
    """1 MiB of transformed filters stays: 64 to 256 channels."""
    for channels, filters, groups in ((8, 16, 1), (64, 256, 1), (96, 192, 6), (256, 256, 6)):
        assert winograd.groups(ConvGeometry((9, 9, channels), (3, 3), filters)) == groups


@pytest.mark.parametrize("size", [(3, 3), (7, 9)], ids=str)
def test_parts_of_the_channels_do_not_change_a_bit(size):
    rng, images, (OH, OW), channels, filters = np.random.default_rng(0), 11, size, 6 * LANES, 20
    x = rng.normal(size=(images, OH + 2, OW + 2, channels)).astype(np.float32)
    grad_y = rng.normal(size=(images, OH, OW, filters)).astype(np.float32)
    conv = conv_of(x.shape, (3, 3), filters, relu=False)
    plan, results = copy.copy(conv.plan), []
    assert plan.channels_at_a_time == channels
    for plan.channels_at_a_time in (channels, 3 * LANES, 2 * LANES, LANES):
        plan.grad_weight_tile = winograd_backward.grad_weight_tile(plan.geometry, plan.channels_at_a_time)
        weight_parts, bias_parts = plan.new_parts(1)
        weight_parts[...], bias_parts[...] = 1, 2
        plan.grad_weight(x, grad_y, conv.winner, weight_parts[0], bias_parts[0], 0, images)
        results.append((weight_parts.tobytes(), bias_parts.tobytes()))
    assert results[1:] == results[:1] * 3
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2)).astype(np.float64)
    expected = 1 + np.einsum("nhwckl,nhwf->klcf", windows, grad_y).reshape(-1, filters)
    np.testing.assert_allclose(weight_parts[0, :, :filters], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(LANES != 16, reason="the numbers are those of 16 lanes")
def test_only_sums_that_leave_the_cache_take_the_channels_in_parts():
    """1 MiB of sums stays. 272 channels are 17 vectors, and parts of one vector would be too small."""
    for channels, filters, some in (
        (24, 48, 24), (64, 256, 64), (96, 192, 48), (256, 256, 64), (200, 256, 200), (272, 144, 272), (128, 1024, 16),
        (64, 4096, 16),
    ):  # fmt: skip
        assert winograd_backward.channels_at_a_time(ConvGeometry((9, 9, channels), (3, 3), filters)) == some


def test_a_sum_of_weight_gradients_takes_enough_tiles():
    """512 tiles, where there are as many images; other plans take what fits the cache."""
    for size, images in ((31, 2), (15, 8), (7, 32), (3, 128)):
        assert conv_of((2, size + 2, size + 2, 16), (3, 3), 16).plan.least_images == images
    assert conv_of((2, 9, 9, 16), (2, 2), 16).plan.least_images == 1
    taken = slices_taken(conv_of((64, 17, 17, 8), (3, 3), 256))  # gradients of two images fit the cache
    assert {some.stop - some.start for some in taken} == {8}


@pytest.mark.parametrize(("start", "stop", "size", "sizes"), [
    (0, 10, 10, [10]), (3, 14, 10, [5, 6]), (0, 62, 10, [8] + [9] * 6), (2, 5, 1, [1, 1, 1]), (4, 4, 3, []),
])  # fmt: skip
def test_blocks_of_images_differ_little_in_size(start, stop, size, sizes):
    slices = blocks(start, stop, size)
    assert [one.stop - one.start for one in slices] == sizes
    assert [i for one in slices for i in range(one.start, one.stop)] == list(range(start, stop))


def test_large_filters_have_the_gradients_of_the_definition():
    """So large that several groups of tiles take each of them."""
    shape, filters = (3, 5, 5, 136), 144
    rng = np.random.default_rng(1)
    x, weight, bias = rng.normal(size=shape), rng.normal(size=(3, 3, shape[3], filters)) / 40, rng.normal(size=filters)
    grad_y = rng.normal(size=(*shape[:3], filters))
    assert winograd.groups(ConvGeometry((7, 7, shape[3]), (3, 3), filters)) > 1
    found = []
    for dtype, backend in ((np.float32, "numba"), (np.float64, "numpy")):
        with tinycnn.use_backend(backend):
            tensor = Tensor(x.astype(dtype), requires_grad=True)
            model = Sequential(Conv2d(filters, padding=1), input_shape=shape[1:], dtype=dtype)
            for parameter, values in zip(model.parameters(), (weight, bias), strict=True):
                parameter.data_to_change()[...] = values
            y = model(tensor)
            y.backward(grad_y.astype(dtype))
            found.append([y.numpy(), tensor.grad, *(parameter.grad for parameter in model.parameters())])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("filters", [6, 16, 32, 48, 64, 100])
def test_few_outputs_of_a_convolution_are_computed_twice(filters):
    """The last tile overlaps the one before. Tiles of more than eight outputs would need too many registers."""
    for size in (7, 11, 26):
        rows = len(conv_dense.forward_tile(ConvGeometry((size + 2, size + 2, 3), (3, 3), filters)))
        assert rows <= 8
        assert -(-(size * size) // rows) * rows < 1.1 * size * size


def test_only_a_pool_allocates_winners():
    assert conv_of((3, 6, 6, 1), (3, 3), 2).winner.nbytes == 0
    assert conv_of((3, 6, 6, 1), (3, 3), 2, pool=((2, 2), (2, 2))).winner.nbytes == 3 * 2 * 2 * 2


def slices_taken(conv):
    """The images of each call for a part of the gradients."""
    taken = []

    def grad_of(some):
        taken.append(some)
        return np.zeros_like(conv.y[some])

    conv.gradients(grad_of, True, True)
    return taken


@pytest.mark.parametrize("size", [28, 80], ids=["several images fit", "one is too large"])
def test_backward_processes_as_many_images_as_fit_the_cache(size):
    conv = conv_of((48, size, size, 1), (3, 3), 32)
    taken = slices_taken(conv)
    assert sorted(i for some in taken for i in range(some.start, some.stop)) == list(range(48))
    most, bytes_of_one = max(some.stop - some.start for some in taken), conv.y[0].nbytes
    assert most == 1 or most * bytes_of_one <= 512 << 10
    assert (most + 1) * bytes_of_one > 512 << 10


@pytest.mark.parametrize("shape", [(128, 26, 26, 32), (64, 13, 13, 64), (128, 10, 40, 8)], ids=str)
def test_batch_norm_parts_fit_the_cache_and_are_not_too_small(shape):
    sizes = [(stop - start) * math.prod(shape[1:]) * 4 for start, stop in image_parts(shape)]
    assert sum(sizes) == math.prod(shape) * 4
    assert 200 << 10 < max(sizes) < 512 << 10


def test_adam_steps_a_large_parameter_like_small_ones():
    """One parameter large enough for several threads, compared with the same numbers as many small parameters."""
    size, rng = 600_000, np.random.default_rng(0)
    arrays = [np.abs(rng.normal(size=size)).astype(np.float32) for _ in "pgmv"]
    whole, pieces = [array.copy() for array in arrays], [array.copy() for array in arrays]
    settings = (0.01, 1.5), 0.9, 0.999, 1e-7, 0.0
    adam_all([tuple(whole)], *settings)
    adam_all([tuple(piece[i : i + 1000] for piece in pieces) for i in range(0, size, 1000)], *settings)
    for before, ours, expected in zip(arrays, whole, pieces, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
        assert (ours != before).any() == (before is not arrays[1])  # all but the gradient move
    assert (whole[0] != arrays[0]).mean() > 0.99


@pytest.mark.parametrize(
    ("gamma", "beta"),
    [(0.15, 1), (0.15, -1), (0.15, 1e2), (0.15, -1e4), (-0.15, 1e4), (30, 1e4), (0.01, 1), (0, 0)],
)
def test_a_large_beta_does_not_reduce_the_precision_of_gamma_gradients(gamma, beta):
    """``x̂`` is recovered from ``y = gamma x̂ + beta`` only if beta did not round it away in any channel."""
    rng = np.random.default_rng(3)
    x, grad_y = rng.normal(size=(2, 4, 12, 12, 2)).astype(np.float32)
    gammas, betas = np.array([[1, gamma], [0, beta]], np.float32)
    _, mean, var, norm = norm_forward(x, gammas, betas, None, None, eps=1e-3, pool=((1, 1), (1, 1)))
    _, grad_gamma, _ = norm_backward(norm, gammas, grad_y, need_grad_x=False, need_grad_gamma=True)
    x_hat = (x.astype(np.float64) - mean) / np.sqrt(var.astype(np.float64) + 1e-3)
    sizes = np.abs(grad_y * x_hat).sum(axis=(0, 1, 2))
    assert (np.abs(grad_gamma - (grad_y * x_hat).sum(axis=(0, 1, 2))) < 2e-7 * sizes).all()


def test_batch_norm_computes_the_gamma_gradient_from_pooled_values():
    """The input, four times as many bytes, is not read again."""
    x, gamma, beta = np.ones((2, 4, 4, 3), np.float32), np.array([1, -0.5, 0.2], np.float32), np.ones(3, np.float32)
    y, _, _, norm = norm_forward(x, gamma, beta, None, None, eps=1e-3, pool=((2, 2), (2, 2)))
    unread = np.full_like(x, np.nan)
    norm = norm._replace(source=Source(x.shape, unread.__getitem__, unread.__getitem__))
    gradients = norm_backward(norm, gamma, np.ones_like(y), need_grad_x=False, need_grad_gamma=True)
    assert np.isfinite(gradients[1]).all()
    assert gradients[2].tolist() == [8, 8, 8]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("channels", "pool"), [(32, 2), (5, 2), (5, 1), (48, 1), (3, 3)])
def test_windows_side_by_side_get_the_gradients_of_any_windows(channels, pool, relu):
    """The same bits from both kernels, also for pixels that lie in no window, and after a ReLU that was off."""
    rng = np.random.default_rng(4)
    x = np.maximum(rng.normal(size=(3, 9, 7, channels)), 0 if relu else -9).astype(np.float32)
    gamma, beta = rng.normal(size=(2, channels)).astype(np.float32)
    y, _, _, norm = norm_forward(x, gamma, beta, None, None, eps=1e-3, pool=((pool, pool), (pool, pool)))
    grad_y = rng.normal(size=y.shape).astype(np.float32)
    factors = tuple(rng.normal(size=(3, channels)).astype(np.float32))
    one, other = np.full_like(x, 7), np.full_like(x, 7)
    norm_grad_x(norm, grad_y, factors, slice(3), relu, one)
    batch_norm.grad_x_of_any_windows(x, grad_y, norm.winner, norm.mean, factors, norm.window, relu, other)
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (3, 20), (4, 7)])
def test_partial_sums_of_patches_are_added_in_order(start, stop):
    """All filters or some, more than fill a cache line, with runs shorter than those of the parts."""
    rng = np.random.default_rng(5)
    parts, total = rng.normal(size=(3, 20, 2, 16)).astype(np.float32), np.zeros((2, 5, 20), np.float32)
    packing.add_patch_parts(parts, total, start, stop)
    expected = ((parts[0] + parts[1]) + parts[2])[:, :, :5].transpose(1, 2, 0)
    assert total[:, :, start:stop].tolist() == expected[:, :, start:stop].tolist()
    assert not total[:, :, :start].any()
    assert not total[:, :, stop:].any()


def test_predictions_use_the_kernels_without_gradients(monkeypatch):
    model = Sequential(Conv2d(3), ReLU(), MaxPool2d(), Flatten(), Dense(20), input_shape=(6, 6, 1))
    called, images = [], np.ones((12, 6, 6, 1), np.float32)
    with tinycnn.use_backend("numba") as backend:
        fused = backend.fused

        def noted(name, *arrays, **settings):
            called.append(name)
            return getattr(fused, name)(*arrays, **settings)

        kernels = {name: functools.partial(noted, name) for name in ("conv_inference", "dense_inference")}
        monkeypatch.setattr(backend, "fused", dataclasses.replace(fused, **kernels))
        trained = model(images)
        assert not called
        with tinycnn.no_grad():
            np.testing.assert_allclose(model(images).numpy(), trained.numpy(), rtol=1e-5, atol=1e-6)
    assert called == ["conv_inference", "dense_inference"]
