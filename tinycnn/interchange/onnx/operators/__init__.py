"""The conversion of every supported ONNX operator: to a layer, a change of the previous layer, or a change of axes.

``STEPS`` maps operators to their conversions. A conversion reads the attributes of its node, raises FileFormatError for
unsupported ones, and updates the chain. Source: the operator schemas of ONNX, https://onnx.ai/onnx/operators/.
"""

from collections.abc import Callable

from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.interchange.onnx.operators import activations, axes, dense, elementwise, transposed, windows
from tinycnn.interchange.onnx.rewriting import DENSE_OF_PIXELS, MOMENTS

STEPS: dict[str, Callable[[Chain, Node], None]] = {
    "Conv": windows.conv,
    "ConvTranspose": transposed.conv_transpose,
    "MaxPool": windows.max_pool,
    "AveragePool": windows.average_pool,
    "GlobalAveragePool": windows.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "ReduceMean": windows.reduce,
    "ReduceMax": windows.reduce,
    "ReduceSum": windows.reduce,
    "Pad": windows.pad,
    "Slice": windows.crop,
    "Resize": windows.resize,
    "Upsample": windows.resize,
    "Gemm": dense.gemm,
    "MatMul": dense.matmul,
    "BatchNormalization": elementwise.batch_normalization,
    "LayerNormalization": elementwise.layer_normalization,
    "GroupNormalization": elementwise.group_normalization,
    "InstanceNormalization": elementwise.instance_normalization,
    "Add": elementwise.arithmetic,
    "Sub": elementwise.arithmetic,
    "Mul": elementwise.arithmetic,
    "Div": elementwise.arithmetic,
    "Neg": activations.negative,
    "Pow": activations.power,
    "Sqrt": activations.part,
    "Reciprocal": activations.part,
    "Erf": activations.part,
    "Relu": activations.plain,
    "Sigmoid": activations.plain,
    "Tanh": activations.plain,
    "HardSwish": activations.plain,
    "Softplus": activations.plain,
    "Softsign": activations.plain,
    "Abs": activations.plain,
    "LeakyRelu": activations.leaky_relu,
    "PRelu": activations.p_relu,
    "Elu": activations.elu,
    "Celu": activations.celu,
    "Selu": activations.selu,
    "HardSigmoid": activations.hard_sigmoid,
    "Gelu": activations.gelu,
    "Mish": activations.mish,
    "Clip": activations.clip,
    "Max": activations.extreme,
    "Min": activations.extreme,
    "Dropout": elementwise.dropout,
    "Softmax": elementwise.softmax,
    "LogSoftmax": elementwise.softmax,
    "Transpose": axes.transpose,
    "Flatten": axes.flatten,
    "Reshape": axes.reshape,
    "Expand": axes.expand,
    "Tile": axes.expand,
    "Squeeze": axes.squeeze,
    "Unsqueeze": axes.unsqueeze,
    "Cast": axes.cast,
    "Identity": axes.identity,
}
REWRITTEN = {MOMENTS: elementwise.moments_normalization, DENSE_OF_PIXELS: dense.dense_of_pixels}
