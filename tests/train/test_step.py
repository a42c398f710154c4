"""The training step: all its changing inputs come from its batch, and it imports no module of a higher layer."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.train.test_trainer import make_trainer, sides
from tinycnn.backends import get_backend
from tinycnn.data.augment import Affine
from tinycnn.optim import cosine
from tinycnn.tensor import Tensor
from tinycnn.train.batches import Sampler
from tinycnn.train.step import Batch, StopRequest, TrainingStep, dropout_layers

ROOT = Path(__file__).resolve().parents[2]
ABOVE = [
    "tinycnn.train.checkpoint",
    "tinycnn.train.checkpoint_manager",
    "tinycnn.train.capture",
    "tinycnn.train.trainer",
    "tinycnn.train.batches",
]
ABOVE += ["tinycnn.saving", "tinycnn.data", "tinycnn.distributed.launch", "tinycnn.distributed.agreement"]
ABOVE += ["tinycnn.run", "tinycnn.commands", "tinycnn.plots", "mpi4py", "numba", "safetensors", "argparse"]


def test_importing_the_step_loads_nothing_above_it():
    command = "import json, sys; import tinycnn.train.step; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    loaded = json.loads(process.stdout)
    assert "tinycnn.train.step" in loaded
    assert [name for name in ABOVE if name in loaded] == []


def given_batch():
    images, labels = map(get_backend().asarray, sides(12))
    return Sampler(8, seed=3, augment=Affine()).batch(
        images, labels, get_backend().asarray(np.arange(8)), epoch=1, step=5
    )


def arrays_of(trainer):
    arrays = [parameter.data for parameter in trainer.model.parameters()]
    arrays += [slot for slots in trainer.optimizer.slots for slot in slots.values()]
    return [get_backend().to_host(array).tobytes() for array in arrays]


@pytest.mark.usefixtures("backend")
def test_given_rates_and_dropout_steps_are_used_and_not_counted():
    """The values of the counters give the same bits; other values give others."""
    counting, given, other_rate, other_mask = (make_trainer(schedule=cosine(20), clip_norm=0.5) for _ in range(4))
    rates, masks = counting.optimizer.rates(0), [layer.step for layer in dropout_layers(counting.model)]
    batch = given_batch()
    expected = counting.training_step(batch)
    loss, correct = given.training_step(replace(batch, rates=rates, dropout_steps=masks))
    assert (float(loss), int(correct)) == (float(expected[0]), int(expected[1]))
    assert arrays_of(given) == arrays_of(counting)
    assert (counting.optimizer.step_count, [layer.step for layer in dropout_layers(counting.model)]) == (1, [1])
    assert (given.optimizer.step_count, [layer.step for layer in dropout_layers(given.model)]) == (0, masks)
    other_rate.training_step(replace(batch, rates=given.optimizer.rates(9), dropout_steps=masks))
    other_mask.training_step(replace(batch, rates=rates, dropout_steps=[7]))
    assert arrays_of(counting) not in (arrays_of(other_rate), arrays_of(other_mask))


@pytest.mark.usefixtures("backend")
def test_a_failed_step_restores_the_counters(monkeypatch):
    trainer = make_trainer()

    def broken(self, *arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(TrainingStep, "loss", broken)
    with pytest.raises(ZeroDivisionError):
        trainer.training_step(replace(given_batch(), dropout_steps=[7]))
    assert [layer.step for layer in dropout_layers(trainer.model)] == [0]


@pytest.mark.parametrize("smoothing", [0, 0.2])
def test_weights_of_images_scale_their_losses_and_gradients(any_backend, smoothing):
    """``1/n Σ w · ce`` and its gradient ``w/n (p - target)``, written once more in NumPy."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    weights = np.array([0.5, 0, 3, 1, 2])
    x = Tensor(logits, requires_grad=True)
    step = TrainingStep(None, None, label_smoothing=smoothing)
    loss = step.loss(x, any_backend.asarray(labels), any_backend.asarray(weights))
    loss.backward()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    target = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    assert loss.item() == pytest.approx(-(weights[:, None] * target * np.log(p)).sum() / 5, rel=1e-12)
    np.testing.assert_allclose(any_backend.to_host(x.grad), weights[:, None] * (p - target) / 5, rtol=1e-11, atol=1e-15)


def test_the_maps_of_a_batch_move_its_pixels(backend):
    step, batch = make_trainer().training_step, given_batch()
    still = replace(batch, maps=np.broadcast_to(np.eye(2, 3, dtype=np.float32), (8, 2, 3)).copy())
    moved, unmoved, plain = (
        backend.to_host(step.pixels(one, slice(2, 5))) for one in (batch, still, replace(batch, maps=None))
    )
    assert moved.shape == plain.shape == (3, 8, 8, 1)
    np.testing.assert_allclose(unmoved, plain, rtol=1e-6)
    assert not np.array_equal(moved, plain)


def test_a_batch_without_optional_fields_is_enough():
    images, labels = sides(4)
    step = make_trainer().training_step
    loss, correct = step(Batch(images, np.arange(3), labels[:3]))
    assert loss > 0
    assert 0 <= correct <= 3


def test_a_stop_request_of_a_single_process_needs_no_communication():
    results = iter([False, True])
    request = StopRequest(lambda: next(results))
    assert [request(), request()] == [False, True]
    assert not StopRequest()()
