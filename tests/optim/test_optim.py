"""Optimizers against their formulas, written here once more in float64; schedules; state; settings out of range."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tinycnn import Tensor
from tinycnn.backends import base, get_backend
from tinycnn.errors import SettingError, ShapeError, in_range
from tinycnn.optim import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    AdamW,
    Muon,
    RMSprop,
    clip_gradients,
    constant,
    cosine,
    gradient_norm,
    linear,
    one_cycle,
    step_decay,
    warm_up,
)

STEPS = 6
SHAPES = [(3, 4), (5,), (2, 2, 1, 3)]
NAN, INF = float("nan"), float("inf")


def start(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gradients(shape, seed=1):
    """One gradient per step, of very different sizes, since Adam hides sizes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) * 10.0 ** rng.integers(-3, 2) for _ in range(STEPS)]


def run(optimizer, parameter, grads):
    for grad in grads:
        parameter.grad = get_backend().asarray(grad.astype(parameter.dtype))
        optimizer.step()
    return parameter.numpy()


# -------------------------------------------------------------------------- the formulas, each for a list of gradients


def sgd_formula(p, grads, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    velocity = 0.0
    for g in grads:
        g = g + weight_decay * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity) if nesterov else p - lr * velocity
    return p


def adam_formula(p, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        if decoupled:
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


def adamw_formula(p, grads, lr, weight_decay=0.01, **settings):
    return adam_formula(p, grads, lr, weight_decay=weight_decay, decoupled=True, **settings)


def rmsprop_formula(p, grads, lr, alpha=0.99, eps=1e-8, momentum=0.0, weight_decay=0.0):
    v = u = 0.0
    for g in grads:
        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g**2
        u = momentum * u + g / (np.sqrt(v) + eps)
        p = p - lr * u
    return p


CASES = [
    (SGD, sgd_formula, {"lr": 0.1}),
    (SGD, sgd_formula, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd_formula, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (SGD, sgd_formula, {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, sgd_formula, {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.3}),
    (Adam, adam_formula, {"lr": 0.02}),
    (Adam, adam_formula, {"lr": 0.02, "betas": (0.5, 0.8), "eps": 1e-2}),
    (Adam, adam_formula, {"lr": 0.02, "betas": (0.0, 0.0)}),
    (Adam, adam_formula, {"lr": 0.02, "weight_decay": 0.3}),
    (AdamW, adamw_formula, {"lr": 0.02}),
    (AdamW, adamw_formula, {"lr": 0.02, "weight_decay": 0.3, "eps": 1e-3}),
    (RMSprop, rmsprop_formula, {"lr": 0.01}),
    (RMSprop, rmsprop_formula, {"lr": 0.01, "alpha": 0.8, "momentum": 0.7, "eps": 1e-3, "weight_decay": 0.1}),
]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "formula", "settings"), CASES)
def test_several_steps_follow_the_formula(kind, formula, settings, shape):
    expected = formula(start(shape), gradients(shape), **settings)
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-5)):
        parameter = Tensor(start(shape).astype(dtype), requires_grad=True)
        moved = run(kind([parameter], **settings), parameter, gradients(shape))
        assert moved.dtype == dtype
        np.testing.assert_allclose(moved, expected, rtol=tolerance, atol=tolerance)


def test_the_formulas_of_the_cases_differ():
    results = [formula(start((3, 4)), gradients((3, 4)), **settings) for _, formula, settings in CASES]
    pairs = [(i, j) for i in range(len(results)) for j in range(i)]
    assert all(np.abs(results[i] - results[j]).max() > 1e-4 for i, j in pairs)


def test_the_first_step_of_adam_has_the_size_of_the_rate():
    parameter = Tensor(np.zeros(3), requires_grad=True)
    moved = run(Adam([parameter], lr=0.25), parameter, [np.array([1e-3, -5.0, 1e4])])
    np.testing.assert_allclose(moved, [-0.25, 0.25, -0.25], rtol=1e-4)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_parameters_without_a_gradient_are_not_changed(kind):
    moving, resting = (Tensor(start((3,)), requires_grad=True) for _ in range(2))
    optimizer = kind([moving, resting], lr=0.1)
    run(optimizer, moving, gradients((3,)))
    assert np.array_equal(resting.numpy(), start((3,)))
    assert not np.array_equal(moving.numpy(), start((3,)))
    assert all(not slot.any() for slot in optimizer.state_dict()["slots"][1].values())


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_gradients_are_unchanged_by_a_step_and_dropped_by_zero_grad(kind):
    parameter = Tensor(start((3,)), requires_grad=True)
    parameter.grad = np.ones(3)
    optimizer = kind([parameter], lr=0.1)
    optimizer.step()
    assert np.array_equal(parameter.grad, np.ones(3))
    optimizer.zero_grad()
    assert parameter.grad is None


def test_parameters_move_in_place():
    parameter = Tensor(start((3,)), requires_grad=True)
    array = parameter.data
    run(SGD([parameter], lr=0.1), parameter, gradients((3,)))
    assert parameter.data is array


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "settings"), [(kind, settings) for kind, _, settings in CASES])
def test_rates_as_arrays_give_the_same_bits(kind, settings, dtype):
    """What a recorded GPU step does: ``move`` at arrays that hold the rates of each step, and no step is counted."""
    ways = [], []
    for states, in_memory in zip(ways, (False, True), strict=True):
        parameter = Tensor(start((3, 4)).astype(dtype), requires_grad=True)
        optimizer = kind([parameter], schedule=lambda step: 1 / (step + 1), **settings)
        for number, gradient in enumerate(gradients((3, 4))):
            parameter.grad = gradient.astype(dtype)
            if in_memory:
                optimizer.move(np.array(rate, dtype) for rate in optimizer.rates(number))
            else:
                optimizer.step()
            states.append(parameter.numpy().copy())
    assert np.array_equal(*ways)
    assert parameter.dtype == dtype
    assert optimizer.step_count == 0


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("kind", "formula", "settings"), [CASES[i] for i in (1, 5, 8, 10, 12)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_each_parameter_counts_its_own_updates(kind, formula, settings, dtype):
    """Gradients that come late, and not in every step: each parameter moves as if it were alone. A state keeps this."""
    parameters = [Tensor(start((3, 2), seed).astype(dtype), requires_grad=True) for seed in range(3)]
    optimizer, given = kind(parameters, **settings), [gradients((3, 2), seed) for seed in range(3)]
    has_gradient = [[True] * 6, [False] * 4 + [True] * 2, [True, False, True, False, False, True]]
    for step in range(STEPS):
        for parameter, grads, has in zip(parameters, given, has_gradient, strict=True):
            parameter.grad = get_backend().asarray(grads[step].astype(dtype)) if has[step] else None
        optimizer.step()
        state, optimizer = optimizer.state_dict(), kind(parameters, **settings)
        optimizer.load_state_dict(state)
    assert optimizer.step_count == STEPS
    assert ("missed" in state) == (kind in (Adam, AdamW))
    for seed, (parameter, grads, has) in enumerate(zip(parameters, given, has_gradient, strict=True)):
        expected = formula(start((3, 2), seed), [g for g, one in zip(grads, has, strict=True) if one], **settings)
        tolerance = 1e-10 if dtype == np.float64 else 2e-5
        np.testing.assert_allclose(parameter.numpy(), expected, rtol=tolerance, atol=tolerance)


def test_a_first_gradient_after_2000_steps_moves_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install 'tinycnn[bench]'`")
    for kind, theirs_kind in ((Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)):
        ours = [Tensor(np.ones(1), requires_grad=True) for _ in range(2)]
        theirs = [torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        optimizers = kind(ours, 0.1), theirs_kind(theirs, 0.1)
        for step in range(2000):
            ours[0].grad, theirs[0].grad = np.ones(1), torch.ones(1, dtype=torch.float64)
            if step == 1999:
                ours[1].grad, theirs[1].grad = np.ones(1), torch.ones(1, dtype=torch.float64)
            for optimizer in optimizers:
                optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            assert one.item() == pytest.approx(other.item(), rel=1e-10)


# --------------------------------------------------------------------------------------------------------------- state


def test_an_older_state_and_a_damaged_one():
    """States of earlier versions have no `missed`; those of runs without missed steps have none either."""
    parameters = [Tensor(start((3,)), requires_grad=True) for _ in range(2)]
    optimizer = Adam(parameters)
    run(optimizer, parameters[0], gradients((3,)))
    state = optimizer.state_dict()
    assert (state["step"], state.pop("missed")) == (STEPS, [0, STEPS])
    optimizer.load_state_dict(state)
    assert optimizer.missed == [0, 0]
    for damage in ({"missed": [0, STEPS + 1]}, {"missed": [0, -1]}, {"step": -1}, {"step": 2.5}, {"missed": [0, "a"]}):
        with pytest.raises(SettingError, match=r"damaged|step=|state_dict"):
            optimizer.load_state_dict(state | damage)
    for other in (None, {}, {"step": 1}, {"step": 1, "slots": None}, {"step": 1, "slots": [{"m": 1}]}, []):
        with pytest.raises(SettingError, match="expected an optimizer state, as state_dict"):
            optimizer.load_state_dict(other)
    with pytest.raises(ShapeError, match="other parameters"):
        optimizer.load_state_dict(state | {"missed": [0]})


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_copies_and_pickles_go_on_to_the_same_bits(kind):
    """Together with the parameters, whose copies they update."""
    for schedule in (None, step_decay(9), cosine(9), one_cycle(9), warm_up(linear(9), 3)):
        parameter = Tensor(start((3,)), requires_grad=True)
        optimizer = kind([parameter], lr=0.1, schedule=schedule)
        run(optimizer, parameter, gradients((3,)))
        again, copied = pickle.loads(pickle.dumps((optimizer, parameter))), copy.deepcopy((optimizer, parameter))
        expected = run(optimizer, parameter, gradients((3,), seed=2))
        for other, own in (again, copied):
            assert np.array_equal(run(other, own, gradients((3,), seed=2)), expected)
            assert other.settings() == optimizer.settings()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kind", "settings"), [(SGD, {"momentum": 0.9}), (Adam, {}), (AdamW, {}), (RMSprop, {}), (Muon, {})]
)
def test_a_state_continues_to_the_bit(kind, settings, dtype):
    def make(values):
        parameter = Tensor(values.astype(dtype), requires_grad=True)
        return parameter, kind([parameter], lr=0.1, schedule=cosine(2 * STEPS), **settings)

    parameter, optimizer = make(start((3, 4)))
    run(optimizer, parameter, gradients((3, 4)))
    values, state = parameter.numpy().copy(), optimizer.state_dict()
    uninterrupted = run(optimizer, parameter, gradients((3, 4), seed=2))

    parameter, resumed = make(values)
    resumed.load_state_dict(state)
    assert resumed.step_count == STEPS
    assert np.array_equal(run(resumed, parameter, gradients((3, 4), seed=2)), uninterrupted)


def test_a_state_is_a_copy():
    parameter = Tensor(start((3,)), requires_grad=True)
    optimizer = SGD([parameter], lr=0.1, momentum=0.9)
    run(optimizer, parameter, gradients((3,)))
    state = optimizer.state_dict()
    state["slots"][0]["velocity"] += 1
    assert not np.array_equal(optimizer.state_dict()["slots"][0]["velocity"], state["slots"][0]["velocity"])


def test_a_state_of_other_parameters_is_refused_and_changes_nothing():
    optimizer = SGD([Tensor(start((3,)), requires_grad=True)], lr=0.1)
    others = [
        SGD([Tensor(start((4,)), requires_grad=True)], lr=0.1),
        SGD([Tensor(start((3,)), requires_grad=True) for _ in range(2)], lr=0.1),
        Adam([Tensor(start((3,)), requires_grad=True)], lr=0.1),
    ]
    for other in others:
        other.step()
        with pytest.raises(ShapeError, match="belongs to other parameters or to another optimizer"):
            optimizer.load_state_dict(other.state_dict())
    assert optimizer.step_count == 0


# ----------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: constant(), {0: 1, 50: 1, 1000: 1}),
        (lambda: step_decay(100), {0: 1, 24: 1, 25: 0.1, 50: 0.01, 75: 0.001, 99: 0.001, 100: 0.001, 1000: 0.001}),
        (lambda: step_decay(100, drops=1, factor=0.5), {0: 1, 49: 1, 50: 0.5, 100: 0.5}),
        (lambda: cosine(100), {0: 1, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0, 1000: 0}),
        (lambda: cosine(100, floor=0.2), {0: 1, 50: 0.6, 100: 0.2, 1000: 0.2}),
        (lambda: one_cycle(100), {0: 0.04, 15: 0.52, 30: 1, 65: (1 + 1e-4) / 2, 100: 1e-4, 1000: 1e-4}),
        (lambda: one_cycle(2), {0: 0.04, 1: 1, 2: 1e-4, 3: 1e-4}),
        (lambda: one_cycle(100, warmup=0.5, start=0.2, end=0.1), {0: 0.2, 25: 0.6, 50: 1, 75: 0.55, 100: 0.1}),
        (lambda: linear(100), {0: 1, 50: 0.5, 100: 0, 1000: 0}),
        (lambda: linear(10, warmup=0.4, end=0.1), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 7: 0.55, 10: 0.1, 11: 0.1}),
        (lambda: linear(4, warmup=1, start=0.5), {0: 0.6, 3: 0.9, 4: 1, 5: 0}),
        (lambda: warm_up(constant(), 4), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 9: 1}),
        (lambda: warm_up(cosine(100), 3, start=0.2), {0: 0.4, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0}),
        (lambda: warm_up(constant(), 0), {0: 1}),
    ],
)
def test_schedules_at_start_middle_end_and_beyond(make, expected):
    schedule = make()
    assert {step: schedule(step) for step in expected} == pytest.approx(expected, abs=1e-12)


@hypothesis_settings(deadline=None)
@given(name=st.sampled_from(list(SCHEDULES)), total=st.integers(1, 10_000), step=st.integers(0, 20_000))
def test_schedules_stay_between_0_and_1(name, total, step):
    factor = SCHEDULES[name](total)(step)
    assert math.isfinite(factor)
    assert 0 <= factor <= 1


@hypothesis_settings(deadline=None)
@given(total=st.integers(1, 2000), step=st.integers(0, 3000))
def test_decreasing_schedules_never_rise(total, step):
    for schedule in (step_decay(total), cosine(total), linear(total)):
        assert schedule(step + 1) <= schedule(step)


@hypothesis_settings(deadline=None)
@given(total=st.integers(4, 2000))
def test_one_cycle_rises_and_falls_once(total):
    factors = np.array([one_cycle(total)(step) for step in range(total + 1)])
    peak = factors.argmax()
    assert factors[peak] == 1
    assert (np.diff(factors[: peak + 1]) > 0).all()
    assert (np.diff(factors[peak:]) < 0).all()


def test_the_rate_of_the_next_step():
    parameter = Tensor(np.zeros(1), requires_grad=True)
    optimizer = SGD([parameter], lr=0.5, schedule=lambda step: 1 / (1 + step))
    rates = []
    for _ in range(3):
        rates.append(optimizer.lr)
        parameter.grad = np.ones(1)
        optimizer.step()
    assert rates == [0.5, 0.25, pytest.approx(0.5 / 3)]
    assert parameter.item() == pytest.approx(-sum(rates))


# ------------------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
@pytest.mark.parametrize("lr", [NAN, INF, -INF, -0.1, 0, "0.1", None])
def test_bad_rates(kind, lr):
    with pytest.raises(SettingError, match="lr"):
        kind([Tensor(np.zeros(1))], lr=lr)


@pytest.mark.parametrize(
    ("kind", "settings", "culprit"),
    [
        (SGD, {"momentum": 1}, "`momentum=1`: expected a number at least 0, below 1"),
        (SGD, {"momentum": -0.1}, "momentum"),
        (SGD, {"momentum": NAN}, "momentum"),
        (SGD, {"weight_decay": -1}, "weight_decay"),
        (SGD, {"weight_decay": INF}, "weight_decay"),
        (SGD, {"nesterov": True}, "nesterov=True"),
        (Adam, {"betas": (1, 0.9)}, "betas"),
        (Adam, {"betas": (0.9, -0.1)}, "betas"),
        (Adam, {"betas": (NAN, 0.9)}, "betas"),
        (Adam, {"betas": 0.9}, "`betas=0.9`: expected two numbers"),
        (Adam, {"betas": (0.9,)}, "betas=.* expected two numbers"),
        (SGD, {"schedule": "cosine"}, "`schedule='cosine'`: expected a function of the step number"),
        (SGD, {"lr": True}, "`lr=True`: expected a number above 0"),
        (Adam, {"eps": 0}, "eps"),
        (Adam, {"weight_decay": NAN}, "weight_decay"),
        (AdamW, {"weight_decay": -0.1}, "weight_decay"),
        (RMSprop, {"alpha": 1}, "`alpha=1`: expected a number at least 0, below 1"),
        (RMSprop, {"eps": 0}, "eps=0"),
        (RMSprop, {"momentum": 1}, "momentum=1"),
        (RMSprop, {"weight_decay": -1}, "weight_decay=-1"),
    ],
)
def test_bad_settings(kind, settings, culprit):
    with pytest.raises(SettingError, match=culprit):
        kind([Tensor(np.zeros(1))], **settings)


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_nothing_to_optimize(kind):
    with pytest.raises(SettingError, match="at least one parameter"):
        kind(iter([]), lr=0.1)


def test_what_is_no_list_of_different_parameters():
    w, v = (Tensor(np.ones(1), requires_grad=True) for _ in range(2))
    for parameters, words in (
        ([w, v, w], "contains a tensor twice"),
        (w, "expected a list of parameters, such as model.parameters.., got a Tensor"),
        (3, "got a int"),
        ([np.ones(1)], "got one with a ndarray"),
        ([("weight", w)], "got one with a tuple"),
        ([{"params": [w]}], "groups with own settings are ParameterGroups"),
    ):
        with pytest.raises(SettingError, match=words):
            SGD(parameters, 0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: step_decay(0), "`total_steps=0`: expected a positive integer"),
        (lambda: step_decay(10, drops=-1), "drops=-1"),
        (lambda: step_decay(10, factor=NAN), "factor=nan"),
        (lambda: cosine(2.5), "total_steps=2.5"),
        (lambda: cosine(True), "total_steps=True"),
        (lambda: cosine(10, floor=-1), "floor=-1"),
        (lambda: one_cycle(-3), "total_steps=-3"),
        (lambda: one_cycle(10, warmup=1.5), "`warmup=1.5`: expected a number at least 0, at most 1"),
        (lambda: one_cycle(10, start=NAN), "start=nan"),
        (lambda: one_cycle(10, end=-1), "end=-1"),
        (lambda: linear(0), "total_steps=0"),
        (lambda: linear(10, warmup=1.5), "warmup=1.5"),
        (lambda: linear(10, start=-1), "start=-1"),
        (lambda: linear(10, end=NAN), "end=nan"),
        (lambda: warm_up("cosine", 3), "`schedule='cosine'`: expected a function"),
        (lambda: warm_up(cosine(9), -1), "steps=-1"),
        (lambda: warm_up(cosine(9), 3, start=NAN), "start=nan"),
    ],
)
def test_bad_schedules(make, words):
    with pytest.raises(SettingError, match=words):
        make()


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
@pytest.mark.parametrize("factor", [NAN, INF, -1])
def test_a_schedule_that_makes_no_rate(kind, factor):
    parameter = Tensor(np.ones(1), requires_grad=True)
    parameter.grad = np.ones(1)
    optimizer = kind([parameter], lr=0.1, schedule=lambda step: factor if step else 1)
    optimizer.step()
    with pytest.raises(SettingError, match=r"the schedule returns .* for step 1: expected a number, at least 0"):
        optimizer.step()


@pytest.mark.parametrize("value", [0.1, np.float32(0.1), np.float64(0.1)])
def test_numpy_numbers_are_accepted(value):
    assert in_range("x", value, above=0) == float(value)


def test_a_number_out_of_range_is_named_as_the_caller_knows_it():
    """A command puts its option in the place of an argument in backticks."""
    names = {"lr": "`lr=nan`", "LeakyReLU: slope": "LeakyReLU: `slope=nan`", "--lr": "--lr=nan"}
    names["the rate"] = "the rate is nan"
    for name, shown in names.items():
        with pytest.raises(SettingError) as refused:
            in_range(name, np.nan, above=0)
        assert str(refused.value) == f"{shown}: expected a number above 0"


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_step_moves_the_parameter_itself_whatever_its_memory_layout(backend, order):
    """A fused kernel that works on flat arrays must not work on a copy."""
    start = np.arange(12, dtype=np.float32).reshape(3, 4)
    parameter = Tensor(backend.asarray(np.array(start, order=order)), requires_grad=True)
    parameter.grad = backend.asarray(np.ones((3, 4), np.float32))
    Adam([parameter], lr=0.5).step()
    np.testing.assert_allclose(parameter.numpy(), start - 0.5, rtol=1e-6, atol=1e-6)


def test_any_optimizer_can_have_a_fused_kernel(backend, monkeypatch):
    """It gets the slots in order and the settings; where the backend has no such kernel, ``update`` runs."""

    class Fused(SGD):
        def fused_kernel(self, backend):
            return backend.kernel("sgd_all")

        def fused_settings(self):
            return (self.momentum,)

    def kernel(arrays, rates, momentum):
        for p, g, velocity in arrays:
            velocity += g
            p -= rates[0] * (momentum + 1) * velocity

    moved = []
    for registered in ({}, {(backend.name, "sgd_all"): lambda backend: kernel}):
        monkeypatch.setattr(base, "_kernel_loaders", registered)
        parameter = Tensor(np.ones(3), requires_grad=True)
        parameter.grad = backend.asarray(np.full(3, 2.0))
        Fused([parameter], lr=0.5, momentum=0.5).step()
        moved.append(parameter.numpy().tolist())
    assert moved == [[0, 0, 0], [-0.5, -0.5, -0.5]]


def test_a_subclass_of_adam_with_another_update_does_not_use_the_fused_kernel(backend):
    class Plain(Adam):
        def update(self, backend, p, g, *rates, **slots):
            p -= g

    parameter = Tensor(backend.asarray(np.ones(3, np.float32)), requires_grad=True)
    parameter.grad = backend.asarray(np.array([1, 2, 3], np.float32))
    Plain([parameter]).step()
    assert parameter.numpy().tolist() == [0, -1, -2]


# ------------------------------------------------------------------------------------------------------------ clipping


def with_gradients(dtype=np.float32, scale=1.0):
    """Parameters with gradients of several shapes, and one without; and the gradients."""
    grads = [scale * start(shape, seed).astype(dtype) for seed, shape in enumerate(SHAPES)]
    parameters = [Tensor(np.zeros(grad.shape, dtype), requires_grad=True) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = get_backend().asarray(grad.copy())
    return [*parameters, Tensor(np.zeros(3, dtype), requires_grad=True)], grads


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3])
def test_clipping_follows_the_formula(max_norm, dtype):
    parameters, grads = with_gradients(dtype)
    expected_norm = math.sqrt(sum(float((grad.astype(np.float64) ** 2).sum()) for grad in grads))
    factor = min(1, max_norm / (expected_norm + 1e-6))
    assert float(gradient_norm(parameters)) == pytest.approx(expected_norm, rel=1e-6)
    assert float(clip_gradients(parameters, max_norm)) == pytest.approx(expected_norm, rel=1e-6)
    for parameter, grad in zip(parameters, grads, strict=False):
        clipped = get_backend().to_host(parameter.grad)
        assert clipped.dtype == dtype
        np.testing.assert_allclose(clipped, grad * factor, rtol=1e-6)
    assert parameters[-1].grad is None


@pytest.mark.parametrize("max_norm", [-1, 0, NAN, "1", None])
def test_a_norm_that_is_none_is_refused(max_norm):
    parameters, grads = with_gradients()
    with pytest.raises(SettingError, match=r"`max_norm=.*`: expected a number above 0"):
        clip_gradients(parameters, max_norm)
    clip_gradients(parameters, INF)  # measures only
    assert all(np.array_equal(p.grad, grad) for p, grad in zip(parameters, grads, strict=False))


def test_gradients_below_the_norm_keep_their_bits():
    parameters, grads = with_gradients()
    clip_gradients(parameters, 1e6)
    assert all(np.array_equal(p.grad, grad) for p, grad in zip(parameters, grads, strict=False))


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3])
def test_clipping_agrees_with_pytorch(max_norm):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `pip install 'tinycnn[bench]'`")
    parameters, grads = with_gradients(np.float64)
    theirs = [torch.nn.Parameter(torch.zeros(grad.shape, dtype=torch.float64)) for grad in grads]
    for parameter, grad in zip(theirs, grads, strict=True):
        parameter.grad = torch.tensor(grad)
    norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert float(clip_gradients(parameters, max_norm)) == pytest.approx(float(norm), rel=1e-12)
    for parameter, other in zip(parameters, theirs, strict=False):
        np.testing.assert_allclose(parameter.grad, other.grad.numpy(), rtol=1e-12)
