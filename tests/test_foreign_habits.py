"""Habits of Keras, PyTorch and scikit-learn that would silently do something else, or fail without a hint."""

import copy
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import ops
from tinycnn.backends.foreign_names import ELSEWHERE
from tinycnn.errors import AutogradError, SettingError, ShapeError
from tinycnn.layers import Conv2d, Dense, Flatten, Sequential
from tinycnn.tensor import Tensor, no_grad

VECTOR = Tensor([1.0, 2.0], requires_grad=True)


def changed_in_place(operator, x):
    names = {"x": x}
    exec(f"x {operator}= 2.0" if operator != "@" else "x @= x", names)
    return names["x"]


# ------------------------------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "**", "@"])
def test_a_parameter_is_not_left_as_it_is_silently(operator):
    words = f"x {operator}= y would leave the parameter x as it is, because arithmetic makes a new tensor: write x.data"
    with pytest.raises(AutogradError, match=re.escape(words)), no_grad():
        changed_in_place(operator, VECTOR)
    with pytest.raises(AutogradError, match=re.escape(words)):
        changed_in_place(operator, VECTOR)
    constant, result = Tensor([1.0, 2.0]), VECTOR * 1.0
    assert changed_in_place(operator, constant).creator is None
    assert constant.data.tolist() == [1, 2]
    changed_in_place(operator, result).sum().backward()  # a result is bound anew, and its history goes on
    assert VECTOR.grad is not None
    VECTOR.zero_grad()


def test_the_advice_changes_the_parameter():
    p = Tensor([1.0, 2.0], requires_grad=True)
    p.data -= 0.5 * np.ones(2, np.float32)
    assert p.data.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_foreign_name_of_a_tensor_leads_to_something_that_exists(name):
    assert name not in dir(Tensor)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute {name!r}: use {ELSEWHERE[name]}")):
        getattr(VECTOR, name)
    for owner, used in re.findall(r"(x|tinycnn\.ops|tinycnn)\.(\w+)", ELSEWHERE[name]):
        assert hasattr({"x": Tensor, "tinycnn.ops": ops, "tinycnn": tinycnn}[owner], used)


def test_other_missing_names_of_a_tensor():
    with pytest.raises(AttributeError, match=r"^'Tensor' object has no attribute 'qqqq'$"):
        _ = VECTOR.qqqq
    assert not hasattr(VECTOR, "__dict__")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VECTOR.sum(dim=0), "sum has no setting dim: pass `axis`"),
        (lambda: VECTOR.mean(0, keepdim=True), "mean has no setting keepdim: pass `keepdims`"),
        (lambda: VECTOR.max(dim=0), "max has no setting dim: pass `axis`"),
        (lambda: ops.mse_loss(VECTOR, VECTOR, reduction="sum"), "mse_loss has no setting reduction: leave it out"),
        (lambda: ops.l1_loss(VECTOR, VECTOR, reduction="sum"), "l1_loss has no setting reduction: leave it out"),
        (lambda: ops.nll_loss(VECTOR, [0], reduction="sum"), "nll_loss has no setting reduction: leave it out"),
        (
            lambda: ops.softmax_cross_entropy(VECTOR, [0], from_logits=True),
            "softmax_cross_entropy has no setting from_logits: leave it out",
        ),
        (
            lambda: ops.binary_cross_entropy_with_logits(VECTOR, [0], reduction="sum"),
            "binary_cross_entropy_with_logits has no setting reduction: leave it out",
        ),
    ],
)
def test_foreign_arguments_of_functions_of_tensors(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


# -------------------------------------------------------------------------------------------------------------- layers


def network(*given):
    return Sequential(*(given or (Conv2d(2), Flatten(), Dense(4), Dense(3))), input_shape=(4, 4, 1))


NO_EFFECT = {
    "Sequential.fc = Dense(": lambda model: setattr(model, "fc", Dense(5)),
    "Sequential.dense_2 = Dense(": lambda model: setattr(model, "dense_2", Dense(5)),
    "Sequential.layers = [Dense(": lambda model: setattr(model, "layers", [Dense(5)]),
    "layers['dense_2'] = Dense(": lambda model: model.layers.__setitem__("dense_2", Dense(5)),
}


@pytest.mark.parametrize("words", NO_EFFECT)
def test_layers_that_would_never_be_called(words):
    advice = "would have no effect: a network has the layers that it was created with; create a new Sequential, or call"
    with pytest.raises(SettingError, match=f"^{re.escape(words)}.*{re.escape(advice)} model.with_head"):
        NO_EFFECT[words](network())


def test_layers_of_a_network_can_have_other_names_too():
    class Named(Sequential):
        def __init__(self):
            self.body = Flatten()  # before the network has layers
            super().__init__(self.body, Dense(3), input_shape=(4, 4, 1))
            self.head = self.layers["dense_1"]

    model = copy.deepcopy(Named())
    assert model.head is model.layers["dense_1"]
    assert model.with_head(5).output_shape == (5,)


def test_an_activation_is_a_layer():
    words = "Conv2d.activation = 'relu' would have no effect: create a new network with a layer such as ReLU() after"
    model = network()
    with pytest.raises(SettingError, match=re.escape(words)):
        model.layers["conv2d_1"].activation = "relu"


def test_a_layer_is_frozen_by_a_call():
    layer = network().layers["dense_1"]
    with pytest.raises(SettingError, match=r"^Dense.frozen cannot be assigned: call freeze\(\) or unfreeze\(\)$"):
        layer.frozen = True
    with pytest.raises(AttributeError, match=r"use `freeze\(\)` and `unfreeze\(\)`, and `frozen`, the opposite"):
        _ = layer.trainable


def test_a_state_without_any_name_of_the_network_is_not_skipped():
    model = network()
    before, zeros = model.state_dict(), np.zeros((4, 5), np.float32)
    for strict in (True, False):
        with pytest.raises(ShapeError, match=r"no name is known, .*; a state of PyTorch is loaded with tinycnn"):
            model.load_state_dict({"fc.weight": zeros}, strict=strict)
    with pytest.raises(ShapeError, match=r"no name is known, .*got \['other_1.weight'\]$"):
        model.load_state_dict({"other_1.weight": zeros}, strict=False)
    model.load_state_dict({}, strict=False)
    model.load_state_dict({"fc.weight": zeros, "dense_1.bias": before["dense_1.bias"] + 1}, strict=False)
    assert (model.state_dict()["dense_1.bias"] == before["dense_1.bias"] + 1).all()
