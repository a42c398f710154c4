"""Differentiable operations on tensors, one file per operation."""

from tinycnn.ops.activations.leaky_relu import leaky_relu
from tinycnn.ops.activations.sigmoid import sigmoid
from tinycnn.ops.activations.tanh import tanh
from tinycnn.ops.avg_pool2d import avg_pool2d
from tinycnn.ops.batch_norm import batch_norm
from tinycnn.ops.conv2d import conv2d
from tinycnn.ops.dense import dense
from tinycnn.ops.dropout import dropout
from tinycnn.ops.flatten import flatten
from tinycnn.ops.losses import binary_cross_entropy_with_logits, l1_loss, mse_loss
from tinycnn.ops.max_pool2d import max_pool2d
from tinycnn.ops.relu import relu
from tinycnn.ops.shapes.concatenate import concatenate
from tinycnn.ops.softmax import log_softmax, softmax
from tinycnn.ops.softmax_cross_entropy import nll_loss, softmax_cross_entropy

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "concatenate",
    "conv2d",
    "dense",
    "dropout",
    "flatten",
    "l1_loss",
    "leaky_relu",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "softmax_cross_entropy",
    "tanh",
]
