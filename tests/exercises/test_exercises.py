"""The exercises: empty ones are reported, tinycnn's own source solves them, and plausible wrong answers fail."""

import ast
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.exercises.test_mistakes import blocks
from tests.exercises.test_other_answers import filled
from tests.support.planted import InPlaceReLU
from tinycnn import data, tensor
from tinycnn.backends import register_backend, use_backend
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.commands import main
from tinycnn.errors import SettingError
from tinycnn.exercises import EXERCISES, Exercise, Hole, check_file, copy_out, progress, training
from tinycnn.exercises.checking import Mistake, check_gradients
from tinycnn.exercises.cutting import YOUR_TURN, cut, find_definition, find_function, lines_of, source_of
from tinycnn.exercises.diagnosis import diagnosed
from tinycnn.exercises.folder import load
from tinycnn.exercises.hints import HINTS, hint
from tinycnn.exercises.progress import PAGE, write_page
from tinycnn.exercises.symptoms import BOTH, EITHER
from tinycnn.exercises.tracing import Line, line_of_list, line_of_value, shapes_at_error
from tinycnn.exercises.training import train_on
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
from tinycnn.ops.losses import probabilities
from tinycnn.optim import SGD
from tinycnn.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
ALL = pytest.mark.parametrize("exercise", EXERCISES, ids=BY_NAME)


def outcome_of(exercise: Exercise, text: str, folder: Path):  # type: ignore[no-untyped-def]
    path = folder / exercise.file_name
    path.write_text(text, encoding="utf-8")
    return check_file(exercise, path)


@ALL
def test_an_unsolved_exercise_is_empty_and_gives_its_hint(exercise: Exercise, tmp_path: Path) -> None:
    outcome = outcome_of(exercise, exercise.text(), tmp_path)
    assert outcome.state == "empty"
    found = re.match(r"(\S+) \((\S+), line (\d+)\) is still empty\.\n", outcome.message)
    assert found is not None
    line = exercise.text().splitlines()[int(found[3]) - 1]
    assert (found[2], line.strip()) == (exercise.file_name, f'raise NotImplementedError("{found[1]}")')
    assert exercise.hint in outcome.message


@ALL
def test_the_source_of_tinycnn_is_the_solution(exercise: Exercise, tmp_path: Path) -> None:
    outcome = outcome_of(exercise, exercise.solution(), tmp_path)
    assert (outcome.state, outcome.message) == ("right", "")
    code, source = exercise.solution().split('"""\n', 1)[1], source_of(exercise.source)
    if not exercise.keeps:
        assert code in source
        return
    solved = ast.parse(code)
    for name in exercise.keeps:
        theirs = name if exercise.part_of else name.split(".")[-1]
        kept, original = (
            lines_of(text, find_definition(ast.parse(text), at)) for text, at in ((code, theirs), (source, name))
        )
        assert kept == original
    defined = [node for node in solved.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(defined) == len({name.split(".")[0] if exercise.part_of else name for name in exercise.keeps})
    assert len(exercise.solution().splitlines()) < 120  # not the whole of a long module


@ALL
def test_a_check_of_a_right_file_shows_no_notice(
    exercise: Exercise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None of the package's own: each of them is shown once in a process, and its reader would look for a mistake."""
    monkeypatch.setattr(probabilities, "_noted", set())
    assert outcome_of(exercise, exercise.solution(), tmp_path).state == "right"
    assert caplog.messages == []


@ALL
def test_of_a_file_with_an_empty_function_the_right_ones_are_named(exercise: Exercise, tmp_path: Path) -> None:
    """And the hint is about the empty one, which has no number at an index yet."""
    places = [hole.place for hole in exercise.holes]
    for hole in exercise.holes if len(places) > 1 else ():
        path = tmp_path / exercise.file_name
        path.write_text(cut(exercise.solution(), hole), encoding="utf-8")
        first, second = (check_file(exercise, path, level).message for level in (1, 2))
        others = ", ".join(place for place in places if place != hole.place)
        assert first.startswith((f"Right so far: {others}.\n{hole.place} (", "Your first task is right: "))
        names = hole.place, hole.place.split(".")[-1], hole.place.split(".")[0]
        special = [exercise.hints[f"of {name}"][0] for name in names if f"of {name}" in exercise.hints]
        assert first.endswith(f"Hint 1 of 3: {[*special, exercise.hint][0]}")
        assert "index above" not in second


def test_a_wrong_function_that_the_check_has_not_reached_is_not_called_right(tmp_path: Path) -> None:
    exercise = BY_NAME["01_arithmetic"]
    empty = cut(exercise.solution(), next(hole for hole in exercise.holes if hole.place == "Multiply.backward"))
    right = outcome_of(exercise, empty, tmp_path).message
    assert right.startswith("Right so far: unbroadcast, Divide.backward, MatMul.backward.\nMultiply.backward (")
    unfinished = "raise NotImplementedError  # "
    wrong = {"-grad_y * self.a": "grad_y * self.a", "return unbroadcast(grad_a, self.a": unfinished}
    for passage, instead in wrong.items():
        assert passage in empty
        message = outcome_of(exercise, empty.replace(passage, instead), tmp_path).message
        assert message.startswith("Multiply.backward (")


@ALL
def test_every_hole_alone_is_noticed(exercise: Exercise, tmp_path: Path) -> None:
    """So no hole can be left out, and no check passes without it."""
    for hole in exercise.holes:
        outcome = outcome_of(exercise, cut(exercise.solution(), hole), tmp_path)
        assert outcome.state in ("empty", "begun")
        assert f"{hole.place} ({exercise.file_name}, line " in outcome.message.partition(" is still empty")[0]


@ALL
def test_the_answer_is_not_in_the_file(exercise: Exercise) -> None:
    text, solution = exercise.text(), exercise.solution()
    removed = [line.strip() for line in solution.splitlines() if line not in text.splitlines()]
    assert sum("=" in line or "return" in line for line in removed) >= len(exercise.holes)
    assert text.count(YOUR_TURN) == len(exercise.holes) == text.count('raise NotImplementedError("')


def bodies(exercise: Exercise, text: str) -> dict[str, str]:
    """What stands in ``text`` in the places where ``exercise`` has its holes."""
    tree = ast.parse(text)
    shown = {}
    for hole in exercise.holes:
        with suppress(SettingError):  # not in this excerpt
            shown[hole.place] = ast.unparse(find_function(tree, hole.place).body)
    return shown


@ALL
def test_no_file_shows_the_answer_of_another(exercise: Exercise) -> None:
    """In exercises cut from the same module, the functions of the other one are not in the file."""
    for other in EXERCISES:
        if other is not exercise and other.source == exercise.source:
            answers = bodies(other, other.solution())
            assert bodies(other, exercise.text()) == {}
            assert all(answers[place] not in exercise.text() for place in answers)


@ALL
def test_what_stands_around_the_holes_is_short(exercise: Exercise) -> None:
    code = exercise.text().split('"""\n', 1)[1]
    assert len(code.splitlines()) < (200 if exercise.name == "12_gradcheck" else 100)


def test_what_exercise_2_starts_from_is_given() -> None:
    """The walk itself is the task, not where it begins."""
    text = BY_NAME["02_engine"].text()
    given = text.index("grad_of_output = {self.creator: _upstream_gradient(self, grad)}")
    assert text.index("function.check_arrays_unchanged()") < given < text.index(YOUR_TURN)


def test_the_numbers_are_in_order() -> None:
    assert [int(exercise.name[:2]) for exercise in EXERCISES] == list(range(1, len(EXERCISES) + 1))


def test_the_page_lists_them_with_their_chapters() -> None:
    page = (ROOT / "docs" / "exercises.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.*) \|$", page, re.MULTILINE)
    linked = [(name, [f"docs/{page}" for page in re.findall(r"\]\((\S+)\)", chapters)]) for name, chapters in rows]
    assert linked == [(exercise.file_name, list(exercise.pages)) for exercise in EXERCISES]
    assert all((ROOT / page).exists() for exercise in EXERCISES for page in exercise.pages)


def test_each_chapter_names_the_functions_that_it_is_said_to_explain() -> None:
    for exercise in EXERCISES:
        for page, functions in exercise.pages.items():
            text = (ROOT / page).read_text()
            assert all(f"`{function}`" in text for function in functions), (exercise.name, page)
            assert all(function in exercise.text() for function in functions)


OF_A_STUDENT = """
    grad_x = grad_y @ self.weight.T
    grad_weight = self.x.T @ grad_y
    grad_bias = grad_y.mean(axis=0)
    return grad_x, grad_weight, grad_bias"""


def test_the_message_on_the_page_is_what_a_student_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exercise = BY_NAME["03_dense"]
    (tmp_path / "03_dense.py").write_text(filled(exercise.text(), "DenseFunction.backward", OF_A_STUDENT))
    main(["exercises", str(tmp_path), "--check", "--only", "3"])
    (shown,) = re.findall(r"```text\n(.*?)\n```", (ROOT / "docs" / "exercises.md").read_text(), re.DOTALL)
    assert capsys.readouterr().out.startswith(shown)


# ------------------------------------------------------------------------------------------------------- wrong answers

DEPTH_FIRST = """    found = []

    def visit(function):
        if function not in found:
            found.append(function)
            for x in function.inputs:
                if x.creator is not None:
                    visit(x.creator)

    visit(last)
    return found
"""
RECURSIVE = """    def behind(function):
        if not function.inputs:
            raise AutogradError(function.name)
        return {function}.union(*(behind(x.creator) for x in function.inputs if x.creator is not None))

    return sorted(behind(last), key=lambda function: function._order, reverse=True)
"""
LAST = "len(windows) - 1 - np.stack([x[window] for _, window in windows][::-1]).argmax(axis=0)"
MEAN = "np.stack([x[window] for _, window in windows]).mean(axis=0)"
SENSIBLE_ARGMAX = "np.stack([x[window] for _, window in windows]).argmax(axis=0)"
SOFTMAX_OF_LOG_P = "self.backend.xp.exp(log_softmax_rows(self.backend.xp, self.inputs[0].data))"
MAXIMUM_OF_NUMBERS = "np.fmax.reduce([x[window] for _, window in windows])"
FIRST_BUT_NAN = "np.stack([(x[window] == y) & inside[window] for _, window in windows]).argmax(axis=0)"
ALL_WINNERS = "np.stack([x[window] == y for _, window in windows])"
NO_BIAS = "        if len(self.inputs) == 2:\n            return grad_x, grad_weight\n"
BIAS = "self.backend.sum(grad_y, axis=0)"
DENSE_WEIGHT = "grad_weight = self.x.T @ grad_y"
CONV_WEIGHT = "            grad_weight = (self.cols.T @ grad_y).reshape(KH, KW, C, F)  # (KH, KW, C, F)\n"
LOOP = """            grad_weight = 0 * self.weight
            for row, grad in zip(self.cols, grad_y):
                grad_weight[...] {} (row[:, None] * grad).reshape(KH, KW, C, F)
"""
COL2IM_BY_WINDOWS = """        OH, OW = window_grid(grad_x.shape, (KH, KW), self.stride, self.padding)
        padded = 0 * grad_x.repeat(3, axis=1).repeat(3, axis=2)
        for i, row in enumerate(grad_cols):
            n, oh, ow = i // (OH * OW), i // OW % OH * self.stride[0], i % OW * self.stride[1]
            padded[n, oh : oh + KH, ow : ow + KW] = row.reshape(KH, KW, C)
        grad_x = padded[:, self.padding[0] :, self.padding[1] :][:, : grad_x.shape[1], : grad_x.shape[2]]
"""
WINNER_ADDS = "grad_x[window] += grad_y * (winner == position)"
CHECK_LOOP = "        for factor in CLOSER:"
DECAY = "if self.weight_decay:\n            g = g + self.weight_decay * p\n"
BOUND = "self.atol + self.rtol * abs(numeric):"
SKIP_LAST = "        if index == (2, 1):\n            return\n"
OPTIMIZER_DECAY = "g = g + self.weight_decay * p\n        velocity"
MEANS = "    while grad.ndim > len(shape):\n        grad = grad.mean(axis=0)"
SUMS = "    for axis in stretched:\n        grad = grad.sum(axis=axis, keepdims=True)\n    return grad"
# exercise, passage of the source → wrong one, the message, the symptom that chooses the hints
WRONG: dict[str, tuple[str, dict[str, str], str, str]] = {
    "factors swapped": (
        "01",
        {"grad_y * self.b, grad_y * self.a": "grad_y * self.a, grad_y * self.b"},
        r"^in a \* b: the gradient of a",
        "factors exchanged",
    ),
    "sign of the quotient": ("01", {"-grad_y * self.a / (": "grad_y * self.a / ("}, "The sign is wrong", "sign"),
    "denominator not squared": ("01", {"(self.b * self.b)": "self.b"}, "^in a / b: the gradient of b", "denominator"),
    "broadcasting averaged": (
        "01",
        {"backend.sum(grad, axis=tuple(range(added)))": "grad.mean(axis=tuple(range(added)))"},
        r"^in unbroadcast of .* to \(3,\): .*\n(.*\n)*.* 0\.5 times .* 1/2: there are 2 copies\.\n",
        "averaged",
    ),
    "a column not summed": (
        "01",
        {"return backend.sum(grad, axis=stretched, keepdims=True)": "return grad[:, :1]"},
        r"^in unbroadcast of .* to \(2, 1\): .*\n.*\n.*\n  It is what grad\[:, 0\] alone contributes\.\n",
        "overwritten",
    ),
    "one leading axis alone is summed": (
        "01",
        {"backend.sum(grad, axis=tuple(range(added)))": "backend.sum(grad, axis=0) if added else grad"},
        r"^in unbroadcast of a gradient \(2, 3\) to \(\): its result has shape \(3,\), expected \(\)\n"
        r"    01_arithmetic.py, lines \d+ to \d+:  unbroadcast\n",
        "not summed",
    ),
    "a mean of the rows before a sum that does not run": (
        "01",
        {
            "    grad = backend.sum(grad, axis=tuple(range(added))) if added else grad": MEANS,
            "    return backend.sum(grad, axis=stretched, keepdims=True) if stretched else grad": SUMS,
        },
        r"^in unbroadcast of .* to \(3,\): .*\n(.*\n)*"
        r"    01_arithmetic.py, line \d+, or one that it uses:  grad = grad\.mean\(axis=0\)",
        "averaged",
    ),
    "all axes of b exchanged": (
        "01",
        {"grad_y @ self.b.swapaxes(-1, -2)": "grad_y @ self.b.T"},
        "in a @ b, one matrix times a batch of matrices: ",
        "T of a stack",
    ),
    "all axes of a exchanged": (
        "01",
        {"self.a.swapaxes(-1, -2) @ grad_y": "self.a.T @ grad_y"},
        r"^in a @ b, a batch of matrices times one matrix: ValueError: the axes in front of the two of each matrix do "
        r"not fit together in the matrix product \(01_arithmetic\.py, line \d+\)\n",
        "T of a stack",
    ),
    "a product turned": (
        "01",
        {"self.a.swapaxes(-1, -2) @ grad_y": "(grad_y.swapaxes(-1, -2) @ self.a).reshape(self.b.shape)"},
        "^in a @ b: the gradient of b is wrong",
        "turned",
    ),
    "a not summed over the batch": (
        "01",
        {"unbroadcast(grad_a, self.a.shape)": "grad_a"},
        "in a @ b, one matrix times a batch of matrices: the gradient of a has shape",
        "not summed",
    ),
    "one stretched axis of several": (
        "01",
        {"and grad.shape[axis] != 1)": "and grad.shape[axis] != 1)[:1]"},
        r"^in unbroadcast of a gradient \(2, 3\) to \(1, 1\): its result has shape \(1, 3\)",
        "not summed",
    ),
    "only the second factor broadcast": (
        "01",
        {
            "return self.unbroadcast(grad_y * self.b, grad_y * self.a)": "return grad_y * self.b, unbroadcast(grad_y * "
            "self.a, self.b.shape)"
        },
        r"^in a \* b, a a row and b a column: the gradient of a has shape .*\n.*return grad_y \* self\.b, unbroadcast",
        "not summed",
    ),
    "an axis of a batch that is stretched": (
        "01",
        {
            "unbroadcast(grad_a, self.a.shape)": "(grad_a.sum(axis=0) if grad_a.ndim > self.a.ndim else grad_a)",
        },
        "^in a @ b, two batches that are both repeated: the gradient of a has shape",
        "not summed",
    ),
    "a matrix reshaped in place of transposed": (
        "01",
        {"grad_y @ self.b.swapaxes(-1, -2)": "grad_y @ self.b.reshape(self.b.shape[-1], -1)"},
        "^in a @ b: the gradient of a is wrong",
        "not transposed",
    ),
    "as if grad_y were ones": (
        "01",
        {
            "grad_y @ self.b.swapaxes": "np.ones_like(grad_y) @ self.b.swapaxes",
            "import get_backend": "import get_backend\nimport numpy as np",
        },
        "^in a @ b: the gradient of a",
        "upstream",
    ),
    "gradient overwritten": (
        "02",
        {"grad_of_output[x.creator] + grad_x": "grad_x"},
        "^when a result is used twice",
        "overwritten",
    ),
    "leaf overwritten": (
        "02",
        {"_add_to_leaf(x, grad_x)": "x.grad = grad_x"},
        "^when a leaf is used twice",
        "leaf overwritten",
    ),
    "makers first": (
        "02",
        {"reverse=True": "reverse=False"},
        r"^in a chain .*: in its list Multiply \(operation 1 of 3\) stands before Exp \(operation 2 of 3\), which uses",
        "visited before its users",
    ),
    "the inputs never visited": (
        "02",
        {"zip(function.inputs, function.input_gradients(grad_y), strict=True):": "():"},
        "KeyError: .*: input_gradients of the Add, which uses it, was not called",
        "not asked",
    ),
    "a function listed twice": (
        "02",
        {"sorted(found,": "sorted([*found, *found],"},
        "^in a chain of three operations: in its list Add \\(operation 3 of 3\\) stands twice\\n",
        "visited twice",
    ),
    "last left out": (
        "02",
        {"sorted(found,": "sorted(found - {last},"},
        "^in a chain of three operations: in its list Add \\(operation 3 of 3\\) is missing\\n",
        "left out",
    ),
    "a leaf has no creator": (
        "02",
        {" for x in function.inputs if x.creator is not None}": " for x in function.inputs}"},
        "AttributeError: 'NoneType'",
        "None",
    ),
    "stored under another function": (
        "02",
        {"                grad_of_output[x.creator] = grad_x\n": "                grad_of_output[function] = grad_x\n"},
        "KeyError: .*: all functions that use its result have been visited",
        "nothing stored",
    ),
    "the last function left out": (
        "02",
        {"for function in functions:\n        grad_y": "for function in functions[:-1]:\n        grad_y"},
        "the gradient of x is None",
        "none",
    ),
    "depth first": (
        "02",
        {"    found, to_visit = {last}, [last]\n": DEPTH_FIRST},
        "^when a result is used twice.*: in its list Multiply .* stands before Multiply .*, which uses its result",
        "visited before its users",
    ),
    "recursion": (
        "02",
        {"    found, to_visit = {last}, [last]\n": RECURSIVE},
        "^in a chain of 2,000 operations: RecursionError",
        "RecursionError",
    ),
    "gradient for constants": (
        "02",
        {"if grad_x is None or not x.requires_grad": "if grad_x is None"},
        "^when an input needs no gradient: it received one",
        "constant",
    ),
    "along every path": (
        "02",
        {" is not None} - found": " is not None}"},
        "^in 12 doublings, .*: the inputs of 12 functions have been read more than 3,000 times",
        "every path",
    ),
    "never freed": (
        "02",
        {"function.free()": "pass"},
        "^when backward\\(\\) is called on the same loss again: no error: .* function.free\\(\\) was not called",
        "not freed",
    ),
    "a part of a graph used again": (
        "02",
        {"        if not function.inputs:": "        if not last.inputs:"},
        "^when backward\\(\\) is called on another loss that shares a part of the graph: ",
        "used twice",
    ),
    "None for a gradient": (
        "02",
        {"if grad_x is None or not x.requires_grad": "if not x.requires_grad"},
        "^when a function returns None for its first input: AttributeError",
        "None not skipped",
    ),
    "bias not summed": (
        "03",
        {BIAS: "grad_y"},
        r"^the gradient of bias has shape \(4, 2\), expected that of bias, \(2,\)",
        "not summed",
    ),
    "bias averaged": (
        "03",
        {BIAS: "grad_y.mean(axis=0)"},
        "gradient of bias .*\\n.*\\n.*\\n.* is 0\\.25 times",
        "averaged",
    ),
    "weight from ones": (
        "03",
        {"self.x.T @ grad_y": "self.x.T @ (0 * grad_y + 1)"},
        "gradient of weight is",
        "upstream",
    ),
    "x from ones": (
        "03",
        {"grad_y @ self.weight.T": "(0 * grad_y + 1) @ self.weight.T"},
        "gradient of x is",
        "upstream",
    ),
    "weight transposed": (
        "03",
        {"self.x.T @ grad_y": "grad_y.T @ self.x"},
        r"^the gradient of weight has shape \(2, 3\), expected that of weight, \(3, 2\)",
        "transposed",
    ),
    "weight reshaped in place of transposed": (
        "03",
        {"grad_y @ self.weight.T": "grad_y @ self.weight.reshape(self.weight.shape[1], -1)"},
        "^the gradient of x is wrong",
        "not transposed",
    ),
    "x reshaped in place of transposed": (
        "03",
        {"self.x.T @ grad_y": "self.x.reshape(self.x.shape[1], -1) @ grad_y"},
        "^the gradient of weight is wrong",
        "not transposed",
    ),
    "x with its square": (
        "03",
        {"grad_y @ self.weight.T": "grad_y @ self.weight.T ** 2"},
        "^the gradient of x is wrong",
        "of x",
    ),
    "weight with a square": (
        "03",
        {"self.x.T @ grad_y": "self.x.T ** 2 @ grad_y"},
        "^the gradient of weight is wrong",
        "of weight",
    ),
    "bias with a square": ("03", {BIAS: "(grad_y ** 2).sum(axis=0)"}, "^the gradient of bias is wrong", "of bias"),
    "no transpose": (
        "03",
        {"grad_y @ self.weight.T": "grad_y @ self.weight"},
        r"^ValueError: the inner sizes of the matrix product differ, 2 and 3 \(03_dense\.py, line \d+\)\n"
        r"    grad_x = .*\n    with grad_y \(4, 2\), self\.weight",
        "matrix product",
    ),
    "one row of the weight": (
        "03",
        {"self.x.T @ grad_y": "(self.x.T @ grad_y)[:1]"},
        "gradient of weight has shape",
        "shape",
    ),
    "no gradient for x": ("03", {"return grad_x, grad_weight, ": "return None, grad_weight, "}, "None for x", "none"),
    "twice": ("03", {"self.x.T @ grad_y": "2 * self.x.T @ grad_y"}, "gradient of weight .*", "factor"),
    "nothing": ("03", {"self.x.T @ grad_y": "self.x.T @ (0 * grad_y)"}, "All of them are 0", "zero"),
    "NaN": ("03", {"self.x.T @ grad_y": "self.x.T @ grad_y * float('nan')"}, "not finite", "not finite"),
    "only without a bias": (
        "03",
        {"            return grad_x, grad_weight\n": "            return grad_x, 2 * grad_weight\n"},
        "^without a bias: the gradient of weight",
        "factor",
    ),
    "an error without a bias": (
        "03",
        {"            return grad_x, grad_weight\n": "            return grad_x, self.kernel\n"},
        "^without a bias: AttributeError.*\n.*\n.*\n    there are self.needs_grad, self.x, self.weight, self.inputs\n",
        "AttributeError",
    ),
    "whether the bias that is not there needs a gradient": (
        "03",
        {NO_BIAS: ""},
        r"^without a bias: IndexError: tuple index out of range \(03_dense\.py, line ",
        "IndexError",
    ),
    "a gradient for the bias that is not there": (
        "03",
        {NO_BIAS: "", " if self.needs_grad[2] else None": ""},
        "^without a bias: .* returned 3 gradients, expected 2 gradients: of x, weight; bias was not given\n",
        "too many",
    ),
    "a convolution with a gradient for the bias that is not there": (
        "07",
        {NO_BIAS: "", " if self.needs_grad[2] else None": ""},
        "^without a bias: .* returned 3 gradients, expected 2 gradients: of x, weight; bias was not given\n",
        "too many",
    ),
    "None for the bias that is not there": (
        "03",
        {"            return grad_x, grad_weight\n": "            return grad_x, grad_weight, None\n"},
        "^without a bias: .* returned 3 gradients, expected 2",
        "too many",
    ),
    "one gradient instead of three": (
        "03",
        {"return grad_x, grad_weight, self.backend": "return grad_x  #"},
        "returned 1 gradient, expected 3 gradients: of x, weight, bias\n",
        "none",
    ),
    "return forgotten": (
        "03",
        {"return grad_x, grad_weight, self.backend": "grads = grad_x, grad_weight, self.backend"},
        "^DenseFunction.backward returned None, expected 3 gradients: of x, weight, bias\n",
        "return",
    ),
    "return forgotten for one input": (
        "04",
        {"return grad_y * (self.y > 0)": "grad_x = grad_y * (self.y > 0)"},
        "^ReLUFunction.backward returned None, expected 1 gradient: of x\n",
        "return",
    ),
    "return of im2col forgotten": (
        "06",
        {"return cols.reshape(": "(cols.reshape)("},
        "NumpyBackend.im2col returned None\n",
        "return",
    ),
    "return of max_pool2d forgotten": ("08", {"return y, winner\n": "pass\n"}, "max_pool2d returned None\n", "return"),
    "return of forward forgotten": (
        "10",
        {"return x * self.mask": "y = x * self.mask"},
        "^with p = 0.25 and key \\(3, 1\\): forward returned None\\n",
        "return",
    ),
    "return of a helper forgotten": (
        "02",
        {"return sorted(": "sorted("},
        "^in a chain of three operations: _in_reverse_order returned None\n",
        "return",
    ),
    "return of the own check forgotten": (
        "13",
        {"return bool(gradcheck(": "(gradcheck("},
        "^gradient_is_right returned None\n",
        "return",
    ),
    "bias over the wrong axis": (
        "03",
        {BIAS: "grad_y.sum(axis=1)"},
        r"^the gradient of bias has shape \(4,\), expected that of bias, \(2,\)",
        "wrong axis",
    ),
    "bias over all axes": ("03", {BIAS: "grad_y.sum()"}, r"has shape \(\), expected", "wrong axis"),
    "bias with keepdims": ("03", {BIAS: "grad_y.sum(axis=0, keepdims=True)"}, r"shape \(1, 2\)", "axis of length 1"),
    "the wrong axis with keepdims": (
        "03",
        {BIAS: "grad_y.sum(axis=1, keepdims=True)"},
        r"has shape \(4, 1\)",
        "wrong axis",
    ),
    "a column without keepdims": (
        "01",
        {"axis=stretched, keepdims=True": "axis=stretched"},
        r"^in unbroadcast of .* to \(2, 1\): its result has shape \(2,\), expected \(2, 1\)",
        "axis of length 1",
    ),
    "gamma not summed": (
        "09",
        {"self.backend.sum(grad_y * self.x_hat, axis=self.axes)": "grad_y * self.x_hat"},
        "gradient of gamma has shape",
        "not summed",
    ),
    "gradients in another order": (
        "03",
        {"return grad_x, grad_weight, self.backend": "return grad_weight, grad_x, self.backend"},
        r"^the gradient of x has shape \(3, 2\), expected that of x, \(4, 3\); \(3, 2\) is the shape of weight\n",
        "order",
    ),
    "a wrong name": (
        "03",
        {"self.x.T @ grad_y": "x.T @ grad_y"},
        r"^NameError: name 'x' is not defined .*\n.*\n.*\n    there are self\.needs_grad, self\.x, self\.weight, ",
        "NameError",
    ),
    "a name of its own too late": (
        "03",
        {"self.x.T @ grad_y if": "grad_weight.T if"},
        "^UnboundLocalError: ",
        "NameError",
    ),
    "no Python": (
        "03",
        {"grad_y @ self.weight.T": "grad_y @"},
        r"^SyntaxError: invalid syntax \(03_dense\.py, line \d+\)\n  Hint",
        "SyntaxError",
    ),
    "indented by mistake": (
        "03",
        {"        grad_weight =": "          grad_weight ="},
        r"^IndentationError: unexpected indent \(03_dense\.py, line \d+\)\n",
        "SyntaxError",
    ),
    "number by number": (
        "03",
        {"grad_y @ self.weight.T": "grad_y * self.weight.T"},
        "^ValueError: operands could not be broadcast.*\n.*\n    with grad_y ",
        "broadcast",
    ),
    "slope 1 at zero": (
        "04",
        {"(self.y > 0)": "(self.inputs[0].data >= 0)"},
        "^at x = 0.*: the gradient of x is wrong",
        "closed kink",
    ),
    "slope 1 wherever y is 0": ("04", {"self.y > 0": "self.y >= 0"}, "the gradient of x is wrong", "upstream alone"),
    "the mask alone": (
        "04",
        {"return grad_y * (self.y > 0)": "return self.y > 0"},
        "^the gradient of x is bool, expected float64 as x is\n",
        "upstream",
    ),
    "the winners alone": (
        "08",
        {"return np.ascontiguousarray(grad_x": "return np.ascontiguousarray((grad_x != 0)"},
        "^with 2x2 windows: the gradient of x is bool: True and False",
        "bool",
    ),
    "1 to each winner": (
        "08",
        {WINNER_ADDS: "grad_x[window] += winner == position"},
        "^with 2x2 windows: the gradient of x is wrong",
        "upstream",
    ),
    "y without winner": (
        "08",
        {"return y, winner\n": "return y\n"},
        r"^with 2x2 windows: NumpyBackend\.max_pool2d returned one array, expected the pair \(y, winner\)\n",
        "pair",
    ),
    "the maximum over the channels": (
        "08",
        {"return y, winner\n": "return np.stack([x[window] for _, window in windows]).max(axis=-1), winner\n"},
        r"^with 2x2 windows: y has shape \(4, 2, 2, 2\), expected \(2, 2, 2, 2\)\n",
        "shape of y",
    ),
    "one image of a pool": (
        "08",
        {"np.ascontiguousarray(grad_x[:,": "np.ascontiguousarray(grad_x[:1,"},
        "^with 2x2 windows: the gradient of x has shape",
        "shape",
    ),
    "places in front": (
        "06",
        {"return cols.reshape(": "return cols.transpose(3, 0, 1, 2, 4) if 1 else ("},
        r"^with kernel_size .*: im2col\(x\) has shape",
        "shape of cols",
    ),
    "one image of col2im": (
        "06",
        {"np.ascontiguousarray(x[:,": "np.ascontiguousarray(x[:1,"},
        r"^with kernel_size .*: col2im\(cols\) has shape",
        "shape of x",
    ),
    "NumPy without an import": (
        "05",
        {"return -self.target": "return -np.asarray(self.target)"},
        r"^in nll_loss with labels: NameError: name 'np' is not defined \(05_cross_entropy\.py, line \d+\)\n",
        "np",
    ),
    "a convolution turned": (
        "07",
        {"(self.cols.T @ grad_y)": "(grad_y.T @ self.cols)"},
        "^the gradient of weight is wrong",
        "turned",
    ),
    "grad_y with four axes": (
        "07",
        {"        grad_y = grad_y.reshape(-1, F)": "        pass"},
        r"^ValueError: .*\n    .*\n    with grad_y \(3, ",
        "not rows",
    ),
    "a filter with its sides exchanged": (
        "07",
        {"self.weight.reshape(KH * KW * C, F).T": "self.weight.reshape(F, KH * KW * C).T"},
        r"^ValueError: .*\n    .*\n    with grad_y \(12, 5\)",
        "matrix product",
    ),
    "upstream forgotten": (
        "04",
        {"return grad_y * (self.y > 0)": "return 1.0 * (self.y > 0)"},
        "gradient of x is wrong",
        "upstream",
    ),
    "no ReLU": ("04", {"return grad_y * (self.y > 0)": "return grad_y * 1.0"}, "gradient of x is", "upstream alone"),
    "grad_y changed": (
        "04",
        {"return grad_y * (self.y > 0)": "grad_y *= self.y > 0\n        return grad_y"},
        "^ReLU\\.backward changed grad_y in place",
        "in place",
    ),
    "N forgotten": ("05", {"(grad_loss / len(p))": "grad_loss"}, "Everything is 4 times.*4 rows", "not averaged"),
    "N twice": ("05", {"(grad_loss / len(p))": "(grad_loss / len(p) / len(p))"}, "0\\.25 times.*4 rows", "averaged"),
    "loss taken as the end": (
        "05",
        {"(grad_loss / len(p))": "(1 / len(p))"},
        "the gradient of logits is wrong",
        "upstream",
    ),
    "N and grad_loss forgotten": (
        "05",
        {"* (grad_loss / len(p))": "* 1.0"},
        "Several mistakes .* 4 times .*: there are 4 rows",
        "upstream + not averaged",
    ),
    "N, grad_loss and the sign": (
        "05",
        {"(p - self.target) * (grad_loss / len(p))": "self.target - p"},
        "Several mistakes .* -4 times .*: the sign is wrong, and there are 4 rows",
        "upstream + sign + not averaged",
    ),
    "N and the sign": (
        "05",
        {"(p - self.target) * (grad_loss / len(p))": "(self.target - p) * grad_loss"},
        "Everything is -4 times what it should be: the sign is wrong, and there are 4 rows",
        "sign + not averaged",
    ),
    "K in place of N": (
        "05",
        {"(grad_loss / len(p))": "(grad_loss / p.shape[1])"},
        "1\\.333 times .*, which is 4/3: there are 4 rows and 3 columns",
        "other count",
    ),
    "N K in place of N": (
        "05",
        {"(grad_loss / len(p))": "(grad_loss / p.size)"},
        "0\\.3333 times .*, which is 1/3: there are 3 columns",
        "other count",
    ),
    "the sign and a factor": (
        "03",
        {"self.x.T @ grad_y": "-2 * self.x.T @ grad_y"},
        "-2 times",
        "sign + factor",
    ),
    "log p in place of p": ("05", {"xp.exp(self.log_p)": "xp.asarray(self.log_p)"}, "gradient of logits", "log p"),
    "logits in place of p": ("05", {"(p - self.target)": "(self.inputs[0].data - self.target)"}, "logits", "logits"),
    "softmax alone": ("05", {"(p - self.target)": "(p * (1 - p))"}, "gradient of logits", "softmax alone"),
    "softmax alone, not averaged": (
        "05",
        {"(p - self.target) * (grad_loss / len(p))": "p * (1 - p) * grad_loss"},
        "gradient of logits",
        "softmax alone + not averaged",
    ),
    "p alone": (
        "05",
        {"(p - self.target) * (grad_loss / len(p))": "p"},
        "Several mistakes",
        "target left out + upstream + not averaged",
    ),
    "the other factor and no minus": (
        "01",
        {"-grad_y * self.a / (self.b * self.b)": "grad_y * self.a / self.b"},
        "^in a / b: the gradient of b",
        "denominator + sign",
    ),
    "p forgotten": (
        "05",
        {"(p - self.target)": "-self.target"},
        "gradient of logits .*\n.*\n    came      0\n",
        "p left out",
    ),
    "labels in place of target": (
        "05",
        {"(p - self.target)": "(p - self.labels)"},
        "ValueError: operands could not be broadcast",
        "indices",
    ),
    "p squared": ("05", {"(p - self.target)": "(p * p - self.target)"}, "gradient of logits", ""),
    "nll as from logits": (
        "05",
        {"return -self.target": "return (self.backend.xp.exp(self.inputs[0].data) - self.target)"},
        "in nll_loss with labels: the gradient of log_p is wrong",
        "as from logits",
    ),
    "nll as from logits, with softmax": (
        "05",
        {"return -self.target": f"p = {SOFTMAX_OF_LOG_P}\n        return (p - self.target)"},
        "in nll_loss with labels: the gradient of log_p is wrong",
        "as from logits",
    ),
    "nll as from logits, with what is at hand": (
        "05",
        {"return -self.target": "p = self.backend.xp.exp(self.target)\n        return (p - self.target)"},
        "in nll_loss with labels: the gradient of log_p is wrong",
        "as from logits",
    ),
    "nll with a square": (
        "05",
        {"return -self.target": "return -self.inputs[0].data ** 2 * self.target"},
        "in nll_loss with labels: the gradient of log_p is wrong",
        "of NLLLossFunction",
    ),
    "nll times log p": (
        "05",
        {"return -self.target": "return -self.target * self.inputs[0].data"},
        "in nll_loss with labels: the gradient of log_p is wrong",
        "log p as a factor",
    ),
    "nll too short": (
        "05",
        {"return -self.target * (grad_loss / len(self.target))": "return (-self.target * grad_loss)[:, 0]"},
        r"the gradient of log_p has shape \(4,\)",
        "shape",
    ),
    "target minus p": ("05", {"(p - self.target)": "(self.target - p)"}, "The sign is wrong everywhere", "sign"),
    "target forgotten": ("05", {"(p - self.target)": "p"}, "in softmax_cross_entropy with labels", "target left out"),
    "nll without its minus": (
        "05",
        {"return -self.target": "return self.target"},
        "in nll_loss with labels: .*",
        "sign",
    ),
    "pixel overwritten": ("06", {"x[window] += cols": "x[window] = cols"}, "col2im\\(cols\\) is wrong", "overwritten"),
    "squares of copies": (
        "06",
        {"+= cols[:, :, :, position]": "+= cols[:, :, :, position] ** 2"},
        "col2im\\(cols\\) is wrong",
        "of col2im",
    ),
    "squares of pixels": (
        "06",
        {"position] = x[window]": "position] = x[window] ** 2"},
        "im2col\\(x\\) is wrong",
        "of im2col",
    ),
    "always float64": (
        "06",
        {"KH * KW, C), dtype=x.dtype)": "KH * KW, C))"},
        r"^on float32 images: the numbers of im2col\(x\) are right, .*\n    06_im2col\.py, line \d+:  cols = np",
        "dtype",
    ),
    "col2im always float64": (
        "06",
        {"(N, H + 2 * PH, W + 2 * PW, C), dtype=cols.dtype)": "(N, H + 2 * PH, W + 2 * PW, C))"},
        r"^on float32 images: the numbers of col2im\(cols\) are right, .*\n    06_im2col\.py, line \d+:  x = np",
        "dtype",
    ),
    "a pool whose gradient is always float64": (
        "08",
        {"(N, H + 2 * PH, W + 2 * PW, C), dtype=grad_y.dtype)": "(N, H + 2 * PH, W + 2 * PW, C))"},
        r"^on float32 images: the numbers of the gradient .*\n    08_max_pool\.py, line \d+:  grad_x = np",
        "dtype",
    ),
    "a pool that is always float64": (
        "08",
        {"return y, winner": "return y.astype(float), winner"},
        "^on float32 images: the numbers of y are right, but their dtype is float64",
        "dtype",
    ),
    "a gradient that is always float64": (
        "04",
        {"return grad_y * (self.y > 0)": "return grad_y * (self.y > 0).astype(float)"},
        "^on float32 inputs: the gradient of x is float64, expected float32 as x is",
        "dtype",
    ),
    "padding kept": (
        "06",
        {"np.ascontiguousarray(x[:, PH : PH + H, PW : PW + W])": "x"},
        r"^with kernel_size .*: col2im\(cols\) has shape",
        "not summed",
    ),
    "conv bias averaged": (
        "07",
        {BIAS: "grad_y.mean(axis=0)"},
        "gradient of bias .*\n.*\n.*\n.*there are 12 windows",
        "averaged",
    ),
    "conv upstream of ones": (
        "07",
        {"self.cols.T @ grad_y": "self.cols.T @ (0 * grad_y + 1)"},
        "gradient of weight",
        "upstream",
    ),
    "a loop over windows that overwrites": (
        "07",
        {CONV_WEIGHT: LOOP.format("=")},
        r"the gradient of weight is wrong .*\n.*\n.*\n  It is what grad_y\[-1, -1, -1\] alone contributes\.\n",
        "overwritten",
    ),
    "a loop over images that overwrites": (
        "03",
        {DENSE_WEIGHT: "grad_weight = [x[:, None] * g for x, g in zip(self.x, grad_y)][-1]"},
        "the gradient of weight is wrong",
        "overwritten",
    ),
    "pixels overwritten, window by window": (
        "07",
        {"        return grad_x, grad_weight, self": COL2IM_BY_WINDOWS + "        return grad_x, grad_weight, self"},
        "the gradient of x is wrong",
        "overwritten",
    ),
    "bias over the wrong axis of the rows": (
        "07",
        {BIAS: "grad_y.sum(axis=1)"},
        r"^the gradient of bias has shape \(12,\)",
        "wrong axis",
    ),
    "conv bias twice": ("07", {BIAS: "2 * grad_y.sum(axis=0)"}, "Everything is 2 times what it should be.\n", "factor"),
    "conv bias times the images": ("07", {BIAS: "3 * grad_y.sum(axis=0)"}, "Everything is 3 times .* be.\n", "factor"),
    "a filter read in another order": (
        "07",
        {"@ grad_y).reshape(KH, KW, C, F)": "@ grad_y).reshape(C, KW, KH, F)"},
        r"^the gradient of weight has shape \(4, 2, 3, 5\)",
        "shape",
    ),
    "filter turned": (
        "07",
        {"grad_y @ self.weight.reshape(KH": "grad_y @ self.weight[::-1, ::-1].reshape(KH"},
        "gradient of x",
        "filter turned",
    ),
    "cols reshaped in place of transposed": (
        "07",
        {"self.cols.T @ grad_y": "self.cols.reshape(self.cols.shape[::-1]) @ grad_y"},
        "gradient of weight",
        "not transposed",
    ),
    "reshaped in place of transposed": (
        "07",
        {"self.weight.reshape(KH * KW * C, F).T": "self.weight.reshape(F, KH * KW * C)"},
        "gradient of x",
        "not transposed",
    ),
    "col2im cuts elsewhere": (
        "06",
        {"x[:, PH : PH + H, PW : PW + W]": "x[:, :H, :W]"},
        "^with kernel_size .* padding \\(1, 2\\): col2im",
        "cut elsewhere",
    ),
    "a pool that cuts elsewhere": (
        "08",
        {"grad_x[:, PH : PH + H, PW : PW + W]": "grad_x[:, :H, :W]"},
        "^with padding",
        "cut elsewhere",
    ),
    "PH and PW exchanged in a pool": (
        "08",
        {"grad_x[:, PH : PH + H, PW : PW + W]": "grad_x[:, PW : PW + H, PH : PH + W]"},
        "^with padding",
        "shape",
    ),
    "winner of two windows, by a mask": (
        "08",
        {WINNER_ADDS: "grad_x[window][winner == position] = grad_y[winner == position]"},
        "with overlapping windows",
        "overwritten",
    ),
    "weight upside down": (
        "07",
        {"(self.cols.T @ grad_y).reshape(KH, KW, C, F)": "(self.cols.T @ grad_y).reshape(KH, KW, C, F)[::-1]"},
        "in the wrong places",
        "places",
    ),
    "filter with its square": (
        "07",
        {"grad_y @ self.weight.reshape(KH * KW * C, F).T": "grad_y @ self.weight.reshape(KH * KW * C, F).T ** 2"},
        "gradient of x",
        "",
    ),
    "the last of equals wins": (
        "08",
        {"return y, winner\n": f"winner = {LAST}\n        return y, winner\n"},
        "with ties, where the first pixel is to win",
        "last wins",
    ),
    "the winner over the number of pixels": (
        "08",
        {"+= grad_y * (winner": "+= grad_y / 4 * (winner"},
        "0.25 times what it should be, which is 1/4: there are 4 pixels in a window",
        "averaged",
    ),
    "the maximum of the numbers": (
        "08",
        {"return y, winner\n": f"return {MAXIMUM_OF_NUMBERS}, winner\n"},
        r"^with NaN, which wins: y .*\n    expected  100  \(the maximum of each window; 100 stands for NaN\)\n",
        "NaN loses",
    ),
    "a tie to all winners": (
        "08",
        {
            "return y, winner\n": f"winner = {ALL_WINNERS}\n        return y, winner\n",
            "(winner == position)": "winner[position]",
        },
        "with ties, where the first pixel is to win",
        "all winners",
    ),
    "NaN never equal": ("08", {"return y, winner\n": f"return y, {FIRST_BUT_NAN}\n"}, "with NaN, which wins", ""),
    "an average in place of a maximum": (
        "08",
        {"return y, winner\n": f"return {MEAN}, winner\n"},
        r"^with 2x2 windows: y is wrong at index .*\n    expected .*\(the maximum of each window\)",
        "mean for maximum",
    ),
    "padding by 0": (
        "08",
        {
            "x = padded(x, padding, value=-np.inf)": "x = padded(x, padding)",
            "inside[window] for": "inside[window] | True for",
        },
        r"^with padding \(it never wins\): y is wrong",
        "padded by 0",
    ),
    "to every pixel of the window": ("08", {" * (winner == position)": ""}, "the gradient of x is wrong", "everywhere"),
    "as for an average": ("08", {" * (winner == position)": " / 4"}, "the gradient of x is wrong", "shared"),
    "padding kept in the pool's gradient": (
        "08",
        {"np.ascontiguousarray(grad_x[:, PH : PH + H, PW : PW + W])": "grad_x"},
        "the gradient of x has shape",
        "not summed",
    ),
    "winner of two windows": (
        "08",
        {"grad_x[window] += grad_y": "grad_x[window] = grad_y"},
        "with overlapping windows",
        "overwritten",
    ),
    "mean taken as constant": (
        "09",
        {"(grad_y - grad_beta / self.M - self.x_hat": "(grad_y - self.x_hat"},
        "^for rows .*: the gradient of x",
        "mean left out",
    ),
    "variance taken as constant": (
        "09",
        {" - self.x_hat * (grad_gamma / self.M))": ")"},
        "gradient of x",
        "variance left out",
    ),
    "both taken as constant": (
        "09",
        {"(grad_y - grad_beta / self.M - self.x_hat * (grad_gamma / self.M))": "grad_y"},
        "gradient of x",
        "statistics left out",
    ),
    "two of the three paths": (
        "09",
        {"(grad_y - grad_beta / self.M -": "(2 * grad_y - 3 * grad_beta / self.M -"},
        "The direct term is 2 times .* be. The term through the mean is 3 times",
        "several terms",
    ),
    "gamma forgotten": ("09", {"return self.gamma * self": "return self"}, "gradient of x", "gamma left out"),
    "the direct path twice": (
        "09",
        {"(grad_y - grad_beta": "(2 * grad_y - grad_beta"},
        "The direct term is 2 times what it should be",
        "direct term",
    ),
    "grad_y squared": ("09", {"(grad_y - grad_beta": "(grad_y**2 - grad_beta"}, "do not add up to it", "of x"),
    "gamma and the variance forgotten": (
        "09",
        {
            "return self.gamma * self.inverse": "return self.inverse",
            " - self.x_hat * (grad_gamma / self.M))": ")",
        },
        "gradient of x",
        "gamma left out + variance left out",
    ),
    "one mask for all images": (
        "10",
        {"mask(x.shape": "mask(x.shape[1:]"},
        "^with p = 0.25 and key \\(3, 1\\): y is wrong",
        "of DropoutFunction.forward",
    ),
    "another key": (
        "10",
        {"x.dtype, self.key)": "x.dtype, (3, 1))"},
        "^with p = 0.25 and key \\(4, 1\\): y is wrong",
        "of DropoutFunction.forward",
    ),
    "another mask": (
        "10",
        {"grad_y * self.mask": "grad_y * self.backend.xp.roll(self.mask, 1)"},
        "gradient of x",
        "",
    ),
    "not scaled up": (
        "10",
        {"return x * self.mask": "return x * (self.mask > 0)"},
        "y is wrong .*\n.*\n.*\n  Everything is 0.75 times",
        "not scaled",
    ),
    "backward not scaled up": (
        "10",
        {"return grad_y * self.mask": "return grad_y * (self.mask > 0)"},
        "of x",
        "not scaled",
    ),
    "p kept instead of dropped": ("10", {"x.shape, self.p,": "x.shape, 1 - self.p,"}, "y is wrong", "wrong share"),
    "no mask in backward": ("10", {"return grad_y * self.mask": "return grad_y * 1.0"}, "of x is", "upstream alone"),
    "a backend that an optimizer does not have": (
        "11",
        {"backend.xp.sqrt(": "self.backend.xp.sqrt("},
        "^Adam\\(.*: AttributeError: 'Adam' object has no attribute 'backend'",
        "AttributeError",
    ),
    "uphill": (
        "11",
        {"p -= lr * (g": "p += lr * (g"},
        "^SGD\\(.*p after step 1, with the right velocity, is wrong",
        "uphill",
    ),
    "Adam uphill": (
        "11",
        {"p -= step_size": "p += step_size"},
        "^Adam\\(.*p after step 1, with the right m and v, is wrong",
        "uphill",
    ),
    "only a local name": (
        "11",
        {"p -= lr * (g": "p = p - lr * (g"},
        "^SGD\\(.*p has not moved after step 1\\n",
        "only a name",
    ),
    "gradient changed": (
        "11",
        {OPTIMIZER_DECAY: OPTIMIZER_DECAY.replace("g = g +", "g +=")},
        "the gradient itself has changed",
        "in place",
    ),
    "velocity only a name": (
        "11",
        {"velocity *= self.momentum\n        velocity += g\n": "velocity = self.momentum * velocity + g\n"},
        "^SGD\\(.*velocity is still all zeros after step 1\\n",
        "slot only a name",
    ),
    "a step that is nothing": ("11", {"p -= lr * (g": "p -= 0 * (g"}, "p has not moved after step 1", "not moved"),
    "m with a square": (
        "11",
        {"(1 - self.beta1) * g\n": "(1 - self.beta1) * g * g\n"},
        "^Adam\\(.*m after step 1 is wrong",
        "of Adam.adam_update",
    ),
    "velocity with a square": (
        "11",
        {"velocity += g\n": "velocity += g * g\n"},
        "^SGD\\(.*velocity after step 1 is wrong",
        "of SGD.update",
    ),
    "m only a name": (
        "11",
        {"m *= self.beta1\n": "m = m * self.beta1\n"},
        "^Adam\\(.*m is still all zeros after step 1\\n",
        "slot only a name",
    ),
    "v only a name": (
        "11",
        {"v *= self.beta2\n": "v = v * self.beta2\n"},
        "^Adam\\(.*v is still all zeros after step 1\\n",
        "slot only a name",
    ),
    "uphill, and no bias correction": (
        "11",
        {"(backend.xp.sqrt(v * v_scale)": "(backend.xp.sqrt(v)", "p -= step_size": "p += step_size"},
        "^Adam\\(",
        "uphill + v not corrected",
    ),
    "upstream of ones": (
        "12",
        {"self.rng.normal(size=self.y.shape)": "np.ones(self.y.shape)"},
        "^self.upstream is 1 for every output",
        "equal upstream",
    ),
    "a generous tolerance": (
        "12",
        {"self.rtol * abs(numeric)": "abs(analytic)"},
        "result.kinks is",
        "bound by analytic",
    ),
    "the last element skipped": (
        "12",
        {CHECK_LOOP: SKIP_LAST + CHECK_LOOP},
        "fooled by a gradient that is wrong at its last element",
        "fooled",
    ),
    "always the first input": (
        "12",
        {"self._moved(i, -eps * direction), self._moved(i,": "self._moved(0, -eps * direction), self._moved(0,"},
        "^in _slopes for a \\* b: left",
        "the first input",
    ),
    "the relative tolerance 1": (
        "12",
        {BOUND: "self.atol + abs(numeric):"},
        r"result\.kinks is \[\], expected \[\(0, \(1,\)\)\]",
        "kink not noted",
    ),
    "left minus right": (
        "12",
        {"(left + right).sum() / 2": "(left - right).sum() / 2"},
        r"refuses a correct gradient, x\.exp",
        "refuses",
    ),
    "a name before it has a value": (
        "12",
        {"        where = f": "        raise GradientError(where)\n        where = f"},
        "^UnboundLocalError: ",
        "NameError",
    ),
    "a kink that is not listed": (
        "12",
        {"self.result.kinks.append(place)": "pass"},
        r"result\.kinks is \[\], expected \[\(0, \(1,\)\)\]",
        "kink not appended",
    ),
    "no relative tolerance, and nothing noted": (
        "12",
        {BOUND: "self.atol:", "self._note_error(error, numeric)": "pass"},
        "^with atol 0.0, rtol 0.02, .* is refused",
        "one tolerance",
    ),
    "every place a kink": (
        "12",
        {"self._note_error(error": "self.result.kinks.append(place)\n                self._note_error(error"},
        "^x.exp\\(\\): result.kinks is",
        "kink noted",
    ),
    "a kink that is excepted": (
        "12",
        {"if self._is_subgradient(": "if index != (1,) and self._is_subgradient("},
        "refuses a correct gradient, ReLU",
        "kink",
    ),
    "twice the error noted": (
        "12",
        {"self._note_error(error": "self._note_error(2 * error"},
        "worst_error is 0.02, expected 0.01",
        "error not noted",
    ),
    "one distance": ("12", {"self.eps * factor": "self.eps"}, r"a kink is found at \[\(0, \(1,\)\)\]", "one distance"),
    "no relative tolerance": (
        "12",
        {BOUND: "self.atol:"},
        "^with atol 0.0, rtol 0.02, .* is refused",
        "no relative tolerance",
    ),
    "an error without its index": (
        "12",
        {"at {where} is": "is"},
        "^the error for a wrong gradient at index",
        "message",
    ),
    "an error without numbers": (
        "12",
        {": analytic {analytic:.9g}, numeric {numeric:.9g}": ""},
        "^the error for a wrong gradient at index",
        "message",
    ),
    "half of one slope": (
        "12",
        {"(self.y - below) / eps": "(self.y - below) / (2 * eps)"},
        "^in _slopes for 3 max.*: left, the slope to the left of each output, is wrong at index",
        "two steps",
    ),
    "slopes of y": ("12", {"self.upstream * (self.y - below)": "(self.y - below)"}, "^in _slopes", "upstream left out"),
    "right before left": (
        "12",
        {
            "return self.upstream * (self.y - below)": "left = self.upstream * (self.y - below)",
            "/ eps, self": "/ eps\n        return self",
            "(above - self.y) / eps": "(above - self.y) / eps, left",
        },
        "^in _slopes",
        "exchanged sides",
    ),
    "one slope": (
        "12",
        {"return self.upstream * (self.y - below) / eps, ": "return "},
        "^in _slopes .*: _slopes has to return two arrays",
        "two slopes",
    ),
    "a promoted dtype": (
        "13",
        {".astype(x.dtype)": ""},
        "forward returned float64 for inputs of float32",
        "dtype",
    ),
    "the factor twice in forward": (
        "13",
        {"return x * self.factor": "return x * self.factor * self.factor"},
        "^leaky_relu\\(x, slope=0.3\\) is wrong",
        "of forward",
    ),
    "a promoted gradient": (
        "13",
        {"return grad_y * self.factor": "return grad_y * self.factor.astype('float64')"},
        "on float32 inputs: the gradient of x is float64, expected float32",
        "dtype",
    ),
    "the factor without grad_y": (
        "13",
        {"return grad_y * self.factor": "return self.factor"},
        "the gradient of x is wrong",
        "upstream",
    ),
    "the gradient of ReLU": (
        "13",
        {"return grad_y * self.factor": "return grad_y * (self.factor == 1)"},
        "gradient of x",
        "slope left out",
    ),
    "a check where x is negative": (
        "13",
        {"np.random.default_rng(0).normal(size=(3, 4))": "-abs(np.random.default_rng(0).normal(size=(3, 4)))"},
        "for a leaky_relu whose gradient is wrong where x is positive",
        "own check",
    ),
    "a check that is always content": (
        "13",
        {"return bool(gradcheck(lambda x: leaky_relu(x), x, raise_exception=False))": "return True"},
        "for a leaky_relu whose gradient is wrong where x is negative",
        "own check",
    ),
    "a check in float32": (
        "13",
        {"normal(size=(3, 4))": "normal(size=(3, 4)).astype('float32')"},
        "finite differences need float64",
        "of gradient_is_right",
    ),
}
IN_THE_EXTRA_STEP = (
    "the maximum of the numbers",
    "NaN never equal",
    "padding by 0",
    "padding kept in the pool's gradient",
    "winner of two windows",
    "winner of two windows, by a mask",
    "a pool that cuts elsewhere",
    "PH and PW exchanged in a pool",
)


def planted(label: str) -> tuple[Exercise, str]:
    """The exercise, and its solution with the mistake."""
    number, changes, *_ = WRONG[label]
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name.startswith(number))
    answer = exercise.solution()
    for passage, instead in changes.items():
        assert passage in answer, "the source has changed: write this wrong answer anew"
        answer = answer.replace(passage, instead)
    return exercise, answer


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_answer_does_not_pass(label: str, tmp_path: Path) -> None:
    """Its message names the mistake, and its hint is that of the symptom."""
    exercise, answer = planted(label)
    *_, message, symptom = WRONG[label]
    outcome = outcome_of(exercise, answer, tmp_path)
    assert outcome.state == ("part" if label in IN_THE_EXTRA_STEP else "wrong")
    after_the_first_task = re.sub(r"^Your first task is right: .*\n", "", outcome.message)
    assert re.search(message, after_the_first_task), outcome.message
    assert outcome.symptom == symptom, outcome.message
    hints = [(exercise.hints.get(key) or HINTS.get(key) or (exercise.hint, ""))[0] for key in symptom.split(BOTH)]
    told = outcome.message.partition("\n  Hint 1 of 3: ")[2]
    if not symptom or symptom.startswith("of "):  # what is right, and not what is wrong
        fits_none = (
            "your numbers fit no mistake that the check knows. How" if " at index " in outcome.message else "how"
        )
        assert told == f"{fits_none} it should be: {hints[0]}"
    elif len(hints) == 1:
        assert told == hints[0]
    else:
        numbered = " ".join(f"({i}) {one}" for i, one in enumerate(hints, start=1))
        assert told == f"{len(hints)} mistakes at once. {numbered}"


def test_every_hint_has_a_planted_mistake() -> None:
    """Those of each exercise, and those for all of them: no hint is written for a mistake that it is not shown for."""
    planted = [(exercise.name[:2], key) for exercise in EXERCISES for key in exercise.planted]  # see test_mistakes.py
    of_reader = [(title[:2], title[3:]) for title, _ in blocks("@")]
    shown = {(number, key) for number, _, _, symptom in WRONG.values() for key in (symptom, *symptom.split(BOTH))}
    shown |= {*planted, *of_reader}
    of_exercises = {(exercise.name[:2], symptom) for exercise in EXERCISES for symptom in exercise.hints}
    assert of_exercises - shown == set()
    assert set(HINTS) - {symptom for _, symptom in shown} == set()


def test_hints_come_in_three_levels(tmp_path: Path) -> None:
    exercise, answer = planted("bias averaged")
    path = tmp_path / exercise.file_name
    path.write_text(answer)
    told = [check_file(exercise, path, level).message.partition("\n  Hint ")[2] for level in (1, 2, 3)]
    assert told[0] == f"1 of 3: {HINTS['averaged'][0]}"
    assert told[1] == f"{told[0]}\n  Hint 2 of 3: {HINTS['averaged'][1]}"
    last = "grad_b[j] = Σ_n grad_y[n, j], a sum over axis 0: grad_bias = grad_y.sum(axis=0)"
    assert told[2] == f"{told[1]}\n  Hint 3 of 3: {last}"
    for label, is_computed in {"filter with its square": True, "another mask": True, "recursion": False}.items():
        exercise, answer = planted(label)  # whose numbers show no mistake that is known
        path = tmp_path / exercise.file_name
        path.write_text(answer)
        second = check_file(exercise, path, 2).message.partition("\n  Hint 2 of 3: ")[2]
        assert ("Compute the number at the index above on paper" in second) is is_computed
        assert second.endswith(f"{exercise.chapter} derives it.") or not is_computed
    for label, formula in {
        "a gradient for the bias that is not there": "if len(self.inputs) is 2, else (grad_x, grad_weight, grad_bias)",
        "the last of equals wins": "winner = its argmax and y = its max over axis 0",
        "labels in place of target": "with p = self.backend.xp.exp(self.log_p) and N = len(self.target)",
    }.items():
        exercise, answer = planted(label)
        path = tmp_path / exercise.file_name
        path.write_text(answer)
        assert check_file(exercise, path, 3).message.endswith(formula)  # of the function where it happened, no other


LABELS_AS_INDEX = "p[range(len(p)), self.labels] -= 1\n        return p"
OF_COL2IM = "self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)"


@pytest.mark.parametrize(
    ("number", "changes", "level", "words"),
    [
        ("04", {"(self.y > 0)": "(self.y >= 0)"}, 1, "y is never negative, so y >= 0 is true everywhere"),
        ("04", {"(self.y > 0)": "self.y"}, 1, "The slope is 1 where y is positive, however large y is"),
        ("05", {"return (p - self.target)": LABELS_AS_INDEX}, 1, "With integer labels this line works"),
        ("05", {"return (p - self.target)": LABELS_AS_INDEX}, 2, "self.target (N, K) covers both"),
        ("06", {"(N, H + 2 * PH, W + 2 * PW, C)": "x_shape"}, 2, "the padded image"),
        ("06", {"PH : PH + H": "PH:-PH"}, 1, "-0 is 0"),
        ("07", {"grad_y = grad_y.reshape(-1, F)": "grad_y = grad_y.reshape(F, -1)"}, 2, "grad_y.reshape(-1, F) is"),
        ("07", {"grad_y = grad_y.reshape(-1, F)": "grad_y = grad_y"}, 2, "grad_y.reshape(-1, F) has"),
        ("07", {OF_COL2IM: "grad_cols"}, 2, "by col2im"),
        ("07", {OF_COL2IM: OF_COL2IM.replace("self.stride, ", "")}, 2, "self.stride"),
        ("07", {OF_COL2IM: OF_COL2IM.replace("self.stride", "(1, 1)")}, 2, "self.stride"),
        ("11", {"velocity += g": "velocity += g / 2"}, 2, "formula in the docstring"),
    ],
)  # fmt: skip
def test_a_hint_helps(number: str, changes: dict[str, str], level: int, words: str, tmp_path: Path) -> None:
    """It has the words that a reader of the message missed."""
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name.startswith(number))
    answer = exercise.solution()
    for passage, instead in changes.items():
        assert passage in answer
        answer = answer.replace(passage, instead)
    path = tmp_path / exercise.file_name
    path.write_text(answer)
    told = check_file(exercise, path, level).message.partition("\n  Hint ")[2]
    assert words in told, told


@ALL
def test_every_hole_has_a_formula(exercise: Exercise, tmp_path: Path) -> None:
    for hole in exercise.holes:
        path = tmp_path / exercise.file_name
        path.write_text(cut(exercise.solution(), hole))
        assert re.search(r"Hint 3 of 3: \S", check_file(exercise, path, 3).message), hole.place


def test_a_sensible_max_pool_with_argmax_is_accepted(tmp_path: Path) -> None:
    """Where minus infinity and padding are equal, it differs from the package: a remark, not a mistake."""
    exercise = BY_NAME["08_max_pool"]
    answer = exercise.solution().replace("return y, winner\n", f"return y, {SENSIBLE_ARGMAX}\n")
    outcome = outcome_of(exercise, answer, tmp_path)
    assert outcome.state == "right"
    assert outcome.message.startswith("a remark, for a case that the exercise does not ask for: in a window of minus")


SCHOOL_MAX_POOL = {
    "NumpyBackend.max_pool2d": """
        winner = np.zeros(y.shape, int)
        for number, place in windows:
            better = x[place] > y
            winner = np.where(better, number, winner)
            y = np.where(better, x[place], y)
        return y, winner""",
    "NumpyBackend.max_pool2d_backward": """
        grad_x = np.zeros(x_shape, grad_y.dtype)
        for number, place in window_positions(kernel_size, stride, grid):
            grad_x[place] = grad_y * (winner == number)
        return grad_x""",
}


def test_the_first_task_of_max_pooling_is_right_without_the_extra_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2x2 windows, by a loop that knows neither overlap nor padding nor NaN; a network trains on it."""
    exercise = BY_NAME["08_max_pool"]
    text = exercise.text()
    for place, answer in SCHOOL_MAX_POOL.items():
        text = filled(text, place, answer)
    outcome = outcome_of(exercise, text, tmp_path)
    assert outcome.state == "part"
    assert outcome.message.startswith(
        "Your first task is right: 2x2 windows side by side, ties included. The extra step:\n"
        "with overlapping windows: the gradient of x is wrong at index "
    )
    assert main(["exercises", str(tmp_path), "--check", "--only", "8"]) == 1
    assert "\n1 of 2 tasks right\n" in capsys.readouterr().out
    digits, lines = data.load("digits"), []
    train_on(tmp_path, replace(digits, x_test=digits.x_test[:2], y_test=digits.y_test[:2]), lines.append, steps=1)
    assert f"{exercise.name:<18}yours" in lines
    added = text.replace("grad_x[place] = grad_y", "grad_x[place] += grad_y")
    assert outcome_of(exercise, added, tmp_path).message.splitlines()[1].startswith("with padding (it never wins): ")


def test_products_of_numbers_are_checked_before_broadcasting_is_written(tmp_path: Path) -> None:
    """As in a first lesson: Multiply and Divide are there, the other two functions are not."""
    exercise = BY_NAME["01_arithmetic"]
    for second, state, words in (
        (
            "-grad_y * self.a / self.b**2",
            "begun",
            "Your first task is right: Multiply and Divide, for arrays of one shape",
        ),
        ("grad_y * self.a / self.b**2", "wrong", "in a / b: the gradient of b is wrong"),
    ):
        text = exercise.text()
        for place, grads in {
            "Multiply": "grad_y * self.b, grad_y * self.a",
            "Divide": f"grad_y / self.b, {second}",
        }.items():
            text = filled(text, f"{place}.backward", f"return self.unbroadcast({grads})")
        outcome = outcome_of(exercise, text, tmp_path)
        assert outcome.state == state
        assert outcome.message.startswith(words)
        assert ("unbroadcast (01_arithmetic.py, line " in outcome.message) == (state == "begun")


def test_a_mistake_is_reported_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that returned or stored the wrong numbers, if it is one; also for a file with a relative name."""
    monkeypatch.chdir(tmp_path)
    for label, passage in {
        "bias averaged": "return grad_x, grad_weight, grad_y.mean(axis=0)",
        "weight transposed": "grad_weight = grad_y.T @ self.x",
        "bias over the wrong axis": "return grad_x, grad_weight, grad_y.sum(axis=1)",
        "a loop over windows that overwrites": "grad_weight[...] = (row[:, None] * grad)",
        "only without a bias": "return grad_x, 2 * grad_weight",
        "variance taken as constant": "return self.gamma * self.inverse_std * (grad_y - grad_beta / self.M)",
        "pixel overwritten": "x[window] = cols",
        "col2im cuts elsewhere": "return np.ascontiguousarray(x[",
        "padding kept": "return x",
        "to every pixel of the window": "grad_x[window] += grad_y",
        "the winner over the number of pixels": "grad_x[window] += grad_y / 4",
        "a pool that cuts elsewhere": "return np.ascontiguousarray(grad_x[",
        "padding kept in the pool's gradient": "return grad_x",
        "the last of equals wins": "winner = len(windows)",
        "a tie to all winners": "winner = np.stack",
        "broadcasting averaged": "grad = grad.mean(axis=tuple(range(added)))",
        "an average in place of a maximum": "return np.stack([",
    }.items():
        exercise, answer = planted(label)
        Path(exercise.file_name).write_text(answer)
        message = check_file(exercise, Path(exercise.file_name)).message
        (line, text) = re.findall(rf"\n    {exercise.file_name}, line (\d+)[^:]*:  (.*)", message)[0]
        assert answer.splitlines()[int(line) - 1].strip() == text
        assert passage in text, (label, text)
    for label, function in {
        "leaf overwritten": "backward",
        "makers first": "_in_reverse_order",
        "velocity with a square": "SGD.update",
        "upstream of ones": "_Check.__init__",
        "one slope": "_Check._slopes",
        "the last element skipped": "_Check.compare",
        "grad_y changed": "ReLUFunction.backward",
        "a check that is always content": "gradient_is_right",
    }.items():  # where no line is known
        exercise, answer = planted(label)
        Path(exercise.file_name).write_text(answer)
        message = check_file(exercise, Path(exercise.file_name)).message
        ((first, last, named),) = re.findall(rf"\n    {exercise.file_name}, lines (\d+) to (\d+):  (.*)", message)
        assert named == function
        lines = answer.splitlines()[int(first) - 1 : int(last)]
        assert f"def {function.split('.')[-1]}(" in lines[0]
        assert not any(line.lstrip().startswith("def ") for line in lines[1:])
    exercise, answer = planted("no transpose")
    Path(exercise.file_name).write_text(answer)
    assert "(03_dense.py, line " in check_file(exercise, Path(exercise.file_name)).message


@pytest.mark.parametrize(
    ("number", "changes", "shown"),
    [
        (
            "03",
            {"self.x.T @ grad_y": "self.x[:3] if self.weight.fill(1) else self.weight"},
            "^Dense.* changed weight in",
        ),
        ("08", {"np.zeros((N, H": "np.empty((N, H"}, r"came +nan\n(.*\n)*    08_max_pool.py, lines \d+ to \d+:  "),
        ("08", {"return y, winner": "return winner, y"}, r"08_max_pool.py, line \d+:  return winner, y"),
        (
            "08",
            {"in window_positions(kernel_size": "in window_positions(stride"},
            r"extra(.*\n)+.* 3: your .* the output of a window",
        ),
        ("08", {"return y, winner": "return y, winner + 1"}, r"lines \d+ to \d+:  NumpyBackend.max_pool2d\n"),
        (
            "03",
            {"grad_weight = self.x.T @": "grad_y = grad_y / 2\n        grad_weight = self.x.T @"},
            ", or one that it",
        ),
    ],
)
def test_a_message_shows_the_place_as_far_as_it_is_known(
    number: str, changes: dict[str, str], shown: str, tmp_path: Path
) -> None:
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name.startswith(number))
    answer = exercise.solution()
    for passage, instead in changes.items():
        assert passage in answer
        answer = answer.replace(passage, instead)
    assert re.search(shown, outcome_of(exercise, answer, tmp_path).message)


def test_an_assignment_that_did_not_run_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("def f(grad):\n    if grad is None:\n        grad = 1\n    return grad\n")
    returned_at = Line(4)
    assert line_of_value(path, returned_at) == 3  # nothing is known about what ran
    returned_at.ran = 2, 4
    assert line_of_value(path, returned_at) == 4
    returned_at.ran = 2, 3, 4
    assert line_of_value(path, returned_at) == 3


def test_the_line_of_one_value_in_a_list(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("def f(grad):\n    out = [grad]\n    a = grad\n    return (a, grad)[:1]\n    return tuple(out)\n")
    assert line_of_value(path, 4) == 3
    assert not getattr(line_of_list(path, 4), "uses_others", False)
    assert getattr(line_of_list(path, 5), "uses_others", False)


def test_the_shapes_that_met_are_those_of_the_statement(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("import numpy as np\n\n\nclass A:\n    x = np.ones((2, 3))\n\n\ndef f(a, n):\n    return (\n"
                    "        a.x.T @ np.ones(n)\n        + a.y\n    )\n")  # fmt: skip
    module = load(path)
    instance = module.A()
    instance.x = module.A.x
    with pytest.raises(ValueError, match="matmul") as caught:
        module.f(instance, 3)
    shown = shapes_at_error(caught.value, path)
    assert shown == "    return ( a.x.T @ np.ones(n) + a.y )\n    with a.x (2, 3)"
    assert shapes_at_error(ValueError("raised elsewhere"), path) == ""


def test_of_a_loop_its_first_line_is_shown_and_no_list_of_nothing(tmp_path: Path) -> None:
    """Where the loop itself raises the error, and the object has no attribute left."""
    exercise = BY_NAME["02_engine"]
    early = {"grad_y = grad_of_output.pop": "function.free()\n        grad_y = grad_of_output.pop"}
    answer = exercise.solution()
    for passage, instead in early.items():
        assert passage in answer
        answer = answer.replace(passage, instead)
    lines = outcome_of(exercise, answer, tmp_path).message.splitlines()
    shown = "    for x, grad_x in zip(function.inputs, function.input_gradients(grad_y), strict=True):"
    assert lines[1:3] == [shown, "    with grad_y (3,)"]
    assert lines[3].startswith("  Hint 1 of 3: function.free() is called before")


def test_what_a_student_prints_belongs_to_the_mistake_that_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Situations after it, planted mistakes and other functions are run in silence."""
    exercise = BY_NAME["09_batch_norm"]
    answer = exercise.solution().replace(
        "return self.gamma", "print(grad_y.shape)\n        return grad_y**2 + self.gamma"
    )
    assert outcome_of(exercise, answer, tmp_path).symptom == "of x"
    assert capsys.readouterr().out.splitlines() == ["(5, 3)"]


def test_a_line_outside_of_the_function_at_fault_is_not_shown(tmp_path: Path) -> None:
    """grad_x returned the wrong numbers; what is wrong is how it was called."""
    exercise = BY_NAME["09_batch_norm"]
    answer = exercise.solution().replace("grad_y, grad_gamma, grad_beta) if", "grad_y, grad_beta, grad_gamma) if")
    message = outcome_of(exercise, answer, tmp_path).message
    assert re.search(r"\n    09_batch_norm\.py, lines \d+ to \d+:  BatchNormFunction\.backward\n", message)


def test_two_mistakes_with_the_same_outcomes_are_both_named() -> None:
    special = {"a": ("first.", "look here."), "b": ("second.", "look there.")}
    assert hint(f"a{EITHER}b", 1, special) == "one of 2 mistakes. (1) first. (2) second."
    assert hint(f"a{EITHER}b", 2, special) == "one of 2 mistakes. (1) look here. (2) look there."


def test_a_message_has_the_place_and_both_numbers(tmp_path: Path) -> None:
    text = BY_NAME["03_dense"].solution().replace("self.backend.sum(grad_y, axis=0)", "grad_y.sum(axis=0) * [1, 3]")
    message = outcome_of(BY_NAME["03_dense"], text, tmp_path).message
    found = re.match(
        r"the gradient of bias is wrong at index \(1,\) \(1 of 2 are\):\n"
        r"    expected  (\S+)  \(finite differences\)\n"
        r"    came      (\S+)\n"
        r"  computed from\n(?:    .+ *= .+\n(?:  +[\[\]].+\n)*)+"
        r"    03_dense.py, line \d+:  return ",
        message,
    )
    assert found is not None
    assert float(found[2]) == pytest.approx(3 * float(found[1]), rel=1e-4)


def test_a_file_that_ends_python_is_wrong(tmp_path: Path) -> None:
    exercise = BY_NAME["04_relu"]
    outcome = outcome_of(exercise, "import sys\nsys.exit()\n", tmp_path)
    assert outcome.state == "wrong"
    assert outcome.message == "the code ends Python (04_relu.py, line 2): remove exit(), quit() or sys.exit()"
    inside = exercise.solution().replace("return grad_y * (self.y > 0)", "quit()")
    assert outcome_of(exercise, inside, tmp_path).state == "wrong"


def test_an_error_in_the_file_is_reported_with_its_line(tmp_path: Path) -> None:
    exercise = BY_NAME["04_relu"]
    unfinished = outcome_of(exercise, "x = 1\ndef backward(:\n", tmp_path)
    assert re.match(r"SyntaxError: [^()]* \(04_relu\.py, line 2\)\n", unfinished.message)  # the place stands once
    text = exercise.solution().replace("return grad_y * (self.y > 0)", "return grad_y * self.x")
    line = 1 + text[: text.index("return grad_y * self.x")].count("\n")
    told = outcome_of(exercise, text, tmp_path).message
    assert told.startswith(f"AttributeError: 'ReLUFunction' object has no attribute 'x' (04_relu.py, line {line})")
    assert "    return grad_y * self.x\n    with grad_y (3, 4)\n" in told


def test_the_backend_of_exercise_6_trains_a_network(tmp_path: Path) -> None:
    """As its text promises."""
    path = tmp_path / "06_im2col.py"
    path.write_text(BY_NAME["06_im2col"].solution())
    register_backend("student", load(path).NumpyBackend)
    losses = {}
    for name in ("student", "numpy"):
        with use_backend(name):
            model = Sequential(Conv2d(3), ReLU(), MaxPool2d(), Flatten(), Dense(4), input_shape=(6, 6, 1))
            trainer = Trainer(model, SGD(model.parameters(), lr=0.1), batch_size=4)
            images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1)).astype(np.uint8)
            results = trainer.fit(images, np.arange(8) % 4, epochs=3)
            losses[name] = [result.train_loss for result in results]
    assert losses["student"] == losses["numpy"]
    assert losses["student"][-1] < losses["student"][0]


@pytest.mark.parametrize(
    ("came", "key"),
    [
        ([float("nan"), 1, 1], "not finite"),
        ([0, 0, 0], "zero"),
        ([-1, -2, -4], "sign"),
        ([10, 20, 40], "factor"),
        ([0.2, 0.4, 0.8], "averaged"),
        ([5, 10, 20], "not averaged"),
        ([2, 4, 1], "places"),
        ([1, 2, 7], ""),
        ([3, 3, 3], "suspected"),
        ([-5, -10, -20], "sign + not averaged"),
        ([5 / 3, 10 / 3, 20 / 3], "other count"),
        ([-1 / 3, -2 / 3, -4 / 3], "sign + other count"),
        ([-10, -20, -40], "sign + factor"),
        ([-15, -15, -15], "suspected + sign + not averaged"),
        ([[1, 2, 4]], "axis of length 1"),
        ([[1, 2, 4], [1, 2, 4]], "not summed"),
        ([1], "shape"),
    ],
)
def test_diagnosis(came: list[float], key: str) -> None:
    expected, suspects = np.array([1.0, 2.0, 4.0]), {"suspected": lambda: np.full(3, 3.0), "nothing": lambda: None}
    counts = [(1, "rows"), (5, "rows"), (3, "columns")]
    assert diagnosed(expected, np.array(came), suspects=suspects, counts=counts).key == key


def test_one_number_shows_no_factor() -> None:
    """Any number is some factor times another; only known factors, such as -1, are meant."""
    assert diagnosed(np.array([2.0, 0.0]), np.array([3.0, 0.0])).key == ""
    assert diagnosed(np.array([2.0, 0.0]), np.array([-2.0, 0.0])).key == "sign"
    assert diagnosed(np.array([2.0, 4.0]), np.array([3.0, 6.0])).key == "factor"


def test_a_square_matrix_that_is_transposed() -> None:
    square = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert diagnosed(square, square.T).key == "transposed"
    assert diagnosed(np.ones((2, 3)), np.ones((3, 2))).key == "transposed"


# ------------------------------------------------------------------------------------------------------------ the holes


def test_a_hole_must_exist() -> None:
    text = source_of("tinycnn.ops.relu")
    for hole, message in {
        Hole("ReLUFunction.sideways", ""): "no ReLUFunction.sideways",
        Hole("ReLUFunction", ""): "not a function",
        Hole("ReLUFunction.backward", "", starts="goto"): "begins with 'goto'",
    }.items():
        with pytest.raises(SettingError, match=message):
            cut(text, hole)


def test_a_hole_removes_its_statements_only() -> None:
    text = "def f(x):\n    '''It.'''\n    a = 1\n    b = (2,\n      3)\n    return a  # so\n\n\ny = 1\n"
    assert cut(text, Hole("f", "Do.", starts="b =", count=1)).splitlines() == [
        "def f(x):", "    '''It.'''", "    a = 1", "    # Your turn. Do.", '    raise NotImplementedError("f")',
        "    return a  # so", "", "", "y = 1",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- the folder


def test_an_interrupted_copy_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copy_out(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_work_is_never_overwritten(tmp_path: Path) -> None:
    written, kept = copy_out(tmp_path)
    assert (len(written), kept) == (len(EXERCISES), [])
    work, lost = tmp_path / "03_dense.py", tmp_path / "04_relu.py"
    work.write_text("my work\n")
    lost.unlink()
    written, kept = copy_out(tmp_path)
    assert written == [lost]
    assert len(kept) == len(EXERCISES) - 1
    assert work.read_text() == "my work\n"


def test_the_command_from_beginning_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "work")
    assert main(["exercises", folder]) == 0
    assert f"13 files written to {folder}" in capsys.readouterr().out
    (tmp_path / "work" / "04_relu.py").unlink()
    assert main(["exercises", folder]) == 0
    assert f"1 file written to {folder}" in capsys.readouterr().out
    (tmp_path / "work" / "04_relu.py").write_text(BY_NAME["04_relu"].solution())
    assert main(["exercises", folder, "--check"]) == 1
    out = capsys.readouterr().out
    assert "right   04_relu\n" in out
    assert "1 of 13 right" in out
    assert out.count("Hint 1 of 3:") == 1  # that of the next one, not of all
    assert f"as a page: {folder}/progress.html" in out
    for name in ("4", "04", "relu", "04_relu", "04_relu.py", f"{folder}/04_relu.py"):
        assert main(["exercises", folder, "--check", "--only", name]) == 0
        assert capsys.readouterr().out == "right   04_relu\n1 of 1 right\n"
    assert main(["exercises", folder, "--check", "--only", "7"]) == 1
    out = capsys.readouterr().out
    assert "a hint that says more: --hint 2\n" in out
    assert re.search(r"Conv2dFunction\.backward \(07_conv2d\.py, line \d+\) is still empty", out)
    assert main(["exercises", folder, "--solutions"]) == 0
    assert main(["exercises", f"{folder}/solutions", "--check"]) == 0
    out = capsys.readouterr().out
    assert "13 of 13 right" in out
    assert out.endswith(f"now train on them: tinycnn exercises {folder}/solutions --train\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--check"], "no exercises in"),
        (["--check", "--only", "99"], "the exercises are 1 to 13"),
        (["--check", "--only", "pool"], "--only pool: the exercises are 1 to 13: 01_arithmetic, "),
        (["--only", "1"], "--only requires --check"),
        (["--hint", "2", "--train"], "--hint requires --check"),
        (["--train"], "no exercises in"),
        (["elsewhere"], "expected one folder"),
    ],
)
def test_wrong_arguments_raise_an_error_with_a_reason(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exercises", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err


def test_it_needs_neither_pytest_nor_the_repository(tmp_path: Path) -> None:
    """In another folder, with pytest out of reach."""
    (tmp_path / "pytest.py").write_text("raise ImportError('not for students')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    for options, code in ((["mine"], 0), (["mine", "--check"], 1)):
        command = [sys.executable, "-m", "tinycnn", "exercises", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == code, done.stderr
    assert "0 of 13 right" in done.stdout


def test_a_solution_that_changes_grad_y_in_place_is_a_mistake():
    inputs = {"x": np.array([1.0, -2.0, 3.0])}
    with pytest.raises(Mistake, match=r"^InPlaceReLU\.backward changed grad_y in place"):
        check_gradients(lambda x: InPlaceReLU()(x), inputs)
    check_gradients(lambda x: x * 2.0, inputs)


# ----------------------------------------------------------------------------------------------- the page, the training


def test_the_page_shows_every_exercise_and_needs_no_other_file(tmp_path: Path) -> None:
    copy_out(tmp_path)
    (tmp_path / "04_relu.py").write_text(BY_NAME["04_relu"].solution())
    (tmp_path / "03_dense.py").write_text("x = '<script>'\nraise ValueError(x)\n")
    (tmp_path / "05_cross_entropy.py").unlink()
    outcomes = [check_file(exercise, tmp_path / exercise.file_name) for exercise in EXERCISES[2:6]]
    html = write_page(tmp_path / PAGE, outcomes).read_text("utf-8")
    states = re.findall(r'<li class="(\w+)">', html)
    assert states == ["wrong", "right", "missing", "empty"]
    assert "<h1>1 of 4 exercises are right</h1>" in html
    assert '<progress max="4" value="1">' in html
    assert "ValueError: &lt;script&gt; (03_dense.py, line 2)" in html
    assert all(exercise.file_name in html for exercise in EXERCISES[2:6])
    assert "prefers-color-scheme: dark" in html
    assert re.findall(r"<script|src=|url\(", html) == []
    names = re.findall(r"(docs/path/\w+\.md)", html)
    assert names == [exercise.chapter for exercise in EXERCISES[2:6]]
    assert re.findall(r'href="[^"]*\.md"', html) == []  # a browser shows it as plain text


def test_a_chapter_is_a_link_where_its_page_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markdown is none: a browser shows it as plain text. The page then says how to build the chapters."""
    chapter = "docs/path/01_chain_rule.md"
    monkeypatch.setattr(progress, "CHECKOUT", tmp_path)
    assert progress.chapter_link(chapter) == chapter
    assert progress.how_to_build() == ""  # without a checkout there is nothing to build
    (tmp_path / "docs/path").mkdir(parents=True)
    (tmp_path / chapter).touch()
    (tmp_path / "docs/conf.py").touch()
    assert progress.chapter_link(chapter) == chapter
    assert "python -m sphinx docs docs/_build" in progress.how_to_build()
    assert progress.how_to_build() in progress.page([])
    built = tmp_path / "docs/_build/path/01_chain_rule.html"
    built.parent.mkdir(parents=True)
    built.touch()
    (tmp_path / "docs/_build/index.html").touch()
    assert progress.chapter_link(chapter) == f'<a href="{built.as_uri()}">{chapter}</a>'
    assert progress.how_to_build() == ""


@pytest.mark.parametrize(("words", "meant"), [(["chek"], "check"), (["trian"], "train"), (["chek", "work"], "check")])
def test_a_misspelt_action_makes_no_folder(
    words: list[str], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["exercises", *words]) == 2
    assert f"{' '.join(words)}; did you mean {meant}?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_the_name_of_an_action_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("./chek", "training", "chek"):  # the last one exists by then
        assert main(["exercises", folder]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chek", "training"]


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solved")
    copy_out(folder, solutions=True)
    return folder


def test_a_network_trains_on_the_files_of_a_student(
    solved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every file is called, no notice is shown, and afterwards the package is as before."""
    monkeypatch.setattr(probabilities, "_noted", set())
    before = tensor.Tensor.backward, NumpyBackend.im2col, vars(tensor)["unbroadcast"]
    digits, lines = data.load("digits"), []
    small = replace(digits, x_test=digits.x_test[:50], y_test=digits.y_test[:50])
    accuracy = train_on(solved, small, lines.append, steps=2)
    assert lines[:13] == [f"{exercise.name:<18}yours" for exercise in EXERCISES]
    called = dict(re.findall(r"^(\S+) +called ([\d,]+) times", "\n".join(lines), re.MULTILINE))
    assert list(called) == list(BY_NAME)
    assert all(int(count.replace(",", "")) >= 2 for count in called.values())
    assert lines[-1] == f"{accuracy:.1%} of 50 test images are read correctly; 13 of 13 files are yours"
    assert caplog.messages == []
    assert before == (tensor.Tensor.backward, NumpyBackend.im2col, vars(tensor)["unbroadcast"])


def test_nothing_is_trained_without_a_file_that_is_right(tmp_path: Path) -> None:
    (tmp_path / "04_relu.py").write_text(BY_NAME["04_relu"].text())
    with pytest.raises(SettingError, match=r"no file in .* is right yet: `tinycnn exercises check .*` says why"):
        train_on(tmp_path, data.load("digits"), [].append, steps=0)


def test_a_file_that_is_not_right_does_not_take_part(solved: Path, tmp_path: Path) -> None:
    for exercise in EXERCISES[:3]:
        (tmp_path / exercise.file_name).write_text((solved / exercise.file_name).read_text())
    _, wrong = planted("weight from ones")
    (tmp_path / "03_dense.py").write_text(wrong)
    (tmp_path / "04_relu.py").write_text(BY_NAME["04_relu"].text())
    digits, lines = data.load("digits"), []
    small = replace(digits, x_test=digits.x_test[:10], y_test=digits.y_test[:10])
    train_on(tmp_path, small, lines.append, steps=1)
    assert [line.split(maxsplit=1)[1] for line in lines[:5]] == [
        "yours",
        "yours",
        "tinycnn's own: yours is wrong",
        "tinycnn's own: yours is empty",
        "tinycnn's own: yours is missing",
    ]
    assert "2 of 13 files are yours" in lines[-1]


def test_the_training_says_how_long_it_will_take() -> None:
    assert training.remaining(0, 937, 0.1) == ""
    assert training.remaining(100, 937, 5.0) == ", about 42 s left"
    assert training.remaining(100, 1000, 60.0) == ", about 9 minutes left"


def test_the_training_learns(solved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On tinycnn's own code, which is that of the solutions: the loss falls."""
    lines: list[str] = []
    monkeypatch.setattr(training, "BATCH_SIZE", 8)
    model = training.network((28, 28, 1), 10)
    digits = data.load("digits")
    few = replace(digits, x_train=digits.x_train[:32], y_train=digits.y_train[:32])
    with use_backend("numpy"):
        training.train(model, few, lines.append, steps=101)
        assert training.evaluate(model, replace(digits, x_test=few.x_train, y_test=few.y_train)) > 0.9
    first, last = (float(line.rpartition(" ")[2]) for line in lines)
    assert re.match(r"step  100 of 101, about \d+ s left: loss ", lines[-1])
    assert first == pytest.approx(np.log(10), abs=1e-3)  # as chapter 4 says
    assert last < first / 5
