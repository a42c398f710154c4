"""All pictures of one training run, as files and on one page: ``report.html``, which needs nothing beside it.

``draw(output, model, dataset, metrics)`` writes them. A picture that cannot be drawn is left out with a word about why;
the others, and whatever the run has saved before, are not touched by that. ``python -m tinycnn report FOLDER`` draws
them again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn import explain, metrics, plots
from tinycnn.backends import get_backend
from tinycnn.data import Dataset, class_counts
from tinycnn.data.augment import Augmentation, named
from tinycnn.files import write_atomically
from tinycnn.layers import Conv2d, Sequential
from tinycnn.report.page import Shown, page
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.trainer import EpochResult, Scores

EXAMPLES = 5  # single files of each kind
STEP_IMAGES = 64  # in the batch whose gradients are shown


@dataclass(frozen=True)
class Run:
    """A trained network, its data, and what ``metrics.json`` says of the run."""

    model: Sequential
    dataset: Dataset
    metrics: dict[str, Any]

    @cached_property
    def probs(self) -> np.ndarray:
        """Probabilities of every test image ``(M, K)``."""
        return metrics.probabilities(predict_logits(self.model, self.dataset.x_test))

    @cached_property
    def mistakes(self) -> np.ndarray:
        """Numbers of the test images answered wrongly, most confident first."""
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
    """``file`` name, what stands above and below it in the report (no heading: not in the report), and its maker."""

    file: str
    heading: str
    text: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Drawn:
    """What ``draw`` wrote: names of files, a sentence for each picture that failed, the seconds it took."""

    files: list[str]
    failures: list[str]
    seconds: float


def draw(output: Path, model: Sequential, dataset: Dataset, results: dict[str, Any]) -> Drawn:
    """Write every picture and ``report.html`` into the folder ``output``; raises OSError where that is impossible."""
    start = time.perf_counter()
    run = Run(model, dataset, results)
    files, failures, shown = [], [], []
    for picture in pictures(run):
        try:
            content = picture.make()
        except Exception as error:  # a picture is never worth a result
            failures.append(f"{picture.file}: {type(error).__name__}: {error}")
            continue
        write_atomically(output / picture.file, content)
        files.append(picture.file)
        if picture.heading:
            shown.append(Shown(picture.file, picture.heading, picture.text, content))
    scores = metrics.class_scores(run.confusion)
    html = page(results, shown, failures, model.summary(), scores, dataset.class_names)
    write_atomically(output / "report.html", html.encode(errors="backslashreplace"))  # names of files hold anything
    return Drawn([*files, "report.html"], failures, time.perf_counter() - start)


def pictures(run: Run) -> Iterator[Picture]:
    """Every picture of a run, in the order of the report."""
    yield from _of_scores(run)
    yield from _of_answers(run)
    yield from _of_network(run)
    yield from _of_data(run)


def _figure(plot: Callable[..., Any], *arguments: Any) -> bytes:
    return plots.to_png(plot(*arguments))


def _of_scores(run: Run) -> Iterator[Picture]:
    names = run.dataset.class_names
    epochs = [EpochResult(**result) for result in run.metrics["epochs"]]
    test = Scores(run.metrics["test_loss"], run.metrics["test_accuracy"])
    yield Picture(
        "curves.png", "Learning", "Loss and accuracy after each epoch. Training values are means over the epoch, while "
        "the network was still changing (and with dropout, where it has some); validation and test come after it.",
        lambda: _figure(plots.curves, epochs, test),
    )  # fmt: skip
    yield Picture(
        "confusion_matrix.png", "What is taken for what", "Rows: what it is. Columns: what the network answers. "
        "Everything off the diagonal is a mistake; the colours are stretched so that single ones can be seen.",
        lambda: _figure(plots.confusion, run.confusion, names),
    )  # fmt: skip
    yield Picture(
        "precision_recall.png", "Class by class", "Precision: of the answers of this class, how many are right. "
        "Recall: of the images of this class, how many are found.",
        lambda: _figure(plots.precision_recall, metrics.class_scores(run.confusion), names),
    )  # fmt: skip


def _of_answers(run: Run) -> Iterator[Picture]:
    data, names = run.dataset, run.dataset.class_names
    right = np.flatnonzero(run.probs.argmax(axis=1) == data.y_test)[: 2 * EXAMPLES]
    spread = np.linspace(0, len(run.mistakes) - 1, min(4, len(run.mistakes))).astype(int)
    sample = np.concatenate([right[:6], run.mistakes[spread]])

    def answers(chosen: np.ndarray) -> tuple[Any, ...]:
        return data.x_test[chosen], data.y_test[chosen], run.probs[chosen], names

    yield Picture(
        "predictions.png", "Answers", "Six answers that are right (tick, solid frame) and up to four that are wrong "
        "(cross, dashed frame), with the probability of every class; the true class in bold.",
        lambda: _figure(plots.predictions, *answers(sample)),
    )  # fmt: skip
    yield Picture(
        "misclassified.png", "The most confident mistakes", f"{len(run.mistakes):,} of {len(data.x_test):,} test "
        "images are answered wrongly; these are the ones the network was most sure of.",
        lambda: _figure(plots.misclassified, data.x_test, data.y_test, run.probs, names, run.mistakes[:25]),
    )  # fmt: skip
    for kind, chosen in (("example", np.arange(len(data.x_test))), ("misclassified", run.mistakes)):
        for number, i in enumerate(chosen[:EXAMPLES], start=1):
            arguments = data.x_test[i], int(data.y_test[i]), run.probs[i], names
            yield Picture(f"{kind}_{number}.png", "", "", partial(_figure, plots.single_prediction, *arguments))


def _of_network(run: Run) -> Iterator[Picture]:
    data, names, model = run.dataset, run.dataset.class_names, run.model
    for name, layer in model.layers.items():
        if isinstance(layer, Conv2d):
            weight = get_backend().to_host(layer.parameters_by_name["weight"].data)
            text = "What the layer looks for: orange weights want brightness, purple ones darkness."
            make = partial(_figure, plots.filters, weight, name)
            yield Picture(f"filters_{name}.png", f"Filters of {name}", text, make)
    image = data.x_test[0]
    yield Picture(
        "feature_maps.png", "One image on its way through the network", "The output of every layer; bright is large. "
        "Convolutions answer with one map per filter.",
        lambda: _figure(plots.feature_maps, image, explain.activations(model, image), names),
    )  # fmt: skip
    yield Picture(
        "saliency.png", "Which pixels mattered", "Below each image the gradient of the answer's score at every pixel, "
        "by backward(): orange, where more brightness speaks for the answer; purple, against it.",
        lambda: _saliency(run),
    )  # fmt: skip
    yield Picture(
        "histograms.png", "Weights and gradients", "Left the weights of each layer, right their gradients in one step "
        f"on {STEP_IMAGES} training images; the counts are on a logarithmic scale.",
        lambda: _histograms(run),
    )  # fmt: skip
    yield _graph(run)


def _saliency(run: Run) -> bytes:
    labels, answers = run.dataset.y_test, run.probs.argmax(axis=1)
    first = [np.flatnonzero(labels == k)[:1] for k in range(run.dataset.num_classes)]  # one image of each class
    chosen = np.concatenate([found for found in first if len(found)])[:5]
    gradients = np.stack([explain.saliency(run.model, run.dataset.x_test[i]) for i in chosen])
    captions = [f"answer {run.dataset.class_names[answers[i]]}" for i in chosen]
    return _figure(plots.saliency_maps, run.dataset.x_test[chosen], gradients, captions)


def _histograms(run: Run) -> bytes:
    gradients = explain.step_gradients(run.model, *run.training_part)
    firsts = {name: layer.named_parameters() for name, layer in run.model.layers.items()}
    chosen = [f"{name}.{own}" for name, parameters in firsts.items() for own, _ in list(parameters)[:1]]
    chosen = [name for name in chosen if name in gradients]  # not those of frozen layers
    weights = run.model.state_dict()
    return _figure(plots.histograms, {name: weights[name] for name in chosen}, gradients)


def _graph(run: Run) -> Picture:
    model, loss = explain.step_loss(run.model, *run.training_part)
    parameters = dict(model.named_parameters())
    svg = plots.graph_svg(loss, parameters)
    text = (
        "One training step as the autograd engine remembers it: functions in blue, parameters and data in white, "
        "with their shapes. backward() walks it from the bottom to the top."
    )
    if svg is None:
        mermaid = plots.graph_mermaid(loss, parameters).encode()
        text += " (Mermaid text; where Graphviz is installed, a picture.)"
        return Picture("graph.mmd", "The graph of one step", text, lambda: mermaid)
    return Picture("graph.svg", "The graph of one step", text, lambda: svg)


def _of_data(run: Run) -> Iterator[Picture]:
    data, names = run.dataset, run.dataset.class_names
    yield Picture(
        "digits.png", "The first training images", "Grey levels 0 to 255, divided by 255 on the way into the network.",
        lambda: _figure(plots.first_images, data.x_train, data.y_train, names),
    )  # fmt: skip
    counts = {"training": class_counts(data.y_train, len(names)), "test": class_counts(data.y_test, len(names))}
    yield Picture(
        "class_distribution.png", "How often each class occurs", "A class that is rare in training is learned badly.",
        lambda: _figure(plots.class_distribution, counts, names),
    )  # fmt: skip
    augment = used_augmentation(run.metrics["options"])
    if augment:
        yield Picture(
            "augmentation.png", "Augmentation", "In every epoch each image lies a little differently.",
            lambda: _figure(plots.augmented, data.x_train[0], seen(data.x_train[0], augment)),
        )  # fmt: skip


def used_augmentation(options: dict[str, Any]) -> Augmentation | None:
    """That of the run whose ``options`` these are; runs of tinycnn before names were given just say ``true``."""
    name = options.get("augment")
    return named("affine" if name is True else name, bend=options.get("elastic", 0)) if name else None


def seen(image: np.ndarray, augment: Augmentation, times: int = 9) -> np.ndarray:
    """An image ``(H, W, C)`` as ``times`` epochs see it, ``(times, H, W, C)``, all bytes."""
    backend = get_backend()
    maps = backend.asarray(augment.maps(times, np.random.default_rng(0)))
    chosen = backend.asarray(np.zeros(times, np.int64))
    x = backend.gather_warped(backend.asarray(image[None]), chosen, maps, 1.0, np.dtype(np.float32))  # (times, H, W, C)
    return np.rint(backend.to_host(x)).astype(np.uint8)
