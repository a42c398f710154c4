"""Transfer learning: a trained network, from its file to the first step on another data set."""

import os
from collections.abc import Sequence

from tinycnn.data import Dataset
from tinycnn.errors import ShapeError
from tinycnn.layers import Sequential
from tinycnn.saving.model_file import load_finite


def start_from(
    path: str | os.PathLike[str],
    dataset: Dataset,
    *,
    new_head: bool = False,
    freeze: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Sequential, str]:
    """The network in the file ``path``, ready to train on ``dataset``, and what was done to it in words.

    Its head stays where the classes are called the same; else, or if ``new_head``, it is fresh, from ``seed``.
    ``freeze``: what ``Sequential.freeze_only`` takes. Raises FileFormatError, ShapeError if it takes other images.
    """
    model = load_finite(path)
    check_images(model, dataset, path)
    words = "the classes have the same names, so the head stays, and no layer is new"
    if new_head or model.class_names != dataset.class_names:
        model = model.with_head(dataset.num_classes, seed=seed)
        words = f"{model.head()} is new, for {dataset.num_classes} classes"
    return model.freeze_only(*freeze), words


def check_images(model: Sequential, dataset: Dataset, path: str | os.PathLike[str]) -> None:
    """Raise ShapeError when ``model``, from the file ``path``, takes other images than those of ``dataset``."""
    if model.input_shape != dataset.input_shape:
        takes, has = (f"({', '.join(map(str, shape))})" for shape in (model.input_shape, dataset.input_shape))
        raise ShapeError(
            f"{path} takes images of shape {takes}, {dataset.name} has {has}; choose another --dataset, or a folder of "
            "pictures without --image-size, --colour and --grey: they are made to fit"
        )


def picture_settings(model: Sequential) -> tuple[int | None, bool | None]:
    """``image_size`` and ``colour`` with which ``data.load`` makes pictures of any size into what ``model`` takes.

    None, for whatever suits the pictures, where it takes none that are square, and grey or in colour.
    """
    match model.input_shape:
        case (H, W, 1 | 3 as C) if H == W:
            return H, C == 3
    return None, None
