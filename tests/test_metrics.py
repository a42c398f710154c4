"""``tinycnn.metrics`` against scikit-learn and against counts made by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tinycnn import metrics
from tinycnn.errors import ShapeError


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("count", [1, 50, 1000])
def test_confusion_and_scores_are_those_of_scikit_learn(classes, count):
    rng = np.random.default_rng(classes * count)
    labels, predicted = rng.integers(0, classes, count), rng.integers(0, classes, count)
    every = range(classes)
    confusion = metrics.confusion_matrix(labels, predicted, classes)
    np.testing.assert_array_equal(confusion, sklearn_metrics.confusion_matrix(labels, predicted, labels=every))
    expected = sklearn_metrics.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    scores = metrics.class_scores(confusion)
    for ours, theirs in zip((scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_rows_are_true_and_columns_predicted():
    confusion = metrics.confusion_matrix(np.array([0, 0, 0]), np.array([1, 1, 2]), 3)
    assert confusion.tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0]]


def test_a_class_that_never_occurs_scores_zero():
    scores = metrics.class_scores(np.array([[3, 0, 0], [1, 4, 0], [0, 0, 0]]))
    assert scores.precision.tolist() == [0.75, 1.0, 0.0]
    assert scores.recall.tolist() == [1.0, 0.8, 0.0]
    assert scores.f1.tolist() == pytest.approx([6 / 7, 8 / 9, 0.0])
    assert scores.support.tolist() == [3, 5, 0]


@pytest.mark.parametrize(
    ("labels", "predicted"),
    [([0, 1], [0]), ([[0, 1]], [[0, 1]]), ([0, 3], [0, 0]), ([0, 0], [0, 3]), ([0, -1], [0, 0])],
)
def test_wrong_shapes_and_classes_are_refused(labels, predicted):
    with pytest.raises(ShapeError, match="confusion_matrix"):
        metrics.confusion_matrix(np.array(labels), np.array(predicted), 3)


def test_the_most_confident_mistake_comes_first():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.05, 0.95], [0.6, 0.4], [0.2, 0.8]])
    labels = np.array([0, 0, 0, 1, 0])  # the first is right; 1 and 4 are equally sure
    assert metrics.mistakes(labels, probs).tolist() == [2, 1, 4, 3]
    assert metrics.mistakes(probs.argmax(axis=1), probs).tolist() == []


def test_probabilities_are_those_of_scipy_even_for_large_scores():
    from scipy.special import softmax

    logits = np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32)
    np.testing.assert_allclose(metrics.probabilities(logits), softmax(logits.astype(np.float64), axis=1), rtol=1e-12)


def test_a_fraction_as_text():
    assert [metrics.percent(fraction) for fraction in (0, 0.98765, 1)] == ["0.00 %", "98.77 %", "100.00 %"]
