"""Initial weights: variance and limits of the papers, and values that depend only on the seed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycnn.errors import SettingError
from tinycnn.initializers import INITIALIZERS, fans, get, glorot_uniform, he_normal, he_uniform, zeros

SHAPES = [(300, 200), (5, 3, 40, 60)]


def draw(init, shape, seed=0):
    return init(shape, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("shape", "fan_in", "fan_out"), [((7, 4), 7, 4), ((3, 3, 1, 32), 9, 288), ((5, 2, 16, 8), 160, 80)]
)
def test_fans(shape, fan_in, fan_out):
    assert fans(shape) == (fan_in, fan_out)


def variance_of(name, shape):
    fan_in, fan_out = math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]
    return 2 / (fan_in + fan_out) if name == "glorot_uniform" else 2 / fan_in


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "he_uniform"])
def test_mean_and_variance(name, shape):
    values, variance = draw(get(name), shape), variance_of(name, shape)
    assert values.shape == shape
    assert values.dtype == np.float64
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)  # five standard deviations of the mean
    # The relative standard deviation of a sample variance is √(2/n) for a normal distribution, less for a uniform one.
    assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / values.size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform"])
def test_a_uniform_distribution_fills_its_limits(name, shape):
    values, limit = draw(get(name), shape), math.sqrt(3 * variance_of(name, shape))
    assert np.abs(values).max() <= limit
    assert values.max() > 0.99 * limit
    assert values.min() < -0.99 * limit


def test_a_normal_distribution_has_tails():
    values = draw(he_normal, SHAPES[0]) / math.sqrt(2 / 300)
    share = (np.abs(values) > 2).mean()
    assert share == pytest.approx(0.0455, abs=0.005)  # of a normal distribution outside two standard deviations


def test_zeros():
    assert not zeros((3, 4)).any()
    assert zeros((3, 4), np.random.default_rng(0)).shape == (3, 4)


@pytest.mark.parametrize("init", [glorot_uniform, he_normal, he_uniform])
def test_values_depend_on_the_generator(init):
    assert np.array_equal(draw(init, (4, 5), seed=1), draw(init, (4, 5), seed=1))
    assert not np.array_equal(draw(init, (4, 5), seed=1), draw(init, (4, 5), seed=2))
    rng = np.random.default_rng(1)
    assert not np.array_equal(init((4, 5), rng), init((4, 5), rng))  # the next layer gets other weights


@settings(deadline=None)
@given(shape=st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple), name=st.sampled_from(list(INITIALIZERS)))
def test_every_shape_gets_finite_values(shape, name):
    values = draw(get(name), shape)
    assert values.shape == shape
    assert np.isfinite(values).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingError, match="unknown initializer 'magic': choose one of glorot_uniform, he_normal"):
        get("magic")
