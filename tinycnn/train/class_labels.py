"""Labels that are classes: what ``softmax_cross_entropy`` is trained with, and what to do with labels that are not.

They are class numbers ``(M,)``, or rows of probabilities ``(M, K)``, as mixup and distillation make them. The class of
such a row is that of its largest probability.
"""

import numpy as np

from tinycnn.backends.base import Array
from tinycnn.errors import NUMBER_THEM, DataError
from tinycnn.layers import Shape

ONE_OUTPUT = '`loss="binary_cross_entropy_with_logits"`'
SUM_ERROR = 1e-4  # of a row of probabilities, as `ops/losses/labels.py` allows it
REGRESSION = 'For numbers that are not classes, pass `loss="mse_loss"`.'


def are_probabilities(labels: np.ndarray) -> bool:
    """Whether these are rows ``(M, K)`` of numbers that are not negative and sum to 1."""
    if labels.ndim != 2 or labels.dtype.kind != "f" or labels.shape[1] == 1:
        return False
    return bool((labels >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=SUM_ERROR))


def class_of(labels: Array) -> Array:
    """Class numbers ``(N,)``; for rows of probabilities ``(N, K)``, the most probable class."""
    return labels if labels.ndim == 1 else labels.argmax(axis=1)  # (N,)


def check_classes(labels: np.ndarray, output_shape: Shape) -> None:
    """Raise DataError unless ``labels`` are classes ``(M,)``, or rows ``(M, K)``, of a network with these outputs."""
    got = f"labels are {labels.dtype} {labels.shape}"
    if are_probabilities(labels):
        if labels.shape[1:] != output_shape:
            outputs = ", ".join(map(str, ("M", *output_shape)))
            raise DataError(f"{got}, but the network returns ({outputs}): end it with Dense({labels.shape[1]}).")
        return
    if labels.ndim != 1:
        raise DataError(f"{got}: expected class numbers (M,).")
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels).all() and (labels == np.rint(labels)).all()
        as_integers = whole and output_shape != (1,)
        raise DataError(f"{got}: expected integers. " + ("Pass labels.astype(int)." if as_integers else REGRESSION))
    if labels.dtype.kind not in "iu":
        raise DataError(f"{got}: expected class numbers. {NUMBER_THEM}")
    if len(output_shape) == 1 and labels.size:
        check_numbers(int(labels.min()), int(labels.max()), output_shape[0])


def check_numbers(low: int, high: int, outputs: int) -> None:
    """Raise DataError unless labels from ``low`` to ``high`` are classes of a network with this number of outputs."""
    if low == high == 0 and outputs == 1:
        found = "labels are all 0, and the network has 1 output: a loss over one class is always 0"
        raise DataError(f"{found}; pass {ONE_OUTPUT}, or end it with Dense(2). {REGRESSION}")
    if low >= 0 and high < outputs:
        return
    found = f"labels range from {low} to {high}, but the network has {outputs} output{'s' * (outputs != 1)}, for"
    wanted = f"{found} the classes 0 to {outputs - 1}"
    if low >= 0 and outputs == 1:
        raise DataError(f"{wanted}: pass {ONE_OUTPUT}, or end it with Dense({high + 1}). {REGRESSION}")
    if low == 1 and high == outputs:
        raise DataError(f"{wanted}: pass labels - 1.")
    if low >= 0:
        raise DataError(f"{wanted}: end it with Dense({high + 1}), or number the classes anew. {NUMBER_THEM}")
    raise DataError(f"{wanted}. {NUMBER_THEM}")
