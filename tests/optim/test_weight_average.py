"""The moving average of weights: its formula, the exchange with the network, and its state."""

import numpy as np
import pytest

from tinycnn.backends import get_backend
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import BatchNorm, Dense, Sequential
from tinycnn.layers.state import arrays_by_name
from tinycnn.optim import WeightAverage


def network():
    return Sequential(Dense(3), BatchNorm(), input_shape=(2,), seed=0)


def arrays_of(model):
    return [get_backend().to_host(array).copy() for array in arrays_by_name(model).values()]


def change(model, seed):
    """New values for all parameters and buffers, as a training step makes them; returns them."""
    rng = np.random.default_rng(seed)
    state = {name: rng.normal(size=array.shape).astype(array.dtype) for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    return list(state.values())


@pytest.mark.usefixtures("backend")
def test_the_average_is_the_weighted_mean():
    """``Σ d^(t-k) p_k / Σ d^(t-k)`` in float64; running statistics are averaged, too."""
    model = network()
    average, history = WeightAverage(model, 0.7), []
    for step in range(5):
        history.append(change(model, step))
        average.update()
        factors = 0.7 ** np.arange(step, -1, -1)
        with average.applied():
            for i, array in enumerate(arrays_of(model)):
                values = np.stack([arrays[i] for arrays in history]).astype(np.float64)
                expected = np.tensordot(factors / factors.sum(), values, axes=1)
                np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)
        assert all(map(np.array_equal, arrays_of(model), history[-1]))  # bit for bit
    assert len(history[0]) == 6  # weight, bias, gamma, beta, running mean and variance


def test_averages_stay_until_they_are_taken_out():
    model = network()
    average = WeightAverage(model, 0.5)
    own = change(model, 1)
    average.update()
    change(model, 2)
    average.update()
    average.put_in()
    average.put_in()
    averaged = arrays_of(model)
    with average.applied(False):
        assert not np.array_equal(arrays_of(model)[0], averaged[0])
        with average.applied():
            assert np.array_equal(arrays_of(model)[0], averaged[0])
    assert np.array_equal(arrays_of(model)[0], averaged[0])
    np.testing.assert_allclose(averaged[0], (own[0] + 2 * change(network(), 2)[0]) / 3, rtol=1e-6)
    average.take_out()
    average.take_out()
    assert np.array_equal(arrays_of(model)[0], change(network(), 2)[0])
    average.put_in()
    average.update()  # takes them out first: the network has its own weights while it is trained
    assert not average.in_network


@pytest.mark.usefixtures("backend")
def test_a_state_continues_to_the_bit():
    models = network(), network()
    averages = [WeightAverage(model, 0.9) for model in models]
    for step in range(3):
        change(models[0], step)
        averages[0].update()
    averages[0].put_in()
    change(models[1], 7)
    averages[1].update()
    averages[1].put_in()  # a state may be loaded while the network has the averages
    averages[1].load_state_dict(averages[0].state_dict())
    assert all(map(np.array_equal, arrays_of(models[0]), arrays_of(models[1])))
    for average, model in zip(averages, models, strict=True):
        average.take_out()
        change(model, 9)
        average.update()
        average.put_in()
    assert all(map(np.array_equal, arrays_of(models[0]), arrays_of(models[1])))


def test_states_and_settings_that_are_refused():
    average = WeightAverage(network())
    state = average.state_dict()
    for strange in (None, {}, {"count": 1, "arrays": 3}, {"count": -1, "arrays": []}):
        with pytest.raises(SettingError, match=r"expected the state of an average|count=-1"):
            average.load_state_dict(strange)
    with pytest.raises(ShapeError, match="another network"):
        average.load_state_dict(state | {"arrays": state["arrays"][:-1]})
    for decay in (1, -0.1, "0.9"):
        with pytest.raises(SettingError, match="decay="):
            WeightAverage(network(), decay)
