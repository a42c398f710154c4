"""The data of one run: what was passed to ``fit``, checked, converted and split."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Sequential
from tinycnn.train.batches import normalised_weights
from tinycnn.train.examples import IN_BATCHES, as_validation, checked_examples, held_out, is_dataset
from tinycnn.train.identity import Examples, Weights
from tinycnn.train.objective import Objective, remember
from tinycnn.train.pixel_scale import check_same_scale
from tinycnn.train.stated import state_metadata
from tinycnn.train.stream import BatchStream, is_stream


@dataclass(frozen=True)
class RunData:
    """Training images and labels, or a stream of batches; validation images and labels; their weights."""

    training: Examples | BatchStream
    validation: Examples | None
    weights: Weights


def run_data(
    model: Sequential,
    purpose: Objective,
    images: Any,
    labels: Any,
    *,
    steps_per_epoch: int | None,
    validation: Any,
    validation_split: float | None,
    sample_weight: Any,
    validation_weight: Any,
    seed: int,
) -> RunData:
    """Check and convert the arguments of ``fit``; ``seed`` chooses the images that ``validation_split`` holds out."""
    if validation_split and validation is not None:
        raise SettingError("`validation` and `validation_split` both give validation images: pass one of them")
    remember(model, purpose)
    held = as_validation(validation, model, purpose)
    if validation_weight is not None and held is None and not validation_split:
        raise SettingError("`validation_weight` weights validation images: pass `validation=(images, labels)`")
    if is_stream(images, labels):
        if validation_split or sample_weight is not None:
            name = "validation_split" if validation_split else "sample_weight"
            raise SettingError(f"`{name}` is for arrays: batches of an iterable are pairs (images, labels)")
        stream = BatchStream(images, steps_per_epoch, model, purpose)
        state_metadata(model, purpose, held)
        return RunData(stream, held, (None, _weights("validation_weight", validation_weight, held, purpose)))
    if steps_per_epoch is not None:
        raise SettingError("`steps_per_epoch` is for generators: an epoch of arrays uses every image once")
    if labels is None and is_dataset(images):
        raise DataError(f"images are a {type(images).__name__}; {IN_BATCHES}.")
    if labels is None:
        raise SettingError("`labels` are missing: pass images and labels, or an iterable of such batches")
    images, labels = training = checked_examples(images, labels, model, purpose)
    state_metadata(model, purpose, training)
    if held:
        check_same_scale(model, images, held[0])
    if validation_split:
        rest, chosen = held_out(images, len(labels), validation_split, seed)
        if sample_weight is not None:
            normalised_weights("sample_weight", sample_weight, images)  # of all images, or an error
            validation_weight, sample_weight = np.asarray(sample_weight)[chosen], np.asarray(sample_weight)[rest]
        training, held = (images[rest], labels[rest]), (images[chosen], labels[chosen])
    own = _weights("sample_weight", sample_weight, training, purpose)
    return RunData(training, held, (own, _weights("validation_weight", validation_weight, held or training, purpose)))


def _weights(name: str, given: Any, examples: Examples | None, purpose: Objective) -> np.ndarray | None:
    weights = None if given is None or examples is None else normalised_weights(name, given, examples[0])
    if weights is not None:
        purpose.check_weights(name)
    return weights
