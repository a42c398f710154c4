"""The pictures: any number of classes and channels, correct content, and no change to global state."""

import dataclasses
import io
import subprocess
import sys
from functools import partial
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import tinycnn
from tinycnn import explain, metrics, plots
from tinycnn.errors import SettingError
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sequential, Softmax
from tinycnn.layers.metadata import MAX_CLASS_NAME_LENGTH
from tinycnn.plots import graph
from tinycnn.train.evaluation import Scores
from tinycnn.train.history import EpochResult


@pytest.fixture(autouse=True)
def fewer_dots(monkeypatch):
    """Pictures of half of the size, which take a fraction of the time."""
    monkeypatch.setattr(plots.figure, "DPI", 150)


NAMES = {
    1: ("one",), 2: ("no", "yes"), 10: tuple("0123456789"),
    26: tuple("abcdefghijklmnopqrstuvwxyz"),
    12: tuple(f"{i:02} $\\frac$ name of a <class> & ".ljust(100, "x") for i in range(12)),
}  # fmt: skip


def example(classes=10, channels=1, count=30, size=(9, 8)):
    """Images, labels and probabilities."""
    rng = np.random.default_rng(classes)
    images = rng.integers(0, 256, (count, *size, channels), np.uint8)
    return images, rng.integers(0, classes, count), rng.dirichlet(np.ones(classes) / 3, count)


def texts(figure: Figure) -> list[str]:
    """Every text in the figure, ticks included."""
    figure.canvas.draw()
    return [found.get_text() for found in figure.findobj(matplotlib.text.Text) if found.get_text()]


def pixels(figure: Figure) -> np.ndarray:
    """The figure as it is saved, (H, W, 3) bytes."""
    return np.asarray(Image.open(io.BytesIO(plots.to_png(figure))).convert("RGB"))


def is_whole(picture: np.ndarray) -> bool:
    """Whether nothing is cut off at the edges: the outermost pixels are white."""
    return all((edge == 255).all() for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]))


def every_picture(classes, channels):
    images, labels, probs = example(classes, channels)
    names, predicted = NAMES[classes], probs.argmax(axis=1)
    counts = metrics.confusion_matrix(labels, predicted, classes)
    parts = {"training": counts.sum(axis=0), "test": counts.sum(axis=1)}
    weight = np.random.default_rng(0).normal(size=(3, 2, channels, 7))
    model = small_model(classes, channels)
    gradients = explain.step_gradients(model, images, labels)
    weights = {name: value for name, value in model.state_dict().items() if name in gradients}
    saliency = np.stack([explain.saliency(model, image) for image in images[:3]])
    return {
        "first_images": plots.first_images(images, labels, names),
        "augmented": plots.augmented(images[0], images[1:4]),
        "misclassified": plots.misclassified(images, labels, probs, names, metrics.mistakes(labels, probs)),
        "predictions": plots.predictions(images[:5], labels, probs, names),
        "single_prediction": plots.single_prediction(images[0], int(labels[0]), probs[0], names),
        "class_distribution": plots.class_distribution(parts, names),
        "confusion": plots.confusion(counts, names),
        "precision_recall": plots.precision_recall(metrics.class_scores(counts), names),
        "filters": plots.filters(weight, "conv2d_1"),
        "feature_maps": plots.feature_maps(images[0], explain.activations(model, images[0]), names),
        "saliency_maps": plots.saliency_maps(images[:3], saliency, [f"predicted {names[k]}" for k in labels[:3]]),
        "saliency_comparison": plots.saliency_comparison(
            images[:2], {"one": saliency[:2].sum(axis=3), "two": -saliency[:2].sum(axis=3)}, ["a", "b"]
        ),
        "histograms": plots.histograms(weights, gradients),
        "compared_runs": plots.compared_runs(dict.fromkeys(names[:9], EPOCHS) | {"plain": WITHOUT_VALIDATION}),
    }


def small_model(classes=5, channels=2):
    layers = [Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dense(6), Dropout(0.5), Dense(classes), Softmax()]
    return Sequential(*layers, input_shape=(9, 8, channels))


EPOCHS = [EpochResult(1, 0.9, 0.5, 0.8, 0.6, 1.0, 10.0), EpochResult(2, 0.5, 0.7, 0.6, 0.75, 1.0, 10.0)]
WITHOUT_VALIDATION = [EpochResult(1, 0.9, 0.5, None, None, 1.0, 10.0)]
SWEEP = np.logspace(-6, 1, 30), np.linspace(3, 1, 30), np.linspace(3, 2, 30)  # rates, losses, their average
SHAPES = [(10, 1), (12, 3), (26, 2), (1, 4)]


def pictures_without_classes():
    """They are the same for every number of classes and channels."""
    return {"curves": plots.curves(EPOCHS, Scores(0.3, 0.8)), "rate_sweep": plots.rate_sweep(*SWEEP, 1.25e-5)}


@pytest.mark.parametrize(("classes", "channels"), SHAPES)
def test_every_picture_for_every_number_of_classes_and_channels(classes, channels):
    figures = every_picture(classes, channels)
    figures |= pictures_without_classes() if channels == 1 else {}
    drawn = {name for name in plots.__all__ if not name.startswith(("graph", "to_png", "save"))}
    assert set(figures) == drawn or channels > 1
    for name, figure in figures.items():
        picture = pixels(figure)
        assert picture.std() > 1, name
        assert is_whole(picture), name


def test_the_longest_class_names_are_cut_and_are_not_formulas():
    assert {len(name) for name in NAMES[12]} == {MAX_CLASS_NAME_LENGTH}
    scores = metrics.class_scores(np.eye(12, dtype=int))
    shown = [text.replace(r"\$", "$") for text in texts(plots.precision_recall(scores, NAMES[12]))]
    assert {text for text in shown if text.startswith("07")} == {"07 $\\frac$ name of a <class…"}


def test_scores_without_a_mistake_have_an_axis_that_is_not_a_tenth_of_a_percent():
    scores = metrics.class_scores(np.eye(3, dtype=int))
    (axes,) = plots.precision_recall(scores, ("a", "b", "c")).axes
    assert axes.get_xlim() == (90, 100)


def test_is_whole_detects_a_picture_that_is_cut_off():
    figure = Figure()
    figure.text(0.95, 0.5, "far too long for this place")
    assert not is_whole(pixels(figure))


def test_the_same_figure_gives_the_same_bytes():
    first, second = (plots.to_png(every_picture(2, 1)["confusion"]) for _ in range(2))
    assert first == second


def test_save_writes_a_png(tmp_path):
    plots.save(plots.curves(EPOCHS), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == plots.to_png(plots.curves(EPOCHS))


def test_the_confusion_matrix_shows_every_count():
    counts = np.array([[120, 3], [0, 77]])
    shown = texts(plots.confusion(counts, ("no", "yes")))
    assert {"120", "3", "77"} <= set(shown)
    assert "0" not in shown


def test_letters_missing_from_the_font_cause_no_warning():
    images, probs = np.zeros((1, 4, 4, 3), np.uint8), np.array([[0.25, 0.75]])
    assert plots.to_png(plots.predictions(images, np.array([1]), probs, ("青", "赤"))).startswith(b"\x89PNG")


def test_right_and_wrong_differ_without_colour():
    images, *_ = example(3, count=2)
    probs = np.array([[0.2, 0.7, 0.1], [0.2, 0.7, 0.1]])
    figure = plots.predictions(images, np.array([1, 2]), probs, ("a", "b", "c"))
    assert {"✓ b", "✗ b, is c"} <= set(texts(figure))
    frames = [axes.patches[0] for axes in figure.axes[::2]]
    assert [frame.get_linestyle() == "-" or frame.get_linestyle() == "solid" for frame in frames] == [True, False]
    hatches = [{bar.get_hatch() for bar in axes.patches} for axes in figure.axes[1::2]]
    assert hatches == [{None}, {None, "////"}]


def test_bar_lengths_are_the_probabilities():
    _, _, probs = example(10, count=1)
    figure = plots.single_prediction(np.zeros((9, 8, 1), np.uint8), 3, probs[0], NAMES[10])
    bars = figure.axes[1].patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], probs[0])


@pytest.mark.parametrize("label", [3, 7])
def test_the_title_of_a_single_prediction_is_whole(label):
    """On one line or two, above a square image, which takes all of the height."""
    for names in (NAMES[10], tuple(f"class number {k}" for k in range(10))):
        figure = plots.single_prediction(np.zeros((28, 28, 1), np.uint8), label, np.eye(10)[3], names)
        figure.savefig(io.BytesIO(), dpi=50)
        title = figure.axes[0].title.get_window_extent()
        assert title.y1 <= figure.bbox.y1


def test_the_titles_of_predictions_have_one_size_and_are_whole():
    """Long names were cut off at the left edge, and short ones had larger letters."""
    names = ("rotes Haus", "blaues Haus", "ein langer Name")
    labels, probs = np.array([0, 1, 2, 0]), np.eye(3)[[0, 1, 2, 2]]
    figure = plots.predictions(np.zeros((4, 9, 9, 3), np.uint8), labels, probs, names)
    figure.draw_without_rendering()
    above = figure.axes[::2]
    assert len({axes.title.get_fontsize() for axes in above}) == 1
    for axes in above:
        title, room = axes.title.get_window_extent(), 0.04 * figure.dpi  # beside the column
        column = axes.get_position(original=True).transformed(figure.transFigure)
        assert column.x0 - room <= title.x0 < title.x1 <= column.x1 + room
        assert title.x0 >= 0


def test_with_many_classes_the_most_probable_are_shown():
    p = np.full(26, 0.01)
    p[[3, 20]] = 0.5, 0.26
    figure = plots.single_prediction(np.zeros((9, 8, 1), np.uint8), 20, p, NAMES[26])
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert len(widths) == 10
    assert sorted(widths)[-2:] == [0.26, 0.5]
    assert {"d", "u"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1.0, ">99.9 %"), (0.99999, ">99.9 %"), (0.999, "99.9 %"), (0.123, "12.3 %"), (0.0001, "<0.1 %"), (0, "<0.1 %")],
)
def test_percent(fraction, text):
    assert metrics.probability_percent(fraction) == text


def test_without_mistakes_the_picture_says_none():
    images, labels, _ = example(2)
    right = np.eye(2)[labels]
    figure = plots.misclassified(images, labels, right, NAMES[2], metrics.mistakes(labels, right))
    assert texts(figure) == ["None."]


def test_curves_show_the_measured_values():
    axes = plots.curves(EPOCHS, Scores(0.3, 0.8)).axes
    loss, accuracy = ({line.get_label(): list(line.get_ydata()) for line in one.lines} for one in axes)
    assert loss == {"training": [0.9, 0.5], "validation": [0.8, 0.6], "test, at the end": [0.3]}
    assert accuracy["training"] == [50.0, 70.0]
    without = [EpochResult(1, 0.9, 0.5, None, None, 1.0, 10.0)]
    assert [line.get_label() for line in plots.curves(without).axes[0].lines] == ["training"]


def test_the_test_stands_at_the_epoch_that_is_kept():
    """As after early stopping, when the last epochs are thrown away."""
    axes = plots.curves(EPOCHS, Scores(0.3, 0.8), 1).axes
    for one, value in zip(axes, (0.3, 80.0), strict=True):
        (star,) = [line for line in one.lines if line.get_label() == "test, of epoch 1, which is kept"]
        assert (list(star.get_xdata()), list(star.get_ydata())) == ([1], [value])
    last = plots.curves(EPOCHS, Scores(0.3, 0.8)).axes[0].lines[-1]
    assert (list(last.get_xdata()), last.get_label()) == ([EPOCHS[-1].epoch], "test, at the end")


def test_the_learning_rate_is_shown_where_it_is_known():
    epochs = [dataclasses.replace(result, learning_rate=0.1 / result.epoch) for result in EPOCHS]
    *_, lowest = plots.curves(epochs, Scores(0.3, 0.8)).axes
    assert [list(line.get_ydata()) for line in lowest.lines] == [[0.1, 0.05]]
    assert lowest.get_ylabel() == "learning rate"
    assert len(plots.curves(EPOCHS).axes) == 2


def test_colours_mean_the_same_as_on_the_page():
    """Blue above zero, orange below, white at zero."""
    weight = np.zeros((1, 3, 1, 1))
    weight[0, :, 0, 0] = [-1, 0, 1]
    (image,) = plots.filters(weight, "conv2d_1").axes[0].images
    below, zero, above = image.to_rgba(weight[:, :, 0, 0])[0][:, :3]
    assert below[0] > below[2]
    assert above[2] > above[0]
    np.testing.assert_allclose(zero, 1, atol=0.01)


def test_deep_filters_are_summarised():
    weight = np.zeros((3, 3, 9, 5), np.float32)
    weight[:, :, 4, 2], weight[1, 1, 7, 0] = 2.0, -9.0
    figure = plots.filters(weight, "conv2d_2")
    strength = figure.axes[0].images[0].get_array()
    assert strength.shape == (9, 5)
    assert strength[4, 2] == pytest.approx(6)  # the root of nine times 4
    assert strength[7, 0] == pytest.approx(9)
    pieces = figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(pieces[:3, :3], weight[:, :, 7, 0])
    np.testing.assert_array_equal(pieces[:3, 4:7], weight[:, :, 4, 2])
    assert "conv2d_2: how strongly 5 filters (across) read 9 maps (down)" in texts(figure)
    assert "filters across, 3 input channels down" in " ".join(texts(plots.filters(np.ones((3, 3, 3, 5)), "c")))


def test_feature_maps_leave_out_layers_that_change_nothing():
    model = small_model()
    image = example(5, 2)[0][0]
    shown = " ".join(texts(plots.feature_maps(image, explain.activations(model, image), NAMES[10][:5])))
    assert "conv2d_1  7×6×4" in shown
    assert "maxpool2d_1  3×3×4" in shown
    assert "dense_2  5" in shown
    assert "flatten" not in shown
    assert "dropout" not in shown


def test_pictures_do_not_change_global_state():
    code = (
        "import sys, matplotlib as m; before = m.rcParams.copy()\n"
        "import numpy as np\nfrom tinycnn import plots\n"
        "plots.to_png(plots.confusion(np.eye(3, dtype=int), ('a', 'b', 'c')))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\nassert m.rcParams.copy() == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------------------ the graph


def step(backend):
    model = small_model()
    images, labels, _ = example(5, 2, count=4)
    return explain.step_loss(model, images, labels)


def test_the_graph_holds_every_function_and_leaf(backend):
    model, loss = step(backend)
    found = graph.graph_of(loss, dict(model.named_parameters()))
    functions = [name for name, _, is_function in found.nodes.values() if is_function]
    order = ["SoftmaxCrossEntropy", "Dense", "Dropout", "Dense", "Reshape", "MaxPool2d", "BatchNorm", "ReLU", "Conv2d"]
    assert functions == order
    leaves = {name: shape for name, shape, is_function in found.nodes.values() if not is_function}
    assert leaves == {"data": "4×9×8×2"} | {n: "×".join(map(str, p.shape)) for n, p in model.named_parameters()}
    assert len(found.edges) == len(functions) - 1 + len(leaves)


def test_a_tensor_used_twice_is_drawn_once():
    x = tinycnn.Tensor(np.ones(3), requires_grad=True)
    found = graph.graph_of((x * x).sum(), {"x": x})
    assert sorted(name for name, *_ in found.nodes.values()) == ["Multiply", "Sum", "x"]
    assert len(found.edges) == 3


def test_a_graph_freed_by_backward_is_refused():
    _, loss = step(None)
    loss.backward()
    with pytest.raises(SettingError, match="draw it before backward"):
        plots.graph_dot(loss)


def test_mermaid_text():
    x = tinycnn.Tensor(np.ones(3), requires_grad=True)
    lines = plots.graph_mermaid(x.exp(), {'a "name"': x}).splitlines()
    assert lines[0] == "flowchart TD"
    assert '  n0["Exp<br/>3"]' in lines
    assert '  n1(["a #quot;name#quot;<br/>3"])' in lines
    assert "  n1 --> n0" in lines


def test_the_graph_is_drawn_without_graphviz(monkeypatch):
    monkeypatch.setenv("PATH", "")
    model, loss = step(None)
    svg = ElementTree.fromstring(plots.graph_svg(loss, dict(model.named_parameters())))
    shown = ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"SoftmaxCrossEntropy", "Conv2d", "data", *(name for name, _ in model.named_parameters())} <= set(shown)
    found = graph.graph_of(loss, dict(model.named_parameters()))
    places = graph._places(found)
    assert len(set(places.values())) == len(found.nodes)  # no box on another
    for start, end in found.edges:
        if found.nodes[start][2]:
            assert places[start][1] < places[end][1]  # down
        else:
            assert places[start][1] == places[end][1]  # beside
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}path"))) == len(found.edges) + 1  # the tip of the arrows


def test_the_graph_of_two_branches():
    x = tinycnn.Tensor(np.ones(3), requires_grad=True)
    y = x.exp()
    places = graph._places(graph.graph_of((y.log() * 2.0 + y).sum(), {"<x>": x}))
    assert len(set(places.values())) == len(places)
    assert b"&lt;x&gt;" in plots.graph_svg((x * 2.0).sum(), {"<x>": x})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_histograms_of_numbers_near_the_largest(dtype):
    """The deviation of weights ±1e30 is 1e30; their squares do not fit into float32."""
    weights = {"weight": np.array([1e30, -1e30] * 50, dtype)}
    assert any("σ 1e+30" in text for text in texts(plots.histograms(weights, weights)))


def values_of_a_wild_run(shape, extreme):
    values = np.resize(np.array([-3e38, 3e38], np.float32), shape)
    values.flat[: values.size // 2] = extreme
    return values


@pytest.mark.parametrize("extreme", [3e38, np.inf, -np.inf, np.nan])
def test_pictures_of_a_wild_run_are_drawn_without_warnings(extreme):
    """The greatest numbers of float32, whose squares, sums and differences float32 cannot hold."""
    images, wild = example(4, 1)[0], partial(values_of_a_wild_run, extreme=extreme)
    histograms = plots.histograms({"w": wild(48)}, {"w": wild(48)})
    for figure in (
        plots.filters(wild((3, 3, 1, 8)), "conv2d_1"),
        plots.feature_maps(images[0], {"conv2d_1": wild((9, 9, 4)), "dense_1": wild(10)}, NAMES[10]),
        plots.saliency_maps(images[:2], wild(images[:2].shape), ["a", "b"]),
        histograms,
    ):
        assert pixels(figure).std() > 1
    expected = "w  (σ 2.6e+38)" if np.isfinite(extreme) else "w  (σ 3e+38, 24 not finite)"  # 2.6: √6.75
    assert expected in texts(histograms)


def test_a_histogram_without_a_finite_value():
    nothing = np.full(7, np.nan)
    assert "w  (σ –, 7 not finite)" in texts(plots.histograms({"w": nothing}, {"w": nothing}))


def test_pictures_of_nothing_say_none():
    """Of no images, as without a mistake, and of a network without weights."""
    nothing = np.zeros((0, 5, 5, 1), np.uint8)
    assert texts(plots.saliency_maps(nothing, nothing.astype(float), [])) == ["None."]
    assert texts(plots.histograms({}, {})) == ["None."]


def test_a_learning_rate_of_0_is_drawn():
    rated = [dataclasses.replace(epoch, learning_rate=0.0) for epoch in EPOCHS]
    assert plots.curves(rated).axes[-1].get_ylim() == (0, 1)


def test_compared_runs_show_validation_where_there_was_one():
    figure = plots.compared_runs({"a": EPOCHS, "b": WITHOUT_VALIDATION, "c": []})
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[0.8, 0.6], [0.9]]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [[60, 75], [50]]
    assert {"a", "b (training)"} <= set(texts(figure))
    styles = plots.compared_runs({str(n): EPOCHS for n in range(20)}).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in styles}) == 20
    with pytest.raises(SettingError, match="no run has an epoch"):
        plots.compared_runs({"c": []})


def test_the_rate_that_is_suggested_is_marked():
    rates, losses, smoothed = SWEEP
    axes = plots.rate_sweep(rates, losses, smoothed, 0.01).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines[:2]] == [losses.tolist(), smoothed.tolist()]
    assert axes.lines[2].get_xdata() == [0.01, 0.01]
    assert axes.get_ylim()[0] < losses.min()
    assert len(plots.rate_sweep(rates, losses, smoothed).axes[0].lines) == 2
    assert plots.rate_sweep(np.zeros(0), np.zeros(0), np.zeros(0)).axes
