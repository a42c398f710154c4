"""Differentiable operations on tensors, one file per operation."""

from tinycnn.ops.avg_pool2d import avg_pool2d
from tinycnn.ops.batch_norm import batch_norm
from tinycnn.ops.conv2d import conv2d
from tinycnn.ops.dense import dense
from tinycnn.ops.dropout import dropout
from tinycnn.ops.flatten import flatten
from tinycnn.ops.losses import binary_cross_entropy_with_logits, l1_loss, mse_loss
from tinycnn.ops.max_pool2d import max_pool2d
from tinycnn.ops.relu import relu
from tinycnn.ops.softmax import log_softmax, softmax
from tinycnn.ops.softmax_cross_entropy import nll_loss, softmax_cross_entropy

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "conv2d",
    "dense",
    "dropout",
    "flatten",
    "l1_loss",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "softmax",
    "softmax_cross_entropy",
]
