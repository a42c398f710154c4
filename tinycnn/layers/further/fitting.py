"""``fit``, ``evaluate`` and ``predict`` of a network: one call each, for functions of ``tinycnn/train/one_call.py``.

Training imports the layers, so layers cannot import training. ``tinycnn/__init__.py``, which is above both, registers
a function that imports it when one of these methods is called.
"""

from collections.abc import Callable
from typing import Any

from tinycnn.other_names import named_arguments

ELSEWHERE = {  # methods of networks in Keras and PyTorch → what does the same here
    "add": "`Sequential(*layers, input_shape=...)`, with all layers at once",
    "append": "`Sequential(*layers, input_shape=...)`, with all layers at once",
    "children": "`layers.values()`",
    "count_params": "`parameter_count()`",
    "cpu": '`tinycnn.use_backend("numba")` before the network is created',
    "compile": "the settings of `fit`: `optimizer`, `lr`, `loss`",
    "cuda": '`tinycnn.use_backend("cupy")` before the network is created',
    "export": "`tinycnn.export_onnx(model, path)`",
    "get_weights": "`state_dict()`",
    "get_layer": "`layers[name]`",
    "load_weights": "`tinycnn.load(path)`",
    "modules": "`all_layers()`",
    "named_modules": "`all_layers()`",
    "predict_classes": "`predict(images).argmax(axis=1)`",
    "predict_proba": "`predict(images)`, which returns probabilities after a final Softmax",
    "requires_grad_": "`freeze()` and `unfreeze()`",
    "save": "`tinycnn.save(model, path)`",
    "save_weights": "`tinycnn.save(model, path)`",
    "score": "`evaluate(images, labels).accuracy`",
    "set_weights": "`load_state_dict(state)`",
    "trainable_variables": "`parameters()`",
    "weights": "`parameters()`, or `state_dict()`",
    "to": '`tinycnn.use_backend("cupy")` before the network is created',
}
_training: list[Callable[[], Any]] = []  # the registered function


def register_training(load: Callable[[], Any]) -> None:
    """Make ``load()`` return the module whose ``fit``, ``evaluate`` and ``predict`` the methods call."""
    _training[:] = [load]


def use_instead(name: str) -> str:
    """The end of the sentence about a missing method: what does the same; "" if nothing is known."""
    return f": use {ELSEWHERE[name]}" if name in ELSEWHERE else ""


class Fitting:
    """The methods that need training."""

    def fit(self, images: Any, labels: Any = None, *, epochs: int = 1, batch_size: int = 32, **settings: Any) -> Any:
        """Train this network on images and labels, or on an iterable of batches → `tinycnn.train.History`.

        ``settings``: ``optimizer="adam"`` (a name or an optimizer), ``lr``, ``schedule`` (such as ``"cosine"``),
        ``seed``, ``progress=True`` (a bar), all other settings of `tinycnn.train.Trainer`, and all arguments of its
        ``fit``. Each call trains ``epochs`` more epochs, with a new trainer.
        """
        return _training[0]().fit(self, images, labels, epochs=epochs, batch_size=batch_size, **settings)

    def evaluate(self, images: Any, labels: Any = None, **settings: Any) -> Any:
        """Loss and accuracy on images and labels, or on an iterable of batches → `tinycnn.train.Scores`.

        ``settings``: those of `tinycnn.train.evaluate`.
        """
        return _training[0]().evaluate(self, images, labels, **settings)

    @named_arguments
    def predict(self, images: Any) -> Any:
        """The outputs of the network for ``images (M, H, W, C)``, in evaluation mode → ``(M, *output_shape)``.

        After a final Softmax these are probabilities. The result is a NumPy array.
        """
        return _training[0]().predict(self, images)
