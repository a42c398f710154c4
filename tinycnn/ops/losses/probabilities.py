"""A notice where a loss is given probabilities, although it takes the scores before them, or the other way round.

The loss would apply the softmax, or the sigmoid, a second time: the network learns slowly, and nothing fails. The
logarithms of probabilities are scores, too, whose softmax are the same probabilities, but those of a sigmoid differ.
"""

import logging

from tinycnn.ops.activations.sigmoid import SigmoidFunction
from tinycnn.ops.softmax import LogSoftmaxFunction, SoftmaxFunction
from tinycnn.tensor import Function, Tensor

LOGGER = logging.getLogger("tinycnn.ops")
LOGITS = "pass model.logits(images), the scores before the last layer, instead of model(images)"
CREATORS: dict[str, tuple[tuple[type[Function], ...], str]] = {  # by loss: what it must not be given, what to do
    "softmax_cross_entropy": ((SoftmaxFunction, SigmoidFunction), LOGITS),
    "binary_cross_entropy_with_logits": ((SoftmaxFunction, LogSoftmaxFunction, SigmoidFunction), LOGITS),
    "nll_loss": (
        (SoftmaxFunction,),
        "pass their logarithms, as of log_softmax, or call softmax_cross_entropy(logits, labels)",
    ),
}
NAMES = {SoftmaxFunction: "softmax", LogSoftmaxFunction: "log_softmax", SigmoidFunction: "sigmoid"}
_noted: set[str] = set()  # the losses


def note_probabilities(op: str, scores: Tensor) -> None:
    """Log a sentence, once for each loss ``op``, if ``scores`` are not what it takes."""
    creators, instead = CREATORS.get(op, ((), ""))
    if op in _noted or not creators:
        return
    takes = "logarithms of probabilities" if op == "nll_loss" else "scores, and computes the probabilities itself"
    if isinstance(scores.creator, creators):
        given = f"the result of a {NAMES[type(scores.creator)]}"
    elif op == "softmax_cross_entropy" and _are_probabilities(scores):
        given = "probabilities, rows that sum to 1"
    elif op == "nll_loss" and _above_zero(scores):
        given = "numbers above 0"
    else:
        return
    _noted.add(op)
    LOGGER.warning("note: %s was given %s; it takes %s: %s", op, given, takes, instead)


def _are_probabilities(scores: Tensor) -> bool:
    """Whether an array, such as ``predict`` returns, has rows that sum to 1, as scores hardly do by chance."""
    rows = scores._array
    if scores.creator is not None or type(rows).__module__ != "numpy" or rows.ndim != 2 or rows.shape[1] < 2:
        return False
    return bool(len(rows) and (rows >= 0).all() and (abs(rows.sum(axis=1) - 1) < 1e-4).all())


def _above_zero(log_probs: Tensor) -> bool:
    """Whether one of them is no logarithm of a probability; those on a GPU are not checked."""
    if isinstance(log_probs.creator, LogSoftmaxFunction) or type(log_probs.data).__module__ != "numpy":
        return False
    return bool((log_probs.data > 0).any())
