"""Pictures of images: the data, what the network answers, and where it errs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinycnn.plots.figure import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RIGHT,
    SMALL,
    WIDTH,
    WRONG,
    as_picture,
    caption_size,
    image_axes,
    new_figure,
)

TITLE = 11  # letters above an image at full size
MOST_LETTERS = 14  # of a class name
MOST_BARS = 10  # with more classes, the most probable ones


def first_images(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """The first 25 of ``images (N, H, W, C)`` bytes, each under its label ``(N,)``."""
    captions = [class_names[label] for label in labels[:25]]
    return image_grid(images[:25], captions, columns=5)


def augmented(image: np.ndarray, variants: np.ndarray) -> Figure:
    """An image ``(H, W, C)`` and ``variants (N, H, W, C)`` of it as training sees them, all bytes."""
    captions = ["as it is", *(f"epoch {i}" for i in range(1, len(variants) + 1))]
    return image_grid(np.concatenate([image[np.newaxis], variants]), captions, columns=5)


def misclassified(
    images: np.ndarray, labels: np.ndarray, probs: np.ndarray, class_names: Sequence[str], chosen: np.ndarray
) -> Figure:
    """The images numbered ``chosen`` with answer, confidence and truth; give the first of ``metrics.mistakes``.

    ``images (M, H, W, C)`` bytes, ``labels (M,)``, ``probs (M, K)``.
    """
    captions = []
    for i in chosen:
        answer = int(probs[i].argmax())
        captions.append(f"{WRONG} {class_names[answer]} {percent(probs[i, answer])}\nis {class_names[labels[i]]}")
    return image_grid(images[chosen], captions, columns=5, lines=2)


def image_grid(images: np.ndarray, captions: Sequence[str], *, columns: int, lines: int = 1) -> Figure:
    """Images ``(N, H, W, C)`` in rows of ``columns``, a caption of ``lines`` lines above each."""
    if not len(images):
        return message("None.")
    H, W = images.shape[1:3]
    tile = WIDTH / columns  # inches
    room = (0.06 + 0.15 * lines) / tile  # for the caption, in tiles
    rows, height = -(-len(images) // columns), H / W
    letters = caption_size(captions, tile)
    figure = Figure(figsize=(WIDTH, rows * tile * (room + height * 0.92) + 0.06))
    axes = image_axes(figure.add_axes((0, 0, 1, 1)))
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = i % columns + 0.04, i // columns * (room + height * 0.92) + room
        axes.imshow(as_picture(image), extent=(left, left + 0.92, top + height * 0.92, top), interpolation="nearest")
        axes.text(left + 0.46, top - 0.03, caption, ha="center", va="bottom", fontsize=letters, color=INK)
    axes.set(xlim=(0, columns), ylim=(rows * (room + height * 0.92) + 0.06 / tile, 0), aspect="equal")
    return figure


def message(text: str) -> Figure:
    """A figure that says why there is no picture."""
    figure = new_figure(0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def predictions(images: np.ndarray, labels: np.ndarray, probs: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Each image beside the probabilities of all classes: ``images (N, H, W, C)``, ``labels (N,)``, ``probs (N, K)``.

    Right answers carry a tick and blue bars, wrong ones a cross, orange hatched bars and a dashed frame.
    """
    if not len(images):
        return message("None.")
    pairs = -(-len(images) // 2)
    figure = new_figure(1.75 * pairs)
    grid = figure.subplots(pairs, 4, width_ratios=[1, 1.25, 1, 1.25], squeeze=False).reshape(-1, 2)  # (2*pairs, 2)
    for (left, right), image, label, p in zip(grid, images, labels, probs, strict=False):
        draw_answer(left, image, int(label), p, class_names)
        draw_probabilities(right, int(label), p, class_names)
    for axes in grid[len(images) :].flat:
        axes.set_visible(False)
    return figure


def single_prediction(image: np.ndarray, label: int, p: np.ndarray, class_names: Sequence[str]) -> Figure:
    """One image ``(H, W, C)``, its true class, and the probabilities ``(K,)`` that the network gives."""
    figure = new_figure(2.4, width=4.6)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    draw_answer(left, image, label, p, class_names)
    draw_probabilities(right, label, p, class_names)
    return figure


def draw_answer(axes: Axes, image: np.ndarray, label: int, p: np.ndarray, class_names: Sequence[str]) -> None:
    """The image under the answer; in a dashed frame, with the truth, where the answer is wrong."""
    answer = int(p.argmax())
    right, colour = answer == label, verdict_colour(answer == label)
    image_axes(axes).imshow(as_picture(image), interpolation="nearest")
    said, true = short_name(class_names[answer]), short_name(class_names[label])
    lines = [f"{RIGHT} {said}"] if right else [f"{WRONG} {said}", f"is {true}"]
    title = (", " if sum(map(len, lines)) <= TITLE else "\n").join(lines)
    size = min(10, 10 * TITLE / max(map(len, lines)))  # points
    axes.set_title(title, color=colour, fontsize=size, fontweight="normal" if right else "bold")
    H, W = image.shape[:2]
    axes.add_patch(
        Rectangle((-0.5, -0.5), W, H, fill=False, clip_on=False, color=colour, lw=2, ls="-" if right else (0, (3, 2)))
    )


def draw_probabilities(axes: Axes, label: int, p: np.ndarray, class_names: Sequence[str]) -> None:
    """A bar per class: that of the answer coloured, hatched when wrong; the true class in bold letters."""
    answer = int(p.argmax())
    shown = np.arange(len(p)) if len(p) <= MOST_BARS else np.sort(np.argsort(-p)[:MOST_BARS])
    colours = [verdict_colour(answer == label) if k == answer else GREY for k in shown]
    bars = axes.barh(np.arange(len(shown)), p[shown], color=colours, height=0.75)
    if answer != label:
        bars[int(np.flatnonzero(shown == answer)[0])].set(hatch="////", edgecolor="white")
    axes.set_yticks(np.arange(len(shown)), [short_name(class_names[k]) for k in shown], fontsize=7)
    for k, text in zip(shown, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if k == label else "normal")
    axes.set_xticks([0, 1], ["0", "1"], fontsize=7)
    axes.set(xlim=(0, 1.45), ylim=(len(shown) - 0.5, -0.5))  # room for the number behind the bar
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.tick_params(length=0)
    axes.text(p[answer] + 0.03, np.flatnonzero(shown == answer)[0], percent(p[answer]), fontsize=SMALL, va="center")


def verdict_colour(right: bool) -> str:
    """Blue for right, orange for wrong."""
    return BLUE if right else ORANGE


def short_name(name: str) -> str:
    """A class name of at most ``MOST_LETTERS`` letters."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


def percent(fraction: float) -> str:
    """A probability in words of at most six characters; never 100 % unless it is."""
    text = f"{100 * fraction:.1f}"
    return ">99.9 %" if text == "100.0" and fraction < 1 else f"{text} %"
