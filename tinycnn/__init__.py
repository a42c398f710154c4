"""tinycnn: a convolutional network engine whose core can be read in an afternoon.

    import tinycnn

    model = tinycnn.models.create("keras_cnn")
    loss = tinycnn.ops.softmax_cross_entropy(model.logits(images), labels)
    loss.backward()

The mathematics is in ``tinycnn.tensor`` (the autograd engine) and ``tinycnn.ops`` (one file, one derivative).
"""

from tinycnn import convert, data, errors, initializers, layers, models, ops, optim, train
from tinycnn.backends import available_backends, get_backend, register_backend, use_backend
from tinycnn.backends.base import register_kernel
from tinycnn.convert import load_keras_weights, load_torch_state_dict
from tinycnn.dlpack import from_dlpack
from tinycnn.errors import TinyCNNError
from tinycnn.gradcheck import gradcheck
from tinycnn.io import load, save
from tinycnn.layers import Sequential
from tinycnn.onnx_import import from_onnx
from tinycnn.tensor import Function, Tensor, no_grad
from tinycnn.version import __version__

__all__ = [
    "Function",
    "Sequential",
    "Tensor",
    "TinyCNNError",
    "__version__",
    "available_backends",
    "convert",
    "data",
    "errors",
    "from_dlpack",
    "from_onnx",
    "get_backend",
    "gradcheck",
    "initializers",
    "layers",
    "load",
    "load_keras_weights",
    "load_torch_state_dict",
    "models",
    "no_grad",
    "ops",
    "optim",
    "register_backend",
    "register_kernel",
    "save",
    "train",
    "use_backend",
]
