"""Pictures of several runs, and of a run that looks for a learning rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tinycnn.errors import SettingError
from tinycnn.plots.figure import BLUE, GREEN, GREY, INK, ORANGE, new_figure, plain_axes, short_name
from tinycnn.train.history import EpochResult

COLOURS = (BLUE, ORANGE, GREEN, INK, "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito
LINES = ("-", "--", ":", "-.")


def compared_runs(runs: Mapping[str, Sequence[EpochResult]]) -> Figure:
    """Loss and accuracy of several runs by name, over their epochs: of validation, or of training without it.

    Lines differ in colour, then in their pattern. Raises SettingError if no run has an epoch.
    """
    shown = {name: epochs for name, epochs in runs.items() if epochs}
    if not shown:
        raise SettingError("no run has an epoch to draw")
    figure = new_figure(5.0 + 0.22 * len(shown))
    for axes, score, unit in zip(figure.subplots(2, 1, sharex=True), ("loss", "accuracy"), ("nats", "%"), strict=True):
        scale = 100 if score == "accuracy" else 1
        for i, (name, epochs) in enumerate(shown.items()):
            part = "validation" if epochs[0].validation_loss is not None else "train"
            values = [scale * getattr(result, f"{part}_{score}") for result in epochs]
            style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % 4]}
            label = short_name(name, 40) + (" (training)" if part == "train" else "")
            axes.plot([result.epoch for result in epochs], values, label=label, marker="o", markersize=3, **style)
        plain_axes(axes).set_ylabel(f"{score} ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=1, frameon=False)
    return figure


def rate_sweep(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestion: float | None = None) -> Figure:
    """The loss of each step over its learning rate, all ``(steps,)``, as `find_learning_rate` returns them.

    ``suggestion`` is marked by a vertical line. Losses far above the first ones are cut off.
    """
    figure = new_figure(3.4)
    axes = plain_axes(figure.subplots())
    axes.plot(rates, losses, color=GREY, linewidth=0.8, label="loss of the step")
    axes.plot(rates, smoothed, color=GREEN, label="moving average")
    if suggestion is not None:
        axes.axvline(suggestion, color=INK, linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if len(smoothed):
        low, high = float(min(losses.min(), smoothed.min())), float(max(smoothed[0], np.median(smoothed)))
        axes.set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.6 * (high - low) + 1e-3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
