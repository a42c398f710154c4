"""The gradients derived by hand in the example agree with the engine, and a difference is an error."""

import json
import re

import numpy as np
import pytest

from tests.support.example_runner import load_example, run_example

GRADIENTS = ["logits", "dense_weight", "dense_bias", "pool", "relu", "conv", "conv_weight", "conv_bias", "x"]
ROW = re.compile(r"^(\w+)(\[.*\]) +(-?\d\.\d{15}) +(-?\d\.\d{15}) +(\d\.\de[-+]\d\d)$", re.MULTILINE)


def test_it_prints_both_side_by_side(tmp_path):
    process = run_example("backprop_by_hand.py", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    rows = ROW.findall(process.stdout)
    assert [name for name, *_ in rows] == GRADIENTS
    example = load_example("backprop_by_hand")
    arrays, labels = example.example()
    _, gradients = example.by_the_engine(arrays, labels)
    for name, place, by_hand, engine, difference in rows:
        element = gradients[name][tuple(json.loads(place))]
        assert float(engine) == pytest.approx(element, abs=1e-15)
        assert abs(element) == np.abs(gradients[name]).max()
        assert abs(float(by_hand) - float(engine)) <= 2e-15
        assert abs(float(by_hand)) > 0.01
        assert float(difference) < 1e-14


@pytest.mark.parametrize("seed", range(3))
def test_by_hand_agrees_with_finite_differences(seed):
    """Perturb each array and compute the loss by hand, without the engine."""
    example = load_example("backprop_by_hand")
    arrays, labels = example.example(seed)
    seen = example.forward(**arrays, labels=labels)
    grads = example.backward(arrays["x"], arrays["conv_weight"], arrays["dense_weight"], labels, seen)
    rng = np.random.default_rng(seed)
    for name, array in arrays.items():
        direction = rng.normal(size=array.shape)
        losses = [
            example.forward(**arrays | {name: array + step * direction}, labels=labels)["loss"]
            for step in (1e-6, -1e-6)
        ]
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((grads[name] * direction).sum(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_mistake_by_hand_ends_in_an_error(name, monkeypatch):
    example = load_example("backprop_by_hand")
    right = example.backward
    monkeypatch.setattr(example, "backward", lambda *seen: right(*seen) | {name: right(*seen)[name] * 1.0001})
    with pytest.raises(SystemExit, match="they differ"):
        example.main()


def test_every_gradient_of_the_engine_is_compared():
    example = load_example("backprop_by_hand")
    _, engines = example.by_the_engine(*example.example())
    assert engines.keys() == set(GRADIENTS)
