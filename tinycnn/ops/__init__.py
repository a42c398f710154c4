"""Differentiable operations on tensors, one file per operation."""

from typing import TYPE_CHECKING, Any

from tinycnn.ops.activations.clip import clip
from tinycnn.ops.activations.elu import elu
from tinycnn.ops.activations.gelu import gelu
from tinycnn.ops.activations.hardswish import hardswish
from tinycnn.ops.activations.leaky_relu import leaky_relu
from tinycnn.ops.activations.sigmoid import sigmoid
from tinycnn.ops.activations.silu import silu
from tinycnn.ops.activations.softplus import softplus
from tinycnn.ops.activations.softsign import softsign
from tinycnn.ops.activations.tanh import tanh
from tinycnn.ops.avg_pool2d import avg_pool2d
from tinycnn.ops.batch_norm import batch_norm
from tinycnn.ops.conv2d import conv2d
from tinycnn.ops.convolutions.transposed import conv_transpose2d
from tinycnn.ops.dense import dense
from tinycnn.ops.dropout import dropout
from tinycnn.ops.elementwise.abs import abs
from tinycnn.ops.elementwise.extrema import maximum, minimum
from tinycnn.ops.elementwise.sqrt import sqrt
from tinycnn.ops.flatten import flatten
from tinycnn.ops.losses import binary_cross_entropy_with_logits, l1_loss, mse_loss
from tinycnn.ops.max_pool2d import max_pool2d
from tinycnn.ops.normalization.group_norm import group_norm
from tinycnn.ops.normalization.layer_norm import layer_norm
from tinycnn.ops.relu import relu
from tinycnn.ops.shapes.concatenate import concatenate
from tinycnn.ops.shapes.pad import pad
from tinycnn.ops.shapes.stack import stack
from tinycnn.ops.shapes.upsample2d import upsample2d
from tinycnn.ops.softmax import log_softmax, softmax
from tinycnn.ops.softmax_cross_entropy import nll_loss, softmax_cross_entropy
from tinycnn.other_names.arguments import explain_functions
from tinycnn.other_names.modules import missing_name

__all__ = [
    "abs",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "clip",
    "concatenate",
    "conv2d",
    "conv_transpose2d",
    "dense",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "group_norm",
    "hardswish",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "max_pool2d",
    "maximum",
    "minimum",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "softsign",
    "sqrt",
    "stack",
    "tanh",
    "upsample2d",
]

explain_functions(__name__, __all__)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name, __all__)
