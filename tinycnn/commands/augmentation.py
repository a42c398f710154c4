"""Draw what an augmentation does to an image of a data set.

The picture shows the image itself and nine augmented versions, one per training epoch. Exit codes: 0 success, 2 error.
"""

import argparse
from pathlib import Path

from tinycnn import data
from tinycnn.backends import use_backend
from tinycnn.commands.shared_options import add_backend, add_dataset, check_not_of_dataset, show_notice
from tinycnn.data.augment import NAMES, named
from tinycnn.data.load_options import applicable
from tinycnn.errors import SettingError
from tinycnn.files import write_atomically
from tinycnn.saving.endings import PNG, check_ending


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the augmentation, the image and the file."""
    add = parser.add_argument
    add("augment", choices=NAMES, metavar="NAME", help=" or ".join(NAMES))
    add("--elastic", type=float, default=0.0, metavar="X", help="with affine: distort by X pixels")
    add_dataset(parser)
    add("--image", type=int, default=0, metavar="N", help="number of the training image, from 0 (default: 0)")
    add("--output", type=Path, default=Path("augmentation.png"), metavar="FILE", help="default: augmentation.png")
    add_backend(parser)


def run(options: argparse.Namespace) -> None:
    """Draw the picture and print its path."""
    from tinycnn import plots, report

    check_not_of_dataset("--output", options.output, options)
    check_ending(options.output, PNG, "--output")
    use_backend(options.backend)
    augment = named(options.augment, bend=options.elastic)
    given = {"data_dir": options.data_dir, "pixels": options.pixels}
    dataset = data.load(options.dataset, **applicable(options.dataset, **given))
    show_notice(dataset, options.in_options)
    images = dataset.x_train
    if not 0 <= options.image < len(images):
        raise SettingError(f"--image {options.image}: expected a number from 0 to {len(images) - 1}")
    image = images[options.image]
    write_atomically(options.output, plots.to_png(plots.augmented(image, report.augmented_views(image, augment))))
    print(f"{augment} of training image {options.image}: {options.output}")
