"""A notice where a loss is given probabilities, although it takes the scores before them.

The loss would apply the softmax, or the sigmoid, a second time: the network learns slowly, and nothing fails.
"""

import logging

from tinycnn.ops.activations.sigmoid import SigmoidFunction
from tinycnn.ops.softmax import SoftmaxFunction
from tinycnn.tensor import Function, Tensor

LOGGER = logging.getLogger("tinycnn.ops")
LOGITS = "pass model.logits(images), the scores before the last layer, instead of model(images)"
CREATORS: dict[str, tuple[tuple[type[Function], ...], str]] = {  # by loss: what it must not be given, what to do
    "softmax_cross_entropy": ((SoftmaxFunction, SigmoidFunction), LOGITS),
    "binary_cross_entropy_with_logits": ((SoftmaxFunction, SigmoidFunction), LOGITS),
    "nll_loss": (
        (SoftmaxFunction,),
        "pass their logarithms, as of log_softmax, or call softmax_cross_entropy(logits, labels)",
    ),
}
_noted: set[str] = set()  # the losses


def note_probabilities(op: str, scores: Tensor) -> None:
    """Log a sentence, once for each loss ``op``, if ``scores`` are the result of a softmax or sigmoid."""
    creators, instead = CREATORS.get(op, ((), ""))
    if isinstance(scores.creator, creators) and op not in _noted:
        _noted.add(op)
        name = type(scores.creator).__name__.removesuffix("Function").lower()
        takes = "logarithms of probabilities" if op == "nll_loss" else "scores, and computes the probabilities itself"
        LOGGER.warning("note: %s was given the result of a %s; it takes %s: %s", op, name, takes, instead)
