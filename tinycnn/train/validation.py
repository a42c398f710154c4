"""Metrics of the validation images: functions of their labels and of the outputs of the network."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.data.stored import Images
from tinycnn.distributed.communicator import get_communicator
from tinycnn.distributed.sharding import shard_of
from tinycnn.errors import SettingError, shortened
from tinycnn.layers import LogSoftmax, Sequential, Sigmoid, Softmax
from tinycnn.layers.heads import last_layer
from tinycnn.tensor import Tensor, no_grad
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.history import FIELDS

Metric = Callable[[np.ndarray, np.ndarray], float]  # labels (M,), outputs (M, K) → a number
RECEIVES = "A metric receives the outputs of the network"
PROBABILITIES = "tinycnn.metrics.probabilities(outputs)"
Metrics = Sequence[Metric] | Mapping[str, Metric]


def checked_metrics(metrics: Any) -> dict[str, Metric]:
    """``metrics`` by name: of a list, the names of its functions. Raises SettingError for anything else."""
    metrics = () if metrics is None else [metrics] if callable(metrics) or isinstance(metrics, str) else metrics
    given = metrics if isinstance(metrics, Mapping) else {}
    for one in () if isinstance(metrics, Mapping) else metrics:
        name = getattr(one, "__name__", "<lambda>")
        if callable(one) and (name == "<lambda>" or name in given):
            raise SettingError(f"`metrics` contains {shortened(one)}: give it a name of its own, as in {{'top_3': f}}")
        given = {**given, name: one}
    for name, one in given.items():
        if not callable(one):
            hint = "; leave accuracy out: it is always measured" if one in ("accuracy", "acc") else ""
            raise SettingError(f"`metrics` contains {shortened(one)}: expected functions of (labels, outputs){hint}")
        if takes_classes(one):
            raise SettingError(f"`metrics` contains {one.__name__} of scikit-learn. {_advice(name, one)}")
        if name in FIELDS:
            raise SettingError(f"`metrics` contains {name}, which every history has: give it another name")
    return dict(given)


def _advice(name: str, metric: Metric) -> str:
    """What a metric receives, and how to pass one that takes classes or probabilities."""
    function = getattr(metric, "__name__", "<lambda>")
    if function == "<lambda>":
        classes = "outputs.argmax(axis=1) are the predicted classes"
        return f"{RECEIVES}: {classes}, and {PROBABILITIES} are probabilities, unless it ends with Softmax"
    if takes_probabilities(metric):
        which, more = "probabilities", ", multi_class='ovr'" if function == "roc_auc_score" else ""
        given = f"{PROBABILITIES}{more}"
        end = " (outputs itself if the network ends with Softmax)"
    else:
        which, given, end = "predicted classes", "outputs.argmax(axis=1)", ""
    return (
        f"{RECEIVES}; for one of {which}, pass {{{name!r}: lambda labels, outputs: {function}(labels, {given})}}{end}"
    )


def takes_classes(metric: Any) -> bool:
    """Whether it is a metric of scikit-learn of two arrays of classes, such as f1_score; there, scores are `y_score`.

    Regression has functions with the same arguments, in a module of its own.
    """
    return getattr(metric, "__module__", None) == "sklearn.metrics._classification" and not takes_probabilities(metric)


def takes_probabilities(metric: Any) -> bool:
    """Whether it is a metric of scikit-learn of probabilities or other scores, such as log_loss."""
    module, name = getattr(metric, "__module__", None) or "", getattr(metric, "__name__", "")
    of_scores = any(word in name for word in ("log_loss", "brier", "hinge"))
    return module.startswith("sklearn.metrics") and (of_scores or module.endswith("_ranking"))


def network_outputs(model: Sequential, images: Images) -> np.ndarray:
    """What the network returns for ``images (M, H, W, C)``, softmax or sigmoid included → ``(M, K)`` on the host."""
    logits, last = predict_logits(model, images), last_layer(model.layers)
    if not isinstance(last, Softmax | LogSoftmax | Sigmoid):
        return logits
    with no_grad():
        return get_backend().to_host(last(Tensor(get_backend().asarray(logits))).data)  # (M, K)


def measure(
    model: Sequential, images: Images, labels: np.ndarray, metrics: dict[str, Metric]
) -> dict[str, float | None]:
    """The ``metrics`` of these images by name; None where one is not finite.

    With several ranks, each rank computes the outputs of its shard.
    """
    if not metrics:
        return {}
    ranks = get_communicator()
    shard = shard_of(len(labels), ranks)
    own = network_outputs(model, images[shard]) if shard.stop > shard.start else None
    outputs = np.zeros((len(labels), *model.output_shape), model.dtype)
    if own is not None:
        outputs[shard] = own
    ranks.all_reduce(outputs)
    return {name: _number(name, metric, labels, outputs) for name, metric in metrics.items()}


def _number(name: str, metric: Metric, labels: np.ndarray, outputs: np.ndarray) -> float | None:
    try:
        value = metric(labels, outputs)
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"the metric {name} does not take labels {labels.shape} and outputs {outputs.shape}, one per class: "
            f"{shortened(error)}. {_advice(name, metric)}"
        ) from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SettingError(f"the metric {name} returned {shortened(value)}: expected a number") from None
    return number if math.isfinite(number) else None
