"""The options of a training command: what there is, what it is when not given, what is refused, and what it makes."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

from tinycnn import data, models, optim
from tinycnn.backends import get_backend
from tinycnn.backends.threads import set_threads
from tinycnn.data import Dataset
from tinycnn.data.augment import NAMES, Augmentation, Fade, named
from tinycnn.errors import SettingError
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import DRAWING
from tinycnn.optim import in_range
from tinycnn.run.console import counted
from tinycnn.run.transfer import picture_settings, start_from
from tinycnn.saving.model_file import check_size, load_finite
from tinycnn.saving.state_file import fingerprint
from tinycnn.train.checkpoint import BEST_FILE
from tinycnn.train.trainer import Trainer

MOMENTUM = 0.9
FEW_STEPS = 100  # below them, hardly any network has learned what it can


def parse(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """The options in ``arguments`` (None: those of the process); raises SettingError for numbers out of range."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    add_subject(parser.add_argument)
    add_training(parser.add_argument)
    add_keeping(parser.add_argument)
    add_conditions(parser.add_argument)
    add_results(parser.add_argument)
    return with_defaults(parser.parse_args(arguments))


def add_subject(add: Callable[..., argparse.Action]) -> None:
    """What is trained, on which images, and what computes."""
    add("--model", choices=models.NETWORKS, help=f"the network (default: {models.DEFAULT})")
    add("--init-from", type=Path, metavar="FILE", help="start from the trained network in this model.safetensors")
    add("--new-head", action="store_true", help="of it, start the last layer anew in any case")
    add("--freeze", nargs="+", default=[], metavar="LAYER", help="of it, leave these layers as they are: 'conv2d_*'")
    add("--backend", choices=["auto", "numpy", "numba", "cupy"], default="auto", help="what computes (default: auto)")
    add(
        "--dataset",
        default="auto",
        help="auto, mnist, fashion_mnist, cifar10, digits, a file PATH.npz, a folder of pictures, or one of .npy files "
        "that may be larger than memory (default: auto)",
    )
    add("--data-dir", metavar="DIR", help="folder that holds the data set (default: $TINYCNN_DATA, cache, download)")
    add("--image-size", type=int, metavar="N", help="of a folder of pictures: scale them to NxN (default: 32)")
    add("--memory", type=int, metavar="MIB", help="of .npy files: hold so much of them (default: 256, and two batches)")
    add("--colour", action="store_true", default=None, help="of a folder of pictures: three channels, even if grey")
    add("--grey", dest="colour", action="store_false", help="one channel, even if in colour (default: as they are)")


def add_training(add: Callable[..., argparse.Action]) -> None:
    """How it is trained; what is not given is as the recipe says."""
    add("--recipe", choices=["author", "best"], default="author", help="defaults for the training (default: author)")
    add("--epochs", type=int, metavar="N", help="passes over the training images (default: as the recipe says)")
    add("--batch-size", type=int, metavar="N", help="images per step (default: as the recipe says)")
    add("--optimizer", choices=optim.OPTIMIZERS, help="default: as the recipe says")
    add("--lr", type=float, metavar="X", help="learning rate (default: as the recipe says; else 0.001, for sgd 0.05)")
    add("--momentum", type=float, metavar="X", help=f"of sgd (default: {MOMENTUM})")
    add("--weight-decay", type=float, metavar="X", help="how strongly weights shrink (default: as the recipe says)")
    add("--schedule", choices=optim.SCHEDULES, help="how the rate changes (default: as the recipe says)")
    add("--augment", nargs="?", const=True, choices=NAMES, help="change training images; alone: as best recipe does")
    add("--no-augment", dest="augment", action="store_false", default=None, help="leave them, whatever the recipe says")
    add("--elastic", type=float, default=0.0, metavar="X", help="with --augment affine: bend by X pixels, too; try 1")
    add("--fade-epochs", type=float, metavar="N", help="let --augment fade from N epochs before the end to one before")
    add("--label-smoothing", type=float, metavar="F", help="share of the target given to all classes, in [0, 1)")
    add("--validation-split", type=float, metavar="F", help="fraction of the training images held out, in [0, 1)")
    add("--clip-norm", type=float, metavar="X", help="shorten the gradient of a step to this length")


def add_keeping(add: Callable[..., argparse.Action]) -> None:
    """What is kept of a run under way, and when it ends early."""
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help=f"stop when N epochs did not improve validation; keeps {BEST_FILE}",
    )
    add("--save-best", action="store_true", help=f"keep the epoch with the smallest validation loss as {BEST_FILE}")
    add("--checkpoint-every", type=int, metavar="N", help="save the state of the run every N steps, and each epoch")
    add("--resume", action="store_true", help="go on where the newest checkpoint in the output folder was saved")


def add_conditions(add: Callable[..., argparse.Action]) -> None:
    """On how much of the machine, from which seed, on how many images."""
    add("--threads", type=int, metavar="N", help="of the numba backend; results do not change (default: all cores)")
    add("--distributed", action="store_true", help="be one of the processes of `mpiexec -n N python ...`, all one run")
    add("--seed", type=int, default=0, metavar="N", help="fixes weights, shuffles and dropout (default: 0)")
    add("--limit", type=int, metavar="N", help="use only the first N training images")
    add("--no-capture", action="store_true", help="on a GPU: run every step from Python, and replay no recording of it")
    add("--tf32", action="store_true", help="on a GPU: matrix products on tensor cores, inputs rounded to 10 bits")


def add_results(add: Callable[..., argparse.Action]) -> None:
    """Where the results go, and which."""
    add("--output", type=folder_name, metavar="DIR", help="folder for the results (default: runs/<model>-<dataset>)")
    add("--no-plots", action="store_true", help="write no pictures and no report.html")
    add("--quiet", action="store_true", help="print only the result")


def folder_name(text: str) -> Path:
    """The folder that ``text`` names."""
    if not text:
        raise argparse.ArgumentTypeError("expected the name of a folder, got nothing")
    return Path(text)


BOUNDS: dict[str, dict[str, float]] = {
    "lr": {"above": 0},
    "momentum": {"at_least": 0, "below": 1},
    "weight_decay": {"at_least": 0},
    "validation_split": {"at_least": 0, "below": 1},
    "elastic": {"at_least": 0, "below": 100},
    "label_smoothing": {"at_least": 0, "below": 1},
    "clip_norm": {"above": 0},
}
COUNTS = ("epochs", "batch_size", "image_size", "memory", "early_stopping", "checkpoint_every")


def with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on the network or the optimizer, and refuse numbers out of range before anything starts."""
    fill_in_network(options)
    model = models.known(options.model)
    defaults = dataclasses.asdict(model.recipe(options.recipe))
    if options.optimizer not in (None, defaults["optimizer"]):
        defaults |= models.USUAL[options.optimizer]
    longest_fade = 0.0 if options.augment is False else options.epochs or defaults["epochs"]
    defaults["fade_epochs"] = min(defaults["fade_epochs"], longest_fade)
    if options.augment is True:  # without a name
        options.augment = model.best.augment
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.momentum is None and options.optimizer == "sgd":
        options.momentum = MOMENTUM
    options.save_best |= options.early_stopping is not None
    check_numbers(options)
    check_together(options)
    if options.threads is not None:
        set_threads(options.threads)
    return options


def fill_in_network(options: argparse.Namespace) -> None:
    """Which network it is, and how large its pictures are: as the file says that it comes from, if it does."""
    if options.freeze and not options.init_from:
        raise SettingError("--freeze: fresh weights would never learn anything; expected --init-from with it")
    if options.new_head and not options.init_from:
        raise SettingError("--new-head: fresh weights have a new head anyway; expected --init-from with it")
    if not options.init_from:
        options.model = options.model or models.DEFAULT
        return
    if options.model:
        raise SettingError(f"--model {options.model}: the network comes from --init-from; leave one of them out")
    network = load_finite(options.init_from)
    options.model = models.name_of(network)
    if data.is_folder(options.dataset):
        size, colour = picture_settings(network)
        options.image_size = size if options.image_size is None else options.image_size
        options.colour = colour if options.colour is None else options.colour


def check_numbers(options: argparse.Namespace) -> None:
    """Raise SettingError, naming the option, for a number out of range."""
    for name in COUNTS:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise SettingError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if options.seed < 0:
        raise SettingError(f"--seed {options.seed}: expected 0 or more")
    for name, bounds in BOUNDS.items():
        if getattr(options, name) is not None:
            in_range(f"--{name.replace('_', '-')}", getattr(options, name), **bounds)


def check_together(options: argparse.Namespace) -> None:
    """Raise SettingError for options that make sense only beside another, which is missing."""
    if options.elastic and options.augment != "affine":
        raise SettingError(f"--elastic {options.elastic:g}: expected --augment affine with it")
    if options.fade_epochs and not (options.augment and 1 <= options.fade_epochs <= options.epochs):
        raise SettingError(f"--fade-epochs {options.fade_epochs:g}: expected --augment with it, and 1 to --epochs")
    if options.save_best and not options.validation_split:
        raise SettingError("--early-stopping and --save-best need validation images: add --validation-split 0.1")


def augmentation(options: argparse.Namespace) -> Augmentation | None:
    """How the training images are changed; None for not at all."""
    return named(options.augment, bend=options.elastic) if options.augment else None


def fading(options: argparse.Namespace, steps: int) -> Fade | None:
    """How the augmentation of a run of ``steps`` steps fades; None for not at all."""
    if not options.fade_epochs:
        return None
    return Fade.towards_the_end(options.fade_epochs, epochs=options.epochs, steps=steps // options.epochs)


def output_folder(options: argparse.Namespace, dataset: Dataset) -> Path:
    """Where the results go; raises SettingError where the network to start from lies there: it would be replaced."""
    tuned = "-tuned" if options.init_from else ""
    folder: Path = options.output or Path("runs") / f"{options.model}-{dataset.name}{tuned}"
    if options.init_from and options.init_from.resolve().parent == folder.resolve():
        raise SettingError(f"--init-from {options.init_from}: the results go to the same folder; give another --output")
    return folder


def make_model(options: argparse.Namespace, dataset: Dataset) -> tuple[Sequential, str]:
    """The network as it is before the first step, and where it comes from in words ("" for fresh weights)."""
    if options.init_from:
        how = {"new_head": options.new_head, "freeze": options.freeze, "seed": options.seed}
        model, words = start_from(options.init_from, dataset, **how)
        words = f"from {options.init_from}: {words}"
    else:
        shape, classes = dataset.input_shape, dataset.num_classes
        model, words = models.create(options.model, seed=options.seed, input_shape=shape, classes=classes), ""
    check_size(model)
    model.class_names, model.pictures = dataset.class_names, dataset.pictures
    return model, words


def make_optimizer(options: argparse.Namespace, model: Sequential, steps: int) -> optim.Optimizer:
    """The optimizer for a run of ``steps`` steps."""
    extra = {"weight_decay": options.weight_decay}
    if options.optimizer == "sgd":
        extra["momentum"] = options.momentum
    schedule = optim.SCHEDULES[options.schedule](steps)
    return optim.OPTIMIZERS[options.optimizer](model.parameters(), options.lr, schedule=schedule, **extra)


def steps_of_run(options: argparse.Namespace, images: int) -> int:
    """In how many steps a run of ``images`` training images goes through all of its epochs."""
    steps: int = options.epochs * -(-images // options.batch_size)
    return steps


def make_trainer(options: argparse.Namespace, model: Sequential, images: int) -> Trainer:
    """A trainer of ``model`` for ``images`` training images."""
    steps = steps_of_run(options, images)
    return Trainer(
        model,
        make_optimizer(options, model, steps),
        batch_size=options.batch_size,
        seed=options.seed,
        augment=augmentation(options),
        fade=fading(options, steps),
        label_smoothing=options.label_smoothing,
        clip_norm=options.clip_norm,
        initial_weights=fingerprint(*model.state_dict().values()) if options.init_from else None,
        capture=not options.no_capture,
    )


def training_line(options: argparse.Namespace) -> str:
    """How the network is trained, in words."""
    line = f"{counted(options.epochs, 'epoch')}, batch {options.batch_size}, "
    line += f"{options.optimizer} {options.lr:g} ({options.schedule})"
    line += f", weight decay {options.weight_decay:g}" if options.weight_decay else ""
    line += f", augmented ({options.augment})" if options.augment else ""
    line += f", bent by {options.elastic:g} pixels" if options.elastic else ""
    line += f", fading {options.fade_epochs:g} epochs before the end" if options.fade_epochs else ""
    return line + (f", label smoothing {options.label_smoothing:g}" if options.label_smoothing else "")


def remarks(options: argparse.Namespace, dataset: data.Dataset, images: int) -> list[str]:
    """A sentence for each setting that does nothing in this run, or harm, with so many training ``images``."""
    return [*without_effect(options), *unsuitable(options, dataset), *too_few_steps(options, images)]


def unsuitable(options: argparse.Namespace, dataset: data.Dataset) -> list[str]:
    """A sentence for each setting that makes of the images of this data set what they are not."""
    if options.augment != "flip_and_crop" or dataset.pictures != DRAWING:
        return []
    told = "flip_and_crop mirrors half of the images, which makes no digits of digits"
    return [f"{told}; for {dataset.name}: --augment affine"]


def too_few_steps(options: argparse.Namespace, images: int) -> list[str]:
    """A sentence for a run that ends before it has learned much."""
    steps = steps_of_run(options, images)
    if steps >= FEW_STEPS:
        return []
    are = "is" if options.epochs == 1 else "are"
    told = f"{counted(options.epochs, 'epoch')} of {counted(images, 'image')} {are} only {counted(steps, 'step')}"
    return [f"{told}; a smaller --batch-size or more --epochs learns more"]


def without_effect(options: argparse.Namespace) -> list[str]:
    """A sentence for each setting that was given, and that changes nothing in this run."""
    backend = get_backend().name
    sentences = []
    arrays = data.is_array_folder(options.dataset)
    pictures = data.is_folder(options.dataset) and not arrays
    if not pictures and (options.image_size is not None or options.colour is not None):
        sentences.append(f"--image-size, --colour and --grey are for folders of pictures; not for {options.dataset}")
    if not arrays and options.memory is not None:
        sentences.append(f"--memory is for folders of .npy files; {options.dataset} is held in memory")
    if options.threads is not None and backend != "numba":
        sentences.append(f"--threads is for the numba backend; {backend} does not use it")
    if options.optimizer != "sgd" and options.momentum is not None:
        sentences.append(f"--momentum is for sgd; {options.optimizer} does not use it")
    return sentences
