"""A network as a scikit-learn classifier: for pipelines, grid search and cross-validation.

    from tinycnn.sklearn import TinyCNNClassifier

    TinyCNNClassifier(epochs=5, random_state=0).fit(X, y).predict(X)

``import tinycnn`` does not load this module, because it imports scikit-learn.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import numpy as np

from tinycnn import metrics
from tinycnn.backends import get_backend, use_backend
from tinycnn.errors import SettingError, ShapeError, in_range, requires, shortened, whole_number
from tinycnn.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, ReLU, Rescaling, Sequential, Shape, Softmax
from tinycnn.layers.interface.likely_pixels import noted
from tinycnn.layers.metadata import BYTES, FRACTIONS, white_of
from tinycnn.models import NETWORKS, OPTIMIZER_DEFAULTS
from tinycnn.ops.softmax import log_softmax_rows
from tinycnn.optim import OPTIMIZERS
from tinycnn.other_names.arguments import NamedArguments, UnknownArgumentError
from tinycnn.train.callbacks import EarlyStopping
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.history import History
from tinycnn.train.pixel_scale import SLACK, reports_itself
from tinycnn.train.trainer import Trainer

with requires("scikit-learn", "TinyCNNClassifier"):
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

LOGGER = logging.getLogger("tinycnn.sklearn")
LayersFunction = Callable[[Shape, int], list[Layer]]  # shape of one image or row, number of classes → layers
DTYPES = (np.float32, np.uint8)  # arrays of another dtype are converted to the first
FUNCTION = "a function (input_shape, classes) → layers, such as lambda shape, classes: [Flatten(), Dense(classes)]"
MODEL = f"every fit trains a new network: pass the name of one, or {FUNCTION}"
NO_LABELS = "no_validation"  # what scikit-learn's validate_data takes for "there is no y"; None would be an error
MOST_CHANNELS = 4  # of pictures
FACTOR = 12.0  # by which pixels may be brighter or darker than those of fit: less than 16, as digits of 0 to 16 have
FEW_STEPS = 100  # in fewer, hardly any network learns much
NEARLY_BYTES = 127  # bytes of which none is brighter than this are rare
MIN_SIDE = 10  # pixels; the two convolutions and poolings of keras_cnn do not fit into smaller images

_noted_shapes: set[Shape] = set()  # of images about whose negative numbers a sentence was logged
_noted_steps: set[tuple[int, int]] = set()  # epochs and batch sizes about which a sentence was logged
_backend_lock = threading.RLock()  # a backend sets the threads of BLAS, for the whole process


def _renew_lock() -> None:
    """Replace the lock in a forked child, where the thread that holds it does not exist."""
    global _backend_lock
    _backend_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def _using_backend(name: str) -> Iterator[str]:
    """Inside, the backend ``name`` is active; yields its name. Restores the earlier backend and its BLAS threads."""
    with _backend_lock:
        get_backend()
        with use_backend(name) as backend:
            yield backend.name


class TinyCNNClassifier(ClassifierMixin, NamedArguments, BaseEstimator):
    """A network that ``fit(X, y)`` trains, with classes of any type.

    ``X``: images ``(n, H, W, C)`` or ``(n, H, W)``, or rows ``(n, features)``; ``image_shape`` turns rows into images.
    ``model``: a name of ``tinycnn.models``, a function ``(input_shape, classes) → layers``, or ``"auto"``: convolutions
    for images, one hidden layer for rows. ``scale`` multiplies ``X``; ``"auto"`` is 1/255 for bytes, else one over the
    largest absolute value in the ``X`` of ``fit``. ``early_stopping=n`` holds ``validation_fraction`` of the data back,
    stops when the loss on it has not improved for ``n`` epochs, and keeps the weights of the best epoch, as
    ``MLPClassifier`` does. ``lr=None`` is the default rate of the optimizer.
    ``class_weight``: a dictionary from class to weight, or ``"balanced"``, which weights each class by
    ``n / (classes · examples of the class)``. ``fit`` raises SettingError for a setting that is out of its range.
    """

    def __init__(
        self,
        model: str | LayersFunction = "auto",
        *,
        image_shape: Shape | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        optimizer: str = "adam",
        lr: float | None = None,
        scale: str | float = "auto",
        early_stopping: int | None = None,
        validation_fraction: float = 0.1,
        class_weight: dict[Any, float] | str | None = None,
        backend: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.model, self.image_shape = model, image_shape
        self.epochs, self.batch_size, self.optimizer, self.lr = epochs, batch_size, optimizer, lr
        self.scale, self.backend, self.random_state = scale, backend, random_state
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None, **settings: Any) -> Self:
        """Train a new network; raises ValueError unless ``X`` is finite and ``y`` holds classes.

        ``sample_weight (n,)`` weights the loss, ``Σ weight · loss / Σ weight``: a weight of 2 counts an example twice,
        and one of 0 leaves it out. It is multiplied by the weights of ``class_weight``. ``eval_set``: a pair
        ``(X, y)``, or a list of one pair, on which every epoch is validated; ``early_stopping`` then holds nothing
        back. Its scores are in ``history_``.
        """
        self._check_none("fit", settings)
        images, y = self._checked(X, y, reset=True)
        self.classes_, labels = np.unique(y, return_inverse=True)
        images, labels, weights = self._weighted(images, labels, sample_weight)
        with _using_backend(self.backend) as self.backend_:
            trainer = self._new_trainer(images)
            more: dict[str, Any] = {"sample_weight": weights}
            if self.early_stopping is not None:
                more["callbacks"] = [EarlyStopping(self.early_stopping, restore_best=True)]
            if eval_set is not None:
                more["validation"] = self._evaluated(eval_set)
            elif self.early_stopping is not None:
                held = {"test_size": self.validation_fraction, "random_state": trainer.seed}
                train, valid = train_test_split(np.arange(len(labels)), **held)
                more |= {"validation": (images[valid], labels[valid]), "sample_weight": _part(weights, train)}
                more["validation_weight"] = _part(weights, valid)
                images, labels = images[train], labels[train]
            note_few_steps(self.epochs, len(labels), self.batch_size)
            self.history_ = trainer.fit(images, labels, epochs=self.epochs, **more)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, **settings: Any) -> Self:
        """Train for one epoch on these examples; the first call makes the network, and must list all ``classes``.

        ``class_weight="balanced"`` is refused, because it needs the class counts of all examples.
        """
        self._check_none("partial_fit", settings)
        if self.class_weight == "balanced":
            raise ValueError("`class_weight='balanced'` needs all examples: pass a dictionary to partial_fit")
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise ValueError("the first call of partial_fit must list all classes: partial_fit(X, y, classes=...)")
        images, y = self._checked(X, y, reset=first)
        known = np.unique(classes) if first else self.classes_
        labels = numbered(y, known)
        self.classes_ = known
        images, labels, weights = self._weighted(images, labels, sample_weight)
        with _using_backend(self.backend if first else self.backend_) as self.backend_:
            trainer = self._new_trainer(images) if first else self._trainer_again()
            trainer.fit(self._as_in_fit(images), labels, epochs=len(trainer.history) + 1, sample_weight=weights)
            self.history_ = History(trainer.history)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, ``(n, K)``, in the order of ``classes_``."""
        check_is_fitted(self)
        images = self._as_in_fit(self._checked(X))
        with _using_backend(self.backend_):
            return metrics.probabilities(predict_logits(self.model_, images))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of the probability of each class, ``(n, K)``; finite also where the probability is not."""
        check_is_fitted(self)
        images = self._as_in_fit(self._checked(X))
        with _using_backend(self.backend_):
            return log_softmax_rows(np, predict_logits(self.model_, images).astype(np.float64))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each example, ``(n,)``."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def __getstate__(self) -> dict[str, Any]:
        """The state to pickle: without the trainer, which predictions do not need."""
        return {name: value for name, value in super().__getstate__().items() if name != "_trainer"}

    def _weighted(self, images: np.ndarray, labels: np.ndarray, sample_weight: Any) -> Any:
        """Images, labels and weights of the examples whose weight is not 0; the weights are None if all are equal."""
        if sample_weight is None and self.class_weight is None:
            return images, labels, None
        weights = _check_sample_weight(sample_weight, images, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight is not None:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[labels])
            if not (np.isfinite(by_class).all() and (by_class >= 0).all()):
                raise SettingError(f"`class_weight={self.class_weight}`: expected finite numbers of at least 0")
            weights = weights * by_class[labels]
        kept = np.flatnonzero(weights)
        if not len(kept):
            raise ValueError("all weights are 0: there is nothing to learn from")
        return images[kept], labels[kept], weights[kept]

    def _evaluated(self, eval_set: Any) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of ``eval_set``; raises ValueError unless it is one pair, of the classes of ``fit``."""
        pairs = [eval_set] if isinstance(eval_set, tuple) else eval_set
        if not (isinstance(pairs, list) and len(pairs) == 1 and isinstance(pairs[0], tuple) and len(pairs[0]) == 2):
            raise ValueError("`eval_set`: expected a pair (X, y), or a list of one pair")
        images, y = self._checked(*pairs[0])
        return self._as_in_fit(images), numbered(y, self.classes_)

    def _checked(self, X: Any, y: Any = NO_LABELS, reset: bool = False) -> Any:
        """``X`` as checked images or rows ``(n, *input_shape_)``; with ``y``, a pair of both."""
        own = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        rows = X if own is None else X.reshape(len(X), -1)
        found = validate_data(self, rows, y, dtype=DTYPES, reset=reset)
        rows, y = (found, None) if isinstance(y, str) else found
        if y is not None:
            check_classification_targets(y)
        if reset:
            self.input_shape_ = self._input_shape(own, rows.shape[1])
        if own is not None and own not in (self.input_shape_, self.input_shape_[:2]):
            raise ShapeError(f"X has examples of shape {own}, but this classifier was fitted to {self.input_shape_}")
        images = rows.reshape(len(rows), *self.input_shape_)
        return images if y is None else (images, y)

    def _input_shape(self, own: Shape | None, features: int) -> Shape:
        shape = own or tuple(self.image_shape or (features,))
        if len(shape) == 3 and shape[0] in (1, 3) and shape[2] > MOST_CHANNELS:
            wanted, rows = (*shape[1:], shape[0]), "" if own else f".reshape{(-1, *shape)}"
            raise ShapeError(
                f"images of shape {shape} have the channels first, as PyTorch does, and {type(self).__name__} takes "
                f"them last, {wanted}: pass X{rows}.transpose(0, 2, 3, 1)"
            )
        shape = (*shape, 1) if len(shape) == 2 else shape
        if len(shape) not in (1, 3) or int(np.prod(shape)) != features:
            raise ShapeError(f"examples of shape {shape} with {features} numbers; expected (H, W, C), (H, W) or rows")
        return shape

    def _check_none(self, method: str, settings: dict[str, Any]) -> None:
        """Raise UnknownArgumentError for ``settings`` that were passed to ``fit`` or ``partial_fit``."""
        for name in settings:
            wanted = f"pass it to the constructor, TinyCNNClassifier({name}=...)"
            if name not in self.get_params():
                wanted = "settings of the training are those of the constructor"
            raise UnknownArgumentError(f"{method} has no setting {name}: {wanted}")

    def _check_settings(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise SettingError(f"`optimizer={self.optimizer!r}`: choose one of {', '.join(OPTIMIZERS)}")
        stopping = [] if self.early_stopping is None else ["early_stopping"]
        for name in ("epochs", "batch_size", *stopping):
            whole_number(name, getattr(self, name), at_least=1)

    def _new_trainer(self, images: np.ndarray) -> Trainer:
        """A trainer of a network with new weights."""
        self._check_settings()
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        self.largest_ = largest_of(images)
        self.scale_ = 1 / (self.largest_ or 1.0) if self.scale == "auto" else in_range("scale", self.scale, above=0)
        layers = [Rescaling(self.scale_), *self._layers()]
        self.model_ = Sequential(*layers, input_shape=self.input_shape_, seed=self._seed)
        self.history_ = History()
        with suppress(SettingError):  # names that a model file does not take, such as "" or a long text
            if (names := [str(name) for name in self.classes_]) != list(self.model_.class_names):
                self.model_.class_names = names
        self.model_.pixels = pixels_of(images)  # it takes X as it is
        if images.ndim == 4 and has_negative(images):
            reports_itself.add(self.model_)
            note_negative(images)
        self.__dict__.pop("_trainer", None)
        return self._trainer_again()

    def _trainer_again(self) -> Trainer:
        """The trainer of the last call, or a new one after unpickling, which does not restore it."""
        if not hasattr(self, "_trainer"):
            lr = OPTIMIZER_DEFAULTS[self.optimizer]["lr"] if self.lr is None else self.lr
            optimizer = OPTIMIZERS[self.optimizer](self.model_.parameters(), lr=lr)
            self._trainer = Trainer(self.model_, optimizer, batch_size=self.batch_size, seed=self._seed)
            self._trainer.history = History(self.history_)
        return self._trainer

    def _as_in_fit(self, images: np.ndarray) -> np.ndarray:
        """``images`` or rows of a later call, with a note if they are on another scale than those of ``fit``.

        After pixels from 0 to 1, or to 16, the network scales bytes to them; bytes up to 1, or 16, are not scaled.
        """
        if self.model_.pixels == BYTES or images.dtype != np.uint8:
            self._note_scale(images)
            return images
        return images.astype(np.float32) if images.max() <= white_of(self.model_.pixels) < 255 else images

    def _note_scale(self, images: np.ndarray) -> None:
        """Log a sentence, once, if ``images`` or rows are on another scale than those of ``fit``.

        Rows are looked at only if they may be pixels: if the largest number in the data of ``fit`` was 1 or 255.
        """
        trained, largest = getattr(self, "largest_", 0.0), largest_of(images)  # 0: fitted by an older version
        if not trained or self.model_ in noted or (images.ndim == 2 and trained not in (1.0, 255.0)):
            return
        if 0 < largest < trained / FACTOR or largest > trained * FACTOR:
            noted.add(self.model_)  # of which `predict_logits` could say the same in other words
            LOGGER.warning(
                "note: the numbers in X are up to %.4g, those of fit were up to %.4g, and the classifier multiplies "
                "both by the same factor: were both prepared in the same way?",
                *(largest, trained),
            )

    def _layers(self) -> list[Layer]:
        """All layers but the Rescaling in front, which is made from ``scale_``."""
        shape, classes = self.input_shape_, len(self.classes_)
        model: Any = self.model
        model = next((name for name, one in NETWORKS.items() if one.layers is model), model)  # models.lenet: "lenet"
        if callable(model) and not isinstance(model, Layer | type):
            return checked_layers(model(shape, classes))
        if not isinstance(model, str):
            raise SettingError(f"`model` is {shortened(model, 60)}: {MODEL}")
        if model == "auto":
            return default_layers(shape, classes)
        if model not in NETWORKS:
            raise SettingError(f"`model={model!r}`: choose auto, {', '.join(NETWORKS)}, or pass {FUNCTION}")
        if len(shape) != 3:
            raise ShapeError(
                f"`model={model!r}` takes images, X holds rows of {shape[0]}: pass `image_shape=(H, W, C)`"
            )
        layers = NETWORKS[model].layers(classes)
        return layers[1:] if isinstance(layers[0], Rescaling) else layers


def numbered(y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The index in the classes ``known`` of each of ``y``, ``(n,)``; raises ValueError for a class not among them."""
    unknown = np.setdiff1d(y, known)
    if unknown.size:
        raise ValueError(f"y contains {unknown[:5]}, which is not among the classes {known[:20]}")
    return np.searchsorted(known, y)


def note_few_steps(epochs: int, examples: int, batch_size: int) -> None:
    """Log a sentence if a network will hardly learn much, once for these settings, however many folds there are."""
    steps = epochs * -(-examples // batch_size)
    if steps < FEW_STEPS and (epochs, batch_size) not in _noted_steps:
        _noted_steps.add((epochs, batch_size))
        LOGGER.warning(
            "note: %d epochs of %d examples are only %d steps: use a smaller `batch_size` or more `epochs`",
            *(epochs, examples, steps),
        )


def note_negative(images: np.ndarray) -> None:
    """Log a sentence about ``images (n, H, W, C)`` with negative numbers, once for a shape, however many folds."""
    if images.shape[1:] in _noted_shapes:
        return
    _noted_shapes.add(images.shape[1:])
    LOGGER.warning(
        "note: the images in X hold numbers from %.4g to %.4g, as StandardScaler makes them, and a network that is "
        "saved with tinycnn.save(clf.model_, path) has no step of a pipeline in it: it takes bytes and picture files "
        "as 0..255, and reads them differently from X; leave the scaler out, because TinyCNNClassifier scales by "
        "itself, or use MinMaxScaler",
        *(float(images.min()), float(images.max())),
    )


def has_negative(images: np.ndarray) -> bool:
    """Whether numbers are below 0 by more than rounding."""
    return float(images.min()) < -SLACK * largest_of(images)


def pixels_of(images: np.ndarray) -> str:
    """The numbers for black and white of these pictures, so that a picture file becomes an input like them.

    Bytes, and floats up to nearly 255, are ``0..255``, and a pipeline makes ``0..1``. Others end at their largest
    number, as the digits of scikit-learn do, ``0..16``. Rows are no pictures, and negative numbers have no black: for
    them the default of a network that begins with Rescaling, ``0..255``.
    """
    largest = largest_of(images)
    if images.ndim != 4 or has_negative(images) or NEARLY_BYTES < largest <= 255:
        return BYTES
    return FRACTIONS if largest <= 1 else f"0..{largest:.9g}" if largest < 1e9 else BYTES


def largest_of(images: np.ndarray) -> float:
    """The largest absolute value that these numbers may have: 255 for bytes, of others the largest that they have."""
    return 255.0 if images.dtype == np.uint8 else float(np.abs(images).max())


def _part(weights: np.ndarray | None, chosen: np.ndarray) -> np.ndarray | None:
    return None if weights is None else weights[chosen]


def checked_layers(made: Any) -> list[Layer]:
    """The layers that a function for ``model`` returned; raises SettingError for anything else."""
    layers = made.layers if isinstance(made, Sequential) and made.is_part else made
    if isinstance(layers, Sequential) or not isinstance(layers, list | tuple | dict):
        raise SettingError(f"the function `model` returned {shortened(made, 60)}: expected a list of new layers")
    return list(layers)


def default_layers(input_shape: Shape, classes: int) -> list[Layer]:
    """The layers of ``model="auto"``: ``keras_cnn``, one convolution for small images, or dense layers for rows."""
    if len(input_shape) == 1:
        return [Dense(64), ReLU(), Dense(classes), Softmax()]
    if min(input_shape[:2]) >= MIN_SIDE:
        return NETWORKS["keras_cnn"].layers(classes)
    head = [Flatten(), Dense(128), ReLU(), Dense(classes), Softmax()]
    return [Conv2d(32, padding=1), ReLU(), *([MaxPool2d()] if min(input_shape[:2]) > 1 else []), *head]
