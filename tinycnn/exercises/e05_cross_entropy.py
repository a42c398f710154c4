"""Exercise 5: softmax and cross-entropy."""

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from tinycnn.exercises.checking import check_gradients, normal, renamed, situation
from tinycnn.exercises.cutting import Exercise, Hole
from tinycnn.exercises.symptoms import FORM
from tinycnn.tensor import Tensor

TASK = """
    loss = -1/N Σ_n Σ_k  target[n, k] · log p[n, k],      p = softmax(logits)          logits, p, target: (N, K)

`target` has a row for each image: 1 at its label and 0 elsewhere (one-hot), or any numbers that sum to 1. Use

    log p_i = z_i - log Σ_j e^{z_j}      to find      d log p_i / d z_j,           z: a row of logits

insert it into the loss, and use that the targets of a row sum to 1. The result is short, which is one reason why
softmax and cross-entropy are one operation here. Then NLLLoss: its input is log p itself.

grad_loss is a single number, the gradient of the loss. It need not be 1.
"""
HINT = (
    "d log p_i / d z_j = δ_ij - p_j, where δ_ij is 1 if i = j and else 0. The loss is a mean over the batch: where "
    "does the 1/N go? And every gradient is a multiple of the one that arrives."
)


ONLY_WITH_LABELS = "", "not summed", "shape", "broadcast", "one per row"  # what is not right with rows


def check(student: ModuleType) -> None:
    """Integer labels, and targets that are probabilities."""
    labels, smooth = np.array([2, 0, 2, 1]), np.array([[0.1, 0.7, 0.2], [0, 0, 1], [0.3, 0.3, 0.4], [0.5, 0.5, 0]])
    for op in (student.softmax_cross_entropy, student.nll_loss):
        for what, target in {"labels": labels, "probabilities as targets": smooth}.items():
            after_labels = renamed(ONLY_WITH_LABELS if target is smooth else (), "labels alone")
            with situation(f"in {op.__name__} with {what}"), after_labels:
                name, x = ("logits" if op is student.softmax_cross_entropy else "log_p"), normal(4, 3)
                function = "SoftmaxCrossEntropyFunction" if name == "logits" else "NLLLossFunction"
                x = x if name == "logits" else x - np.log(np.exp(x).sum(axis=1, keepdims=True))
                rows = np.eye(3)[target] if target.ndim == 1 else target
                typical = {key: partial(mistaken, numbers) for key, numbers in mistakes(name, x, rows).items()}
                given = {"labels" if target is labels else "target": target}
                check_gradients(partial(loss_of, op, target), {name: x}, of=function, suspects=typical, others=given)


def mistakes(name: str, x: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """By symptom, what stands in the place of ``p - target``, or of ``-target`` for ``log_p``.

    NLLLoss has no ``self.log_p``, so a copy of the line above it takes the exponential of something else.
    """
    exp_x = np.exp(x)
    p = exp_x / exp_x.sum(axis=1, keepdims=True)
    scaled = exp_x / exp_x.max(axis=1, keepdims=True)  # e^z with the maximum of the row subtracted from z
    label = target.argmax(axis=1)  # (N,)
    if name == "log_p":
        copies = {"exp(log p)": np.exp(x), "softmax": p, "exp(target)": np.exp(target)}
        as_from_logits = {f"as from logits{FORM}{form}": numbers - target for form, numbers in copies.items()}
        again = {f"logarithm again{FORM}{form}": -target / numbers for form, numbers in {"x": x, "p": p}.items()}
        return {**as_from_logits, **again, "log p as a factor": -target * x, "ones for target": 0 * target - 1}
    return {
        "added": p + target,
        "not normalised": exp_x - target,
        f"not normalised{FORM}less the maximum": scaled - target,
        f"not normalised{FORM}less the largest of all": exp_x / exp_x.max() - target,
        f"not normalised{FORM}less the largest of each class": exp_x / exp_x.max(axis=0) - target,
        "exponential twice": np.exp(p) - target,
        "over the batch": p / p.sum(axis=0) - target,
        f"over the batch{FORM}of the logits": exp_x / exp_x.sum(axis=0) - target,
        f"over the batch{FORM}less the maximum": scaled / scaled.sum(axis=0) - target,
        "over all numbers": p / p.sum() - target,
        f"over all numbers{FORM}of the logits": exp_x / exp_x.sum() - target,
        f"over all numbers{FORM}less the maximum": scaled / scaled.sum() - target,
        "indices": p - label[:, np.newaxis],
        "rows for labels": p - np.isin(np.arange(len(p)), label)[:, np.newaxis],
        "log p alone": np.log(p),
        "one over p": -1 / p,
        "ones for target": p - 1,
        "label alone": (p - 1) * target,
        "through p": -target / p,
        "softmax again": (p - target) * p * (1 - p),
        "loss itself": -target * np.log(p),
        "target left out": p,
        "p left out": -target,
        "log p": np.log(p) - target,
        "logits": x - target,
        "softmax alone": p * (1 - p),
    }


def mistaken(numbers: np.ndarray, _: str, grad_loss: np.ndarray) -> np.ndarray:
    """The gradient with a mistake."""
    return numbers * grad_loss / len(numbers)


def loss_of(op: Callable[..., Tensor], target: np.ndarray, x: Tensor) -> Tensor:
    """The loss of the logits or of log p."""
    return op(x, target)


EXERCISE = Exercise(
    name="05_cross_entropy",
    title="Softmax and cross-entropy.",
    source="tinycnn.ops.softmax_cross_entropy",
    chapter="docs/path/04_softmax_cross_entropy.md",
    task=TASK,
    hint=HINT,
    formulas={
        "SoftmaxCrossEntropyFunction": "grad_logits = grad_loss * (p - self.target) / N, with p = "
        "self.backend.xp.exp(self.log_p) and N = len(self.target)",
        "NLLLossFunction": "grad_log_p = -grad_loss * self.target / N, with N = len(self.target)",
    },
    hints={
        "upstream": (
            "grad_loss is not used, as if the loss were the end of the computation.",
            "The loss may be used further, as in 0.5 · loss. Every gradient is a multiple of the one that arrives.",
        ),
        "averaged": (
            "it is divided by N, the number of images, twice; the loss is one mean over the batch, so 1/N appears "
            "once.",
            "Is there a mean(), or a second / len(...), in another line?",
        ),
        "target left out": (
            "the target is missing: this is the gradient of log Σ_j e^{z_j} alone.",
            "-log p_c = log Σ_j e^{z_j} - z_c, for the label c. The second term has a derivative, too: which z is it?",
        ),
        "p left out": (
            "only the target is there: the gradient of -z_c, without that of log Σ_j e^{z_j}.",
            "-log p_c = log Σ_j e^{z_j} - z_c, for the label c. Every z has an effect on the sum: how large is it?",
        ),
        "log p": (
            "log p stands where p belongs.",
            "Forward stored self.log_p, the logarithm. The gradient needs p itself: exp undoes the logarithm.",
        ),
        "added": (
            "p and the target are added; the gradient contains their difference.",
            "d log p_i / d z_j = δ_ij - p_j, and the loss has a minus: of which of the two is the sign changed?",
        ),
        "not normalised": (
            "the exponentials of the logits stand where p belongs; those of a row do not sum to 1.",
            "p = softmax(logits): e^{z_i} divided by the sum of its row. Forward stored its logarithm, self.log_p.",
        ),
        "exponential twice": (
            "the exponential is taken twice.",
            "Forward stored self.log_p: its exponential is p.",
        ),
        "over the batch": (
            "each column is divided by its sum over the images; softmax is over the classes of one image.",
            "Axis 0 counts the images. Each row of p sums to 1, not each column; exp(self.log_p) is p already.",
        ),
        "over all numbers": (
            "the sum below p runs over the whole batch; softmax is over the classes of one image.",
            "Without an axis, sum() adds up all N · K numbers. Each row of p sums to 1: axis=1 with keepdims=True. "
            "exp(self.log_p) is p already.",
        ),
        "indices": (
            "a label is the index of a class, and it is used as a number here; the target of an image is a row of "
            "K numbers.",
            "self.target (N, K) has a 1 in the column of the label and 0 elsewhere (one-hot). p - self.target "
            "subtracts 1 where the label points to.",
        ),
        "rows for labels": (
            "the labels are taken for numbers of rows, which are images; a label is the number of a column, a class.",
            "Image n gets its 1 in row n, at the column of its label: this is what self.target (N, K) holds.",
        ),
        "not an index": (
            "self.labels is no index here. With integer labels this line works, but labels may also be rows of "
            "probabilities, (N, K).",
            "self.target (N, K) covers both: one-hot rows for integer labels, or the probabilities. Use it in place "
            "of self.labels.",
        ),
        "labels alone": (
            "with integer labels it is right, and here the labels are rows of probabilities, (N, K).",
            "self.target (N, K) covers both: one-hot rows for integer labels, or the probabilities. Use it in place "
            "of self.labels.",
        ),
        "log p alone": (
            "it is log p, without the target and without its derivative.",
            "loss = -1/N Σ target · log p. The target says which log p counts, and d log p_i / d z_j is δ_ij - p_j.",
        ),
        "one over p": (
            "-1/p is the derivative of -log p with respect to p, in every column. The target is missing, and the "
            "derivative of softmax.",
            "Put log p_i = z_i - log Σ_j e^{z_j} into the loss first; then no p is left in a denominator.",
        ),
        "ones for target": (
            "there is a 1 in every column; the target is 1 in the column of the label, and 0 elsewhere.",
            "self.target has a row for each image. With an index: p[range(N), labels] is one number of each row, and "
            "p[:, labels] is whole columns.",
        ),
        "label alone": (
            "only the column of the label has a gradient here; every logit has an effect on log Σ_j e^{z_j}.",
            "d log p_c / d z_j is 1 - p_c for j = c, and -p_j for all other j.",
        ),
        "through p": (
            "-target / p is the gradient of p. The derivative of softmax is missing.",
            "Put log p_i = z_i - log Σ_j e^{z_j} into the loss first; then no p is left in a denominator.",
        ),
        "softmax again": (
            "the factor p (1 - p) should not be there: p - target contains the derivative of softmax already.",
            "d log p_i / d z_j = δ_ij - p_j is all there is; d p_i / d z_j is not needed.",
        ),
        "loss itself": (
            "it is the loss, term by term, and not its derivative.",
            "Replace log p_i by its derivative, d log p_i / d z_j = δ_ij - p_j, and sum over i.",
        ),
        "logarithm again": (
            "it is divided by p, or by log p, as if backward took a logarithm; here log p itself is the input.",
            "loss = -1/N Σ target · log p is linear in log p: its factor is the gradient.",
        ),
        "shape": (
            "the gradient has to have the shape (N, K) of the input: each of these numbers has its own gradient.",
            "Nothing is to be summed. self.target (N, K) has a row for each image; self.labels may be one number for "
            "each.",
        ),
        "logits": (
            "the logits stand where p belongs.",
            "p = softmax(logits), the numbers from 0 to 1; forward stored their logarithm, self.log_p.",
        ),
        "as from logits": (
            "this is the gradient for logits, p - target. Here the input is log p itself: there is no softmax.",
            "loss = -1/N Σ target · log p is linear in log p: its factor is the gradient.",
        ),
        "log p as a factor": (
            "log p should not be a factor: it is the input, and d (c · log p) / d log p is c.",
            "Keep all numbers fixed but one log p: by how much does the loss grow when it grows by 1?",
        ),
        "softmax alone": (
            "p (1 - p) is d p_i / d z_i: the derivative of softmax alone, and only where both indices are equal.",
            "Put d log p_i / d z_j = δ_ij - p_j into loss = -Σ_i target_i log p_i, and sum over i.",
        ),
        "of NLLLossFunction": (
            "here log p itself is the input: there is no softmax, and each log p is in one term of the sum only.",
            "loss = -1/N Σ target · log p. Keep all numbers fixed but one log p: by how much does the loss grow when "
            "it grows by 1?",
        ),
        "": (
            HINT,
            "On paper, for one image: loss = -Σ_i target_i log p_i. Replace d log p_i / d z_j by δ_ij - p_j. Of the "
            "sum over i, one term is left from δ_ij, and -p_j comes out of the other because the targets sum to 1.",
        ),
    },
    holes=(
        Hole("SoftmaxCrossEntropyFunction.backward", "grad_loss () → grad_logits (N, K)."),
        Hole("NLLLossFunction.backward", "grad_loss () → the gradient of log_p (N, K)."),
    ),
    check=check,
)
