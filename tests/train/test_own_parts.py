"""Losses, labels, layers and optimizers of one's own that are slightly wrong: each is named, with what to write."""

import copy
import logging
import re

import numpy as np
import pytest

import tinycnn
from tinycnn import ops, optim
from tinycnn.errors import DataError, DtypeError, SettingError, ShapeError
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Layer,
    LogSoftmax,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
)
from tinycnn.train import Trainer
from tinycnn.train.evaluation import evaluate

rng = np.random.default_rng(0)
IMAGES = rng.random((24, 2, 2, 1)).astype(np.float32)
CLASSES = rng.integers(0, 3, 24)
ROWS = np.eye(3)[CLASSES] * 0.9 + 0.1 / 3  # float64, as mixup and label smoothing make them
TARGETS = IMAGES.mean(axis=(1, 2, 3))
FIT = {"epochs": 2, "lr": 0.1, "batch_size": 8, "progress": False}


@pytest.fixture(autouse=True)
def numpy_backend():
    with tinycnn.use_backend("numpy"):
        yield


def network(*last, outputs=3, **settings):
    return Sequential(Flatten(), Dense(outputs), *last, input_shape=(2, 2, 1), **settings)


def squared(outputs, labels):
    return ((outputs[:, 0] - labels) ** 2).mean()


# -------------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("targets", [TARGETS, TARGETS.astype(np.float64), (TARGETS * 9).astype(int)])
def test_a_loss_of_your_own_gets_labels_in_the_dtype_of_the_network(targets):
    own, named = network(outputs=1), network(outputs=1)
    history = own.fit(IMAGES, targets, loss=squared, validation=(IMAGES, targets), **FIT)
    expected = named.fit(IMAGES, targets, loss="mse_loss", validation=(IMAGES, targets), **FIT)
    assert history["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-5)
    assert history["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (lambda o, y: ((o - y) ** 2).mean(), TARGETS),
        (lambda o, y: (2 * (y - o * 1.0)).exp().sum(), TARGETS),
        (squared, TARGETS[:, None]),
    ],
)
def test_labels_and_outputs_are_not_combined_in_all_pairs(loss, targets):
    words = r"the loss .* combines \(8, 1\) with \(8,\), which gives \(8, 8\), all pairs: give both one shape"
    with pytest.raises(ShapeError, match=words):
        network(outputs=1).fit(IMAGES, targets, loss=loss, **FIT)
    with pytest.raises(ShapeError, match=words.replace("8", "24")):
        network(outputs=1).evaluate(IMAGES, targets, loss=loss)


def test_pairs_of_outputs_and_labels_of_the_right_shape_are_a_loss():
    def ranking(outputs, labels):  # every pair of outputs, on purpose
        return (outputs - outputs[:, 0]).exp().mean() + squared(outputs, labels)

    assert np.isfinite(network(outputs=1).fit(IMAGES, TARGETS, loss=ranking, **FIT)["train_loss"]).all()
    by_class = np.ones(3, np.float32)
    weighted = network().fit(IMAGES, CLASSES, loss=lambda o, y: ((o - by_class) ** 2).mean(), **FIT)
    assert np.isfinite(weighted["train_loss"]).all()


IN_TENSORS = "compute it with tinycnn.ops and the operators of Tensor; .numpy() and .item() end the graph"


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (lambda o, y: 3.0, SettingError, f"returned 3.0: expected a Tensor (); {IN_TENSORS}"),
        (lambda o, y: ops.softmax_cross_entropy(o, y).numpy(), SettingError, "returned array("),
        (lambda o, y: None, SettingError, "returned None: expected a Tensor ()"),
        (
            lambda o, y: (o * o).mean(axis=1),
            ShapeError,
            "returned shape (8,): expected the mean over the batch, .mean(",
        ),
        (lambda o, y: tinycnn.Tensor(1.0), SettingError, "does not depend on the outputs, so nothing is learned: comp"),
        (lambda o: o.mean(), SettingError, "`loss` is <lambda>(o): a loss is a function (outputs, labels) → Tensor"),
        (lambda y, o: ops.softmax_cross_entropy(o, y), ShapeError, "is the order (scores, labels)?"),
    ],
)
def test_a_loss_that_is_none(loss, error, words):
    with pytest.raises(error, match=re.escape(words)):
        network().fit(IMAGES, CLASSES, loss=loss, **FIT)


def test_a_loss_of_a_class_of_your_own_is_trained():
    class Focal:
        def __call__(self, outputs, labels):
            return ops.softmax_cross_entropy(outputs, labels)

    history = network().fit(IMAGES, CLASSES, loss=Focal(), **FIT)
    assert history["train_loss"] == pytest.approx(network().fit(IMAGES, CLASSES, **FIT)["train_loss"], rel=1e-6)


@pytest.mark.parametrize("last", [Softmax(), LogSoftmax()])
@pytest.mark.parametrize("use", ["fit", "evaluate"])
def test_several_labels_are_not_one_choice(last, use):
    model, settings = network(last), FIT if use == "fit" else {}
    words = f"the network ends with {type(last).__name__}, whose probabilities sum to 1, and binary_cross_entropy_with_"
    inner = Sequential(Flatten(), Sequential(Dense(3), copy.deepcopy(last)), input_shape=(2, 2, 1))
    for one in (model, inner):
        with pytest.raises(SettingError, match=f"{words}.* end it with Sigmoid"):
            getattr(one, use)(IMAGES, np.eye(3)[CLASSES], loss="binary_cross_entropy_with_logits", **settings)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", lambda outputs, labels: ((outputs - labels) ** 2).mean()])
def test_what_is_stated_follows_from_the_last_layer_of_the_last_network(loss):
    for last in ((Dense(3), Sigmoid()), (Sequential(Dense(3), Sigmoid()),)):
        model = Sequential(Flatten(), *last, input_shape=(2, 2, 1))
        model.fit(IMAGES, np.eye(3)[CLASSES], loss=loss, **FIT)
        assert model.outputs == "labels"
    model = Sequential(Flatten(), Sequential(Dense(3), Softmax()), input_shape=(2, 2, 1))
    model.fit(IMAGES, np.eye(3)[CLASSES], loss=loss, **FIT)
    assert model.outputs == "classes"


# -------------------------------------------------------------------------------------------------------------- labels


def test_rows_of_probabilities_are_labels():
    """They are the targets that label smoothing makes, so both train the same network."""
    model, smoothed = network(), network()
    history = model.fit(IMAGES, ROWS, validation=(IMAGES, ROWS), **FIT)
    expected = smoothed.fit(IMAGES, CLASSES, label_smoothing=0.1, **FIT)
    assert history["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-6)
    assert history["train_accuracy"] == expected["train_accuracy"]
    loss, accuracy = model.evaluate(IMAGES, ROWS)
    assert history["validation_loss"][-1] == loss
    assert loss == pytest.approx(ops.softmax_cross_entropy(model(IMAGES), ROWS).item(), rel=1e-6)
    assert accuracy == model.evaluate(IMAGES, CLASSES).accuracy == np.mean(model.predict(IMAGES).argmax(1) == CLASSES)


def test_rows_of_probabilities_in_some_batches():
    batches = [(IMAGES[:8], ROWS[:8]), (IMAGES[8:], CLASSES[8:])]
    model = network()
    model.fit(batches, epochs=1, progress=False, validation=batches)
    first, second = (model.evaluate(*batch) for batch in batches)
    assert model.evaluate(batches).loss == pytest.approx((8 * first.loss + 16 * second.loss) / 24, rel=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_steps_with_rows_are_not_recorded(backend, caplog):
    caplog.set_level(logging.INFO)
    with tinycnn.use_backend(backend):
        model = network()
        history = model.fit(IMAGES, ROWS, **FIT)
        expected = network().fit(IMAGES, ROWS.astype(np.float32), **FIT)
    assert history["train_loss"] == expected["train_loss"]
    words = [record.message for record in caplog.records if "rows of probabilities" in record.message]
    assert len(words) == 2 * (backend == "numba")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS * 2, "rows of 3 that are not one-hot .* Probabilities sum to 1 in each row"),
        (ROWS - np.array([1, 0, -1]), "Probabilities sum to 1"),
        (np.full((24, 3), np.nan), "not one-hot"),
        (
            np.hstack([ROWS / 2, ROWS / 2]),
            r"float64 \(24, 6\), but the network returns \(M, 3\): end it with Dense\(6\)",
        ),
    ],
)
def test_rows_that_are_no_labels(rows, words):
    with pytest.raises(DataError, match=words):
        evaluate(network(), IMAGES, rows)


# ---------------------------------------------------------------------------------------------------------- optimizers


class Unrelated:
    def step(self):
        """As an optimizer of PyTorch has it."""


class Uncounted(optim.Optimizer):
    def step(self):
        for p in self.parameters:
            p.data -= self.lr * p.grad


class Counted(Uncounted):
    def step(self):
        super().step()
        self.count_step()


OWN_OPTIMIZER = r"derive an optimizer of your own from tinycnn.optim.Optimizer, with the method update\("


@pytest.mark.parametrize(
    "use", [lambda m, o: m.fit(IMAGES, CLASSES, optimizer=o), lambda m, o: Trainer(m, o, batch_size=8)]
)
def test_an_optimizer_without_the_base_class(use):
    with pytest.raises(SettingError, match=OWN_OPTIMIZER):
        use(network(), Unrelated())
    with pytest.raises(SettingError) as error:
        use(network(), 3)
    assert "derive" not in str(error.value)


def test_a_step_of_ones_own_is_counted():
    """Otherwise the schedule would stay at its first rate."""
    settings = {"epochs": 2, "batch_size": 8, "progress": False}
    model = network()
    with pytest.raises(
        SettingError, match=r"Uncounted.step does not count steps: call self.count_step\(\) in it, or der"
    ):
        model.fit(IMAGES, CLASSES, optimizer=Uncounted(model.parameters(), lr=0.1), **settings)
    own, known = network(), network()
    for model, kind in ((own, Counted), (known, optim.SGD)):
        model.fit(IMAGES, CLASSES, optimizer=kind(model.parameters(), lr=0.1, schedule=optim.linear(6)), **settings)
    np.testing.assert_allclose(own.predict(IMAGES), known.predict(IMAGES), rtol=1e-5)


# -------------------------------------------------------------------------------------------------------------- layers


class Built(Layer):
    returned = None

    def build(self, input_shape, rng, dtype):
        return self.returned

    def forward(self, x):
        return x


class Returning(Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("shape", [None, 4, (None, 4), (), (0,), "4"])
def test_the_shape_that_build_returns(shape, monkeypatch):
    monkeypatch.setattr(Built, "returned", shape)
    with pytest.raises(SettingError, match=r"Built.build returned .*: expected the shape of its output without N"):
        Sequential(Flatten(), Built(), Dense(2), input_shape=(2, 2, 1))
    monkeypatch.setattr(Built, "returned", [np.int64(4)])
    assert Sequential(Flatten(), Built(), Dense(2), input_shape=(2, 2, 1)).layers[1].output_shape == (4,)


USES = {
    "a call": lambda model: model(IMAGES),
    "the logits": lambda model: model.logits(tinycnn.Tensor(IMAGES)),
    "predict": lambda model: model.predict(IMAGES),
    "evaluate": lambda model: model.evaluate(IMAGES, CLASSES),
    "fit": lambda model: model.fit(IMAGES, CLASSES, **FIT),
    "a loop of ones own": lambda model: ops.softmax_cross_entropy(model(IMAGES), CLASSES).backward(),
}
TRAINING = ["a call", "the logits", "fit", "a loop of ones own"]


class Around(Layer):
    def __init__(self, inner, forgets=False):
        super().__init__()
        self.inner, self.forgets = inner, forgets

    def forward(self, x):
        y = self.inner(x)
        return None if self.forgets else y


PLACES = {
    "the first": lambda layer: Sequential(layer, Flatten(), Dense(3), input_shape=(2, 2, 1)),
    "the last": lambda layer: network(layer),
    "the last of the last": lambda layer: Sequential(Flatten(), Sequential(Dense(3), layer), input_shape=(2, 2, 1)),
    "in a branch": lambda layer: network(Residual(layer)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("place", PLACES)
def test_a_forgotten_return_is_named_wherever_the_layer_is_called(place, use):
    model = PLACES[place](Returning(lambda x: None))
    with pytest.raises(
        SettingError, match=r"^Returning.forward returned None, expected a Tensor: end it with `return`"
    ):
        USES[use](model)


@pytest.mark.parametrize("around", [Around(Returning(lambda x: None)), Around(Dense(3), forgets=True)])
def test_a_forgotten_return_is_named_while_the_layers_are_built(around):
    with pytest.raises(SettingError, match="forward returned None, expected a Tensor: end it with `return`"):
        network(around)


@pytest.mark.parametrize("returned", [lambda x: [x], lambda x: (x, x), lambda x: 1.0])
def test_a_layer_returns_one_tensor(returned):
    with pytest.raises(
        SettingError, match=r"Returning.forward returned .*, expected a Tensor: compute it with tinycnn"
    ):
        network(Returning(returned))(IMAGES)


def test_a_function_without_return_is_named():
    with pytest.raises(DtypeError, match="got NoneType: a function without `return` returns None"):
        tinycnn.Tensor(None)


@pytest.mark.parametrize("use", TRAINING)
def test_an_array_that_would_end_the_graph(use):
    words = "Returning.forward returned an array, expected a Tensor, because no gradient would reach the layers before"
    for last in ([], [Dense(3)]):
        with pytest.raises(SettingError, match=words):
            USES[use](network(Returning(lambda x: x.numpy() * 2), *last))


def test_an_array_is_a_tensor_where_no_gradient_is_needed():
    """The network was trained with the layers before frozen, or the layer prepares the images."""
    doubled = network(Returning(lambda x: x.numpy() * 2))
    plain = network(state=doubled.state_dict())
    np.testing.assert_array_equal(doubled.predict(IMAGES), 2 * plain.predict(IMAGES))
    first = Sequential(Returning(lambda x: x.numpy() * 2), Flatten(), Dense(3), input_shape=(2, 2, 1))
    assert isinstance(first(IMAGES), tinycnn.Tensor)
    before = first.state_dict()["dense_1.weight"]
    first.fit(IMAGES, CLASSES, **FIT)
    assert (first.state_dict()["dense_1.weight"] != before).any()


def test_a_last_layer_whose_forward_ends_the_graph():
    words = "no parameter of the network has a gradient: if the forward of returning_1 ends the graph, compute it with"
    with pytest.raises(SettingError, match=words):
        network(Returning(lambda x: tinycnn.Tensor(x.numpy() * 2))).fit(IMAGES, CLASSES, **FIT)


def test_parameters_that_no_gradient_reaches_are_noted_once(caplog):
    network(Returning(lambda x: tinycnn.Tensor(x.numpy() * 2)), Dense(3)).fit(IMAGES, CLASSES, **FIT)
    words = (
        "note: no gradient reached dense_1.weight, dense_1.bias in the first step: if the forward of returning_1 ends"
    )
    assert [record.message.startswith(words) for record in caplog.records] == [True]


def test_frozen_parameters_and_a_layer_that_is_right_are_not_noted(caplog):
    model = network(Returning(lambda x: x * 2), Dense(3))
    optimizer = optim.Adam(model.parameters())
    model.layers[1].freeze()
    model.fit(IMAGES, CLASSES, optimizer=optimizer, epochs=1, progress=False)
    assert caplog.records == []


def test_a_layer_that_cannot_be_saved_is_noted_before_it_is_trained(caplog):
    """Only `save` said so, after the training."""
    model = network(Returning(lambda x: x * 2), Dense(3))
    with caplog.at_level(logging.INFO, "tinycnn.train"):
        model.fit(IMAGES, CLASSES, **FIT)
        model.fit(IMAGES, CLASSES, **FIT)
        network().fit(IMAGES, CLASSES, **FIT)
        Sequential(network(), input_shape=(2, 2, 1)).fit(IMAGES, CLASSES, **FIT)
    words = "tinycnn.save will refuse Returning: put @tinycnn.layers.register_layer above the class, so that load can"
    assert [words in record.getMessage() for record in caplog.records if "save" in record.getMessage()] == [True]
    with pytest.raises(SettingError, match="save: Returning is not a registered layer"):
        tinycnn.saving.model_file.to_bytes(model)


def test_an_error_of_a_layer_of_your_own_stays_as_it_is():
    with pytest.raises(ZeroDivisionError):
        network(Returning(lambda x: 1 / 0)).fit(IMAGES, CLASSES, **FIT)


def test_the_same_layer_twice_is_named():
    twice = Flatten()
    words = (
        r"Sequential takes no layer twice, and the same Flatten\(\) is in layers 2 and 3: create another one for each"
    )
    with pytest.raises(SettingError, match=words):
        Sequential(Dense(4), twice, Sequential(twice))
    with pytest.raises(SettingError, match="at least one layer, such as"):
        Sequential()


@pytest.mark.parametrize(("images", "size"), [(24, 1), (1, 8)])
def test_batch_norm_of_one_number_per_channel(images, size):
    model = network(BatchNorm())
    settings = FIT | {"batch_size": size}
    words = "batchnorm_1 normalises each channel over the batch, and `batch_size` 1 leaves one number"
    with pytest.raises(SettingError, match=words):
        model.fit(IMAGES[:images], CLASSES[:images], **settings)
    model.layers[-1].freeze()
    model.fit(IMAGES[:images], CLASSES[:images], **settings)  # with its running statistics
    of_images = Sequential(BatchNorm(), Flatten(), Dense(3), input_shape=(2, 2, 1))
    of_images.fit(IMAGES[:images], CLASSES[:images], **settings)  # four numbers per channel


@pytest.fixture
def nothing_noted(monkeypatch):
    monkeypatch.setattr("tinycnn.layers.interface.one_number._noted", set())


ONE_IMAGE = {
    "a loop of ones own": lambda model: ops.softmax_cross_entropy(model(IMAGES[:1]), CLASSES[:1]).backward(),
    "batches": lambda model: model.fit([(IMAGES[:4], CLASSES[:4]), (IMAGES[:1], CLASSES[:1])], progress=False),
}


@pytest.mark.parametrize("use", ONE_IMAGE)
def test_batch_norm_of_one_number_is_noted_once(use, caplog, nothing_noted):
    words = "note: BatchNorm was given a batch with one number for each channel, whose deviation is 0"
    for norms in ([BatchNorm()], [BatchNorm(), Dense(3), BatchNorm()]):
        ONE_IMAGE[use](network(*norms))
    assert [record.message.startswith(words) for record in caplog.records] == [True]


def test_batch_norm_of_one_number_is_noted_where_it_is_fused(caplog, nothing_noted):
    pytest.importorskip("numba", reason="the kernels need: pip install numba")
    with tinycnn.use_backend("numba"):
        model = Sequential(Conv2d(2, 2), ReLU(), BatchNorm(), input_shape=(2, 2, 1))
        assert len(model._steps()) == 1
        model(IMAGES[:2])
        assert caplog.records == []
        model(IMAGES[:1])
    assert len(caplog.records) == 1


@pytest.mark.parametrize("use", [lambda model: model.eval()(IMAGES[:1]), lambda model: model.predict(IMAGES[:1])])
def test_batch_norm_of_one_number_is_right_in_evaluation(use, caplog, nothing_noted):
    use(network(BatchNorm()))
    of_images = Sequential(BatchNorm(), input_shape=(2, 2, 1))
    of_images(IMAGES[:1])  # four numbers
    assert caplog.records == []


def test_a_last_batch_of_one_image_is_noted(caplog, nothing_noted):
    network(BatchNorm()).fit(IMAGES[:17], CLASSES[:17], **FIT)
    words = "note: the last batch of an epoch has one image, from which batchnorm_1 learns nothing"
    assert [record.message.startswith(words) for record in caplog.records] == [True]
