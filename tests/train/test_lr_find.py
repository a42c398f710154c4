"""The learning-rate finder: rates that grow by a factor, the losses of these steps, and an unchanged trainer."""

import numpy as np
import pytest

from tests.support.thread_ranks import on_ranks
from tests.train.test_long_runs import bits
from tests.train.test_trainer import make_trainer, sides
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.optim import SGD, Adam, ParameterGroups, one_cycle
from tinycnn.train.lr_find import SMOOTHING, find_learning_rate
from tinycnn.train.trainer import Trainer

EXAMPLES = sides(50)


def test_the_rates_grow_by_a_factor_and_the_trainer_is_unchanged():
    trainer, before = make_trainer(), bits(make_trainer())
    sweep = find_learning_rate(trainer, *EXAMPLES, lowest=1e-5, highest=1e-2, steps=13)
    np.testing.assert_allclose(sweep.rates, np.logspace(-5, -2, 13))
    assert bits(trainer) == before


@pytest.mark.parametrize("schedule", [None, one_cycle(40)])
def test_the_losses_are_those_of_steps_with_these_rates(schedule):
    """The first is that of the untrained network; the rates are exact, whatever the schedule of the optimizer."""
    trainer, twin = make_trainer(schedule=schedule), make_trainer()
    sweep = find_learning_rate(trainer, *EXAMPLES, lowest=1e-4, highest=1e-2, steps=10)
    twin.model.train()
    losses, average = [], []
    for n, rate in enumerate(sweep.rates):
        epoch, step = n // 4 + 1, n % 4
        chosen = twin.sampler.order(EXAMPLES[0], epoch)[16 * step : 16 * step + 16]
        twin.optimizer.learning_rate = rate
        losses.append(float(twin.step(*EXAMPLES, chosen, epoch)[0]))
        weights = SMOOTHING ** np.arange(n, -1, -1)
        average.append((weights * losses).sum() / weights.sum())
    np.testing.assert_allclose(sweep.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(sweep.smoothed, average, rtol=1e-5)


def test_the_suggestion_is_where_most_of_the_fall_is_done():
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    trainer = Trainer(model, SGD(model.parameters()), batch_size=50)
    sweep = find_learning_rate(trainer, *EXAMPLES, steps=60)
    first, lowest = sweep.losses[0], sweep.losses.min()  # without noise: every step takes all images
    done = (first - sweep.losses) / (first - lowest)
    assert 1e-4 < sweep.suggestion < 10
    assert 0.7 < done[np.searchsorted(sweep.rates, sweep.suggestion)] < 0.95


def test_the_sweep_ends_when_the_loss_explodes():
    model = Sequential(Flatten(), Dense(2), input_shape=(8, 8, 1))
    groups = ParameterGroups(SGD(model.parameters()[:1]), Adam(model.parameters()[1:]))
    sweep = find_learning_rate(Trainer(model, groups, batch_size=50), *EXAMPLES, lowest=1e-3, highest=1e38, steps=90)
    assert len(sweep.rates) == len(sweep.losses) == len(sweep.smoothed) < 60
    assert np.isfinite(sweep.losses).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lowest": 0}, "`lowest=0`: expected a number above 0"),
        ({"lowest": 1, "highest": 1}, "`highest=1`: expected a number above 1"),
        ({"steps": 3}, "`steps=3`: expected an integer, at least 10"),
    ],
)
def test_wrong_sweeps_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        find_learning_rate(make_trainer(), *EXAMPLES, **settings)


def test_other_data_and_several_ranks_are_refused():
    with pytest.raises(DataError, match="the network takes"):
        find_learning_rate(make_trainer(), EXAMPLES[0][:, 1:], EXAMPLES[1])
    with pytest.raises(SettingError, match="single process"):
        on_ranks(2, lambda rank: find_learning_rate(make_trainer(), *EXAMPLES))
