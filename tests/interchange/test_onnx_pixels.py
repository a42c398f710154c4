"""Which pixels an imported network takes: 0..1 or 0..255, judged, recorded, printed, and given."""

import os
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tinycnn.commands import main
from tinycnn.data.npz import load_npz
from tinycnn.errors import FileFormatError, SettingError
from tinycnn.interchange.onnx.exporter import export_onnx
from tinycnn.interchange.onnx.importer import import_onnx
from tinycnn.interchange.preparation import Preparation
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, Rescaling, Sequential
from tinycnn.layers.interface.likely_pixels import likely_pixels
from tinycnn.models import pixel_scale
from tinycnn.train.evaluation import evaluate

pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
pytest.importorskip("onnxruntime", reason="running them needs: pip install 'tinycnn[onnx]'")

SIZE = 6
FRACTIONS, BYTES = "0..1", "0..255"


def network(*first, classes=2):
    return Sequential(*first, Flatten(), Dense(classes), input_shape=(SIZE, SIZE, 1)).eval()


def foreign(model, path, **names):
    """An ONNX file of ``model`` as another program writes it: without a record of its pixels."""
    import onnx

    export_onnx(model, path)
    file = onnx.load(path)
    file.producer_name = "other"
    path.write_bytes(file.SerializeToString())
    return path


BEGINNINGS = {  # scale and offset of the pixels, and what they were before
    "mean of fractions": (1.0, -0.5, FRACTIONS),
    "added": (1.0, 0.5, FRACTIONS),
    "-1..1 of fractions": (2.0, -1.0, FRACTIONS),
    "Normalize(0.1307, 0.3081) of fractions": (1 / 0.3081, -0.1307 / 0.3081, FRACTIONS),
    "inverted fractions": (-1.0, 1.0, FRACTIONS),
    "a factor": (2.0, 0.0, FRACTIONS),
    "1/255": (1 / 255, 0.0, BYTES),
    "1/256": (1 / 256, 0.0, BYTES),
    "a mean of bytes": (1.0, -33.3, BYTES),
    "-1..1 of bytes": (1 / 127.5, -1.0, BYTES),
    "-1/2..1/2 of bytes": (1 / 255, -0.5, BYTES),
    "Normalize(0.1307, 0.3081) of bytes": (1 / 255 / 0.3081, -0.1307 / 0.3081, BYTES),
    "inverted bytes": (-1.0, 255.0, BYTES),
}


@pytest.mark.parametrize(("scale", "offset", "expected"), BEGINNINGS.values(), ids=list(BEGINNINGS))
def test_the_first_numbers_show_the_pixels(scale, offset, expected, tmp_path):
    for first in ([Rescaling(scale, offset)], [Flatten(), Dropout(), Rescaling(scale, offset)]):
        model = tinycnn.from_onnx(foreign(network(*first), tmp_path / "m.onnx"))
        assert model.pixels == model.metadata()["pixels"] == expected  # recorded, whatever the default is
        assert pixel_scale(model) == {FRACTIONS: 1 / 255, BYTES: 1}[expected]
    tinycnn.save(model, tmp_path / "m.safetensors")
    assert tinycnn.load(tmp_path / "m.safetensors").pixels == expected


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [(0, 1, FRACTIONS), (0.13, 0.1, FRACTIONS), (33.3, 6000, BYTES), (0, 6000, BYTES), (2.5, 1, BYTES)],
)
def test_a_batch_norm_has_seen_the_pixels(mean, variance, expected, tmp_path):
    model = network(BatchNorm())
    values = {"running_mean": np.full(1, mean, np.float32), "running_var": np.full(1, variance, np.float32)}
    model.load_state_dict({f"batchnorm_1.{name}": array for name, array in values.items()}, strict=False)
    assert tinycnn.from_onnx(foreign(model, tmp_path / "m.onnx")).pixels == expected


def test_what_is_given_counts_more(tmp_path):
    path = foreign(network(Rescaling(1 / 255)), tmp_path / "m.onnx")
    for pixels in (FRACTIONS, BYTES):
        found = import_onnx(path, pixels=pixels)
        assert (found.model.pixels, found.reason) == (pixels, "as given")
    with pytest.raises(SettingError, match=r"`pixels`: got '1\.\.2'; expected '0\.\.1' or '0\.\.255'"):
        tinycnn.from_onnx(path, pixels="1..2")
    for wrong in (float("nan"), float("inf"), "1", None):
        with pytest.raises(SettingError, match=r"expected a finite number|`offset`: requires `scale`"):
            tinycnn.from_onnx(path, scale=wrong, offset=1.0)
        with pytest.raises(SettingError, match=r"`offset=.*expected a finite number"):
            tinycnn.from_onnx(path, scale=1.0, offset=wrong)
    path = foreign(network(Conv2d(2)), tmp_path / "m.onnx")
    assert tinycnn.from_onnx(path).pixels == FRACTIONS
    assert tinycnn.from_onnx(path, scale=0.01).pixels == BYTES  # a preparation applies to bytes,
    assert tinycnn.from_onnx(path, scale=3.0, pixels=FRACTIONS).pixels == FRACTIONS  # unless it is said otherwise


@pytest.mark.parametrize("pixels", [None, FRACTIONS, BYTES])
@pytest.mark.parametrize("first", [[], [Rescaling(1 / 255)], [Rescaling(1, -0.5)], [Rescaling(2, -1)]])
def test_our_own_files_record_them(first, pixels, tmp_path):
    """What is restored is what was set, not a guess."""
    model = network(*first)
    model.pixels = pixels
    export_onnx(model, tmp_path / "m.onnx")
    found = import_onnx(tmp_path / "m.onnx")
    assert (found.model.pixels, found.reason) == (model.pixels, "as the file records it")
    assert found.model.metadata() == model.metadata()


def test_files_of_older_versions_record_a_factor(tmp_path):
    """It was 1 for every network that begins with Rescaling, also for one that the present default gives fractions."""
    import onnx

    export_onnx(network(Rescaling(1, -0.5)), tmp_path / "m.onnx")
    file = onnx.load(tmp_path / "m.onnx")
    for factor, expected in (("1.0", BYTES), (repr(1 / 255), FRACTIONS), ("7", FRACTIONS)):
        onnx.helper.set_model_props(file, {"multiply_byte_pixels_by": factor})
        (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
        assert tinycnn.from_onnx(tmp_path / "m.onnx").pixels == expected


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_mean_and_std_of_each_channel_stand_in_front(tmp_path):
    body = Sequential(Conv2d(2), Flatten(), Dense(2), input_shape=(SIZE, SIZE, 3)).eval()
    path = foreign(body, tmp_path / "photo.onnx")
    found = tinycnn.from_onnx(path, mean=MEAN, std=np.array(STD))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    prepared = ((pixels / 255 - MEAN) / STD).astype(np.float32)
    np.testing.assert_allclose(found.predict(pixels), body.predict(prepared), atol=1e-4)
    assert found.pixels == FRACTIONS
    of_bytes = import_onnx(path, Preparation(mean=120.0, std=60.0))
    assert (of_bytes.model.pixels, of_bytes.reason) == (BYTES, "`mean` and `std` look like those of pixels 0..255")
    with pytest.raises(SettingError, match="`mean`: requires `std`"):
        tinycnn.from_onnx(path, mean=MEAN)
    with pytest.raises(SettingError, match="`scale` and `mean` both"):
        tinycnn.from_onnx(path, mean=MEAN, std=STD, scale=2.0)
    with pytest.raises(FileFormatError, match="`mean` has 2 numbers, the input 3 channels"):
        tinycnn.from_onnx(path, mean=MEAN[:2], std=STD[:2])


@pytest.mark.parametrize("separator", [" ", ","])
def test_the_command_takes_mean_and_std(separator, tmp_path, capsys):
    body = Sequential(Conv2d(2), Flatten(), Dense(2), input_shape=(SIZE, SIZE, 3)).eval()
    path, model = str(foreign(body, tmp_path / "photo.onnx")), str(tmp_path / "photo.safetensors")
    words = [word for numbers in (("--mean", *MEAN), ("--std", *STD)) for word in (numbers[0], numbers[1:])]
    words = [word if isinstance(word, str) else separator.join(map(str, word)) for word in words]
    main(["import", path, "--model", model, *" ".join(words).split()])
    assert "agree up to" in capsys.readouterr().out
    assert tinycnn.load(model).layers["normalization_1"].mean == MEAN
    per_channel = ["--scale", "4", "5", "2", "--offset", "-2", "-1.0", "0"]
    assert main(["import", path, "--model", model, *per_channel]) == 2
    assert "pass --mean 0.5 0.2 0 --std 0.25 0.2 0.5" in capsys.readouterr().err
    main(["import", path, "--model", model])
    assert "trained on pixels with a mean and std, as of Normalize, pass --mean and --std" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def classes_by_brightness(tmp_path):
    """Images of two classes, dark and bright, and a network that tells them by their mean, for pixels from 0 to 1."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 40)
    x = rng.integers(0, 120, (40, SIZE, SIZE)) + 130 * y[:, None, None]
    np.savez(tmp_path / "d.npz", x_train=x.astype(np.uint8), y_train=y, x_test=x.astype(np.uint8), y_test=y)
    model = network(Rescaling(2, -1))
    weight = np.array([[-1, 1]] * SIZE**2, np.float32)
    model.load_state_dict({"dense_1.weight": weight, "dense_1.bias": np.zeros(2, np.float32)})
    return foreign(model, tmp_path / "m.onnx"), tmp_path / "d.npz"


def test_the_commands_say_which_pixels_and_why(classes_by_brightness, tmp_path, capsys):
    """Accuracy 1 for the pixels that the file was made for; a network that takes them as bytes sees bright images."""
    path, data = classes_by_brightness
    target = tmp_path / "m.safetensors"
    command, ask = ["import", str(path), "--model", str(target)], ["evaluate", str(target), "--dataset", str(data)]
    assert main(command) == 0
    assert (
        "the network takes pixels 0..1 (the network subtracts 0.5 from them); if that is wrong, pass --pixels 0..255"
        in capsys.readouterr().out
    )
    assert main([*ask, "--backend", "numpy"]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out
    assert main([*ask, "--backend", "numpy", "--model-pixels", "0..255"]) == 0
    assert "accuracy 5" in capsys.readouterr().out
    assert main([*command, "--pixels", "0..255"]) == 0
    assert "takes pixels 0..255 (as given); if that is wrong, pass --pixels 0..1" in capsys.readouterr().out
    assert tinycnn.load(target).pixels == BYTES
    assert main([*command, "--scale", "0.5"]) == 0
    assert "takes pixels 0..255 (--scale applies to bytes)" in capsys.readouterr().out
    assert main([*command, "--scale", "1", "--pixels", "0..1"]) == 0
    model, images = tinycnn.load(target), load_npz(data)
    assert evaluate(model, images.x_test, images.y_test).accuracy == 1


def test_a_default_that_the_numbers_contradict_is_noticed(classes_by_brightness, tmp_path, capsys, caplog):
    """As in a model file that was imported before its pixels were recorded."""
    path, data = classes_by_brightness
    model = tinycnn.from_onnx(path)
    model.pixels = None
    tinycnn.save(model, tmp_path / "m.safetensors")
    ask = ["evaluate", str(tmp_path / "m.safetensors"), "--dataset", str(data), "--backend", "numpy"]
    assert main(ask) == 0
    assert (
        "NOTICE: the network takes pixels 0..255 (the default; but the network subtracts 0.5 from them); if that is "
        "wrong, pass --model-pixels 0..1\n" in capsys.readouterr().err
    )
    assert caplog.records == []  # not logged, too, when the network predicts
    assert main([*ask, "--model-pixels", "0..1"]) == 0
    said = capsys.readouterr()
    assert "accuracy 100.00 %" in said.out
    assert "NOTICE" not in said.err
    assert main(["export", ask[1], "--onnx", str(tmp_path / "again.onnx"), "--model-pixels", "0..1"]) == 0
    assert tinycnn.from_onnx(tmp_path / "again.onnx").pixels == FRACTIONS
    for name in tinycnn.models.NETWORKS:  # our own give no reason for a notice
        assert likely_pixels(tinycnn.models.create(name))[0] == tinycnn.models.create(name).pixels


def test_no_command_writes_over_what_it_reads(tmp_path, capsys, monkeypatch):
    source = foreign(network(Conv2d(2)), tmp_path / "m.onnx")
    model = tmp_path / "m.safetensors"
    tinycnn.save(network(Conv2d(2)), model)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    before = source.read_bytes(), model.read_bytes()
    for name, kind, content, command in (
        ("m.onnx", "ONNX file", source, ["import", str(source), "--model"]),
        ("m.safetensors", "model file", model, ["export", str(model), "--onnx"]),
    ):
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "hard").unlink(missing_ok=True)
        os.symlink(content, tmp_path / "link")
        os.link(content, tmp_path / "hard")
        for spelling in (name, str(content), f"sub/../{name}", f"./{name}", "link", "hard"):
            assert main([*command, spelling]) == 2
            said = capsys.readouterr().err
            assert f"{Path(spelling)}: this is the {kind} itself; choose another name" in said
    assert (source.read_bytes(), model.read_bytes()) == before
