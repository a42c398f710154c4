"""A run that averages its weights: what is validated and saved, resumed runs, and rates assigned in the middle."""

import numpy as np
import pytest

from tests.train.test_trainer import make_trainer, sides
from tinycnn.backends import use_backend
from tinycnn.errors import SettingError
from tinycnn.optim import WeightAverage
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped
from tinycnn.train.divergence import Snapshot, TrainingDivergedError
from tinycnn.train.evaluation import evaluate
from tinycnn.train.history import Progress

DATA, VALIDATION = sides(48), sides(20, seed=1)


def weights_of(trainer):
    return {name: array.tobytes() for name, array in trainer.model.state_dict().items()}


def by_hand(decay, epochs):
    """The averages after each epoch, made outside of the trainer, which trains on from its own weights."""
    trainer, found = make_trainer(), []
    average = WeightAverage(trainer.model, decay)

    def after_step(progress):
        average.update()

    for _ in trainer.epochs(*DATA, epochs=epochs, progress=after_step):
        with average.applied():
            found.append((weights_of(trainer), evaluate(trainer.model, *VALIDATION).loss))
    return found


@pytest.mark.usefixtures("backend")
def test_the_network_has_the_averages_when_it_is_validated_and_in_the_end():
    trainer, seen = make_trainer(average_weights=0.8), []
    for result in trainer.epochs(*DATA, epochs=2, validation=VALIDATION):
        seen.append((weights_of(trainer), result.validation_loss))
    assert seen == by_hand(0.8, 2)
    assert weights_of(trainer) == seen[-1][0]
    own = make_trainer()
    own.fit(*DATA, epochs=2)
    with trainer.average.applied(False):
        assert weights_of(trainer) == weights_of(own)
    saved = trainer.state_dict()["model"]
    assert {name: array.tobytes() for name, array in saved.items()} == weights_of(own)
    assert trainer.average.in_network
    trainer.fit(*DATA, epochs=3)  # goes on from its own weights
    assert weights_of(trainer) == by_hand(0.8, 3)[-1][0]


def test_a_step_trains_from_the_weights_of_the_network():
    """Also a single step after the run, when the network has the averages."""
    trainer, own = make_trainer(average_weights=0.8), make_trainer()
    for one in (trainer, own):
        one.fit(*DATA, epochs=1)
        one.step(*DATA, np.arange(16), epoch=2)
    assert weights_of(trainer) == weights_of(own)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_a_stopped_run_goes_on_to_the_bit(tmp_path, steps):
    """Stopped in the middle of an epoch, and between two of them; 3 steps are an epoch."""
    whole = make_trainer(average_weights=0.8)
    whole.fit(*DATA, epochs=2)
    stopped = make_trainer(average_weights=0.8)
    with pytest.raises(TrainingStopped):
        stopped.fit(
            *DATA, epochs=2, checkpoints=Checkpoints(tmp_path), stop=lambda: stopped.optimizer.step_count >= steps
        )
    assert stopped.average.in_network
    for settings, words in (
        ({}, r"average of weights 0\.8 there, None here"),
        ({"average_weights": 0.9}, r"average of weights 0\.8 there, 0\.9 here"),
    ):
        with pytest.raises(SettingError, match=words):
            make_trainer(**settings).fit(*DATA, epochs=2, checkpoints=Checkpoints(tmp_path, resume=True))
    resumed = make_trainer(average_weights=0.8)
    resumed.fit(*DATA, epochs=2, checkpoints=Checkpoints(tmp_path, resume=True))
    assert weights_of(resumed) == weights_of(whole)
    assert resumed.average.count == whole.average.count == 6


def test_a_complete_run_is_resumed_with_the_averages(tmp_path):
    trainer = make_trainer(average_weights=0.8)
    trainer.fit(*DATA, epochs=1, checkpoints=Checkpoints(tmp_path, at_end=True))
    again = make_trainer(average_weights=0.8)
    again.fit(*DATA, epochs=1, checkpoints=Checkpoints(tmp_path, resume=True))
    assert weights_of(again) == weights_of(trainer)


def test_states_with_and_without_an_average():
    plain, averaged = make_trainer(), make_trainer(average_weights=0.8)
    with pytest.raises(SettingError, match="contains no average of the weights: see `average_weights`"):
        averaged.load_state_dict(plain.state_dict())
    with pytest.raises(SettingError, match="contains an average of the weights"):
        plain.load_state_dict(averaged.state_dict())


def test_before_the_first_step_there_is_no_average():
    """Weights that were loaded after the trainer was made stay."""
    trainer = make_trainer(average_weights=0.8)
    trainer.model.load_state_dict(make_trainer(seed=3).model.state_dict())
    trainer.fit(*DATA, epochs=0)
    assert weights_of(trainer) == weights_of(make_trainer(seed=3))


def test_a_snapshot_restores_the_average():
    trainer = make_trainer(average_weights=0.8)
    trainer.fit(*DATA, epochs=1)
    trainer.average.take_out()
    snapshot, before = Snapshot(trainer.training_step, Progress(1, 1)), trainer.average.state_dict()
    trainer.fit(*DATA, epochs=2)
    trainer.average.take_out()
    snapshot.restore()
    after = trainer.average.state_dict()
    assert (after["count"], [a.tobytes() for a in after["arrays"]]) == (3, [a.tobytes() for a in before["arrays"]])


def test_a_diverged_run_keeps_finite_averages():
    trainer = make_trainer(average_weights=0.8, lr=1e30)
    with pytest.raises(TrainingDivergedError):
        trainer.fit(*DATA, epochs=1)
    assert all(np.isfinite(array).all() for array in trainer.model.state_dict().values())


@pytest.mark.parametrize("epochs", [1, 3])
def test_recorded_steps_are_averaged_to_the_bit(epochs):
    """5 batches of 10 images make an epoch, the last of 8: one is recorded, one compared, the others are replayed."""
    found = {}
    with use_backend("numba"):
        for capture in (True, False):
            trainer = make_trainer(average_weights=0.8, batch_size=10, capture=capture)
            trainer.fit(*DATA, epochs=epochs)
            assert not trainer.why_eager
            assert bool(trainer.capture.steps) == capture
            assert trainer.average.count == 5 * epochs
            with trainer.average.applied(False):
                found[capture] = weights_of(trainer), [array.tobytes() for array in trainer.average.arrays]
    assert found[True] == found[False]


def test_a_rate_assigned_between_two_epochs_is_resumed(tmp_path):
    def run(epochs, trainer, assign=True, **settings):
        checkpoints = Checkpoints(tmp_path, every=100, **settings) if settings else None
        for result in trainer.epochs(*DATA, epochs=epochs, checkpoints=checkpoints):
            if result.epoch == 1 and assign:
                trainer.optimizer.learning_rate = 0.003
        return trainer

    whole = run(3, make_trainer())
    run(2, make_trainer(), resume=False)
    resumed = run(3, make_trainer(), assign=False, resume=True)
    assert resumed.optimizer.learning_rate == 0.003
    assert weights_of(resumed) == weights_of(whole)
    assert weights_of(whole) != weights_of(run(3, make_trainer(), assign=False))
