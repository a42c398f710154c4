"""Habits of Keras, PyTorch and scikit-learn that would silently do something else, or fail without a hint."""

import copy
import logging
import operator
import pickle
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import data, ops, optim, train
from tinycnn.backends.foreign_names import ELSEWHERE
from tinycnn.commands import main
from tinycnn.data import augment
from tinycnn.errors import AutogradError, DataError, SettingError, ShapeError
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    Layer,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinycnn.other_names.arguments import UnknownArgumentError, explained
from tinycnn.tensor import Tensor, no_grad

VECTOR = Tensor([1.0, 2.0], requires_grad=True)


def changed_in_place(sign, x):
    names = {"x": x}
    exec(f"x {sign}= 2.0" if sign != "@" else "x @= x", names)
    return names["x"]


# ------------------------------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "**", "@"])
def test_a_parameter_is_not_left_as_it_is_silently(operator):
    words = f"x {operator}= y would leave the parameter x as it is, because arithmetic makes a new tensor: write x.data"
    with pytest.raises(AutogradError, match=re.escape(words)), no_grad():
        changed_in_place(operator, VECTOR)
    with pytest.raises(AutogradError, match=re.escape(words)):
        changed_in_place(operator, VECTOR)
    constant, result = Tensor([1.0, 2.0]), VECTOR * 1.0
    assert changed_in_place(operator, constant).creator is None
    assert constant.data.tolist() == [1, 2]
    changed_in_place(operator, result).sum().backward()  # a result is bound anew, and its history goes on
    assert VECTOR.grad is not None
    VECTOR.zero_grad()


def test_the_advice_changes_the_parameter():
    p = Tensor([1.0, 2.0], requires_grad=True)
    p.data -= 0.5 * np.ones(2, np.float32)
    assert p.data.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_every_foreign_name_of_a_tensor_leads_to_something_that_exists(name):
    assert name not in dir(Tensor)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute {name!r}: use {ELSEWHERE[name]}")):
        getattr(VECTOR, name)
    for owner, used in re.findall(r"(x|tinycnn\.ops|tinycnn)\.(\w+)", ELSEWHERE[name]):
        assert hasattr({"x": Tensor, "tinycnn.ops": ops, "tinycnn": tinycnn}[owner], used)


def test_other_missing_names_of_a_tensor():
    with pytest.raises(AttributeError, match=r"^'Tensor' object has no attribute 'qqqq'$"):
        _ = VECTOR.qqqq
    assert not hasattr(VECTOR, "__dict__")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VECTOR.sum(dim=0), "sum has no setting dim: pass `axis`"),
        (lambda: VECTOR.mean(0, keepdim=True), "mean has no setting keepdim: pass `keepdims`"),
        (lambda: VECTOR.max(dim=0), "max has no setting dim: pass `axis`"),
        (lambda: ops.mse_loss(VECTOR, VECTOR, reduction="sum"), "mse_loss has no setting reduction: leave it out"),
        (lambda: ops.l1_loss(VECTOR, VECTOR, reduction="sum"), "l1_loss has no setting reduction: leave it out"),
        (lambda: ops.nll_loss(VECTOR, [0], reduction="sum"), "nll_loss has no setting reduction: leave it out"),
        (
            lambda: ops.softmax_cross_entropy(VECTOR, [0], from_logits=True),
            "softmax_cross_entropy has no setting from_logits: leave it out",
        ),
        (
            lambda: ops.binary_cross_entropy_with_logits(VECTOR, [0], reduction="sum"),
            "binary_cross_entropy_with_logits has no setting reduction: leave it out",
        ),
    ],
)
def test_foreign_arguments_of_functions_of_tensors(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


ARRAY = np.array([3.0, 4.0], np.float32)


@pytest.mark.parametrize(
    "operation",
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.eq, operator.ne,
        operator.lt, operator.le, operator.gt, operator.ge, operator.iadd, operator.imul,
    ],
)  # fmt: skip
@pytest.mark.parametrize("left", [ARRAY, np.float32(3)])
def test_an_array_on_the_left_of_an_operator(operation, left):
    result = operation(copy.copy(left), VECTOR)
    recorded = isinstance(result, Tensor)
    assert recorded == (operation.__name__ not in ("eq", "ne", "lt", "le", "gt", "ge"))
    np.testing.assert_allclose(result.numpy() if recorded else result, operation(left, VECTOR.numpy()))
    assert not recorded or result.creator is not None


def test_a_matrix_on_the_left():
    product = np.eye(2, dtype=np.float32) @ Tensor(np.eye(2, dtype=np.float32), requires_grad=True)
    assert product.creator is not None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: np.exp(x), "np.exp of a tensor would not be recorded: use `x.exp()`, or np.exp(x.numpy())"),
        (lambda x: np.sqrt(x), "use `x ** 0.5`, or np.sqrt(x.numpy())"),
        (lambda x: np.tanh(x), "use `tinycnn.ops.tanh(x)`"),
        (lambda x: np.abs(x), "use `tinycnn.ops.abs(x)`"),
        (lambda x: np.maximum(x, 0), "use `tinycnn.ops.maximum(x, y)`"),
        (lambda x: np.add(x, 1), "use the operators `+`, `-`, `*` and `/`"),
        (lambda x: np.add.reduce(x), "use the operators"),
        (lambda x: np.sin(x), "np.sin of a tensor would not be recorded: use np.sin(x.numpy()), without a gradient"),
    ],
)
def test_functions_of_numpy_would_lose_the_history(call, words):
    for x in (VECTOR, VECTOR.detach()):
        with pytest.raises(TypeError, match=re.escape(words)):
            call(x)


def test_reductions_of_numpy_name_those_that_are_recorded():
    with pytest.raises(
        AutogradError, match=re.escape("np.mean of a tensor that needs a gradient would not be recorded: ")
    ):
        np.mean(VECTOR)
    with pytest.raises(AutogradError, match="not converted to a NumPy array implicitly"):
        np.argmax(VECTOR)
    assert np.mean(VECTOR.detach()) == 1.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: VECTOR.sum().backward(retain_graph=True),
            "backward has no setting retain_graph: leave it out: ",
        ),
        (lambda: (VECTOR * 2).backward(gradient=ARRAY), "backward has no setting gradient: pass `grad`"),
        (lambda: VECTOR.zero_grad(set_to_none=True), "zero_grad has no setting set_to_none: leave it out"),
        (lambda: Tensor([1.0], dtype="float64"), "Tensor has no setting dtype: convert the array first"),
        (lambda: Tensor([1.0], device="cpu"), "Tensor has no setting device: leave it out"),
        (lambda: Tensor(data=[1.0]), "Tensor has no setting data: pass `array`"),
        (lambda: Tensor(), "Tensor needs `array`: Tensor(array)"),
        (lambda: ops.relu(VECTOR, inplace=True), "relu has no setting inplace: leave it out"),
        (lambda: ops.softmax(VECTOR, dim=1), "softmax has no setting dim: leave it out"),
        (lambda: ops.leaky_relu(VECTOR, negative_slope=0.1), "leaky_relu has no setting negative_slope: pass `slope`"),
        (
            lambda: ops.max_pool2d(VECTOR, 2),
            "stride, padding, ceil_mode, as in max_pool2d(x, kernel_size=2)",
        ),
        (lambda: ops.max_pool2d(VECTOR, pool_size=2), "max_pool2d has no setting pool_size: pass `kernel_size`"),
        (lambda: ops.concatenate([VECTOR], dim=0), "concatenate has no setting dim: pass `axis`"),
        (lambda: ops.dense(VECTOR), "dense needs `weight`: dense(x, weight)"),
        (lambda: ops.softmax_cross_entropy(VECTOR), "needs `labels`: softmax_cross_entropy(logits, labels)"),
        (lambda: ops.softmax_cross_entropy(input=VECTOR, target=[0]), "no setting input: pass `logits`"),
        (lambda: optim.cosine(10, eta_min=0.1), "cosine has no setting eta_min: choose from"),
        (lambda: data.load("digits", img_size=32), "load has no setting img_size: did you mean image_size"),
        (lambda: tinycnn.tensor([1.0]), "tinycnn.tensor is a module: use tinycnn.Tensor(array)"),
    ],
)
def test_arguments_of_other_libraries(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


def test_other_type_errors_are_those_of_python():
    call = explained(lambda x: x + None)
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        call(1)
    assert not isinstance(caught.value, UnknownArgumentError)
    assert pickle.loads(pickle.dumps(ops.leaky_relu)) is ops.leaky_relu


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (tinycnn, "EarlyStopping", "use tinycnn.train.EarlyStopping"),
        (tinycnn, "Conv2d", "use tinycnn.layers.Conv2d"),
        (tinycnn, "Adam", "use tinycnn.optim.Adam"),
        (tinycnn, "Dataset", "use tinycnn.data.Dataset"),
        (tinycnn, "Affine", "use tinycnn.data.augment.Affine"),
        (tinycnn, "confusion_matrix", "use tinycnn.metrics.confusion_matrix"),
        (tinycnn, "callbacks", "use tinycnn.train"),
        (tinycnn, "set_seed", "pass `seed` to Sequential and to fit"),
        (tinycnn, "load_data", 'in tinycnn.data, use load("auto")'),
        (tinycnn, "DataLoader", "pass arrays, or any iterable of batches, to fit"),
        (tinycnn.layers, "Adam", "use tinycnn.optim.Adam"),
        (tinycnn.metrics, "accuracy", "use model.evaluate(images, labels).accuracy"),
        (data, "load_folder", 'use load("folder") for a folder'),
        (augment, "RandomFlip", "use FlipAndCrop()"),
        (tinycnn.plots, "plot_history", "use curves(history)"),
        (tinycnn.initializers, "HeNormal", "did you mean he_normal?"),
        (tinycnn.explain, "gradcam", "did you mean grad_cam?"),
    ],
)
def test_names_of_other_libraries_lead_to_what_exists(module, name, words):
    with pytest.raises(AttributeError, match=re.escape(words)):
        getattr(module, name)


def test_a_foreign_name_is_explained_by_an_import_too():
    with pytest.raises(ImportError, match=r"use tinycnn\.train\.EarlyStopping"):
        exec("from tinycnn import EarlyStopping")
    assert not hasattr(tinycnn, "__wrapped__")
    assert not hasattr(tinycnn.metrics, "__all__")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (True, "`early_stopping=True`: expected a positive integer, the number of epochs without an improvement"),
        (False, "leave it out to train all epochs"),
        (train.EarlyStopping(2), "`early_stopping` is a number of epochs: pass an EarlyStopping in `callbacks=[...]`"),
        (0, "`early_stopping=0`: expected a positive integer"),
    ],
)
def test_early_stopping_is_a_number(given, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        network().fit(BYTES, CLASSES, validation=(BYTES, CLASSES), early_stopping=given, **FIT)


# -------------------------------------------------------------------------------------------------------------- layers


def network(*given):
    return Sequential(*(given or (Conv2d(2), Flatten(), Dense(4), Dense(3))), input_shape=(4, 4, 1))


NO_EFFECT = {
    "Sequential.fc = Dense(": lambda model: setattr(model, "fc", Dense(5)),
    "Sequential.dense_2 = Dense(": lambda model: setattr(model, "dense_2", Dense(5)),
    "Sequential.layers = [Dense(": lambda model: setattr(model, "layers", [Dense(5)]),
    "layers['dense_2'] = Dense(": lambda model: model.layers.__setitem__("dense_2", Dense(5)),
    "layers[0] = Dense(": lambda model: model.layers.__setitem__(0, Dense(5)),
}


@pytest.mark.parametrize("words", NO_EFFECT)
def test_layers_that_would_never_be_called(words):
    advice = "would have no effect: a network has the layers that it was created with; create a new Sequential, or call"
    with pytest.raises(SettingError, match=f"^{re.escape(words)}.*{re.escape(advice)} model.with_head"):
        NO_EFFECT[words](network())


def test_the_layers_of_a_network_are_visited_in_order():
    model = network()
    conv, flatten, hidden, last = given = list(model.layers.values())
    assert [type(layer).__name__ for layer in model.layers] == ["Conv2d", "Flatten", "Dense", "Dense"]
    assert [*model.layers] == given
    assert [*reversed(model.layers)] == given[::-1]
    assert model.layers[0] is conv
    assert model.layers[-1] is last is model.layers["dense_2"]
    assert model.layers[1:3] == [flatten, hidden]
    assert hidden in model.layers
    assert "dense_1" in model.layers
    assert Dense(4) not in model.layers
    assert [*model.layers.keys()] == [*dict(model.layers)] == [*model.sublayers()]
    with pytest.raises(AttributeError, match="'append': a network has the layers that it was created with"):
        model.layers.append(Dense(5))
    assert model.sublayers() == {"conv2d_1": conv, "flatten_1": flatten, "dense_1": hidden, "dense_2": last}


def test_layers_of_a_network_can_have_other_names_too():
    class Named(Sequential):
        def __init__(self):
            self.body = Flatten()  # before the network has layers
            super().__init__(self.body, Dense(3), input_shape=(4, 4, 1))
            self.head = self.layers["dense_1"]

    model = copy.deepcopy(Named())
    assert model.head is model.layers["dense_1"]
    assert model.with_head(5).output_shape == (5,)


@pytest.mark.parametrize(
    ("layer", "shape", "noted"),
    [
        (lambda: Conv2d(3, 8), (32, 32, 3), "Conv2d(3, 8) has 3 filters of 8x8 pixels, and infers the channels"),
        (lambda: Conv2d(1, 8), (28, 28, 1), "Conv2d(1, 8) has 1 filter of 8x8 pixels, and infers the channels"),
        (lambda: ConvTranspose2d(3, 16), (4, 4, 3), "ConvTranspose2d(3, 16) has 3 filters of 16x16 pixels"),
        (lambda: Conv2d(8, 3), (32, 32, 3), ""),
        (lambda: Conv2d(1, 5), (28, 28, 1), ""),
        (lambda: Conv2d(3, 4, stride=4), (32, 32, 3), ""),
        (lambda: Conv2d(3, 8, groups=3), (32, 32, 3), ""),
        (lambda: Conv2d(16, 8), (32, 32, 3), ""),
    ],
)
def test_channels_before_filters_are_noted_once(layer, shape, noted, caplog, monkeypatch):
    monkeypatch.setattr("tinycnn.layers.interface.channel_habits._noted", set())
    for _ in range(2):
        Sequential(layer(), input_shape=shape)
    assert [record.message.startswith(f"note: {noted}") for record in caplog.records] == [True] * bool(noted)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Conv2d(1, 8, kernel_size=3), "Conv2d(1, 8, kernel_size=3) gives `kernel_size` twice: the channels"),
        (lambda: Conv2d(1, filters=8), "Conv2d(1, filters=8) gives `filters` twice: the channels of the input are"),
        (
            lambda: ConvTranspose2d(1, 8, kernel_size=3),
            "ConvTranspose2d(1, 8, kernel_size=3) gives `kernel",
        ),
        (lambda: Dense(128, units=10), "Dense(128, units=10) gives `units` twice: the size of the input is inferred"),
        (lambda: Dropout(0.5, p=0.1), "Dropout(0.5, p=0.1) gives `p` twice: pass it once"),
        (lambda: Dense(10, "relu"), "and Dense(10, 'relu') is Dense(10), ReLU()"),
        (lambda: GlobalAvgPool2d(1), "the result is always one pixel: nn.AdaptiveAvgPool2d(1) is GlobalAvgPool2d()"),
        (lambda: GlobalMaxPool2d((1, 1)), "nn.AdaptiveMaxPool2d(1) is GlobalMaxPool2d()"),
        (lambda: VECTOR.sum(0, axis=0), "sum(0, axis=0) gives `axis` twice: pass it once"),
    ],
)
def test_arguments_in_the_order_of_another_library(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


def test_an_activation_is_a_layer():
    words = "Conv2d.activation = 'relu' would have no effect: create a new network with a layer such as ReLU() after"
    model = network()
    with pytest.raises(SettingError, match=re.escape(words)):
        model.layers["conv2d_1"].activation = "relu"


def test_a_layer_is_frozen_by_a_call():
    layer = network().layers["dense_1"]
    with pytest.raises(SettingError, match=r"^Dense.frozen cannot be assigned: call freeze\(\) or unfreeze\(\)$"):
        layer.frozen = True
    with pytest.raises(AttributeError, match=r"use `freeze\(\)` and `unfreeze\(\)`, and `frozen`, the opposite"):
        _ = layer.trainable


def test_a_state_without_any_name_of_the_network_is_not_skipped():
    model = network()
    before, zeros = model.state_dict(), np.zeros((4, 5), np.float32)
    for strict in (True, False):
        with pytest.raises(ShapeError, match=r"no name is known, .*; a state of PyTorch is loaded with tinycnn"):
            model.load_state_dict({"fc.weight": zeros}, strict=strict)
    with pytest.raises(ShapeError, match=r"no name is known, .*got \['other_1.weight'\]$"):
        model.load_state_dict({"other_1.weight": zeros}, strict=False)
    model.load_state_dict({}, strict=False)
    model.load_state_dict({"fc.weight": zeros, "dense_1.bias": before["dense_1.bias"] + 1}, strict=False)
    assert (model.state_dict()["dense_1.bias"] == before["dense_1.bias"] + 1).all()


# -------------------------------------------------------------------------------------------------------------- pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (PIXELS.astype(np.float32), "pixels 0..1: divide them by 255"),
        (PIXELS.astype(np.float64), "pixels 0..1: divide them by 255"),
        (PIXELS.tolist(), "pixels 0..1: divide them by 255"),
        (PIXELS.astype(int) * 16, "expected bytes, 0 to 255"),
        (PIXELS > 100, "images are truth values"),
        (np.where(PIXELS > 240, np.nan, PIXELS / 255), "of 3 images contain NaN or infinity"),
    ],
)
@pytest.mark.parametrize("use", ["__call__", "logits", "forward"])
def test_a_call_refuses_the_arrays_that_predict_refuses(use, given, words):
    model = network()
    with pytest.raises(DataError, match=re.escape(words)):
        getattr(model, use)(given)
    with pytest.raises(DataError):
        model.predict(given)


class OfAnotherLibrary:
    """An array with a dtype that is not one of NumPy, such as a tensor of PyTorch."""

    dtype = "torch.uint8"

    def __array__(self, dtype=None, copy=None):
        return PIXELS


def test_the_arrays_that_both_take_have_the_same_result():
    model = network()
    expected = model.predict(PIXELS)
    for given in (PIXELS, PIXELS.astype(np.int64), PIXELS / 255, OfAnotherLibrary()):
        np.testing.assert_allclose(model(given).numpy(), expected, rtol=1e-5, atol=1e-6)
    model.pixels = "0..255"
    np.testing.assert_array_equal(model(PIXELS.astype(np.float32)).numpy(), model.predict(PIXELS))


def noted(caplog):
    messages = [record.message for record in caplog.records]
    caplog.clear()
    return messages


def test_a_tensor_of_bytes_is_taken_as_it_is_and_noted_once(caplog):
    model, words = network(), "note: a tensor with numbers up to 248 was given to a network that takes pixels 0..1"
    for harmless in (PIXELS / 255, PIXELS / 64 - 1):
        model(Tensor(harmless.astype(np.float32)))
    assert noted(caplog) == []
    as_given = model(Tensor(PIXELS)).numpy()
    assert [one.partition(",")[0] for one in noted(caplog)] == [words]
    model.logits(Tensor(PIXELS))
    assert noted(caplog) == []
    model.pixels = "0..255"
    np.testing.assert_array_equal(as_given, model(PIXELS).numpy())
    other = network()
    other.pixels = "0..255"
    other(Tensor(PIXELS))
    Sequential(Flatten(), Sequential(Dense(3)), input_shape=(4, 4, 1))(PIXELS)
    assert noted(caplog) == []


# ------------------------------------------------------------------------------------------------------------ training

BYTES = np.full((6, 4, 4, 1), 255, np.uint8)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
FIT = {"epochs": 1, "progress": False}


@pytest.mark.parametrize(
    "labels", [np.linspace(0, 0.9, 6)[:, None], np.linspace(0, 0.9, 6), np.ones((6, 1)), np.ones(6), np.arange(6)]
)
def test_numbers_need_the_loss_that_the_network_was_trained_with(labels):
    """No hint to integers: with one output, their loss is 0 and their accuracy 1."""
    model = network(Flatten(), Dense(1))
    with pytest.raises(DataError, match=r'pass `loss="mse_loss"`\.$') as caught:
        model.evaluate(BYTES, labels)
    assert "astype" not in str(caught.value)
    assert model.evaluate(BYTES, labels, loss="mse_loss").loss >= 0


def test_rows_of_numbers_need_another_loss():
    with pytest.raises(DataError, match=r'rows of 3 .*_with_logits"`\. For numbers .*pass `loss="mse_loss"`\.$'):
        network().evaluate(BYTES, np.full((6, 3), 0.5))


@pytest.mark.parametrize(
    ("images", "brightest"),
    [(BYTES // 255, 1), ((BYTES > 0).astype(int), 1), (BYTES // 16, 15), (BYTES, None), (BYTES * 0, None)],
)
def test_integers_that_are_almost_black_after_the_division_by_255(images, brightest, caplog):
    caplog.set_level(logging.WARNING, "tinycnn.train")
    network(Flatten(), Dense(3)).fit(images, CLASSES, **FIT)
    words = f"note: the brightest pixel of all training images is {brightest} of 255, and integers are divided by 255; "
    words += f"if {brightest} is white, pass floats, images / {brightest}"
    assert [record.message for record in caplog.records] == ([words] if brightest else [])


def test_small_integers_are_right_for_a_network_that_takes_bytes(caplog):
    model = network(Flatten(), Dense(3))
    model.pixels = "0..255"
    model.fit(BYTES // 255, CLASSES, **FIT)
    assert not caplog.records


@pytest.mark.parametrize(("momentum", "noted"), [(0.99, True), (0.9, True), (0.1, False), (0.5, False), (1.0, False)])
def test_a_momentum_of_keras_is_noted(momentum, noted, caplog):
    caplog.set_level(logging.WARNING, "tinycnn.train")
    network(BatchNorm(momentum), Flatten(), Dense(3)).fit(BYTES, CLASSES, **FIT)
    words = f"{momentum:g} in Keras is {1 - momentum:.3g} here"
    assert [words in record.message for record in caplog.records] == [True] * noted


def named(function_name, module):
    def metric(labels, outputs):
        raise ValueError("they do not fit")

    metric.__name__, metric.__module__ = function_name, module
    return metric


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            [named("log_loss", "sklearn.metrics._classification")],
            "log_loss(labels, tinycnn.metrics.probabilities(outputs))}",
        ),
        (
            [named("roc_auc_score", "sklearn.metrics._ranking")],
            "probabilities(outputs), multi_class='ovr')} (outputs itself",
        ),
        ([named("mine", "here")], "pass {'mine': lambda labels, outputs: mine(labels, outputs.argmax(axis=1))}"),
        ({"a": lambda labels, outputs: float("x")}, "receives the outputs of the network: outputs.argmax(axis=1) are"),
    ],
)
def test_the_advice_on_a_metric_that_fails(metrics, words):
    with pytest.raises(SettingError, match=re.escape(words)) as caught:
        network(Flatten(), Dense(3)).fit(BYTES, CLASSES, metrics=metrics, validation=(BYTES, CLASSES), **FIT)
    assert "<lambda>" not in str(caught.value)


def test_a_rate_that_follows_from_the_rate_before():
    with pytest.raises(SettingError, match="`rate` takes more than the number of the epoch: the rate must follow"):
        train.LearningRateScheduler(lambda epoch, lr: lr * 0.9)
    for rate in (lambda epoch, factor=0.5: factor, lambda *given: 1, float):
        assert train.LearningRateScheduler(rate).rate is rate


def test_one_hot_rows_have_as_many_columns_as_the_network_has_outputs():
    model, rows = network(Flatten(), Dense(3)), np.eye(10, dtype=int)[CLASSES]
    words = r"one-hot rows \(6, 10\), but the network returns \(M, 3\): end it with Dense\(10\), or pass class numbers"
    for use in (lambda: model.fit(BYTES, rows, **FIT), lambda: model.evaluate(BYTES, rows.tolist())):
        with pytest.raises(DataError, match=words):
            use()
    assert model.evaluate(BYTES, rows[:, :3]).loss > 0
    assert model.evaluate(BYTES, rows.argmax(axis=1)[:, None]).loss > 0


@pytest.mark.parametrize("labels", [CLASSES * 0, (CLASSES * 0)[:, None], np.ones((6, 1), int)])
def test_one_output_and_one_class_is_no_classification(labels):
    words = 'labels are all 0, and the network has 1 output: a loss over one class is always 0; pass `loss="binary_'
    model = network(Flatten(), Dense(1))
    for use in (lambda: model.fit(BYTES, labels, **FIT), lambda: model.evaluate(BYTES, labels)):
        if labels.any():
            with pytest.raises(DataError, match="the network has 1 output"):
                use()
        else:
            with pytest.raises(DataError, match=re.escape(words)):
                use()


def test_one_score_per_image_has_a_loss_of_its_own():
    scores = Tensor(np.zeros((3, 1)))
    words = "for one score per image, call binary_cross_entropy_with_logits(scores, labels[:, None])"
    with pytest.raises(DataError, match=re.escape(words)):
        ops.softmax_cross_entropy(scores, np.array([0, 1, 0]))
    assert ops.binary_cross_entropy_with_logits(scores, np.array([0, 1, 0])[:, None]).item() == pytest.approx(np.log(2))


PAIRS = list(zip(BYTES, CLASSES, strict=True))


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.fit(PAIRS, **FIT),
        lambda model: model.fit(BYTES, CLASSES, validation=PAIRS, **FIT),
        lambda model: model.evaluate(PAIRS),
        lambda model: model.fit(iter(PAIRS), steps_per_epoch=2, **FIT),
    ],
)
def test_pairs_of_one_image_are_no_batches(use):
    words = "each element is one image and its label, where batches are expected: pass two arrays, as in images, labels"
    with pytest.raises(DataError, match=re.escape(words)):
        use(network(Flatten(), Dense(3)))
    images, labels = map(np.stack, zip(*PAIRS, strict=True))
    assert network(Flatten(), Dense(3)).evaluate(images, labels).loss > 0


def test_a_zip_of_two_arrays():
    with pytest.raises(SettingError, match=r"a zip has no length: .*; for two arrays, call fit\(images, labels\)"):
        network(Flatten(), Dense(3)).fit(zip(BYTES, CLASSES, strict=True), **FIT)


def test_validation_takes_a_list_of_batches():
    batches = [(BYTES[:2], CLASSES[:2]), (BYTES[2:], CLASSES[2:])]
    losses = []
    for given in ((BYTES, CLASSES), batches, tuple(batches), [*batches[:1], *batches[1:]]):
        history = network(Flatten(), Dense(3)).fit(BYTES, CLASSES, validation=given, **FIT)
        losses.append(history[-1].validation_loss)
    assert losses == [losses[0]] * 4


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "binary_cross_entropy_with_logits"])
def test_evaluate_needs_the_loss_of_the_training(loss):
    model, labels = network(Flatten(), Dense(1)), CLASSES % 2
    model.fit(BYTES, labels, loss=loss, **FIT)
    words = f'and the network was trained with {loss}: pass `loss="{loss}"` here, too.'
    for use in (lambda: model.evaluate(BYTES, labels), lambda: model.evaluate([(BYTES, labels)])):
        with pytest.raises(DataError, match=re.escape(words) + "$"):
            use()
    with pytest.raises(DataError, match="6 images and 2 labels"):
        model.evaluate(BYTES, labels[:2])
    assert model.evaluate(BYTES, labels, loss=loss).loss >= 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"validation_weight": np.arange(6)}, "`validation_weight` weights validation images: pass `validation="),
        ({"fade": augment.Fade(1, 5)}, "`fade` reduces the strength of an augmentation: pass `augment`, too"),
    ],
)
def test_settings_that_nothing_would_use(settings, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        network(Flatten(), Dense(3)).fit(BYTES, CLASSES, **settings, **FIT)


SIGMOID = "{}sigmoid_1 is the last layer, and softmax_cross_entropy is trained for one class per image"
LIMITS = (
    "relu_1 limits the scores of the last layer with weights: softmax_cross_entropy takes scores of any size, positive"
)


@pytest.mark.parametrize(
    ("layers", "settings", "words"),
    [
        ((Flatten(), Dense(3), ReLU()), {}, LIMITS),
        ((Flatten(), Dense(3), ReLU(), Softmax()), {}, LIMITS),
        ((Flatten(), Dense(3), ReLU(), Dropout(0.1), LogSoftmax()), {}, LIMITS),
        ((Flatten(), Dense(3), Tanh()), {}, "tanh_1 limits the scores"),
        (
            (Flatten(), Dense(3), Softmax(), Softmax()),
            {},
            "softmax_1 is not the last layer, so the loss is computed from",
        ),
        ((Flatten(), Dense(1), ReLU()), {"loss": "mse_loss"}, ""),
        ((Flatten(), Dense(3), Softmax()), {}, ""),
        ((Flatten(), Sequential(Dense(3), Softmax())), {}, ""),
        ((Flatten(), Sequential(Dense(3), ReLU(), Softmax())), {}, "sequential_1.relu_1 limits the scores"),
        ((Flatten(), Sequential(Dense(3), Softmax()), Softmax()), {}, "sequential_1.softmax_1 is not the last layer"),
        ((Flatten(), Dense(4), ReLU(), Dense(3), Sigmoid()), {}, SIGMOID.format("")),
        ((Flatten(), Sequential(Dense(3), Sigmoid())), {}, SIGMOID.format("sequential_1.")),
        ((Flatten(), Dense(1), Sigmoid()), {"loss": "mse_loss"}, ""),
        ((Softmax(),), {}, ""),
    ],
)
def test_a_layer_that_limits_the_scores_of_the_loss(layers, settings, words, caplog, monkeypatch):
    monkeypatch.setattr("tinycnn.ops.losses.probabilities._noted", {"softmax_cross_entropy"})
    images = BYTES if isinstance(layers[0], Flatten) else BYTES.reshape(6, -1)[:, :3]
    model = Sequential(*copy.deepcopy(layers), input_shape=images.shape[1:])
    model.fit(images, CLASSES, **settings, **FIT) if model.parameters() else None
    assert [record.message.startswith(f"note: {words}") for record in caplog.records] == [True] * bool(words)


@pytest.mark.parametrize(
    ("last", "loss", "words"),
    [
        (Softmax(), ops.softmax_cross_entropy, "softmax_cross_entropy was given the result of a softmax"),
        (Sigmoid(), ops.softmax_cross_entropy, "softmax_cross_entropy was given the result of a sigmoid"),
        (Softmax(), ops.nll_loss, "nll_loss was given the result of a softmax; it takes logarithms of probabilities"),
        (Sigmoid(), ops.binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits was given the result of a"),
        (LogSoftmax(), ops.softmax_cross_entropy, ""),
        (LogSoftmax(), ops.nll_loss, ""),
        (LogSoftmax(), ops.binary_cross_entropy_with_logits, "binary_cross_entropy_with_logits was given the resul"),
        (ReLU(), ops.nll_loss, "nll_loss was given numbers above 0; it takes logarithms of probabilities"),
        (Softmax(), ops.mse_loss, ""),
    ],
)
def test_probabilities_in_the_place_of_scores_are_noted_once(last, loss, words, caplog, monkeypatch):
    monkeypatch.setattr("tinycnn.ops.losses.probabilities._noted", set())
    model = network(Flatten(), Dense(3), copy.deepcopy(last))
    labels = np.eye(3)[CLASSES] if loss in (ops.mse_loss, ops.binary_cross_entropy_with_logits) else CLASSES
    for _ in range(2):
        loss(model(BYTES), labels)
        if loss is not ops.nll_loss:
            loss(model.logits(BYTES), labels)
    assert [record.message.startswith(f"note: {words}") for record in caplog.records] == [True] * bool(words)


@pytest.mark.parametrize(
    ("last", "noted"), [((Softmax(),), True), ((), False), ((LogSoftmax(),), False), ((Sigmoid(),), False)]
)
def test_what_predict_returns_has_no_gradient(last, noted, caplog, monkeypatch):
    monkeypatch.setattr("tinycnn.ops.losses.probabilities._noted", set())
    model = network(Flatten(), Dense(3), *copy.deepcopy(last))
    for _ in range(2):
        loss = ops.softmax_cross_entropy(model.predict(BYTES), CLASSES)
        with pytest.raises(
            AutogradError, match=r"requires_grad=False: compute it from model\(images\), not from predict"
        ):
            loss.backward()
    words = "note: softmax_cross_entropy was given probabilities, rows that sum to 1; it takes scores"
    assert [record.message.startswith(words) for record in caplog.records] == [True] * noted


@pytest.mark.parametrize("loss", [ops.softmax_cross_entropy, ops.nll_loss])
def test_predicted_classes_are_no_scores(loss):
    predicted = network(Flatten(), Dense(3)).predict(BYTES).argmax(axis=1)
    with pytest.raises(
        ShapeError, match=r"class numbers have no gradient: pass the scores, as of model.logits\(images\)"
    ):
        loss(predicted, CLASSES)


def test_a_step_without_any_gradient_is_noted_once(caplog):
    model = network(Flatten(), Dense(3))
    optimizer = optim.Adam(model.parameters())
    for _ in range(2):
        ops.softmax_cross_entropy(Tensor(model.predict(BYTES), requires_grad=True), CLASSES).backward()
        optimizer.step()
    words = "note: Adam.step() changed nothing, because none of its parameters has a gradient: call loss.backward()"
    assert [record.message.startswith(words) for record in caplog.records] == [True]
    caplog.clear()
    other = optim.SGD(model.parameters(), 0.1)
    ops.softmax_cross_entropy(model(BYTES), CLASSES).backward()
    model.parameters()[1].zero_grad()
    other.step()
    assert caplog.records == []


# ------------------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize("size", [(32, 32), 32.5, "32", True])
def test_the_size_of_pictures_is_one_number(size, tmp_path):
    with pytest.raises(SettingError, match=r"`image_size=.*: expected 1 to 1024 pixels") as caught:
        data.load(tmp_path, image_size=size)
    assert str(caught.value).endswith("one number: pictures become squares") == isinstance(size, tuple)


def test_a_model_file_needs_no_import(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    tinycnn.save(network(), path)
    assert main(["import", str(path), "--model", str(tmp_path / "other.safetensors")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: this is a model file of tinycnn already")
    path.write_bytes(b"no model")
    assert main(["import", str(path), "--model", str(tmp_path / "other.safetensors")]) == 2
    assert "already" not in capsys.readouterr().err


def test_the_file_to_export_has_one_name(tmp_path, capsys):
    words = "expected one file to write: tinycnn export MODEL_FILE --onnx FILE"
    for given in ([], ["a.onnx", "--onnx", "b.onnx"]):
        assert main(["export", "model.safetensors", *given]) == 2
        assert words in capsys.readouterr().err
    path = tmp_path / "model.safetensors"
    tinycnn.save(network(), path)
    assert main(["export", str(path), str(path)]) == 2  # it goes on, and refuses to replace the model file
    assert f"--onnx {path}: this is the model file itself" in capsys.readouterr().err


def test_a_layer_of_ones_own_says_what_is_trained():
    class MyNet(Layer):
        """A layer that some would train alone, as a module of PyTorch Lightning."""

    for name in ("fit", "evaluate", "predict"):
        with pytest.raises(AttributeError, match=rf"'MyNet' object has no attribute '{name}': use .*`Sequential\("):
            getattr(MyNet(), name)
