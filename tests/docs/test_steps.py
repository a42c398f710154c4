"""The steps in ``docs/path/steps/``: they run, print what they promise, and each builds on the ones before."""

import ast
import importlib
import re
import sys
import textwrap
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinycnn
from tinycnn import data, models
from tinycnn.data.drawing import read_drawing
from tinycnn.explain import practise

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "path" / "steps"
TEACHING = (FOLDER.parents[1] / "teaching.md").read_text("utf-8")
WORKSHEET = (FOLDER.parents[1] / "worksheet.md").read_text("utf-8")
STEPS = sorted(FOLDER.glob("step*.py"))
QUICK = {  # arguments of `main`, so that it takes a fraction of a second; the least accuracy after them
    "step05_dense": ({"steps": 100}, 0.85),
    "step06_softmax": ({"epochs": 1}, 0.6),
    "step07_convolution": ({"steps": 1}, 0.0),
    "step08_im2col": ({"epochs": 1}, 0.6),
    "step09_pooling": ({"epochs": 1}, 0.6),
}
LARGE = {"step10_mnist", "step11_faster", "step12_tinycnn"}  # their parts are called below


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_they_are_numbered_short_and_listed() -> None:
    names = [step.stem for step in STEPS]
    assert [name[:6] for name in names] == [f"step{number:02}" for number in range(1, 13)]
    assert [step.name for step in STEPS if len(step.read_text("utf-8").splitlines()) > 120] == []
    page = (FOLDER / "index.md").read_text("utf-8")
    assert re.findall(r"^\| \[(\w+\.py)\]\(\1\)", page, re.MULTILINE) == [step.name for step in STEPS]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.stem)
def test_a_step_takes_what_it_needs_from_earlier_ones(step: Path) -> None:
    """From the one before it too (arrays begin anew), and from the package no more than the data, until the last."""
    tree = ast.parse(step.read_text("utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = [module for module in modules if module.startswith("step")]
    assert all(module < step.stem for module in own)
    number = int(step.stem[4:6])
    assert number in (1, 4) or f"step{number - 1:02}" in {module[:6] for module in own}
    package = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and "tinycnn" in ast.unparse(node)
    ]
    if number < 12:
        assert all(ast.unparse(node) == "from tinycnn import data" for node in package)


@pytest.fixture
def _shapes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each backward pass of steps 4 to 9 leaves gradients in the shapes of the arrays, as step 4 says."""
    tensor = importlib.import_module("step04_tensor").Tensor
    plain = tensor.backward

    def backward(self: Any) -> None:
        plain(self)
        for function in self.functions_behind():
            assert [np.shape(x.grad) for x in function.inputs] == [x.data.shape for x in function.inputs], function

    monkeypatch.setattr(tensor, "backward", backward)


@pytest.mark.usefixtures("_shapes_are_checked")
@pytest.mark.parametrize("step", [step for step in STEPS if step.stem not in LARGE], ids=lambda step: step.stem)
def test_a_step_runs_and_prints_what_it_promises(step: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, least = QUICK.get(step.stem, ({}, None))
    reached = importlib.import_module(step.stem).main(**arguments)
    promised = re.findall(r"print\(.*\)  # (.+)$", step.read_text("utf-8"), re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in promised] == promised
    if step.stem == "step03_learning":
        assert reached < 1e-4
        assert [line.split("output ")[1] for line in printed[-4:]] == ["0.0", "1.0", "1.0", "0.0"]
        losses = [float(line.split("loss ")[1]) for line in printed[:-4]]
        assert losses == sorted(losses, reverse=True)
        assert losses[4] > 0.03  # it falls visibly, line by line
    elif least is not None:
        assert reached > least


@pytest.fixture
def few_digits() -> data.Dataset:
    return data.load("digits")


@pytest.mark.parametrize(
    ("rate", "seed", "last"),
    [(0.1, 14, 0.0), (0.2, 14, 0.67), (0.02, 1, 0.67), (0.02, 2, 0.5), (0.02, 3, 1.0)],
)
def test_where_the_loss_of_step_3_stops(
    rate: float, seed: int, last: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `docs/teaching.md` says, for a larger rate and for other seeds."""
    reached = importlib.import_module("step03_learning").main(rate=rate, seed=seed)
    assert reached == pytest.approx(last, abs=0.01)
    assert "above 1000" not in capsys.readouterr().out


def test_a_rate_that_is_too_large_ends_step_3(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("step03_learning").main(rate=0.3)
    printed = capsys.readouterr().out
    assert re.findall(r"^step +(\d+) .* above 1000: each step goes too far", printed, re.MULTILINE) == ["7"]
    assert max(map(len, printed.splitlines())) < 100


def parts_of_lessons() -> dict[int, dict[int, tuple[str, int]]]:
    """Of each lesson that the page has in full: number → part → its text and its minutes."""
    lessons = re.findall(r"^## Lesson (\d): .*?\n(.*?)(?=^## )", TEACHING, re.MULTILINE | re.DOTALL)
    part = re.compile(
        r"^(\d)\. (\*\*.*? \((\d+) minutes\).*?)(?=^\d\. |^#|^The Python|^\||\Z)", re.MULTILINE | re.DOTALL
    )
    return {int(lesson): {int(n): (text, int(m)) for n, text, m in part.findall(body)} for lesson, body in lessons}


def short_lesson(number: int) -> list[int]:
    """The minutes of each part of lesson ``number`` as one of 45 minutes, with the start."""
    (body,) = re.findall(rf"^## Lesson {number}: .*?\n\n(.*?)\n\n", TEACHING, re.MULTILINE | re.DOTALL)
    said = re.search(
        r"90 minutes; parts (.*?), with (\d+) minutes to start the computers, are a lesson of 45",
        body.replace("\n", " "),
    )
    assert said is not None, body
    chosen = re.findall(r"(\d)(?: \((?:[^()]*? )?(\d+) minutes\))?(?:,| and|$)", said[1])
    return [int(said[2]), *(int(own) if own else parts_of_lessons()[number][int(part)][1] for part, own in chosen)]


def test_the_minutes_of_each_lesson_add_up() -> None:
    """Five minutes of 45 are spare; 15 of 90 are for starting the computers, and spare."""
    short = re.findall(
        r"^\| ([A-D]) \| \[.*?\]\(.*?\): (start 5, .*?)(?:; at home.*)? \| .* \|$", TEACHING, re.MULTILINE
    )
    assert [name for name, _ in short] == ["A", "B", "C", "D"]
    minutes = {name: [int(one) for one in re.findall(r" (\d+)\b", parts)] for name, parts in short}
    assert {name: sum(own) for name, own in minutes.items()} == dict.fromkeys("ABCD", 40)
    long = {number: sum(own for _, own in parts.values()) for number, parts in parts_of_lessons().items()}
    assert long == dict.fromkeys((1, 2, 3, 5, 7), 75)
    assert [short_lesson(number) for number in (1, 2, 3, 5)] == list(minutes.values())  # the table says the same
    assert sum(short_lesson(7)) == 40
    double = TEACHING.partition("With one lesson of 90 minutes and one of 45")[2].partition("\n\n")[0]
    assert sum(map(int, re.findall(r"\((\d+)(?: minutes)?\)", double))) == 85
    assert "The other 5 are spare" in double
    assert f"B without its start ({sum(minutes['B']) - minutes['B'][0]})" in double
    assert f"({parts_of_lessons()[1][4][1]})" in double.partition("step of\npart 4")[2][:4]
    instead = TEACHING.partition("### Without matrices")[2].partition("The Python of step 3")[0]
    replaced = sum(parts_of_lessons()[3][part][1] for part in (5, 6))
    assert sum(map(int, re.findall(r"\((\d+) minutes\)", instead))) == replaced == 35


def test_only_the_named_parts_of_the_first_lessons_use_numpy() -> None:
    """The opening promises it to a class without matrices."""
    assert "Lessons 1 and 2, and parts 1 to 4 of lesson 3, need Python and slopes of straight lines" in TEACHING
    with_numpy = {path.name for path in STEPS if re.search("^import numpy", path.read_text("utf-8"), re.MULTILINE)}
    assert {name[:6] for name in with_numpy} == {f"step{number:02}" for number in range(4, 13)}
    lessons = parts_of_lessons()
    named = {(n, part): set(re.findall(r"\w+\.py", text)) for n in (1, 2, 3) for part, (text, _) in lessons[n].items()}
    assert {place for place, programs in named.items() if programs & with_numpy} == {(3, 5)}


def test_the_division_that_lesson_1_adds_to_step_1(capsys: pytest.CaptureFixture[str]) -> None:
    """The method and the lines that try it, as the page prints them, and what its comment says."""
    part = TEACHING.partition("6. **Write (20 minutes).** Division")[2]
    method, trial = (textwrap.dedent(one) for one in re.findall(r"```python\n(.*?) *```", part, re.DOTALL)[:2])
    source = (FOLDER / "step01_number.py").read_text("utf-8")
    place = "\n    def backward("
    assert source.count(place) == 1
    exec(source.replace(place, f"\n{textwrap.indent(method, '    ')}{place}") + trial, {"__name__": "extended"})
    assert capsys.readouterr().out.splitlines() == re.findall(r"# (gradients: .*)$", trial, re.MULTILINE)
    a, b, h = 3.0, 2.0, 0.001
    assert (a / (b + h) - a / b) / h == pytest.approx(-0.75, abs=1e-3)


def test_a_digit_learns_a_wrong_answer_as_lesson_3_says() -> None:
    """The losses, the number of steps, and the check before them: the button is disabled afterwards."""
    docs = FOLDER.parents[1]
    part = TEACHING.partition("4. **A digit, and")[2].partition("\n5. ")[0]
    ((first, *later),) = (shown.split(" → ") for shown in re.findall(r"\d\.\d(?: → \d\.\d)+", part))
    (picture,) = read_drawing(docs / "walk" / "three.png")
    done = practise(tinycnn.load(models.TRAINED), picture, 8, steps=len(later), optimizer="sgd", lr=0.001)
    assert [f"{loss:.1f}" for loss in done.losses] == [first, *later]
    assert done.probabilities.argmax(axis=1).tolist() == [3, *[3] * (len(later) - 1), 8]
    buttons = ("`dense_1`", "**Check this number**", "**Take one training step**", "**Reset**")
    places = [part.index(button) for button in buttons]
    assert places == sorted(places)
    first, last = done.trace.layers[0], done.trace.layers[-1]
    assert (last.name, last.kind) == ("dense_1", "Dense")
    assert first.name == "conv2d_1"
    assert f"`{first.name}` the gradient of a weight is a sum of {first.y.shape[0] * first.y.shape[1]}" in part
    steps = table(WORKSHEET, "step")
    assert steps == [["loss", *[""] * 10]]  # step 0 and nine more: "the nine for which the worksheet has room"


def test_the_first_three_programs_need_no_package() -> None:
    """A school can run them without an installation: they import each other and the standard library."""
    for path in sorted(FOLDER.glob("step0[123]_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
        others = {name for name in imported if str(name).partition(".")[0] not in sys.stdlib_module_names}
        assert {str(name)[:5] for name in others} <= {"step0"}, path.name


@pytest.mark.parametrize(
    "step", [step for step in STEPS if step.stem in LARGE - {"step10_mnist"}], ids=lambda step: step.stem
)
def test_a_check_names_the_step_that_it_compares_with(step: Path) -> None:
    source = step.read_text("utf-8")
    (compared,) = re.findall(r"^from step(\d\d)_\w+ import network as \w+_network$", source, re.MULTILINE)
    assert re.findall(r'print\("the same gradients as in step (\d+):"', source) == [compared]


def test_the_large_steps_compute_the_same_and_learn(few_digits: data.Dataset) -> None:
    tenth, eleventh, last = (importlib.import_module(name) for name in sorted(LARGE))
    images, labels = few_digits.x_train[:8], few_digits.y_train[:8]
    slow, fast = (eleventh.gradients(module.network, images, labels) for module in (tenth, eleventh))
    assert all(np.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(slow, fast, strict=True))
    assert last.largest_difference(images, labels) < 1e-12
    single = eleventh.in_float32(eleventh.gradients, eleventh.network, images, labels)
    assert {array.dtype for array in single} == {np.dtype(np.float32)}
    learned = tenth.start()
    losses = []
    optimizer = tenth.Adam(learned, rate=0.01)
    for _ in range(8):
        loss = tenth.SoftmaxCrossEntropy(labels)(eleventh.network(images, learned))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.data))
    assert losses[-1] < losses[0] / 3
    assert tenth.accuracy_on(images, labels, learned) > 0.8


def test_the_last_step_names_what_is_in_the_package() -> None:
    """Its table of names is the way from here to the source."""
    text = importlib.import_module("step12_tinycnn").__doc__ or ""
    for file in re.findall(r"tinycnn/[\w/]+\.py", text):
        assert (FOLDER.parents[2] / file).exists(), file
    rows = re.findall(r"^    ([A-Z_a-z0-9, ]+?) {2,}(tinycnn/\S+\.py)", text, re.MULTILINE)
    assert len(rows) >= 4
    for names, file in rows:
        source = (FOLDER.parents[2] / file).read_text("utf-8")
        if names not in ("largest_error",) and "ops/" not in file:
            assert all(re.search(rf"(class|def) {name}\b", source) for name in names.split(", ")), (names, file)
    assert callable(tinycnn.gradcheck)


@pytest.mark.parametrize(
    ("name", "passage", "instead"),
    [
        ("step01_number", "(other.value, self.value)", "(self.value, other.value)"),
        ("step02_each_once", "x.grad += slope", "x.grad = slope"),
        ("step02_each_once", ", reverse=True", ""),
        ("step05_dense", "self.x.T @ grad_y", "(self.x.T @ grad_y)[::-1]"),
        ("step07_convolution", "grad_x[place] += ", "grad_x[place] = "),
        ("step07_convolution", "grad_weight += ", "grad_weight = "),
        ("step08_im2col", "] += cols", "] = cols"),
        ("step09_pooling", "grad_y * (self.winner == number)", "grad_y"),
    ],
)
def test_what_a_lesson_breaks_is_noticed(
    name: str, passage: str, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A planted mistake changes what the step prints, or ends it: `docs/teaching.md` lets students plant some."""
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    assert passage in source
    arguments = {key: 0 for key in QUICK.get(name, ({}, 0))[0]}
    names: dict[str, object] = {"__name__": "broken"}
    exec(compile(source.replace(passage, instead, 1), name, "exec"), names)
    main = names["main"]
    assert callable(main)
    main(**arguments)
    promised = re.findall(r"print\(.*\)  # (.+)$", source, re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in promised] != promised


LINES_OF_U, LINES_OF_V = "grad_x += grad_u * y\ngrad_y += grad_u * x\n", "grad_u += grad_v * 1\ngrad_x += grad_v * 1\n"
SWAPPED = (f"{LINES_OF_V}# u = x * y\n{LINES_OF_U}", f"{LINES_OF_U}{LINES_OF_V}")


def printed_by(name: str, changes: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a program prints after the changes of a lesson."""
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    for passage, instead in changes:
        assert passage in source
        source = source.replace(passage, instead)
    exec(compile(source, name, "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("lesson", "changes", "gradients"),
    [
        ("a", [], "w 12.0 x 8.0 b 4.0"),
        ("a", [("3.0, 2.0, 1.0", "3.0, 4 / 3, 1.0")], "w 0.0 x 0.0 b 0.0"),
        ("b", [], "u 14.0 v 6.0 x 48.0 y 28.0"),
    ],
)
def test_the_programs_without_a_class_print_what_the_lessons_say(
    lesson: str, changes: list[tuple[str, str]], gradients: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (FOLDER / f"lesson_{lesson}.py").read_text("utf-8")
    used = {type(node) for node in ast.walk(ast.parse(source))}
    assert not used & {ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom, ast.For, ast.While}
    printed = printed_by(f"lesson_{lesson}", changes, capsys)
    assert f"gradients: {gradients}" in printed
    if not changes:
        step = importlib.import_module({"a": "step01_number", "b": "step02_each_once"}[lesson])
        step.main()
        assert f"gradients: {gradients}" in capsys.readouterr().out.splitlines()  # "the same numbers as step 1"
        assert [line for line in printed if line.startswith("measured: ")] == (
            ["measured: w 12.0", "measured: x 8.0", "measured: b 4.0"] if lesson == "a" else ["measured: x 48"]
        )


@pytest.mark.parametrize("name", ["lesson_a", "lesson_b", "step03_learning"])
def test_the_programs_of_the_first_lessons_do_not_give_the_answers(name: str) -> None:
    """Students guess what is printed, or try which seeds learn, with the source in front of them."""
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    assert re.findall(r"print\(.*\) +#", source) == []
    assert re.findall(r"(?m)(?:learns?|negative|tell).*\bseed|\bseed.*(?:learn|negative|tell)", source) == []


def table(text: str, head: str) -> list[list[str]]:
    """The cells below the row that begins with ``head``."""
    (rows,) = re.findall(rf"^\| {re.escape(head)}.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]


EXPECTED, PRINTED = "change in the program (undo each) | I expect", "change in the program | it printed"
KEY = TEACHING.partition("### Marking key")[2].partition("## Lesson 1")[0]
CHANGES = {  # of the worksheet, by its number: the programs that have it, and what students change there
    "1": {"lesson_b": [("+=", "=")], "step02_each_once": [("x.grad += slope", "x.grad = slope")]},
    "2": {"lesson_b": [SWAPPED]},
    "3": {"step02_each_once": [(", reverse=True", "")]},
}


@pytest.mark.parametrize(("change", "name"), [(change, name) for change, own in CHANGES.items() for name in own])
def test_the_key_of_worksheet_b_is_what_each_program_prints(
    change: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lesson of 45 minutes uses lesson_b.py, one of 90 step 2: each has a row for its own second change."""
    rows = [row[0] for row in table(WORKSHEET, f"{EXPECTED} these")]
    key = {row[0]: row[1] for row in table(KEY, f"{PRINTED}: u")}
    assert list(key) == rows
    assert [row[0] for row in rows] == list(CHANGES)
    (row,) = (row for row in rows if row.startswith(f"{change}. "))
    named = re.findall(r"`(\w+)\.py`", row)
    assert named == ([name] if len(CHANGES[change]) == 1 else [])
    right, wrong = (
        dict(re.findall(r"(\w) ([\d.]+)", line))
        for changes in ([], CHANGES[change][name])
        for line in printed_by(name, changes, capsys)
        if line.startswith("gradients: ")
    )
    assert [float(wrong[letter]) for letter in "uvxy"] == [float(one) for one in key[row].split(", ")]
    (points,) = (cells[2] for cells in table(KEY, "lesson | points") if cells[0] == f"B, change {change}")
    first = points.partition(" (1)")[0]
    assert re.findall(r"\$(\w)\$", first) == [letter for letter in "uvxy" if wrong[letter] != right[letter]]


@pytest.mark.parametrize(
    ("changes", "correct", "percent"),
    [
        ([], True, "76"),
        ([("grad_weight += ", "grad_weight = ")], False, "63"),
        ([("grad_x[place] += ", "grad_x[place] = ")], False, "76"),
    ],
)
def test_what_breaks_in_lesson_5(
    changes: list[tuple[str, str]], correct: bool, percent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed_by("step07_convolution", changes, capsys)
    assert f"gradients agree with finite differences: {correct}" in lines
    assert any(line.startswith(f"{percent}% of 100 test digits") for line in lines)
    assert f"{percent} %" in TEACHING.partition("## Lesson 5")[2].partition("**Write")[0]


EXCHANGED = {
    "lesson_a": [("grad_w = grad_p * x", "grad_w = grad_p * w"), ("grad_x = grad_p * w", "grad_x = grad_p * x")],
    "step01_number": [("(other.value, self.value)", "(self.value, other.value)")],
}
CHANGES_OF_A = [("1", name, changes) for name, changes in EXCHANGED.items()]
CHANGES_OF_A += [("2", "lesson_a", [("grad_e = 2 * e", "grad_e = e")])]


@pytest.mark.parametrize(("change", "name", "changes"), CHANGES_OF_A)
def test_the_key_of_worksheet_a_is_what_each_program_prints(
    change: str, name: str, changes: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row[0] for row in table(WORKSHEET, f"{EXPECTED}: w")]
    key = {row[0]: row[1] for row in table(KEY, f"{PRINTED}: w")}
    assert list(key) == rows
    (row,) = (row for row in rows if row.startswith(f"{change}. "))
    printed = printed_by(name, changes, capsys)
    (line,) = (line for line in printed if line.startswith("gradients: "))
    assert dict(re.findall(r"([wxb]) ([\d.]+)", line)) == {
        letter: f"{float(one)}" for letter, one in zip("wxb", key[row].split(", "), strict=True)
    }
    assert any(re.search(r"measured.* 12\.0", line) for line in printed)  # "What is measured stays 12"


def test_the_key_of_worksheet_a() -> None:
    """Its table and its factors, computed; the gradients that students hand in, by the numbers of step 1."""
    w, x, b, t = (Fraction(one) for one in (2, 3, 1, 5))
    nudge = Fraction(1, 1000)
    assert [row[0] for row in table(WORKSHEET, "raised by 0.001")] == ["nothing", "w", "x", "b"]
    for name, *shown in table(KEY, "raised by 0.001"):
        raised = {"w": w, "x": x, "b": b}
        raised[name] += nudge
        difference = raised["w"] * raised["x"] + raised["b"] - t
        rose = difference**2 - 4
        assert [Fraction(one) for one in shown] == [difference, difference**2, rose, rose / nudge]
    product, rate, after = x, Fraction(1), 2 * (w * x + b - t)  # of w → product, of both additions, of the square
    assert f"{product} · {rate} · {rate} · {after} = {product * after}" in KEY
    number = importlib.import_module("step01_number").Number
    one, other = number(2.0), number(3.0)
    ((one + other) * (other + number(1.0))).backward()
    assert f"$a$: {one.grad:.0f} (1 point). $b$: $4 + 5 = {other.grad:.0f}$" in KEY


def test_the_key_of_worksheet_d() -> None:
    """By step 7, whose convolution gets the gradients of the sheet."""
    layer = importlib.import_module("step07_convolution").Conv2d()
    image = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    layer.forward(image, np.zeros((2, 2, 1, 1)), np.zeros(1))
    gradient = layer.backward(np.array([1.0, 10, 100, 1000]).reshape(1, 2, 2, 1))[1].ravel()
    rows = table(KEY, "weight")
    assert [row[0] for row in table(WORKSHEET, "weight")] == [row[0] for row in rows]
    assert [float(row[2].rpartition("= ")[2]) for row in rows] == gradient.tolist()
    for _, pixels, summed in rows:
        products = [f"{factor}·{pixel}" for factor, pixel in zip((1, 10, 100, 1000), pixels.split(", "), strict=True)]
        assert summed.rpartition(" = ")[0] == " + ".join(products)
        assert sum(
            factor * int(pixel) for factor, pixel in zip((1, 10, 100, 1000), pixels.split(", "), strict=True)
        ) == (float(summed.rpartition("= ")[2]))
    sums = [sum(map(int, pixels.split(", "))) for _, pixels, _ in rows]
    assert f"| {', '.join(f'{one:.0f}' for one in gradient)} (1 each) | {', '.join(map(str, sums))}: the pixels" in KEY


def test_the_points_of_the_key_add_up() -> None:
    for name, points, answer, _ in table(KEY, "lesson | points"):
        given = sum(map(int, re.findall(r"\((\d)(?: point)?\)", answer)))
        assert int(points) == (4 if "(1 each)" in answer else given), name


def test_lesson_3_without_matrices() -> None:
    """By hand: the numbers of step 3 give the same. Eight hidden neurons learn with a seed with which two do not."""
    part = TEACHING.partition("### Without matrices")[2].partition("The Python of step 3")[0]
    step = importlib.import_module("step03_learning")
    layers = [[step.Number(one) for one in own] for own in ([1.0, 1, 0], [1.0, 1, -1], [1.0, -1, 0])]
    assert step.loss_of(layers).value == 1.0  # three of the four inputs are right
    output = step.network(layers, [step.Number(1.0), step.Number(1.0)])
    (output * output).backward()
    assert [[one.grad for one in own] for own in layers] == [[2.0] * 3, [-2.0] * 3, [4.0, 2.0, 2.0]]
    assert "4, 2 and 2 for the weights and the bias" in part.replace("\n ", "")
    for weight in (one for own in layers for one in own):
        weight.value -= 0.05 * weight.grad
    assert [[round(one.value, 3) for one in own] for own in layers] == [
        [0.9, 0.9, -0.1],
        [1.1, 1.1, -0.9],
        [0.8, -1.1, -0.1],
    ]
    output = step.network(layers, [step.Number(1.0), step.Number(1.0)]).value
    assert (round(output, 2), round(output**2, 2), round(step.loss_of(layers).value, 2)) == (-0.17, 0.03, 0.96)
    (line,) = re.findall(r"```python\n  (return .*)\n", part)
    source = (FOLDER / "step03_learning.py").read_text("utf-8")
    (before,) = re.findall(r"return \[\[Number\(draw.*", source)
    names: dict[str, Any] = {"__name__": "wider"}
    exec(source.replace(before, line), names)
    assert [len(own) for own in names["weights"](2)] == [3] * 8 + [9]
    assert names["main"](seed=3, steps=61) < 0.5  # two hidden neurons stop at 1


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_the_python_that_the_lessons_explain_is_in_the_program(number: int) -> None:
    table = TEACHING.partition(f"The Python of step {number}")[2].partition("\n\n")[2].partition("\n\n")[0]
    source = STEPS[number - 1].read_text(encoding="utf-8")
    code = [one for row in table.splitlines()[2:] for one in re.findall("`(.+?)`", re.split(r"(?<!\\) \| ", row)[0])]
    assert len(code) >= 7
    for one in code:
        assert all(part in source for part in one.replace(r"\|", "|").split("...")), one
