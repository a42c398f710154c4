"""``TrainConfig``: parsing has no side effects, and the settings of a run never change."""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tinycnn
from tests.support.train_configs import config_and_source, config_of, train_parser
from tinycnn import models
from tinycnn.backends.threads import get_threads
from tinycnn.commands import main
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.run import build
from tinycnn.run.options import TrainConfig, train_config
from tinycnn.run.remarks import recipe, too_few_steps

KEYS = """model init_from new_head freeze backend dataset data_dir image_size memory colour pixels recipe epochs
batch_size optimizer lr momentum weight_decay schedule reduce_on_plateau augment elastic fade_epochs label_smoothing
validation_split average_weights clip_norm early_stopping save_best checkpoint_every resume threads distributed seed
limit no_capture tf32 output csv tensorboard no_plots quiet"""


def test_the_settings_of_a_run_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config_of("--epochs 3").epochs = 4


def test_every_option_is_a_setting_and_every_setting_an_option():
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert vars(train_parser().parse_args([])).keys() == fields == set(KEYS.split())


def test_metrics_record_the_settings_in_the_order_of_the_options():
    recorded = config_of("--output out").as_json()
    assert list(recorded) == KEYS.split()
    assert json.loads(json.dumps(recorded)) == recorded
    assert (recorded["output"], recorded["freeze"], recorded["model"]) == ("out", [], "keras_cnn")


@pytest.mark.parametrize("option", ["output", "csv", "tensorboard", "init_from"])
def test_a_tilde_is_the_home_folder_where_the_shell_leaves_it(option, tmp_path, monkeypatch):
    """``--output=~/run`` made a folder called ``~``, which few dare to delete."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # Windows
    options = train_parser().parse_args([f"--{option.replace('_', '-')}=~/run"])
    assert getattr(options, option) == tmp_path / "run"


def test_settings_that_the_data_set_does_not_use_are_not_recorded(tmp_path):
    given = "--image-size 14 --colour --memory 5"
    unused = config_of(f"{given} --dataset mnist --data-dir there").as_json()
    assert [unused[name] for name in ("image_size", "colour", "memory", "data_dir")] == [None, None, None, "there"]
    used = config_of(f"{given} --dataset {tmp_path} --data-dir there").as_json()
    assert [used[name] for name in ("image_size", "colour", "memory", "data_dir")] == [14, True, None, None]


def test_parsing_has_no_side_effects():
    threads, backend = get_threads(), tinycnn.get_backend()
    options = train_parser().parse_args(["--threads", "1", "--backend", "numba", "--augment"])
    before = argparse.Namespace(**vars(options))
    config = train_config(options)
    assert (config.threads, config.backend, config.augment) == (1, "numba", "affine")
    assert options == before
    assert (get_threads(), tinycnn.get_backend()) == (threads, backend)


def test_the_model_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    tinycnn.save(models.create("lenet"), path)
    read = []
    load = build.load_finite
    monkeypatch.setattr(build, "load_finite", lambda file: read.append(file) or load(file))
    config, source = config_and_source(["--init-from", str(path), "--dataset", "digits"])
    model, _ = build.make_model(config, tinycnn.data.load("digits"), source)
    assert read == [config.init_from] == [Path(path)]
    assert model is source
    assert config.model == "lenet"


def test_the_distortion_of_a_recipe_needs_its_augmentation():
    best = "--model digit_cnn --recipe best"
    assert config_of(best).elastic == models.DIGITS.elastic > 0
    assert config_of(f"{best} --augment").elastic == models.DIGITS.elastic
    assert config_of(f"{best} --elastic 1").elastic == 1
    assert config_of(f"{best} --no-augment").elastic == 0
    assert config_of(f"{best} --augment flip_and_crop").elastic == 0
    assert config_of("--model digit_cnn").elastic == 0


# ---------------------------------------------------------------------------------------------------- few pictures


def few(words, folder, images):
    """The recipe, the batch size and the epochs of ``tinycnn train --dataset FOLDER`` for so many pictures."""
    options = train_parser().parse_args(["--dataset", str(folder), *words.split()])
    config = train_config(options, None, "pictures", images)
    return config.recipe, config.batch_size, config.epochs


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (20, ("few", 8, 40)),  # 120 steps
        (199, ("few", 8, 40)),
        (240, ("few", 32, 40)),
        (1200, ("few", 32, 32)),  # 38 steps each, 1,216 in all
        (4000, ("few", 32, 10)),
        (25_000, ("few", 32, 5)),  # as many epochs as its author takes
        (40_000, ("author", 128, 5)),  # 1,565 steps
    ],
)
def test_few_pictures_get_smaller_batches_and_more_epochs(images, expected, tmp_path):
    assert few("", tmp_path, images) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--epochs 7", ("few", 32, 7)),
        ("--batch-size 16", ("few", 16, 40)),
        ("--batch-size 2", ("few", 2, 10)),
        ("--epochs 7 --batch-size 128", ("author", 128, 7)),
        ("--recipe author", ("author", 128, 5)),
        ("--recipe best", ("best", 128, 20)),
        ("--model lenet", ("few", 32, 40)),
        ("--model single_conv", ("few", 32, 40)),
        ("--model cifar_cnn", ("few", 32, 40)),
    ],
)
def test_explicit_options_count_more_than_the_number_of_pictures(words, expected, tmp_path):
    assert few(words, tmp_path, 240) == expected


def test_the_recipe_for_few_pictures_changes_nothing_else(tmp_path):
    small, usual = (
        train_config(train_parser().parse_args(["--dataset", str(tmp_path), "--recipe", name]), None, "p", 240)
        for name in ("few", "author")
    )
    changed = {"recipe", "epochs", "batch_size"}
    assert {k: v for k, v in small.as_json().items() if k not in changed} == {
        k: v for k, v in usual.as_json().items() if k not in changed
    }


def test_other_data_sets_keep_their_recipe(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(1))
    for name in ("mnist", "digits", str(tmp_path / "a.npz")):
        config = train_config(train_parser().parse_args(["--dataset", name]), None, name, 240)
        assert config.recipe == ("digits" if name == "digits" else "author")


@pytest.mark.parametrize(
    ("words", "images", "expected"),
    [
        ("", 60, ("few", 8, 40)),
        ("--freeze conv2d_*", 60, ("few", 8, 40)),
        ("", 240, ("few", 32, 40)),
        ("", 40_000, ("author", 128, 5)),
        ("--recipe author", 60, ("author", 128, 5)),
        ("--epochs 5 --batch-size 128", 60, ("author", 128, 5)),
    ],
)
def test_few_pictures_are_few_for_a_trained_network_too(words, images, expected, tmp_path):
    """75 pictures got the author's 5 steps, in which a new head learns nothing."""
    options = train_parser().parse_args(["--dataset", str(tmp_path), "--init-from", "m.safetensors", *words.split()])
    for source in (models.create("keras_cnn"), Sequential(Flatten(), Dense(4), input_shape=(28, 28, 1))):
        config = train_config(options, source, "pictures", images)
        assert (config.recipe, config.batch_size, config.epochs) == expected
        assert ("--recipe author, which is for 60,000" in "".join(recipe(config, images))) == (expected[0] == "few")


def test_a_line_says_why_few_pictures_are_trained_in_another_way(tmp_path):
    options = train_parser().parse_args(["--dataset", str(tmp_path)])
    config = train_config(options, None, "pictures", 240)
    why, advice = recipe(config, 240)
    assert why == (
        "with the recipe for few pictures: smaller batches and more epochs, so 320 steps; with --recipe author, which "
        "is for 60,000 images, there would be 10"
    )
    assert advice == "for photographs, try --augment flip_and_crop"
    for more in ("--augment affine", "--no-augment"):
        options = train_parser().parse_args(["--dataset", str(tmp_path), *more.split()])
        assert recipe(train_config(options, None, "pictures", 240), 240) == [why]


@pytest.mark.parametrize(
    ("words", "images", "expected"),
    [
        ("--epochs 6", 400, "smaller batches, and --epochs 6 as given, so 78 steps; with --recipe author, which is for "
                            "60,000 images, there would be 24"),
        ("--epochs 3", 400, "smaller batches, and --epochs 3 as given, so 39 steps; with --recipe author, which is for "
                            "60,000 images, there would be 12"),
        ("--batch-size 200", 400, "more epochs, and --batch-size 200 as given, so 80 steps; with --recipe author, "
                                  "which is for 60,000 images, there would be 10"),
        ("--epochs 3 --batch-size 64 --recipe few", 400, "batches and epochs as given, so 21 steps; with --recipe "
                                                         "author, which is for 60,000 images, there would be 21"),
        ("", 25_000, "smaller batches, so 3,910 steps; with --recipe author, which is for 60,000 images, there would "
                     "be 980"),
    ],
)  # fmt: skip
def test_the_line_about_few_pictures_is_true_for_given_options(words, images, expected, tmp_path):
    """It said "more epochs" for any --epochs, and compared with an author who would get the same ones."""
    config = train_config(train_parser().parse_args(["--dataset", str(tmp_path), *words.split()]), None, "p", images)
    assert recipe(config, images)[0] == f"with the recipe for few pictures: {expected}"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("--epochs 6", "6 epochs of 400 images are only 78 steps; use more --epochs, or leave them out: the recipe "
                       "takes 40"),
        ("--batch-size 400", "40 epochs of 400 images are only 40 steps; use a smaller --batch-size or more --epochs"),
    ],
)  # fmt: skip
def test_the_advice_for_few_steps_does_not_contradict_the_recipe(words, advice, tmp_path):
    options = train_parser().parse_args(["--dataset", str(tmp_path), *words.split()])
    assert too_few_steps(train_config(options, None, "p", 400), 400) == [advice]


def test_the_pictures_of_the_folder_are_counted(tmp_path):
    """1 epoch, so that the test is short; the batch is that for few pictures."""
    for i in range(20):
        (tmp_path / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 12 * i).save(tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png")
    words = f"train --model lenet --backend numpy --epochs 1 --no-plots --quiet --output {tmp_path / 'run'} --dataset"
    assert main([*words.split(), str(tmp_path / "pictures")]) == 0
    options = json.loads((tmp_path / "run" / "metrics.json").read_text())["options"]
    assert (options["recipe"], options["batch_size"], options["epochs"]) == ("few", 8, 1)
