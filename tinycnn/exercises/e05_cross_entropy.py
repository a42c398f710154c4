"""Exercise 5: softmax and cross-entropy."""

from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

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
                check_gradients(lambda x, op=op, target=target: op(x, target), {"the scores": normal(4, 3)})


EXERCISE = Exercise(
    name="05_cross_entropy",
    title="Softmax and cross-entropy.",
    source="tinycnn.ops.softmax_cross_entropy",
    chapter="docs/path/04_softmax_cross_entropy.md",
    task=TASK,
    hint="d log p_i / d x_j = δ_ij - p_j. The loss is a mean over the batch: where does the 1/N go? And every gradient "
    "is a multiple of the one that arrives.",
    holes=(
        Hole("SoftmaxCrossEntropyFunction.backward", "grad_loss () → grad_logits (N, K)."),
        Hole("NLLLossFunction.backward", "grad_loss () → the gradient of log_p (N, K)."),
    ),
    check=check,
)
