"""A gradient of the wrong shape: its numbers show whether grad_y was used, and over which axes it was summed."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.exercises.test_mistakes import ANSWERS, BY_NUMBER, file_of
from tinycnn.exercises import check_file
from tinycnn.exercises.wrong_shapes import wrong_gradient

GRAD_Y = np.random.default_rng(0).normal(size=(2, 3, 4))
ARBITRARY = np.random.default_rng(1).normal(size=(3, 4))


@pytest.mark.parametrize(
    ("came", "key", "sentence"),
    [
        (GRAD_Y.sum(), "wrong axis", "It is the sum of grad_y over all axes."),
        (GRAD_Y.sum(axis=2), "not summed", "It is the sum of grad_y over axis 2."),
        (GRAD_Y.sum(axis=(1, 2)), "wrong axis", "It is the sum of grad_y over axes 1 and 2."),
        (GRAD_Y.mean(axis=(0, 2)), "averaged + wrong axis", "It is the mean of grad_y over axes 0 and 2."),
        (GRAD_Y.sum(axis=(0, 1), keepdims=True), "axis of length 1", "It is the sum of grad_y over axes 0 and 1."),
        (np.array(1), "upstream + shape", "All of its numbers are 1, whatever grad_y is."),
        (np.full((3, 4), 2.0), "upstream + not summed", "All of its numbers are 2, whatever grad_y is."),
        (ARBITRARY, "not summed", ""),
        (np.full((3, 4), 0.5), "not summed", ""),  # may come from grad_y
        (np.zeros(3), "shape", ""),  # nothing was summed
        (np.full(3, np.inf), "wrong axis", ""),
        (np.array([None] * 2), "wrong axis", ""),  # by the shape alone
        (np.zeros(0), "empty", ""),
    ],
)
def test_what_the_numbers_show(came: np.ndarray, key: str, sentence: str) -> None:
    """The input has the last axis of grad_y alone."""
    symptom = wrong_gradient((4,), np.asarray(came), GRAD_Y)
    assert (symptom.key, symptom.sentence) == (key, sentence)


@pytest.mark.parametrize(
    ("place", "line", "words"),
    [
        ("03 DenseFunction.backward", "grad_bias = grad_y.sum()", "  It is the sum of grad_y over all axes.\n"),
        ("03 DenseFunction.backward", "grad_bias = grad_y.mean()", "  It is the mean of grad_y over all axes.\n"),
        ("03 DenseFunction.backward", "grad_bias = len(grad_y)", "  All of its numbers are 4, whatever grad_y is.\n"),
        ("04 ReLUFunction.backward", "return grad_y[self.y > 0]", "Hint 1 of 3: numbers are missing"),
        (
            "05 SoftmaxCrossEntropyFunction.backward",
            "grad_logits = (p - self.target) / N / N",
            "divided by N, .* twice",
        ),
        ("10 DropoutFunction.forward", "return x[self.mask > 0]", "Hint 1 of 3: y has one number for each x"),
    ],
)
def test_a_student_reads_it(place: str, line: str, words: str, tmp_path: Path) -> None:
    """``line`` takes the place of the line that begins like it."""
    (number, function), begin = place.split(), line.partition(" ")[0]
    answers = dict(ANSWERS[number])
    answers[function] = re.sub(rf"{begin}.*", line, answers[function], count=1)
    outcome = check_file(BY_NUMBER[number], file_of(BY_NUMBER[number], answers, tmp_path))
    assert re.search(words, outcome.message), outcome.message
