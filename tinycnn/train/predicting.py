"""What a network predicts, by the meaning of its outputs (`Sequential.outputs`), on the host in float64.

    classes    an image is of one class: the softmax of the K scores z, which sums to 1
    labels     each of K labels is true or not: the sigmoid of each score by itself
    numbers    the outputs themselves

The scores are those before a final Softmax, LogSoftmax or Sigmoid. A single label decides between two classes, 0 and 1.
Their scores are 0 and z, because softmax(0, z) = (1 - σ(z), σ(z)).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinycnn import metrics
from tinycnn.data.stored import Images
from tinycnn.errors import SettingError
from tinycnn.layers import Sequential
from tinycnn.layers.metadata import CLASSES, LABELS, NUMBERS, described_outputs
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.validation import network_outputs


def predictions(model: Sequential, images: Images, *, views: Any = None) -> np.ndarray:
    """Probabilities of the classes or labels of uint8 ``images (M, H, W, C)``, or numbers → ``(M, K)`` in float64.

    ``(M, 2)`` for two classes of a single output. ``views``: as in ``predict_logits``, for probabilities. Raises
    DataError for images that the network does not take.
    """
    if is_classifier(model):
        return metrics.probabilities(class_scores(model, images, views=views))
    if model.outputs == LABELS:
        z = predict_logits(model, images, views=views).astype(np.float64)  # (M, K)
        return np.exp(-np.logaddexp(0, -z))  # σ(z) without an overflow
    return network_outputs(model, images).astype(np.float64)


def class_scores(model: Sequential, images: Images, *, views: Any = None) -> np.ndarray:
    """``predict_logits`` with one score per class, ``(M, K)``, also for two classes of a single output.

    Raises SettingError unless the network is a classifier.
    """
    check_classifier(model, "a score for each class")
    logits = predict_logits(model, images, views=views)
    return logits if model.outputs == CLASSES else np.concatenate([np.zeros_like(logits), logits], axis=1)


def output_names(model: Sequential) -> Sequence[str]:
    """The names of the K columns of ``predictions``; without names of its own, a single number is "number"."""
    (count,) = model.output_shape
    if model.outputs == NUMBERS and (len(model.class_names) != count or "class_names" not in model.metadata()):
        return ["number"] if count == 1 else [str(k) for k in range(count)]
    return model.class_names


def is_classifier(model: Sequential) -> bool:
    """Whether a prediction is one class out of several."""
    is_binary = model.outputs == LABELS and model.output_shape == (1,) and len(model.class_names) == 2
    return model.outputs == CLASSES or is_binary


def check_classifier(model: Sequential, needed: str) -> None:
    """Raise SettingError, which says that this is ``needed``, unless a prediction is one class out of several."""
    if not is_classifier(model):
        raise SettingError(f"expected {needed}; {described_outputs(model.outputs, model.output_shape)}")
