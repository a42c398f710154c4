"""``--init-from`` and ``--freeze``: training that starts from a trained network."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinycnn
from tests.support.example_runner import run_example
from tests.support.train_configs import config_and_source, config_of
from tinycnn import data, models
from tinycnn.data.split import only_classes
from tinycnn.errors import FileFormatError, SettingError, ShapeError
from tinycnn.layers import Conv2d, Dense, Flatten, Sequential
from tinycnn.run.build import make_model, make_trainer, output_folder
from tinycnn.run.options import picture_settings
from tinycnn.train.checkpoint import Checkpoints, TrainingStopped

LENET = "lenet.safetensors"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working folder, with a network of ten classes and a data set of three other classes."""
    monkeypatch.chdir(tmp_path)
    tinycnn.save(models.create("lenet", seed=5), LENET)
    few = only_classes(data.load("digits"), [7, 8, 9], per_class=10)
    np.savez("few.npz", **{name: getattr(few, name) for name in ("x_train", "y_train", "x_test", "y_test")})


def model_of(words):
    config, source = config_and_source(words)
    size = {"image_size": config.image_size, "colour": config.colour}
    return make_model(config, data.load(config.dataset, **size), source)


def trainer_of(words):
    return make_trainer(config_of(words), model_of(words)[0], 10)


def bytes_of(model):
    return {name: values.tobytes() for name, values in model.state_dict().items()}


def changed(model, other):
    ours, theirs = bytes_of(model), bytes_of(other)
    return {name.partition(".")[0] for name in ours if ours[name] != theirs[name]}


def frozen(model):
    return [name for name, layer in model.layers.items() if layer.frozen]


# ------------------------------------------------------------------------------------------------ before the first step


def test_other_classes_get_a_new_head():
    model, words = model_of(f"--init-from {LENET} --dataset few.npz --freeze conv2d_*")
    assert changed(model, tinycnn.load(LENET)) == {"dense_3"}
    assert (model.output_shape, model.class_names) == ((3,), ("0", "1", "2"))
    assert frozen(model) == ["conv2d_1", "conv2d_2"]
    assert words == f"from {LENET}: dense_3 is new, for 3 classes"
    again, _ = model_of(f"--init-from {LENET} --dataset few.npz")
    assert changed(model, again) == set()
    assert frozen(again) == []
    assert changed(model, model_of(f"--init-from {LENET} --dataset few.npz --seed 1")[0]) == {"dense_3"}


def test_the_same_classes_keep_their_head():
    model, words = model_of(f"--init-from {LENET} --dataset digits")
    assert changed(model, tinycnn.load(LENET)) == set()
    assert words == f"from {LENET}: the class names are the same, so the head is kept and no layer is new"


def test_new_head_replaces_a_head_for_classes_with_the_same_names():
    model, words = model_of(f"--init-from {LENET} --dataset digits --new-head")
    assert changed(model, tinycnn.load(LENET)) == {"dense_3"}
    assert words == f"from {LENET}: dense_3 is new, for 10 classes"


def test_an_optimizer_that_scales_the_filters_is_reported():
    """lenet has no batch norm: with scaled filters, it computes something else from the first step on."""
    _, words = model_of(f"--init-from {LENET} --dataset digits --optimizer filter_muon")
    assert words.endswith("; filter_muon scales the filters before the first step, which only batch norm makes up for")
    assert "filter_muon" not in model_of(f"--init-from {LENET} --dataset digits --optimizer muon")[1]


def test_as_many_classes_with_other_names_get_a_new_head():
    source = tinycnn.load(LENET)
    source.class_names = ("T-shirt", *map(str, range(1, 10)))
    tinycnn.save(source, LENET)
    model, _ = model_of(f"--init-from {LENET} --dataset digits")
    assert changed(model, source) == {"dense_3"}
    assert model.class_names == tuple("0123456789")


@pytest.mark.parametrize("name", models.NETWORKS)
def test_a_published_network_is_recognised_by_its_layers_and_trained_by_its_recipe(name):
    model = models.create(name)
    assert models.name_of(model) == models.name_of(model.with_head(3)) == name
    tinycnn.save(model.with_head(7), "seven.safetensors")
    ours, theirs = (config_of(words).as_json() for words in ("--init-from seven.safetensors", f"--model {name}"))
    differing = {key for key, value in theirs.items() if ours[key] != value}
    assert differing == {"init_from"}


def test_another_network_is_trained_by_the_recipe_of_the_default():
    tinycnn.save(Sequential(Flatten(), Dense(4), input_shape=(28, 28, 1)), "mine.safetensors")
    (config, source), digits = config_and_source("--init-from mine.safetensors"), data.load("digits")
    assert config.model == "own_network"
    assert config.batch_size == models.MODELS["keras_cnn"].author.batch_size
    assert models.network_or_default("own_network").description == "a network of your own"
    best = models.network_or_default("own_network").best  # SGD with rate 0.1 suits the networks that it was chosen for
    assert (best.optimizer, best.lr) == ("adam", 0.003)
    assert best != models.MODELS["keras_cnn"].best
    assert str(output_folder(config, digits)) == "runs/own_network-digits-tuned"
    assert make_model(config, digits, source)[0].output_shape == (10,)


@pytest.mark.parametrize(("C", "mode"), [(1, "RGB"), (3, "L")])
def test_pictures_are_scaled_to_fit_the_network(C, mode):
    """Colour becomes grey for a network that takes grey, and grey becomes colour; the size is that of the network."""
    tinycnn.save(Sequential(Conv2d(2), Flatten(), Dense(4), input_shape=(20, 20, C)), "mine.safetensors")
    for name, k in itertools.product("ab", range(6)):
        path = Path("pictures", name, f"{k}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (30, 40), 10 * k).save(path)
    model, _ = model_of("--init-from mine.safetensors --dataset pictures")
    assert model.class_names == ("a", "b")
    assert config_of("--init-from mine.safetensors --dataset digits").image_size is None


@pytest.mark.parametrize(
    ("shape", "settings"),
    [((9, 9, 1), (9, False)), ((9, 9, 3), (9, True)), ((9, 8, 1), (None, None)), ((9, 9, 2), (None, None))],
)
def test_an_input_shape_that_no_picture_has_decides_nothing(shape, settings):
    assert picture_settings(Sequential(Flatten(), Dense(2), input_shape=shape)) == settings
    assert picture_settings(Sequential(Dense(2), input_shape=(9,))) == (None, None)


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("--init-from nowhere.safetensors", FileFormatError, "^nowhere.safetensors: no such file$"),
        ("--init-from .", FileFormatError, "is a folder; give the file in it: model.safetensors"),
        ("--init-from few.npz", FileFormatError, "few.npz: arrays of NumPy, such as a data set, not a network"),
        ("--init-from sick.safetensors", FileFormatError, r"conv2d_1.weight is not finite .*: its training went wrong"),
        (f"--init-from {LENET} --model lenet", SettingError, "--model lenet: the network comes from --init-from"),
        ("--freeze conv2d_1", SettingError, "--freeze: .* use it with --init-from"),
        ("--new-head", SettingError, "--new-head: .* use it with --init-from"),
        (
            f"--init-from {LENET} --freeze conv_1",
            SettingError,
            r"'conv_1' \(did you mean conv2d_1 or conv2d_2\?\); available",
        ),
        (f"--init-from {LENET} --freeze relu_1", SettingError, "'relu_1'; available: conv2d_1, conv2d_2, dense_1, "),
        (f"--init-from {LENET} --freeze *", SettingError, "nothing is left to train"),
        (
            "--init-from small.safetensors",
            ShapeError,
            r"takes images of shape \(9, 9, 1\), but digits has \(28, 28, 1\)",
        ),
        (
            "--init-from headless.safetensors",
            SettingError,
            r"the last layer with parameters is \S+, expected a Dense layer",
        ),
    ],
)
def test_mistakes_are_reported(words, error, message):
    sick = tinycnn.load(LENET)
    sick.parameters()[0].data[0] = np.nan
    tinycnn.save(sick, "sick.safetensors")
    tinycnn.save(Sequential(Flatten(), Dense(10), input_shape=(9, 9, 1)), "small.safetensors")
    tinycnn.save(Sequential(Conv2d(2), Flatten(), input_shape=(28, 28, 1)), "headless.safetensors")
    with pytest.raises(error, match=message):
        trainer_of(f"--dataset digits {words}")


def test_a_checkpoint_is_refused():
    path = Checkpoints("checkpoints").write(1, {"a": np.zeros(3)})
    with pytest.raises(FileFormatError, match=r"a checkpoint, to resume a run from; give a model\.safetensors"):
        config_of(f"--init-from {path}")


def test_the_network_to_start_from_is_not_overwritten():
    digits = data.load("digits")
    config = config_of(f"--init-from {LENET} --output .")
    with pytest.raises(SettingError, match="the results go to the same folder; use another --output"):
        output_folder(config, digits)
    assert str(output_folder(config_of(f"--init-from {LENET}"), digits)) == "runs/lenet-digits-tuned"
    assert str(output_folder(config_of("--model lenet"), digits)) == "runs/lenet-digits"


# ----------------------------------------------------------------------------------------------------------- whole runs


def trained(words, *, stop_after=None, resume=False):
    """The bits of the network after four steps of 8 images; ``stop_after`` stops the run after so many steps."""
    config, source = config_and_source(f"--dataset few.npz --batch-size 8 --epochs 1 {words}")
    few = data.load("few.npz")
    model, _ = make_model(config, few, source)
    trainer = make_trainer(config, model, len(few.x_train))
    asked = itertools.count(1)
    stop = (lambda: next(asked) >= stop_after) if stop_after else (lambda: False)
    checkpoints = Checkpoints("checkpoints", resume=resume)
    trainer.fit(few.x_train, few.y_train, epochs=1, checkpoints=checkpoints, stop=stop)
    return bytes_of(model)


@pytest.mark.parametrize("name", ["lenet", "batchnorm_cnn"])
def test_a_resumed_run_ends_with_the_same_bits(name):
    tinycnn.save(models.create(name), "source.safetensors")
    tinycnn.save(models.create(name, seed=1), "other.safetensors")
    words = "--init-from source.safetensors --freeze conv2d_* dense_1"
    expected = trained(words)
    with pytest.raises(TrainingStopped):
        trained(words, stop_after=3)
    for other, difference in [
        ("--init-from other.safetensors --freeze conv2d_* dense_1", "initial weights"),
        ("--init-from source.safetensors --freeze conv2d_*", "frozen"),
        (f"--model {name}", "frozen; initial weights|initial weights"),
    ]:
        with pytest.raises(SettingError, match=f"belongs to another run: .*({difference})"):
            trained(other, resume=True)
    assert trained(words, resume=True) == expected
    source = bytes_of(tinycnn.load("source.safetensors"))
    kept = {entry for entry in expected if expected[entry] == source[entry]}
    assert {entry.partition(".")[0] for entry in kept} >= {"conv2d_1", "conv2d_2", "dense_1"}
    assert "dense_2.weight" not in kept


def test_the_command(tmp_path):
    given = ["--init-from", LENET, "--freeze", "conv2d_*", "dense_1", "--dataset", "few.npz", "--backend", "numpy"]
    process = run_example("train_mnist.py", *given, "--epochs", 2, "--no-plots", folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert f"start     from {LENET}: dense_3 is new, for 3 classes\n" in process.stdout
    assert "conv2d_1 3x3 (frozen)" in process.stdout
    output = tmp_path / "runs" / "lenet-few-tuned"
    options = json.loads((output / "metrics.json").read_text())["options"]
    assert [options[name] for name in ("model", "init_from", "freeze")] == ["lenet", LENET, ["conv2d_*", "dense_1"]]
    assert changed(tinycnn.load(output / "model.safetensors"), tinycnn.load(LENET)) == {"dense_2", "dense_3"}
    again = run_example("train_mnist.py", "--init-from", output / "model.safetensors", *given[5:], folder=tmp_path)
    assert again.returncode == 2
    assert "error: --init-from" in again.stderr
    assert sorted(path.name for path in output.iterdir()) == ["history.csv", "metrics.json", "model.safetensors"]
