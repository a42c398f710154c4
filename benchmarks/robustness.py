"""Accuracy of networks on digits drawn too small, off-centre, thick, thin or rotated.

    python benchmarks/robustness.py                                              # the network that comes with tinycnn
    python benchmarks/robustness.py runs/keras_cnn-mnist/model.safetensors

Each of MNIST's test digits is changed as the row states and pasted onto a sheet of 280x280 pixels. ``data/drawing.py``
then reduces the sheet to 28x28, as it does for drawings from the web page. The column "raw" only scales the sheet down;
the difference shows the effect of the preparation.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

import tinycnn
from tinycnn import data, models
from tinycnn.backends.threads import get_threads
from tinycnn.data.drawing import normalise
from tinycnn.run.scripts import in_sentences
from tinycnn.train.evaluation import predict_logits

SHEET, DIGIT = 280, 200  # side lengths in pixels: the sheet, and MNIST's box of 20 pixels on the sheet
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def enlarged(image: np.ndarray, box: int = DIGIT) -> Image.Image:
    """Enlarge a digit ``(28, 28)``, light on dark, so that its box of 20 pixels has ``box`` pixels."""
    side = round(box * 28 / 20)
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


def placed(digit: Image.Image, down: float = 0.5, across: float = 0.5) -> Image.Image:
    """Paste a digit onto a sheet; 0 is the sheet's upper or left edge, 1 its lower or right edge."""
    sheet, box = Image.new("L", (SHEET, SHEET)), digit.getbbox() or (0, 0, 1, 1)
    digit = digit.crop(box)
    sheet.paste(digit, (round(across * (SHEET - digit.width)), round(down * (SHEET - digit.height))))
    return sheet


def turned(degrees: float) -> Change:
    """Rotate by ``degrees``, in a random direction."""
    return lambda image, rng: placed(image.rotate(degrees * rng.choice((-1, 1)), Image.Resampling.BICUBIC, expand=True))


def thick(size: int) -> Change:
    """Draw with a square pen that adds ``size - 1`` pixels to the width of a stroke."""
    return lambda image, rng: placed(Image.fromarray(highest(np.asarray(image), size)))


def thin(size: int) -> Change:
    """Take ``size - 1`` pixels away from the width of a stroke."""
    return lambda image, rng: placed(Image.fromarray(255 - highest(255 - np.asarray(image), size)))


def highest(levels: np.ndarray, size: int) -> np.ndarray:
    """The highest level within a square of ``size`` pixels around each pixel: a maximum filter, axis by axis."""
    for axis in (0, 1):
        margin = [(size // 2, size // 2) if i == axis else (0, 0) for i in (0, 1)]
        levels = sliding_window_view(np.pad(levels, margin, mode="edge"), size, axis).max(axis=-1)
    return levels


CHANGES: dict[str, tuple[int, Change]] = {  # row → size of the digit's box on the sheet, change
    "as in MNIST": (DIGIT, lambda image, rng: placed(image)),
    "off-centre": (100, lambda image, rng: placed(image, *rng.random(2))),
    "small (a fifth of the sheet)": (56, lambda image, rng: placed(image, *rng.random(2))),
    "large (fills the sheet)": (276, lambda image, rng: placed(image)),
    "thick pen": (DIGIT, thick(17)),
    "very thick pen": (DIGIT, thick(29)),
    "thin pen": (DIGIT, thin(9)),
    "turned by 15 degrees": (DIGIT, turned(15)),
    "turned by 30 degrees": (DIGIT, turned(30)),
    "dark on light": (DIGIT, lambda image, rng: placed(image).point(lambda level: 255 - level)),
}


def sheets(images: np.ndarray, change: str) -> list[Image.Image]:
    """Draw ``images (N, 28, 28)`` onto sheets; the seed is fixed."""
    rng, (box, apply) = np.random.default_rng(0), CHANGES[change]
    return [apply(enlarged(image, box), rng) for image in images]


def prepared(drawn: list[Image.Image]) -> np.ndarray:
    """Prepare sheets as the web page does, → ``(N, 28, 28, 1)`` bytes; a digit erased by a filter becomes all zeros."""
    return np.concatenate([prepare(sheet) for sheet in drawn])


def prepare(sheet: Image.Image) -> np.ndarray:
    """Prepare one sheet, → ``(1, 28, 28, 1)`` bytes."""
    try:
        return normalise(np.asarray(sheet, np.float32) / 255)
    except tinycnn.errors.DataError:
        return np.zeros((1, 28, 28, 1), np.uint8)


def shrunk(drawn: list[Image.Image]) -> np.ndarray:
    """Scale whole sheets down, → ``(N, 28, 28, 1)`` bytes."""
    return np.stack([np.asarray(sheet.resize((28, 28), Image.Resampling.BOX)) for sheet in drawn])[..., np.newaxis]


def accuracy(model: tinycnn.Sequential, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of ``images`` that ``model`` classifies correctly."""
    return float((predict_logits(model, images).argmax(axis=1) == labels).mean())


Table = dict[str, dict[str, float]]


def measure(networks: dict[str, tinycnn.Sequential], images: np.ndarray, labels: np.ndarray) -> Table:
    """Row → column → accuracy; the column "raw" is that of the first network."""
    table: Table = {}
    for change in CHANGES:
        drawn = sheets(images, change)
        row = {"raw": accuracy(next(iter(networks.values())), shrunk(drawn), labels)}
        seen = prepared(drawn)
        table[change] = row | {name: accuracy(model, seen, labels) for name, model in networks.items()}
    return table


def as_text(table: Table) -> str:
    """The table in Markdown, in percent."""
    columns = list(next(iter(table.values())))
    lines = [f"| digits | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    lines += [f"| {row} | {' | '.join(f'{100 * cells[c]:.2f}' for c in columns)} |" for row, cells in table.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure the accuracies, print them and write them to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("model_file", type=Path, nargs="*", help="model.safetensors of a training run")
    parser.add_argument("--limit", type=machine.positive, default=2000, metavar="N", help="test digits (default: 2000)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds MNIST")
    parser.add_argument("--held-out", action="store_true", help="the first of the last 10,000 training digits instead")
    parser.add_argument("--output", type=machine.result_file, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    tinycnn.use_backend("auto")
    dataset = data.load("mnist", data_dir=options.data_dir)
    networks = {path.parent.name: tinycnn.load(path) for path in options.model_file} or {"digit_cnn": models.trained()}
    images, labels = dataset.x_test, dataset.y_test
    if options.held_out:
        images, labels = dataset.x_train[-10000:], dataset.y_train[-10000:]
    images, labels = images[: options.limit, :, :, 0], labels[: options.limit]
    table = measure(networks, images, labels)
    print(as_text(table))
    if options.output:
        report = {"images": len(labels), "machine": machine.describe(get_threads()), "accuracy": table}
        machine.replace(options.output, report)


if __name__ == "__main__":
    main()
