"""``fit``, ``evaluate`` and ``predict`` of a network: one call each, for functions of ``tinycnn/train/one_call.py``.

Training imports the layers, so layers cannot import training. ``tinycnn/__init__.py``, which is above both, registers
a function that imports it when one of these methods is called.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tinycnn.errors import SettingError, shortened
from tinycnn.layers.base import Layer
from tinycnn.layers.interface.by_name import INSTEAD
from tinycnn.other_names.arguments import named_arguments
from tinycnn.other_names.attributes import NoEffectError

SETTINGS = "the settings of `fit`: `optimizer`, `lr`, `loss`, `metrics`"
ELSEWHERE = {  # attributes of networks in Keras and PyTorch → what does the same here
    "add": "`Sequential(*layers, input_shape=...)`, with all layers at once",
    "append": "`Sequential(*layers, input_shape=...)`, with all layers at once",
    "children": "`layers`",
    "count_params": "`parameter_count()`",
    "cpu": '`tinycnn.use_backend("numba")` before the network is created',
    "clone": "`copy.deepcopy(model)`",
    "compile": SETTINGS,
    "copy": "`copy.deepcopy(model)`",
    "cuda": '`tinycnn.use_backend("cupy")` before the network is created',
    "double": "`Sequential(..., dtype=numpy.float64)`",
    "export": "`tinycnn.export_onnx(model, path)`",
    "fit_generator": "`fit(batches, epochs=5)`, with an iterable of batches",
    "get_weights": "`state_dict()`",
    "get_layer": "`layers[name]`",
    "half": "float32 or float64: `Sequential(..., dtype=...)`",
    "history": "what `fit` returns",
    "load_weights": "`tinycnn.load(path)`",
    "loss": SETTINGS,
    "metrics": SETTINGS,
    "modules": "`all_layers()`",
    "name": "`layers`: the layers are named by class and number",
    "named_children": "`layers.items()`",
    "named_modules": "`all_layers()`",
    "optimizer": SETTINGS,
    "predict_classes": "`predict(images).argmax(axis=1)`",
    "predict_proba": "`predict(images)`, which returns probabilities after a final Softmax, or "
    "`tinycnn.train.predictions(model, images)`, which returns them for any classifier",
    "save": "`tinycnn.save(model, path)`",
    "save_weights": "`tinycnn.save(model, path)`",
    "score": "`evaluate(images, labels).accuracy`",
    "set_weights": "`load_state_dict(state)`",
    "test_on_batch": "`evaluate(images, labels)`",
    "train_on_batch": "`fit(images, labels, batch_size=len(images))`",
    "weights": "`parameters()`, or `state_dict()`",
    "to": '`tinycnn.use_backend("cupy")` before the network is created',
}
_training: list[Callable[[], Any]] = []  # the registered function


def register_training(load: Callable[[], Any]) -> None:
    """Make ``load()`` return the module whose ``fit``, ``evaluate`` and ``predict`` the methods call."""
    _training[:] = [load]


class Fitting:
    """The methods that need training."""

    foreign_attributes: ClassVar[dict[str, str]] = ELSEWHERE
    ignored_attributes: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("loss", "metrics", "optimizer"), "pass it to fit"),
        **dict.fromkeys(("lr", "learning_rate"), "pass `lr` to fit"),
        **dict.fromkeys(("kernel_regularizer", "weight_decay"), "pass `weight_decay` to an optimizer"),
    }

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is missing, such as the name of a layer."""
            if name in vars(self).get("layers", {}):
                kind = type(self).__name__
                raise AttributeError(f"{kind!r} object has no attribute {name!r}: use `model.layers[{name!r}]`")
            return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        layers = vars(self).get("layers")
        of_all = name in ("input_shape", "dtype") and "output_shape" in vars(self) and not vars(self)["is_part"]
        if of_all and value != vars(self)[name]:
            words = f"the layers are built for {vars(self)[name]}; create a new network"
            raise NoEffectError(f"{type(self).__name__}.{name} = {shortened(value, 60)} would have no effect: {words}")
        is_new = isinstance(value, Layer) and layers is not None and value not in layers.values()
        if is_new or (name == "layers" and layers is not None):
            kind = type(self).__name__
            raise NoEffectError(f"{kind}.{name} = {shortened(value, 60)} would have no effect: {INSTEAD}")
        super().__setattr__(name, value)

    def __getitem__(self, key: Any) -> Any:
        """Networks are neither lists nor dictionaries, as in PyTorch: SettingError says where the layers are."""
        raise SettingError(f"model[{key!r}]: the layers of a network are in model.layers, by name and by number")

    @named_arguments
    def fit(self, images: Any, labels: Any = None, *, epochs: int = 1, batch_size: int = 32, **settings: Any) -> Any:
        """Train this network on images and labels, or on an iterable of batches → `tinycnn.train.History`.

        ``settings``: ``optimizer="adam"`` (a name or an optimizer), ``lr``, ``schedule`` (such as ``"cosine"``),
        ``progress=True`` (a bar), and those of `tinycnn.train.Trainer` and of its ``fit``, which describe them::

            training     seed, augment, fade, loss, label_smoothing, clip_norm, average_weights, initial_weights,
                         capture, sample_weight, steps_per_epoch
            validation   validation, validation_split, validation_weight, metrics, early_stopping
            the run      callbacks, checkpoints, stop

        Each call trains ``epochs`` more epochs, with a new trainer.
        """
        return _training[0]().fit(self, images, labels, epochs=epochs, batch_size=batch_size, **settings)

    @named_arguments
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
