"""Practise one image: a few steps of an optimizer on it, on a copy of the network, with the loss before each."""

from dataclasses import dataclass

import numpy as np

from tinycnn import ops, optim
from tinycnn.errors import SettingError, shortened, whole_number
from tinycnn.explain.inputs import as_input, check_classes, checked_images, plain_copy, plain_logits
from tinycnn.explain.saliency import checked_label
from tinycnn.explain.trace import Trace, trace_step
from tinycnn.layers import Sequential

MOST_STEPS = 10_000


@dataclass(frozen=True)
class Practice:
    """``losses`` and ``probabilities (steps + 1, K)`` before the first step and after each; ``trace``: the end."""

    losses: tuple[float, ...]
    probabilities: np.ndarray
    trace: Trace


def practise(
    model: Sequential,
    image: np.ndarray,
    label: int,
    *,
    steps: int = 1,
    optimizer: str = "sgd",
    lr: float = 0.01,
    training: bool = False,
) -> Practice:
    """Train a copy of ``model`` for ``steps`` steps on one byte image ``(H, W, C)``; ``model`` does not change.

    ``optimizer``: a name in ``optim.OPTIMIZERS``, with its default settings and the learning rate ``lr``. ``training``
    as in `trace_step`: the loss before and after is measured in the same mode. Raises SettingError for an unknown
    optimizer or a rate that is not above 0.
    """
    image, steps = checked_images(model, image), whole_number("practise: steps", steps)
    if steps > MOST_STEPS:
        raise SettingError(f"practise: `steps={steps}`: expected at most {MOST_STEPS:,}; train.Trainer takes more")
    check_classes("practise", model)
    label = checked_label("practise", label, model.output_shape[-1])
    if not isinstance(optimizer, str) or optimizer not in optim.OPTIMIZERS:
        known = ", ".join(optim.OPTIMIZERS)
        raise SettingError(f"practise: optimizer {shortened(optimizer)}: expected one of {known}")
    with plain_copy(model, training=training) as copied:
        update = optim.OPTIMIZERS[optimizer](copied.parameters(), lr=lr)
        counters = copied.counters()
        losses, probabilities = [], []
        for step in range(steps + 1):
            copied.load_counters(counters)  # the same dropout masks, so that losses can be compared
            loss = ops.softmax_cross_entropy(
                plain_logits(copied, as_input(copied, image[np.newaxis])), np.array([label])
            )
            losses.append(float(loss.numpy()))
            probabilities.append(np.exp(loss.creator.log_p[0]))  # type: ignore[union-attr]
            if step < steps:
                update.zero_grad()
                loss.backward()
                update.step()
        copied.load_counters(counters)
        trace = trace_step(copied, image, label, training=training)
    return Practice(tuple(losses), np.stack(probabilities), trace)
