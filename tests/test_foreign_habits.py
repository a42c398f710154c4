"""Habits of Keras, PyTorch and scikit-learn that would silently do something else, or fail without a hint."""

import re

import numpy as np
import pytest

import tinycnn
from tinycnn import ops
from tinycnn.backends.foreign_names import ELSEWHERE
from tinycnn.errors import AutogradError
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
