"""Muon: matrices against singular value decompositions and the formula, and AdamW for all other parameters."""

import numpy as np
import pytest

from tinycnn import Tensor
from tinycnn.backends import get_backend
from tinycnn.errors import SettingError
from tinycnn.optim import AdamW, FilterMuon, MatrixMuon, Muon, UnitMuon, cosine
from tinycnn.optim.muon import orthogonal


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def polynomial(s, rounds=5):
    """What the iteration does to a singular value."""
    for _ in range(rounds):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (9, 2), (1, 5)])
@pytest.mark.parametrize("rounds", [1, 5])
def test_singular_values_go_through_the_polynomial(any_backend, shape, rounds):
    g = normal(*shape)
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    expected = u @ np.diag(polynomial(s / np.linalg.norm(g), rounds)) @ vt
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4)):
        got = any_backend.to_host(orthogonal(any_backend, any_backend.asarray(g.astype(dtype)), rounds))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_five_rounds_bring_singular_values_near_1():
    """The range that the docstring states."""
    after = polynomial(np.linspace(0.01, 1, 10_000))
    assert 0.68 < after.min() < 0.69
    assert 1.13 < after.max() < 1.14
    assert not orthogonal(get_backend(), np.zeros((3, 2))).any()
    assert Muon([Tensor(np.ones((3, 2)), requires_grad=True)], rounds=1).parts[0].rounds == 1


def muon_formula(p, grads, lr, momentum, nesterov, weight_decay, unit=False):
    """For one matrix ``(in, out)``, by singular value decompositions; ``unit``: its columns get the length 1 first."""
    v = np.zeros_like(p)
    for g in grads:
        if unit:
            p = p / np.sqrt((np.linalg.norm(p, axis=0) ** 2).mean())
        v = momentum * v + g
        u, s, vt = np.linalg.svd(g + momentum * v if nesterov else v, full_matrices=False)
        direction = u @ np.diag(polynomial(s / np.sqrt((s**2).sum()))) @ vt
        p = p - lr * weight_decay * p - lr * np.sqrt(max(1, p.shape[1] / p.shape[0])) * direction
    return p


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (2, 2, 3, 5), (1, 1, 2, 6)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.95, "nesterov": True, "weight_decay": 0.0},
        {"momentum": 0.5, "nesterov": False, "weight_decay": 2},
    ],
    ids=["default", "other"],
)
def test_matrices_and_filters_follow_the_formula(shape, settings):
    grads = [normal(*shape, seed=seed) for seed in range(1, 5)]
    expected = muon_formula(
        normal(*shape).reshape(-1, shape[-1]), [g.reshape(-1, shape[-1]) for g in grads], 0.1, **settings
    )
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-4)):
        parameter = Tensor(normal(*shape).astype(dtype), requires_grad=True)
        optimizer = Muon([parameter], 0.1, **settings)
        for grad in grads:
            parameter.grad = get_backend().asarray(grad.astype(dtype))
            optimizer.step()
        np.testing.assert_allclose(parameter.numpy().reshape(expected.shape), expected, rtol=tolerance, atol=tolerance)


def test_other_parameters_are_those_of_adamw():
    weight, head, bias = (Tensor(normal(*shape), requires_grad=True) for shape in ((3, 4), (4, 2), (4,)))
    twins = [Tensor(p.numpy().copy(), requires_grad=True) for p in (head, bias)]
    settings = {"weight_decay": 0.1, "schedule": cosine(9)}
    muon = Muon([weight, head, bias], 0.05, others=[head], others_lr=0.003, **settings)
    adamw = AdamW(twins, 0.003, **settings)
    assert [type(part) for part in muon.parts] == [MatrixMuon, AdamW]
    assert muon.parts[1].parameters == [head, bias]
    before = weight.numpy().copy()
    for step in range(4):
        for p, twin in zip((head, bias), twins, strict=True):
            p.grad = twin.grad = normal(*p.shape, seed=step)
        weight.grad = normal(3, 4, seed=step)
        muon.step()
        adamw.step()
    assert all(np.array_equal(p.numpy(), twin.numpy()) for p, twin in zip((head, bias), twins, strict=True))
    assert not np.array_equal(weight.numpy(), before)
    assert muon.step_count == 4


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.6, 0.0), (0.9, 0.1)])
def test_filters_of_a_constant_size_follow_the_formula(momentum, weight_decay):
    shape, settings = (3, 3, 2, 5), {"momentum": momentum, "weight_decay": weight_decay}
    grads = [normal(*shape, seed=seed) for seed in range(1, 5)]
    flat = [g.reshape(-1, 5) for g in grads]
    start = normal(*shape).reshape(-1, 5)
    expected = muon_formula(start, flat, 0.2, nesterov=True, **settings, unit=True).reshape(shape)
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 2e-4)):
        filters, head = (Tensor(normal(*size).astype(dtype), requires_grad=True) for size in (shape, (3, 4)))
        twin = Tensor(head.numpy().copy(), requires_grad=True)
        optimizer = FilterMuon([filters, head], 0.2, **settings, others_lr=0.03)
        adamw = AdamW([twin], 0.03, weight_decay=weight_decay)
        for grad in grads:
            filters.grad = get_backend().asarray(grad.astype(dtype))
            head.grad = twin.grad = get_backend().asarray(grad[0, :, :, :4].reshape(-1, 4)[:3].astype(dtype))
            optimizer.step()
            adamw.step()
        np.testing.assert_allclose(filters.numpy(), expected, rtol=tolerance, atol=tolerance)
        assert np.array_equal(head.numpy(), twin.numpy())  # a matrix, and not a filter


def test_the_size_of_filters_does_not_change_their_steps():
    """Unlike with Muon, which turns large filters less."""
    gradient = normal(3, 3, 2, 4, seed=1)

    def direction_after_a_step(kind, size):
        filters = Tensor(size * normal(3, 3, 2, 4), requires_grad=True)
        optimizer = kind([filters], 0.2)
        filters.grad = gradient
        optimizer.step()
        return filters.numpy() / np.linalg.norm(filters.numpy())

    same = [direction_after_a_step(UnitMuon, size) for size in (0.01, 1, 100)]
    np.testing.assert_allclose(same[1:], same[:1] * 2, rtol=1e-12)
    large, small = (direction_after_a_step(MatrixMuon, size) for size in (100, 1))
    assert np.abs(large - small).max() > 0.01
    zeros = Tensor(np.zeros((3, 3, 2, 4)), requires_grad=True)
    optimizer = FilterMuon([zeros], 0.2)
    zeros.grad = gradient
    optimizer.step()
    assert np.isfinite(zeros.numpy()).all()


def test_a_network_without_filters_is_trained_as_by_muon():
    given = [Tensor(normal(*shape), requires_grad=True) for shape in ((3, 4), (4,))]
    parts = FilterMuon(given, 0.3, weight_decay=0.1, others_lr=0.02).parts
    settings = [(type(part), part.learning_rate, part.weight_decay) for part in parts]
    assert settings == [(MatrixMuon, 0.3, 0.1), (AdamW, 0.02, 0.1)]
    frozen = Tensor(normal(3, 3, 1, 2))
    parts = FilterMuon([frozen, *given]).parts
    assert [type(part) for part in parts] == [AdamW]
    assert parts[0].parameters == given


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: FilterMuon([w], others_lr=0), "others_lr=0"),
        (lambda w: FilterMuon([w], lr=-1), "lr=-1"),
        (lambda w: FilterMuon([Tensor(np.ones((3, 3, 3, 3)))]), "nothing is left to train: all 1 parameters are froz"),
        (lambda w: Muon([w], momentum=1), "momentum=1"),
        (lambda w: Muon([w], nesterov=1), "`nesterov=1`: expected True or False"),
        (lambda w: Muon([w], rounds=0), "`rounds=0`: expected a positive integer"),
        (lambda w: Muon([w], weight_decay=-1), "weight_decay=-1"),
        (lambda w: Muon([w], others=3), "`others` is 3: expected a list of parameters"),
        (lambda w: Muon([w], others=w), "`others` is Tensor.*: expected a list of parameters"),
        (lambda w: Muon([w], others_lr=0), "others_lr=0"),
        (lambda w: Muon([w], others=[Tensor(np.ones((2, 2)))]), "`others` contains something that is not among"),
        (lambda w: MatrixMuon([Tensor(np.ones(3), requires_grad=True)]), r"a parameter of shape \(3,\): use Muon"),
        (lambda w: Muon([Tensor(np.ones((3, 3)))]), "nothing is left to train: all 1 parameters are frozen"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(SettingError, match=words):
        make(Tensor(np.ones((3, 2)), requires_grad=True))
