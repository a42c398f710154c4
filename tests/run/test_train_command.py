"""``tinycnn train`` as a user runs it: what it writes, prints, repeats and refuses."""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tinycnn
from tests.support.data_helpers import STEMS, raw_idx, write_set
from tests.support.example_runner import EXAMPLES, run_command
from tests.support.in_process import run_here
from tests.support.train_configs import config_of
from tinycnn import data, models
from tinycnn.backends import passed_over
from tinycnn.errors import MissingPackageError
from tinycnn.run.build import callbacks_of, make_optimizer
from tinycnn.run.remarks import remarks, training_line
from tinycnn.run.results import replaced_run
from tinycnn.train import evaluate

# The keys of metrics.json: the original ones, and later ones.
REQUIRED = ["model", "backend", "dataset", "seed", "options", "versions", "epochs"]
REQUIRED += ["test_accuracy", "test_loss", "training_s"]
LATER = [
    "ranks",
    "data_source",
    "working_folder",
    "train_images",
    "validation_images",
    "test_images",
    "compile_s",
    "best",
    "stopped_early",
]
EPOCH = ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "epoch_s", "images_per_s"]
EPOCH += ["learning_rate"]
FILES = ["history.csv", "metrics.json", "model.safetensors"]


def train(folder, *arguments, output="out", mnist=None, run=run_here):
    """Train on the bundled digits as on MNIST, for one epoch, unless ``arguments`` differ; the successful process."""
    given = ("--dataset", "digits", "--recipe", "author", "--epochs", 1, "--backend", "numpy", "--output", output)
    process = run("train", *given, "--no-plots", *arguments, folder=folder, mnist=mnist)
    assert process.returncode == 0, process.stderr
    return process


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def without_times(metrics):
    epochs = [
        {key: epoch[key] for key in EPOCH if key not in ("epoch_s", "images_per_s")} for epoch in metrics["epochs"]
    ]
    options = {key: value for key, value in metrics["options"].items() if key != "output"}
    times = {"training_s", "compile_s"}
    return {key: value for key, value in metrics.items() if key not in times} | {"epochs": epochs, "options": options}


# ---------------------------------------------------------------------------------------------------- one ordinary run


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """A run of two epochs with validation, its process and its folder."""
    folder = tmp_path_factory.mktemp("ordinary")
    process = train(
        folder, "--epochs", 2, "--validation-split", 0.25, "--limit", 600, "--model", "lenet", run=run_command
    )
    return process, folder / "out"


def test_only_the_results_are_written(ordinary):
    _, output = ordinary
    assert sorted(os.listdir(output)) == FILES
    assert sorted(os.listdir(output.parent)) == ["out"]


def test_metrics_have_all_keys(ordinary):
    metrics = metrics_of(ordinary[1])
    assert sorted(metrics) == sorted(REQUIRED + LATER)
    assert [metrics[key] for key in ("model", "backend", "dataset", "seed")] == ["lenet", "numpy", "digits", 0]
    assert metrics["options"]["epochs"] == 2
    assert metrics["options"]["batch_size"] == 64  # filled in from the recipe
    assert metrics["options"]["validation_split"] == 0.25
    assert metrics["versions"]["tinycnn"] == tinycnn.__version__
    assert metrics["versions"]["numpy"] == np.__version__
    assert (metrics["train_images"], metrics["validation_images"], metrics["test_images"]) == (450, 150, 360)
    assert 0 < metrics["test_accuracy"] <= 1
    assert metrics["test_loss"] > 0
    assert metrics["training_s"] >= sum(epoch["epoch_s"] for epoch in metrics["epochs"]) > 0


def test_metrics_hold_every_epoch(ordinary):
    epochs = metrics_of(ordinary[1])["epochs"]
    assert [list(epoch) for epoch in epochs] == [[*EPOCH, "metrics"]] * 2
    assert all(epoch["metrics"] == {} for epoch in epochs)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    for epoch in epochs:
        assert all(isinstance(epoch[key], float) for key in EPOCH[1:])
        assert all(0 <= epoch[key] <= 1 for key in ("train_accuracy", "validation_accuracy"))
        assert epoch["images_per_s"] == pytest.approx(450 / epoch["epoch_s"])


def test_history_agrees_with_metrics(ordinary):
    _, output = ordinary
    with open(output / "history.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [EPOCH, EPOCH]
    epochs = [{key: epoch[key] for key in EPOCH} for epoch in metrics_of(output)["epochs"]]
    assert [{key: float(value) for key, value in row.items()} for row in rows] == epochs


def test_the_saved_model_reproduces_the_accuracy(ordinary):
    _, output = ordinary
    model, digits = tinycnn.load(output / "model.safetensors"), data.load("digits")
    assert model.metadata() == {"class_names": digits.class_names, "pictures": "drawing"}
    scores, metrics = evaluate(model, digits.x_test, digits.y_test), metrics_of(output)
    assert scores.accuracy == metrics["test_accuracy"]
    assert scores.loss == pytest.approx(metrics["test_loss"], rel=1e-6)
    assert model.parameter_count() == 60_074


def test_what_is_printed(ordinary):
    process, output = ordinary
    metrics = metrics_of(output)
    assert "digits: 450 training, 150 validation, 360 test images" in process.stdout
    assert "numpy" in process.stdout
    assert "60,074 trainable parameters" in process.stdout
    for epoch in metrics["epochs"]:
        accuracy = f"accuracy {100 * epoch['train_accuracy']:.2f} %"
        line = rf"epoch {epoch['epoch']}/2  loss {epoch['train_loss']:.4f}  {accuracy}"
        assert re.search(rf"^{line}  validation loss {epoch['validation_loss']:.4f} .* images/s$", process.stdout, re.M)
    test = f"accuracy {100 * metrics['test_accuracy']:.2f} %, loss {metrics['test_loss']:.4f}"
    assert f"{test} on all 360 digits test images" in process.stdout


def test_in_a_pipe_there_are_plain_lines(ordinary):
    process, _ = ordinary
    assert process.stderr == ""
    assert not set("\r\x1b\b") & set(process.stdout)


# ---------------------------------------------------------------------------------------------------- variations of it


def write_few(path):
    """A file with 128 digits to train on, and 40 for the test, which costs as much as the training otherwise."""
    digits = data.load("digits", limit=128)
    test = {"x_test": digits.x_test[:40], "y_test": digits.y_test[:40]}
    np.savez(path, x_train=digits.x_train, y_train=digits.y_train, **test)
    return "--dataset", path


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_same_seed_twice_gives_the_same_bits(backend, tmp_path):
    pytest.importorskip(backend)
    options = (*write_few(tmp_path / "few.npz"), "--backend", backend, "--model", "batchnorm_cnn")
    for output, run in (("first", run_here), ("again", run_command)):  # another process changes no bit
        train(tmp_path, *options, output=output, run=run)
    first, again = tmp_path / "first", tmp_path / "again"
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert without_times(metrics_of(first)) == without_times(metrics_of(again))
    train(tmp_path, *options, "--seed", 1, output="other")
    assert (first / "model.safetensors").read_bytes() != (tmp_path / "other" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_trains_with_the_fastest_backend(name, tmp_path):
    train(tmp_path, "--model", name, "--limit", 256, "--backend", "auto")
    metrics = metrics_of(tmp_path / "out")
    held_out = 51 if name == "single_conv" else 0  # whose author held out 20 %
    assert (metrics["model"], metrics["train_images"], metrics["validation_images"]) == (name, 256 - held_out, held_out)
    model = tinycnn.load(tmp_path / "out" / "model.safetensors")
    assert model.parameter_count() == models.create(name).parameter_count()


def test_quiet_prints_the_result_and_nothing_else(tmp_path):
    process = train(tmp_path, "--quiet", "--limit", 100)
    assert re.fullmatch(r"test +accuracy \d+\.\d\d %, loss \d+\.\d{4} on all 360 digits test images\n", process.stdout)
    assert process.stderr == ""
    assert sorted(os.listdir(tmp_path / "out")) == FILES


def test_without_validation_its_fields_are_empty(tmp_path):
    train(tmp_path, "--limit", 100)
    (epoch,) = metrics_of(tmp_path / "out")["epochs"]
    assert epoch["validation_loss"] is epoch["validation_accuracy"] is None
    (row,) = csv.DictReader((tmp_path / "out" / "history.csv").read_text(encoding="utf-8").splitlines())
    assert row["validation_loss"] == row["validation_accuracy"] == ""


def test_every_option_at_once(tmp_path):
    settings = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.5, "schedule": "cosine", "batch_size": 50}
    settings |= {
        "label_smoothing": 0.1,
        "threads": 1,
        "seed": 7,
        "recipe": "best",
        "limit": 200,
        "epochs": 2,
        "csv": "live.csv",
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    train(tmp_path, *arguments, "--no-augment")
    options = metrics_of(tmp_path / "out")["options"]
    assert {name: options[name] for name in settings} == settings
    assert (tmp_path / "live.csv").read_bytes() == (tmp_path / "out" / "history.csv").read_bytes()
    assert options["augment"] is False


def test_options_replace_the_optimizer_of_a_recipe():
    best = ["--model", "batchnorm_cnn", "--recipe", "best"]
    recipe, other = config_of(best), config_of([*best, "--optimizer", "adamw"])
    chosen = models.MODELS["batchnorm_cnn"].best
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == (chosen.optimizer, chosen.lr, chosen.weight_decay)
    assert chosen.optimizer == "sgd"  # otherwise the lines below would prove nothing
    assert chosen.weight_decay
    assert (other.optimizer, other.lr, other.weight_decay) == ("adamw", 0.001, 0.01)
    assert other.epochs == recipe.epochs
    muon = ["--model", "whitened_cnn", "--recipe", "best"]
    assert config_of(muon).momentum == models.NETWORKS["whitened_cnn"].best.momentum == 0.6
    assert config_of([*muon, "--optimizer", "sgd"]).momentum == 0.9
    assert config_of([*muon, "--optimizer", "adam"]).momentum is None
    given = config_of([*best, "--optimizer", "adam", "--lr", "0.5", "--weight-decay", "0.25"])
    assert (given.optimizer, given.lr, given.weight_decay) == ("adam", 0.5, 0.25)


def test_the_digits_have_a_recipe_of_their_own():
    """Wherever they come from; a file that is called digits is another data set, and every given option wins."""
    digits = models.FEW_DIGITS
    for words in ("--dataset digits", ""):
        config = config_of(words, "digits")
        assert {name: getattr(config, name) for name in vars(digits)} == vars(digits)
        assert config.recipe == "digits"
    for words, loaded in (("", "mnist"), ("--dataset digits.npz", "digits"), ("--dataset ./digits", "digits")):
        assert config_of(words, loaded) == config_of(f"{words} --recipe author", loaded)
    assert config_of("", "digits") == config_of("--recipe digits", "digits")
    given = config_of("--epochs 3 --no-augment --optimizer sgd", "digits")
    assert (given.epochs, given.augment, given.optimizer, given.lr) == (3, False, "sgd", 0.05)
    assert (given.batch_size, given.schedule) == (digits.batch_size, digits.schedule)
    for name in ("author", "best"):
        chosen = config_of(f"--recipe {name}", "digits")
        assert (chosen.recipe, chosen.batch_size) == (name, models.MODELS["keras_cnn"].recipe(name).batch_size)


@pytest.mark.parametrize("name", models.NETWORKS)
@pytest.mark.parametrize("recipe", models.RECIPES)
def test_the_optimizer_of_a_recipe_has_its_settings(name, recipe):
    config = config_of(["--model", name, "--recipe", recipe])
    settings = make_optimizer(config, models.create(name), steps=1).settings()
    group = " of group 1" if "muon" in config.optimizer else ""
    assert settings[f"weight_decay{group}"] == models.NETWORKS[name].recipe(recipe).weight_decay
    assert settings.get(f"momentum{group}", 0.9) == (models.NETWORKS[name].recipe(recipe).momentum or 0.9)


def test_each_optimizer_is_made_with_its_momentum():
    """Without a momentum, each has its own default."""
    for name, default in (("sgd", 0.9), ("rmsprop", 0.0), ("muon", 0.95), ("filter_muon", 0.6)):
        for words, expected in (("", default), (" --momentum 0.5", 0.5)):
            config = config_of(f"--model lenet --optimizer {name}{words}")
            assert make_optimizer(config, models.create("lenet"), steps=1).parts[0].momentum == expected


def test_the_rate_is_reduced_on_a_plateau():
    config = config_of("--model lenet --reduce-on-plateau 4 --validation-split 0.1")
    (callback,) = callbacks_of(config)
    assert (callback.rule.patience, callback.rule.factor) == (4, 0.1)
    assert callbacks_of(config_of("--model lenet")) == []
    assert "reduced after more than 4 epochs without progress" in training_line(config)


def test_logs_are_callbacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace())
    csv_log, tensorboard = callbacks_of(config_of("--model lenet --csv a.csv --tensorboard logs"))
    assert (str(csv_log.path), tensorboard.folder) == ("a.csv", "logs")
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match="pip install tensorboardX"):
        callbacks_of(config_of("--model lenet --tensorboard logs"))


def test_averaged_weights_are_tested_and_saved(tmp_path):
    """A decay of 0 averages only the last weights, so its result is that of no average; 0.9 gives another."""
    results = []
    for name, options in {"none": (), "last": ("--average-weights", 0), "mean": ("--average-weights", 0.9)}.items():
        process = train(tmp_path, "--model", "lenet", "--limit", 200, "--epochs", 2, *options, output=name)
        assert ("weights averaged" in process.stdout) == (name != "none")
        model = tinycnn.load(tmp_path / name / "model.safetensors")
        results.append(([array.tobytes() for array in model.state_dict().values()], metrics_of(tmp_path / name)))
    (own, without), (last, with_0), (averaged, with_9) = results
    assert last == own != averaged
    assert with_0["test_loss"] == without["test_loss"] != with_9["test_loss"]
    assert (with_9["options"]["average_weights"], without["options"]["average_weights"]) == (0.9, None)


def test_augmentation_fades_for_the_given_epochs(tmp_path):
    process = train(tmp_path, "--augment", "--fade-epochs", 2, "--epochs", 2, "--limit", 100)
    assert "augmented (affine), fading 2 epochs before the end" in process.stdout
    options = metrics_of(tmp_path / "out")["options"]
    assert (options["augment"], options["fade_epochs"]) == ("affine", 2)


def test_a_second_run_replaces_the_first_and_keeps_another_network(tmp_path):
    first = train(tmp_path, "--limit", 100, "--seed", 1, "--validation-split", 0.2, "--save-best")
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*FILES, "model_best.safetensors"])
    network = (tmp_path / "out/model.safetensors").read_bytes()
    for name in ("report.html", "filters_conv2d_9.png", "mine.png"):
        (tmp_path / "out" / name).write_text("older")
    accuracy = metrics_of(tmp_path / "out")["test_accuracy"]
    second = train(tmp_path, "--limit", 100, "--seed", 2)
    assert first.stderr == ""
    words = f"test accuracy {100 * accuracy:.2f} %, different --save-best, --seed, --validation-split"
    kept = f"it will be kept in {os.path.join('out', 'earlier')}, unless this run gives the same network"
    assert second.stderr == f"earlier   a run in out ({words}); {kept}\n"
    (earlier,) = (tmp_path / "out/earlier").iterdir()
    assert f"kept      the earlier run, in {earlier.relative_to(tmp_path)}\n" in second.stdout
    assert (earlier / "model.safetensors").read_bytes() == network
    names = [*FILES, "model_best.safetensors", "report.html", "filters_conv2d_9.png"]
    assert (sorted(os.listdir(earlier)), metrics_of(earlier)["seed"]) == (sorted(names), 1)
    assert metrics_of(tmp_path / "out")["seed"] == 2
    accuracy = metrics_of(tmp_path / "out")["test_accuracy"]
    again = train(tmp_path, "--limit", 100, "--seed", 2)
    words = f"test accuracy {100 * accuracy:.2f} %, the same options"
    assert again.stderr == f"earlier   a run in out ({words}); {kept}\n"
    assert "kept" not in again.stdout  # the same network
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*FILES, "mine.png", "earlier"])
    assert list((tmp_path / "out/earlier").iterdir()) == [earlier]


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({"seed": 1, "lr": 0.1, "quiet": True, "output": "elsewhere", "csv": "a.csv"}, "the same options"),
        ({"seed": 2, "lr": 0.1}, "different `seed`"),
        ({"seed": 2, "lr": 0.2, "new": 1}, "different `lr`, `new`, `seed`"),
    ],
)
def test_replacing_an_earlier_run_is_reported(options, others, tmp_path):
    results = {"options": {"seed": 1, "lr": 0.1, "quiet": False, "output": None}, "test_accuracy": 0.5}
    (tmp_path / "metrics.json").write_text(json.dumps(results))
    assert f"(test accuracy 50.00 %, {others})" in replaced_run(tmp_path, options)
    assert (replaced_run(tmp_path, options, resumed=True) is None) == (others == "the same options")


def test_files_that_no_run_wrote_are_reported(tmp_path):
    for name in ("model.safetensors", "curves.png", "notes.txt"):
        (tmp_path / name).touch()
    words = f"files that no run wrote in {tmp_path} (model.safetensors, curves.png); they will be kept in"
    assert replaced_run(tmp_path, {}) == f"{words} {tmp_path / 'earlier'}, unless they are the same"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"options": 3, "test_accuracy": 1}', "\xff"])
def test_a_file_that_is_replaced_is_reported_even_if_it_cannot_be_read(content, tmp_path):
    if content is None:
        assert replaced_run(tmp_path, {"seed": 1}) is None
        return
    (tmp_path / "metrics.json").write_bytes(content.encode("latin-1"))
    assert replaced_run(tmp_path, {"seed": 1}).endswith("unless this run gives the same network")


def test_an_npz_file(tmp_path):
    write_few(tmp_path / "mine.npz")
    options = ["--epochs", 1, "--backend", "numpy", "--no-plots"]
    process = run_here("train", "--dataset", "mine.npz", *options, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert metrics_of(tmp_path / "runs" / "keras_cnn-mine")["dataset"] == "mine"


def test_early_stopping_is_reported_and_keeps_the_best(tmp_path):
    options = ["--validation-split", 0.2, "--limit", 100, "--lr", 0.3, "--early-stopping", 1, "--epochs", 30]
    process = train(tmp_path, *options, "--model", "lenet")
    metrics = metrics_of(tmp_path / "out")
    losses = [epoch["validation_loss"] for epoch in metrics["epochs"]]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 1 < 30
    assert metrics["stopped_early"] == (
        f"after epoch {best + 1}: the validation loss has not improved for 1 epoch; best: epoch {best}"
    )
    assert f"stopped   early {metrics['stopped_early']}\n" in process.stdout
    assert f"\nbest      epoch {best}, whose network is in out/model.safetensors\n" in process.stdout
    kept, best_file = (tinycnn.load(tmp_path / "out" / f"model{end}.safetensors") for end in ("", "_best"))
    assert all(np.array_equal(array, best_file.state_dict()[name]) for name, array in kept.state_dict().items())
    digits = data.load("digits", limit=100)
    assert evaluate(kept, digits.x_test, digits.y_test).accuracy == metrics["test_accuracy"]
    assert metrics["test_accuracy"] == metrics["best"]["test_accuracy"]
    assert metrics["test_loss"] == metrics["best"]["test_loss"]


def test_the_best_epoch_alone_leaves_the_last_network(tmp_path):
    options = ["--validation-split", 0.2, "--limit", 100, "--lr", 0.6, "--save-best", "--epochs", 2]
    process = train(tmp_path, *options, "--model", "lenet")
    metrics = metrics_of(tmp_path / "out")
    assert "digits test images (after the last epoch)\n" in process.stdout
    words = rf"^best      epoch {metrics['best']['epoch']}, test accuracy .*: out/model_best.safetensors$"
    assert re.search(words, process.stdout, re.M)
    assert metrics["best"]["epoch"] == 1
    assert metrics["test_loss"] != metrics["best"]["test_loss"]


@pytest.mark.skipif(os.name == "nt", reason="Windows reports closed pipes differently")
def test_results_are_written_when_the_output_is_closed(tmp_path):
    given = ["--dataset", "digits", "--limit", 64, "--model", "lenet", "--epochs", 1, "--backend", "numpy"]
    command = [sys.executable, "-m", "tinycnn", "train", *given, "--output", tmp_path / "out", "--no-plots"]
    surroundings = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    assert sorted(os.listdir(tmp_path / "out")) == FILES


def test_mirrored_digits_are_reported(tmp_path):
    sentence = "mirrors half of the images, and mirrored digits are not valid digits; use --augment affine for digits"
    assert sentence in train(tmp_path, "--limit", 64, "--augment", "flip_and_crop").stdout
    assert "mirrors" not in train(tmp_path, "--limit", 64, "--augment", "affine").stdout


@pytest.mark.parametrize(("images", "steps"), [(48, "5 steps"), (19 * 128, "95 steps"), (19 * 128 + 1, "")])
def test_a_run_of_few_steps_is_reported(images, steps):
    """Of 128 images each, in the 5 epochs of keras_cnn: one image more than 19 batches makes 100 steps, enough."""
    dataset, config = data.load("digits", limit=48), config_of("--dataset digits --recipe author")
    sentence = f"5 epochs of {images} images are only {steps}; use a smaller --batch-size or more --epochs"
    better = ", or --recipe few, which sets them where they are not given"
    assert remarks(config, dataset, images) == ([sentence + better] if steps else [])


def test_the_recipe_for_few_pictures_is_not_suggested_where_it_is_used():
    dataset = data.load("digits", limit=48)
    for words, sentence in (
        (
            "--epochs 5",
            "5 epochs of 48 images are only 30 steps; use more --epochs, or leave them out: the recipe takes 40",
        ),
        (
            "--epochs 40 --batch-size 24",
            "40 epochs of 48 images are only 80 steps; use a smaller --batch-size or more --epochs",
        ),
    ):
        config = config_of(f"--dataset digits --recipe few --batch-size 8 {words}")
        assert remarks(config, dataset, 48)[-1] == sentence


def test_settings_without_effect_are_reported(tmp_path):
    process = train(tmp_path, "--limit", 64, "--model", "lenet", "--threads", 1, "--momentum", 0.9)
    assert "1 epoch of 64 images is only 1 step; use a smaller --batch-size" in process.stdout
    assert "--threads is for the numba backend; numpy does not use it\n" in process.stdout
    assert "--momentum is for sgd, rmsprop, muon, filter_muon; adam does not use it\n" in process.stdout
    assert "does not use it" not in train(tmp_path, "--limit", 64, "--optimizer", "sgd", "--momentum", 0.5).stdout


def test_options_of_other_data_sets_are_reported(tmp_path):
    digits = data.load("digits", limit=48)
    for words, told in {
        "--dataset digits --data-dir x": "--data-dir is for mnist, fashion_mnist, cifar10; digits is not",
        "--dataset digits --pixels 0..1": "--pixels is for .npz files and folders of images; digits holds bytes",
    }.items():
        assert told in "\n".join(remarks(config_of(words), digits, 1000))
    np.savez(tmp_path / "x.npz", x_train=digits.x_train / 255, y_train=digits.y_train, x_test=digits.x_test / 255,
             y_test=digits.y_test)  # fmt: skip
    process = train(tmp_path, "--dataset", "x.npz", "--model", "lenet", "--pixels", "0..1")
    assert "from x.npz (pixels 0..1: as given)\n" in process.stdout
    assert "--pixels is" not in process.stdout
    assert metrics_of(tmp_path / "out")["options"]["pixels"] == "0..1"


def test_numbers_out_of_range_are_reported_once_and_without_warnings(tmp_path):
    pytest.importorskip("numba")
    given = [
        "--dataset",
        "digits",
        "--backend",
        "numba",
        "--lr",
        1e9,
        "--model",
        "lenet",
        "--epochs",
        1,
        "--output",
        "o",
    ]
    process = run_command("train", *given, folder=tmp_path)
    assert process.returncode == 2
    assert re.fullmatch(r"error: the loss became nan in .*\n", process.stderr)


def test_written_names_the_files_of_this_run_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("older")
    process = train(tmp_path, "--limit", 64, "--model", "lenet")
    assert f"written   {', '.join(FILES)} in out\n" in process.stdout
    assert "1 epoch, batch 64" in process.stdout


def test_resume_does_not_train_a_finished_run_again(tmp_path):
    train(tmp_path, "--limit", 64, "--model", "lenet")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    message = refused(tmp_path, "--dataset", "digits", "--limit", 64, "--model", "lenet", "--output", "out", "--resume")
    words = "--resume: the run in out is finished; rerun without --resume, or choose another --output; to train its "
    assert message == words + "network further, pass --init-from with its model.safetensors"
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before


# -------------------------------------------------------------------------------------------- MNIST, and without MNIST


def test_real_mnist(tmp_path, mnist_folder):
    train(tmp_path, "--dataset", "mnist", "--limit", 2000, "--backend", "auto", mnist=mnist_folder)
    metrics = metrics_of(tmp_path / "out")
    assert (metrics["dataset"], metrics["train_images"], metrics["test_images"]) == ("mnist", 2000, 10_000)
    assert metrics["test_accuracy"] > 0.6  # guessing gives 0.1; 16 steps give about 0.8
    mnist = data.load("mnist", data_dir=mnist_folder)
    model = tinycnn.load(tmp_path / "out" / "model.safetensors")
    with tinycnn.use_backend(metrics["backend"]):
        model = tinycnn.load(tmp_path / "out" / "model.safetensors")
        assert evaluate(model, mnist.x_test, mnist.y_test).accuracy == metrics["test_accuracy"]


def test_auto_is_mnist_where_there_is_one(tmp_path, mnist_folder):
    process = train(tmp_path, "--dataset", "auto", "--limit", 256, "--backend", "auto", mnist=mnist_folder)
    assert metrics_of(tmp_path / "out")["dataset"] == "mnist"
    assert "NOTICE" not in process.stdout + process.stderr
    because = [line.partition("because ")[2] for line in process.stdout.splitlines() if " because " in line]
    assert because == passed_over(metrics_of(tmp_path / "out")["backend"])


def test_auto_without_mnist_names_digits_everywhere(tmp_path):
    options = ["--model", "lenet", "--backend", "numpy", "--epochs", 1, "--limit", 100, "--no-plots"]
    process = run_here("train", *options, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    assert "NOTICE: this is NOT MNIST" in process.stderr
    assert "Connection refused" in process.stderr
    assert "data      digits:" in process.stdout
    assert "on all 360 digits test images" in process.stdout
    metrics = metrics_of(tmp_path / "runs" / "lenet-digits")
    assert metrics["dataset"] == "digits"
    assert "digits bundled with scikit-learn" in metrics["data_source"]
    assert (metrics["options"]["recipe"], metrics["options"]["batch_size"]) == ("digits", models.FEW_DIGITS.batch_size)
    assert process.stdout.count("with the recipe for small sets of digits: ") == 1


def test_the_notice_is_not_silenced_by_quiet(tmp_path):
    process = train(tmp_path, "--dataset", "auto", "--quiet", "--limit", 100, "--momentum", 0.9)
    assert "NOTICE: this is NOT MNIST" in process.stderr
    assert "digits test images" in process.stdout
    assert "--momentum is for sgd, rmsprop, muon, filter_muon; adam does not use it\n" in process.stderr


# ------------------------------------------------------------------------------------------------------------ bad input


def refused(folder, *arguments):
    """The error that the command prints on stderr; it has written nothing. Runs in the process of the tests."""
    before = sorted(folder.rglob("*"))
    process = run_here("train", *arguments, folder=folder)
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    assert "Warning" not in process.stderr
    assert "test accuracy" not in process.stdout
    assert sorted(folder.rglob("*")) == before
    assert process.stderr.count("error: ") == 1
    return process.stderr.partition("error: ")[2].strip()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--model lenot", "invalid choice: 'lenot'"),
        ("--backend torch", "invalid choice: 'torch'"),
        ("--dataset minst", "an existing folder of pictures or .npy files; did you mean mnist?"),
        ("--dataset Fashion-MNIST", "did you mean fashion_mnist?"),
        ("--dataset=", "unknown data set ''; expected one of auto, mnist"),
        ("--recipe worst", "invalid choice: 'worst'"),
        ("--optimizer adagrad", "invalid choice: 'adagrad'"),
        ("--schedule random", "invalid choice: 'random'"),
        ("--epochs 0", "--epochs 0: expected at least 1"),
        ("--epochs -1", "--epochs -1: expected at least 1"),
        ("--epochs many", "argument --epochs: expected a whole number, came 'many'"),
        ("--batch-size 0", "--batch-size 0: expected at least 1"),
        ("--batch-size -64", "--batch-size -64: expected at least 1"),
        ("--batch-size 1.5", "argument --batch-size: expected a whole number, came '1.5'"),
        ("--lr much", "argument --lr: expected a number, came 'much'"),
        ("--lr nan", "--lr=nan: expected a number above 0"),
        ("--lr inf", "--lr=inf: expected a number above 0"),
        ("--lr -0.1", "--lr=-0.1: expected a number above 0"),
        ("--lr 0", "--lr=0.0: expected a number above 0"),
        ("--momentum 1", "--momentum=1.0: expected a number at least 0, below 1"),
        ("--reduce-on-plateau 0", "--reduce-on-plateau 0: expected at least 1"),
        ("--reduce-on-plateau 3", "--reduce-on-plateau compares validation losses: add --validation-split 0.1"),
        ("--average-weights 1", "--average-weights=1.0: expected a number at least 0, below 1"),
        ("--validation-split 1", "--validation-split=1.0: expected a number at least 0, below 1"),
        ("--validation-split -0.1", "--validation-split=-0.1: expected"),
        ("--validation-split nan", "--validation-split=nan: expected"),
        ("--label-smoothing 1", "--label-smoothing=1.0: expected"),
        ("--augment rotate", "invalid choice: 'rotate'"),
        ("--augment flip_and_crop --elastic 1", "--elastic 1: requires --augment affine"),
        ("--fade-epochs 2", "--fade-epochs 2: requires --augment"),
        ("--augment --fade-epochs 0.5", "--fade-epochs 0.5: requires"),
        ("--augment --fade-epochs 6", "--fade-epochs 6: requires --augment, and a value from 1 to --epochs"),
        ("--augment --fade-epochs nan", "--fade-epochs nan: requires"),
        ("--seed -1", "--seed -1: expected 0 or more"),
        ("--clip-norm 0", "--clip-norm=0.0: expected a number above 0"),
        ("--early-stopping 0", "--early-stopping 0: expected at least 1"),
        ("--early-stopping 3", "need validation images: add --validation-split 0.1"),
        ("--save-best", "need validation images: add --validation-split 0.1"),
        ("--checkpoint-every 0", "--checkpoint-every 0: expected at least 1"),
        ("--threads 0", "--threads 0: expected a positive integer"),
        ("--limit 0 --dataset digits", "--limit 0: expected a whole number of training images, at least 1"),
        ("--limit -5 --dataset digits", "--limit -5"),
        ("--output= --dataset digits", "--output: expected the name of a folder, got an empty string"),
        ("--epoch 3", "there is no option --epoch; did you mean --epochs?"),
        ("--dataset missing.npz", "missing.npz: there is no such file"),
        ("--dataset mnist", "MNIST is not available"),
        ("--dataset mnist --data-dir nowhere", "nowhere does not exist"),
        ("--data-dir nowhere", "nowhere does not exist"),
        ("--tf32 --backend numpy --dataset digits", "TF32 is for tensor cores, which backend 'numpy' does not use"),
    ],
)
def test_options_out_of_range(arguments, words, tmp_path):
    message = refused(tmp_path, *arguments.split())
    assert words in message
    assert message.count("\n") == 0 or "MNIST" in message  # that error lists what was tried, and what to do


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed here")
def test_a_backend_that_is_not_installed(tmp_path):
    message = refused(tmp_path, "--backend", "cupy", "--dataset", "digits")
    assert "backend 'cupy' is not installed: `pip install" in message
    assert "\n" not in message


@pytest.mark.parametrize("output", ["taken", "taken/below", "taken/far/below"])
def test_an_output_folder_that_is_a_file(output, tmp_path):
    (tmp_path / "taken").write_text("precious")
    message = refused(tmp_path, "--dataset", "digits", "--output", output)
    assert "taken is a file; choose another folder, or move the file" in message
    assert (tmp_path / "taken").read_text() == "precious"


def test_a_bad_option_leaves_older_results_alone(tmp_path):
    train(tmp_path, "--limit", 64)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    refused(tmp_path, "--dataset", "digits", "--output", "out", "--epochs", 0)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before


def tiny_mnist(folder):
    """A small set of 12x12 images in the four files of MNIST."""
    rng = np.random.default_rng(0)
    arrays = {
        stem: rng.integers(0, 10, n, np.uint8) if "labels" in stem else rng.integers(0, 256, (n, 12, 12), np.uint8)
        for stem, n in zip(STEMS, (40, 40, 20, 20), strict=True)
    }
    return write_set(folder / "data", arrays)


def truncate(folder):
    path = folder / f"{STEMS[0]}.gz"
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(folder):
    path = folder / f"{STEMS[2]}.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def swap(folder):
    images, labels, spare = folder / f"{STEMS[0]}.gz", folder / f"{STEMS[1]}.gz", folder / "spare"
    images.rename(spare)
    labels.rename(images)
    spare.rename(labels)


def exchange_parts(folder):
    shutil.copy(folder / f"{STEMS[3]}.gz", folder / f"{STEMS[1]}.gz")


def replace_by_text(folder):
    (folder / f"{STEMS[0]}.gz").write_text("<html>Please log in</html>")


def remove_one(folder):
    (folder / f"{STEMS[3]}.gz").unlink()


def label_eleven(folder):
    (folder / f"{STEMS[1]}.gz").write_bytes(raw_idx(np.full(40, 11, np.uint8)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "train-images"),
        (corrupt, "t10k-images"),
        (swap, "Are image and label files swapped?"),
        (exchange_parts, "do not belong together"),
        (replace_by_text, "not an IDX file"),
        (remove_one, "t10k-labels-idx1-ubyte (.gz or unpacked) is missing"),
        (label_eleven, "values from 11 to 11; expected 0 to 9"),
    ],
)
def test_damaged_data_folders(damage, words, tmp_path):
    folder = tiny_mnist(tmp_path)
    damage(folder)
    message = refused(tmp_path, "--data-dir", folder, "--model", "lenet")
    assert words in message
    assert str(folder) in message


def test_an_undamaged_folder_is_accepted(tmp_path):
    train(tmp_path, "--dataset", "mnist", "--data-dir", tiny_mnist(tmp_path), "--model", "lenet")
    assert metrics_of(tmp_path / "out")["train_images"] == 40


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_train": np.full(20, -1)}, "y_train: values from -1 to -1"),
        ({"y_test": np.full(10, 10**6)}, "y_test: values from 1000000"),
        ({"y_train": np.zeros(19, np.int64)}, "x_train holds 20 images, y_train 19 labels"),
        ({"y_train": np.zeros(20)}, "expected integers"),
        ({"x_train": np.full((20, 12, 12), np.nan)}, "not finite"),
        ({"x_train": np.array([None])}, "Pickled objects are never loaded"),
    ],
)
def test_npz_files_that_hold_nonsense(changes, words, tmp_path):
    arrays = {"x_train": np.zeros((20, 12, 12), np.uint8), "y_train": np.arange(20) % 10}
    arrays |= {"x_test": np.zeros((10, 12, 12), np.uint8), "y_test": np.arange(10)}
    np.savez(tmp_path / "mine.npz", **(arrays | changes))
    message = refused(tmp_path, "--dataset", "mine.npz")
    assert "mine.npz" in message
    assert words in message


def test_images_too_small_for_the_network(tmp_path):
    images, labels = np.zeros((20, 6, 6), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "mine.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert "layer conv2d_2 does not fit" in refused(tmp_path, "--dataset", "mine.npz")


@pytest.mark.parametrize("images", [64, 1000], ids=["in its last step", "soon"])
def test_a_run_that_diverges_writes_nothing(images, tmp_path):
    options = ("--lr", "1e30", "--epochs", 1, "--batch-size", 64, "--limit", images, "--backend", "numpy")
    process = run_here("train", "--dataset", "digits", *options, "--output", "out", folder=tmp_path)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert re.search(r"^error: the loss became (nan|inf) .*: try a smaller --lr$", process.stderr, re.MULTILINE)
    assert not (tmp_path / "out").exists()
