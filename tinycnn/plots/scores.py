"""Pictures of numbers: class distribution, learning curves, confusion matrix, precision and recall."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tinycnn.metrics import ClassScores
from tinycnn.plots.figure import GREEN, GREY, INK, SMALL, WIDTH, new_figure, plain_axes, short_name
from tinycnn.train.evaluation import Scores
from tinycnn.train.history import EpochResult

MAX_COUNTS = 30  # up to this number of classes, every cell of the confusion matrix shows its count


def class_distribution(counts: dict[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """The number of images of each class: ``counts`` maps a part ("training", "test") to counts ``(K,)``."""
    figure = new_figure(0.9 + 0.34 * max(4, len(class_names)))
    axes = plain_axes(figure.subplots())
    rows, height = np.arange(len(class_names)), 0.8 / len(counts)
    styles = [(GREEN, ""), (GREY, "///"), (INK, "...")]
    for i, ((part, numbers), (colour, hatch)) in enumerate(zip(counts.items(), styles, strict=False)):
        style: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        bars = axes.barh(rows + (i - (len(counts) - 1) / 2) * height, numbers, height, label=part, **style)
        axes.bar_label(bars, [f"{number:,}" for number in numbers], padding=3, fontsize=SMALL)
    axes.set_yticks(rows, list(map(short_name, class_names)))
    axes.set(ylim=(len(class_names) - 0.5, -0.5), xlabel="images")
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return figure


def curves(epochs: Sequence[EpochResult], test: Scores | None = None, kept: int | None = None) -> Figure:
    """Loss and accuracy of training and, if there was one, validation after each epoch; the final test as a star.

    ``kept``: the epoch whose network was tested, None for the last one; a vertical line marks it.

    Training values are means over the epoch, while the network was still changing and dropout was active. Below, the
    learning rate at the end of each epoch, where it is known.
    """
    rates = [result.learning_rate for result in epochs if result.learning_rate is not None]
    figure = new_figure(5.4 + 1.3 * bool(rates))
    ratios = [2.4, 2.4, 1.2] if rates else [1, 1]
    upper, middle, *lowest = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    for axes, score, unit in zip((upper, middle), ("loss", "accuracy"), ("nats", "%"), strict=True):
        scale = 100 if score == "accuracy" else 1
        numbers = [result.epoch for result in epochs]
        draw_curve(axes, numbers, [scale * getattr(r, f"train_{score}") for r in epochs], "training")
        if epochs and epochs[0].validation_loss is not None:
            draw_curve(axes, numbers, [scale * getattr(r, f"validation_{score}") for r in epochs], "validation")
        if test and epochs:
            style: dict[str, Any] = {
                "marker": "*",
                "markersize": 12,
                "linestyle": "none",
                "color": INK,
                "clip_on": False,
            }
            label = "test, at the end" if kept is None else f"test, of epoch {kept}, which is kept"
            axes.plot(kept or numbers[-1], scale * getattr(test, score), label=label, zorder=3, **style)
        if kept is not None:
            axes.axvline(kept, color=GREY, linestyle=":", zorder=0)
        plain_axes(axes).set_ylabel(f"{score} ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for one in lowest:
        plain_axes(one).plot(
            [r.epoch for r in epochs if r.learning_rate is not None], rates, color=INK, marker="o", ms=4
        )
        one.set(ylabel="learning rate", ylim=(0, 1.15 * max(rates) or 1))  # or 1: a rate of 0
    (lowest or [middle])[0].set_xlabel("epoch")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw_curve(axes: Axes, numbers: list[int], values: list[float], label: str) -> None:
    """A line over the epochs; training and validation differ in colour, line style and marker."""
    style: dict[str, Any] = {"color": GREEN, "marker": "o"}
    if label == "validation":
        style = {"color": INK, "marker": "s", "linestyle": "--"}
    axes.plot(numbers, values, label=label, markersize=5, clip_on=False, **style)


def confusion(counts: np.ndarray, class_names: Sequence[str]) -> Figure:
    """The confusion matrix ``(K, K)``: rows are true classes, columns predicted ones, with every count in its cell.

    The colour is the share of the row on a stretched scale, so that single mistakes are visible.
    """
    K = len(class_names)
    size = min(max(WIDTH, 0.42 * K), 20.0)
    figure = new_figure(size, size)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (K, K)
    axes.imshow(share, cmap="Blues", norm=PowerNorm(0.35, 0, 1))
    for i, j in np.argwhere(counts > 0) if K <= MAX_COUNTS else ():
        colour = "white" if share[i, j] > 0.12 else INK
        axes.text(j, i, f"{counts[i, j]}", ha="center", va="center", fontsize=SMALL, color=colour)
    is_long = max(map(len, class_names)) > 2
    names = list(map(short_name, class_names))
    axes.set_xticks(np.arange(K), names, rotation=90 if is_long else 0)
    axes.set_yticks(np.arange(K), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_xticks(np.arange(-0.5, K), minor=True)
    axes.set_yticks(np.arange(-0.5, K), minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return figure


def precision_recall(scores: ClassScores, class_names: Sequence[str]) -> Figure:
    """Precision (dot) and recall (diamond) of every class, in percent."""
    K = len(class_names)
    figure = new_figure(0.9 + 0.34 * max(4, K))
    axes = plain_axes(figure.subplots())
    rows = np.arange(K)
    axes.hlines(rows, 100 * scores.precision, 100 * scores.recall, color="#bbbbbb", linewidth=2)
    style: dict[str, Any] = {"linestyle": "none", "clip_on": False, "markersize": 8}
    precision = "precision: the share of predictions that are right"
    recall = "recall: the share of images of the class that are found"
    axes.plot(100 * scores.precision, rows, marker="o", color=GREEN, label=precision, **style)
    axes.plot(100 * scores.recall, rows, marker="D", color=INK, mfc="none", mew=1.8, label=recall, **style)
    axes.set_yticks(rows, list(map(short_name, class_names)))
    lowest = 100 * min(scores.precision.min(), scores.recall.min())
    left = lowest - 0.08 * (100 - lowest) - 0.1 if lowest < 100 else 90
    axes.set(ylim=(K - 0.5, -0.5), xlim=(left, 100), xlabel="%")
    figure.legend(loc="outside upper center", ncols=1, frameon=False)
    return figure
