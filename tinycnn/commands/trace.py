"""See backpropagation happen: one step on your picture, forward and backward, every number of it.

Without MODEL_FILE, digit_cnn reads it, a network for digits that comes with tinycnn. --html writes a page that walks
through the step and works offline; --save writes all arrays as a safetensors file. Without either, a table of the
layers is printed. The picture is prepared as for the command predict, and the network does not change. Exit codes:
0 traced, 2 error (nothing is written).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from tinycnn import models
from tinycnn.backends import use_backend
from tinycnn.commands.predict import check_takes_pictures, picture_for
from tinycnn.commands.shared_options import (
    PACKAGED,
    add_model_pixels,
    add_pictures,
    check_other_file,
    given_or_packaged,
    state_pictures,
    state_pixels,
)
from tinycnn.errors import SettingError, printable, shortened
from tinycnn.explain import Trace, trace_step
from tinycnn.layers import Sequential
from tinycnn.metrics import probability_percent
from tinycnn.saving.endings import HTML, SAFETENSORS, check_ending


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the model, the picture, its class, and the files."""
    words = f"a model.safetensors written by training (default: {PACKAGED})"
    model = parser.add_argument("model", metavar="[MODEL_FILE]", help=words)
    image = parser.add_argument("image", metavar="IMAGE", help="a picture: PNG, JPEG and other formats")
    model.required = image.required = False  # a single word is the picture: see `model_and_picture`
    words = "the class that the network should answer, by name or number: the true one, or another on purpose"
    parser.add_argument("--label", required=True, metavar="CLASS", help=words)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the walk as one HTML file")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write all arrays as a safetensors file")
    parser.add_argument(
        "--training",
        action="store_true",
        help="training mode: with dropout, and batch norm over this picture (default: as in a prediction)",
    )
    add_model_pixels(parser)
    add_pictures(parser)
    parser.add_argument("--pixels", metavar="A..B", help="numbers for black and white in pictures of over 8 bits")


def run(options: argparse.Namespace) -> None:
    """Trace, write, and print what was found."""
    file, picture = model_and_picture(options.model, options.image)
    for name, target, endings in (("--html", options.html, HTML), ("--save", options.save, SAFETENSORS)):
        if target:
            check_other_file(name, target, file or models.TRAINED, "model file")
            check_other_file(name, target, picture, "picture")
            check_ending(target, endings, name)
    use_backend("numpy")
    model, network = given_or_packaged(file)
    if file is None:
        print(f"NOTICE: read by {network}", file=sys.stderr, flush=True)
    state_pixels(options, model)
    state_pictures(options, model)
    check_takes_pictures(model)
    label = class_number(options.label, model)
    image = picture_for(picture, model, options.pixels)
    trace = trace_step(model, image, label, training=options.training)
    if options.html:
        write_walk(options.html, model, image, trace)
    if options.save:
        trace.save(options.save)
    print_summary(trace, options.html is None and options.save is None)
    for target in filter(None, (options.html, options.save)):
        print(f"{target}: {target.stat().st_size:,} bytes")


def model_and_picture(first: str | None, second: str | None) -> tuple[str | None, Path]:
    """The model file and the picture; the file is None if there is only one word, which is the picture."""
    if first is None:
        raise SettingError("expected a picture: tinycnn trace [MODEL_FILE] IMAGE --label CLASS")
    if second is not None:
        return first, Path(second)
    if Path(first).suffix == models.TRAINED.suffix:
        raise SettingError(f"{printable(first)}: expected a picture after this model file")
    return None, Path(first)


def write_walk(path: Path, model: Sequential, image: np.ndarray, trace: Trace) -> None:
    """Write the HTML file."""
    from tinycnn.files import write_atomically
    from tinycnn.web.walk import walk_html

    write_atomically(path, walk_html(model, image, trace.label, training=trace.training).encode())


def class_number(given: str, model: Sequential) -> int:
    """The number of the class with the name, or else the number, ``given``; raises SettingError for no such class."""
    names = list(model.class_names)
    if given in names:
        return names.index(given)
    numbers = list(map(str, range(len(names))))
    if given in numbers:
        return numbers.index(given)
    raise SettingError(f"--label {shortened(given)}: expected one of {', '.join(names[:20])}")


def print_summary(trace: Trace, with_layers: bool) -> None:
    """Print prediction and loss, and with ``with_layers`` the sizes of outputs and gradients, layer by layer."""
    p, names = trace.probabilities, trace.class_names
    print(
        f"read as {names[trace.predicted]} ({probability_percent(p[trace.predicted])}), "
        f"label {names[trace.label]} ({probability_percent(p[trace.label])}), loss {trace.loss:.4f} nats"
    )
    if not with_layers:
        return
    width = max(len(layer.name) for layer in trace.layers)
    print(f"{'layer':<{width}}  {'output shape':<14}  {'largest output':>14}  {'largest gradient of output':>26}")
    for layer in trace.layers:
        shape = "×".join(map(str, layer.y.shape))
        print(
            f"{layer.name:<{width}}  {shape:<14}  {np.abs(layer.y).max():>14.4g}  {np.abs(layer.grad_y).max():>26.4g}"
        )
