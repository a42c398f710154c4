"""Build the parts of a run from its ``TrainConfig``: network, optimizer, trainer, augmentation, output folder."""

import os
from pathlib import Path
from typing import Any

from tinycnn import models, optim
from tinycnn.data import Dataset, is_array_folder, is_folder
from tinycnn.data.augment import Augmentation, Fade, named
from tinycnn.errors import SettingError, ShapeError, printable
from tinycnn.layers import Sequential
from tinycnn.run.options import WITH_MOMENTUM, TrainConfig
from tinycnn.saving.model_file import check_bytes, check_size, load_finite
from tinycnn.saving.state_file import fingerprint
from tinycnn.train.callbacks import Callback, CSVLogger, EarlyStopping, ReduceOnPlateau, TensorBoard
from tinycnn.train.trainer import Trainer
from tinycnn.train.whitening import whiten


def read_source(path: str | os.PathLike[str] | None) -> Sequential | None:
    """The trained network in the file ``path``; None if ``path`` is None. Raises FileFormatError if it is damaged."""
    return None if path is None else load_finite(path)


def output_folder(config: TrainConfig, dataset: Dataset) -> Path:
    """The folder of the results; raises SettingError if they would overwrite the source network."""
    tuned = "-tuned" if config.init_from else ""
    folder = config.output or Path("runs") / f"{config.model}-{dataset.name}{tuned}"
    if config.init_from and os.path.dirname(os.path.realpath(config.init_from)) == os.path.realpath(folder):
        raise SettingError(f"--init-from {config.init_from}: the results go to the same folder; use another --output")
    return folder


# ------------------------------------------------------------------------------------------------------------- network


def make_model(config: TrainConfig, dataset: Dataset, source: Sequential | None) -> tuple[Sequential, str]:
    """The network before the first step, and the origin of its weights as text ("" for random weights).

    ``source``: the network in ``config.init_from``, modified in place. Raises ShapeError if its input shape differs.
    """
    if source is not None:
        check_images(source, dataset, f"{config.init_from}")
        model, words = transferred(config, dataset, source)
        origin = f"from {config.init_from}: {words}"
        if config.optimizer == "filter_muon":
            origin += "; filter_muon scales the filters before the first step, which only batch norm makes up for"
    else:
        shape, classes = dataset.input_shape, dataset.num_classes
        check_bytes(size_for(config, dataset))  # before it takes the memory
        model, origin = models.create(config.model, seed=config.seed, input_shape=shape, classes=classes), ""
        if models.NETWORKS[config.model].whitened:
            whiten(model, dataset.x_train)
            origin = "random, except for the first layer, which is whitened for these images"
    check_size(model)
    model.class_names, model.pictures = dataset.class_names, dataset.pictures
    return model, origin


def size_for(config: TrainConfig, dataset: Dataset) -> int:
    """The bytes of the network; raises ShapeError if it does not take images of this size, with the smallest size."""
    shape, classes = dataset.input_shape, dataset.num_classes
    try:
        return models.size_of(config.model, input_shape=shape, classes=classes)
    except ShapeError as error:
        larger = next(
            (size for size in range(min(shape[:2]) + 1, 65) if _takes(config.model, (size, size, *shape[2:]), classes)),
            None,
        )
        hint = "choose another --model"
        if larger and is_folder(config.dataset) and not is_array_folder(config.dataset):
            hint = f"use --image-size {larger} or more, or {hint}"
        elif larger:
            hint = f"it takes images from {larger}x{larger}; {hint}"
        size, why = "x".join(map(str, shape[:2])), str(error).partition("; use")[0]
        raise ShapeError(f"{config.model} does not take images of {size} pixels: {hint} ({why})") from None


def _takes(name: str, shape: tuple[int, ...], classes: int) -> bool:
    try:
        models.size_of(name, input_shape=shape, classes=classes)
    except ShapeError:
        return False
    return True


def check_images(model: Sequential, dataset: Dataset, path: str) -> None:
    """Raise ShapeError when ``model``, from the file ``path``, expects a different image shape from ``dataset``."""
    if model.input_shape != dataset.input_shape:
        takes, has = (f"({', '.join(map(str, shape))})" for shape in (model.input_shape, dataset.input_shape))
        raise ShapeError(
            f"{printable(path)} takes images of shape {takes}, but {dataset.name} has {has}; choose another "
            "--dataset, or a folder of images without --image-size, --colour and --grey: they are scaled to fit"
        )


def transferred(config: TrainConfig, dataset: Dataset, source: Sequential) -> tuple[Sequential, str]:
    """``source`` with a head for the classes of ``dataset``, partly frozen, and a description of the changes.

    The head is kept if the class names are the same, unless ``new_head``; ``seed`` initialises a new one.
    """
    model, words = source, "the class names are the same, so the head is kept and no layer is new"
    fits = source.class_names == dataset.class_names and source.output_shape == (dataset.num_classes,)
    if config.new_head or not fits:
        model = source.with_head(dataset.num_classes, seed=config.seed)
        words = f"{model.head()} is new, for {dataset.num_classes} classes"
    return model.freeze_only(*config.freeze), words


# ------------------------------------------------------------------------------------------------------------ training


def steps_of_run(config: TrainConfig, images: int) -> int:
    """The steps of a whole run on ``images`` training images."""
    return config.epochs * -(-images // config.batch_size)


def make_optimizer(config: TrainConfig, model: Sequential, steps: int) -> optim.Optimizer:
    """The optimizer for a run of ``steps`` steps."""
    settings: dict[str, Any] = {"weight_decay": config.weight_decay}
    if config.optimizer in WITH_MOMENTUM and config.momentum is not None:
        settings["momentum"] = config.momentum
    schedule = optim.SCHEDULES[config.schedule](steps)
    return optim.OPTIMIZERS[config.optimizer](model.parameters(), config.lr, schedule=schedule, **settings)


def augmentation(config: TrainConfig) -> Augmentation | None:
    """The augmentation of the training images; None if there is none."""
    return named(str(config.augment), bend=config.elastic) if config.augment else None


def fading(config: TrainConfig, steps: int) -> Fade | None:
    """How the augmentation fades in a run of ``steps`` steps; None if it does not fade."""
    if not config.fade_epochs:
        return None
    return Fade.towards_the_end(config.fade_epochs, epochs=config.epochs, steps=steps // config.epochs)


def make_trainer(config: TrainConfig, model: Sequential, images: int) -> Trainer:
    """A trainer of ``model`` for ``images`` training images."""
    steps = steps_of_run(config, images)
    return Trainer(
        model,
        make_optimizer(config, model, steps),
        batch_size=config.batch_size,
        seed=config.seed,
        augment=augmentation(config),
        fade=fading(config, steps),
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm,
        average_weights=config.average_weights,
        initial_weights=fingerprint(*model.state_dict().values()) if config.init_from else None,
        capture=not config.no_capture,
    )


def callbacks_of(config: TrainConfig) -> list[Callback]:
    """What the options add to the training, besides the display.

    Raises MissingPackageError if one of them needs a package that is missing.
    """
    callbacks: list[Callback] = []
    if config.early_stopping:
        callbacks.append(EarlyStopping(config.early_stopping))  # the job keeps the best epoch, in a file of its own
    if config.reduce_on_plateau:
        callbacks.append(ReduceOnPlateau(config.reduce_on_plateau))
    if config.csv:
        callbacks.append(CSVLogger(config.csv))
    if config.tensorboard:
        callbacks.append(TensorBoard(config.tensorboard))
    return callbacks
