"""The exercises: empty ones are reported, tinycnn's own source solves them, and plausible wrong answers fail."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.planted import InPlaceReLU
from tinycnn.backends import register_backend, use_backend
from tinycnn.commands import main
from tinycnn.errors import SettingError
from tinycnn.exercises import EXERCISES, Exercise, Hole, check_file, copy_out
from tinycnn.exercises.checking import Mistake, check_gradients, guess
from tinycnn.exercises.cutting import YOUR_TURN, cut, find_function, lend, source_of
from tinycnn.exercises.folder import load
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
from tinycnn.optim import SGD
from tinycnn.train.trainer import Trainer

ROOT = Path(__file__).parents[2]
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
LENT_CALL = re.compile(r"import tinycnn\.\S+ as own\nreturn own\.\S+\(.*\)$")
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
    behind_the_head = exercise.solution().split('"""\n', 1)[1]
    assert behind_the_head in source_of(exercise.source)


@ALL
def test_every_hole_alone_is_noticed(exercise: Exercise, tmp_path: Path) -> None:
    """So no hole can be left out, and no check passes without it."""
    for hole in exercise.holes:
        outcome = outcome_of(exercise, cut(exercise.solution(), hole), tmp_path)
        assert outcome.state == "empty"
        assert outcome.message.startswith(f"{hole.place} ({exercise.file_name}, line ")


@ALL
def test_the_answer_is_not_in_the_file(exercise: Exercise) -> None:
    text, solution = exercise.text(), exercise.solution()
    removed = [line.strip() for line in solution.splitlines() if line not in text.splitlines()]
    assert sum("=" in line or "return" in line for line in removed) >= len(exercise.holes)
    assert text.count(YOUR_TURN) == len(exercise.holes) == text.count('raise NotImplementedError("')


def bodies(exercise: Exercise, text: str) -> dict[str, str]:
    """What stands in ``text`` in the places where ``exercise`` has its holes."""
    tree = ast.parse(text)
    return {hole.place: ast.unparse(find_function(tree, hole.place).body) for hole in exercise.holes}


@ALL
def test_no_file_shows_the_answer_of_another(exercise: Exercise) -> None:
    """In exercises cut from the same module, the functions of the other one call tinycnn's own."""
    for other in EXERCISES:
        if other is not exercise and other.source == exercise.source:
            shown, answers = bodies(other, exercise.text()), bodies(other, other.solution())
            assert set(shown) == set(exercise.lent)
            assert all(LENT_CALL.search(shown[place]) for place in shown), shown
            assert all(answers[place] not in exercise.text() for place in answers)


@ALL
def test_functions_of_other_exercises_work(exercise: Exercise, tmp_path: Path) -> None:
    """With its own holes filled in, the file that a student has is right."""
    answer = exercise.solution()
    for place in exercise.lent:
        answer = lend(answer, place, exercise.source)
    assert outcome_of(exercise, answer, tmp_path).state == "right"


def test_the_numbers_are_in_order() -> None:
    assert [int(exercise.name[:2]) for exercise in EXERCISES] == list(range(1, len(EXERCISES) + 1))


def test_the_page_lists_them_with_their_chapters() -> None:
    page = (ROOT / "docs" / "exercises.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \|.*\]\((\S+)\) \|$", page, re.MULTILINE)
    assert [(name, f"docs/{chapter}") for name, chapter in rows] == [(e.file_name, e.chapter) for e in EXERCISES]
    assert all((ROOT / exercise.chapter).exists() for exercise in EXERCISES)


def test_the_message_on_the_page_is_what_a_student_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = BY_NAME["03_dense"].solution().replace("self.backend.sum(grad_y, axis=0)", "grad_y.mean(axis=0)")
    (tmp_path / "03_dense.py").write_text(answer)
    main(["exercises", str(tmp_path), "--check", "--only", "3"])
    (shown,) = re.findall(r"```text\n(.*) …\n```", (ROOT / "docs" / "exercises.md").read_text(), re.DOTALL)
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
LAST = "len(windows) - 1 - np.stack([x[window] for _, window in windows][::-1]).argmax(axis=0)"
FIRST_EVEN_OUTSIDE = "np.stack([x[window] for _, window in windows]).argmax(axis=0)"
FIRST_BUT_NAN = "np.stack([(x[window] == y) & inside[window] for _, window in windows]).argmax(axis=0)"
ALL_WINNERS = "np.stack([x[window] == y for _, window in windows])"
WRONG: dict[str, tuple[str, dict[str, str], str]] = {  # exercise, passage of the source → wrong one, the message
    "factors swapped": (
        "01",
        {"grad_y * self.b, grad_y * self.a": "grad_y * self.a, grad_y * self.b"},
        "in a . b: the gradient of a",
    ),
    "sign of the quotient": (
        "01",
        {"-grad_y * self.a / (self.b * self.b)": "grad_y * self.a / (self.b * self.b)"},
        "The sign is wrong",
    ),
    "broadcasting averaged": (
        "01",
        {"backend.sum(grad, axis=tuple(range(added)))": "grad.mean(axis=tuple(range(added)))"},
        "0\\.5 times",
    ),
    "a column not summed": (
        "01",
        {"return backend.sum(grad, axis=stretched, keepdims=True)": "return grad[:, :1]"},
        "b a column",
    ),
    "as if grad_y were ones": (
        "01",
        {"grad_y @ self.b.swapaxes": "np.ones_like(grad_y) @ self.b.swapaxes"},
        "in a @ b: the gradient of a",
    ),
    "gradient overwritten": ("02", {"grad_of_output[x.creator] + grad_x": "grad_x"}, "when a result is used twice"),
    "leaf overwritten": ("02", {"leaf.grad = leaf.grad + grad": "leaf.grad = grad"}, "when a leaf is used twice"),
    "makers first": ("02", {"reverse=True": "reverse=False"}, "KeyError"),
    "depth first": (
        "02",
        {"    found, to_visit = {last}, [last]\n": DEPTH_FIRST},
        "when a result is used twice|KeyError",
    ),
    "gradient for constants": (
        "02",
        {"if grad_x is None or not x.requires_grad": "if grad_x is None"},
        "it received one",
    ),
    "bias not summed": (
        "03",
        {"self.backend.sum(grad_y, axis=0)": "grad_y"},
        "gradient of input 2 is float64 \\(4, 2\\), but .* \\(2,\\)",
    ),
    "bias averaged": (
        "03",
        {"self.backend.sum(grad_y, axis=0)": "grad_y.mean(axis=0)"},
        "gradient of bias .*\\n.*\\n.*\\n.* is 0\\.25 times",
    ),
    "weight from ones": (
        "03",
        {"self.x.T @ grad_y": "self.x.T @ (0 * grad_y + 1)"},
        "gradient of weight is wrong at index",
    ),
    "x from ones": ("03", {"grad_y @ self.weight.T": "(0 * grad_y + 1) @ self.weight.T"}, "gradient of x is wrong at"),
    "slope 1 at zero": ("04", {"self.y > 0": "self.y >= 0"}, "the gradient of x is wrong"),
    "upstream forgotten": (
        "04",
        {"return grad_y * (self.y > 0)": "return 1.0 * (self.y > 0)"},
        "gradient of x is wrong",
    ),
    "N forgotten": ("05", {"(grad_loss / len(p))": "grad_loss"}, "Everything is 4 times"),
    "loss taken as the end": ("05", {"(grad_loss / len(p))": "(1 / len(p))"}, "Everything is .* times"),
    "target minus p": ("05", {"(p - self.target)": "(self.target - p)"}, "The sign is wrong everywhere"),
    "nll without its minus": ("05", {"return -self.target": "return self.target"}, "in nll_loss with labels: .*"),
    "pixel overwritten": ("06", {"x[window] += cols": "x[window] = cols"}, "col2im\\(cols\\) is wrong"),
    "always float64": ("06", {"KH * KW, C), dtype=x.dtype)": "KH * KW, C))"}, "no longer float32"),
    "conv bias averaged": ("07", {"self.backend.sum(grad_y, axis=0)": "grad_y.mean(axis=0)"}, "gradient of bias"),
    "conv upstream of ones": ("07", {"self.cols.T @ grad_y": "self.cols.T @ (0 * grad_y + 1)"}, "gradient of weight"),
    "filter upside down": (
        "07",
        {"grad_y @ self.weight.reshape(KH * KW * C, F).T": "grad_y @ self.weight[::-1].reshape(KH * KW * C, F).T"},
        "gradient of x",
    ),
    "the last of equals wins": (
        "08",
        {"return y, winner\n": f"return y, {LAST}\n"},
        "with ties, where the first pixel is to win",
    ),
    "a tie to all winners": (
        "08",
        {"return y, winner\n": f"return y, {ALL_WINNERS}\n", "(winner == position)": "winner[position]"},
        "with ties, where the first pixel is to win",
    ),
    "padding wins over minus infinity": (
        "08",
        {"return y, winner\n": f"return y, {FIRST_EVEN_OUTSIDE}\n"},
        "with minus infinity, which wins over padding",
    ),
    "NaN never equal": ("08", {"return y, winner\n": f"return y, {FIRST_BUT_NAN}\n"}, "with NaN, which wins"),
    "winner of two windows": (
        "08",
        {"grad_x[window] += grad_y": "grad_x[window] = grad_y"},
        "with overlapping windows",
    ),
    "mean taken as constant": (
        "09",
        {"(grad_y - grad_beta / self.M - self.x_hat": "(grad_y - self.x_hat"},
        "gradient of x",
    ),
    "variance taken as constant": ("09", {" - self.x_hat * (grad_gamma / self.M))": ")"}, "gradient of x"),
    "gamma forgotten": ("09", {"return self.gamma * self": "return self"}, "gradient of x"),
    "another mask": (
        "10",
        {"grad_y * self.mask": "grad_y * self.backend.xp.roll(self.mask, 1)"},
        "gradient of x",
    ),
    "not scaled up": ("10", {"return x * self.mask": "return x * (self.mask > 0)"}, "multiplied by 0 or by 1/"),
    "uphill": ("11", {"p -= lr * (g": "p += lr * (g"}, "the parameter after step 1 is wrong"),
    "only a local name": ("11", {"p -= lr * (g": "p = p - lr * (g"}, "p must change in place"),
    "gradient changed": (
        "11",
        {"g = g + self.weight_decay * p\n        velocity": "g += self.weight_decay * p\n        velocity"},
        "the gradient itself has changed",
    ),
    "no bias correction": ("11", {"(backend.xp.sqrt(v * v_scale)": "(backend.xp.sqrt(v)"}, "Adam with betas"),
    "velocity too late": (
        "11",
        {"velocity += g\n": "velocity += self.momentum * g\n"},
        "after step 1",
    ),
    "upstream of ones": (
        "12",
        {"self.rng.normal(size=self.y.shape)": "np.ones(self.y.shape)"},
        "fooled by a flipped image",
    ),
    "a generous tolerance": ("12", {"error <= self.atol + self.rtol * abs(numeric)": "error <= 1"}, "fooled by"),
    "every kink excuses": ("12", {"if self._is_subgradient(analytic, left, right)": "if True"}, "fooled by"),
    "no kink excuses": (
        "12",
        {"if self._is_subgradient(analytic, left, right)": "if False"},
        "refuses a correct gradient, ReLU",
    ),
    "a promoted dtype": ("13", {".astype(x.dtype)": ""}, "forward returned float64 for inputs of float32"),
    "the gradient of ReLU": (
        "13",
        {"return grad_y * self.factor": "return grad_y * (self.factor == 1)"},
        "gradient of x",
    ),
    "a check that is always content": (
        "13",
        {"return bool(gradcheck(lambda x: leaky_relu(x), x, raise_exception=False))": "return True"},
        "for a wrong leaky_relu",
    ),
}


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_answer_does_not_pass(label: str, tmp_path: Path) -> None:
    number, changes, message = WRONG[label]
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name.startswith(number))
    answer = exercise.solution()
    for passage, instead in changes.items():
        assert passage in answer, "the source has changed: write this wrong answer anew"
        answer = answer.replace(passage, instead)
    outcome = outcome_of(exercise, answer, tmp_path)
    assert outcome.state == "wrong"
    assert re.search(message, outcome.message), outcome.message
    assert exercise.hint in outcome.message


def test_a_message_has_the_place_and_both_numbers(tmp_path: Path) -> None:
    text = BY_NAME["03_dense"].solution().replace("self.backend.sum(grad_y, axis=0)", "grad_y.sum(axis=0) * [1, 3]")
    message = outcome_of(BY_NAME["03_dense"], text, tmp_path).message
    found = re.match(
        r"the gradient of bias is wrong at index \(1,\) \(1 of 2 are\):\n"
        r"    expected  (\S+)  \(finite differences\)\n"
        r"    came      (\S+)\n",
        message,
    )
    assert found is not None
    assert float(found[2]) == pytest.approx(3 * float(found[1]), rel=1e-4)


def test_an_error_in_the_file_is_reported_with_its_line(tmp_path: Path) -> None:
    exercise = BY_NAME["04_relu"]
    unfinished = outcome_of(exercise, "x = 1\ndef backward(:\n", tmp_path)
    assert re.match(r"SyntaxError: .*line 2\)\n", unfinished.message)
    text = exercise.solution().replace("return grad_y * (self.y > 0)", "return grad_y * self.x")
    line = 1 + text[: text.index("return grad_y * self.x")].count("\n")
    told = outcome_of(exercise, text, tmp_path).message
    assert told.startswith(f"AttributeError: 'ReLUFunction' object has no attribute 'x' (04_relu.py, line {line})")


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
    ("came", "words"),
    [
        ([float("nan"), 1, 1], "not finite"),
        ([0, 0, 0], "All of them are 0"),
        ([-1, -2, -4], "sign is wrong"),
        ([10, 20, 40], "10 times"),
        ([2, 4, 1], "in the wrong places"),
        ([1, 2, 7], "^$"),
    ],
)
def test_guesses(came: list[float], words: str) -> None:
    assert re.search(words, guess(np.array([1.0, 2.0, 4.0]), np.array(came)))


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
    (tmp_path / "work" / "04_relu.py").write_text(BY_NAME["04_relu"].solution())
    assert main(["exercises", folder, "--check"]) == 1
    out = capsys.readouterr().out
    assert "right   04_relu\n" in out
    assert "1 of 13 right" in out
    assert out.count("Hint:") == 1  # that of the next one, not of all
    assert main(["exercises", folder, "--check", "--only", "4"]) == 0
    assert capsys.readouterr().out == "right   04_relu\n1 of 1 right\n"
    assert main(["exercises", folder, "--check", "--only", "7"]) == 1
    assert "Conv2dFunction.backward (07_conv2d.py, line 4" in capsys.readouterr().out
    assert main(["exercises", folder, "--solutions"]) == 0
    assert main(["exercises", f"{folder}/solutions", "--check"]) == 0
    assert "13 of 13 right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--check"], "no exercises in"),
        (["--check", "--only", "99"], "the exercises are 1 to 13"),
        (["--only", "1"], "--only: requires --check"),
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
