"""``model.fit``, ``model.evaluate`` and ``model.predict`` are short for a trainer and the functions of evaluation."""

import inspect
import re

import numpy as np
import pytest

import tinycnn
from tests.train.test_fit_data import Loader, Tensor
from tests.train.test_trainer import sides
from tinycnn import optim
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Dense, Flatten, Sequential, Softmax
from tinycnn.layers.interface.fitting import ELSEWHERE
from tinycnn.metrics import probabilities
from tinycnn.optim import SGD, Adam
from tinycnn.other_names.tables import INSTEAD
from tinycnn.train import Trainer, evaluate, predict_logits
from tinycnn.train.history import History
from tinycnn.train.one_call import OF_FIT, OF_TRAINER

IMAGES, LABELS = sides(40)


def network():
    return Sequential(Flatten(), Dense(2), Softmax(), input_shape=(8, 8, 1))


def weights(model):
    return [array.tobytes() for array in model.state_dict().values()]


def test_fit_is_a_trainer_with_defaults(capsys):
    model, other = network(), network()
    history = model.fit(IMAGES, LABELS, epochs=2, validation_split=0.25, label_smoothing=0.1)
    trainer = Trainer(other, Adam(other.parameters(), lr=0.001), batch_size=32, label_smoothing=0.1)
    expected = trainer.fit(IMAGES, LABELS, epochs=2, validation_split=0.25)
    assert isinstance(history, History)
    assert history.column("validation_loss") == expected.column("validation_loss")
    assert weights(model) == weights(other)
    assert "epoch 2/2: loss " in capsys.readouterr().out


def test_another_call_trains_more_epochs():
    model, other = network(), network()
    for _ in range(2):
        model.fit(IMAGES, LABELS, optimizer="sgd", lr=0.1, progress=False)
    for _ in range(2):
        Trainer(other, SGD(other.parameters(), 0.1), batch_size=32).fit(IMAGES, LABELS, epochs=1)
    assert weights(model) == weights(other)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"epochs": 3}, 6),  # 40 images in batches of 32
        ({"epochs": 3, "batch_size": 8, "validation_split": 0.25}, 12),
        ({"epochs": 2, "optimizer": "sgd"}, 4),
    ],
)
def test_a_schedule_by_name_reaches_over_the_whole_run(settings, steps, capsys):
    history = network().fit(IMAGES, LABELS, schedule="cosine", lr=0.1, progress=False, **settings)
    assert history[-1].learning_rate == pytest.approx(0.1 * optim.cosine(steps)(steps - 1))
    named = network().fit(Loader(), schedule="one_cycle", epochs=2, lr=0.1, progress=False)
    assert named[-1].learning_rate == pytest.approx(0.1 * optim.one_cycle(6)(5))
    own = network().fit(IMAGES, LABELS, schedule=lambda step: 0.5, lr=0.1, progress=False)
    assert own[-1].learning_rate == 0.05


def test_an_optimizer_of_your_own_keeps_its_state():
    model = network()
    adam = Adam(model.parameters())
    for _ in range(2):
        model.fit(Loader(), optimizer=adam, progress=False)
    assert adam.step_count == 6


def test_evaluate_and_predict():
    model = network()
    assert model.evaluate(IMAGES, LABELS) == model.evaluate(Loader()) == evaluate(model, IMAGES, LABELS)
    assert np.isnan(model.evaluate(IMAGES, np.eye(2)[LABELS], loss="mse_loss").accuracy)
    outputs = model.predict(IMAGES)
    np.testing.assert_allclose(outputs, probabilities(predict_logits(model, IMAGES)), rtol=1e-5)
    assert outputs.shape == (40, 2)
    np.testing.assert_array_equal(model.predict(Tensor(IMAGES)), outputs)
    np.testing.assert_allclose(model.predict(IMAGES / 255), outputs, rtol=1e-5)


@pytest.mark.parametrize(
    ("work", "kind", "words"),
    [
        (lambda m: m.fit(IMAGES, LABELS, epoch=3), SettingError, r"fit has no setting epoch: did you mean epochs\?"),
        (lambda m: m.fit(IMAGES, LABELS, zzz=3), SettingError, "fit has no setting zzz: choose from augment, "),
        (
            lambda m: m.fit(IMAGES, LABELS, schedule="cosin"),
            SettingError,
            "`schedule` is 'cosin': expected one of const",
        ),
        (lambda m: m.fit(iter(Loader()), schedule="cosine"), SettingError, "pass `steps_per_epoch`"),
        (lambda m: m.fit(IMAGES, LABELS, schedule="cosine", epochs=-1), SettingError, "`epochs=-1`: expected"),
        (lambda m: m.fit(IMAGES, LABELS, schedule="cosine", batch_size=0), SettingError, "`batch_size=0`: exp"),
        (
            lambda m: m.fit(IMAGES, LABELS, optimizer=SGD(m.parameters()), schedule="cosine"),
            SettingError,
            "`schedule` is for an optimizer that is given by its name; this one has its own",
        ),
        (lambda m: m.fit(IMAGES, LABELS, shuffle=False), SettingError, "every epoch has another order"),
        (lambda m: m.fit(IMAGES, LABELS, validation_data=1), SettingError, r"pass `validation=\(images, labels\)`"),
        (lambda m: m.fit(IMAGES, LABELS, verbose=2), SettingError, "pass `progress=True`, or `progress=False`"),
        (lambda m: m.fit(IMAGES, LABELS, weight_decay=2), SettingError, r"\(.*0.001, weight_decay=...\)"),
        (lambda m: m.save("m.safetensors"), AttributeError, r"use `tinycnn.save\(model, path\)`"),
        (lambda m: m.compile("adam"), AttributeError, "attribute 'compile': use the settings of `fit`"),
        (lambda m: m.predict_proba(IMAGES), AttributeError, r"`predict\(images\)`, which returns probabilities"),
        (lambda m: m.predict_proba(IMAGES), AttributeError, r"or `tinycnn\.train\.predictions\(model, images\)`"),
        (lambda m: m.score(IMAGES, LABELS), AttributeError, r"use `evaluate\(images, labels\)\.accuracy`"),
        (lambda m: m.evaluate(IMAGES), DataError, "there are no labels: pass one per image, as the second argument"),
        (lambda m: m.predict("a.png"), DataError, r"pass tinycnn\.data\.load_picture\(path, model\)"),
        (lambda m: m.anything, AttributeError, "attribute 'anything'$"),
        (
            lambda m: m.fit(IMAGES, LABELS, optimizer="adamm"),
            SettingError,
            "`optimizer` is 'adamm': expected",
        ),
        (lambda m: m.fit(IMAGES, LABELS, optimizer=SGD(m.parameters()), lr=1), SettingError, "this one has its own"),
        (lambda m: m.evaluate([]), DataError, "no images"),
        (lambda m: m.predict(IMAGES[..., 0]), DataError, "add the channel"),
        (lambda m: m.predict([1, 2]), DataError, "images are a list"),
    ],
)
def test_other_calls_are_refused(work, kind, words):
    with pytest.raises(kind, match=words):
        work(network())


def test_what_is_advised_works():
    """Every setting that the table of other names advises is accepted."""
    model, advised = network(), " ".join(INSTEAD.values())
    for name in re.findall(r"`(\w+)=", advised):
        assert name in OF_TRAINER | OF_FIT | {"optimizer", "lr", "input_shape"}
    schedule = optim.cosine(2 * 2)
    model.fit(IMAGES, LABELS, epochs=2, optimizer=Adam(model.parameters(), 0.001, schedule=schedule), progress=False)
    for name in ("betas", "eps", "weight_decay"):
        assert name in inspect.signature(Adam).parameters
    for words in ELSEWHERE.values():
        for name in re.findall(r"`tinycnn\.(\w+)", words):
            assert hasattr(tinycnn, name)
        for name in re.findall(r"`(fit|state_dict|load_state_dict|predict|evaluate)\b", words):
            assert callable(getattr(model, name))


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "dense_1.bias has NaN or infinity in it"), (3e38, "an output, or a number on the way to it, overflows")],
)
def test_a_loss_that_is_not_finite_is_noted(value, reason, caplog):
    model = network()
    assert np.isfinite(model.evaluate(IMAGES, LABELS).loss)
    assert caplog.records == []
    model.layers[1].parameters_by_name["bias"].data[:] = value, -value
    model.layers[1].parameters_by_name["weight"].data[:] = 3e38
    with np.errstate(all="ignore"):
        model.evaluate(IMAGES, LABELS)
    assert [one.message.partition(": ")[2].partition(": ")[2] for one in caplog.records] == [reason]


def test_help_lists_all_settings_of_fit():
    """`help(model.fit)` showed ``**settings`` only."""
    words = set(re.findall(r"\w+", Sequential.fit.__doc__))
    in_signature = {"epochs", "batch_size"}
    assert (OF_TRAINER | OF_FIT | {"optimizer", "lr", "schedule", "progress"}) - words - in_signature == set()
