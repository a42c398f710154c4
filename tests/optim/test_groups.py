"""Groups of parameters, the learning rate that is read and set, and its reduction on a plateau."""

import copy
import pickle

import numpy as np
import pytest

from tinycnn import Tensor, models
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import Dense, Flatten, ReLU, Sequential
from tinycnn.optim import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Muon,
    ParameterGroups,
    ReduceOnPlateau,
    constant,
    cosine,
    step_decay,
)


def tensors(*shapes):
    return [Tensor(np.random.default_rng(i).normal(size=shape), requires_grad=True) for i, shape in enumerate(shapes)]


def take_steps(optimizer, count=4, first=0):
    for step in range(first, first + count):
        for i, parameter in enumerate(optimizer.parameters):
            parameter.grad = np.random.default_rng([step, i]).normal(size=parameter.shape)
        optimizer.step()


def values_of(optimizer):
    return [parameter.numpy().tobytes() for parameter in optimizer.parameters]


def test_each_group_takes_the_steps_of_its_own_optimizer():
    a, b, c = tensors((3,), (2, 2), (4,))
    groups = ParameterGroups(SGD([a], 0.1, momentum=0.9), Adam([b, c], 0.01, schedule=cosine(9)))
    x, y, z = tensors((3,), (2, 2), (4,))
    alone = SGD([x], 0.1, momentum=0.9), Adam([y, z], 0.01, schedule=cosine(9))
    for step in range(5):
        for i, (p, q) in enumerate(zip((a, b, c), (x, y, z), strict=True)):
            p.grad = q.grad = None if (step, i) == (1, 2) else np.random.default_rng([step, i]).normal(size=p.shape)
        groups.step()
        for one in alone:
            one.step()
    assert values_of(groups) == [values for one in alone for values in values_of(one)]
    assert groups.step_count == 5
    assert groups.missed == [0, 0, 1]
    assert groups.rates(5) == alone[0].rates(5) + alone[1].rates(5)
    groups.zero_grad()
    assert a.grad is b.grad is None


def test_given_rates_move_all_groups_and_count_nothing():
    """As a recorded step does."""
    counting, given = (
        ParameterGroups(AdamW([p], 0.1), SGD([q], 0.2)) for p, q in (tensors((3,), (2,)), tensors((3,), (2,)))
    )
    for optimizer in (counting, given):
        for parameter in optimizer.parameters:
            parameter.grad = np.ones(parameter.shape)
    given.move(given.rates(0))
    counting.step()
    assert values_of(given) == values_of(counting)
    assert (given.step_count, counting.step_count) == (0, 1)
    given.count_step([1])
    assert given.missed == [0, 0]  # SGD has nothing to count
    given = ParameterGroups(SGD([given.parameters[1]], 0.1), Adam([given.parameters[0]], 0.1))
    given.count_step([1])
    assert (given.step_count, given.missed) == (1, [0, 1])


def network():
    return Sequential(Flatten(), Dense(4), ReLU(), Dense(3), input_shape=(2, 2, 1), seed=0)


def test_groups_by_name():
    model = network()
    groups = ParameterGroups.by_name(
        Adam, model, {"dense_1.weight": {"lr": 0.5}, "*.bias": {"weight_decay": 0.0}}, lr=0.1, weight_decay=0.2
    )
    named = dict(model.named_parameters())
    assert [part.parameters for part in groups.parts] == [
        [named["dense_2.weight"]],
        [named["dense_1.weight"]],
        [named["dense_1.bias"], named["dense_2.bias"]],
    ]
    assert [(part.base_lr, part.weight_decay) for part in groups.parts] == [(0.1, 0.2), (0.5, 0.2), (0.1, 0.0)]
    assert groups.learning_rate == 0.1
    only = ParameterGroups.by_name(SGD, model.freeze_only("dense_1"), {"dense_1.*": {"lr": 9}}, lr=1)
    assert [part.base_lr for part in only.parts] == [1]  # the group of frozen parameters is left out
    with pytest.raises(SettingError, match=r"no parameter is called 'gamma': their names are .*dense_1.weight"):
        ParameterGroups.by_name(SGD, network(), {"gamma": {}})
    with pytest.raises(SettingError, match="nothing is left to train"):
        ParameterGroups.by_name(SGD, network().freeze_only("*"), {"*.bias": {"lr": 1}})


def test_settings_name_the_group():
    a, b = tensors((3,), (2, 2))
    settings = ParameterGroups(SGD([a], 0.1), Adam([b], 0.2)).settings()
    assert settings["optimizer"] == "ParameterGroups"
    assert settings["learning rate"] == 0.1
    assert settings["learning rate of group 2"] == 0.2
    assert settings["optimizer of group 2"] == "Adam"
    assert settings["parameters of group 2"] == "(2, 2)"


def test_what_is_no_group():
    a, b = tensors((3,), (2, 2))
    used = SGD([b], 0.1)
    take_steps(used, 1)
    for make, words in (
        (lambda: ParameterGroups(), "expected optimizers, such as Adam"),
        (lambda: ParameterGroups(SGD([a]), a), "expected optimizers"),
        (lambda: ParameterGroups(SGD([a]), SGD([a])), "contains a tensor twice"),
        (lambda: ParameterGroups(SGD([a]), used), "different numbers of steps"),
    ):
        with pytest.raises(SettingError, match=words):
            make()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: Adam(p, 0.1, schedule=cosine(20)),
        lambda p: Muon(p, 0.1, schedule=step_decay(20)),
        lambda p: ParameterGroups(SGD(p[:1], 0.1, momentum=0.9), Adam(p[1:], 0.3, schedule=cosine(20))),
    ],
    ids=["Adam", "Muon", "groups"],
)
def test_a_state_with_an_assigned_rate_continues_to_the_bit(make):
    whole, first, second = (make(tensors((3, 4), (4,))) for _ in range(3))
    for optimizer in (whole, first):
        take_steps(optimizer, 3)
        optimizer.learning_rate = 0.02
        assert optimizer.learning_rate == pytest.approx(0.02, rel=1e-15)
        take_steps(optimizer, 3, first=3)
    state = first.state_dict()
    assert ("lr" in state, first.settings()) == (True, second.settings())
    for parameter, values in zip(second.parameters, first.parameters, strict=True):
        parameter.data[...] = values.data
    second.load_state_dict(state)
    assert second.rates(6) == whole.rates(6)
    copies = pickle.loads(pickle.dumps(second)), copy.deepcopy(second)
    for optimizer in (whole, second, *copies):
        take_steps(optimizer, 3, first=6)
        assert values_of(optimizer) == values_of(whole)
    with pytest.raises(ShapeError, match="other parameters or to another optimizer"):
        whole.load_state_dict(state | {"lr": [0.1] * 3})
    with pytest.raises(SettingError, match="lr=-1"):
        whole.load_state_dict(state | {"lr": [-1] * len(whole.parts)})


def test_an_assigned_rate_wins_and_the_schedule_goes_on_in_proportion():
    (p,) = tensors((3,))
    optimizer = SGD([p], 0.8, schedule=step_decay(8, drops=1, factor=0.5))
    assert optimizer.learning_rate == optimizer.lr == 0.8
    take_steps(optimizer, 4)
    assert optimizer.learning_rate == 0.4
    optimizer.learning_rate = 0.1
    assert [optimizer.rate(step) for step in (3, 4, 7)] == [0.2, 0.1, 0.1]
    optimizer.lr = 0.3
    assert optimizer.learning_rate == 0.3
    assert "lr" in optimizer.state_dict()
    plain = SGD(tensors((3,)), 0.8)
    assert "lr" not in plain.state_dict()
    for value in (0, -1, float("nan"), "0.1"):
        with pytest.raises(SettingError, match="learning_rate="):
            plain.learning_rate = value
    ended = SGD(tensors((3,)), 0.8, schedule=cosine(2))
    take_steps(ended, 2)
    with pytest.raises(SettingError, match="the schedule has ended at 0"):
        ended.learning_rate = 0.1


def test_an_assigned_rate_scales_all_groups():
    groups = ParameterGroups(*(SGD([p], lr) for p, lr in zip(tensors((3,), (2,)), (0.1, 0.4), strict=True)))
    groups.learning_rate = 0.05
    assert [part.learning_rate for part in groups.parts] == pytest.approx([0.05, 0.2])
    assert (groups.lr, groups.base_lr) == (0.05, 0.05)
    groups.base_lr = 0.1
    assert [part.learning_rate for part in groups.parts] == pytest.approx([0.1, 0.4])
    groups.lr = 0.05
    groups.parts[1].learning_rate = 0.3
    assert [part.learning_rate for part in groups.parts] == pytest.approx([0.05, 0.3])


def test_the_rate_is_reduced_on_a_plateau():
    """Best 1.0; 0.99995 is not better by one part in 10,000; the patience of 2 passes with the third of them."""
    optimizer = SGD(tensors((3,)), 1.0)
    plateau = ReduceOnPlateau(optimizer, factor=0.5, patience=2, lowest=0.2)
    losses = [2, 1, 1.5, 0.99995, 1, 1, 1, 0.5, 0.6, 0.6, float("nan"), 1, 1, 1, 1, 1, 1]
    reduced = [plateau.step(loss) for loss in losses]
    assert [i for i, yes in enumerate(reduced) if yes] == [4, 10, 13]
    assert optimizer.learning_rate == 0.2
    again = ReduceOnPlateau(SGD(tensors((3,)), 1.0), factor=0.5, patience=2, lowest=0.2)
    for loss in losses[:3]:
        again.step(loss)
    other = ReduceOnPlateau(again.optimizer, factor=0.5, patience=2, lowest=0.2)
    other.load_state_dict(again.state_dict())
    assert [other.step(loss) for loss in losses[3:]] == reduced[3:]


def test_a_plateau_of_an_accuracy():
    """0.805 is not better than 0.8 by one part in 100; 0.81 is."""
    plateau = ReduceOnPlateau(SGD(tensors((3,)), 1.0), factor=0.5, patience=1, mode="max", threshold=0.01)
    values = [0.7, 0.8, 0.805, 0.7, 0.81, 0.8, 0.8]
    assert [plateau.step(value) for value in values] == [False, False, False, True, False, False, True]
    assert plateau.optimizer.learning_rate == 0.25


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda o: ReduceOnPlateau("adam"), "expected an optimizer, such as Adam.*, got a str"),
        (lambda o: ReduceOnPlateau(o, factor=1), "factor=1"),
        (lambda o: ReduceOnPlateau(o, mode="mean"), "`mode` is 'mean': expected min or max"),
        (lambda o: ReduceOnPlateau(o).step("0.5"), "`loss` is '0.5': expected a number"),
        (lambda o: ReduceOnPlateau(o, patience=-1), "patience=-1"),
        (lambda o: ReduceOnPlateau(o, threshold=1), "threshold=1"),
        (lambda o: ReduceOnPlateau(o, lowest=-1), "lowest=-1"),
        (lambda o: ReduceOnPlateau(o).load_state_dict({"best": 1}), "expected the state of a ReduceOnPlateau"),
    ],
)
def test_bad_settings_of_a_plateau(make, words):
    with pytest.raises(SettingError, match=words):
        make(SGD(tensors((3,)), 0.1))


def test_defaults_of_every_optimizer_for_the_command():
    """Its learning rate in `models.OPTIMIZER_DEFAULTS` is that of its class, except for SGD with its momentum."""
    assert models.OPTIMIZER_DEFAULTS.keys() == OPTIMIZERS.keys()
    for name, kind in OPTIMIZERS.items():
        if name != "sgd":
            assert kind(tensors((3, 3))).learning_rate == models.OPTIMIZER_DEFAULTS[name]["lr"]
    assert constant()(5) == 1
