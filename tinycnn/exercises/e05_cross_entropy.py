"""Exercise 5: softmax and cross-entropy."""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.tensor import Tensor

TASK = """
    loss = -1/N Σ_n Σ_k  target[n, k] · log p[n, k],      p = softmax(logits)          logits, p, target: (N, K)

`target` is the one-hot row of the label, or any row that sums to 1. Use

    log p_i = x_i - log Σ_j e^{x_j}      to find      d log p_i / d x_j,

insert it into the loss, and use that the targets of a row sum to 1. The result is short, which is one reason why
softmax and cross-entropy are one operation here. Then NLLLoss: its input is log p itself.

grad_loss is a single number, the gradient of the loss. It need not be 1.
"""


def check(student: ModuleType) -> None:
    """Integer labels, and targets that are probabilities."""
    labels, smooth = np.array([2, 0, 2, 1]), np.array([[0.1, 0.7, 0.2], [0, 0, 1], [0.3, 0.3, 0.4], [0.5, 0.5, 0]])
    for op in (student.softmax_cross_entropy, student.nll_loss):
        for what, target in {"labels": labels, "probabilities as targets": smooth}.items():
            with situation(f"in {op.__name__} with {what}"):
                scores = normal(4, 3)
                probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
                typical = {"target left out": lambda _, grad_loss, probs=probs: grad_loss * probs / len(probs)}
                call = partial(on_scores, op, target)
                check_gradients(call, {"the scores": scores}, of=op.__name__, suspects=typical)


def on_scores(op: Callable[..., Tensor], target: np.ndarray, scores: Tensor) -> Tensor:
    """The loss."""
    return op(scores, target)


EXERCISE = Exercise(
    name="05_cross_entropy",
    title="Softmax and cross-entropy.",
    source="tinycnn.ops.softmax_cross_entropy",
    chapter="docs/path/04_softmax_cross_entropy.md",
    task=TASK,
    hint="d log p_i / d x_j = δ_ij - p_j. The loss is a mean over the batch: where does the 1/N go? And every gradient "
    "is a multiple of the one that arrives.",
    formulas={
        "softmax_cross_entropy": "grad_logits = grad_loss · (p - target) / N, with p = exp(self.log_p)",
        "nll_loss": "grad_log_p = -grad_loss · target / N",
        "SoftmaxCrossEntropyFunction.backward": "grad_logits = grad_loss · (p - target) / N, with p = exp(self.log_p)",
        "NLLLossFunction.backward": "grad_log_p = -grad_loss · target / N",
    },
    hints={
        "upstream": (
            "grad_loss is not used, as if the loss were the end of the computation.",
            "Somebody may compute 0.5 · loss. Every gradient is a multiple of the one that arrives.",
        ),
        "target left out": (
            "the target is missing: this is the gradient of log Σ e^x alone.",
            "loss = log Σ_j e^{x_j} - x_t. The second term has a derivative, too: which x does it depend on?",
        ),
    },
    holes=(
        Hole("SoftmaxCrossEntropyFunction.backward", "grad_loss () → grad_logits (N, K)."),
        Hole("NLLLossFunction.backward", "grad_loss () → the gradient of log_p (N, K)."),
    ),
    check=check,
)
