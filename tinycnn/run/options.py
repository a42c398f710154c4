"""The options of ``tinycnn train``: their declaration, their defaults, and ``TrainConfig``, the settings of one run."""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tinycnn import data, models, optim
from tinycnn.data.augment import NAMES
from tinycnn.data.load_options import APPLIES, PICTURES, applicable, kind_of
from tinycnn.errors import SettingError, in_range
from tinycnn.layers import Sequential
from tinycnn.train.checkpoint import BEST_FILE

FEW = "few"  # the recipe for few pictures
RECIPES = (*models.RECIPES, FEW)
RECIPE_HELP = "defaults for the training (default: author; for the data set digits: digits; for few pictures: few)"
STEPS, MOST_EPOCHS = 1200, 40  # of the recipe for few pictures, chosen on held-out pictures: docs/data_sets.md
SMALL_BATCH, FEWEST, TINY_BATCH = 32, 200, 8  # with fewer pictures than FEWEST, a step takes 8 of them
MOMENTUM = 0.9  # the default of SGD; the others have their own
WITH_MOMENTUM = ("sgd", "rmsprop", "muon", "filter_muon")
DEEPEST = 100  # folders in each other; pathlib needs a call for each

# -------------------------------------------------------------------------------------------------------- declarations


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Declare all options of a training run."""
    add_model_and_data_options(parser.add_argument)
    add_training_options(parser.add_argument)
    add_checkpoint_options(parser.add_argument)
    add_run_options(parser.add_argument)
    add_result_options(parser.add_argument)


def add_model_and_data_options(add: Callable[..., argparse.Action]) -> None:
    """Declare the options for the network, the images and the backend."""
    add("--model", choices=models.NETWORKS, help=f"the network (default: {models.DEFAULT})")
    add("--init-from", type=in_home, metavar="FILE", help="start from the trained network in this model.safetensors")
    add("--new-head", action="store_true", help="with --init-from: always reinitialise the last layer")
    add("--freeze", nargs="+", default=[], metavar="LAYER", help="with --init-from: do not train these ('*conv2d_*')")
    add("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto", help="default: auto, the fastest")
    add(
        "--dataset",
        default="auto",
        help="auto, mnist, fashion_mnist, cifar10, digits, a file PATH.npz, a folder of images, or a folder of "
        ".npy files that may be larger than memory (default: auto)",
    )
    add("--data-dir", metavar="DIR", help="folder that holds the data set (default: $TINYCNN_DATA, cache, download)")
    add("--image-size", type=int, metavar="N", help="for a folder of images: scale them to NxN (default: 32)")
    add("--memory", type=int, metavar="MIB", help="for .npy files: memory for images (default: 256, two batches)")
    add("--colour", action="store_true", default=None, help="for a folder of images: convert to RGB")
    add("--grey", dest="colour", action="store_false", help="convert to greyscale (default: unchanged)")
    add("--pixels", metavar="A..B", help="numbers for black and white in .npz files and pictures of over 8 bits: 0..1")


def add_training_options(add: Callable[..., argparse.Action]) -> None:
    """Declare the training options; the recipe of the network sets the defaults."""
    add("--recipe", choices=RECIPES, help=RECIPE_HELP)
    add("--epochs", type=int, metavar="N", help="passes over the training images (default: from the recipe)")
    add("--batch-size", type=int, metavar="N", help="images per step (default: from the recipe)")
    add("--optimizer", choices=optim.OPTIMIZERS, help="default: from the recipe")
    add("--lr", type=float, metavar="X", help="learning rate (default: from the recipe, or that of the optimizer)")
    momenta = f"sgd {MOMENTUM}, muon 0.95, filter_muon 0.6, rmsprop 0"
    add("--momentum", type=float, metavar="X", help=f"momentum (default: {momenta})")
    add("--weight-decay", type=float, metavar="X", help="how strongly weights shrink (default: from the recipe)")
    add("--schedule", choices=optim.SCHEDULES, help="learning-rate schedule (default: from the recipe)")
    add("--reduce-on-plateau", type=int, metavar="N", help="rate / 10 after more than N epochs without progress")
    add("--augment", nargs="?", const=True, choices=NAMES, help="augment the images; no name: as in the best recipe")
    add("--no-augment", dest="augment", action="store_false", default=None, help="do not augment the images")
    add("--elastic", type=float, metavar="X", help="with --augment affine: distort by X pixels; try 1")
    add("--fade-epochs", type=float, metavar="N", help="fade out --augment from N epochs to 1 epoch before the end")
    add("--label-smoothing", type=float, metavar="F", help="fraction of the target spread over all classes, in [0, 1)")
    add("--validation-split", type=float, metavar="F", help="fraction of the training images held out, in [0, 1)")
    add("--average-weights", type=float, metavar="D", help="test and save a moving average with this decay; try 0.999")
    add("--clip-norm", type=float, metavar="X", help="clip the gradient of a step to this norm")


def add_checkpoint_options(add: Callable[..., argparse.Action]) -> None:
    """Declare the options for checkpoints, the best epoch and early stopping."""
    add("--early-stopping", type=int, metavar="N", help="stop after N epochs without progress, and keep the best")
    add("--save-best", action="store_true", help=f"keep the epoch with the smallest validation loss as {BEST_FILE}")
    add("--checkpoint-every", type=int, metavar="N", help="save the state of the run every N steps, and each epoch")
    add("--resume", action="store_true", help="continue from the newest checkpoint in the output folder")


def add_run_options(add: Callable[..., argparse.Action]) -> None:
    """Declare the options for cores, processes, the seed and the number of images."""
    add("--threads", type=int, metavar="N", help="threads of the numba backend; same results (default: all cores)")
    add("--distributed", action="store_true", help="run as a rank of `mpiexec -n N tinycnn train ...`")
    add("--seed", type=int, default=0, metavar="N", help="determines weights, shuffling and dropout (default: 0)")
    add("--limit", type=int, metavar="N", help="use only the first N training images")
    add("--no-capture", action="store_true", help="run every step from Python: do not record steps")
    add("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores, inputs rounded to 10 bits")


def add_result_options(add: Callable[..., argparse.Action]) -> None:
    """Declare the options for the output folder and what is written to it."""
    add("--output", type=folder_name, metavar="DIR", help="folder for the results (default: runs/<model>-<dataset>)")
    add("--csv", type=in_home, metavar="FILE", help="also write the history to FILE after each epoch, to watch a run")
    add("--tensorboard", type=in_home, metavar="DIR", help="write a log for TensorBoard to DIR (needs tensorboardX)")
    add("--no-plots", action="store_true", help="do not write plots or report.html")
    add("--quiet", action="store_true", help="print only the result")


NOT_OF_LR_FIND: dict[str, Any] = {  # the options of a run that `tinycnn lr-find` does not have, and their values there
    **dict.fromkeys(("epochs", "lr", "schedule", "fade_epochs", "validation_split", "clip_norm", "average_weights")),
    **dict.fromkeys(("early_stopping", "reduce_on_plateau", "checkpoint_every", "csv", "tensorboard")),
    **dict.fromkeys(("save_best", "resume", "distributed", "tf32", "augment"), False),
    **{"elastic": 0.0, "no_capture": True, "no_plots": True, "quiet": True},
}


def in_home(text: str) -> Path:
    """The path ``text``, with ``~`` as the home folder: a shell does not expand the one of ``--csv=~/a.csv``."""
    return Path(os.path.expanduser(text))


def folder_name(text: str) -> Path:
    """The folder called ``text``; raises ArgumentTypeError for an empty name, and for one in too many folders."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder, got an empty string")
    if len(Path(text).parts) > DEEPEST:
        raise argparse.ArgumentTypeError(f"expected at most {DEEPEST} folders in each other, got {text[:40]!r} …")
    return in_home(text)


# ------------------------------------------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one training run; ``metrics.json`` records them under ``options``."""

    model: str  # a name in models.NETWORKS, or models.OWN for another network from `init_from`
    init_from: Path | None
    new_head: bool
    freeze: tuple[str, ...]
    backend: str
    dataset: str
    data_dir: str | None
    image_size: int | None
    memory: int | None  # MiB
    colour: bool | None  # None: as in the files
    pixels: str | None  # None: as the files show
    recipe: str
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float | None
    weight_decay: float
    schedule: str
    reduce_on_plateau: int | None  # epochs
    augment: str | bool | None  # a name; None or False for none (False: disabled explicitly)
    elastic: float  # pixels
    fade_epochs: float
    label_smoothing: float
    validation_split: float
    average_weights: float | None
    clip_norm: float | None
    early_stopping: int | None  # epochs
    save_best: bool
    checkpoint_every: int | None  # steps
    resume: bool
    threads: int | None
    distributed: bool
    seed: int
    limit: int | None
    no_capture: bool
    tf32: bool
    output: Path | None
    csv: Path | None
    tensorboard: Path | None
    no_plots: bool
    quiet: bool

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON-compatible values; None for those that the data set does not use."""
        plain = {Path: str, tuple: list}
        settings = {
            name: next((make(value) for kind, make in plain.items() if isinstance(value, kind)), value)
            for name, value in asdict(self).items()
        }
        used = applicable(self.dataset, **{name: settings[name] for name in APPLIES})
        return settings | dict.fromkeys(APPLIES) | used


def train_config(
    options: argparse.Namespace,
    source: Sequential | None = None,
    dataset: str | None = None,
    images: int | None = None,
) -> TrainConfig:
    """The settings of a run, from parsed options; ``source`` is the network in the file ``init_from``.

    ``dataset``: the name of the data set, once it is loaded, since ``auto`` may be another one. ``images``: the number
    of its training images. Fills in the defaults
    of the data set, the network, its recipe and the optimizer. Raises SettingError for a number out of range and for
    incompatible options.
    """
    values = {field.name: getattr(options, field.name) for field in fields(TrainConfig)}
    values["freeze"] = tuple(options.freeze)
    values |= network_settings(options, source)
    name = dataset if values["dataset"] == "auto" else values["dataset"]
    default = FEW if are_few(values, images) else "author"
    values["recipe"] = values["recipe"] or ("digits" if name == "digits" else default)
    values = with_recipe(values, images)
    values["save_best"] |= values["early_stopping"] is not None
    if values["momentum"] is None and values["optimizer"] == "sgd":
        values["momentum"] = MOMENTUM
    config = TrainConfig(**values)
    check_numbers(config)
    check_combinations(config)
    return config


def network_settings(options: argparse.Namespace, source: Sequential | None) -> dict[str, Any]:
    """The name of the network, and the image size and colour if images are scaled to fit ``source``."""
    if source is None:
        if options.freeze:
            raise SettingError("--freeze: frozen random weights would never be trained; use it with --init-from")
        if options.new_head:
            raise SettingError("--new-head: a new network already has a new head; use it with --init-from")
        return {"model": options.model or models.DEFAULT}
    if options.model:
        raise SettingError(f"--model {options.model}: the network comes from --init-from; use only one of them")
    settings: dict[str, Any] = {"model": models.name_of(source)}
    if data.is_folder(options.dataset):
        size, colour = picture_settings(source)
        settings["image_size"] = size if options.image_size is None else options.image_size
        settings["colour"] = colour if options.colour is None else options.colour
    return settings


def picture_settings(model: Sequential) -> tuple[int | None, bool | None]:
    """``(image_size, colour)`` with which ``data.load`` scales images to the input shape of ``model``.

    ``(None, None)`` if the model does not take square images with one or three channels.
    """
    match model.input_shape:
        case (H, W, 1 | 3 as C) if H == W:
            return H, C == 3
    return None, None


def are_few(values: dict[str, Any], images: int | None) -> bool:
    """Whether the author's recipe takes fewer than ``STEPS`` steps on a folder of so many pictures."""
    if images is None or kind_of(values["dataset"]) != PICTURES or None not in (values["epochs"], values["batch_size"]):
        return False
    author = models.network_or_default(values["model"]).author
    return author.epochs * -(-images // author.batch_size) < STEPS


def for_few(author: models.Recipe, images: int | None, batch_size: int | None) -> models.Recipe:
    """The recipe of the author with smaller batches and more epochs, for ``images``; None: not loaded yet.

    About ``STEPS`` steps, but at most ``MOST_EPOCHS`` epochs, unless the author has more.
    """
    if images is None:
        return author
    size = batch_size or min(author.batch_size, SMALL_BATCH if images >= FEWEST else TINY_BATCH)
    epochs = min(MOST_EPOCHS, -(-STEPS // -(-images // max(size, 1))))
    return replace(author, batch_size=size, epochs=max(author.epochs, epochs))


def with_recipe(values: dict[str, Any], images: int | None) -> dict[str, Any]:
    """``values`` with the recipe's settings where they are None."""
    model, name = models.network_or_default(values["model"]), values["recipe"]
    recipe = for_few(model.author, images, values["batch_size"]) if name == FEW else model.recipe(name)
    defaults = asdict(recipe)
    if values["optimizer"] not in (None, defaults["optimizer"]):
        defaults |= models.OPTIMIZER_DEFAULTS[values["optimizer"]] | {"momentum": None}
    longest_fade = 0.0 if values["augment"] is False else values["epochs"] or defaults["epochs"]
    defaults["fade_epochs"] = min(defaults["fade_epochs"], longest_fade)
    if values["augment"] is True:  # --augment without a name
        values = values | {"augment": model.best.augment}
    if values["augment"] not in (None, "affine"):
        defaults["elastic"] = 0.0
    return values | {name: default for name, default in defaults.items() if values[name] is None}


# -------------------------------------------------------------------------------------------------------------- checks

BOUNDS: dict[str, dict[str, float]] = {
    "lr": {"above": 0},
    "momentum": {"at_least": 0, "below": 1},
    "weight_decay": {"at_least": 0},
    "validation_split": {"at_least": 0, "below": 1},
    "elastic": {"at_least": 0, "below": 100},
    "label_smoothing": {"at_least": 0, "below": 1},
    "average_weights": {"at_least": 0, "below": 1},
    "clip_norm": {"above": 0},
}
COUNTS = (
    "epochs", "batch_size", "image_size", "memory", "early_stopping", "checkpoint_every", "reduce_on_plateau",
)  # fmt: skip


def check_numbers(config: TrainConfig) -> None:
    """Raise SettingError, naming the option, for a number out of range."""
    for name in COUNTS:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise SettingError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if config.seed < 0:
        raise SettingError(f"--seed {config.seed}: expected 0 or more")
    for name, bounds in BOUNDS.items():
        if getattr(config, name) is not None:
            in_range(f"--{name.replace('_', '-')}", getattr(config, name), **bounds)


def check_combinations(config: TrainConfig) -> None:
    """Raise SettingError for an option that requires another, missing option."""
    if config.elastic and config.augment != "affine":
        raise SettingError(f"--elastic {config.elastic:g}: requires --augment affine")
    if config.fade_epochs and not (config.augment and 1 <= config.fade_epochs <= config.epochs):
        raise SettingError(f"--fade-epochs {config.fade_epochs:g}: requires --augment, and a value from 1 to --epochs")
    if config.save_best and not config.validation_split:
        raise SettingError("--early-stopping and --save-best need validation images: add --validation-split 0.1")
    if config.reduce_on_plateau and not config.validation_split:
        raise SettingError("--reduce-on-plateau compares validation losses: add --validation-split 0.1")
