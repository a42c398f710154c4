"""The walk: its sums are the numbers of the engine, its file works offline, its server is as careful as the page.

The sums are those of ``sums.js``, run by Node; ``test_walk_page.py`` does the same in a browser.
"""

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import threading
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import tinycnn
from tests.support.in_process import run_here
from tests.support.web_helpers import small_model
from tinycnn import explain, models
from tinycnn.data.drawing import normalise
from tinycnn.errors import DataError, SettingError
from tinycnn.explain import Trace, trace_step
from tinycnn.explain.sources import source_of
from tinycnn.layers import (
    Add,
    AvgPool2d,
    BatchNorm,
    Concatenate,
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    LeakyReLU,
    MaxPool2d,
    Multiply,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from tinycnn.train.predicting import predictions
from tinycnn.web import walk, walker
from tinycnn.web.equations import mathml
from tinycnn.web.formulas import FORMULAS
from tinycnn.web.walk import walk_html
from tinycnn.web.walk_requests import FIELDS, MOST_STEPS, walk_request

HERE = Path(__file__).parent
NODE = shutil.which("node")
STATIC = walk.STATIC


def picture(shape=(28, 28, 1)):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


# ----------------------------------------------------------------------------------------------------------- the sums


def odd_network(**settings):
    """Windows that overlap, hang over the edge, leave pixels out; a mean with and without the padding."""
    layers = [
        *(Conv2d(4, kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)), ReLU(), BatchNorm(), MaxPool2d(3, 2, 1)),
        *(Conv2d(4, padding="same", groups=2, bias=False), AvgPool2d(3, 2, 1, ceil_mode=True)),
        *(Conv2d(6, padding=((2, 1), (0, 3)), dilation=2), MaxPool2d(3, 2, ((0, 1), (1, 0)), ceil_mode=True)),
        *(AvgPool2d(2, 1, 1, count_include_pad=False), AvgPool2d(3, 2, "same"), Conv2d(6, groups=6, padding=1)),
        *(LeakyReLU(), Sigmoid(), GlobalAvgPool2d(keepdims=True), Flatten(), Dense(5, bias=False), Tanh(), Dense(4)),
    ]
    return Sequential(*layers, input_shape=(23, 21, 2), **settings)


def network_with_branches(**settings):
    """Sums of two and of four branches, one repeated; a product; a row; an input that goes through unchanged."""
    gate = [GlobalAvgPool2d(keepdims=True), Conv2d(8, 1), Sigmoid()]
    layers = [
        *(Conv2d(4, padding=1), Residual(Conv2d(4, padding=1), ReLU(), Conv2d(4, padding=1))),
        *(Residual(Conv2d(6, 1), shortcut=Conv2d(6, 1)), Concatenate(Identity(), [Conv2d(2, padding=1), ReLU()])),
        *(Multiply(Identity(), gate), Add(Identity(), Identity(), ReLU(), GlobalAvgPool2d(keepdims=True))),
        *(Add(Residual(ReLU()), Sigmoid()), Flatten(), Dense(5)),
    ]
    return Sequential(*layers, input_shape=(8, 7, 2), **settings)


NETWORKS = {"odd": odd_network, "branches": network_with_branches}


def sums_of(trace, points, folder, script=STATIC / "sums.js"):
    """What ``check_sums.js`` found: a row for each quantity of each layer."""
    trace.save(folder / "trace.safetensors")
    command = [NODE, HERE / "check_sums.js", script, folder / "trace.safetensors", str(points)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="Node runs the scripts of the page: apt install nodejs")
@pytest.mark.parametrize("name", ["lenet", "keras_cnn", "batchnorm_cnn", "three_conv", *NETWORKS])
def test_every_sum_is_the_number_of_the_engine(name, tmp_path):
    """To 1e-5, of the number itself in float64, and in float32, in which sums cancel, of it or its largest summand."""
    for training in (False, True) if name in ("batchnorm_cnn", "odd") else (False,):
        model = NETWORKS[name](dtype=np.float64) if name in NETWORKS else models.create(name, dtype=np.float64)
        image = picture(model.input_shape)
        rows = sums_of(trace_step(model, image, 3, training=training), 50, tmp_path)
        assert {row["layer"] for row in rows} == {*explain.activations(model, image), "loss"} - {
            "softmax_1",
            "logsoftmax_1",
        }
        for row in rows:
            is_zero = training and row["quantity"] == "bias.grad"  # before batch norm, a bias has no effect
            assert row["worst" if is_zero else "worstStrict"] < 1e-5, row
            assert row["points"] > 0
        assert {"y", "grad_x", "weight.grad", "score", "p", "loss"} <= {row["quantity"] for row in rows}
        if name == "branches":
            assert sum(row["quantity"].endswith(".out.grad") for row in rows) == 14
    single = NETWORKS[name]() if name in NETWORKS else models.create(name)
    assert all(row["worst"] < 1e-5 for row in sums_of(trace_step(single, image, 3), 50, tmp_path))


@pytest.mark.skipif(NODE is None, reason="Node runs the scripts of the page: apt install nodejs")
@pytest.mark.parametrize("array", ["conv2d_1.output", "conv2d_2.weight.grad", "input.grad", "relu_3.output.grad"])
def test_a_wrong_number_is_noticed(array, tmp_path):
    trace = trace_step(models.create("lenet", dtype=np.float64), picture(), 3)
    array = trace.arrays()[array]
    array += 0.01 * np.abs(array).max()
    assert max(row["worst"] for row in sums_of(trace, 100, tmp_path)) > 1e-5


WRONG = {  # a mistake in one kind of sum, and the quantities that show it
    "c < count; c++": ("c < count - 1; c++", {"conv2d_1 y", "conv2d_2 y"}),
    'factor(layer.grad_y, [oh, ow, f], "gradient of the output"), used': (
        'factor(layer.y, [oh, ow, f], "gradient of the output"), used',
        {"conv2d_1 grad_x", "conv2d_2 grad_x"},
    ),
    "const pixel = factor(layer.x, [h, w, first + c]": (
        "const pixel = factor(layer.x, [oh, ow, first + c]",
        {"conv2d_1 weight.grad", "conv2d_2 weight.grad"},
    ),
    'term(factor(layer.grad_y, [j], "gradient of the output"), factor(weight.value, [i, j]': (
        'term(factor(layer.grad_y, [j], "gradient of the output"), factor(weight.value, [i, 0]',
        {"dense_1 grad_x", "dense_2 grad_x"},
    ),
    "number(wins ? 1 : 0, wins": ("number(wins ? 0 : 1, wins", {"maxpool2d_1 grad_x", "maxpool2d_2 grad_x"}),
    "total: p.value - t.value": ("total: p.value + t.value", {"loss score"}),
}


@pytest.mark.skipif(NODE is None, reason="Node runs the scripts of the page: apt install nodejs")
def test_a_wrong_summand_is_noticed(tmp_path):
    model = Sequential(
        *(Conv2d(3), ReLU(), MaxPool2d(), Conv2d(2), ReLU(), MaxPool2d(), Flatten(), Dense(6), ReLU(), Dense(10)),
        input_shape=(13, 13, 1),
        dtype=np.float64,
    )
    trace, script = trace_step(model, picture((13, 13, 1)), 3), (STATIC / "sums.js").read_text(encoding="utf-8")
    for right, (wrong, where) in WRONG.items():
        assert right in script
        (tmp_path / "sums.js").write_text(script.replace(right, wrong), encoding="utf-8")
        rows = sums_of(trace, 200, tmp_path, tmp_path / "sums.js")
        assert {f"{row['layer']} {row['quantity']}" for row in rows if not row["worst"] < 1e-5} == where, wrong


@pytest.mark.skipif(NODE is None, reason="Node runs the scripts of the page: apt install nodejs")
def test_the_scripts_can_be_read():
    for script in STATIC.glob("*.js"):
        subprocess.run([NODE, "--check", script], check=True, timeout=60)


# ----------------------------------------------------------------------------------------------------------- the file


class Parts(HTMLParser):
    """The elements of a page with ids, its scripts and links, and the tags that are open at its end."""

    VOID = ("meta", "link", "input")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.contents = [], [], {}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open and self.open[-1][1]:
            self.contents[self.open[-1][1]] = text


def tiny(**settings):
    layers = [Conv2d(2), ReLU(), MaxPool2d(), Flatten(), Dense(3)]
    return Sequential(*layers, input_shape=(8, 8, 1), **settings)


def test_the_file_is_whole_and_needs_nothing_else():
    model, image = tiny(), picture((8, 8, 1))
    model.class_names = ["a", "</script><script>alert(1)</script>", "<b>"]
    html = walk_html(model, image, 1)
    parts = Parts(html)
    assert parts.open == []
    assert not [attributes for tag, attributes in parts.tags if tag == "script" and "src" in attributes]
    assert [attributes["href"] for tag, attributes in parts.tags if tag == "link"] == ["data:,"]
    assert "http:" not in html
    assert "https:" not in html
    assert "alert(1)</script>" not in html
    assert "default-src 'none'" in html
    trace = trace_step(model, image, 1)
    assert zlib.decompress(base64.b64decode(parts.contents["trace-data"])) == trace.to_bytes()


def test_texts_cannot_end_the_script_that_holds_them():
    text = walk._json({"name": "</script><!--"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><!--"}


def test_what_the_file_holds_beside_the_numbers():
    model, image = tiny(), picture((8, 8, 1))
    extras = json.loads(Parts(walk_html(model, image, 1)).contents["trace-extras"])
    trace = trace_step(model, image, 1)
    assert set(extras["sources"]) == {walk.LOSS, *(call for layer in trace.layers for call in layer.calls)}
    assert set(extras["formulas"]) == {"Conv2d", "ReLU", "MaxPool2d", "Dense", "loss"}
    assert {found["name"] for found in extras["checks"]} == {
        "input",
        *(f"{layer.name}.{name}" for layer in trace.layers for name in layer.parameters),
    }
    conv = trace.layers[0].grad_parameters["weight"]
    *_, shown = np.unravel_index(np.abs(conv).argmax(), conv.shape)  # the filter that the page shows first
    held = {tuple(found["index"]) for found in extras["checks"] if found["name"] == "conv2d_1.weight"}
    assert held >= {(kh, kw, 0, int(shown)) for kh in range(3) for kw in range(3)}
    for found in extras["checks"]:
        assert found["numeric"] == pytest.approx(found["gradient"], rel=1e-5, abs=1e-8) or found["at_kink"]
    assert {(one["optimizer"], one["lr"]) for one in extras["practice"]} == {
        (name, lr) for name in walk.OPTIMIZERS for lr in walk.RATES
    }
    for one in extras["practice"]:
        assert len(one["losses"]) == walk.STEPS + 1
        assert one["losses"][0] == pytest.approx(trace.loss, rel=1e-6)
        sgd = one["optimizer"] == "sgd"
        for check, numbers in zip(extras["checks"], one["checked"], strict=True):
            is_weight = check["name"] != "input"
            assert len(numbers) == (2 if is_weight else 0)
            if is_weight and one["optimizer"] == "sgd":
                stepped = check["value"] - one["lr"] * check["gradient"]
                assert numbers[0] == pytest.approx(stepped, rel=1e-5, abs=1e-6)
        for moved in one["moved"]:
            assert moved["after"] != moved["before"] or moved["gradient"] == 0
            if sgd:
                expected = moved["before"] - one["lr"] * moved["gradient"]
                assert moved["after"] == pytest.approx(expected, rel=1e-5, abs=1e-6)
    saliency = {name: np.frombuffer(base64.b64decode(text), np.float32) for name, text in extras["saliency"].items()}
    np.testing.assert_allclose(saliency["gradient"], explain.saliency(model, image).ravel(), rtol=1e-5)


def test_the_chapters_that_the_page_names_exist():
    script = (STATIC / "walk.js").read_text(encoding="utf-8")
    chapters = re.findall(r'\["(\d\d_\w+)", "(\d+)"\]', script)
    assert len(chapters) >= 8
    for name, number in chapters:
        assert int(name[:2]) == int(number)
        assert (HERE.parents[1] / "docs" / "path" / f"{name}.md").exists()
    extras = json.loads(
        Parts(walk_html(tiny(), picture((8, 8, 1)), 1, chapters="../path/*.html")).contents["trace-extras"]
    )
    assert extras["chapters"] == "../path/*.html"


def test_the_examples_are_digits_that_the_network_of_the_package_reads():
    """Drawn with the middle pen: 22 of the 280 pixels of the picture that is sent."""
    script = (STATIC / "remote.js").read_text(encoding="utf-8")
    text = re.search(r"EXAMPLES = (\{.*?\n  \});", script, re.DOTALL).group(1)
    examples = json.loads(re.sub(r",(\s*})", r"\1", re.sub(r"(\d): ", r'"\1": ', text)))
    assert list(examples) == [str(k) for k in range(10)]
    pictures, t = [], np.linspace(0, 1, 20)[:, None]
    for strokes in examples.values():
        sheet = Image.new("L", (280, 280), 255)
        for points in (280 * np.array(stroke) for stroke in strokes):
            ends = [
                points[0],
                *(points[:-1] + points[1:]) / 2,
                points[-1],
            ]  # curves through the midpoints, as on the page
            curves = zip(ends[:-2], points[:-1], ends[1:-1], strict=True)
            places = [(1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end for start, control, end in curves]
            for x, y in np.concatenate([*places, (1 - t) * ends[-2] + t * ends[-1]]):
                ImageDraw.Draw(sheet).ellipse((x - 11, y - 11, x + 11, y + 11), fill=0)
        pictures.append(normalise(np.asarray(sheet) / 255)[0])
    with tinycnn.use_backend("numpy"):
        read = predictions(models.trained(), np.stack(pictures))
    assert read.argmax(axis=1).tolist() == list(range(10))
    assert read.max(axis=1).min() > 0.9


def test_a_network_that_is_too_large_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(walk, "trace_step", None)  # it is refused before anything is computed
    large = Sequential(Flatten(), Dense(2000), Dense(10), input_shape=(28, 28, 1))
    with pytest.raises(SettingError, match=r"numbers or more, and the walk shows at most 2,000,000: use a smaller"):
        walk_html(large, picture(), 3)
    many = Sequential(Flatten(), Dense(101), input_shape=(4, 4, 1))
    with pytest.raises(SettingError, match="at most 100 classes, this network has 101"):
        walk_html(many, picture((4, 4, 1)), 3)


@pytest.mark.parametrize("kind", [kind for kind, own in FORMULAS.items() if any(".grad" in name for name in own)])
def test_the_text_of_a_step_says_how_each_parameter_gets_its_gradient(kind):
    script = (STATIC / "walk.js").read_text("utf-8")
    text = re.search(rf'^    {kind}: {{\n      forward: .*\n      backward: "(.*)",$', script, re.MULTILINE)[1].lower()
    parameters = [name.removesuffix(".grad") for name in FORMULAS[kind] if name.endswith(".grad")]
    assert [name for name in parameters if name not in text] == []


def test_every_formula_belongs_to_a_quantity_that_the_page_knows():
    script = (STATIC / "sums.js").read_text(encoding="utf-8")
    known = re.search(r"const LAYERS = \{(.*?)\};", script, re.DOTALL)[1]
    without = set(re.findall(r"(\w+):", known)) - set(FORMULAS)
    assert without == {"Flatten", "Identity"}, "the page writes out the sums of these layers, and FORMULAS lacks them"
    for kind, formulas in FORMULAS.items():
        assert kind == "loss" or f"{kind}:" in known
        for formula in formulas.values():
            lines = formula.split("\n")
            assert walk._lines(formula).count("<math") == len(lines)


def test_every_quantity_of_batch_norm_has_its_equation():
    """The default network has batch norm; on the way back its sums stood there without an equation."""
    script = (STATIC / "sums.js").read_text(encoding="utf-8")
    recipe = re.search(r"const batchNorm = \{\n(.*?)\n  \};", script, re.DOTALL)[1]
    quantities = re.findall(r'^    "?([a-z_.]+)"?(?:\(|: )', recipe, re.MULTILINE)
    assert quantities == ["y", "grad_x", "gamma.grad", "beta.grad"]
    assert set(quantities) | {"grad_x in training mode"} == set(FORMULAS["BatchNorm"])
    assert "<mover><mi>x</mi><mo>^</mo></mover>" in walk._lines(FORMULAS["BatchNorm"]["gamma.grad"])


def test_the_words_of_the_page_are_explained():
    page = (STATIC / "walk.html").read_text(encoding="utf-8")
    explained = " ".join(re.findall(r"<dt>(.*?)</dd>", page, re.DOTALL))
    for word in (
        "batch norm",
        "gamma",
        "beta",
        "x̂",
        "grad_loss",
        "unit",
        "filter",
        "map",
        "len(p)",
        "OH",
        "PH",
        "SmoothGrad",
        "Grad-CAM",
    ):
        assert word in explained, word


def test_no_sign_of_the_notation_is_shown_as_it_is():
    """``max_{kh, kw}`` once stood on the page literally, as in the docstring."""
    names = ["conv2d.Conv2d", "max_pool2d.MaxPool2d", "avg_pool2d.AvgPool2d", "softmax.Softmax", "batch_norm.BatchNorm"]
    sources = [source_of(f"tinycnn.ops.{name}Function") for name in names] + [source_of(walk.LOSS)]
    equations = [equation for source in sources for equation in source.equations.values()]
    equations += [formula for own in FORMULAS.values() for formula in own.values()]
    assert len(equations) > 40
    for equation in equations:
        shown = re.sub("<[^>]*>", "", walk._lines(equation))
        assert not re.search(r"[_^]\{|[{}\\\\\"]", shown), shown


@pytest.mark.parametrize(
    ("equation", "expected"),
    [
        ("y = 2 x", "<mi>y</mi><mo>=</mo><mn>2</mn><mi>x</mi>"),
        ("w[k, c]", "<msub><mi>w</mi><mrow><mi>k</mi><mo>,</mo><mi>c</mi></mrow></msub>"),
        ("Σ_{i} x", "<munder><mo>Σ</mo><mrow><mi>i</mi></mrow></munder><mi>x</mi>"),
        ("Σ_j x", "<munder><mo>Σ</mo><mrow><mi>j</mi></mrow></munder><mi>x</mi>"),
        ("p_i", "<msub><mi>p</mi><mi>i</mi></msub>"),
        ("xᵀ", "<msup><mi>x</mi><mi>T</mi></msup>"),
        ("xᵀ y", '<msup><mi>x</mi><mi>T</mi></msup><mspace width="0.17em"></mspace><mi>y</mi>'),
        ("√(a + b)", "<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>"),
        ("e^{x}", "<msup><mi>e</mi><mrow><mi>x</mi></mrow></msup>"),
        ("x̂", "<mover><mi>x</mi><mo>^</mo></mover>"),
        ("grad_x < 1", '<mi mathvariant="normal">grad_x</mi><mo>&lt;</mo><mn>1</mn>'),
        ('a "if <b>"', "<mi>a</mi><mtext>if &lt;b&gt;</mtext>"),
        ('a " if " b', "<mi>a</mi><mtext>\u00a0if\u00a0</mtext><mi>b</mi>"),
        ("log p", '<mi mathvariant="normal">log</mi><mspace width="0.17em"></mspace><mi>p</mi>'),
        (
            "max_{k} x",
            '<munder><mi mathvariant="normal">max</mi><mrow><mi>k</mi></mrow></munder>'
            '<mspace width="0.17em"></mspace><mi>x</mi>',
        ),
        ("(1 - p", "<mrow><mo>(</mo><mn>1</mn><mo>−</mo><mi>p</mi><mo>)</mo></mrow>"),
    ],
)
def test_equations_are_typeset(equation, expected):
    assert mathml(equation) == f'<math display="block">{expected}</math>'


# -------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def drawn(tmp_path):
    """A folder with a network and a picture."""
    model = small_model()
    model.pictures = "drawing"
    tinycnn.save(model, tmp_path / "model.safetensors")
    pixels = np.full((60, 60), 255, np.uint8)
    pixels[10:50, 26:34] = 0
    Image.fromarray(pixels).save(tmp_path / "one.png")
    return tmp_path


def test_the_command_writes_the_walk_and_the_arrays(drawn):
    options = ["--label", 1, "--html", "walk.html", "--save", "one.safetensors"]
    done = run_here("trace", "model.safetensors", "one.png", *options, folder=drawn)
    assert (done.returncode, done.stderr) == (0, "")
    share = r"\([\d.<>]+ %\)"
    printed = rf"read as \d {share}, label 1 {share}, loss [\d.]+ nats\nwalk.html: [\d,]+ bytes\n"
    assert re.match(printed, done.stdout)
    trace = Trace.load(drawn / "one.safetensors")
    assert (trace.label, trace.training, trace.layers[0].x.shape) == (1, False, (28, 28, 1))
    assert 'id="trace-data"' in (drawn / "walk.html").read_text(encoding="utf-8")


def test_without_a_model_file_the_network_of_the_package_reads_the_picture(drawn):
    done = run_here("trace", "one.png", "--label", "8", folder=drawn)
    assert (done.returncode, done.stderr) == (0, "NOTICE: read by digit_cnn, which comes with tinycnn\n")
    assert done.stdout.startswith("read as 1 (")
    assert ", label 8 (" in done.stdout
    assert "batchnorm_4" in done.stdout
    refused = run_here("trace", "--label", "8", folder=drawn)
    assert refused.returncode == 2
    assert "expected a picture: tinycnn trace [MODEL_FILE] IMAGE --label CLASS" in refused.stderr


def test_without_a_file_the_command_prints_the_layers(drawn):
    done = run_here("trace", "model.safetensors", "one.png", "--label", "1", "--training", folder=drawn)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "layer",
        "conv2d_1",
        "relu_1",
        "maxpool2d_1",
        "flatten_1",
        "dense_1",
    ]
    assert lines[2].split()[1] == "26×26×4"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["one.png", "--label", "11"], "--label '11': expected one of 0, 1, 2"),
        (["one.png", "--label", "9" * 5000], "…: expected one of 0, 1, 2"),  # int() refuses so many digits
        (["gone.png", "--label", "1"], "gone.png"),
        (["--label", "1"], "model.safetensors: expected a picture after this model file"),
        (["one.png", "--label", "1", "--html", "one.png"], "--html one.png: this is the picture itself"),
        (
            ["one.png", "--label", "1", "--save", "model.safetensors"],
            "--save model.safetensors: this is the model file",
        ),
    ],
)
def test_wrong_words_are_refused(words, sentence, drawn):
    before = {path: path.read_bytes() for path in drawn.iterdir()}
    done = run_here("trace", "model.safetensors", *words, folder=drawn)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert {path: path.read_bytes() for path in drawn.iterdir()} == before


# --------------------------------------------------------------------------------------------------------- the server

GOOD = {"picture": np.zeros((28, 28), int).tolist(), "label": 3, "training": False}
MORE = {
    "check": {"name": "conv2d_1.weight", "index": [0, 0, 0, 0]},
    "practise": {"optimizer": "sgd", "lr": 0.1, "steps": 2},
}


@pytest.mark.parametrize("kind", FIELDS)
def test_requests_are_checked(kind):
    def ask(**changes):
        body = GOOD | MORE.get(kind, {}) | changes
        return walk_request(kind, json.dumps(body).encode(), (28, 28), 10)

    found = ask(label=7, training=True)
    assert (found.label, found.training, found.image.shape, found.image.dtype) == (7, True, (28, 28, 1), np.uint8)
    wrong = [{"label": 10}, {"label": True}, {"label": 1.0}, {"training": 1}, {"more": 1}]
    wrong += [
        {"picture": rows} for rows in ([], [[0] * 28] * 27, [[0] * 27] * 28, [[256] * 28] * 28, [[0.5] * 28] * 28)
    ]
    if kind == "check":
        wrong += [{"name": 1}, {"name": "x" * 300}, {"index": [0.0]}, {"index": [0] * 9}, {"index": "0"}]
    if kind == "practise":
        wrong += [
            {"optimizer": "lion"},
            {"optimizer": ["sgd"]},
            {"steps": MOST_STEPS + 1},
            {"steps": -1},
            {"steps": True},
        ]
        wrong += [{"lr": 0}, {"lr": 11}, {"lr": "1"}, {"lr": float("nan")}]
    for changes in wrong:
        with pytest.raises(DataError):
            ask(**changes)
    for body in (b"", b"{", b"[]", b"[" * 100_000, b"\xff"):
        with pytest.raises(DataError):
            walk_request(kind, body, (28, 28), 10)


def test_the_description_lists_the_requests_and_their_fields():
    description = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))
    for kind, fields in FIELDS.items():
        operation = description["paths"][f"/backprop/{kind}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == set(schema["required"]) == {"picture", "label", "training"} | fields
        assert {"200", "400", "403", "408", "413", "415", "429", "503"} == set(operation["responses"])


@pytest.fixture
def client():
    httpx = pytest.importorskip("httpx2", reason="pip install -e '.[test]'")
    assert httpx
    from tests.web.test_server import client_of

    return client_of(small_model())


def test_the_server_computes_what_the_library_computes(client):
    image = picture()
    body = GOOD | {"picture": image[:, :, 0].tolist()}
    model = small_model().eval()
    trace = trace_step(model, image, 3)
    assert client.post("/backprop/trace", json=body).content == trace.to_bytes()
    found = client.post("/backprop/check", json=body | MORE["check"]).json()
    assert found["gradient"] == explain.nudge(model, image, 3, "conv2d_1.weight", (0, 0, 0, 0)).gradient
    practised = client.post("/backprop/practise", json=body | MORE["practise"]).content
    done = explain.practise(model, image, 3, optimizer="sgd", lr=0.1, steps=2)
    assert json.dumps(list(done.losses)) in practised.decode(errors="replace").replace('\\"', '"')
    assert practised.endswith(done.trace.to_bytes()[-1000:])
    maps = client.post("/backprop/saliency", json=body).json()
    gradient = np.frombuffer(base64.b64decode(maps["gradient"]), np.float32).reshape(28, 28, 1)
    np.testing.assert_allclose(gradient, explain.saliency(model, image), rtol=1e-4, atol=1e-6)
    assert 'id="trace-data"' in client.post("/backprop/file", json=body).text
    page = client.get("/backprop/page").json()
    assert set(page) == {"version", "sources", "formulas", "optimizers", "rates", "chapters"}


def test_the_server_has_the_chapters_in_a_clone_only(client, monkeypatch, tmp_path):
    """As text: the folder beside the package. Without it, the page names the files instead."""
    from tests.web.test_server import client_of

    address = "/" + client.get("/backprop/page").json()["chapters"].replace("*", "05_convolution")
    chapter = client.get(address)
    assert chapter.headers["content-type"] == "text/plain; charset=utf-8"
    assert chapter.text == (HERE.parents[1] / "docs" / "path" / "05_convolution.md").read_text(encoding="utf-8")
    assert client.get("/path/index.md").status_code == 404
    monkeypatch.setattr("tinycnn.web.app.CHAPTERS", tmp_path)
    installed = client_of(small_model())
    assert installed.get("/backprop/page").json()["chapters"] == ""
    assert installed.get(address).status_code == 404


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy
def test_a_network_whose_numbers_overflow_gets_a_sentence(monkeypatch):
    """JSON has no NaN: a browser could not read the response."""
    from tests.web.test_server import client_of, error_sentence

    wild = small_model()
    for parameter in wild.parameters():
        parameter.data = np.full_like(parameter.data, 1e30)
    with pytest.raises(SettingError, match="not finite, so there is nothing to walk through"):
        walk_html(wild, picture(), 1)
    client = client_of(wild)
    for kind in ("trace", "practise", "file"):
        assert "is not finite" in error_sentence(client.post(f"/backprop/{kind}", json=GOOD | MORE.get(kind, {})), 400)
    drawn = {"pixels": (255 * np.eye(28, dtype=int)).tolist()}
    assert "numbers that are not finite" in error_sentence(client.post("/predict", json=drawn), 500)


def test_a_rate_at_which_the_loss_overflows_is_left_out_of_a_file(monkeypatch):
    def practise(model, image, label, *, lr, **more):
        done = explain.practise(model, image, label, lr=lr, **more)
        return dataclasses.replace(done, losses=(*done.losses[:-1], np.nan)) if lr == 0.1 else done

    monkeypatch.setattr(walk, "practise", practise)
    model = small_model()
    found = list(walk.practice(model, picture(), trace_step(model, picture(), 1)))
    assert [(one["optimizer"], one["lr"]) for one in found] == [
        (o, r) for o in walk.OPTIMIZERS for r in (0.0001, 0.001, 0.01)
    ]


def test_what_all_pages_show_is_computed_once(monkeypatch):
    """Two steps take most of a second, in which no drawing is read: a class opens the page at the same time."""
    computed = []
    monkeypatch.setattr(walker, "traced", lambda *given, **more: computed.append(given) or walk.traced(*given, **more))
    engine = walker.Walker(small_model(), threading.Lock())
    assert engine.describe() == engine.describe()
    assert len(computed) == 2  # in training and in evaluation


def test_wrong_requests_get_one_sentence_and_the_headers(client):
    from tests.web.test_server import CROSS_ORIGIN, assert_secure, error_sentence
    from tinycnn.web.security import MAX_BAD

    for kind in FIELDS:
        response = client.post(f"/backprop/{kind}", content=b"{", headers={"Content-Type": "application/json"})
        assert "not JSON" in error_sentence(response, 400)
        assert_secure(response.headers)
        error_sentence(client.post(f"/backprop/{kind}", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
        error_sentence(client.post(f"/backprop/{kind}", json=GOOD, headers=CROSS_ORIGIN[0]), 403)
        error_sentence(client.get(f"/backprop/{kind}"), 405)
    unknown = GOOD | {"name": "conv2d_9.weight", "index": [0]}
    assert "conv2d_9" in error_sentence(client.post("/backprop/check", json=unknown), 400)
    outside = GOOD | {"name": "conv2d_1.weight", "index": [9, 9, 9, 9]}
    assert "is not in conv2d_1.weight" in error_sentence(client.post("/backprop/check", json=outside), 400)
    for _ in range(MAX_BAD):
        client.post("/backprop/trace", content=b"{", headers={"Content-Type": "application/json"})
    assert "too many requests" in error_sentence(client.post("/backprop/trace", json=GOOD), 429)
    assert "too many requests" in error_sentence(client.post("/predict", headers={"Content-Type": "image/png"}), 429)


def test_the_page_of_a_network_that_is_too_large_says_so(client):
    from tests.web.test_server import client_of, error_sentence

    large = client_of(Sequential(Flatten(), Dense(2000), Dense(10), input_shape=(28, 28, 1)))
    assert "the walk shows at most" in error_sentence(large.get("/backprop/page"), 400)
    assert "the walk shows at most" in error_sentence(large.post("/backprop/trace", json=GOOD), 400)
    assert large.get("/model").status_code == 200


def test_the_server_offers_test_images_of_the_classes_of_the_network(client, tmp_path, monkeypatch):
    from tests.web.test_server import assert_secure, client_of
    from tinycnn.web import sample_images

    response = client.get("/backprop/images")
    assert_secure(response.headers)
    images = response.json()
    dataset = sample_images.fitting_data(small_model())
    assert images["name"] == sample_images.DATA_SETS[dataset.name]
    assert images["labels"] == [k for k in range(10) for _ in range(10)]
    pictures = np.frombuffer(base64.b64decode(images["pictures"]), np.uint8).reshape(-1, 28, 28, 1)
    np.testing.assert_array_equal(pictures, dataset.x_test[images["numbers"]])
    np.testing.assert_array_equal(images["labels"], dataset.y_test[images["numbers"]])
    trace = trace_step(small_model().eval(), pictures[35], 3)
    np.testing.assert_allclose(images["probabilities"][35], trace.probabilities, rtol=1e-4, atol=1e-6)
    named = small_model()
    named.class_names, named.pictures = tuple("abcdefghij"), "drawing"
    assert client_of(named).get("/backprop/images").json() == {"name": "", "pictures": "", "labels": []}
    loaded = []
    monkeypatch.setattr(sample_images.data, "load", lambda name, download: loaded.append((name, download)) or dataset)
    assert sample_images.fitting_data(small_model()) is dataset
    assert loaded == [("mnist", False)]  # nothing is downloaded


def test_the_files_of_the_walk_are_served_and_load_nothing_from_elsewhere(client):
    from tests.web.test_server import assert_secure

    for path in (
        "/backprop",
        "/walk.css",
        "/colours.css",
        "/sums.js",
        "/drawing.js",
        "/walk.js",
        "/remote.js",
        "/requests.js",
    ):
        response = client.get(path)
        assert response.status_code == 200
        assert_secure(response.headers)
        assert "http:" not in response.text
        assert "https:" not in response.text
    assert all(word not in client.get("/backprop").text for word in ("style=", "onclick", "<style", "javascript:"))
