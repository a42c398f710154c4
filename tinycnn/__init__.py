"""tinycnn: a convolutional network engine whose core can be read in an afternoon.

    import tinycnn

    model = tinycnn.models.create("keras_cnn")
    loss = tinycnn.ops.softmax_cross_entropy(model.logits(images), labels)
    loss.backward()

The mathematics is in ``tinycnn.tensor`` (the autograd engine) and ``tinycnn.ops`` (one file, one derivative). The rest
(training, data sets, files, plots) is imported when it is first used.
"""

from tinycnn import starting as _starting  # noqa: F401  (first: Ctrl-C while a command loads what follows)

# isort: split
import importlib
import sys
from typing import TYPE_CHECKING, Any

from tinycnn import errors, initializers, layers, models, ops, optim
from tinycnn.backends import available_backends, get_backend, register_backend, use_backend
from tinycnn.backends.base import register_kernel
from tinycnn.errors import TinyCNNError
from tinycnn.gradcheck import gradcheck
from tinycnn.layers import Sequential
from tinycnn.layers.interface.fitting import register_training as _register_training
from tinycnn.other_names.modules import CallableModule as _CallableModule
from tinycnn.other_names.modules import MissingModules as _MissingModules
from tinycnn.other_names.modules import missing_name as _missing_name
from tinycnn.tensor import Function, Tensor, no_grad
from tinycnn.version import __version__

if TYPE_CHECKING:
    from tinycnn import data, distributed, explain, metrics, plots, report, train
    from tinycnn.interchange import weights as convert
    from tinycnn.interchange.dlpack import from_dlpack
    from tinycnn.interchange.keras.importer import from_keras
    from tinycnn.interchange.onnx.exporter import export_onnx, to_onnx
    from tinycnn.interchange.onnx.importer import from_onnx
    from tinycnn.interchange.weights import load_keras_weights, load_torch_state_dict
    from tinycnn.saving.model_file import load, save

_MODULES = {
    name: f"tinycnn.{name}" for name in ("data", "distributed", "explain", "metrics", "plots", "report", "train")
}
_MODULES |= {"convert": "tinycnn.interchange.weights"}
_FUNCTIONS = {
    "export_onnx": "tinycnn.interchange.onnx.exporter",
    "from_dlpack": "tinycnn.interchange.dlpack",
    "from_keras": "tinycnn.interchange.keras.importer",
    "from_onnx": "tinycnn.interchange.onnx.importer",
    "load": "tinycnn.saving.model_file",
    "load_keras_weights": "tinycnn.interchange.weights",
    "load_torch_state_dict": "tinycnn.interchange.weights",
    "save": "tinycnn.saving.model_file",
    "to_onnx": "tinycnn.interchange.onnx.exporter",
}

sys.modules["tinycnn.tensor"].__class__ = _CallableModule  # `tinycnn.tensor(array)` is a habit of PyTorch
sys.meta_path.append(_MissingModules())
_register_training(lambda: importlib.import_module("tinycnn.train.one_call"))  # for model.fit and its like

__all__ = [
    "Function",
    "Sequential",
    "Tensor",
    "TinyCNNError",
    "__version__",
    "available_backends",
    "convert",
    "data",
    "distributed",
    "errors",
    "explain",
    "export_onnx",
    "from_dlpack",
    "from_keras",
    "from_onnx",
    "get_backend",
    "gradcheck",
    "initializers",
    "layers",
    "load",
    "load_keras_weights",
    "load_torch_state_dict",
    "metrics",
    "models",
    "no_grad",
    "ops",
    "optim",
    "plots",
    "register_backend",
    "register_kernel",
    "report",
    "save",
    "to_onnx",
    "train",
    "use_backend",
]


def __getattr__(name: str) -> Any:
    """Import what ``name`` stands for when it is first used (PEP 562)."""
    if name in _MODULES:
        value: Any = importlib.import_module(_MODULES[name])
    elif name in _FUNCTIONS:
        value = getattr(importlib.import_module(_FUNCTIONS[name]), name)
    else:
        if not name.startswith("_"):
            _ = [importlib.import_module(one) for one in ("tinycnn.train", "tinycnn.data.augment", "tinycnn.metrics")]
        raise _missing_name(__name__, name, __all__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
