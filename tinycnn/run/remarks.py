"""Sentences about the settings of a run: what they are, which have no effect, and which do harm."""

from tinycnn import data
from tinycnn.backends import get_backend
from tinycnn.data import Dataset
from tinycnn.layers.metadata import DRAWING
from tinycnn.run.build import steps_of_run
from tinycnn.run.console import counted
from tinycnn.run.options import TrainConfig

FEW_STEPS = 100  # hardly any network has learned what it can in fewer


def training_line(config: TrainConfig) -> str:
    """How the network is trained, in one line."""
    line = f"{counted(config.epochs, 'epoch')}, batch {config.batch_size}, "
    line += f"{config.optimizer} {config.lr:g} ({config.schedule})"
    line += f", weight decay {config.weight_decay:g}" if config.weight_decay else ""
    line += f", augmented ({config.augment})" if config.augment else ""
    line += f", bent by {config.elastic:g} pixels" if config.elastic else ""
    line += f", fading {config.fade_epochs:g} epochs before the end" if config.fade_epochs else ""
    return line + (f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else "")


def remarks(config: TrainConfig, dataset: Dataset, images: int) -> list[str]:
    """A sentence for each setting without effect, or harmful, in a run on ``images`` training images."""
    return [*without_effect(config), *unsuitable(config, dataset), *too_few_steps(config, images)]


def without_effect(config: TrainConfig) -> list[str]:
    """A sentence for each setting that was given and changes nothing in this run."""
    backend = get_backend().name
    sentences = []
    arrays = data.is_array_folder(config.dataset)
    pictures = data.is_folder(config.dataset) and not arrays
    if not pictures and (config.image_size is not None or config.colour is not None):
        sentences.append(f"--image-size, --colour and --grey are for folders of pictures; not for {config.dataset}")
    if not arrays and config.memory is not None:
        sentences.append(f"--memory is for folders of .npy files; {config.dataset} is held in memory")
    if config.threads is not None and backend != "numba":
        sentences.append(f"--threads is for the numba backend; {backend} does not use it")
    if config.optimizer != "sgd" and config.momentum is not None:
        sentences.append(f"--momentum is for sgd; {config.optimizer} does not use it")
    return sentences


def unsuitable(config: TrainConfig, dataset: Dataset) -> list[str]:
    """A sentence for an augmentation that turns images of this data set into images of nothing."""
    if config.augment != "flip_and_crop" or dataset.pictures != DRAWING:
        return []
    mirrored = "flip_and_crop mirrors half of the images, and mirrored digits are no digits"
    return [f"{mirrored}; for {dataset.name}: --augment affine"]


def too_few_steps(config: TrainConfig, images: int) -> list[str]:
    """A sentence for a run that ends before it has learned much."""
    steps = steps_of_run(config, images)
    if steps >= FEW_STEPS:
        return []
    are = "is" if config.epochs == 1 else "are"
    length = f"{counted(config.epochs, 'epoch')} of {counted(images, 'image')} {are} only {counted(steps, 'step')}"
    return [f"{length}; a smaller --batch-size or more --epochs learns more"]
