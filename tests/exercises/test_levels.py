"""The levels of the hints: each repeats those before it and says more, and the last is what mends the mistake."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.exercises.test_mistakes import BY_NUMBER, file_of
from tests.exercises.test_other_answers import ANSWERS
from tinycnn.commands import main
from tinycnn.exercises import EXERCISES, check_file, copy_out
from tinycnn.exercises.checking import numbers_of
from tinycnn.exercises.hints import without_repeats
from tinycnn.exercises.locating import replaced_lines
from tinycnn.exercises.progress import PAGE, SYMBOLS

ROOT = Path(__file__).parents[2]
DENSE = """
grad_x = {}
grad_weight = self.x.T @ grad_y
grad_bias = grad_y.sum(axis=0)
return (grad_x, grad_weight, grad_bias)[: len(self.inputs)]"""
AT_ONCE = "return (grad_y @ self.weight, self.x.T @ grad_y, grad_y.sum(axis=0))"
CONV = """
KH, KW, C, F = self.weight.shape
grad_y = grad_y.reshape(-1, F)
grad_weight = (self.cols.T @ grad_y).reshape(KH, KW, C, F)
grad_cols = grad_y @ self.weight.reshape(-1, F)
gx = self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)
return gx, grad_weight, grad_y.sum(axis=0)"""
OF_MULTIPLY = "return self.unbroadcast(grad_y * self.b, grad_y * self.a)"
OF_MATMUL = "return unbroadcast(grad_y @ {}, self.a.shape), {}"
LAST = "self.a.swapaxes(-1, -2) @ grad_y"
OF_ENGINE = ANSWERS["02"]["backward"]


def with_answer(number: str, place: str, answer: str, folder: Path) -> Path:
    """A file that is right but for the function ``place``."""
    return file_of(BY_NUMBER[number], {**ANSWERS[number], place: answer}, folder)


@pytest.mark.parametrize(
    ("place", "answer", "what_mends", "what_was_right"),
    [
        ("01 Multiply.backward", OF_MULTIPLY.replace("self.b, grad_y * self.a", "self.a, grad_y * self.b"),
         "grad_a = grad_y * self.b", "swapaxes"),
        ("01 Multiply.backward", "return grad_y * self.b, grad_y * self.a", "which sums over what was repeated", "/"),
        ("01 MatMul.backward", OF_MATMUL.format("self.b.T", f"unbroadcast({LAST}, self.b.shape)"),
         "grad_y @ self.b.swapaxes(-1, -2)", "self.a.swapaxes"),
        ("01 MatMul.backward", OF_MATMUL.format("self.b.swapaxes(-1, -2)", LAST),
         f"grad_b = unbroadcast({LAST}, self.b.shape)", "self.b.swapaxes"),
        ("03 DenseFunction.backward", DENSE.format("grad_y @ self.weight"), "grad_y @ self.weight.T", "self.x.T"),
        ("03 DenseFunction.backward", DENSE.format("2 * grad_y @ self.weight.T"), "grad_y @ self.weight.T", "self.x.T"),
        ("03 DenseFunction.backward", AT_ONCE, "grad_y @ self.weight.T", "self.x.T"),
        ("03 DenseFunction.backward", DENSE.format("Tensor(grad_y @ self.weight.T)"), "self.weight.T", "self.x.T"),
        ("03 DenseFunction.backward", "grad_x = grad_y @ self.weight.T\ngrad_weight = self.x.T @ grad_y\n"
         "return grad_weight, grad_x, grad_y.sum(axis=0)", "return (grad_x, grad_weight)", "Σ"),
        ("07 Conv2dFunction.backward", CONV, "self.weight.reshape(-1, F).T", "self.cols.T"),
        ("10 DropoutFunction.forward", "self.factors = 0 * x\nreturn x", "self.mask", "grad_x"),
    ],
)  # fmt: skip
def test_the_last_level_mends_the_mistake(
    place: str, answer: str, what_mends: str, what_was_right: str, tmp_path: Path
) -> None:
    number, name = place.split()
    outcome = check_file(BY_NUMBER[number], with_answer(number, name, answer, tmp_path), 3)
    assert outcome.state == "wrong"
    assert what_mends in outcome.hints[-1]
    assert what_was_right not in outcome.hints[-1]


def test_a_mistake_that_was_planted_is_mended_by_the_line_of_the_solution(tmp_path: Path) -> None:
    """Unless it is a line too many, or in another place: no line mends it, and what the function does is shown."""
    for passage, instead, last in (
        ("+ self.eps", "", "p -= step_size * m / (backend.xp.sqrt(v * v_scale) + self.eps)"),
        ("m[:] =", "g = g + self.weight_decay * p\nm[:] =", "m *= β₁; m += (1 - β₁) g; v *= β₂; v += (1 - β₂) g²; "),
    ):
        answer = ANSWERS["11"]["Adam.adam_update"]
        assert passage in answer
        answer = "\n".join(line.strip() for line in answer.splitlines()).replace(passage, instead)
        outcome = check_file(BY_NUMBER["11"], with_answer("11", "Adam.adam_update", answer, tmp_path))
        begin = "in the solution, this is: " if not instead else ""
        assert outcome.hints[-1].startswith(begin + last), outcome.message


def test_lines_in_another_place_are_not_shown() -> None:
    right = "for x in y:\n    a = 1  # one\n    b = 2\nreturn a\na = 1\n"
    assert replaced_lines(right, right.replace("a = 1  #", "a = 3  #")) == ("a = 1",)
    assert replaced_lines(right, right.replace("return a", "    return a")) == ()
    assert replaced_lines("raise E(\n    1\n)\n", "print(\n    1\n)\n") == ()
    assert replaced_lines(right, right.replace("    a = 1  # one\n    b = 2\n", "    b = 2\n    a = 1\n")) == ()


def test_a_level_repeats_those_before_it(tmp_path: Path) -> None:
    """The two slopes exchanged, whose second hint alone is only a question."""
    path = with_answer(
        "01", "Multiply.backward", OF_MULTIPLY.replace("b, grad_y * self.a", "a, grad_y * self.b"), tmp_path
    )
    first, second, third = (check_file(BY_NUMBER["01"], path, level).message for level in (1, 2, 3))
    assert "Hint 1 of 3: " in first
    assert "the slope of a product is the other factor" in second
    assert second.startswith(first)
    assert third.startswith(second)
    assert len(third) > len(second) > len(first)


def test_a_level_that_says_nothing_new_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert without_repeats(["it is y * 2. Look.", "Look", "y = 2"]) == ("it is y * 2. Look.", "y = 2")
    with_answer("01", "Multiply.backward", "raise SystemExit", tmp_path)
    main(["exercises", str(tmp_path), "--check", "--only", "1"])  # without a hint
    assert "--hint" not in capsys.readouterr().out
    with_answer("01", "Multiply.backward", "return grad_y", tmp_path)
    for level, is_offered in (("1", True), ("2", True), ("3", False)):
        main(["exercises", str(tmp_path), "--check", "--only", "1", "--hint", level])
        out = capsys.readouterr().out
        assert (f"a hint that says more: --hint {int(level) + 1}\n" in out) is is_offered
        assert out.count(" of 3: ") == int(level)


# ---------------------------------------------------------------------------------------------------- what is right


def test_what_is_right_of_an_exercise_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_out(tmp_path)
    slopes = {place: ANSWERS["01"][place] for place in ("Multiply.backward", "Divide.backward")}
    file_of(BY_NUMBER["01"], slopes, tmp_path)
    assert main(["exercises", str(tmp_path), "--check", "--only", "1"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("begun   01_arithmetic\n        Your first task is right: Multiply and Divide, ")
    assert "\n1 of 2 tasks right\n" in out
    assert "0 of 1" not in out
    file_of(BY_NUMBER["01"], {**slopes, "unbroadcast": "return grad"}, tmp_path)  # the second task is wrong
    main(["exercises", str(tmp_path), "--check", "--only", "1"])
    assert "\n1 of 2 tasks right\n" in capsys.readouterr().out
    file_of(BY_NUMBER["11"], {"SGD.update": ANSWERS["11"]["SGD.update"]}, tmp_path)
    main(["exercises", str(tmp_path), "--check"])
    counted = "0 of 13 right, 1 of 2 tasks right in 01_arithmetic, 1 of 2 functions right in 11_optimizers\n"
    assert counted in capsys.readouterr().out
    page = (tmp_path / PAGE).read_text("utf-8")
    assert "01_arithmetic.py, wrong, 1 of 2 tasks right;" in page
    assert "11_optimizers.py, begun, 1 of 2 functions right;" in page


def test_every_state_is_explained() -> None:
    page = (ROOT / "docs" / "exercises.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(SYMBOLS)
    words = " ".join(page.split())
    for passage in ("Your first task is right", "1 of 2 tasks right", "1 of 2 functions right"):
        assert f'"{passage}"' in words or f'such as "{passage}' in words


def test_the_page_has_no_hint_for_what_is_not_begun(tmp_path: Path) -> None:
    copy_out(tmp_path)
    main(["exercises", str(tmp_path), "--check", "--hint", "3"])
    page = (tmp_path / PAGE).read_text("utf-8")
    assert page.count(".py, not begun; ") == len(EXERCISES)
    assert "Hint" not in page
    assert "<pre>" not in page
    assert "δ_ij" not in page


# ------------------------------------------------------------------------------------------------------- the inputs


def test_a_wrong_number_can_be_computed_from_the_message(tmp_path: Path) -> None:
    """The gradient of x[0, 0] in a dense layer, and that of a logit: from the numbers that are shown."""
    path = with_answer("03", "DenseFunction.backward", DENSE.format("2 * grad_y @ self.weight.T"), tmp_path)
    message = check_file(BY_NUMBER["03"], path).message
    given = numbers_in(message)
    assert {name: array.shape for name, array in given.items()} == {
        "x": (4, 3), "weight": (3, 2), "bias": (2,), "grad_y": (4, 2)
    }  # fmt: skip
    assert given["grad_y"][0] @ given["weight"][0] == pytest.approx(expected_in(message), rel=1e-4)
    path = with_answer("05", "NLLLossFunction.backward", "return grad_loss * self.target", tmp_path)
    message = check_file(BY_NUMBER["05"], path).message
    given = numbers_in(message)
    assert set(given) == {"log_p", "labels", "grad_loss"}
    assert given["labels"][0] == 2
    assert "index (0, 2)" in message
    assert -given["grad_loss"] / 4 == pytest.approx(expected_in(message), rel=1e-4)


@pytest.mark.parametrize(
    ("place", "answer", "names"),
    [
        ("01 unbroadcast", "return grad * 2", {"grad"}),
        ("09 BatchNormFunction.grad_x", "return grad_y", {"x", "gamma", "beta", "grad_y"}),
        ("11 SGD.update", "velocity += g\np -= lr * g * 2", {"lr", "g", "velocity", "p"}),
        ("12 _Check._slopes", "y = self.upstream * self.y\nreturn y, y", {"input 0", "direction", "self.upstream"}),
        ("13 LeakyReLUFunction.forward", "return 3 * x", {"x"}),
        ("13 LeakyReLUFunction.backward", "return 3 * grad_y", {"x", "grad_y"}),
        ("06 NumpyBackend.im2col", "return np.zeros((N * OH * OW, KH * KW * C))", set()),  # too many
        ("10 DropoutFunction.forward", "return 3 * x", set()),
    ],
)
def test_a_comparison_shows_the_small_inputs(place: str, answer: str, names: set[str], tmp_path: Path) -> None:
    number, name = place.split()
    message = check_file(BY_NUMBER[number], with_answer(number, name, answer, tmp_path)).message
    assert "is wrong at index" in message
    assert set(numbers_in(message)) == names
    assert ("computed from" in message) is bool(names)


def test_an_array_of_more_numbers_is_not_shown() -> None:
    assert numbers_of({"a": np.zeros(17)}) == ""
    assert numbers_of({"a": np.arange(16), "b": np.zeros(17)}).startswith("\n  computed from\n    a = [ 0,  1,  2,")


def numbers_in(message: str) -> dict[str, np.ndarray]:
    """The arrays that a message shows, by name."""
    _, _, rest = message.partition("\n  computed from\n")
    lines = re.match(r"(?: {4}\S[^=,\n]* = .*\n(?: +\[.*\n)*)*", rest)
    text = lines[0] if lines else ""
    found = re.findall(r"^ {4}(\S[^=,\n]*?) *= (.*\n(?: +\[.*\n)*)", text, re.MULTILINE)
    return {name: np.array(eval(numbers)) for name, numbers in found}


def expected_in(message: str) -> float:
    """The number that a message says was expected."""
    return float(re.findall(r"expected  (\S+)", message)[0])
