"""Print accuracy, loss, confusion matrix and per-class scores of a model file on the test images of a data set.

Of a folder of pictures, these are the ones in its folder test, or every fifth of each class, which training holds out.
The folder may also hold new pictures only: --all-pictures measures every one, and classes may be missing.
"""

import argparse
from collections.abc import Iterable, Sequence

import numpy as np

from tinycnn import metrics
from tinycnn.commands.shared_options import (
    add_backend,
    add_dataset,
    add_model_file,
    add_model_pixels,
    add_threads,
    choose_backend,
    measured_images,
    show_notice,
    state_pixels,
)
from tinycnn.saving.model_file import load_finite
from tinycnn.train.evaluation import scores_of
from tinycnn.train.predicting import check_classifier, class_scores
from tinycnn.train.views import VIEWS

WIDTH = 100  # of a line of the confusion matrix
MOST_CLASSES = 20  # with more, the confusion matrix is not printed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the model, the data and the backend."""
    add_model_file(parser)
    add_model_pixels(parser)
    add_dataset(parser)
    add_backend(parser)
    add_threads(parser)
    words = "of a folder of pictures: also those that training would use (default: those held out)"
    parser.add_argument("--all-pictures", action="store_true", help=words)
    parser.add_argument("--views", choices=VIEWS, help="average the predictions of several views of each image")


def run(options: argparse.Namespace) -> None:
    """Evaluate the model and print the scores."""
    choose_backend(options)
    model = load_finite(options.model)
    state_pixels(options, model)
    check_classifier(model, "a network that chooses between classes, for the accuracy and the confusion matrix")
    measured, class_names = measured_images(options, model)
    show_notice(measured, options.in_options)
    logits = class_scores(model, measured.images, views=options.views)
    scores = scores_of(logits, measured.labels)
    where = f"on {options.in_options(measured.which)}"
    where += f", from {len(VIEWS[options.views])} views of each ({options.views})" if options.views else ""
    print(f"accuracy {metrics.percent(scores.accuracy)}, loss {scores.loss:.4f} {where}\n")
    confusion = metrics.confusion_matrix(measured.labels, logits.argmax(axis=1), len(class_names))
    if len(class_names) <= MOST_CLASSES:
        print("\n".join(confusion_lines(confusion, class_names)), end="\n\n")
    print("\n".join(class_lines(metrics.class_scores(confusion), class_names)))


def confusion_lines(confusion: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The counts ``(K, K)`` as text: a row per true class, a column per predicted class.

    The head has the names of the classes, or their numbers where the names would make the lines too long.
    """
    names, cell = max(5, *map(len, class_names)), len(str(confusion.max())) + 2
    named = max(cell, max(map(len, class_names)) + 2)
    fits = names + named * len(confusion) <= WIDTH
    head, cell = (class_names, named) if fits else (range(len(confusion)), cell)
    lines = [f"{'':<{names}}  predicted class", f"{'true':<{names}}" + _cells(head, cell)]
    rows = zip(class_names, confusion, strict=True)
    return lines + [f"{name:<{names}}" + _cells(("." if n == 0 else n for n in row), cell) for name, row in rows]


def _cells(values: Iterable[object], width: int) -> str:
    return "".join(f"{value!s:>{width}}" for value in values)


def class_lines(scores: metrics.ClassScores, class_names: Sequence[str]) -> list[str]:
    """A line per class: precision, recall and F1 in percent, and the number of images; no recall without images."""
    width = max(5, *map(len, class_names))
    columns = zip(class_names, scores.precision, scores.recall, scores.f1, scores.support, strict=True)
    return [f"{'class':<{width}}  precision   recall       F1   images"] + [
        f"{name:<{width}}  {_share(p)}{_share(r if n else None)}{_share(f if n else None)} {n:>9,}"
        for name, p, r, f, n in columns
    ]


def _share(value: float | None) -> str:
    """A fraction in percent, in nine letters; a dash for None: no image, so nothing to measure."""
    return f"{'–':>7}  " if value is None else f"{100 * value:>7.2f} %"
