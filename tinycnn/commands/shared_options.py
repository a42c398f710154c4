"""Options that several commands share: network, backend, data set."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from tinycnn import data, models
from tinycnn.backends import use_backend
from tinycnn.backends.threads import set_threads
from tinycnn.data import Dataset
from tinycnn.data.load_options import PICTURES, applicable, kind_of
from tinycnn.data.measured_pictures import Measured, load_pictures_for
from tinycnn.errors import DataError, SettingError, printable, shortened
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import DRAWING, PIXELS, WHOLE
from tinycnn.saving.model_file import load, load_finite

PACKAGED = f"{models.TRAINED.stem}, which comes with tinycnn"


def add_model_file(parser: argparse.ArgumentParser) -> None:
    """Declare ``MODEL_FILE``."""
    parser.add_argument("model", metavar="MODEL_FILE", help="a model.safetensors written by training")


def add_model_pixels(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model-pixels``."""
    parser.add_argument(
        "--model-pixels", choices=PIXELS, help="the pixels that the network takes (default: as stated in its file)"
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Declare ``--pictures``."""
    words = "how a picture is prepared: cut out and centred as a digit, or whole (default: as stated in the model file)"
    parser.add_argument("--pictures", choices=(DRAWING, WHOLE), help=words)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Declare ``--backend``."""
    parser.add_argument("--backend", default="auto", metavar="NAME", help="auto, numpy, numba or cupy (default: auto)")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Declare ``--threads``."""
    words = "threads of the numba backend; same results (default: all cores)"
    parser.add_argument("--threads", type=int, metavar="N", help=words)


def choose_backend(options: argparse.Namespace) -> None:
    """Use the backend and the number of threads of the options."""
    if options.threads is not None:
        set_threads(options.threads)
    use_backend(options.backend)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Declare ``--dataset``, ``--data-dir`` and ``--pixels``."""
    add = parser.add_argument
    add(
        "--dataset",
        default="auto",
        help="auto, mnist, fashion_mnist, cifar10, digits, a file PATH.npz, or a folder of images or .npy files "
        "(default: auto)",
    )
    add("--data-dir", metavar="DIR", help="folder that holds the data set (default: $TINYCNN_DATA, cache, download)")
    add("--pixels", metavar="A..B", help="numbers for black and white in .npz files and pictures of over 8 bits: 0..1")


def state_pixels(options: argparse.Namespace, model: Sequential) -> None:
    """Set ``model.pixels`` from the options; otherwise print a notice if the first constants suggest another range."""
    from tinycnn.layers.interface.likely_pixels import likely_pixels, noted

    if options.model_pixels:
        model.pixels = options.model_pixels
    elif "pixels" not in model.metadata():
        likely, reason = likely_pixels(model)
        if likely != model.pixels:
            notice = in_pixels(model, f"the default; but {reason}", "--model-pixels")
            print(f"NOTICE: {notice}", file=sys.stderr, flush=True)
            noted.add(model)  # so that `predict` does not log it, too


def state_pictures(options: argparse.Namespace, model: Sequential) -> None:
    """Set ``model.pictures`` from the options; otherwise print a notice if the file of a network for grey has none."""
    if options.pictures:
        model.pictures = options.pictures
    elif "pictures" not in model.metadata() and model.input_shape[2:] == (1,):
        taken = {
            DRAWING: f"each digit is cut out and centred as in MNIST; for whole pictures, pass --pictures {WHOLE}",
            WHOLE: f"they are taken whole; for digits, cut out and centred as in MNIST, pass --pictures {DRAWING}",
        }[model.pictures]
        print(f"NOTICE: the model file does not state how pictures are prepared: {taken}", file=sys.stderr, flush=True)
        model.pictures = model.pictures  # stated from here on, so that `load_picture` does not note it, too


def in_pixels(model: Sequential, reason: str, option: str) -> str:
    """The line that states which pixels ``model`` takes, and how to choose others."""
    other = next(pixels for pixels in PIXELS if pixels != model.pixels)
    return f"the network takes pixels {model.pixels} ({reason}); if that is wrong, pass {option} {other}"


def check_other_file(option: str, target: Path, source: str | PathLike[str], kind: str) -> None:
    """Raise SettingError if ``target``, to be written, is the file ``source``, by this or any other name."""
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise SettingError(f"{option} {target}: this is the {kind} itself; choose another name")


def check_not_of_dataset(option: str, target: Path, options: argparse.Namespace) -> None:
    """Raise SettingError if ``target``, to be written, is a file of the data set; a picture beside it is none.

    Nor is a CSV file, anywhere in its folder.
    """
    for source in (Path(given).expanduser() for given in (options.dataset, options.data_dir) if given):
        check_other_file(option, target, source, "data set")
        inside = source.is_dir() and target.exists() and target.resolve().is_relative_to(source.resolve())
        beside = target.resolve().parent == source.resolve() and target.suffix == ".png"
        if inside and target.suffix != ".csv" and not beside:
            raise SettingError(f"{option} {target}: this file belongs to the data set {source}; choose another name")


def open_network(name: str) -> Sequential:
    """A network of ``models.NETWORKS`` with random weights, or the one in a file; SettingError for another name."""
    if name in models.NETWORKS:
        return models.create(name)
    if "." not in name and "/" not in name and not Path(name).exists():
        raise SettingError(f"{name!r}: expected a model file, or one of {', '.join(models.NETWORKS)}")
    return load(name)


def given_or_packaged(path: str | PathLike[str] | None) -> tuple[Sequential, str]:
    """The network in the file ``path``, or for None the one that comes with tinycnn, and what messages call it."""
    return (models.trained(), PACKAGED) if path is None else (load_finite(path), os.fspath(path))


def measured_images(options: argparse.Namespace, model: Sequential) -> tuple[Measured, Sequence[str]]:
    """The images on which ``model`` is measured, and the names of their classes; DataError if it was made for others.

    Of a folder of pictures, any class may be missing: see `data.load_pictures_for`.
    """
    kind = kind_of(options.dataset)
    if options.all_pictures and kind not in (PICTURES, ""):  # "": unknown, which `load` refuses
        raise SettingError(f"--all-pictures is for {PICTURES}; leave it out for {printable(options.dataset)}")
    H, W, C = model.input_shape if len(model.input_shape) == 3 else (0, 0, 0)
    if kind == PICTURES and H == W and C in (1, 3):
        pixels, all_pictures = options.pixels, options.all_pictures
        measured = load_pictures_for(options.dataset, model, pixels=pixels, all_pictures=all_pictures)
        return measured, model.class_names
    dataset = fitting_dataset(options, model)
    which = f"all {len(dataset.x_test):,} {dataset.name} test images"
    return Measured(dataset.x_test, dataset.y_test, which, dataset.notice), dataset.class_names


def fitting_dataset(options: argparse.Namespace, model: Sequential) -> Dataset:
    """The data set of the options; raises DataError if ``model`` was made for different images or classes."""
    H, _, C = model.input_shape if len(model.input_shape) == 3 else (None, None, None)
    given = {"data_dir": options.data_dir, "image_size": H, "colour": C == 3, "pixels": options.pixels}
    dataset = data.load(options.dataset, **applicable(options.dataset, **given))
    classes = len(model.class_names)
    if (dataset.input_shape, dataset.num_classes) != (model.input_shape, classes):
        made_for = f"{printable(options.model)} was made for {model.input_shape} and {classes}"
        has = f"has images {dataset.input_shape} of {dataset.num_classes} classes"
        if options.dataset == "auto":
            taken = f"without it, {dataset.name} is taken, which {has}"
            raise DataError(f"{made_for}: name its data set with --dataset; {taken}")
        raise DataError(f"{dataset.name} {has}, {made_for}; choose another --dataset")
    check_same_classes(model.class_names, dataset.class_names, options.model, dataset.name)
    return dataset


def show_notice(dataset: Dataset | Measured, in_options: Callable[[str], str]) -> None:
    """Print the notice of a data set, if it has one, on standard error."""
    if dataset.notice:
        print(in_options(dataset.notice), file=sys.stderr, flush=True)


def check_same_classes(ours: Sequence[str], theirs: Sequence[str], model: str, dataset: str) -> None:
    """Raise DataError if network and data set name a class differently; digits match any name."""
    if all(name.isdecimal() for name in ours) or all(name.isdecimal() for name in theirs):
        return
    for k, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        if our != their:
            raise DataError(
                f"class {k} is {shortened(our)} in {printable(model)}, {shortened(their)} in {dataset}; choose another "
                "--dataset"
            )
