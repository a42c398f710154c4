"""A network trains with any loss: its labels, accuracy and evaluation, and its place in the description of a run."""

import math
from functools import partial

import numpy as np
import pytest

from tests.train.test_trainer import sides
from tinycnn import Tensor, ops
from tinycnn.backends import get_backend
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Dense, Flatten, ReLU, Sequential, Sigmoid, Softmax
from tinycnn.optim import Adam
from tinycnn.train.callbacks import EarlyStopping
from tinycnn.train.callbacks.progress_bar import scores_line
from tinycnn.train.capture import reason_not_recordable
from tinycnn.train.checkpoint import Checkpoints
from tinycnn.train.evaluation import Scores, evaluate, predict_logits, scores_of
from tinycnn.train.objective import CLASSIFICATION, LOSSES, objective
from tinycnn.train.step import TrainingStep
from tinycnn.train.trainer import Trainer
from tinycnn.train.validation import network_outputs


def network(*last, outputs=2):
    layers = Flatten(), Dense(8), ReLU(), Dense(outputs), *last
    return Sequential(*layers, input_shape=(8, 8, 1), seed=0)


def trainer_of(loss, *last, outputs=2, **settings):
    model = network(*last, outputs=outputs)
    return Trainer(model, Adam(model.parameters(), lr=0.01), batch_size=16, loss=loss, **settings)


def brightness(images):
    """The mean of the left and of the right half, as a target of regression, from 0 to 1."""
    halves = [images[:, :, :4], images[:, :, 4:]]
    return np.stack([half.mean(axis=(1, 2, 3)) for half in halves], axis=1).astype(np.float32) / 255


def many_labels(images):
    """Two yes-or-no labels: is the left half bright, and is the right half dark?"""
    left, right = brightness(images).T > 0.4
    return np.stack([left, ~right], axis=1)


@pytest.mark.usefixtures("backend")
def test_several_labels():
    (images, _), (more, _) = sides(200), sides(100, seed=1)
    trainer = trainer_of("binary_cross_entropy_with_logits")
    list(trainer.fit(images, many_labels(images), epochs=8, validation=(more, many_labels(more).astype(float))))
    last = trainer.history[-1]
    assert last.train_loss < 0.5 * trainer.history[0].train_loss
    assert last.train_accuracy > 0.9
    assert last.validation_accuracy > 0.95
    scores = evaluate(trainer.model, more, many_labels(more), loss="binary_cross_entropy_with_logits")
    assert scores.loss == pytest.approx(last.validation_loss)
    assert scores.accuracy == last.validation_accuracy


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss"])
def test_numbers_have_no_accuracy(loss):
    images = sides(200)[0]
    trainer = trainer_of(loss)
    list(trainer.fit(images, brightness(images), epochs=8, validation=(images, brightness(images))))
    first, last = trainer.history[0], trainer.history[-1]
    assert last.train_loss < 0.5 * first.train_loss
    assert math.isnan(last.train_accuracy)
    assert math.isnan(last.validation_accuracy)
    assert last.validation_loss == pytest.approx(evaluate(trainer.model, images, brightness(images), loss=loss).loss)
    assert scores_line(last) == f"loss {last.train_loss:.4f}, validation loss {last.validation_loss:.4f}"
    assert [name for name in trainer.columns if "accuracy" in name] == []
    data = {"validation": (images, brightness(images)), "callbacks": [EarlyStopping(2, monitor="validation_accuracy")]}
    with pytest.raises(SettingError, match="monitors 'validation_accuracy', but this run records epoch, train_loss"):
        trainer.fit(images, brightness(images), epochs=9, **data)


def test_a_loss_of_your_own_gets_the_outputs_and_any_labels():
    """Also one without a name; integers (M,) count as classes."""
    (images, labels), given = sides(64), []

    def own(outputs, labels):
        given.append((outputs, labels))
        return ops.nll_loss(outputs.log(), labels)

    trainer = trainer_of(own, Softmax())
    list(trainer.fit(images, labels, epochs=6, validation=(images, labels)))
    outputs, seen = given[0]
    np.testing.assert_allclose(outputs.numpy().sum(axis=1), 1, rtol=1e-5)  # the network's outputs, after its softmax
    assert seen.shape == (16,)
    same = trainer_of("softmax_cross_entropy", Softmax())
    list(same.fit(images, labels, epochs=6, validation=(images, labels)))
    assert trainer.history[-1].validation_loss == pytest.approx(same.history[-1].validation_loss, rel=1e-4)
    assert trainer.history[-1].validation_accuracy == same.history[-1].validation_accuracy
    pairs = trainer_of(lambda outputs, labels: ((outputs - Tensor(labels[:, 0])) ** 2).mean())
    list(pairs.fit(images, np.stack([brightness(images)] * 2, axis=1), epochs=1))
    assert math.isnan(pairs.history[0].train_accuracy)


def test_a_loss_with_settings_is_the_loss_with_these_settings():
    logits, labels = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 1, 1, 0, 1, 1])
    purpose = objective(partial(ops.softmax_cross_entropy, class_weights=np.array([1.0, 3.0])))
    assert purpose.name == "softmax_cross_entropy(class_weights=[1.0, 3.0])"
    loss = TrainingStep(None, None, loss=purpose).loss(Tensor(logits), labels)
    assert loss.item() == pytest.approx(ops.softmax_cross_entropy(Tensor(logits), labels, [1, 3]).item())
    scores = scores_of(logits, labels, purpose=purpose)
    assert scores == Scores(pytest.approx(loss.item()), float((logits.argmax(axis=1) == labels).mean()))


def test_a_final_sigmoid_is_part_of_the_loss():
    """The same weights and history as without it; the outputs are probabilities."""
    images = sides(64)[0]
    with_it, without = trainer_of(BCE, Sigmoid()), trainer_of(BCE)
    for trainer in (with_it, without):
        trainer.fit(images, many_labels(images), epochs=2, validation=(images, many_labels(images)))
    assert with_it.history.column("validation_loss") == without.history.column("validation_loss")
    assert with_it.history.column("validation_accuracy") == without.history.column("validation_accuracy")
    logits = predict_logits(with_it.model, images)
    np.testing.assert_allclose(network_outputs(with_it.model, images), 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_the_accuracy_of_several_labels_by_hand(any_backend):
    logits = np.array([[2.0, -1.0, 3.0], [-1.0, -1.0, 1.0]])
    targets = np.array([[1, 0, 0], [1, 1, 1]])
    purpose = LOSSES["binary_cross_entropy_with_logits"]
    assert float(purpose.count_right(*map(any_backend.asarray, (logits, targets)))) == pytest.approx(2 / 3 + 1 / 3)
    assert scores_of(logits, targets, purpose=purpose).accuracy == 0.5
    assert scores_of(logits, targets, np.array([2, 0]), purpose).accuracy == pytest.approx(2 / 3)
    assert float(purpose.count_right(*map(any_backend.asarray, (logits[:0], targets[:0])))) == 0


def test_weights_of_images_with_each_loss():
    images, labels = sides(48)
    kinds = {"mse_loss": brightness(images), "binary_cross_entropy_with_logits": many_labels(images)}
    for loss, targets in (kinds | {"softmax_cross_entropy": labels}).items():
        half = np.arange(48) % 2 * 2.0
        weighted, alone = trainer_of(loss), trainer_of(loss)
        for trainer in (weighted, alone):
            trainer.batch_size = 48
        list(weighted.fit(images, targets, epochs=1, sample_weight=half))
        list(alone.fit(images[1::2], targets[1::2], epochs=1))
        assert weighted.history[0].train_loss == pytest.approx(alone.history[0].train_loss, rel=1e-5)
        by_weight = evaluate(weighted.model, images, targets, half, loss=loss)
        of_half = evaluate(weighted.model, images[1::2], targets[1::2], loss=loss)
        assert (by_weight.loss, by_weight.accuracy) == pytest.approx((of_half.loss, of_half.accuracy), nan_ok=True)


def test_a_run_is_resumed_with_its_loss(tmp_path):
    images = sides(48)[0]

    def fit(loss, **settings):
        trainer = trainer_of(loss)
        checkpoints = Checkpoints(tmp_path, every=2, **settings)
        list(trainer.fit(images, brightness(images), epochs=2 if settings else 1, checkpoints=checkpoints))
        return trainer

    whole = trainer_of("l1_loss")
    list(whole.fit(images, brightness(images), epochs=2))
    fit("l1_loss")
    with pytest.raises(SettingError, match="loss l1_loss there, mse_loss here"):
        fit("mse_loss", resume=True)
    resumed = fit("l1_loss", resume=True)
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()
    assert [r.train_loss for r in resumed.history] == [r.train_loss for r in whole.history]


def test_a_recorded_step_says_why_it_runs_eagerly():
    trainer = trainer_of("mse_loss")
    assert reason_not_recordable(trainer.training_step, np.zeros(3)).startswith("the loss is mse_loss, and a recorded")
    assert reason_not_recordable(trainer_of("softmax_cross_entropy").training_step, np.zeros(3)) == ""
    named = trainer_of(ops.softmax_cross_entropy)
    assert named.objective is CLASSIFICATION


IMAGES = sides(4)[0]
BCE = "binary_cross_entropy_with_logits"
WRONG = {
    "name": (lambda: trainer_of("hinge"), SettingError, "`loss` is 'hinge': expected one of softmax_cross_entropy"),
    "number": (lambda: trainer_of(3), SettingError, "`loss` is 3: expected"),
    "smoothing": (lambda: trainer_of(BCE, label_smoothing=0.1), SettingError, "`label_smoothing` is for softmax_cross"),
    "one-hot": (lambda: fit_on("softmax_cross_entropy", np.eye(2)[[0, 1, 0, 1]] / 2), DataError, "not one-hot"),
    "names": (lambda: fit_on("softmax_cross_entropy", np.array(list("abab"))), DataError, "np.unique"),
    "floats": (lambda: fit_on("softmax_cross_entropy", np.ones(4)), DataError, r"Pass labels.astype\(int\)"),
    "one output": (
        lambda: Sequential(Flatten(), Dense(1), input_shape=IMAGES.shape[1:]).fit(IMAGES, [0, 1, 0, 1], epochs=1),
        DataError, "the network has 1 output, for the classes 0 to 0: pass .loss=.binary",
    ),
    "classes": (lambda: fit_on(BCE, np.array([0, 1, 0, 1])), DataError, r"expects \(M, 2\)"),
    "above 1": (lambda: fit_on(BCE, np.full((4, 2), 3)), DataError, "labels range from 3 to 3: .* expects 0 to 1"),
    "NaN": (lambda: fit_on("mse_loss", np.full((4, 2), np.nan)), DataError, "expected finite numbers"),
    "words": (lambda: fit_on("mse_loss", np.full((4, 2), "a")), DataError, "expected numbers"),
    "own words": (lambda: fit_on(lambda x, t: x.sum(), np.full(4, "a")), DataError, "expected numbers"),
    "count": (lambda: fit_on("mse_loss", np.ones((3, 2))), DataError, "4 images and 3 labels"),
    "weights": (
        lambda: fit_on(lambda x, t: x.sum(), np.ones(4), sample_weight=[1, 2, 3, 4]), SettingError,
        "`sample_weight` needs a loss with an argument `weights`, which .*lambda",
    ),
}  # fmt: skip


def fit_on(loss, labels, **settings):
    return list(trainer_of(loss).fit(IMAGES, labels, epochs=1, **settings))


@pytest.mark.parametrize(("call", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_losses_and_labels(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("loss", [BCE, "mse_loss"])
def test_labels_of_one_output_need_no_second_axis(loss):
    """As people have them who know Keras; the same training as with the axis."""
    histories = []
    for labels in ([0, 1, 0, 1], np.array([[0], [1], [0], [1]])):
        model = Sequential(Flatten(), Dense(1), Sigmoid(), input_shape=IMAGES.shape[1:])
        model.fit(IMAGES, labels, epochs=2, loss=loss, validation=(IMAGES, labels), progress=False)
        histories.append((model.evaluate(IMAGES, labels, loss=loss).loss, model.state_dict()["dense_1.weight"]))
    assert histories[0][0] == histories[1][0]
    np.testing.assert_array_equal(histories[0][1], histories[1][1])


def test_names_of_losses_are_those_of_the_operations():
    assert all(getattr(ops, name) is purpose.loss for name, purpose in LOSSES.items())
    assert get_backend().name == "numpy"
