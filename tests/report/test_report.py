"""The pictures and the page of a whole run, on every backend; a failing picture never ends the run."""

import dataclasses
import json
import re
import shutil
import types
from html.parser import HTMLParser

import numpy as np
import pytest

import tinycnn
from tests.support.example_runner import run_example
from tests.support.train_configs import config_of
from tinycnn import data, metrics, models, plots
from tinycnn.commands import main
from tinycnn.data.augment import Affine, Elastic, FlipAndCrop
from tinycnn.report import page as report_page
from tinycnn.report import pictures as report
from tinycnn.report.pictures import kept_epoch
from tinycnn.run.folder import results_in

SINGLE = [f"{kind}_{i}.png" for kind in ("example", "misclassified") for i in range(1, 6)]
OF_SCORES = ["curves.png", "confusion_matrix.png", "precision_recall.png", "predictions.png", "misclassified.png"]
OF_NETWORK = ["filters_conv2d_1.png", "filters_conv2d_2.png", "feature_maps.png", "saliency.png", "histograms.png"]
OF_DATA = ["first_images.png", "class_distribution.png"]
GRAPH = "graph.svg"
FILES = sorted([*SINGLE, *OF_SCORES, *OF_NETWORK, *OF_DATA, GRAPH, "report.html"])


@pytest.fixture(autouse=True)
def fewer_dots(request, monkeypatch):
    """Pictures of a third of the size, which take a fraction of the time; not where another process draws the same."""
    if "again" not in request.node.name:
        monkeypatch.setattr(plots.figure, "DPI", 90)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", limit=200)


EPOCH = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.2, "validation_loss": None, "validation_accuracy": None}
RESULTS = {
    **{"model": "lenet", "dataset": "digits", "backend": "numpy", "data_source": "somewhere"},
    "working_folder": "..",
    **{"options": {"lr": 0.001, "augment": False}, "versions": {"tinycnn": "0"}},
    **{"epochs": [EPOCH | {"epoch_s": 1.0, "images_per_s": 200.0}], "training_s": 1.0},
    **{"train_images": 200, "validation_images": 0, "test_images": 360, "test_accuracy": 0.3, "test_loss": 1.9},
}


@pytest.mark.parametrize(
    ("stopping", "best", "expected"),
    [(3, {"epoch": 2}, 2), (None, {"epoch": 2}, None), (3, None, None), (3, {"epoch": "x"}, None), (3, [], None)],
)
def test_the_curves_mark_the_epoch_that_early_stopping_kept(stopping, best, expected, monkeypatch):
    results = RESULTS | {"options": {"early_stopping": stopping}, "best": best}
    assert kept_epoch(results) == expected
    drawn = []
    monkeypatch.setattr(plots, "curves", lambda *given: drawn.append(given))
    monkeypatch.setattr(plots, "to_png", lambda figure: b"")
    next(report._of_scores(report.Run(None, types.SimpleNamespace(class_names=("a",)), results))).make()
    assert drawn[0][2] == expected
    assert kept_epoch(RESULTS) is None


class Page(HTMLParser):
    """The content of a page: its tags with their attributes, and the text outside of styles."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.text += text if "style" not in self.open else ""


@pytest.mark.parametrize("backend", ["cupy", "cupy-emulated"], indirect=True)
def test_a_run_is_drawn_on_a_gpu(backend, digits, tmp_path):
    """From the GPU's arrays; the command below draws a run from NumPy's, which are those of Numba, too."""
    model = models.create("lenet")
    drawn = report.draw(tmp_path, model, digits, RESULTS)
    assert drawn.failures == []
    assert sorted(drawn.files) == sorted(path.name for path in tmp_path.iterdir()) == FILES
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not re.search(r"https?:|<script|<link|url\(|@import", re.sub(r'"data:image[^"]*"', "", html))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    in_page = len([*OF_SCORES, *OF_NETWORK, *OF_DATA, GRAPH])
    assert len(images) == in_page
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert "width=device-width" in str(page.tags)
    links = [attributes["href"].removeprefix("#") for tag, attributes in page.tags if tag == "a"]
    assert links == [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert len(links) == in_page + 4
    assert "prefers-color-scheme: dark" in html
    charts = {image["alt"] for image in images if image.get("class") == "chart"}  # inverted on a dark page
    assert charts == {
        *("Learning", "Confusion matrix", "Precision and recall", "Weights and gradients"),
        *("How often each class occurs", "The graph of one step"),
    }


def test_text_is_escaped():
    evil = '<script>alert("x")</script>&'
    results = RESULTS | {"dataset": evil, "model": evil, "data_source": evil}
    results |= {"versions": {evil: evil}, "options": {evil: evil}}
    contents = {"graph.svg": evil.encode(), "a.png": b""}
    pictures = [report_page.ReportPicture(file, evil, evil, content) for file, content in contents.items()]
    scores = metrics.class_scores(np.eye(2, dtype=int))
    page = Page(report_page.page(results, pictures, [evil], evil, scores, (evil, evil)))
    assert "script" not in [tag for tag, _ in page.tags]
    # 4 in titles, 1 failure, 2 in the contents, 2 with each picture, 2 classes, 1 summary, 3 settings, 2 versions
    assert page.text.count(evil) == 19
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == [evil, evil]


def test_unused_settings_are_left_out():
    """Of a run with Adam, whose options are as training_options makes them."""
    options = config_of("--model lenet --no-capture").as_json()
    scores = metrics.class_scores(np.eye(2, dtype=int))

    def names(options):
        html = report_page.page(RESULTS | {"options": options}, [], [], "", scores, ("a", "b"))
        settings = re.search("Settings</h2>(.*?)</table>", html, re.DOTALL)[1]
        return dict(re.findall("<th>(.*?)</th><td>(.*?)</td>", settings))

    found = names(options)
    assert found["seed"] == "0"
    assert found["no capture"] == "yes"
    assert found["epochs"] == str(options["epochs"])
    off = {"freeze", "resume", "tf32", "momentum", "elastic", "weight decay", "augment", "limit"}
    assert off & found.keys() == set()
    assert names(options | {"freeze": ["conv2d_1", "dense_*"]})["freeze"] == "conv2d_1, dense_*"
    assert names(config_of("--optimizer sgd").as_json())["momentum"] == "0.9"


def test_a_failing_picture_does_not_affect_the_others(digits, tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("no <ink>")

    def three(_):
        for name, make in (("a.png", lambda: b"first"), ("b.png", broken), ("c.png", lambda: b"last")):
            yield report.Picture(name, f"heading of {name}", "", make)

    monkeypatch.setattr(report, "pictures", three)
    drawn = report.draw(tmp_path, models.create("lenet"), digits, RESULTS)
    assert drawn.failures == ["b.png: RuntimeError: no <ink>"]
    assert drawn.files == ["a.png", "c.png", "report.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == drawn.files
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not drawn: b.png: RuntimeError: no &lt;ink&gt;" in html
    assert re.findall("<h2[^>]*>(heading of .)", html) == ["heading of a", "heading of c"]


USED = {
    "none": ({"augment": None}, None),
    "off": ({"augment": False}, None),
    "results of older versions": ({"augment": True}, Affine()),
    "affine": ({"augment": "affine", "elastic": 0.0}, Affine()),
    "elastic": ({"augment": "affine", "elastic": 3.0}, Elastic(bend=3.0)),
    "flips": ({"augment": "flip_and_crop", "elastic": 0.0}, FlipAndCrop()),
}


UNCOVERED = ("What a shift uncovers is black.", "What a shift uncovers shows the reflection of the image.")


@pytest.mark.parametrize(("options", "augment"), USED.values(), ids=USED)
def test_the_augmentation_shown_is_the_one_used(options, augment, digits, monkeypatch):
    drawn, draw = [], plots.augmented
    monkeypatch.setattr(plots, "augmented", lambda *shown: drawn.append(shown) or draw(*shown))
    run = report.Run(models.create("lenet"), digits, RESULTS | {"options": options})
    found = [picture for picture in report.pictures(run) if picture.file == "augmentation.png"]
    assert len(found) == (augment is not None)
    if augment:
        assert found[0].make().startswith(b"\x89PNG")
        assert found[0].text.endswith(UNCOVERED[isinstance(augment, FlipAndCrop)])
        assert np.array_equal(drawn[0][0], digits.x_train[0])
        assert np.array_equal(drawn[0][1], report.augmented_views(digits.x_train[0], augment))


def test_augmented_views_of_a_colour_image(backend):
    image = np.random.default_rng(0).integers(1, 256, (6, 9, 3), np.uint8)
    variants = report.augmented_views(image, FlipAndCrop(flip=1, shift=0), times=3)
    assert np.array_equal(variants, np.stack([image[:, ::-1]] * 3))
    white = np.full_like(image, 255)
    assert (report.augmented_views(white, FlipAndCrop()) == 255).all()
    assert (report.augmented_views(white, FlipAndCrop(edge="black")) == 0).any()
    bent, straight = (report.augmented_views(image, augment) for augment in (Elastic(bend=2), Affine()))
    assert bent.shape == straight.shape == (9, 6, 9, 3)
    assert not np.array_equal(bent, straight)
    assert plots.to_png(plots.augmented(image, bent)).startswith(b"\x89PNG")


def test_colour_images_of_three_classes_without_mistakes(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (70, 12, 14, 3), np.uint8), np.zeros(70, np.int64)
    dataset = data.Dataset("mine", x, y, x, y, ("tree", "house", "car"), "here")
    model = models.create("keras_cnn", input_shape=(12, 14, 3), classes=3)
    bias = model.layers["dense_2"].parameters_by_name["bias"]
    bias.data[...] = [100, 0, 0]  # so it predicts class 0 for every image
    drawn = report.draw(tmp_path, model, dataset, RESULTS)
    assert drawn.failures == []
    assert "misclassified.png" in drawn.files
    assert "misclassified_1.png" not in drawn.files
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0 of 70 test images are misclassified.</p>" in html


def test_a_new_run_replaces_every_picture(digits, tmp_path):
    """Every possible picture is on the list of files that a run replaces."""
    options = {"options": {"augment": "affine"}}
    names = {picture.file for picture in report.pictures(report.Run(models.create("lenet"), digits, RESULTS | options))}
    names |= {"graph.svg", "graph.mmd", "report.html"}
    assert "augmentation.png" in names
    for name in names:
        (tmp_path / name).write_text("a picture")
    (tmp_path / "mine.png").write_text("not of a run")
    (tmp_path / "metrics.json").write_text("a run")
    assert {path.name for path in results_in(tmp_path)} == {*names, "metrics.json"}


# --------------------------------------------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = ("--dataset", "digits", "--model", "lenet", "--epochs", 1, "--limit", 100, "--backend", "numpy")
    options = (*options, "--recipe", "author")
    process = run_example("train_mnist.py", *options, "--output", "out", folder=folder)
    assert process.returncode == 0, process.stderr
    return process, folder / "out"


def test_a_training_run_ends_with_pictures(trained):
    process, output = trained
    assert process.stderr == ""
    assert re.search(
        rf"^plots     {len(FILES)} files in \d+\.\d s: open out/report.html$", process.stdout, re.MULTILINE
    )
    assert "plots     are being drawn, which can take a minute; --no-plots leaves them out\n" in process.stdout
    assert {path.name for path in output.iterdir()} == {*FILES, "metrics.json", "history.csv", "model.safetensors"}
    assert sorted(results_in(output)) == sorted(output.iterdir())


def test_report_draws_the_pictures_again(trained, tmp_path, capsys):
    _, output = trained
    again = tmp_path / "again"
    again.mkdir()
    for name in ("metrics.json", "model.safetensors"):
        shutil.copy(output / name, again)
    assert main(["report", str(again), "--backend", "numpy"]) == 0
    assert f"{len(FILES)} files" in capsys.readouterr().out
    assert all((again / name).read_bytes() == (output / name).read_bytes() for name in FILES)


def test_report_loads_the_data_as_the_run_did(trained, tmp_path, capsys, monkeypatch):
    """With the range of its pixels; a notice about the data is shown."""
    loaded = []

    def load(name, **settings):
        loaded.append((name, settings))
        return dataclasses.replace(data.load("digits"), notice="NOTICE: pass `data_dir`")

    monkeypatch.setattr("tinycnn.commands.report.data", types.SimpleNamespace(load=load))
    monkeypatch.setattr("tinycnn.report.draw", lambda *_: report.Drawn([], [], 1.0))
    shutil.copytree(trained[1], tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["options"]["pixels"] is None
    metrics["options"] |= {"dataset": "mine.npz", "pixels": "0..16"}  # digits have no other range
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    assert main(["report", str(tmp_path / "run")]) == 2
    assert "mine.npz: the data set of the run is no longer there; pass it with --dataset" in capsys.readouterr().err
    (tmp_path / "mine.npz").touch()  # beside the output folder, as when the run was started
    (tmp_path / "moved").mkdir()
    monkeypatch.chdir(tmp_path / "moved")
    (tmp_path / "moved" / "mine.npz").touch()  # another one
    for words in ([], ["--dataset", "mine.npz"]):
        assert main(["report", str(tmp_path / "run"), *words]) == 0
        assert capsys.readouterr().err == "NOTICE: pass --data-dir\n"
    assert [name for name, _ in loaded] == [str(tmp_path / "mine.npz"), "mine.npz"]
    earlier = tmp_path / "run" / "earlier" / "2026-01-31_12-00-00"  # as a later run moves them
    shutil.copytree(tmp_path / "run", earlier)
    assert main(["report", str(earlier)]) == 0
    assert loaded[-1][0] == str(tmp_path / "mine.npz")
    assert all(settings["pixels"] == "0..16" for _, settings in loaded)


def test_report_returns_1_when_a_picture_failed(trained, capsys, monkeypatch):
    monkeypatch.setattr("tinycnn.report.draw", lambda *_: report.Drawn(["report.html"], ["curves.png: no ink"], 1.0))
    assert main(["report", str(trained[1])]) == 1
    assert capsys.readouterr().err == "not drawn: curves.png: no ink\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file; pass the output folder"),
        ("{", "not JSON"),
        ("[1]", "not the metrics"),
        ("{}", "not the metrics"),
    ],
)
def test_report_of_a_folder_without_a_run_is_refused(content, words, tmp_path, capsys):
    if content:
        (tmp_path / "metrics.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error


def test_a_run_succeeds_without_matplotlib(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('no module named matplotlib')")
    options = ("--dataset", "digits", "--model", "lenet", "--epochs", 1, "--limit", 64, "--backend", "numpy")
    process = run_example("train_mnist.py", *options, "--output", "out", folder=tmp_path, path=tmp_path)
    assert process.returncode == 0
    assert (
        "plots     could not be drawn (drawing pictures needs matplotlib (no module named matplotlib): `pip install"
        in process.stderr
    )
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test_images"] == 360
    assert tinycnn.load(tmp_path / "out" / "model.safetensors").parameter_count() == 60_074


def test_a_saliency_map_of_a_wrong_prediction_names_the_true_class(monkeypatch):
    assert report.caption(["circle", "square"], 1, 1) == "predicted square"
    assert report.caption(["circle", "square"], 1, 0) == "predicted square\nis circle"
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda axes, text, **_: titles.append(text))
    image = np.zeros((1, 4, 4, 1), np.uint8)
    plots.saliency_comparison(image, {"gradient": [np.ones((4, 4))]}, [f"predicted {'s' * 60}\nis circle"])
    first, second = titles[0].split("\n")
    assert first.startswith("predicted s")
    assert first.endswith("s…")
    assert second == "is circle"
