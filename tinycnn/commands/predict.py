"""Classify your own images: PNG, JPEG and other formats, of any size.

Without MODEL_FILE, digit_cnn reads them, a network for digits that comes with tinycnn. For a network trained on MNIST,
the drawn digit, dark on light or light on dark, is cut out, scaled and centred as in MNIST; several digits side by side
are read one by one. For a network trained on a folder of pictures, each picture is prepared as in training. Printed are
the class and the probability of every class; for labels that do not exclude each other, the probability of each by
itself; for a regression, the numbers. Exit codes: 0 all pictures read, 1 some could not be read (each is reported on
stderr), 2 if none, or for another error.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tinycnn import models
from tinycnn.commands.shared_options import (
    PACKAGED,
    add_backend,
    add_model_pixels,
    add_pictures,
    add_threads,
    choose_backend,
    given_or_packaged,
    state_pictures,
    state_pixels,
)
from tinycnn.data.new_picture import load_picture
from tinycnn.data.picture import SUFFIXES, is_picture
from tinycnn.errors import DataError, SettingError, in_shell, in_words, printable
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import NUMBERS, advice_for_rows
from tinycnn.train.predicting import is_classifier, output_names, predictions

MOST_COLUMNS = 10  # with more classes, only the five most probable are printed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the model and the pictures."""
    words = f"a model.safetensors written by training (default: {PACKAGED})"
    model = parser.add_argument("model", metavar="[MODEL_FILE]", help=words)
    model.required = False  # `model_and_pictures` says what is missing
    add_model_pixels(parser)
    add_pictures(parser)
    images = parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="a picture, or a folder of them")
    images.required = False  # a single word is a picture: see `model_and_pictures`
    parser.add_argument("--pixels", metavar="A..B", help="numbers for black and white in pictures of over 8 bits")
    add_backend(parser)
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Print a line per picture; returns the exit code."""
    choose_backend(options)
    file, words = model_and_pictures(options.model, options.images or [])
    model, name = given_or_packaged(file)
    if file is None:
        print(f"NOTICE: read by {name}", file=sys.stderr, flush=True)
    state_pixels(options, model)
    state_pictures(options, model)
    check_takes_pictures(model)
    paths = [path for given in words for path in pictures_in(given)]
    table = Table(model, max(len(printable(str(path))) for path in paths))
    classified = 0
    for path in paths:
        try:
            images = load_picture(path, model, pixels=options.pixels)
        except DataError as error:
            print(f"error: {options.in_options(in_words(error))}", file=sys.stderr)
            continue
        if not classified:
            print(table.head())
        for number, values in enumerate(predictions(model, images), start=1):  # (K,)
            which = f" ({number} of {len(images)})" if len(images) > 1 else ""
            print(table.line(f"{path}{which}", values), flush=True)
        classified += 1
    return 0 if classified == len(paths) else 1 if classified else 2


def model_and_pictures(first: str | None, others: list[Path]) -> tuple[str | None, list[Path]]:
    """The model file and the pictures; the file is None if the ``first`` word is a picture or a folder of them, too."""
    if first is None:
        raise SettingError("expected a picture, or a folder of them: tinycnn predict [MODEL_FILE] IMAGE")
    path = Path(first)
    if not others and path.suffix == models.TRAINED.suffix:
        raise SettingError(f"{printable(first)}: expected a picture after this model file")
    late = next((str(other) for other in others if other.suffix == models.TRAINED.suffix), None)
    if late is not None and path.suffix != models.TRAINED.suffix:
        raise SettingError(f"{printable(late)}: the model file comes first: tinycnn predict {in_shell(late)} PICTURE")
    folder = path.is_dir() and not (path / "model.safetensors").exists()
    return (None, [path, *others]) if not others or is_picture(path) or folder else (first, others)


def check_takes_pictures(model: Sequential) -> None:
    """Raise SettingError unless ``model`` takes images, grey or in colour, and returns K numbers for each."""
    if len(model.input_shape) != 3 or model.input_shape[2] not in (1, 3) or len(model.output_shape) != 1:
        shapes = f"{model.input_shape} and returns {model.output_shape}"
        advice = advice_for_rows(model.input_shape)
        raise SettingError(f"the model takes {shapes}; expected (H, W, 1) or (H, W, 3), and outputs (K,).{advice}")


def picture_for(path: Path, model: Sequential, pixels: str | None = None) -> np.ndarray:
    """The picture prepared as for training ``model``, ``(H, W, C)`` bytes; DataError for several digits, too."""
    images = load_picture(path, model, pixels=pixels)
    if len(images) > 1:
        raise DataError(f"{printable(str(path))}: {len(images)} digits are on it, expected one: cut out one of them")
    return images[0]


def pictures_in(path: Path) -> Iterator[Path]:
    """The file itself, or the pictures in a folder, ordered by name; DataError when there are none."""
    if not path.is_dir():
        yield path
        return
    found = sorted(filter(is_picture, path.iterdir()))
    if not found and any(child.is_dir() for child in path.iterdir()):
        raise DataError(
            f"{path}: only folders are in this folder: pass one of them, or measure the accuracy of a model on all, "
            f"with tinycnn evaluate MODEL_FILE --dataset {in_shell(path)} --all-pictures"
        )
    if not found:
        raise DataError(f"{path}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    yield from found


class Table:
    """The lines that are printed: a picture in each, with what the network predicts for it; ``width``: of the names."""

    def __init__(self, model: Sequential, width: int) -> None:
        self.outputs, self.is_classifier, self.width = model.outputs, is_classifier(model), width
        self.names = output_names(model)

    def head(self) -> str:
        """The names of the columns."""
        start = f"{'picture':<{self.width}}  "
        if self.is_classifier:
            start += f"{'class':>{longest(self.names)}}  "
        if self.outputs == NUMBERS:
            return start + "".join(f"{name:>{column(name, 12)}}" for name in self.names)
        unit = "%" if self.is_classifier else "%, each by itself"
        if len(self.names) > MOST_COLUMNS:
            return start + f"most probable, in {unit}"
        return start + "".join(f"{name:>{column(name)}}" for name in self.names) + f"  {unit}"

    def line(self, path: str, values: np.ndarray) -> str:
        """Probabilities in percent, ``(K,)``, for a classifier with the predicted class in front; or the numbers."""
        start = f"{printable(path):<{self.width}}  "
        named = list(zip(self.names, values, strict=True))
        if self.is_classifier:
            start += f"{self.names[int(values.argmax())]:>{longest(self.names)}}  "
        if self.outputs == NUMBERS:
            return start + "".join(f"{value:>{column(name, 12)}.6g}" for name, value in named)
        if len(values) > MOST_COLUMNS:
            return start + ", ".join(f"{self.names[k]}: {100 * values[k]:.1f}" for k in np.argsort(-values)[:5])
        return start + "".join(f"{100 * value:>{column(name)}.1f}" for name, value in named)


def longest(names: Sequence[str]) -> int:
    """The width of the column of predicted classes."""
    return max(6, *map(len, names))


def column(name: str, least: int = 6) -> int:
    """The width of the column of a class, a label or a number."""
    return max(least, len(name) + 2)
