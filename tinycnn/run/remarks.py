"""Notes on the settings of a run: a summary, settings without effect, and harmful settings."""

from dataclasses import replace

from tinycnn import data, models
from tinycnn.backends import get_backend
from tinycnn.data import Dataset
from tinycnn.data.sources import SOURCES
from tinycnn.layers.metadata import DIGITS
from tinycnn.run.build import steps_of_run
from tinycnn.run.console import counted
from tinycnn.run.options import FEW, WITH_MOMENTUM, TrainConfig, for_few

FEW_STEPS = 100  # hardly any network converges in fewer


def training_line(config: TrainConfig) -> str:
    """How the network is trained, in one line."""
    line = f"{counted(config.epochs, 'epoch')}, batch {config.batch_size}, "
    line += f"{config.optimizer} {config.lr:g} ({config.schedule})"
    patience = config.reduce_on_plateau
    line += f", reduced after more than {patience} epochs without progress" if patience else ""
    line += f", weight decay {config.weight_decay:g}" if config.weight_decay else ""
    line += f", augmented ({config.augment})" if config.augment else ""
    line += f", distorted by {config.elastic:g} pixels" if config.elastic else ""
    line += f", fading {config.fade_epochs:g} epochs before the end" if config.fade_epochs else ""
    line += f", label smoothing {config.label_smoothing:g}" if config.label_smoothing else ""
    return line + ("" if config.average_weights is None else f", weights averaged ({config.average_weights:g})")


def remarks(config: TrainConfig, dataset: Dataset, images: int) -> list[str]:
    """Notes on a run on ``images`` training images: its recipe, and each ineffective or harmful setting."""
    return [
        *recipe(config, images),
        *without_effect(config),
        *unsuitable(config, dataset),
        *too_few_steps(config, images),
    ]


def recipe(config: TrainConfig, images: int) -> list[str]:
    """Why this recipe was chosen, where it is not that of the network."""
    if config.recipe == FEW:
        author, usual = models.network_or_default(config.model).author, of_author(config, images)
        changes = ["smaller batches"] if config.batch_size < usual.batch_size else []
        changes += ["more epochs"] if config.epochs > usual.epochs else []
        kept = [f"--batch-size {config.batch_size}"] if usual.batch_size != author.batch_size else []
        kept += [f"--epochs {config.epochs}"] if usual.epochs != author.epochs else []
        words = " and ".join(changes) + (f", and {' and '.join(kept)} as given" if changes and kept else "")
        return [
            f"with the recipe for few pictures: {words or 'batches and epochs as given'}, so "
            f"{steps_of_run(config, images):,} steps; with --recipe author, which is for 60,000 images, there would be "
            f"{steps_of_run(usual, images):,}",
            *([] if config.augment is not None else ["for photographs, try --augment flip_and_crop"]),
        ]
    if config.recipe != "digits":
        return []
    return ["with the recipe for small sets of digits: more epochs, augmented; --recipe author trains as on MNIST"]


def of_author(config: TrainConfig, images: int) -> TrainConfig:
    """``config`` with the recipe of the author, and the batch size and epochs that were given with --recipe few."""
    author, size = models.network_or_default(config.model).author, config.batch_size
    few = for_few(author, images, None)
    size = author.batch_size if size == few.batch_size else size
    is_chosen = config.epochs == for_few(author, images, config.batch_size).epochs
    return replace(config, batch_size=size, epochs=author.epochs if is_chosen else config.epochs)


def without_effect(config: TrainConfig) -> list[str]:
    """A note on each setting that was specified but has no effect in this run."""
    backend = get_backend().name
    sentences = []
    arrays = data.is_array_folder(config.dataset)
    pictures = data.is_folder(config.dataset) and not arrays
    if not pictures and (config.image_size is not None or config.colour is not None):
        sentences.append(f"--image-size, --colour and --grey apply only to folders of images, not to {config.dataset}")
    if config.pixels is not None and not (pictures or config.dataset.lower().endswith(".npz")):
        sentences.append(f"--pixels is for .npz files and folders of images; {config.dataset} holds bytes")
    if config.data_dir is not None and config.dataset not in ("auto", *SOURCES):
        sentences.append(f"--data-dir is for {', '.join(SOURCES)}; {config.dataset} is not searched there")
    if not arrays and config.memory is not None:
        sentences.append(f"--memory is for folders of .npy files; {config.dataset} is held in memory")
    if config.threads is not None and backend != "numba":
        sentences.append(f"--threads is for the numba backend; {backend} does not use it")
    if config.optimizer not in WITH_MOMENTUM and config.momentum is not None:
        sentences.append(f"--momentum is for {', '.join(WITH_MOMENTUM)}; {config.optimizer} does not use it")
    return sentences


def unsuitable(config: TrainConfig, dataset: Dataset) -> list[str]:
    """A note on an augmentation that makes images of this data set meaningless."""
    if config.augment not in ("flip_and_crop", "alternating_flip") or dataset.class_names != DIGITS:
        return []
    mirrored = f"{config.augment} mirrors half of the images, and mirrored digits are not valid digits"
    return [f"{mirrored}; use --augment affine for {dataset.name}"]


def too_few_steps(config: TrainConfig, images: int) -> list[str]:
    """A note on a run that is too short for the network to learn much."""
    steps = steps_of_run(config, images)
    if steps >= FEW_STEPS:
        return []
    are = "is" if config.epochs == 1 else "are"
    length = f"{counted(config.epochs, 'epoch')} of {counted(images, 'image')} {are} only {counted(steps, 'step')}"
    if config.recipe != FEW:
        chosen = f", or --recipe {FEW}, which sets them where they are not given"
        return [f"{length}; use a smaller --batch-size or more --epochs{chosen}"]
    epochs = for_few(models.network_or_default(config.model).author, images, config.batch_size).epochs
    if config.epochs < epochs:
        return [f"{length}; use more --epochs, or leave them out: the recipe takes {epochs}"]
    return [f"{length}; use a smaller --batch-size or more --epochs"]
