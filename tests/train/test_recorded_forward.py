"""Recorded predictions: the bits of the pass from Python, whatever changes between two calls."""

import gc
import inspect
import threading
import weakref

import numpy as np
import pytest

import tinycnn
from tests.train.test_capture import relu_unnoticed
from tinycnn import models
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Sequential, base
from tinycnn.ops.fused import FusedDenseFunction
from tinycnn.ops.relu import ReLUFunction
from tinycnn.tensor import Tensor, no_grad
from tinycnn.train import recorded_forward
from tinycnn.train.evaluation import EVALUATION_BATCH, predict_for, predict_logits
from tinycnn.train.objective import CLASSIFICATION, REGRESSION

pytest.importorskip("numba")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def numba():
    with tinycnn.use_backend("numba"):
        yield


def network(seed=0):
    layers = Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dense(3)
    return Sequential(*layers, input_shape=(8, 8, 1), seed=seed)


def pictures(count):
    return RNG.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def from_python(model, images, purpose=CLASSIFICATION):
    model.eval()
    with no_grad():
        x = images * model.dtype.type(1 / 255)
        return purpose.outputs(model, Tensor(x)).numpy()


def recordings(model):
    known = recorded_forward._known.get(model)
    return known.recordings if known else {}


def predict_often(model, count=5):
    """Predictions until the network is replayed, each compared with those from Python."""
    for _ in range(5):
        images = pictures(count)
        assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
    assert count in recordings(model)


def test_batches_are_replayed_from_the_third_on(monkeypatch):
    model, called = network(), []
    logits = Sequential.logits
    monkeypatch.setattr(Sequential, "logits", lambda self, x: called.append(len(x.data)) or logits(self, x))
    images = pictures(6 * EVALUATION_BATCH + 7)
    found = predict_logits(model, images)
    assert called == [EVALUATION_BATCH] * 4 + [7]  # one plain, two to record, one to compare
    whole = np.concatenate([from_python(model, images[i : i + 256]) for i in range(0, len(images), 256)])
    assert found.tobytes() == whole.tobytes()


def test_images_that_are_not_contiguous_are_recorded():
    model, images = network(), np.asfortranarray(pictures(5))
    for _ in range(3):
        assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
    assert 5 in recordings(model)


def test_a_replay_reads_no_signature_and_searches_no_layer_for_others(monkeypatch):
    """Both took longer than the arithmetic of a small network."""
    model, asked = network(), []
    predict_often(model)
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda *given, **more: asked.append(given) or signature(*given, **more))
    monkeypatch.setattr(base, "_layers_in", lambda attributes: asked.append(attributes) or iter(()))
    predict_logits(model, pictures(5))
    assert not asked


@pytest.mark.parametrize("name", models.MODELS)
def test_the_five_networks_are_recorded(name):
    model = models.create(name)
    images = RNG.integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
    found = {predict_logits(model, images).tobytes() for _ in range(5)}
    assert len(found) == 1
    assert set(recordings(model)) == {3}


@pytest.mark.parametrize("change", ["weights in place", "loaded", "new array", "negative gamma", "statistics", "layer"])
def test_a_change_of_the_network_is_seen(change):
    model = network()
    predict_often(model)
    norm, conv = model.layers["batchnorm_1"], model.layers["conv2d_1"]
    match change:
        case "weights in place":
            conv.parameters_by_name["weight"].data[...] *= 2
        case "loaded":
            model.load_state_dict(network(seed=5).state_dict())
        case "new array":
            conv.parameters_by_name["bias"].data = np.ones(4, np.float32)
        case "negative gamma":  # evaluation then may not pool before it normalises
            norm.parameters_by_name["gamma"].data[...] = -1
        case "statistics":
            norm.buffers_by_name["running_mean"][...] = 0.5
        case "layer":
            norm.eps = 0.5
    predict_often(model)


def test_a_few_sizes_are_kept():
    model = network()
    for count in range(1, 8):
        predict_often(model, count)
    assert list(recordings(model)) == [4, 5, 6, 7]


def test_another_purpose_is_recorded_again():
    model, images = Sequential(Flatten(), Dense(3), input_shape=(8, 8, 1)), pictures(4)
    for purpose in (CLASSIFICATION, REGRESSION):
        for _ in range(4):
            expected = from_python(model, images, purpose)
            assert predict_for(purpose, model, images).tobytes() == expected.tobytes()


def test_a_recording_that_misses_something_is_not_used(monkeypatch):
    """Also where the weights change only after the first replays."""
    monkeypatch.setattr(ReLUFunction, "forward", relu_unnoticed)
    model = Sequential(Flatten(), ReLU(), Dense(3), input_shape=(8, 8, 1))
    for _ in range(6):
        images = pictures(5)
        assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
        model.parameters()[0].data[...] *= 2
    assert recordings(model) == {}


def test_weights_that_numpy_reads_unnoticed_are_never_those_of_the_recording(monkeypatch):
    """A copy of the weights would be right in the first replays, and wrong when the weights have changed."""
    forward = FusedDenseFunction.forward

    def with_copied_weights(self, x, weight, bias):
        copied = np.zeros(weight.shape, weight.dtype)
        copied[...] = weight
        return forward(self, x, copied, bias)

    monkeypatch.setattr(FusedDenseFunction, "forward", with_copied_weights)
    model, images = Sequential(Flatten(), Dense(3), input_shape=(8, 8, 1)), pictures(5)
    for step in range(6):
        assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
        if step >= 3:
            model.parameters()[0].data[...] *= 2
    assert recordings(model) == {}


class Doubling(Layer):
    """A layer from outside."""

    def forward(self, x):
        return x * 2


def test_networks_that_cannot_be_recorded_run_from_python():
    own = Sequential(Doubling(), Flatten(), Dense(3), input_shape=(8, 8, 1))
    double = Sequential(Flatten(), Dense(3), input_shape=(8, 8, 1), dtype=np.float64)
    for model in (own, double):
        for _ in range(4):
            images = pictures(4)
            assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
        assert recordings(model) == {}


def test_a_replay_with_other_bits_is_not_used(monkeypatch):
    model, images = network(), pictures(5)
    monkeypatch.setattr(recorded_forward.RecordedForward, "replay", lambda self, images: self.outputs + 1)
    for _ in range(4):
        assert predict_logits(model, images).tobytes() == from_python(model, images).tobytes()
    assert recordings(model) == {}


def test_two_threads_may_predict_at_once():
    model, images = network(), pictures(300)
    predict_often(model, 44)
    expected, found = from_python(model, images[:200]).tobytes(), []

    def predict():
        found.extend(predict_logits(model, images[:200]).tobytes() for _ in range(20))

    workers = [threading.Thread(target=predict) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [expected] * 60


def test_recordings_die_with_their_network():
    model = network()
    predict_often(model)
    memory = weakref.ref(next(iter(recordings(model).values())).recording.memory)
    del model
    gc.collect()
    assert memory() is None
