"""Which rate a sweep suggests: synthetic losses over the logarithm of the rate, with the noise of batches."""

import numpy as np
import pytest

from tinycnn.train.rate_choice import AT_THE_FIRST, AT_THE_LAST, NO_FALL, TOO_HIGH, choose_rate


def sweep(curve, noise=0.0, steps=200, seed=0):
    """What `choose_rate` makes of ``curve(log10 of the rate)`` with rates from 1e-6 to 10."""
    rates = np.geomspace(1e-6, 10, steps)
    noises = noise * np.random.default_rng(seed).standard_normal(steps)
    return choose_rate(rates, curve(np.log10(rates)) + noises)


def real(x):
    """Nothing happens, a fall from 2.3 to 0.5 around 1e-3, four fifths of it until 2.2e-3; from 0.1 on a rise."""
    return 2.3 - 1.8 / (1 + np.exp(-4 * (x + 3))) + 3 * np.maximum(x + 1, 0)


@pytest.mark.parametrize(("noise", "steps"), [(0.0, 40), (0.1, 40), (0.1, 60), (0.0, 200), (0.1, 200), (0.3, 200)])
def test_the_end_of_the_fall_is_found_in_spite_of_noise(noise, steps):
    for seed in range(20):
        rate, advice = sweep(real, noise, steps, seed)
        assert advice == ""
        assert 2.2e-3 / 3 < rate < 2.2e-3 * 3


def test_a_long_fall_counts_to_its_end():
    """With batch norm the loss falls fastest at 1e-4, and slowly until 1e-2: nearly the whole fall is to be used."""
    rate, _ = sweep(lambda x: 3.5 - 1.5 / (1 + np.exp(-8 * (x + 4))) - 0.75 * np.clip(x + 4, 0, 2), noise=0.03)
    assert 1e-3 < rate < 5e-3  # 2.1e-3 without noise


def test_a_noisy_start_is_not_a_fall():
    """The first losses happen to be high: a moving average falls there faster than anywhere else."""
    rates = np.geomspace(1e-6, 10, 200)
    losses = real(np.log10(rates)) + 0.05 * np.random.default_rng(0).standard_normal(200)
    losses[:3] += 0.6, 0.4, 0.3
    rate, _ = choose_rate(rates, losses)
    assert 2.2e-3 / 3 < rate < 2.2e-3 * 3


def test_the_recovery_from_an_explosion_is_not_a_fall():
    """The loss falls at 1e-3, jumps to 9 at 0.3, and falls from there faster than before."""
    rate, _ = sweep(lambda x: real(np.minimum(x, -1)) + 8 * np.exp(-((4 * (x + 0.5)) ** 2)), noise=0.05)
    assert 2.2e-3 / 3 < rate < 2.2e-3 * 3
    assert sweep(lambda x: 2.3 + 8 * np.exp(-((4 * (x + 0.5)) ** 2)), noise=0.05) == (None, NO_FALL)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize(
    ("curve", "advice"),
    [
        (lambda x: 2.3 + 0 * x, NO_FALL),
        (lambda x: 2.3 - 0.01 * (x > -3), NO_FALL),
        (lambda x: 2.3 + np.maximum(x + 4, 0) ** 2, TOO_HIGH),
        (lambda x: 2.3 * 3 ** (x + 6), TOO_HIGH),
        (lambda x: 2.3 - 0.8 * np.maximum(x + 1, 0), AT_THE_LAST),
        (lambda x: 2.3 - 0.005 * (x + 6) ** 3, AT_THE_LAST),
        (lambda x: 2.3 * np.exp(-(x + 6)), AT_THE_FIRST),
    ],
)
def test_flat_rising_and_cut_off_curves_get_advice(curve, advice, noise):
    assert [sweep(curve, noise, seed=seed) for seed in range(10)] == [(None, advice)] * 10


def test_a_sweep_of_a_few_steps_has_no_suggestion():
    assert choose_rate(np.geomspace(1e-2, 1, 5), np.array([2.0, 1.5, 1.0, 0.5, 0.1])) == (None, TOO_HIGH)


@pytest.mark.parametrize("steps", [60, 200])
def test_in_strong_noise_a_rate_is_refused_rather_than_guessed(steps):
    """A slow fall by 1, between 1e-4 and 1e-2, in noise of 0.6: of 40 sweeps, hardly one suggests another rate."""
    found = [sweep(lambda x: 2.3 - 1 / (1 + np.exp(-3 * (x + 3))), 0.6, steps, seed)[0] for seed in range(40)]
    assert sum(rate is not None and not 1e-4 < rate < 1e-2 for rate in found) <= 2
    assert None in found
