"""Mistakes of a reader, in wordings that differ from those of the package, are named; so is every planted one."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from tests.exercises.test_other_answers import filled
from tinycnn.exercises import EXERCISES, Exercise, Outcome, check_file
from tinycnn.exercises.evidence import is_same
from tinycnn.exercises.locating import planted_evidence

BY_NUMBER = {exercise.name[:2]: exercise for exercise in EXERCISES}
Functions = dict[str, tuple[str, str]]  # by name: what is replaced (empty: all), and what stands in its place


def blocks(mark: str, file: str = "mistakes.txt") -> Iterator[tuple[str, Functions]]:
    """The blocks of a file that begin with the mark: their title and functions."""
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    for title, body in re.findall(rf"^{mark} (.*)\n((?:.+\n?)+)", text, re.MULTILINE):
        functions = {}
        for name, lines in re.findall(r"^([\w.]+)\n((?:[-+].*\n?)+)", body, re.MULTILINE):
            old, new = (re.findall(rf"^\{sign} ?(.*)$", lines, re.MULTILINE) for sign in "-+")
            functions[name] = "\n".join(old), "\n".join(new)
        yield title, functions


ANSWERS = {number: {place: body for place, (_, body) in functions.items()} for number, functions in blocks("=")}

STYLES = dict(blocks("=", "styles.txt"))  # by title: right answers


def file_of(exercise: Exercise, answers: dict[str, str], folder: Path) -> Path:
    """A file with these answers."""
    text = exercise.text()
    for place, answer in answers.items():
        text = filled(text, place, answer)
    path = folder / exercise.file_name
    path.write_text(text, encoding="utf-8")
    return path


def assert_each_level_says_more(outcome: Outcome) -> None:
    """There are two levels or three, as many as the message names, and the words of none are in those before it."""
    assert len(outcome.hints) in (2, 3), outcome.message
    assert outcome.message.endswith(f"\n  Hint 1 of {len(outcome.hints)}: {outcome.hints[0]}")
    words = [" ".join(re.findall(r"\w+|[^\w\s.,;:]", text.lower())) for text in outcome.hints]
    for level, text in enumerate(words):
        assert text, outcome.message
        assert text not in " ".join(words[:level]), outcome.hints


@pytest.mark.parametrize("number", ANSWERS)
def test_a_mistake_of_a_reader_is_named(number: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """By its symptom, and with the function where it is, if it has no line; no other line is said to be wrong."""
    exercise = BY_NUMBER[number]
    assert check_file(exercise, file_of(exercise, ANSWERS[number], tmp_path)).state == "right"
    mistakes = [(title[3:], functions) for title, functions in blocks("@") if title.startswith(number)]
    assert mistakes
    for symptom, functions in mistakes:
        answers = dict(ANSWERS[number])
        for place, (old, new) in functions.items():
            assert old in answers[place]
            answers[place] = answers[place].replace(old, new) if old else new
        outcome = check_file(exercise, file_of(exercise, answers, tmp_path))
        assert outcome.state in ("wrong", "part"), outcome.message
        assert outcome.symptom == symptom, outcome.message
        assert_each_level_says_more(outcome)
        named = re.search(r"lines \d+ to \d+:  (\S+)", outcome.message)
        assert named is None or named[1] in functions, outcome.message
        accused = re.search(r"\.py, line \d+:  (.+)", outcome.message.partition("Error: ")[0])  # not: raised there
        changed = [line.strip() for _, new in functions.values() for line in new.splitlines()]
        assert accused is None or any(line in accused[1] for line in changed), outcome.message
    assert not recwarn


@pytest.mark.parametrize("title", STYLES)
def test_another_style_is_right(title: str, tmp_path: Path) -> None:
    """Such as einsum, loops, views, np.add.at, buffers of one's own."""
    exercise, answers = BY_NUMBER[title[:2]], {place: body for place, (_, body) in STYLES[title].items()}
    outcome = check_file(exercise, file_of(exercise, answers, tmp_path))
    assert outcome.state == "right", outcome.message


@pytest.mark.parametrize("number", [number for number, exercise in BY_NUMBER.items() if exercise.planted])
def test_planted_mistakes_lead_to_different_outcomes(number: str) -> None:
    """So a hint names the only planted mistake that agrees with all outcomes."""
    planted, exercise = planted_evidence(BY_NUMBER[number]), BY_NUMBER[number]
    meant = [(key, place) for key, changed in exercise.planted.items() for place, _ in changed]
    assert [(key, place) for key, place, *_ in planted] == meant  # all fit the source, and none is called right
    for (key, _, evidence, _), (other, _, others, _) in combinations(planted, 2):
        assert key == other or not is_same(evidence, others), (key, other)
