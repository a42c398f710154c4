"""Pictures of images: the data, the predictions of a network, and its mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinycnn.metrics import probability_percent
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
    lay_out,
    message,
    new_figure,
    short_name,
)

MAX_TITLE = 11  # letters of a title on one line
TITLE_SIZE, TITLE_MARGIN = 10, 0.03  # points; inches by which a title may be wider than the column at each side
MAX_LETTERS = 14  # of a class name above an image or beside its bar
MAX_BARS = 10  # with more classes, only the most probable ones are drawn


def first_images(images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """The first 25 of ``images (N, H, W, C)`` bytes, each under its class name; ``labels (N,)``."""
    captions = [short_name(class_names[label], MAX_LETTERS) for label in labels[:25]]
    return image_grid(images[:25], captions, columns=5)


def augmented(image: np.ndarray, variants: np.ndarray) -> Figure:
    """An image ``(H, W, C)`` and augmented versions of it, ``variants (N, H, W, C)``, all bytes."""
    captions = ["as it is", *(f"epoch {i}" for i in range(1, len(variants) + 1))]
    return image_grid(np.concatenate([image[np.newaxis], variants]), captions, columns=5)


def misclassified(
    images: np.ndarray, labels: np.ndarray, probs: np.ndarray, class_names: Sequence[str], chosen: np.ndarray
) -> Figure:
    """The images with the indices ``chosen`` under predicted class, confidence and true class.

    ``images (M, H, W, C)`` bytes, ``labels (M,)``, ``probs (M, K)``; ``chosen`` is the start of ``metrics.mistakes``.
    """
    captions = []
    for i in chosen:
        predicted = int(probs[i].argmax())
        theirs, true = (short_name(class_names[k], MAX_LETTERS) for k in (predicted, labels[i]))
        captions.append(f"{WRONG} {theirs} {probability_percent(probs[i, predicted])}\nis {true}")
    return image_grid(images[chosen], captions, columns=5, lines=2)


def image_grid(images: np.ndarray, captions: Sequence[str], *, columns: int, lines: int = 1) -> Figure:
    """Images ``(N, H, W, C)`` in rows of ``columns``, a caption of ``lines`` lines above each."""
    if not len(images):
        return message("None.")
    H, W = images.shape[1:3]
    tile = WIDTH / columns  # inches
    room = (0.06 + 0.15 * lines) / tile  # height of the caption, in tiles
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


def predictions(images: np.ndarray, labels: np.ndarray, probs: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Each image beside the probabilities of all classes: ``images (N, H, W, C)``, ``labels (N,)``, ``probs (N, K)``.

    Right predictions have a tick and a blue bar; wrong ones have a cross, an orange hatched bar and a dashed frame.
    """
    if not len(images):
        return message("None.")
    pairs = -(-len(images) // 2)
    figure = new_figure(1.75 * pairs)
    grid = figure.subplots(pairs, 4, width_ratios=[1, 1.25, 1, 1.25], squeeze=False).reshape(-1, 2)  # (2*pairs, 2)
    for (left, right), image, label, p in zip(grid, images, labels, probs, strict=False):
        draw_prediction(left, image, int(label), p, class_names)
        draw_probabilities(right, int(label), p, class_names)
    for axes in grid[len(images) :].flat:
        axes.set_visible(False)
    fit_titles(figure, grid[: len(images), 0].tolist())
    return figure


def single_prediction(image: np.ndarray, label: int, p: np.ndarray, class_names: Sequence[str]) -> Figure:
    """One image ``(H, W, C)``, its true class, and the predicted probabilities ``p (K,)``."""
    figure = new_figure(2.4 + 0.18 * (len(title_of(label, p, class_names).split("\n")) + 1), width=4.6)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    draw_prediction(left, image, label, p, class_names)
    draw_probabilities(right, label, p, class_names)
    fit_titles(figure, [left])
    return figure


def fit_titles(figure: Figure, above: Sequence[Axes]) -> None:
    """Give the titles of the axes ``above`` one font size, at which none is wider than its column of the figure."""
    lay_out(figure)
    margins = 2 * TITLE_MARGIN * figure.dpi  # pixels
    room = [axes.get_position(original=True).width * figure.bbox.width + margins for axes in above]
    size = float(TITLE_SIZE)
    for _ in range(3):  # the width of letters is not quite proportional to their size
        widths = [axes.title.get_window_extent().width for axes in above]
        size *= min(1.0, *(most / width for most, width in zip(room, widths, strict=True)))
        for axes in above:
            axes.title.set_fontsize(size)


def draw_prediction(axes: Axes, image: np.ndarray, label: int, p: np.ndarray, class_names: Sequence[str]) -> None:
    """The image under the predicted class; a wrong prediction gets a dashed frame and the true class."""
    right = int(p.argmax()) == label
    title, colour = title_of(label, p, class_names), verdict_colour(right)
    image_axes(axes).imshow(as_picture(image), interpolation="nearest")
    axes.set_title(title, color=colour, fontsize=TITLE_SIZE, fontweight="normal" if right else "bold")
    H, W = image.shape[:2]
    axes.add_patch(
        Rectangle((-0.5, -0.5), W, H, fill=False, clip_on=False, color=colour, lw=2, ls="-" if right else (0, (3, 2)))
    )


def title_of(label: int, p: np.ndarray, class_names: Sequence[str]) -> str:
    """``✓ 7``, or ``✗ 7, is 9``: on two lines where it is long."""
    predicted = int(p.argmax())
    predicted_name, true_name = (short_name(class_names[k], MAX_LETTERS) for k in (predicted, label))
    parts = [f"{RIGHT} {predicted_name}"] if predicted == label else [f"{WRONG} {predicted_name}", f"is {true_name}"]
    return (", " if sum(map(len, parts)) <= MAX_TITLE else "\n").join(parts)


def draw_probabilities(axes: Axes, label: int, p: np.ndarray, class_names: Sequence[str]) -> None:
    """One bar per class: the predicted class coloured, and hatched if wrong; the true class in bold letters."""
    predicted = int(p.argmax())
    shown = np.arange(len(p)) if len(p) <= MAX_BARS else np.sort(np.argsort(-p)[:MAX_BARS])
    row = int(np.flatnonzero(shown == predicted)[0])
    colours = [verdict_colour(predicted == label) if k == predicted else GREY for k in shown]
    bars = axes.barh(np.arange(len(shown)), p[shown], color=colours, height=0.75)
    if predicted != label:
        bars[row].set(hatch="////", edgecolor="white")
    axes.set_yticks(np.arange(len(shown)), [short_name(class_names[k], MAX_LETTERS) for k in shown], fontsize=7)
    for k, text in zip(shown, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if k == label else "normal")
    axes.set_xticks([0, 1], ["0", "1"], fontsize=7)
    axes.set(xlim=(0, 1.45), ylim=(len(shown) - 0.5, -0.5))  # leaves space for the number after the bar
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.tick_params(length=0)
    axes.text(p[predicted] + 0.03, row, probability_percent(p[predicted]), fontsize=SMALL, va="center")


def verdict_colour(right: bool) -> str:
    """Blue for right, orange for wrong."""
    return BLUE if right else ORANGE
