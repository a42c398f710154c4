"""The description of a run: everything that determines its outcome and stays constant during it."""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.data.stored import Images
from tinycnn.distributed.agreement import check_agreement, differences
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import SettingError
from tinycnn.layers import Sequential
from tinycnn.saving.state_file import fingerprint
from tinycnn.train.batches import Sampler, shuffle_settings
from tinycnn.train.objective import CLASSIFICATION
from tinycnn.train.step import TrainingStep

Examples = tuple[Images, np.ndarray]  # images (M, H, W, C), labels (M,)
Weights = tuple[np.ndarray | None, np.ndarray | None]  # of the training images (M,), of the validation images


def run_identity(
    step: TrainingStep,
    sampler: Sampler,
    training: Any,
    validation: Examples | None,
    weights: Weights,
    *,
    callbacks: dict[str, Any],
    initial_weights: str | None,
) -> dict[str, Any]:
    """Everything that determines the outcome of a run, by name: equal descriptions give bit-identical results.

    ``training``: images and labels, or a stream of batches. ``callbacks``: what they add. Reads all images to compute
    their fingerprint, but not a stream. The description is saved in every checkpoint.
    """
    model, backend = step.model, get_backend()
    of_images = zip(("training", "validation"), weights, strict=True)
    return {
        "network": repr(model),
        "dtype": model.dtype.name,
        "pixels": model.pixels,
        "backend": backend.name,
        "tf32": backend.tf32,
        "seed": sampler.seed,
        "batch size": sampler.batch_size,
        "augmentation": repr(sampler.augment),
        "fading": repr(sampler.fade) if sampler.fade else None,
        "initial weights": initial_weights,
        "frozen": ", ".join(name for name, p in model.named_parameters() if not p.requires_grad) or None,
        "label smoothing": step.label_smoothing,
        **({} if step.objective is CLASSIFICATION else {"loss": step.objective.name}),
        "clip norm": step.clip_norm,
        **({"average of weights": step.average.decay} if step.average else {}),
        "early stopping": None,  # unless a callback says otherwise
        "training data": fingerprint(*training) if isinstance(training, tuple) else "batches of an iterable",
        "validation data": fingerprint(*validation) if validation else None,
        **{f"weights of the {name} images": fingerprint(array) for name, array in of_images if array is not None},
        **(shuffle_settings(training[0]) if isinstance(training, tuple) else {}),
        **step.optimizer.settings(),
        **callbacks,
    }


def check_ranks_agree(identity: dict[str, Any], model: Sequential, epochs: int) -> None:
    """Raise SettingError, on all ranks, unless all of them are about to start the same run from the same weights."""
    ranks = get_communicator()
    if ranks.size > 1:
        weights = fingerprint(*model.state_dict().values())
        check_agreement(ranks, identity | {"epochs": epochs, "initial weights": weights})


def check_same_run(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Raise SettingError, naming each difference, unless a checkpoint was made by a run with the same description."""
    found = differences(saved, current, "there")
    if found:
        raise SettingError(f"the checkpoint belongs to another run: {found}. Resume with the settings of that run")
