"""Nudges compare gradients with finite differences; practice takes the steps of ``optim``."""

import numpy as np
import pytest

from tinycnn import explain, ops, optim
from tinycnn.errors import SettingError, ShapeError
from tinycnn.explain import nudge, nudges, practise
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential, Softmax

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 8, 1), np.uint8)


def small(**settings):
    layers = [Conv2d(3), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dropout(0.5), Dense(4), Softmax()]
    return Sequential(*layers, input_shape=(9, 8, 1), **settings)


@pytest.mark.parametrize("training", [False, True])
def test_the_difference_is_the_gradient(training):
    model = small()  # float32: the nudges are in float64 all the same
    trace = explain.trace_step(model, IMAGE, 1, training=training)
    places = [
        ("input", (4, 4, 0)),
        ("conv2d_1.weight", (0, 1, 0, 2)),
        ("batchnorm_1.gamma", (1,)),
        ("dense_1.bias", (3,)),
    ]
    grads = {"input": trace.layers[0].grad_x}
    grads |= {f"{la.name}.{name}": grad for la in trace.layers for name, grad in la.grad_parameters.items()}
    for found, (name, index) in zip(nudges(model, IMAGE, 1, places, training=training), places, strict=True):
        assert (found.name, found.index) == (name, index)
        assert found.numeric == pytest.approx(found.gradient, rel=1e-6, abs=1e-9)
        assert found.gradient == pytest.approx(grads[name][index], rel=1e-3, abs=1e-6)
        assert found.loss == pytest.approx(trace.loss, rel=1e-5)
        assert not found.at_kink


def test_a_kink_is_noticed():
    """The unit's input is exactly 0: its slope is 0 to the left and 1 to the right."""
    model = Sequential(Dense(2, bias=True), ReLU(), Dense(2), input_shape=(3,), dtype=np.float64)
    first, second = (model.layers[name].parameters_by_name for name in ("dense_1", "dense_2"))
    first["weight"].data[...] = 0
    second["weight"].data[...] = [[1.0, -1.0], [0.0, 0.0]]
    found = nudge(model, np.ones(3, np.uint8), 0, "dense_1.bias", (0,))
    assert found.at_kink
    assert found.left == pytest.approx(0, abs=1e-9)
    assert found.right == pytest.approx(-1, abs=1e-4)  # p - t = -1/2 at one score, 1/2 times -1 at the other
    assert not nudge(model, np.ones(3, np.uint8), 0, "dense_2.bias", (0,)).at_kink


def test_a_frozen_parameter_can_be_nudged_and_stays_frozen():
    model = small()
    model.layers["conv2d_1"].freeze()
    assert nudge(model, IMAGE, 1, "conv2d_1.weight", (1, 1, 0, 0)).gradient != 0
    assert model.layers["conv2d_1"].frozen


def test_unknown_places_are_refused():
    model = small()
    with pytest.raises(SettingError, match=r"name 'conv2d_9\.weight': expected input or one of conv2d_1\.weight"):
        nudge(model, IMAGE, 1, "conv2d_9.weight", (0,))
    for name, index in [("input", (9, 0, 0)), ("dense_1.bias", (0, 0)), ("dense_1.bias", (-1,))]:
        with pytest.raises(ShapeError, match="is not in"):
            nudge(model, IMAGE, 1, name, index)
    with pytest.raises(SettingError, match="eps"):
        nudge(model, IMAGE, 1, "dense_1.bias", (0,), eps=0)


@pytest.mark.parametrize("optimizer", optim.OPTIMIZERS)
def test_practice_takes_the_steps_of_the_optimizer(optimizer):
    model, other = small(), small().eval()
    done = practise(model, IMAGE, 2, steps=3, optimizer=optimizer, lr=0.003)
    update = optim.OPTIMIZERS[optimizer](other.parameters(), lr=0.003)
    losses = []
    for _ in range(3):
        loss = ops.softmax_cross_entropy(
            explain.plain_logits(other, explain.as_input(other, IMAGE[None])), np.array([2])
        )
        losses.append(float(loss.numpy()))
        update.zero_grad()
        loss.backward()
        update.step()
    assert done.losses[:3] == pytest.approx(losses, rel=1e-5)
    found = {f"{layer.name}.{name}": array for layer in done.trace.layers for name, array in layer.parameters.items()}
    for name, parameter in other.named_parameters():
        np.testing.assert_allclose(found[name], parameter.numpy(), rtol=1e-4, atol=1e-7)
    assert done.losses[-1] == pytest.approx(done.trace.loss)
    assert done.probabilities.shape == (4, 4)
    np.testing.assert_allclose(-np.log(done.probabilities[:, 2]), done.losses, rtol=1e-4, atol=1e-6)


def test_practice_does_not_change_the_network():
    model = small()
    before = model.state_dict()
    done = practise(model, IMAGE, 2, steps=2, training=True)
    assert done.losses[0] > done.losses[2]
    assert all((before[name] == after).all() for name, after in model.state_dict().items())
    assert practise(model, IMAGE, 2, steps=0).trace.loss == pytest.approx(explain.trace_step(model, IMAGE, 2).loss)


def test_unknown_practice_is_refused():
    with pytest.raises(SettingError, match="optimizer 'lion': expected one of sgd"):
        practise(small(), IMAGE, 2, optimizer="lion")
    with pytest.raises(SettingError, match="lr"):
        practise(small(), IMAGE, 2, lr=0)
    with pytest.raises(SettingError, match="steps"):
        practise(small(), IMAGE, 2, steps=-1)
    with pytest.raises(SettingError, match="practise: label"):
        practise(small(), IMAGE, 9)
