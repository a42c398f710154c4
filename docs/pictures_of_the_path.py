"""The pictures of the path: ``python docs/pictures_of_the_path.py`` draws them all into ``docs/path/pictures/``.

Each function draws one picture. The SVG files keep text as text, so they are small and their changes are readable.
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
from tinycnn import Tensor, optim

FOLDER = Path(__file__).parent / "path" / "pictures"
INK, FORWARD, BACKWARD, PALE = "#333333", "#1f6fb4", "#c23b22", "#e8eef5"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "tinycnn", "font.size": 10, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "axes.edgecolor": INK, "text.color": INK}

UNDERLAY = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # keeps text readable on top of lines

PICTURES: dict[str, Callable[[], Figure]] = {}


def picture(draw: Callable[[], Figure]) -> Callable[[], Figure]:
    """Register a picture; the name of the function becomes the name of its file."""
    PICTURES[draw.__name__] = draw
    return draw


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure without axes, with one unit per inch."""
    figure, axes = plt.subplots(figsize=(width, height))
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return figure, axes


def node(axes: Axes, x: float, y: float, name: str, value: str, grad: str) -> None:
    """A circle that contains the name, with the value above it and the gradient below it."""
    axes.add_patch(plt.Circle((x, y), 0.27, facecolor=PALE, edgecolor=INK, zorder=2))
    axes.text(x, y, name, ha="center", va="center", zorder=3)
    axes.text(x, y + 0.36, value, ha="center", va="bottom", color=FORWARD)
    axes.text(x, y - 0.36, grad, ha="center", va="top", color=BACKWARD)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, bend: float = 0) -> None:
    """An arrow between the edges of two nodes."""
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
        "x": (0.5, 2.0, "3", "8"), "w": (0.5, 0.6, "2", "12"), "·": (1.9, 1.3, "p = 6", "4"), "b": (1.9, 0.5, "", ""),
        "+": (3.3, 1.3, "s = 7", "4"), "t": (3.3, 0.5, "", ""), "−": (4.7, 1.3, "e = 2", "4"),
        "( )²": (6.3, 1.3, "loss = 4", "1"),
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
    """The graph of u = x y, v = u + x, loss = u v, with the gradient along each edge."""
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
            spot = (start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1]))
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
    """Probabilities, one-hot labels, and their difference, which is the gradient."""
    figure, panels = plt.subplots(1, 3, figsize=(7.2, 2.3), sharey=True)
    p, target = np.array([1, 2, 5]) / 8, np.array([0.0, 1, 0])
    columns = (("p", p, FORWARD), ("target", target, INK), ("p − target", p - target, BACKWARD))
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


@picture
def convolution() -> Figure:
    """The image of chapter 5, its windows as rows, times the filter as a column."""
    figure, axes = blank(7.2, 2.7)
    image = np.arange(1.0, 10).reshape(3, 3)
    window = ((0, 0), (0, 1), (1, 0), (1, 1))
    grid(axes, image, 0.2, 2.0, marked=window)
    axes.text(0.75, 2.1, "x", ha="center", va="bottom")
    axes.annotate("", (2.35, 1.6), (1.45, 1.6), arrowprops={"arrowstyle": "-|>", "color": INK})
    axes.text(1.9, 1.7, "im2col: copy", ha="center", fontsize=9)
    axes.annotate("", (1.45, 1.2), (2.35, 1.2), arrowprops={"arrowstyle": "-|>", "color": BACKWARD})
    axes.text(1.9, 0.92, "col2im: sum\nthe copies", ha="center", va="top", fontsize=9, color=BACKWARD)
    cols = np.array([[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]])
    grid(axes, cols, 2.5, 2.15, marked=tuple((0, i) for i in range(4)))
    axes.text(3.22, 2.25, "cols: one row per window", ha="center", va="bottom")
    axes.text(4.25, 1.4, "·", fontsize=16, ha="center", va="center")
    grid(axes, np.array([[1], [2], [0], [-1]]), 4.5, 2.15)
    axes.text(4.68, 2.25, "W", ha="center", va="bottom")
    axes.text(5.2, 1.4, "=", fontsize=14, ha="center", va="center")
    grid(axes, np.array([[0], [2], [6], [8]]), 5.5, 2.15, marked=((0, 0),))
    axes.text(5.68, 2.25, "y", ha="center", va="bottom")
    axes.text(3.6, 0.25, "the marked window: 1·1 + 2·2 + 4·0 + 5·(−1) = 0", ha="center", color=FORWARD)
    return figure


@picture
def max_pool() -> Figure:
    """The image of chapter 6 with the maximum of each window, the pooled image, and the gradient of the input."""
    figure, axes = blank(7.2, 2.3)
    x = np.array([[1, 3, 2, 2], [0, 2, 2, 1], [5, 1, 0, 0], [4, 6, 0, -1]])
    winners = ((0, 1), (0, 2), (3, 1), (2, 2))
    grad_x = np.zeros((4, 4))
    for place, grad in zip(winners, (1, 2, 3, 4), strict=True):
        grad_x[place] = grad
    grid(axes, x, 0.2, 1.75, marked=winners)
    grid(axes, np.array([[3, 2], [6, 0]]), 2.4, 1.4)
    grid(axes, np.array([[1, 2], [3, 4]]), 4.05, 1.4)
    grid(axes, grad_x, 5.5, 1.75, marked=winners)
    for left in (0.2, 5.5):  # the borders of the windows
        axes.plot([left + 0.72] * 2, [0.31, 1.75], color=INK, linewidth=2.5)
        axes.plot([left, left + 1.44], [1.03] * 2, color=INK, linewidth=2.5)
    for x_text, words, colour in ((0.92, "x", FORWARD), (2.76, "y", FORWARD), (4.41, "grad_y", BACKWARD),
                                  (6.22, "grad_x", BACKWARD)):  # fmt: skip
        axes.text(x_text, 1.85, words, ha="center", va="bottom", color=colour)
    for start, colour in ((1.75, FORWARD), (4.9, BACKWARD)):
        axes.annotate("", (start + 0.5, 1.03), (start, 1.03), arrowprops={"arrowstyle": "-|>", "color": colour})
    return figure


@picture
def batch_norm() -> Figure:
    """The example of chapter 7: the components that batch norm removes from a gradient."""
    figure, panels = plt.subplots(1, 4, figsize=(7.2, 2.1), sharey=True)
    x_hat, grad_y = np.array([-3, -1, 1, 3]) / 3, np.array([1.0, 0, 0, 0])
    mean, along = np.full(4, 1 / 4), -x_hat / 4
    columns = (("g", grad_y, BACKWARD), ("its mean", mean, INK), ("its part along x̂", along, INK),
               ("g − mean − part", grad_y - mean - along, BACKWARD))  # fmt: skip
    for axes, (title, heights, colour) in zip(panels, columns, strict=True):
        axes.bar(range(4), heights, color=colour, width=0.6)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xticks=range(4), xticklabels=[0, 2, 4, 6], ylim=(-0.5, 1.1), yticks=[0, 0.5, 1])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("x", fontsize=9)
    figure.tight_layout()
    return figure


@picture
def optimizers() -> Figure:
    """Twenty-five steps of three optimizers through the valley (p² + 25 q²) / 2."""
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    p, q = np.meshgrid(np.linspace(-10.5, 2.5, 120), np.linspace(-2.4, 2.4, 120))
    axes.contour(p, q, (p**2 + 25 * q**2) / 2, levels=[0.3, 2, 6, 15, 30, 50], colors="#bbbbbb", linewidths=0.8)
    makers: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
        "SGD, lr 0.072": lambda w: optim.SGD(w, lr=0.072),
        "with momentum 0.7, lr 0.03": lambda w: optim.SGD(w, lr=0.03, momentum=0.7),
        "Adam, lr 0.6": lambda w: optim.Adam(w, lr=0.6),
    }
    for (label, make), colour in zip(makers.items(), (BACKWARD, FORWARD, "#2b8a3e"), strict=True):
        path = np.array(walk(make, 25))
        axes.plot(*path.T, ".-", color=colour, label=label, linewidth=1, markersize=4)
    axes.plot(0, 0, "+", color=INK, markersize=10)
    axes.set(
        xlabel="flat direction (curvature 1)", ylabel="steep (curvature 25)", xticks=[-10, -5, 0], yticks=[-2, 0, 2]
    )
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    figure.tight_layout()
    return figure


def walk(make: Callable[[list[Tensor]], optim.Optimizer], steps: int) -> list[np.ndarray]:
    """The positions of the optimizer, from (-10, 2)."""
    w = Tensor(np.array([-10.0, 2.0]), requires_grad=True)
    optimizer, places = make([w]), [w.numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        (w * w * np.array([0.5, 12.5])).sum().backward()
        optimizer.step()
        places.append(w.numpy().copy())
    return places


@picture
def gradient_checks() -> Figure:
    """The error of the two-sided difference of eˣ at 1, against the step."""
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    for dtype, colour in ((np.float64, FORWARD), (np.float32, BACKWARD)):
        eps = 10.0 ** np.arange(-12, 0.1, 0.25)
        x, steps = dtype(1), eps.astype(dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = (np.exp(x + steps) - np.exp(x - steps)) / (2 * steps)
        axes.loglog(
            eps, np.abs(slopes.astype(np.float64) - np.e), ".-", color=colour, label=dtype.__name__, markersize=4
        )
    axes.loglog([1e-5, 1], [np.e / 6 * 1e-10, np.e / 6], "--", color=INK, linewidth=0.8, label="ε²/6 · f‴")
    axes.set(xlabel="step ε", ylabel="error of the slope", ylim=(1e-13, 10), xticks=[1e-12, 1e-9, 1e-6, 1e-3, 1])
    axes.legend(frameon=False, fontsize=9, loc="lower right", ncols=3)
    figure.tight_layout()
    return figure


@picture
def backends() -> Figure:
    """The columns of two images with four windows each, and which thread fills each cell, on three backends."""
    figure, axes = blank(7.2, 3.6)
    rows, columns = np.indices((8, 4))
    machines = (("NumPy: step", columns), ("Numba: thread", rows // 4), ("CUDA: thread", rows * 4 + columns))
    for left, (title, workers) in zip((0.5, 2.9, 5.3), machines, strict=True):
        axes.text(left + 0.72, 3.3, title, ha="center", va="bottom")
        grid(axes, workers, left, 3.2, marked=tuple(map(tuple, np.argwhere(workers == 0))))
    axes.text(0.35, 2.48, "image 0", rotation=90, ha="center", va="center", fontsize=9)
    axes.text(0.35, 1.04, "image 1", rotation=90, ha="center", va="center", fontsize=9)
    axes.text(
        3.6,
        0.12,
        "each row of cols is a window, each column a place in it; marked: what number 0 does",
        ha="center",
        fontsize=9,
    )
    return figure


@picture
def where_the_time_goes() -> Figure:
    """The operations for one image in keras_cnn, as counted in chapter 11."""
    conv1, conv2, dense = 2 * 676 * 32 * 9, 2 * 121 * 64 * 288, 2 * 1600 * 128 + 2 * 128 * 10
    done = np.array([conv1, conv2, dense, conv1, 2 * conv2, 2 * dense]) / 1e6
    needed = done * [1, 100 / 121, 1, 1 / 4, 25 / 121, 1]
    names = ["conv 1 →", "conv 2 →", "dense →", "conv 1 ←", "conv 2 ←", "dense ←"]
    figure, axes = plt.subplots(figsize=(7.2, 2.4))
    axes.barh(names, done, color=PALE, edgecolor=INK, linewidth=0.6, label="by the definition")
    axes.barh(names, needed, color=FORWARD, height=0.45, label="needed")
    for row, (all_of_it, part) in enumerate(zip(done, needed, strict=True)):
        axes.text(all_of_it + 0.08, row, f"{part:.2f} of {all_of_it:.2f}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel="million operations per image (→ forward, ← backward)", xlim=(0, 10.8))
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    figure.tight_layout()
    return figure


@picture
def training_at_scale() -> Figure:
    """Left: the example of chapter 12, one batch on two ranks. Right: the ring of an all-reduce."""
    figure, axes = blank(7.2, 2.7)
    for left, targets, words in ((0.3, [1, 2], "rank 0: −1.5"), (2.2, [3, 6], "rank 1: −4.5")):
        grid(axes, np.array([targets]), left + 0.3, 2.3)
        axes.text(left + 0.66, 1.75, words, ha="center", va="top", color=BACKWARD)
        axes.annotate("", (1.9, 0.85), (left + 0.66, 1.5), arrowprops={"arrowstyle": "-|>", "color": BACKWARD})
    axes.text(1.9, 2.45, "targets", ha="center", va="bottom", fontsize=9)
    axes.text(1.9, 0.75, "mean: −3, as for the whole batch", ha="center", va="top", color=BACKWARD)
    centre, corners = (5.6, 1.35), [(-1, 0.75), (1, 0.75), (1, -0.75), (-1, -0.75)]
    places = [(centre[0] + x, centre[1] + y) for x, y in corners]
    for rank, (x, y) in enumerate(places):
        axes.add_patch(plt.Circle((x, y), 0.27, facecolor=PALE, edgecolor=INK, zorder=2))
        axes.text(x, y, f"{rank}", ha="center", va="center", zorder=3)
        arrow(axes, (x, y), places[(rank + 1) % 4], BACKWARD)
    axes.text(*centre, "each rank passes\none piece per round", ha="center", va="center", fontsize=9)
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
