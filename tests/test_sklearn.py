"""TinyCNNClassifier: scikit-learn's own checks, and what they do not ask: images, pipelines, workers, files."""

import copy
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

import tinycnn
from tinycnn import models
from tinycnn.backends.threads import get_threads
from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU, Rescaling, Sequential
from tinycnn.optim import SGD
from tinycnn.sklearn import TinyCNNClassifier, default_layers
from tinycnn.train.trainer import Trainer

ROOT = Path(tinycnn.__file__).parents[1]
NAN = float("nan")
NUMPY = {"backend": "numpy", "random_state": 0}


WEIGHTED = "check_sample_weight_equivalence_on_dense_data"
ROUNDED = {WEIGHTED: "compares to 7 digits; float32 agrees to 6, see test_a_weight_of_two_is_two_examples"}


@parametrize_with_checks(
    [TinyCNNClassifier(epochs=20, lr=1e-2, **NUMPY)], expected_failed_checks=lambda estimator: ROUNDED
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


def small(**settings):
    return TinyCNNClassifier(**({"epochs": 3, "lr": 1e-2, "image_shape": (8, 8)} | NUMPY | settings))


@pytest.mark.parametrize("shape", [(64,), (8, 8), (8, 8, 1)])
def test_images_and_rows(digits, shape):
    X, y = digits
    classifier = small().fit(X.reshape(-1, *shape), y)
    assert (classifier.input_shape_, classifier.n_features_in_) == ((8, 8, 1), 64)
    assert isinstance(classifier.model_.layers["conv2d_1"], Conv2d)
    assert classifier.score(X.reshape(-1, *shape), y) > 0.9
    np.testing.assert_array_equal(classifier.predict_proba(X), small().fit(X, y).predict_proba(X))


def test_classes_are_words(digits):
    X, y = digits
    words = np.array(["zero", "one", "two"])
    X, y = X[y < 3], words[y[y < 3]]
    classifier = small(epochs=6).fit(X, y)
    assert classifier.classes_.tolist() == ["one", "two", "zero"]
    assert (classifier.predict(X) == y).mean() > 0.95
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)


def test_numbers_and_bytes_are_scaled(digits):
    X, y = digits
    for images, scale in ((X, 1 / 16), (X.astype(np.uint8), 1 / 255), (X - 100, 1 / 100), (0 * X, 1)):
        classifier = small(epochs=1).fit(images, y)
        assert classifier.scale_ == pytest.approx(scale)
        assert classifier.model_.layers["rescaling_1"].scale == classifier.scale_
    assert small(epochs=1, scale=0.5).fit(X, y).scale_ == 0.5


def test_a_scale_of_one_leaves_numbers_and_bytes_as_they_are(digits):
    X, y = digits
    numbers, same = (small(epochs=1, scale=1).fit(images, y) for images in (X, X.astype(np.uint8)))
    np.testing.assert_array_equal(same.predict_proba(X.astype(np.uint8)), numbers.predict_proba(X))


def test_a_network_of_the_list_and_one_of_your_own():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20) % 4
    classifier = small(model="three_conv", image_shape=None, epochs=1).fit(X, y)
    assert sum(isinstance(layer, Rescaling) for layer in classifier.model_.layers.values()) == 1
    assert classifier.model_.output_shape == (4,)
    assert "conv2d_2" in small(image_shape=None, epochs=1).fit(X, y).model_.layers  # auto: keras_cnn

    def own(input_shape, classes):
        assert (input_shape, classes) == ((28, 28, 1), 4)
        return [Conv2d(2), BatchNorm(), ReLU(), Flatten(), Dense(classes)]

    assert small(model=own, image_shape=None, epochs=1).fit(X, y).predict_proba(X).shape == (20, 4)


def test_it_is_trained_as_asked(digits):
    """The same network by hand: layers, seed, optimizer, learning rate, batches, epochs."""
    X, y = digits
    classifier = small(epochs=2, batch_size=60, optimizer="sgd", lr=0.03).fit(X, y)
    seed = int(np.random.RandomState(0).randint(2**31))
    model = Sequential(Rescaling(1 / 16), *default_layers((8, 8, 1), 10), input_shape=(8, 8, 1), seed=seed)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.03), batch_size=60, seed=seed)
    with tinycnn.use_backend("numpy"):
        trainer.fit(X.reshape(-1, 8, 8, 1).astype(np.float32), y, epochs=2)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(classifier.model_.state_dict()[name], array)


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adam", 0.001), ("adamw", 0.001)])
def test_each_optimizer_has_its_usual_rate(digits, optimizer, lr):
    """The same weights, to the bit, as with the rate that the command line takes."""
    unsaid, said = (small(optimizer=optimizer, lr=rate, epochs=1).fit(*digits) for rate in (None, lr))
    np.testing.assert_array_equal(unsaid.predict_proba(digits[0]), said.predict_proba(digits[0]))


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"model": "odd"}, SettingError, "model='odd'`: choose auto, lenet"),
        ({"model": "lenet", "image_shape": None}, ShapeError, r"X holds rows of 64: pass `image_shape="),
        ({"image_shape": (9, 9)}, ShapeError, r"examples of shape \(9, 9, 1\) with 64 numbers"),
        ({"optimizer": "odd"}, SettingError, "optimizer='odd'`: choose one of sgd"),
        ({"epochs": 0}, SettingError, "`epochs=0`: expected a positive integer"),
        ({"epochs": -1}, SettingError, "`epochs=-1`: expected a positive integer"),
        ({"epochs": 1, "batch_size": 0}, SettingError, "`batch_size=0`: expected a positive integer"),
        ({"epochs": 1, "early_stopping": 0}, SettingError, "`early_stopping=0`: expected a positive integer"),
        ({"epochs": 2.5}, SettingError, "`epochs=2.5`: expected a positive integer"),
        ({"epochs": NAN}, SettingError, "epochs=nan"),
        ({"epochs": True}, SettingError, "epochs=True"),
        ({"batch_size": 2.5}, SettingError, "batch_size=2.5"),
        ({"batch_size": "32"}, SettingError, "batch_size='32'"),
        ({"early_stopping": 2.5}, SettingError, "early_stopping=2.5"),
        ({"lr": NAN}, SettingError, "lr=nan"),
        ({"lr": -1}, SettingError, "lr=-1"),
        (
            {"model": Sequential(Dense(10), input_shape=(64,))},
            SettingError,
            "every fit trains a new network: pass the name",
        ),
        ({"model": Dense}, SettingError, "every fit trains a new network: pass the name"),
        (
            {"model": lambda shape, classes: Dense(classes)},
            SettingError,
            "function `model` returned Dense.* a list of new",
        ),
        (
            {"model": lambda shape, classes: Sequential(Dense(classes), input_shape=shape), "image_shape": None},
            SettingError,
            "the function `model` returned Sequential.* a list of new layers",
        ),
        ({"epochs": 1, "scale": "x"}, SettingError, "`scale='x'`: expected a number above 0"),
    ],
)
def test_mistakes(digits, settings, kind, words):
    with pytest.raises(kind, match=words):
        small(**settings).fit(*digits)


def test_a_function_may_return_a_network_without_a_shape(digits):
    networks = [[Flatten(), Dense(10)], Sequential(Flatten(), Dense(10))]
    first, second = (small(model=lambda *_, made=made: made, epochs=1).fit(*digits) for made in networks)
    np.testing.assert_array_equal(first.predict_proba(digits[0]), second.predict_proba(digits[0]))


def test_the_function_of_a_network_is_its_name():
    images, classes = np.zeros((4, 28, 28), np.uint8), np.arange(4) % 2
    given = [small(model=model, image_shape=None, epochs=1).fit(images, classes) for model in ("lenet", models.lenet)]
    assert repr(given[0].model_) == repr(given[1].model_)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_settings_are_those_of_the_constructor(digits, method):
    with pytest.raises(
        TypeError, match=f"^{method} has no setting early_stopping: pass it to the constructor, TinyCNNC"
    ):
        getattr(small(), method)(*digits, early_stopping=2)
    with pytest.raises(TypeError, match=f"^{method} has no setting verbose: settings of the training are those of the"):
        getattr(small(), method)(*digits, verbose=2)


def test_other_images_than_it_was_fitted_to(digits):
    classifier = small(epochs=1).fit(*digits)
    with pytest.raises(ShapeError, match=r"of shape \(4, 16\), but this classifier was fitted to \(8, 8, 1\)"):
        classifier.predict(np.zeros((2, 4, 16)))
    with pytest.raises(ValueError, match="expecting 64 features"):
        classifier.predict(np.zeros((2, 9, 9)))
    with pytest.raises(NotFittedError):
        small().predict(np.zeros((2, 64)))


def test_pipeline_search_and_cross_validation(digits):
    X, y = digits
    pipeline = make_pipeline(StandardScaler(), small(scale=1))
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.7
    search = GridSearchCV(pipeline, {"tinycnnclassifier__lr": [1e-6, 1e-2]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"tinycnnclassifier__lr": 1e-2}


def test_a_clone_is_unfitted_and_equal(digits):
    classifier = small(epochs=2, model="auto").fit(*digits)
    twin = clone(classifier)
    assert twin.get_params() == classifier.get_params()
    assert not hasattr(twin, "model_")
    for _ in range(2):  # a second fit begins anew
        losses = [result.train_loss for result in twin.set_params(epochs=1).fit(*digits).history_]
        assert losses == [classifier.history_[0].train_loss]


def test_files(digits, tmp_path):
    X, y = digits
    classifier = small().fit(X, y)
    expected = classifier.predict_proba(X)
    joblib.dump(classifier, tmp_path / "classifier.joblib")
    copies = (
        pickle.loads(pickle.dumps(classifier)),
        joblib.load(tmp_path / "classifier.joblib"),
        copy.deepcopy(classifier),
    )
    for again in copies:
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        assert "_trainer" not in vars(again)  # two more numbers for each weight
    tinycnn.save(classifier.model_, tmp_path / "model.safetensors")
    model = tinycnn.load(tmp_path / "model.safetensors")
    with tinycnn.no_grad():
        probs = model(X.reshape(-1, 8, 8, 1).astype(np.float32)).numpy()
    np.testing.assert_allclose(probs, expected, atol=1e-6)


def test_partial_fit_goes_on(digits):
    X, y = digits
    classifier = small(epochs=1)
    with pytest.raises(ValueError, match="must list all classes"):
        classifier.partial_fit(X, y)
    for _ in range(3):
        classifier.partial_fit(X[:200], y[:200], classes=range(10))
    assert [result.epoch for result in classifier.history_] == [1, 2, 3]
    np.testing.assert_array_equal(
        classifier.predict(X), small(epochs=3, scale=classifier.scale_).fit(X[:200], y[:200]).predict(X)
    )
    again = pickle.loads(pickle.dumps(classifier)).partial_fit(X[:200], y[:200])
    assert [result.epoch for result in again.history_] == [1, 2, 3, 4]
    assert again.history_[3].train_loss < again.history_[2].train_loss
    with pytest.raises(ValueError, match=r"\[10\], which is not among the classes"):
        classifier.partial_fit(X[:2], [1, 10])


def rows_and_weights(count=60):
    X, y = load_digits(return_X_y=True)
    return X[:count], y[:count] % 3, np.random.default_rng(0).integers(0, 4, count)


def test_a_weight_of_two_is_two_examples():
    """Where a batch holds all examples; a weight of 0 leaves an example out."""
    X, y, weights = rows_and_weights()
    settings = {"image_shape": None, "batch_size": 1000, "optimizer": "sgd", "lr": 0.1}
    repeated = small(**settings).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    weighted = small(**settings).fit(X, y, sample_weight=weights)
    scaled = small(**settings).fit(X, y, sample_weight=weights * 1e-30)
    plain = small(**settings).fit(X, y)
    for classifier in (weighted, scaled):
        np.testing.assert_allclose(classifier.predict_proba(X), repeated.predict_proba(X), rtol=2e-5)
        assert classifier.history_[-1].train_loss == pytest.approx(repeated.history_[-1].train_loss, rel=1e-5)
    assert abs(plain.predict_proba(X) - repeated.predict_proba(X)).max() > 1e-3
    assert weighted.score(X, y, weights) == pytest.approx(
        repeated.score(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    )


def test_a_weight_of_0_leaves_an_example_out_to_the_bit():
    """It is not in a batch, and its numbers do not count for the scale."""
    X, y, weights = rows_and_weights()
    X = np.where(weights[:, None] == 0, 1000, X)
    fitted = small(image_shape=None, epochs=1).fit(X, y, weights)
    without = small(image_shape=None, epochs=1).fit(X[weights > 0], y[weights > 0], weights[weights > 0])
    np.testing.assert_array_equal(fitted.predict_proba(X), without.predict_proba(X))
    assert fitted.scale_ == 1 / 16


def test_equal_weights_are_none_to_the_bit(digits):
    X, y = digits
    plain, weighted = small(epochs=1).fit(X, y), small(epochs=1).fit(X, y, sample_weight=np.full(len(y), 0.3))
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))


def test_weights_of_classes_are_those_of_their_examples():
    X, y, weights = rows_and_weights()
    y = np.where(y == 0, y, 1)
    balanced = np.where(y == 0, len(y) / (2 * (y == 0).sum()), len(y) / (2 * (y == 1).sum()))
    for class_weight, by_example in (("balanced", balanced), ({0: 3, 1: 0.5}, np.where(y == 0, 3, 0.5))):
        for sample_weight in (None, weights):
            by_class = small(image_shape=None, class_weight=class_weight).fit(X, y, sample_weight)
            own = by_example * (1 if sample_weight is None else sample_weight)
            np.testing.assert_allclose(
                by_class.predict_proba(X), small(image_shape=None).fit(X, y, own).predict_proba(X), rtol=1e-6
            )
    once = small(image_shape=None, epochs=1, class_weight={0: 3, 1: 0.5}, scale=1 / 16)
    parts = small(image_shape=None, class_weight={0: 3, 1: 0.5}, scale=1 / 16)
    parts.partial_fit(X, y, classes=[0, 1], sample_weight=weights)
    np.testing.assert_array_equal(parts.predict_proba(X), once.fit(X, y, weights).predict_proba(X))


def test_early_stopping_weighs_the_held_out_examples(digits):
    X, y = digits
    weights = np.random.default_rng(0).random(len(y)) ** 4
    classifier = small(epochs=2, early_stopping=2, validation_fraction=0.25).fit(X, y, weights)
    seed = int(np.random.RandomState(0).randint(2**31))
    _, valid = train_test_split(np.arange(len(y)), test_size=0.25, random_state=seed)
    p = classifier.predict_proba(X[valid])[np.arange(len(valid)), y[valid]]
    expected = np.average(-np.log(p.astype(float)), weights=weights[valid])
    assert classifier.history_[-1].validation_loss == pytest.approx(expected, rel=1e-4)
    assert classifier.history_[-1].validation_accuracy == pytest.approx(
        classifier.score(X[valid], y[valid], weights[valid])
    )


@pytest.mark.parametrize(
    ("settings", "weights", "words"),
    [
        ({}, [1.0], "sample_weight"),
        ({}, [-1.0] * 400, r"[Nn]egative"),
        ({}, [np.nan] * 400, "NaN"),
        ({}, [0.0] * 400, r"weights are 0|at least one non-zero"),
        ({}, ["a"] * 400, "could not convert"),
        ({"class_weight": {0: -1}}, None, "class_weight"),
        ({"class_weight": {0: NAN}}, None, "class_weight"),
        ({"class_weight": "odd"}, None, "class_weight"),
    ],
)
def test_weights_that_are_none(digits, settings, weights, words):
    with pytest.raises(ValueError, match=words):
        small(**settings).fit(*digits, sample_weight=weights)


def test_balanced_needs_all_examples(digits):
    with pytest.raises(ValueError, match="class_weight='balanced'` needs all examples"):
        small(class_weight="balanced").partial_fit(*digits, classes=range(10))


def test_early_stopping(digits):
    X, y = digits
    settings = {"epochs": 50, "lr": 0.03, "early_stopping": 1, "validation_fraction": 0.25}
    classifier, again = (small(**settings).fit(X, y) for _ in range(2))
    assert 1 < len(classifier.history_) < 50
    assert round(classifier.history_[0].images_per_s * classifier.history_[0].epoch_s) == 300
    assert again.history_[0].validation_loss == classifier.history_[0].validation_loss
    assert classifier.history_[-1].validation_loss > classifier.history_.best.validation_loss
    seed = int(np.random.RandomState(0).randint(2**31))
    _, valid = train_test_split(np.arange(len(y)), test_size=0.25, random_state=seed)
    p = classifier.predict_proba(X[valid])[np.arange(len(valid)), y[valid]]
    assert -np.log(p.astype(float)).mean() == pytest.approx(classifier.history_.best.validation_loss, rel=1e-4)


def test_the_backend_and_blas_are_left_as_they_were(digits):
    blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    with tinycnn.use_backend("numpy") as before:
        small(backend="auto", epochs=1).fit(*digits)
        assert tinycnn.get_backend() is before
    assert [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"] == blas


def test_threads_of_one_process_do_not_disturb_each_other(digits):
    X, y = digits
    alone = {name: small(backend=name).fit(X, y) for name in ("numpy", "numba")}
    assert [classifier.backend_ for classifier in alone.values()] == list(alone)
    expected = {name: classifier.predict_proba(X) for name, classifier in alone.items()}
    found = {}

    def fit(name):
        found[name] = small(backend=name).fit(X, y).predict_proba(X)

    threads = [threading.Thread(target=fit, args=[name]) for name in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert all((found[name] == expected[name]).all() for name in expected)


WORKERS = """
import numpy as np, joblib
from sklearn.model_selection import cross_val_score
from tinycnn.backends.threads import get_threads
from tinycnn.sklearn import TinyCNNClassifier
X, y = np.random.default_rng(0).random((60, 8, 8)), np.arange(60) % 3
classifier = TinyCNNClassifier(epochs=1, backend="numba", random_state=0)
classifier.fit(X, y)  # threads of ours are running when workers are made
for backend in ("multiprocessing", "loky"):
    with joblib.parallel_backend(backend, n_jobs=2):
        print(cross_val_score(classifier, X, y, cv=2, error_score="raise").shape)
        print(joblib.Parallel()(joblib.delayed(get_threads)() for _ in range(2)))
"""


def test_workers_end_and_share_the_machine():
    """Forked processes and fresh ones (loky): neither hangs; loky's get their share of the cores."""
    command = [sys.executable, "-W", "ignore", "-c", WORKERS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=True)
    forked, _, fresh, threads = done.stdout.splitlines()[-4:]
    assert forked == fresh == "(2,)"
    assert all(count <= max(1, joblib.cpu_count() // 2) for count in eval(threads))


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("100000", None), ("0", None), ("four", None), ("", None)])
def test_the_usual_variable_limits_threads(text, count, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    command = [
        sys.executable,
        "-c",
        "from tinycnn.backends.threads import _cores, get_threads; print(get_threads(), _cores)",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    threads, cores = map(int, done.stdout.split())
    assert threads == (count or cores)
    assert get_threads() >= 1


def test_logarithms_of_probabilities(digits):
    classifier = small(epochs=1).fit(*digits)
    logarithms = classifier.predict_log_proba(digits[0][:20])
    np.testing.assert_allclose(np.exp(logarithms), classifier.predict_proba(digits[0][:20]), rtol=1e-6)
    for parameter in classifier.model_.parameters():
        parameter.data[...] *= 1000
    assert np.isfinite(classifier.predict_log_proba(digits[0][:20])).all()


def test_an_evaluation_set_validates_every_epoch(digits):
    X, y = digits
    names = np.array(list("abcdefghij"))[y]
    held = X[200:260], names[200:260]
    plain = small(epochs=2).fit(X[:200], names[:200])
    for eval_set in (held, [held]):
        classifier = small(epochs=2).fit(X[:200], names[:200], eval_set=eval_set)
        assert classifier.history_[-1].validation_accuracy == pytest.approx(classifier.score(*held))
        np.testing.assert_array_equal(classifier.predict_proba(X), plain.predict_proba(X))
    stopping = small(epochs=2, early_stopping=2).fit(X[:200], names[:200], eval_set=held)
    np.testing.assert_array_equal(stopping.predict_proba(X), plain.predict_proba(X))  # nothing is held back


@pytest.mark.parametrize(
    ("eval_set", "words"),
    [
        ([], r"expected a pair \(X, y\), or a list of one pair"),
        ("digits", "expected a pair"),
        ((np.ones((2, 64)), [1, 11]), "y contains \\[11\\], which is not among the classes"),
        ((np.ones((2, 3)), [1, 2]), "X has 3 features"),
    ],
)
def test_another_evaluation_set_is_refused(eval_set, words, digits):
    with pytest.raises(ValueError, match=words):
        small(epochs=1).fit(*digits, eval_set=eval_set)


# ------------------------------------------------------------------------------------- what would silently be wrong


def one_layer(shape, classes):
    return [Flatten(), Dense(classes)]


def notes(caplog):
    """What is logged about the scale of other data than those of ``fit``."""
    return [one.getMessage() for one in caplog.records if "in X are" in one.getMessage()]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 6, 9), (3, 5, 7)])
def test_channels_first_are_refused(shape):
    """As `model.fit` does: the rows would be taken for channels."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (12, *shape), np.uint8), np.arange(12) % 2
    classifier = TinyCNNClassifier(one_layer, epochs=1, **NUMPY)
    with pytest.raises(ShapeError, match=r"have the channels first.*: pass X\.transpose\(0, 2, 3, 1\)"):
        classifier.fit(X, y)
    classifier.fit(X.transpose(0, 2, 3, 1), y)
    assert classifier.input_shape_ == (*shape[1:], shape[0])
    named = TinyCNNClassifier(one_layer, image_shape=shape, epochs=1, **NUMPY)
    with pytest.raises(ShapeError, match=r"pass X\.reshape\(-1, .*\)\.transpose\(0, 2, 3, 1\)"):
        named.fit(X.reshape(12, -1), y)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["circle", "square"], ("circle", "square")),
        ([3, 5], ("3", "5")),
        ([0, 1], ("0", "1")),
        ([False, True], ("False", "True")),
        (["", "square"], ("0", "1")),  # a name that no model file takes
    ],
)
def test_the_file_of_the_network_has_the_names_of_the_classes(classes, names, tmp_path):
    X, y = np.arange(48, dtype=np.uint8).reshape(12, 4), np.array(classes)[np.arange(12) % 2]
    classifier = TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(X, y)
    tinycnn.save(classifier.model_, tmp_path / "m.safetensors")
    assert tinycnn.load(tmp_path / "m.safetensors").class_names == names
    again = TinyCNNClassifier(one_layer, **NUMPY).partial_fit(X, y, classes=classes)
    assert again.model_.class_names == names


BYTES_ = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 1), np.uint8)
BYTES_[0, 0, 0] = 255
TWO = np.arange(12) % 2


@pytest.mark.parametrize("rows", [False, True], ids=["images", "rows"])
@pytest.mark.parametrize(
    ("trained", "given"),
    [(BYTES_, BYTES_ / 255), (BYTES_.astype(float), BYTES_ / 255), (BYTES_ / 255, BYTES_)],
    ids=["bytes, fractions", "floats, fractions", "fractions, bytes"],
)
def test_another_scale_than_that_of_fit_is_reported_once(trained, given, rows, caplog):
    trained, given = (one.reshape(12, -1) if rows else one for one in (trained, given))
    classifier = TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(trained, TWO)
    assert notes(caplog) == []
    for _ in range(2):
        classifier.predict(given)
    classifier.score(given, TWO)
    if classifier.model_.pixels == "0..1":  # the network divides bytes by 255, which makes both the same
        assert notes(caplog) == []
        np.testing.assert_allclose(classifier.predict_proba(given), classifier.predict_proba(trained), atol=1e-5)
        return
    (note,) = notes(caplog)
    assert note.startswith("note: the numbers in X are up to ")
    assert note.endswith("were both prepared in the same way?")


def test_few_steps_are_remarked_on_once(monkeypatch, caplog):
    """300 rows and 3 epochs gave 35 %, and nothing said why."""
    monkeypatch.setattr(tinycnn.sklearn, "_noted_steps", set())
    settings = {"model": one_layer, **NUMPY}
    cross_val_score(TinyCNNClassifier(epochs=3, **settings), BYTES_, TWO, cv=3)
    (note,) = [one.getMessage() for one in caplog.records]
    assert note == "note: 3 epochs of 8 examples are only 3 steps: use a smaller `batch_size` or more `epochs`"
    TinyCNNClassifier(epochs=13, batch_size=1, **settings).fit(BYTES_[:8], TWO[:8])
    assert len(caplog.records) == 1


def test_an_unknown_setting_is_named():
    with pytest.raises(SettingError, match="TinyCNNClassifier has no setting verbose: leave it out"):
        TinyCNNClassifier(verbose=1)
    with pytest.raises(TypeError, match=r"no setting epoch.*epochs"):
        TinyCNNClassifier(epoch=1)
    copied = clone(pickle.loads(pickle.dumps(TinyCNNClassifier(one_layer, epochs=2))))
    assert (copied.epochs, copied.model) == (2, one_layer)


@pytest.mark.parametrize("scale", ["auto", 1])
def test_pixels_that_a_pipeline_has_scaled_are_not_remarked_on(scale, caplog, tmp_path):
    """Each fold once logged "pass bytes to fit", which no pipeline can."""
    classifier = TinyCNNClassifier(one_layer, image_shape=(6, 6), scale=scale, epochs=1, **NUMPY)
    rows = BYTES_.reshape(12, -1)
    pipeline = make_pipeline(MinMaxScaler(clip=True), classifier)
    assert np.isfinite(cross_val_score(pipeline, rows, TWO, cv=2)).all()
    assert [one.getMessage() for one in caplog.records if "steps" not in one.getMessage()] == []
    classifier.fit(rows / 255, TWO)
    tinycnn.save(classifier.model_, tmp_path / "m.safetensors")
    file = tinycnn.load(tmp_path / "m.safetensors")
    np.testing.assert_allclose(file.predict(BYTES_), file.predict(BYTES_ / 255), atol=1e-5)  # as picture files are
    binary = (rows > 127).astype(np.uint8)
    np.testing.assert_array_equal(classifier.predict_proba(binary), classifier.predict_proba(binary.astype(float)))


@pytest.mark.parametrize(("white", "pixels"), [(16, "0..16"), (65535, "0..65535"), (1, "0..1"), (254, "0..255")])
def test_a_saved_classifier_reads_picture_files_as_the_numbers_of_fit(white, pixels, tmp_path):
    """The digits of scikit-learn, 0 to 16, were saved as a network of 0 to 255: pictures were 16 times too bright."""
    X = BYTES_ / BYTES_.max() * np.float32(white)
    assert X.max() == white
    classifier = TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(X, TWO)
    tinycnn.save(classifier.model_, tmp_path / "m.safetensors")
    file = tinycnn.load(tmp_path / "m.safetensors")
    assert file.pixels == pixels
    pictures = BYTES_ if white == 254 else np.rint(X / white * 255).astype(np.uint8)
    rounding = 3 / 255  # of white, and so of an input
    np.testing.assert_allclose(file.predict(pictures), file.predict(X), atol=rounding)
    np.testing.assert_array_equal(file.predict(X), classifier.model_.predict(X))
    np.testing.assert_allclose(classifier.predict_proba(pictures), classifier.predict_proba(X), atol=rounding)


def test_negative_images_are_reported_once_in_words_for_a_pipeline(monkeypatch, caplog):
    """A saved network read pictures on another scale than StandardScaler had made for it, and nothing said so."""
    monkeypatch.setattr(tinycnn.sklearn, "_noted_shapes", set())
    rows = BYTES_.reshape(12, -1)
    classifier = TinyCNNClassifier(one_layer, image_shape=(6, 6), epochs=1, batch_size=2, **NUMPY)
    cross_val_score(make_pipeline(StandardScaler(), classifier), rows, TWO, cv=3)
    (note,) = [one.getMessage() for one in caplog.records if "steps:" not in one.getMessage()]
    assert note.startswith("note: the images in X hold numbers from -")
    assert "takes bytes and picture files as 0..255, and reads them differently from X; leave the scaler out" in note
    assert note.endswith("or use MinMaxScaler")


@pytest.mark.parametrize("X", [(BYTES_.reshape(12, -1) - 99.0), BYTES_ / 255 - 1e-9], ids=["rows", "rounding"])
def test_rows_and_rounding_are_not_reported_as_negative_images(X, monkeypatch, caplog):
    monkeypatch.setattr(tinycnn.sklearn, "_noted_shapes", set())
    classifier = TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(X, TWO)
    assert [one.getMessage() for one in caplog.records if "steps:" not in one.getMessage()] == []
    assert classifier.model_.pixels == ("0..255" if X.ndim == 2 else "0..1")


@pytest.mark.parametrize("X", [-(BYTES_ / 255), BYTES_.reshape(12, -1) / 16], ids=["negative", "rows"])
def test_no_white_is_stated_where_there_is_none(X):
    assert TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(X, TWO).model_.pixels == "0..255"


@pytest.mark.parametrize(
    "use",
    [
        lambda classifier: classifier.fit(BYTES_, TWO).partial_fit(BYTES_ / 255, TWO),
        lambda classifier: classifier.fit(BYTES_, TWO).predict_log_proba(BYTES_ / 255),
    ],
)
def test_other_examples_are_compared_as_well(use, caplog):
    use(TinyCNNClassifier(one_layer, epochs=1, **NUMPY))
    assert len(notes(caplog)) == 1


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        (BYTES_, BYTES_ // 50),  # dark bytes are bytes
        (BYTES_, BYTES_.astype(float)),
        (BYTES_ / 255, BYTES_ / 300),
        (BYTES_, np.zeros((3, 6, 6, 1))),
        (BYTES_.reshape(12, -1) * 9.0, BYTES_.reshape(12, -1) / 255),  # rows of other numbers than pixels
    ],
)
def test_the_same_scale_is_not_reported(trained, given, caplog):
    TinyCNNClassifier(one_layer, epochs=1, **NUMPY).fit(trained, TWO).predict(given)
    assert notes(caplog) == []
