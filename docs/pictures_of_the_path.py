"""The pictures of the path: ``python docs/pictures_of_the_path.py`` draws them all into ``docs/path/pictures/``.

One function, one picture. Words stay words in the files (SVG), so a picture is a few kilobytes and a change can be read.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import tinycnn
from tinycnn import Tensor, ops, optim

FOLDER = Path(__file__).parent / "path" / "pictures"
INK, FORWARD, BACKWARD, PALE = "#333333", "#1f6fb4", "#c23b22", "#e8eef5"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "tinycnn", "font.size": 10, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "axes.edgecolor": INK, "text.color": INK}

UNDERLAY = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # keeps words readable on top of lines

PICTURES: dict[str, Callable[[], Figure]] = {}


def picture(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Decorator: the name of the function is the name of the file."""
    PICTURES[draw.__name__] = draw
    return draw


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A sheet without axes, one unit an inch."""
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, axes


def node(axes: Axes, x: float, y: float, name: str, value: str, grad: str) -> None:
    """A circle with the name inside, the value above it, and the gradient below."""
    axes.add_patch(plt.Circle((x, y), 0.27, facecolor=PALE, edgecolor=INK, zorder=2))
    axes.text(x, y, name, ha="center", va="center", zorder=3)
    axes.text(x, y + 0.36, value, ha="center", va="bottom", color=FORWARD)
    axes.text(x, y - 0.36, grad, ha="center", va="top", color=BACKWARD)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, bend: float = 0) -> None:
    """An arrow between two nodes, ending at their rims."""
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 20, "shrinkB": 20, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def grid(
    axes: Axes, values: np.ndarray, x: float, y: float, size: float = 0.36, marked: tuple[tuple[int, int], ...] = ()
) -> None:
    """A table of numbers whose upper left corner is at ``(x, y)``; ``marked`` cells are filled."""
    for (row, column), value in np.ndenumerate(values):
        corner = (x + column * size, y - (row + 1) * size)
        colour = "#f6c9a8" if (row, column) in marked else "white"
        axes.add_patch(plt.Rectangle(corner, size, size, facecolor=colour, edgecolor=INK, linewidth=0.8))
        axes.text(corner[0] + size / 2, corner[1] + size / 2, f"{value:g}", ha="center", va="center", fontsize=9)


@picture
def chain_rule() -> Figure:
    """The graph of (w x + b - t)², values above, gradients below."""
    figure, axes = blank(7.2, 2.6)
    places = {
        "x": (0.5, 2.0, "3", "8"), "w": (0.5, 0.6, "2", "12"), "·": (1.9, 1.3, "6", "4"), "b": (1.9, 0.5, "", ""),
        "+": (3.3, 1.3, "7", "4"), "t": (3.3, 0.5, "", ""), "−": (4.7, 1.3, "2", "4"), "( )²": (6.3, 1.3, "4", "1"),
    }  # fmt: skip
    for name, (x, y, value, grad) in places.items():
        if name not in ("b", "t"):
            node(axes, x, y, name, value, grad)
    for name, value, grad, x in (("b", "1", "4", 2.6), ("t", "5", "−4", 4.0)):
        node(axes, x, 0.55, name, value, grad)
        target = "+" if name == "b" else "−"
        arrow(axes, (x, 0.55), places[target][:2])
    for start, end in (("x", "·"), ("w", "·"), ("·", "+"), ("+", "−"), ("−", "( )²")):
        arrow(axes, places[start][:2], places[end][:2])
    axes.text(7.0, 2.35, "above: the value, forward", color=FORWARD, ha="right")
    axes.text(7.0, 2.1, "below: d loss / d this, backward", color=BACKWARD, ha="right")
    return figure


@picture
def engine() -> Figure:
    """The graph of u = x y, v = u + x, loss = u v, with what flows back along each edge."""
    figure, axes = blank(7.2, 3.0)
    x, y, u, v, loss = (0.5, 2.2), (0.5, 0.7), (2.5, 1.1), (4.3, 2.2), (6.3, 1.3)
    for place, name, value, grad in (
        (x, "x", "2", "6 + 42 = 48"), (y, "y", "3", "28"), (u, "u", "6", "8 + 6 = 14"), (v, "v", "8", "6"),
        (loss, "loss", "48", "1"),
    ):  # fmt: skip
        node(axes, *place, name, value, grad)
    for start, end in ((x, u), (y, u), (u, v), (x, v), (u, loss), (v, loss)):
        arrow(axes, start, end)
    for place, words in (((4.6, 1.0), "8"), ((5.5, 1.9), "6"), ((3.3, 1.9), "6"), ((2.4, 2.3), "6"),
                         ((1.6, 1.75), "14·3"), ((1.55, 0.6), "14·2")):  # fmt: skip
        axes.text(*place, words, color=BACKWARD, ha="center", fontsize=9)
    axes.text(7.0, 0.25, "backward visits loss, then v, then u:\nonly then is 8 + 6 complete", ha="right", va="center")
    return figure


@picture
def dense_and_relu() -> Figure:
    """The units of a dense layer, and ReLU with its slope."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), width_ratios=(1.2, 1))
    left.set(xlim=(0, 4), ylim=(0, 2.6), aspect="equal")
    left.axis("off")
    inputs, outputs = [(0.6, 2.0), (0.6, 0.6)], [(3.2, 2.0), (3.2, 0.6)]
    for i, start in enumerate(inputs):
        for j, end in enumerate(outputs):
            left.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 16, "shrinkB": 16, "color": INK})
            along = 0.3
            spot = (start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1]) )
            left.text(*spot, f"W[{i},{j}]", ha="center", va="center", fontsize=9, color=FORWARD, bbox=UNDERLAY)
    for i, place in enumerate(inputs):
        left.add_patch(plt.Circle(place, 0.27, facecolor=PALE, edgecolor=INK, zorder=2))
        left.text(*place, f"x[{i}]", ha="center", va="center", fontsize=9)
    for j, place in enumerate(outputs):
        left.add_patch(plt.Circle(place, 0.27, facecolor=PALE, edgecolor=INK, zorder=2))
        left.text(*place, f"y[{j}]", ha="center", va="center", fontsize=9)
    x = np.array([-2.0, 0, 2])
    right.plot(x, np.maximum(x, 0), color=FORWARD, label="max(x, 0)")
    right.step([-2, 0, 2], [0, 0, 1], where="pre", color=BACKWARD, linestyle="--", label="its slope")
    right.plot([0], [0], "o", color=BACKWARD)
    right.set(xlabel="x", xticks=[-2, -1, 0, 1, 2], yticks=[0, 1, 2])
    right.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    return figure


@picture
def softmax_cross_entropy() -> Figure:
    """Probabilities, the truth, and their difference: the gradient."""
    figure, panels = plt.subplots(1, 3, figsize=(7.2, 2.3), sharey=True)
    probs, onehot = np.array([1, 2, 5]) / 8, np.array([0.0, 1, 0])
    columns = (("probs", probs, FORWARD), ("onehot", onehot, INK), ("probs − onehot", probs - onehot, BACKWARD))
    for axes, (title, heights, colour) in zip(panels, columns, strict=True):
        axes.bar(range(3), heights, color=colour, width=0.6)
        axes.axhline(0, color=INK, linewidth=0.8)
        for k, height in enumerate(heights):
            axes.text(k, height + (0.05 if height >= 0 else -0.05), f"{height:g}", ha="center", fontsize=9,
                      va="bottom" if height >= 0 else "top")  # fmt: skip
        axes.set(title=title, xticks=range(3), ylim=(-1.05, 1.3), yticks=[-1, 0, 1])
        axes.title.set_fontsize(10)
        axes.set_xlabel("class", fontsize=9)
    figure.tight_layout()
    return figure


def draw_all(folder: Path) -> None:
    """Every picture as ``folder/<name>.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE), tinycnn.use_backend("numpy"):
        for name, draw in PICTURES.items():
            figure = draw()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
            plt.close(figure)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
