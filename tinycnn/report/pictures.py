"""All pictures of one training run, as files and on one self-contained page, ``report.html``.

``draw(output, model, dataset, metrics)`` writes them. If a picture cannot be drawn, the page states the reason in its
place; the other pictures and the saved results are not affected. The command ``report FOLDER`` draws them again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn import explain, metrics, plots
from tinycnn.backends import get_backend
from tinycnn.data import Dataset, class_counts
from tinycnn.data.augment import Augmentation, named, reflects
from tinycnn.explain.saliency import COLOURS
from tinycnn.files import write_atomically
from tinycnn.layers import Conv2d, Sequential
from tinycnn.plots.network import MOST_CHANNELS
from tinycnn.report.page import ReportPicture, page
from tinycnn.train.evaluation import Scores
from tinycnn.train.history import EpochResult
from tinycnn.train.predicting import predictions

EXAMPLES = 5  # example_*.png and misclassified_*.png files of each kind
STEP_IMAGES = 64  # images in the batch whose gradients are shown


FIRST_FILTERS = (
    "What the layer detects in the image: blue weights respond to bright pixels, orange ones to dark pixels. Each "
    "filter is one tile, or one column if the image has colours."
)
DEEP_FILTERS = (
    "These filters read the maps of an earlier layer, not the image, so that single weights say little. Above, how "
    "strongly each filter reads each map: the length of the weights between the two. Below, the strongest of these "
    "pieces; blue weights are positive, orange ones negative."
)


@dataclass(frozen=True)
class Run:
    """A trained network, its data, and the content of its ``metrics.json``."""

    model: Sequential
    dataset: Dataset
    metrics: dict[str, Any]

    @cached_property
    def probs(self) -> np.ndarray:
        """Probabilities of every test image ``(M, K)``."""
        return predictions(self.model, self.dataset.x_test)

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Indices of the misclassified test images, most confident first."""
        return metrics.mistakes(self.dataset.y_test, self.probs)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Counts ``(K, K)`` on the test images."""
        return metrics.confusion_matrix(self.dataset.y_test, self.probs.argmax(axis=1), self.dataset.num_classes)

    @property
    def training_part(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of the first training batch."""
        return self.dataset.x_train[:STEP_IMAGES], self.dataset.y_train[:STEP_IMAGES]


@dataclass(frozen=True)
class Picture:
    """File name, heading and explanation in the report, and the function that draws it.

    A picture without a heading is written as a file, but is not in the report.
    """

    file: str
    heading: str
    text: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Drawn:
    """The result of ``draw``: names of the files written, a sentence for each picture that failed, and the time."""

    files: list[str]
    failures: list[str]
    seconds: float


@np.errstate(all="ignore")  # a diverged network is drawn as it is
def draw(output: Path, model: Sequential, dataset: Dataset, results: dict[str, Any]) -> Drawn:
    """Write every picture and ``report.html`` into the folder ``output``; raises OSError where it cannot be written."""
    start = time.perf_counter()
    run = Run(model, dataset, results)
    files, failures, on_page = [], [], []
    for picture in pictures(run):
        try:
            with np.errstate(all="ignore"):  # a diverged network can hold numbers near the float32 maximum
                content = picture.make()
        except Exception as error:  # a picture that fails must not end the run
            failures.append(f"{picture.file}: {type(error).__name__}: {error}")
            continue
        write_atomically(output / picture.file, content)
        files.append(picture.file)
        if picture.heading:
            on_page.append(ReportPicture(picture.file, picture.heading, picture.text, content))
    scores = metrics.class_scores(run.confusion)
    html = page(results, on_page, failures, model.summary(), scores, dataset.class_names)
    write_atomically(output / "report.html", html.encode(errors="backslashreplace"))  # a path may not be valid Unicode
    return Drawn([*files, "report.html"], failures, time.perf_counter() - start)


def pictures(run: Run) -> Iterator[Picture]:
    """Every picture of a run, in the order of the report."""
    yield from _of_scores(run)
    yield from _of_predictions(run)
    yield from _of_network(run)
    yield from _of_data(run)


def _figure(plot: Callable[..., Any], *arguments: Any) -> bytes:
    return plots.to_png(plot(*arguments))


def kept_epoch(results: dict[str, Any]) -> int | None:
    """The epoch whose network a run has kept and tested, as after early stopping; None for the last one."""
    best, stopping = results.get("best"), results["options"].get("early_stopping") is not None
    return best["epoch"] if stopping and isinstance(best, dict) and isinstance(best.get("epoch"), int) else None


def _of_scores(run: Run) -> Iterator[Picture]:
    names = run.dataset.class_names
    epochs = [EpochResult(**result) for result in run.metrics["epochs"]]
    test = Scores(run.metrics["test_loss"], run.metrics["test_accuracy"])
    kept = kept_epoch(run.metrics)
    yield Picture(
        "curves.png", "Learning", "Loss and accuracy after each epoch. Training values are means over the epoch, while "
        "the network was still changing, and with dropout if it has any; validation and test are computed afterwards.",
        lambda: _figure(plots.curves, epochs, test, kept),
    )  # fmt: skip
    yield Picture(
        "confusion_matrix.png", "Confusion matrix", "Rows: true class. Columns: predicted class. Everything off the "
        "diagonal is a mistake; the colour scale is stretched so that single mistakes are visible.",
        lambda: _figure(plots.confusion, run.confusion, names),
    )  # fmt: skip
    yield Picture(
        "precision_recall.png", "Precision and recall", "Precision: the share of predictions of this class that are "
        "right. Recall: the share of images of this class that are found.",
        lambda: _figure(plots.precision_recall, metrics.class_scores(run.confusion), names),
    )  # fmt: skip


def _of_predictions(run: Run) -> Iterator[Picture]:
    data, names = run.dataset, run.dataset.class_names
    right = np.flatnonzero(run.probs.argmax(axis=1) == data.y_test)[: 2 * EXAMPLES]
    spread = np.linspace(0, len(run.mistakes) - 1, min(4, len(run.mistakes))).astype(int)
    sample = np.concatenate([right[:6], run.mistakes[spread]])

    def arguments(chosen: np.ndarray) -> tuple[Any, ...]:
        return data.x_test[chosen], data.y_test[chosen], run.probs[chosen], names

    yield Picture(
        "predictions.png", "Predictions", "Six predictions that are right (tick, solid frame) and up to four that are "
        "wrong (cross, dashed frame), with the probability of every class; the true class in bold.",
        lambda: _figure(plots.predictions, *arguments(sample)),
    )  # fmt: skip
    misread = f"{len(run.mistakes):,} of {len(data.x_test):,} test images are misclassified"
    misread += "; these are the ones with the highest confidence." if len(run.mistakes) else "."
    yield Picture(
        "misclassified.png", "The most confident mistakes", misread,
        lambda: _figure(plots.misclassified, data.x_test, data.y_test, run.probs, names, run.mistakes[:25]),
    )  # fmt: skip
    for kind, chosen in (("example", np.arange(len(data.x_test))), ("misclassified", run.mistakes)):
        for number, i in enumerate(chosen[:EXAMPLES], start=1):
            make = partial(_figure, plots.single_prediction, data.x_test[i], int(data.y_test[i]), run.probs[i], names)
            yield Picture(f"{kind}_{number}.png", "", "", make)


def _of_network(run: Run) -> Iterator[Picture]:
    data, names, model = run.dataset, run.dataset.class_names, run.model
    for name, layer in model.layers.items():
        if isinstance(layer, Conv2d):
            weight = get_backend().to_host(layer.parameters_by_name["weight"].data)
            text = DEEP_FILTERS if weight.shape[2] > MOST_CHANNELS else FIRST_FILTERS
            make = partial(_figure, plots.filters, weight, name)
            yield Picture(f"filters_{name}.png", f"Filters of {name}", text, make)
    image = data.x_test[0]
    yield Picture(
        "feature_maps.png", "One image on its way through the network",
        "The output of every layer, each with its own scale: blue is positive, orange negative. "
        "A convolution outputs one map per filter.",
        lambda: _figure(plots.feature_maps, image, explain.activations(model, image), names),
    )  # fmt: skip
    methods = ". ".join(f"{name}: {words}" for name, words in COLOURS.items())
    yield Picture(
        "saliency.png", "Which pixels mattered", "Below each image, five ways to ask what mattered for the "
        f"score of the predicted class. {methods}.",
        lambda: _saliency(run),
    )  # fmt: skip
    yield Picture(
        "histograms.png", "Weights and gradients", "Left: the weights of each layer. Right: their gradients in one "
        f"step on {STEP_IMAGES} training images. The counts are on a logarithmic scale.",
        lambda: _histograms(run),
    )  # fmt: skip
    yield _graph(run)


def _saliency(run: Run) -> bytes:
    labels, predicted = run.dataset.y_test, run.probs.argmax(axis=1)
    first = [np.flatnonzero(labels == k)[:1] for k in range(run.dataset.num_classes)]  # one image of each class
    chosen = np.concatenate([index for index in first if len(index)])[:5]
    images = run.dataset.x_test[chosen]
    each = [explain.saliency_methods(run.model, image, stride=3) for image in images]
    maps = {name: [found[name] for found in each] for name in each[0]}
    captions = [caption(run.dataset.class_names, predicted[i], labels[i]) for i in chosen]
    return _figure(plots.saliency_comparison, images, maps, captions)


def caption(names: Sequence[str], predicted: int, label: int) -> str:
    """The predicted class, and the true one below it if that is another."""
    return f"predicted {names[predicted]}" + (f"\nis {names[label]}" if predicted != label else "")


def _histograms(run: Run) -> bytes:
    gradients = explain.step_gradients(run.model, *run.training_part)
    parameters_of = {name: layer.named_parameters() for name, layer in run.model.layers.items()}
    first = [f"{name}.{own}" for name, parameters in parameters_of.items() for own, _ in list(parameters)[:1]]
    chosen = [name for name in first if name in gradients]  # frozen layers have none
    weights = run.model.state_dict()
    return _figure(plots.histograms, {name: weights[name] for name in chosen}, gradients)


def _graph(run: Run) -> Picture:
    text = (
        "One training step as the autograd engine records it: functions in blue boxes, parameters and data in "
        "rounded ones, with their shapes. The numbers go down the arrows; backward() follows them up."
    )

    def make() -> bytes:
        model, loss = explain.step_loss(run.model, *run.training_part)
        return plots.graph_svg(loss, dict(model.named_parameters()))

    return Picture("graph.svg", "The graph of one step", text, make)


def _of_data(run: Run) -> Iterator[Picture]:
    data, names = run.dataset, run.dataset.class_names
    yield Picture(
        "first_images.png", "The first training images", "Pixels are bytes, 0 to 255; the network takes them divided "
        "by 255.",
        lambda: _figure(plots.first_images, data.x_train, data.y_train, names),
    )  # fmt: skip
    counts = {"training": class_counts(data.y_train, len(names)), "test": class_counts(data.y_test, len(names))}
    yield Picture(
        "class_distribution.png", "How often each class occurs", "A class that is rare in training is learned poorly.",
        lambda: _figure(plots.class_distribution, counts, names),
    )  # fmt: skip
    augment = used_augmentation(run.metrics["options"])
    if augment:
        uncovered = "shows the reflection of the image" if reflects(augment) else "is black"
        yield Picture(
            "augmentation.png", "Augmentation",
            f"Each epoch trains on a slightly different version of every image. What a shift uncovers {uncovered}.",
            lambda: _figure(plots.augmented, data.x_train[0], augmented_views(data.x_train[0], augment)),
        )  # fmt: skip


def used_augmentation(options: dict[str, Any]) -> Augmentation | None:
    """The augmentation of a run with these ``options``; in results of older versions ``augment`` may be ``true``."""
    name = options.get("augment")
    return named("affine" if name is True else name, bend=options.get("elastic", 0)) if name else None


def augmented_views(image: np.ndarray, augment: Augmentation, times: int = 9) -> np.ndarray:
    """``times`` augmented versions of a byte image, ``(H, W, C)`` → ``(times, H, W, C)``, one for each epoch."""
    backend = get_backend()
    maps = backend.asarray(augment.maps(times, np.random.default_rng(0)))
    chosen = backend.asarray(np.zeros(times, np.int64))
    settings = 1.0, np.dtype(np.float32), reflects(augment)
    x = backend.gather_warped(backend.asarray(image[None]), chosen, maps, *settings)  # (times, H, W, C)
    return np.rint(backend.to_host(x)).astype(np.uint8)
