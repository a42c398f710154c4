"""``model.fit``, ``model.evaluate`` and ``model.predict`` are short for a trainer and the functions of evaluation."""

import numpy as np
import pytest

from tests.train.test_fit_data import Loader, Tensor
from tests.train.test_trainer import sides
from tinycnn.errors import DataError, SettingError
from tinycnn.layers import Dense, Flatten, Sequential, Softmax
from tinycnn.metrics import probabilities
from tinycnn.optim import SGD, Adam
from tinycnn.train import Trainer, evaluate, predict_logits
from tinycnn.train.history import History

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
        (lambda m: m.fit(IMAGES, LABELS, epoch=3), SettingError, "fit has no setting epoch: choose from augment, "),
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
