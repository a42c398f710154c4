"""``TrainConfig``: parsing has no side effects, and the settings of a run never change."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

import tinycnn
from tests.support.train_configs import config_and_source, config_of, train_parser
from tinycnn import models
from tinycnn.backends.threads import get_threads
from tinycnn.run import build
from tinycnn.run.options import TrainConfig, train_config

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
