"""Names of Keras and PyTorch: the error says what to write here, and what it says exists."""

import copy
import importlib
import inspect
import pickle
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import layers, ops, optim, other_names, train
from tinycnn.errors import SettingError
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential
from tinycnn.other_names import INSTEAD, MODULES, SAME, SAME_TOO, UnknownArgumentError

MODEL = Sequential(Flatten(), Dense(2), input_shape=(3, 3, 1))
IMAGES, LABELS = np.zeros((4, 3, 3, 1), np.uint8), np.array([0, 1, 0, 1])
WEIGHTS = MODEL.parameters()
TRAINER = train.Trainer(MODEL, optim.SGD(WEIGHTS), batch_size=2)


# ------------------------------------------------------------------------------------------------------------- modules


@pytest.mark.parametrize("name", MODULES)
def test_every_name_of_a_module_leads_to_something_that_exists(name):
    module = importlib.import_module(name)
    for other, words in MODULES[name].items():
        with pytest.raises(AttributeError, match=re.escape(f"has no attribute {other!r}: {words}")):
            getattr(module, other)
        with pytest.raises(ImportError, match=re.escape(words)):
            exec(f"from {name} import {other}")
        used = re.match(r"use (?:tinycnn\.)?(?:\w+\.)?(?!the |a )(\w+)", words)
        if used:
            places = (tinycnn, layers, ops, optim, train)
            assert any(used[1] in dir(place) or hasattr(place, used[1]) for place in places), words


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [
        (layers, "Relu", "ReLU"),
        (layers, "conv2d", "Conv2d"),
        (optim, "RMSProp", "RMSprop"),
        (train, "Earlystopping", "E"),
    ],
)
def test_a_similar_name_is_proposed(module, name, hint):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; did you mean {hint}"):
        getattr(module, name)


def test_other_names_of_modules_are_missing_as_usual():
    assert not hasattr(layers, "__wrapped__")
    with pytest.raises(AttributeError, match=r"^module 'tinycnn' has no attribute 'qqqq'$"):
        _ = tinycnn.qqqq
    with pytest.raises(ImportError, match="cannot import name 'qqqq'"):
        exec("from tinycnn.layers import qqqq")
    names = {}
    exec("from tinycnn.layers import base\nfrom tinycnn.train import lr_find", names)  # modules inside
    assert inspect.ismodule(names["base"])


# ----------------------------------------------------------------------------------------------------------- arguments

CALLS = {
    "Conv2d has no setting activation: add a layer after it, such as ReLU()": lambda: Conv2d(8, 3, activation="relu"),
    "Conv2d has no setting strides: pass `stride`": lambda: Conv2d(8, 3, strides=2),
    "Conv2d has no setting kernal_size: did you mean kernel_size?": lambda: Conv2d(8, kernal_size=3),
    "Conv2d has no setting in_channels: leave it out: it is inferred": lambda: Conv2d(in_channels=1, out_channels=8),
    "nn.Conv2d(1, 32, 3) is Conv2d(32, 3)": lambda: Conv2d(1, 32, 3),
    "Dense has no setting use_bias: pass `bias`": lambda: Dense(10, use_bias=False),
    "Dense has no setting out_features: pass `units`": lambda: Dense(out_features=3),
    "Dropout has no setting rate: pass `p`": lambda: layers.Dropout(rate=0.5),
    "BatchNorm has no setting epsilon: pass `eps`": lambda: layers.BatchNorm(epsilon=1e-3),
    "MaxPool2d has no setting pool_size: pass `kernel_size`": lambda: layers.MaxPool2d(pool_size=2),
    "LeakyReLU has no setting negative_slope: pass `slope`": lambda: layers.LeakyReLU(negative_slope=0.1),
    "Upsample has no setting size: pass `scale`": lambda: layers.Upsample(size=2),
    "ReLU has no setting inplace: leave it out": lambda: ReLU(inplace=True),
    "ReLU takes at most 0 values without a name, got 1: it has none": lambda: ReLU(6),
    "Sequential has no setting name: leave it out: layers are named": lambda: Sequential(ReLU(), name="mine"),
    "Sequential has no setting layers: pass the layers without a name": lambda: Sequential(layers=[ReLU()]),
    "[ReLU()]: pass the layers without the brackets, Sequential(a, b)": lambda: Sequential([ReLU()]),
    "pass an object, ReLU()": lambda: Sequential(ReLU),
    "got 'relu': layers are objects": lambda: Sequential("relu"),
    "Adam has no setting learning_rate: pass `lr`": lambda: optim.Adam(WEIGHTS, learning_rate=0.1),
    "Adam has no setting params: pass `parameters`": lambda: optim.Adam(params=WEIGHTS),
    "SGD has no setting clipnorm: pass": lambda: optim.SGD(WEIGHTS, clipnorm=1),
    "RMSprop has no setting rho: pass `alpha`": lambda: optim.RMSprop(WEIGHTS, rho=0.9),
    "SGD takes at most 2 values without a name, got 3: pass the others by name: momentum,": lambda: optim.SGD(
        WEIGHTS, 0.1, 0.9
    ),
    "EarlyStopping has no setting restore_best_weights: pass `restore_best`": lambda: train.EarlyStopping(
        2, restore_best_weights=True
    ),
    "EarlyStopping has no setting verbose: pass `progress=True`, or": lambda: train.EarlyStopping(2, verbose=1),
    "ModelCheckpoint has no setting save_best_only: pass `best_only`": lambda: train.ModelCheckpoint(
        "x", save_best_only=True
    ),
    "ModelCheckpoint has no setting filepath: pass `path`": lambda: train.ModelCheckpoint(filepath="x"),
    "ReduceOnPlateau has no setting min_lr: pass `lowest`": lambda: train.ReduceOnPlateau(min_lr=1e-5),
    "ReduceOnPlateau has no setting min_delta: pass `threshold`": lambda: train.ReduceOnPlateau(min_delta=1e-5),
    "LearningRateScheduler has no setting schedule: pass `rate`": lambda: train.LearningRateScheduler(schedule=abs),
    "Trainer has no setting learning_rate: pass `lr` to the optimizer": lambda: train.Trainer(
        MODEL, optim.SGD(WEIGHTS), batch_size=2, learning_rate=0.1
    ),
    "fit has no setting validation_data: pass `validation=(images, labels)`": lambda: TRAINER.fit(
        IMAGES, LABELS, epochs=1, validation_data=(IMAGES, LABELS)
    ),
    "fit has no setting batch_size: it is a setting of Trainer": lambda: TRAINER.fit(
        IMAGES, LABELS, epochs=1, batch_size=2
    ),
    "epochs has no setting verbose: pass `progress=True`": lambda: TRAINER.epochs(IMAGES, LABELS, epochs=1, verbose=1),
    "fit has no setting num_epochs: pass `epochs`": lambda: MODEL.fit(IMAGES, LABELS, num_epochs=1),
    "predict has no setting verbose: pass `progress": lambda: MODEL.predict(IMAGES, verbose=0),
    "evaluate has no setting batch_size: it is a": lambda: MODEL.evaluate(IMAGES, LABELS, batch_size=2),
    "`loss` is 'mse': expected one of softmax_cross_entropy, ": lambda: MODEL.fit(IMAGES, LABELS, loss="mse"),
    "or a function; did you mean mse_loss?": lambda: MODEL.fit(IMAGES, LABELS, loss="mse"),
    "did you mean softmax_cross_entropy?": lambda: MODEL.fit(IMAGES, LABELS, loss="sparse_categorical_crossentropy"),
    "or an optimizer; did you mean adam?": lambda: MODEL.fit(IMAGES, LABELS, optimizer="Adam"),
}


@pytest.mark.parametrize("words", CALLS)
def test_arguments_of_other_libraries(words):
    with pytest.raises(SettingError, match=re.escape(words)):
        CALLS[words]()


def test_the_replacements_of_arguments_exist():
    kinds = [getattr(module, name) for module in (layers, optim, train) for name in module.__all__]
    kinds = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, other_names.NamedArguments)]
    taken = {name for kind in kinds for name in inspect.signature(kind).parameters}
    taken |= set(inspect.signature(train.Trainer.fit).parameters)
    assert {*SAME.values(), *SAME_TOO.values()} - taken == set()
    assert not {"kernel_size", "filters", "patience", "monitor"} & {*SAME, *INSTEAD}


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Muon])
def test_an_optimizer_needs_the_parameters(kind):
    words = f"{kind.__name__} needs `parameters`: {kind.__name__}(model.parameters(), ...); or pass `optimizer="
    for named in ({"lr": 0.1}, {"weight_decay": 0.1, "lr": 1}):
        with pytest.raises(TypeError, match=re.escape(words)) as caught:
            kind(**named)
        assert isinstance(caught.value, SettingError)
    optimizer = kind(parameters=WEIGHTS, lr=0.1)
    assert copy.deepcopy(optimizer).lr == 0.1  # copies are made without arguments


class Several(train.Callback):
    def __init__(self, *values, **names):
        self.values, self.names = values, names


class Nothing(train.Callback):
    pass


def test_classes_of_your_own():
    found = Several(1, 2, verbose=3)
    assert (found.values, found.names) == ((1, 2), {"verbose": 3})
    assert isinstance(Nothing(), train.Callback)
    for call in (lambda: Nothing(3), lambda: Nothing(a=3)):
        with pytest.raises(UnknownArgumentError, match="it has none"):
            call()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'units'"):
        Dense()
    assert pickle.loads(pickle.dumps(Dense(3))).units == copy.deepcopy(Dense(3)).units == 3
    assert train.evaluate(model=MODEL, images=IMAGES, labels=LABELS) == MODEL.evaluate(IMAGES, LABELS)


@pytest.mark.parametrize(("name", "ours"), other_names.HOOKS.items())
def test_hooks_of_other_libraries_would_never_be_called(name, ours):
    assert hasattr(train.Callback, ours)
    assert not hasattr(train.Callback, name)
    with pytest.raises(SettingError, match=f"Own.{name} would never be called: name it {ours}$"):
        type("Own", (train.Callback,), {name: lambda self: None})


def test_an_optimizer_of_another_network_trains_nothing():
    """As after a network was built again, in a notebook."""
    model, other = (tinycnn.Sequential(layers.Flatten(), layers.Dense(2), input_shape=(4, 4, 1)) for _ in range(2))
    images, labels = np.zeros((4, 4, 4, 1), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(SettingError, match=r"`optimizer` has no parameter of this network.*: make it anew, with model"):
        model.fit(images, labels, epochs=1, optimizer=optim.Adam(other.parameters()))
