"""``tinycnn COMMAND``: output, exit codes, and error messages without tracebacks."""

import contextlib
import dataclasses
import importlib
import io
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import tinycnn
from tinycnn import Function, data, models
from tinycnn.backends import threads
from tinycnn.commands import COMMANDS, main
from tinycnn.commands.evaluate import confusion_lines
from tinycnn.data import drawing
from tinycnn.layers import Dense, Flatten, Layer, Sequential
from tinycnn.testing import gradient_cases
from tinycnn.train.evaluation import evaluate, predict_logits


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """An untrained lenet as a file, and the network."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model = models.create("lenet")
    model.pictures = "drawing"
    tinycnn.save(model, path)
    return path, model


@pytest.fixture(autouse=True)
def backend_of_before():
    """Commands choose a backend for their process, which is here the process of the tests."""
    with tinycnn.use_backend("numpy"):
        yield


def failing(capsys, *arguments, code=2):
    """The error that a failing command prints on stderr."""
    assert main(list(map(str, arguments))) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error.removeprefix("error: ").strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: tinycnn {command}" in capsys.readouterr().out


def test_an_unknown_command_lists_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinycnn", "fly"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    assert "invalid choice: 'fly'" in done.stderr
    assert "summary" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no folder that is in use")
def test_a_deleted_working_directory_is_an_error(tmp_path, capsys):
    (tmp_path / "gone").mkdir()
    with contextlib.chdir(tmp_path):
        os.chdir("gone")
        (tmp_path / "gone").rmdir()
        for words in ("summary lenet", "train --epochs 1", "doctor"):
            sentence = "the working directory cannot be used (No such file or directory): `cd` to another one"
            assert failing(capsys, *words.split()) == sentence


# ---------------------------------------------------------------------------------------------------------- summary


def test_summary_shows_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet"]) == 0
    assert "60,074" in capsys.readouterr().out


def test_summary_of_a_model_file(model_file, capsys):
    path, model = model_file
    assert main(["summary", str(path)]) == 0
    assert model.summary() in capsys.readouterr().out


def test_summary_of_an_unknown_model_is_an_error(tmp_path, capsys):
    assert failing(capsys, "summary", "lenot").startswith("'lenot': expected a model file, or one of lenet, keras_cnn")
    assert failing(capsys, "summary", tmp_path / "a.safetensors").endswith("no such file")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports closed pipes differently")
def test_a_closed_pipe_is_not_an_error() -> None:
    command = [sys.executable, "-m", "tinycnn", "summary", "lenet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


# ---------------------------------------------------------------------------------------------------------- predict


@pytest.fixture
def drawings(tmp_path):
    """A folder of pictures: two digits, a text file called c.png, an empty page, and a text file."""
    folder = tmp_path / "drawings"
    folder.mkdir()
    digits = data.load("digits").x_test[:2, :, :, 0]
    Image.fromarray(digits[0]).resize((200, 200)).save(folder / "a.png")
    Image.fromarray(255 - digits[1]).resize((90, 90)).save(folder / "b.JPG", "JPEG")
    (folder / "c.png").write_text("not a picture")
    Image.new("L", (50, 50), 255).save(folder / "d.png")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def test_predict_prints_the_output_of_the_network(model_file, drawings, capsys):
    path, model = model_file
    assert main(["predict", str(path), str(drawings / "a.png"), str(drawings / "b.JPG"), "--backend", "numpy"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["picture", "class", *"0123456789", "%"]
    for name, line in zip(("a.png", "b.JPG"), lines, strict=True):
        image = data.drawing.read_drawing(drawings / name)
        expected = tinycnn.metrics.probabilities(predict_logits(model, image))[0]
        assert line.split()[:2] == [str(drawings / name), str(expected.argmax())]
        np.testing.assert_allclose(np.array(line.split()[2:], float), 100 * expected, atol=0.051)


def test_predict_and_trace_of_several_digits(model_file, drawings, capsys):
    path, _ = model_file
    two = np.concatenate([255 - data.load("digits").x_test[i, :, :, 0] for i in (0, 1)], axis=1)
    Image.fromarray(two).resize((400, 200)).save(drawings / "two.png")
    assert main(["predict", str(path), str(drawings / "two.png"), "--backend", "numpy"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert "two.png (1 of 2)" in first
    assert "two.png (2 of 2)" in second
    error = failing(capsys, "trace", path, drawings / "two.png", "--label", 1)
    assert error.endswith("two.png: 2 digits are on it, expected one: cut out one of them")


def test_predict_classifies_the_readable_pictures_of_a_folder(model_file, drawings, capsys):
    assert main(["predict", str(model_file[0]), str(drawings)]) == 1
    captured = capsys.readouterr()
    assert re.findall(r"[ab]\.\w+(?=  )", captured.out) == ["a.png", "b.JPG"]
    bad, empty = captured.err.splitlines()
    assert bad.startswith(f"error: {drawings / 'c.png'}: not an image that can be read")
    assert empty.startswith(f"error: {drawings / 'd.png'}: nothing is drawn on it")


def test_predict_prints_no_table_where_nothing_is_classified(model_file, drawings, capsys):
    assert main(["predict", str(model_file[0]), str(drawings / "c.png"), str(drawings / "gone.png")]) == 2
    assert capsys.readouterr().out == ""


def test_predict_without_a_readable_picture_is_an_error(model_file, drawings, tmp_path, capsys):
    assert failing(capsys, "predict", model_file[0], drawings / "c.png").count("\n") == 0
    assert "there is no such file" in failing(capsys, "predict", model_file[0], tmp_path / "gone.png")
    (tmp_path / "empty").mkdir()
    assert "no picture in this folder" in failing(capsys, "predict", model_file[0], tmp_path / "empty")
    several = tmp_path / "all of them"
    (several / "cat").mkdir(parents=True)
    message = failing(capsys, "predict", model_file[0], several)
    assert message.endswith(f"with tinycnn evaluate MODEL_FILE --dataset '{several}' --all-pictures")


def test_the_model_file_comes_before_the_pictures(model_file, drawings, capsys):
    words = failing(capsys, "predict", drawings / "a.png", model_file[0])
    assert f"{model_file[0]}: the model file comes first: tinycnn predict {model_file[0]} PICTURE" in words
    words = failing(capsys, "predict", drawings / "a.png", "my model.safetensors")
    assert words.endswith("tinycnn predict 'my model.safetensors' PICTURE")


def test_exercises_print_commands_for_a_folder_with_a_space(tmp_path, capsys):
    folder = tmp_path / "my exercises"
    assert failing(capsys, "exercises", folder, "--check").endswith(f"with `tinycnn exercises '{folder}'`")
    assert main(["exercises", str(folder)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"open '{folder / '01_arithmetic.py'}', then: tinycnn exercises '{folder}' --check"


def test_predict_without_a_model_file_uses_the_network_of_the_package(model_file, drawings, capsys):
    """A picture as the first word, and a folder; the model file, where there is one, is the first word."""
    a, b, path = str(drawings / "a.png"), str(drawings / "b.JPG"), str(model_file[0])
    read = {}
    for words in ([a], [a, b], [drawings], [drawings, b], [path, a, b], ["--backend", "numpy", path, a]):
        code = main(["predict", *map(str, words)])
        captured = capsys.readouterr()
        read[len(read)] = [line.split()[:2] for line in captured.out.splitlines()[1:]]
        assert code == (drawings in words)  # two files in the folder hold no digit
        assert ("NOTICE: read by digit_cnn, which comes with tinycnn" in captured.err) == (path not in words)
    expected = predict_logits(models.trained(), np.concatenate([data.drawing.read_drawing(name) for name in (a, b)]))
    digits = [[name, str(digit)] for name, digit in zip((a, b), expected.argmax(axis=1), strict=True)]
    assert [read[i] for i in range(4)] == [digits[:1], digits, digits, [*digits, digits[1]]]
    assert [len(read[i]) for i in (4, 5)] == [2, 1]


def test_predict_takes_options_between_model_file_and_pictures(model_file, drawings, capsys):
    assert main(["predict", str(model_file[0]), "--backend", "numpy", str(drawings / "a.png")]) == 0
    assert "NOTICE" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_the_number_of_threads_is_an_option(command, model_file, drawings, capsys):
    rest = [drawings / "a.png"] if command == "predict" else ["--dataset", "digits"]
    before = threads.get_threads()
    try:
        refused = failing(capsys, command, model_file[0], *rest, "--backend", "numpy", "--threads", 0)
        assert refused == "--threads 0: expected a positive integer"
        assert main([command, *map(str, [model_file[0], *rest]), "--backend", "numpy", "--threads", "2"]) == 0
        assert threads.get_threads() == 2
    finally:
        threads.set_threads(before)


def test_predict_needs_a_picture(model_file, drawings, capsys):
    file = model_file[0]
    assert failing(capsys, "predict", file).endswith("expected a picture after this model file")
    assert failing(capsys, "predict") == "expected a picture, or a folder of them: tinycnn predict [MODEL_FILE] IMAGE"
    assert f"is a folder; give the file in it: {file}" in failing(capsys, "predict", file.parent, drawings / "a.png")


def test_predict_refuses_unsuitable_models(drawings, tmp_path, capsys):
    assert "no such file" in failing(capsys, "predict", tmp_path / "gone", drawings)
    tinycnn.save(models.create("keras_cnn", input_shape=(28, 28, 2)), tmp_path / "two")
    assert "expected (H, W, 1) or (H, W, 3)" in failing(capsys, "predict", tmp_path / "two", drawings)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_an_error(value, drawings, tmp_path, capsys):
    model = models.create("batchnorm_cnn")
    next(buffer for name, buffer in model.named_buffers() if name.endswith("running_var"))[...] = value
    tinycnn.save(model, tmp_path / "model")
    for arguments in (["predict"], ["evaluate", "--dataset", "digits"], ["serve", "--port", "0"]):
        given = [arguments[0], tmp_path / "model", *arguments[1:], *([drawings] * (arguments == ["predict"]))]
        assert "running_var is not finite (NaN or infinite): its training went wrong" in failing(capsys, *given)


def test_a_folder_as_model_file_is_an_error(tmp_path, capsys):
    message = failing(capsys, "evaluate", tmp_path)
    assert message == f"{tmp_path}: is a folder; give the file in it: {tmp_path / 'model.safetensors'}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("augmentation affine --dataset digits --elastic -1", "--elastic -1.0, expected a number of pixels"),
        ("gradcheck --import=", "--import : Empty module name; pass the name of a module"),
        ("gradcheck --import .nothing", "--import .nothing: "),
        ("lr-find --dataset digits --steps 5", "--steps=5: expected an integer, at least 10"),
        ("lr-find --dataset digits --lowest -1", "--lowest=-1.0: expected a number above 0"),
        ("lr-find --dataset digits --lowest 1 --highest 0.1", "--highest=0.1: expected a number above 1"),
        ("gradcheck --kernels --op relu", "--op and --quick choose how gradients are checked; --kernels checks all"),
        ("gradcheck --kernels --quick", "--op and --quick choose how gradients are checked; --kernels checks all"),
        ("explain-step lenet --batch-size 0", "--batch-size=0: expected a positive integer"),
        ("explain-step lenet --batch-size -5", "--batch-size=-5: expected a positive integer"),
        ("explain-step lenet --threads 0", "--threads 0: expected a positive integer"),
        (f"exercises FOLDER --check --only {'9' * 5000}", "the exercises are 1 to 13"),
        ("exercises check FOLDER --train", "expected only one of --check, --train and --solutions"),
        ("exercises FOLDER --check --solutions", "expected only one of --check, --train and --solutions"),
        ("summary FOLDER", "FOLDER: is a folder; give the file in it"),
        ("summary FILE", "FILE: not a readable safetensors file"),
        ("import FOLDER --model m", "FOLDER: is a folder; give the file in it"),
        ("report FILE", "FILE/metrics.json: no such file; pass the output folder of a training run"),
    ],
)
def test_a_wrong_value_names_the_option(words, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    (tmp_path / "FOLDER").mkdir()
    message = failing(capsys, *words.split())
    assert expected in message.replace(f"{tmp_path}{os.sep}", "").replace(os.sep, "/")


def test_predict_with_many_classes_shows_the_most_probable(drawings, tmp_path, capsys):
    tinycnn.save(models.create("lenet", classes=47), tmp_path / "model")
    assert main(["predict", str(tmp_path / "model"), str(drawings / "a.png")]) == 0
    answer = capsys.readouterr().out.splitlines()[1].split(maxsplit=1)[1]
    assert re.fullmatch(r"(\d+)  \1: [\d.]+(, \d+: [\d.]+){4}", answer)


def redness(**meaning):
    """A network with three classes: how red, how green, how blue a picture of 4x6 pixels is."""
    network = Sequential(Flatten(), Dense(3), input_shape=(4, 6, 3))
    network.load_state_dict({"dense_1.weight": np.tile(np.eye(3, dtype=np.float32), (24, 1)), "dense_1.bias": ZEROS})
    for name, value in meaning.items():
        setattr(network, name, value)
    return network


ZEROS = np.zeros(3, np.float32)


def test_predict_prints_the_names_of_classes(tmp_path, capsys):
    """Pictures of any size and mode, in colour; transparent pixels become white, which favours no colour."""
    tinycnn.save(redness(class_names=["red", "green", "light blue"]), tmp_path / "model")
    Image.new("RGB", (300, 100), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("CMYK", (64, 64), (255, 255, 0, 0)).save(tmp_path / "b.jpg")
    Image.new("RGBA", (9, 9), (0, 255, 0, 255)).save(tmp_path / "c.webp", lossless=True)
    Image.new("P", (3, 3), 0).save(tmp_path / "d.gif")
    paths = [str(tmp_path / name) for name in ("a.png", "b.jpg", "c.webp", "d.gif")]
    assert main(["predict", str(tmp_path / "model"), *paths]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["picture", "class", "red", "green", "light", "blue", "%"]
    answers = [line[len(max(paths, key=len)) :].strip().split("  ")[0] for line in lines]
    assert answers == [
        "red",
        "light blue",
        "green",
        "red",
    ]  # the last picture is black: all outputs are equal, and the first class wins
    assert {len(line) for line in lines} == {len(head) - len("  %")}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_predict_escapes_unprintable_names(tmp_path, capsys):
    tinycnn.save(redness(class_names=["red", "green", "light blue"]), tmp_path / "model")
    (tmp_path / "in").mkdir()
    Image.new("RGB", (9, 9), (255, 0, 0)).save(os.fsdecode(bytes(tmp_path / "in") + b"/\xff\n\x1b[2J.png"))
    (tmp_path / "in" / "no\x1b[2J.png").write_text("picture")
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "in")]) == 1
    out, err = capsys.readouterr()
    assert r"/in/\udcff\n\x1b[2J.png  " in out
    assert r"/in/no\x1b[2J.png: not an image" in err
    assert (out + err).replace("\n", "").isprintable()


def test_predict_prepares_a_picture_as_training_did(model_file, drawings, capsys, monkeypatch):
    """A network trained on whole pictures gets them whole; a network without that record gets drawings."""
    path, model = model_file
    whole = tinycnn.load(path)
    whole.pictures = "whole"
    tinycnn.save(whole, path.with_name("whole"))
    for file, expected in (path, drawing.read_drawing), (path.with_name("whole"), whole_picture):
        assert main(["predict", str(file), str(drawings / "b.JPG")]) == 0
        answered = np.array(capsys.readouterr().out.splitlines()[1].split()[2:], float)
        p = tinycnn.metrics.probabilities(predict_logits(model, expected(drawings / "b.JPG")))[0]
        np.testing.assert_allclose(answered, 100 * p, atol=0.051)


def whole_picture(path):
    return np.asarray(Image.open(path).convert("L").resize((28, 28), Image.Resampling.BILINEAR))[None, :, :, None]


# ----------------------------------------------------------------------------------------------------- augmentation


def test_a_picture_of_an_augmentation(tmp_path, capsys):
    picture = tmp_path / "bent.png"
    options = ["affine", "--elastic", "2", "--dataset", "digits", "--image", "7", "--output", str(picture)]
    assert main(["augmentation", *options]) == 0
    assert capsys.readouterr().out.startswith("Elastic(shift=2.0, rotation=10.0, scale=0.1, shear=0.1, bend=2.0) of ")
    assert Image.open(io.BytesIO(picture.read_bytes())).width > 300
    message = failing(capsys, "augmentation", "flip_and_crop", "--dataset", "digits", "--image", "1437")
    assert message == "--image 1437: expected a number from 0 to 1436"
    assert "affine to bend" in failing(capsys, "augmentation", "flip_and_crop", "--elastic", "1")


def test_a_layer_of_ones_own_is_loaded_by_the_command_that_the_error_prints(tmp_path, capsys, monkeypatch):
    """No command knows the class; Python imports its module first."""
    lines = ["from tinycnn import layers", "@layers.register_layer", "class OwnPart(layers.ReLU): pass"]
    (tmp_path / "my_part.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Layer, "registry", dict(Layer.registry))
    part = importlib.import_module("my_part")
    tinycnn.save(Sequential(Flatten(), part.OwnPart(), input_shape=(2, 2, 1)), "own model.safetensors")
    del Layer.registry["OwnPart"]
    monkeypatch.delitem(sys.modules, "my_part")
    message, command = failing(capsys, "summary", "own model.safetensors").split(":\n  ")
    assert "unknown layer 'OwnPart'; if it is a layer of your own" in message
    python, option, program, *words = shlex.split(command)
    assert (python, option, words) == ("python", "-c", ["summary", "own model.safetensors"])
    monkeypatch.setattr(sys, "argv", [option, *words])
    with pytest.raises(SystemExit) as ended:
        exec(program.replace("MODULE", "my_part"), {})
    assert ended.value.code == 0
    assert "ownpart_1" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------------- evaluate


def test_the_columns_of_a_confusion_matrix_have_names_where_these_fit():
    names, counts = ["circle", "square", "triangle"], np.array([[3, 0, 0], [1, 4, 0], [0, 0, 1000]])
    assert confusion_lines(counts, names) == [
        "          predicted class",
        "true        circle    square  triangle",
        "circle           3         .         .",
        "square           1         4         .",
        "triangle         .         .      1000",
    ]
    assert confusion_lines(np.eye(10, dtype=int), [f"a kind of {i}" for i in range(10)])[1].split()[1:3] == ["0", "1"]


def test_evaluate_prints_the_measured_scores(model_file, capsys):
    path, model = model_file
    assert main(["evaluate", str(path), "--dataset", "digits", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    digits = data.load("digits")
    scores = evaluate(model, digits.x_test, digits.y_test)
    first = f"accuracy {100 * scores.accuracy:.2f} %, loss {scores.loss:.4f} on all 360 digits test images"
    assert out.splitlines()[0] == first
    answers = predict_logits(model, digits.x_test).argmax(axis=1)
    rows = [line.split()[1:] for line in out.splitlines()[4:14]]
    counts = [[0 if cell == "." else int(cell) for cell in row] for row in rows]
    assert counts == confusion_matrix(digits.y_test, answers, labels=range(10)).tolist()
    recall = [float(line.split()[3]) for line in out.splitlines()[-10:]]
    np.testing.assert_allclose(recall, 100 * np.diag(counts) / np.sum(counts, axis=1), atol=0.0051)


def test_evaluate_states_the_views_of_its_scores(model_file, capsys):
    path, model = model_file
    assert main(["evaluate", str(path), "--dataset", "digits", "--backend", "numpy", "--views", "shift"]) == 0
    digits = data.load("digits")
    scores = evaluate(model, digits.x_test, digits.y_test, views="shift")
    first = f"accuracy {100 * scores.accuracy:.2f} %, loss {scores.loss:.4f} on all 360 digits test images"
    first += ", from 5 views of each"
    assert capsys.readouterr().out.splitlines()[0] == f"{first} (shift)"


@pytest.fixture
def dark_file(tmp_path):
    """Digits with white at 16, as scikit-learn stores them, but of 28x28."""
    digits = data.load("digits", limit=64)
    parts = {"x_train": digits.x_train // 16, "y_train": digits.y_train, "x_test": digits.x_test[:20] // 16}
    np.savez(tmp_path / "dark.npz", **parts, y_test=digits.y_test[:20])
    return tmp_path / "dark.npz"


def test_the_range_of_the_pixels_is_an_option(model_file, dark_file, tmp_path, capsys):
    """Without it, a notice names it in the words of the command."""
    shown = ["augmentation", "affine", "--output", str(tmp_path / "a.png"), "--dataset", str(dark_file)]
    for words in (["evaluate", str(model_file[0]), "--dataset", str(dark_file)], shown):
        assert main(words) == 0
        notice = capsys.readouterr().err
        assert notice.startswith("NOTICE: the brightest pixel of all training images is 15 of 255.")
        assert "pass it: --pixels 0..15 or" in notice
        assert main([*words, "--pixels", "0..15"]) == 0
        assert capsys.readouterr().err == ""
        assert failing(capsys, *words, "--pixels=-1").startswith(
            "--pixels -1: expected the numbers for black and white"
        )


def test_predict_takes_the_range_of_deep_pictures(tmp_path, capsys):
    model = models.create("lenet")
    model.pictures = "whole"
    tinycnn.save(model, tmp_path / "model")
    ramp = np.linspace(0, 255, 28, dtype=np.uint16).round() * np.ones((28, 1), np.uint16)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "x.png")
    outputs = []
    for deep, options in ((None, []), (ramp * 16, ["--pixels", "0..4080"]), (ramp * 257, [])):
        if deep is not None:
            Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "x.png")
        assert main(["predict", str(tmp_path / "model"), str(tmp_path / "x.png"), *options]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] == outputs[2]
    for model.pictures in ("whole", "drawing"):
        tinycnn.save(model, tmp_path / "model")
        message = failing(capsys, "predict", tmp_path / "model", tmp_path / "x.png", "--pixels", "nonsense")
        assert "--pixels nonsense: expected the numbers for black and white" in message


def test_evaluate_refuses_other_shapes_and_class_counts(tmp_path, capsys, monkeypatch):
    digits = data.load("digits")
    tinycnn.save(models.create("lenet", classes=3), tmp_path / "model")
    message = failing(capsys, "evaluate", tmp_path / "model", "--dataset", "digits")
    assert message.startswith("digits has images (28, 28, 1) of 10 classes")
    assert "made for (28, 28, 1) and 3; choose another --dataset" in message
    monkeypatch.setattr(data, "load", lambda *names, **settings: digits)
    expected = "(28, 28, 1) and 3: name its data set with --dataset; without it, digits is taken, which has images"
    assert expected in failing(capsys, "evaluate", tmp_path / "model")


def test_evaluate_measures_new_pictures(tmp_path, capsys):
    """Of all classes or of some, only those held out or all; the words name the option."""
    model = models.create("lenet", classes=3)
    model.class_names = ["cat", "cow", "dog"]
    tinycnn.save(model, tmp_path / "model")
    for name, grey in {"cat": 0, "dog": 255}.items():
        (tmp_path / "new" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (28, 28), grey).save(tmp_path / "new" / name / f"{i}.png")
    words = ["evaluate", str(tmp_path / "model"), "--dataset", str(tmp_path / "new")]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].endswith(
        " on 2 of the 10 new pictures, every fifth of each class, which training holds out; --all-pictures measures all"
    )
    assert printed.err == "NOTICE: no picture of the class 'cow'\n"
    model.pictures = "drawing"
    tinycnn.save(model, tmp_path / "model")
    assert main(words) == 0
    assert "pictures are scaled as they are; `tinycnn predict` cuts out the digit" in capsys.readouterr().err
    assert main([*words, "--all-pictures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" on all 10 new pictures")
    assert [line.split()[-1] for line in lines[-3:]] == ["5", "0", "5"]
    assert lines[-2].split()[-3:] == ["–", "–", "0"]  # nothing to recall
    message = failing(capsys, *words[:3], "digits", "--all-pictures")
    assert message == "--all-pictures is for folders of pictures; leave it out for digits"
    assert "unknown data set 'nowhere'" in failing(capsys, *words[:3], "nowhere", "--all-pictures")


def test_evaluate_refuses_other_classes_with_the_same_numbers(tmp_path, capsys, monkeypatch):
    digits = data.load("digits")
    clothes = dataclasses.replace(digits, name="clothes", class_names=data.sources.FASHION_MNIST.class_names)
    model = models.create("lenet")
    model.class_names = ["T-shirt/top", "Boot", *clothes.class_names[2:]]
    tinycnn.save(model, tmp_path / "model")
    monkeypatch.setattr(data, "load", lambda *names, **settings: clothes)
    message = failing(capsys, "evaluate", tmp_path / "model")
    assert message == f"class 1 is 'Boot' in {tmp_path / 'model'}, 'Trouser' in clothes; choose another --dataset"
    monkeypatch.setattr(data, "load", lambda *names, **settings: digits)  # names that are numbers are not compared
    assert main(["evaluate", str(tmp_path / "model")]) == 0


def test_export_does_not_overwrite_the_model(model_file, tmp_path, capsys):
    path = model_file[0]
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for same in (path, path.parent / ".." / path.parent.name / path.name, tmp_path / "link"):
        assert "this is the model file itself; choose another" in failing(capsys, "export", path, "--onnx", same)
    assert path.read_bytes() == before


# -------------------------------------------------------------------------------------------------------- gradcheck


def test_gradcheck_shows_every_operation(capsys, monkeypatch):
    monkeypatch.setattr(gradient_cases, "CASES", gradient_cases.CASES[::9] + gradient_cases.CASES[-20:])
    assert main(["gradcheck", "--backend", "numpy", "--quick"]) == 0
    head, *rows, verdict = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["on", "numpy"]
    assert {"Conv2d", "MaxPool2d", "Transpose"} <= {row.split()[0] for row in rows}
    assert all(row.endswith(" right") for row in rows)
    assert sum(int(row.split()[1]) for row in rows) == len(gradient_cases.CASES)
    assert verdict.startswith("every gradient is right")


def test_gradcheck_finds_a_wrong_gradient(capsys, monkeypatch):
    class WrongFunction(Function):
        def forward(self, x):
            return x * x

        def backward(self, grad_y):
            return grad_y

    wrong = gradient_cases.Case(WrongFunction, "(3,)", lambda x: WrongFunction()(x), ((3,),))
    monkeypatch.setattr(gradient_cases, "CASES", [wrong])
    assert main(["gradcheck", "--backend", "numpy"]) == 1
    _, row, reason, verdict = capsys.readouterr().out.splitlines()
    assert (row.split()[0], row.split()[-1]) == ("Wrong", "WRONG")
    assert "the gradient of input 0 at index (0,) is wrong: analytic" in reason
    assert verdict.startswith("1 wrong gradients")


def test_gradcheck_of_one_operation(capsys):
    assert main(["gradcheck", "--backend", "numpy", "--op", "Dense"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["operation", "Dense", "every"]
    assert main(["gradcheck", "--backend", "numpy", "--op", "dense", "--quick"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("Dense ")
    assert failing(capsys, "gradcheck", "--op", "Dance").startswith("--op Dance: expected one of Conv2d, MaxPool2d")
    assert "unknown backend 'torch'" in failing(capsys, "gradcheck", "--backend", "torch")
