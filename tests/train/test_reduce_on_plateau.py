"""The callback that reduces the learning rate: in a run, in a resumed one, with a schedule and with groups."""

import pytest

from tests.train.test_long_runs import after, bits
from tests.train.test_trainer import make_trainer, sides
from tinycnn.errors import SettingError
from tinycnn.optim import SGD, Adam, ParameterGroups, step_decay
from tinycnn.train import ReduceOnPlateau
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped


def fit(trainer, callback, epochs=6, **settings):
    trainer.fit(*sides(50), epochs=epochs, validation=sides(20, 1), callbacks=[callback], **settings)
    return trainer


def reduced(**settings):
    """Nearly every epoch is one without progress: a new best has to be 100 times better."""
    return ReduceOnPlateau(1, factor=0.5, threshold=0.99, **settings)


def test_the_rate_falls_after_the_epochs_of_the_patience():
    trainer = fit(make_trainer(lr=1e-4), reduced(lowest=3e-5))
    assert trainer.history.column("learning_rate") == [1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 3e-5]
    assert trainer.optimizer.learning_rate == 3e-5
    assert fit(make_trainer(lr=1e-4), reduced(monitor="validation_accuracy")).optimizer.learning_rate == 2.5e-5


def test_a_schedule_goes_on_in_proportion():
    """Four steps are an epoch: half the rate after two epochs by the schedule, after three by the callback."""
    trainer = fit(make_trainer(lr=1e-4, schedule=step_decay(16, drops=1, factor=0.5)), reduced(), epochs=4)
    assert trainer.history.column("learning_rate") == [1e-4, 1e-4, 5e-5, 2.5e-5]


@pytest.mark.parametrize("steps", [2, 8, 13])
def test_a_resumed_run_reduces_at_the_same_epochs(tmp_path, steps):
    """Stopped within the first epoch, between two, and after the first reduction."""
    trainers = [make_trainer(lr=1e-4) for _ in range(3)]
    for trainer in trainers:
        p = trainer.model.parameters()
        trainer.optimizer = ParameterGroups(SGD(p[:2], 1e-4, momentum=0.9), Adam(p[2:], 2e-4))
    whole, stopped, resumed = trainers
    fit(whole, reduced())
    with pytest.raises(TrainingStopped):
        fit(stopped, reduced(), checkpoints=Checkpoints(tmp_path), stop=after(steps)(stopped))
    with pytest.raises(SettingError, match=r"factor on a plateau 0\.5 there, 0\.1 here"):
        fit(make_trainer(), ReduceOnPlateau(1), checkpoints=Checkpoints(tmp_path, resume=True))
    fit(resumed, reduced(), checkpoints=Checkpoints(tmp_path, resume=True, report=lambda _: None))
    assert bits(resumed) == bits(whole)
    assert resumed.optimizer.rates(0) == whole.optimizer.rates(0)
    assert whole.optimizer.parts[1].base_lr < 1e-4


def test_what_the_run_does_not_record():
    with pytest.raises(
        SettingError, match="reducing the learning rate monitors 'validation_loss', but this run records"
    ):
        make_trainer().fit(*sides(20), epochs=1, callbacks=[ReduceOnPlateau()])
    with pytest.raises(SettingError, match="factor=2"):
        ReduceOnPlateau(factor=2)
