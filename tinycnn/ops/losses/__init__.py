"""Losses of networks that are no classifiers of one class per image: one file, one equation, one derivative.

Each file defines the loss of one number. The loss of a batch is the mean over all its numbers, and the derivative of
the mean is that of ``Tensor.mean``. The loss of a classifier is ``ops/softmax_cross_entropy.py``.
"""

from tinycnn.ops.losses.binary_cross_entropy import binary_cross_entropy_with_logits
from tinycnn.ops.losses.l1_loss import l1_loss
from tinycnn.ops.losses.mse_loss import mse_loss

__all__ = ["binary_cross_entropy_with_logits", "l1_loss", "mse_loss"]
