"""Which digit is on your own pictures: PNG, JPEG and others, dark on light or light on dark, of any size.

Each picture is cut out, scaled and centred as MNIST's makers did, and answered with the probability of every class.
Exit codes: 0 all answered, 1 some could not be (each with a sentence on stderr), 2 none, or another mistake.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tinycnn
from tinycnn import metrics
from tinycnn.commands.choices import add_backend, add_model_file, load_finite
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Sequential
from tinycnn.train import predict_logits

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
MOST_COLUMNS = 10  # with more classes, the most probable ones by name


def add_options(parser: argparse.ArgumentParser) -> None:
    """Model and pictures."""
    add_model_file(parser)
    parser.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="picture of a digit, or a folder of them")
    add_backend(parser)


def run(options: argparse.Namespace) -> int:
    """Print a line for every picture."""
    from tinycnn.data.drawing import read_drawing

    tinycnn.use_backend(options.backend)
    model = load_finite(options.model)
    size = size_of_drawings(model)
    paths = [path for given in options.images for path in pictures_in(given)]
    width = max(len(str(path)) for path in paths)
    answered = 0
    print(head(model.output_shape[0], width))
    for path in paths:
        try:
            image = read_drawing(path, size)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            continue
        print(line(path, metrics.probabilities(predict_logits(model, image))[0], width), flush=True)
        answered += 1
    return 0 if answered == len(paths) else 1 if answered else 2


def size_of_drawings(model: Sequential) -> tuple[int, int]:
    """Height and width that ``model`` takes; SettingError unless it takes grey images and answers with classes."""
    if len(model.input_shape) != 3 or model.input_shape[2] != 1 or len(model.output_shape) != 1:
        raise SettingError(f"the model takes {model.input_shape}; predict reads drawings in grey, (H, W, 1)")
    return model.input_shape[0], model.input_shape[1]


def pictures_in(path: Path) -> Iterator[Path]:
    """The file itself, or the pictures of a folder in the order of their names; DataError when it holds none."""
    if not path.is_dir():
        yield path
        return
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{path}: no picture in this folder ({', '.join(sorted(SUFFIXES))})")
    yield from found


def head(classes: int, width: int) -> str:
    """The names of the columns."""
    if classes > MOST_COLUMNS:
        return f"{'picture':<{width}}  answer  most probable, in %"
    return f"{'picture':<{width}}  answer  " + "".join(f"{k:>6}" for k in range(classes)) + "  %"


def line(path: Path, p: np.ndarray, width: int) -> str:
    """One answer with the probability of every class, in percent."""
    start = f"{path!s:<{width}}  {p.argmax():>6}  "
    if len(p) > MOST_COLUMNS:
        return start + ", ".join(f"{k}: {100 * p[k]:.1f}" for k in np.argsort(-p)[:5])
    return start + "".join(f"{100 * value:>6.1f}" for value in p)
