"""Names of Keras and PyTorch: the error says what to write here, and what it says exists."""

import copy
import importlib
import inspect
import pickle
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import data, layers, ops, optim, train
from tinycnn.errors import DataError, SettingError, ShapeError
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential
from tinycnn.other_names.arguments import NamedArguments, UnknownArgumentError
from tinycnn.other_names.attributes import COLUMNS, HOOKS
from tinycnn.other_names.modules import MODULES
from tinycnn.other_names.tables import INSTEAD, SAME, SAME_TOO

MODEL = Sequential(Flatten(), Dense(2), input_shape=(3, 3, 1))
IMAGES, LABELS = np.zeros((4, 3, 3, 1), np.uint8), np.array([0, 1, 0, 1])
WEIGHTS = MODEL.parameters()
DATASET = data.Dataset("mine", IMAGES, LABELS, IMAGES, LABELS, ("a", "b"), "here")
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
            places = (tinycnn, data, layers, ops, optim, train, tinycnn.plots, tinycnn.metrics, data.augment)
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


@pytest.mark.parametrize(
    ("statement", "missing", "words"),
    [
        ("from tinycnn.callbacks import EarlyStopping", "tinycnn.callbacks", "use tinycnn.train"),
        (
            "from tinycnn.utils import to_categorical",
            "tinycnn.utils",
            "use tinycnn.data, tinycnn.train or tinycnn.plots",
        ),
        ("import tinycnn.nn as nn", "tinycnn.nn", "use tinycnn.layers"),
        ("import tinycnn.nn.functional as F", "tinycnn.nn", "use tinycnn.layers"),
        ("from tinycnn.keras.layers import Dense", "tinycnn.keras", "use tinycnn.Sequential and tinycnn.layers"),
        ("from tinycnn.optim.lr_scheduler import StepLR", "tinycnn.optim.lr_scheduler", "pass a `schedule` to the opt"),
        ("import tinycnn.layer", "tinycnn.layer", "did you mean tinycnn.layers?"),
        ("from tinycnn.trainer import Trainer", "tinycnn.trainer", "did you mean tinycnn.train?"),
        ("import tinycnn.layers.conv2d", "tinycnn.layers.conv2d", "write `from tinycnn.layers import Conv2d`"),
        ("from tinycnn.save import x", "tinycnn.save", "write `from tinycnn import save`"),
    ],
)
def test_modules_of_other_libraries(statement, missing, words):
    with pytest.raises(ModuleNotFoundError, match=re.escape(f"No module named {missing!r}: {words}")) as raised:
        exec(statement)
    assert raised.value.name == missing


@pytest.mark.parametrize("name", ["tinycnn.qqqq", "tinycnn.layers._private", "qqqq.nn"])
def test_other_modules_are_missing_as_usual(name):
    with pytest.raises(ModuleNotFoundError, match=r"No module named '[^:]*$"):
        importlib.import_module(name)


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
    "ReLU(6): it has no settings, and never changes its input": lambda: ReLU(6),
    "nn.Linear(128, 10) is Dense(10)": lambda: Dense(128, 10),
    "Conv2d takes at most 2 values without a name, got 3: pass the others by name: stride,": lambda: Conv2d(
        8, 3, "same"
    ),
    "1 is the number of filters here: nn.Conv2d(1, 32, 3)": lambda: Sequential(Conv2d(1, 32), input_shape=(8, 8, 1)),
    "Own.call would never be called: name it forward": lambda: type("Own", (layers.Layer,), {"call": abs}),
    "scores have a loss and an accuracy, no 'acc'": lambda: train.Scores(1.0, 0.5)["acc"],
    "leave accuracy out: it is always measured": lambda: MODEL.fit(
        IMAGES, LABELS, metrics="accuracy", validation=(IMAGES, LABELS)
    ),
    "BatchNorm(8): the channels of the input are inferred": lambda: layers.BatchNorm(8),
    "LayerNorm([8]): the channels of the input are inferred": lambda: layers.LayerNorm([8]),
    "nn.GroupNorm(4, 8) is GroupNorm(4)": lambda: layers.GroupNorm(4, 8),
    "nn.Flatten(1) is Flatten()": lambda: Flatten(1),
    "nn.Softmax(1) is Softmax()": lambda: layers.Softmax(1),
    "nn.Upsample(None, 2) is Upsample(2)": lambda: layers.Upsample(None, 2),
    "Dense has no setting trainable: call freeze()": lambda: Dense(10, trainable=False),
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
    "'best.keras': save writes safetensors files": lambda: train.ModelCheckpoint("best.keras"),
    "EarlyStopping('val_loss'): the first value is `patience`": lambda: train.EarlyStopping("val_loss"),
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
    "fit has no setting x: pass `images`": lambda: MODEL.fit(x=IMAGES, y=LABELS),
    "evaluate has no setting x: pass `images`": lambda: MODEL.evaluate(x=IMAGES, y=LABELS),
    "Trainer needs `optimizer` and `batch_size`: Trainer(model, optim.Adam": lambda: train.Trainer(MODEL),
    "fit needs `epochs`: fit(images, labels, epochs=5)": lambda: TRAINER.fit(IMAGES, LABELS),
    "fit needs `images`": lambda: MODEL.fit(epochs=1),
    "predict needs `images`: model.predict(images)": lambda: MODEL.predict(),
    "fit has no setting num_epochs: pass `epochs`": lambda: MODEL.fit(IMAGES, LABELS, num_epochs=1),
    "predict has no setting verbose: leave it out: nothing": lambda: MODEL.predict(IMAGES, verbose=0),
    "evaluate has no setting batch_size: leave it out": lambda: MODEL.evaluate(IMAGES, LABELS, batch_size=2),
    "`loss` is 'mse': expected one of softmax_cross_entropy, ": lambda: MODEL.fit(IMAGES, LABELS, loss="mse"),
    "or a function; did you mean mse_loss?": lambda: MODEL.fit(IMAGES, LABELS, loss="mse"),
    "did you mean softmax_cross_entropy?": lambda: MODEL.fit(IMAGES, LABELS, loss="sparse_categorical_crossentropy"),
    "pass 'adam', or Adam(model.parameters())": lambda: MODEL.fit(IMAGES, LABELS, optimizer=optim.Adam),
    "a Dataset is neither pairs nor batches: use its x_train": lambda: MODEL.fit(DATASET),
    "save writes safetensors files; use tinycnn.export_onnx": lambda: tinycnn.save(MODEL, "model.onnx"),
    "'model.H5': save writes safetensors files; name it": lambda: tinycnn.save(MODEL, "model.H5"),
    "or an optimizer; did you mean adam?": lambda: MODEL.fit(IMAGES, LABELS, optimizer="Adam"),
}


@pytest.mark.parametrize("words", CALLS)
def test_arguments_of_other_libraries(words):
    with pytest.raises((SettingError, ShapeError), match=re.escape(words)):
        CALLS[words]()


def test_the_replacements_of_arguments_exist():
    kinds = [getattr(module, name) for module in (layers, optim, train) for name in module.__all__]
    kinds = [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, NamedArguments)]
    taken = {name for kind in kinds for name in inspect.signature(kind).parameters}
    taken |= {*inspect.signature(train.Trainer.fit).parameters, *inspect.signature(tinycnn.Tensor.sum).parameters}
    others = (tinycnn.models.create, data.load, data.augment.Affine)
    for function in (tinycnn.Tensor, tinycnn.Tensor.backward, ops.relu, ops.softmax_cross_entropy, *others):
        taken |= {*inspect.signature(function).parameters}
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
        Dense()  # as a copy, whose attributes are set later, is made
    assert pickle.loads(pickle.dumps(Dense(3))).units == copy.deepcopy(Dense(3)).units == 3
    assert train.evaluate(model=MODEL, images=IMAGES, labels=LABELS) == MODEL.evaluate(IMAGES, LABELS)


@pytest.mark.parametrize(("name", "ours"), HOOKS.items())
def test_hooks_of_other_libraries_would_never_be_called(name, ours):
    assert hasattr(train.Callback, ours)
    assert not hasattr(train.Callback, name)
    with pytest.raises(SettingError, match=f"Own.{name} would never be called: name it {ours}$"):
        type("Own", (train.Callback,), {name: lambda self: None})


@pytest.mark.parametrize(
    ("name", "given", "ours"),
    [
        ("on_epoch_end", lambda self, epoch, logs=None: None, "on_epoch_end(self, trainer, result)"),
        ("on_epoch_begin", lambda self, epoch: None, "on_epoch_begin(self, trainer, epoch)"),
        ("on_step_end", lambda self, batch, logs: None, "on_step_end(self, trainer, progress)"),
    ],
)
def test_hooks_with_the_arguments_of_keras_would_receive_others(name, given, ours):
    with pytest.raises(SettingError, match=re.escape(ours)):
        type("Own", (train.Callback,), {name: given})
    type("Own", (train.Callback,), {name: lambda self, trainer, result: None, "on_my_own": given})


# ---------------------------------------------------------------------------------------------------------- attributes


class OwnCallback(train.Callback):
    """A callback whose hooks are those of Keras in all but their names."""

    def __init__(self, act):
        self.act = act

    def on_epoch_end(self, trainer, result):
        self.act(self, trainer, result)


class WithoutSuper(layers.Layer):
    """A network in the style of PyTorch whose author forgot a line."""

    def __init__(self):
        self.dense = Dense(3)

    def forward(self, x):
        return self.dense(x)


def assign(name, value):
    return lambda thing: setattr(thing, name, value)


NO_EFFECT = {
    "Dense.trainable = False would have no effect: call freeze(), or": lambda: assign("trainable", False)(
        MODEL.layers["dense_1"]
    ),
    "Sequential.trainable = False would have no effect: call freeze()": lambda: assign("trainable", False)(MODEL),
    "Flatten.requires_grad = False would have no effect": lambda: assign("requires_grad", False)(Flatten()),
    "Sequential.stop_training = True would have no effect: set trainer.stop_training": lambda: assign(
        "stop_training", True
    )(MODEL),
    "Sequential.optimizer = 'adam' would have no effect: pass it to fit": lambda: assign("optimizer", "adam")(MODEL),
    "Dense.weight = 3 would have no effect: call model.load_state_dict(": lambda: assign("weight", 3)(
        MODEL.layers["dense_1"]
    ),
    "Dense.bias = 3 would have no effect": lambda: assign("bias", 3)(MODEL.layers["dense_1"]),
    "Dense.units = 5 would have no effect: the parameters have their shapes": lambda: assign("units", 5)(
        MODEL.layers["dense_1"]
    ),
    "BatchNorm.running_mean = 0 would have no effect": lambda: assign("running_mean", 0)(
        Sequential(layers.BatchNorm(), input_shape=(3,)).layers["batchnorm_1"]
    ),
    "Trainer.should_stop = True would have no effect: set trainer.stop_training = True": lambda: assign(
        "should_stop", True
    )(TRAINER),
    "Trainer.learning_rate = 1 would have no effect: set trainer.optimizer": lambda: assign("learning_rate", 1)(
        TRAINER
    ),
    "OwnCallback.stop_training = True would have no effect: set trainer.stop": lambda: assign("stop_training", True)(
        OwnCallback(abs)
    ),
}


@pytest.mark.parametrize("words", NO_EFFECT)
def test_attributes_that_nothing_reads_cannot_be_assigned(words):
    with pytest.raises(SettingError, match=re.escape(words)):
        NO_EFFECT[words]()


def test_an_attribute_of_your_own_class_can_be_assigned():
    class Own(layers.Layer):
        def __init__(self, trainable=True):
            super().__init__()
            self.trainable = trainable

    class Stopping(train.Callback):
        stop_training = False

    dropout = Sequential(layers.Dropout(0.5), input_shape=(4,)).layers["dropout_1"]
    dropout.p = 0.25  # is read in every step
    assert dropout.p == 0.25
    own, stopping = Own(False), Stopping()
    own.kernel, stopping.stop_training = 3, True
    assert (own.trainable, own.kernel, stopping.stop_training) == (False, 3, True)


def test_training_assigned_to_a_network_reaches_its_layers():
    model = Sequential(layers.Residual(layers.Dropout(0.5)), input_shape=(4,))
    dropout = dict(model.all_layers())["residual_1.body.dropout_1"]
    model.training = False
    assert not dropout.training
    model.training = True
    assert dropout.training


MISSING = {
    "use `freeze()` and `unfreeze()`": lambda: MODEL.requires_grad_(False),
    "use `parameters()` or `named_parameters()`": lambda: MODEL.trainable_weights,
    'use `parameters_by_name["weight"]`': lambda: MODEL.layers["dense_1"].kernel,
    "use the settings of `fit`": lambda: MODEL.compile(optimizer="adam"),
    "use `trainer.model`: every hook receives the trainer": lambda: OwnCallback(abs).model,
    "use `fit(images, labels, epochs=5)`": lambda: TRAINER.train(),
    "use `learning_rate`, which may be assigned": lambda: optim.Adam(WEIGHTS).param_groups,
    "use `x_train`": lambda: DATASET.X_train,
    "use `y_train` or `y_test`": lambda: DATASET.target,
    "use `super().__init__()` at the beginning of `__init__`": lambda: Sequential(WithoutSuper(), input_shape=(4,)),
    "use layers['dense_1']": lambda: MODEL.layers.dense_1,
    "use `copy.deepcopy(model)`": lambda: MODEL.clone(),
    "use `tinycnn.plots.curves(history)`": lambda: train.History().plot(),
    "no attribute 'qqqq'": lambda: MODEL.layers["dense_1"].qqqq,
}


@pytest.mark.parametrize("words", MISSING)
def test_attributes_of_other_libraries(words):
    with pytest.raises(AttributeError, match=re.escape(words)):
        MISSING[words]()


@pytest.mark.parametrize(
    ("find", "words"),
    [
        (lambda: MODEL.layers[2], "layers[2]: there are 2, flatten_1, dense_1"),
        (lambda: MODEL.layers[-3], "layers[-3]: there are 2, flatten_1, dense_1"),
        (lambda: MODEL.layers["dense1"], "did you mean dense_1?"),
        (lambda: MODEL.layers["head"], "there are flatten_1, dense_1"),
        (lambda: MODEL[0], "model[0]: the layers of a network are in model.layers"),
        (lambda: list(MODEL), "the layers of a network are in model.layers"),
    ],
)
def test_layers_are_found_by_name(find, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        find()
    assert copy.deepcopy(MODEL).layers.keys() == pickle.loads(pickle.dumps(MODEL)).layers.keys() == MODEL.layers.keys()


# ------------------------------------------------------------------------------------------------- results of training

RESULT = train.EpochResult(1, 0.5, 0.75, 0.25, 1.0, 1.0, 9.0, 0.1, {"top_3": 1.0})
HISTORY = train.History([RESULT, RESULT])


@pytest.mark.parametrize(("name", "ours"), COLUMNS.items())
def test_the_names_of_keras_for_the_numbers_of_an_epoch(name, ours):
    for read in (RESULT.__getitem__, RESULT.row().__getitem__, HISTORY.__getitem__, HISTORY.to_dict().__getitem__):
        assert read(ours) in (getattr(RESULT, ours), [getattr(RESULT, ours)] * 2)
        with pytest.raises(SettingError, match=f"column '{name}': it is '{ours}'$"):
            read(name)
    for thing, words in ((RESULT, f"use `{ours}`"), (HISTORY, f'use `history["{ours}"]`')):
        with pytest.raises(AttributeError, match=re.escape(words)):
            getattr(thing, name)


def test_other_ways_to_read_the_results():
    with pytest.raises(AttributeError, match=r"use `to_dict\(\)`, or `history\[name\]`$"):
        _ = HISTORY.history["loss"]
    with pytest.raises(AttributeError, match=r"use `row\(\)`"):
        RESULT.get("val_loss")
    with pytest.raises(SettingError, match=r"no column 'f1': choose one of epoch, train_loss, .*, top_3"):
        _ = RESULT["f1"]
    assert (HISTORY["top_3"], HISTORY[-1], HISTORY[:1]["epoch"]) == ([1.0, 1.0], RESULT, [1])
    scores = train.Scores(0.25, 0.75)
    loss, accuracy = scores
    assert (loss, accuracy) == (scores[0], scores["accuracy"]) == (0.25, 0.75)
    assert pickle.loads(pickle.dumps(RESULT)) == copy.deepcopy(RESULT) == RESULT


def test_a_second_fit_with_the_same_epochs_reports_that_nothing_was_trained(capsys, tmp_path):
    model = Sequential(Flatten(), Dense(2), input_shape=(3, 3, 1))
    trainer = train.Trainer(model, optim.SGD(model.parameters()), batch_size=2)
    assert len(trainer.fit(IMAGES, LABELS, epochs=2, progress=True)) == 2
    assert "nothing was trained" not in capsys.readouterr().out
    assert trainer.fit(IMAGES, LABELS, epochs=2, progress=True) == []
    said = "nothing was trained: the history already ends with epoch 2, and `epochs` counts those of earlier calls, too"
    assert capsys.readouterr().out == f"note: {said}; pass `epochs=4` for 2 more\n"
    assert len(trainer.fit(IMAGES, LABELS, epochs=3, progress=True)) == 1
    assert len(train.Trainer(model, optim.SGD(model.parameters()), batch_size=2).fit(IMAGES, LABELS, epochs=0)) == 0
    assert "nothing" not in capsys.readouterr().out
    checkpoints = train.Checkpoints(tmp_path, at_end=True)
    trainer = train.Trainer(model, optim.SGD(model.parameters()), batch_size=2)
    trainer.fit(IMAGES, LABELS, epochs=1, checkpoints=checkpoints)
    resumed = train.Trainer(model, optim.SGD(model.parameters()), batch_size=2)
    capsys.readouterr()
    resumed.fit(IMAGES, LABELS, epochs=1, progress=True, checkpoints=train.Checkpoints(tmp_path, resume=True))
    assert len(resumed.history) == 1
    assert "nothing" not in capsys.readouterr().out  # it went on from its last step


def test_no_metrics_and_no_callbacks():
    settings = {"epochs": 1, "batch_size": 2, "progress": False, "metrics": None, "callbacks": None}
    assert len(MODEL.fit(IMAGES, LABELS, **settings)) == 1


def f1_score(labels, classes):
    """As scikit-learn's: only classes."""
    if classes.ndim > 1:
        raise ValueError("Classification metrics can't handle a mix of multiclass and continuous-multioutput targets")
    return float(np.mean(labels == classes))


def test_metrics_of_scikit_learn_take_classes(monkeypatch):
    settings = {"epochs": 1, "batch_size": 2, "validation": (IMAGES, LABELS), "progress": False}
    instead = "{'f1': lambda labels, outputs: f1_score(labels, outputs.argmax(axis=1))}"
    with pytest.raises(SettingError, match=re.escape(instead)) as raised:
        MODEL.fit(IMAGES, LABELS, metrics={"f1": f1_score}, **settings)
    assert "f1 does not take labels (4,) and outputs (4, 2)" in str(raised.value)
    monkeypatch.setattr(f1_score, "__module__", "sklearn.metrics._classification")
    with pytest.raises(SettingError, match=f"`metrics` contains f1_score of scikit-learn. .*{re.escape(instead)}"):
        MODEL.fit(IMAGES, LABELS, metrics={"f1": f1_score}, **settings)  # before the first epoch
    history = MODEL.fit(IMAGES, LABELS, metrics={"f1": lambda a, b: f1_score(a, b.argmax(axis=1))}, **settings)
    assert 0 <= history["f1"][0] <= 1


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (list(IMAGES), LABELS, "images are a list: expected a NumPy array. Pass numpy.stack(images)."),
        ((IMAGES, LABELS), None, "expected a pair (images, labels). For two arrays, call fit(images, labels)."),
    ],
)
def test_arrays_in_lists(images, labels, words):
    with pytest.raises(DataError, match=re.escape(words) + "$"):
        MODEL.fit(images, labels, progress=False)


# ----------------------------------------------------------------------------------------- a network that is called


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_means_the_same_to_a_network_that_is_called_as_to_predict(dtype):
    model = Sequential(Flatten(), Dense(2), input_shape=(3, 3, 1), dtype=dtype)
    images = np.arange(18, dtype=np.uint8).reshape(2, 3, 3, 1) * 14
    expected = (images / 255).reshape(2, 9) @ model.layers["dense_1"].parameters_by_name["weight"].data  # (2, 2)
    for given in (images, images.astype(np.int64), images / 255, (images / 255).astype(np.float32)):
        np.testing.assert_allclose(model(given).data, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.logits(given).data, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.predict(given), expected, rtol=1e-5, atol=1e-6)
        assert model(given).dtype == dtype
    tensor = tinycnn.Tensor(images.astype(dtype))  # is taken as it is
    np.testing.assert_allclose(model(tensor).data, 255 * expected, rtol=1e-5)
    model.pixels = "0..255"
    np.testing.assert_allclose(model(images).data, 255 * expected, rtol=1e-5)


def test_an_optimizer_of_another_network_trains_nothing():
    """As after a network was built again, in a notebook."""
    model, other = (tinycnn.Sequential(layers.Flatten(), layers.Dense(2), input_shape=(4, 4, 1)) for _ in range(2))
    images, labels = np.zeros((4, 4, 4, 1), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(SettingError, match=r"`optimizer` has no parameter of this network.*: make it anew, with model"):
        model.fit(images, labels, epochs=1, optimizer=optim.Adam(other.parameters()))
