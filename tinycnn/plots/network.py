"""Pictures of a network: filters, feature maps, saliency maps, and histograms of weights and gradients."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinycnn.plots.figure import (
    GREEN,
    INK,
    SIGNED,
    SMALL,
    WIDTH,
    as_picture,
    caption_size,
    drawable,
    greatest,
    image_axes,
    message,
    mosaic,
    new_figure,
    plain_axes,
    short_name,
)

MAX_FILTERS = 32  # side by side
MOST_CHANNELS = 4  # of filters whose weights are shown one by one
STRONGEST, PIECES_PER_ROW = 32, 16  # of deep filters
BETWEEN = "#d8d8d8"  # the maps of a layer
MAX_MAPS = 64
MAPS_PER_ROW = 16
CELLS_PER_ROW = 64
MAX_LETTERS = 40  # of all class names together, side by side


def filters(weight: np.ndarray, name: str) -> Figure:
    """The filters ``(KH, KW, C, F)`` of the convolution ``name``: blue weights are positive, orange ones negative.

    One input channel gives one tile per filter; up to four give a column per filter and a row per channel. Filters that
    read more maps are summarised: how strongly each reads each map, and the strongest pieces.
    """
    if weight.shape[2] > MOST_CHANNELS:
        return deep_filters(weight, name)
    C, F = weight.shape[2], min(weight.shape[3], MAX_FILTERS)
    tiles = np.moveaxis(drawable(weight[:, :, :, :F]), (2, 3), (0, 1))  # (C, F, KH, KW)
    columns = F if C > 1 else min(F, 8)
    sheet = mosaic(tiles.reshape(-1, *weight.shape[:2]), columns)
    height = (WIDTH - 0.9) * min(sheet.shape[0] / sheet.shape[1], 1.5)
    figure = new_figure(height + 0.6)
    axes = figure.subplots()
    channels = f" across, {C} input channels down" if C > 1 else ""
    axes.set_title(f"{name}: {_count_text(F, weight.shape[3])} filters{channels}", fontsize=10)
    _draw_signed(figure, axes, sheet, greatest(tiles))
    return figure


def deep_filters(weight: np.ndarray, name: str) -> Figure:
    """Filters that read many maps, ``(KH, KW, C, F)``: the length of each piece ``(KH, KW)``, and the longest ones."""
    KH, KW, C, F = weight.shape
    pieces = np.moveaxis(drawable(weight), (2, 3), (0, 1)).reshape(C * F, KH, KW)  # (C*F, KH, KW)
    length = np.sqrt(np.nansum((pieces / greatest(pieces)) ** 2, axis=(1, 2))) * greatest(pieces)  # without overflow
    strongest = np.argsort(-length, kind="stable")[:STRONGEST]
    sheet = mosaic(pieces[strongest], PIECES_PER_ROW)
    across = (WIDTH - 0.9) * min(C / F, 1.2)
    below = (WIDTH - 0.9) * sheet.shape[0] / sheet.shape[1]
    figure = new_figure(across + below + 1.6)
    top, bottom = figure.subplots(2, 1, height_ratios=[across, below])
    top.set_title(f"{name}: how strongly {F} filters (across) read {C} maps (down)", fontsize=10)
    image = image_axes(top).imshow(length.reshape(C, F), cmap="Greys", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=top, shrink=0.7, aspect=30).ax.tick_params(labelsize=SMALL)
    bottom.set_title(f"the {len(strongest)} strongest pieces, of {C * F:,}", fontsize=10)
    _draw_signed(figure, bottom, sheet, greatest(pieces[strongest]))
    return figure


def _draw_signed(figure: Figure, axes: Axes, sheet: np.ndarray, scale: float) -> None:
    """Positive numbers in blue, negative ones in orange, with the scale beside them."""
    image = image_axes(axes).imshow(sheet, cmap=SIGNED, vmin=-scale, vmax=scale, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.7, aspect=30).ax.tick_params(labelsize=SMALL)


def _count_text(shown: int, total: int) -> str:
    return f"{total}" if shown == total else f"{shown} of {total}"


def feature_maps(image: np.ndarray, activations: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """An image ``(H, W, C)`` and the output of every layer for it, from ``explain.activations``.

    Every layer has its own scale: blue is positive, orange negative, as on the page. Layers that do not change the
    values (dropout, flatten) are left out.
    """
    shown = _changed_outputs(activations)
    sheets = {name: _sheet(output) for name, output in shown.items()}
    heights = [1.1, *(_height(sheet, shown[name].ndim) for name, sheet in sheets.items())]
    figure = new_figure(sum(heights) + 0.27 * len(heights) + 0.2)
    first, *others = figure.subplots(len(heights), 1, height_ratios=heights)
    image_axes(first).imshow(as_picture(image), interpolation="nearest")
    _title(first, "the image", image.shape)
    for axes, (name, sheet) in zip(others, sheets.items(), strict=True):
        scale = greatest(sheet)
        image_axes(axes).imshow(sheet, cmap=SIGNED, vmin=-scale, vmax=scale, interpolation="nearest")
        axes.patch.set(visible=True, facecolor=BETWEEN)
        axes.set_aspect("equal" if shown[name].ndim == 3 else "auto")
        _title(axes, name, shown[name].shape)
    if shown[name].shape == (len(class_names),) and len("".join(class_names)) <= MAX_LETTERS:
        axes.set_xticks(np.arange(len(class_names)), list(map(short_name, class_names)), fontsize=SMALL)
        axes.tick_params(length=0)
    return figure


def _height(sheet: np.ndarray, ndim: int) -> float:
    """The height in inches: square pixels for maps, a flat strip for the units of a dense layer."""
    rows, columns = sheet.shape if ndim == 3 else (1.5 * len(sheet), CELLS_PER_ROW)
    return WIDTH * 0.97 * rows / columns


def _title(axes: Axes, name: str, shape: tuple[int, ...]) -> None:
    axes.set_title(f"{name}  {'×'.join(map(str, shape))}", fontsize=SMALL, loc="left", pad=2, color=INK)


def _changed_outputs(activations: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs whose values differ from those of the previous layer, regardless of shape."""
    changed: dict[str, np.ndarray] = {}
    previous = np.empty(0)
    for name, output in activations.items():
        if not np.array_equal(output.ravel(), previous.ravel()):
            changed[name] = output
        previous = output
    return changed


def _sheet(output: np.ndarray) -> np.ndarray:
    """``(OH, OW, F)`` → its maps side by side; ``(units,)`` → a strip of cells."""
    output = drawable(output)
    if output.ndim == 3:
        maps = np.moveaxis(output[:, :, :MAX_MAPS], 2, 0)  # (F, OH, OW)
        return mosaic(maps, min(MAPS_PER_ROW, len(maps)))
    row = output.ravel()
    columns = min(CELLS_PER_ROW, len(row))
    cells = np.full((-(-len(row) // columns), columns), np.nan)
    cells.flat[: len(row)] = row
    return cells


def saliency_maps(images: np.ndarray, gradients: np.ndarray, captions: Sequence[str]) -> Figure:
    """Images ``(N, H, W, C)`` above their gradients ``(N, H, W, C)``, from ``explain.saliency``.

    Blue: a brighter pixel raises the score of the class; orange: it lowers the score. The channels are summed.
    """
    return saliency_comparison(images, {"": [drawable(gradient).sum(axis=2) for gradient in gradients]}, captions)


def saliency_comparison(
    images: np.ndarray, maps: Mapping[str, Sequence[np.ndarray]], captions: Sequence[str]
) -> Figure:
    """Images ``(N, H, W, C)`` above one row of maps ``(H, W)`` per method, from ``explain.saliency_methods``.

    Blue is positive, orange negative; what that means depends on the method. Each map has a scale of its own.
    """
    if not len(images):
        return message("None.")
    H, W = images.shape[1:3]
    tile, captions = WIDTH / len(images), ["\n".join(map(short_name, one.split("\n"))) for one in captions]
    figure = new_figure((1 + len(maps)) * tile * H / W + 0.3)
    first, *others = figure.subplots(1 + len(maps), len(images), squeeze=False, gridspec_kw={"hspace": 0.0})
    for axes, image, caption in zip(first, images, captions, strict=True):
        image_axes(axes).imshow(as_picture(image), interpolation="nearest")
        axes.set_title(caption, fontsize=caption_size(captions, tile, most=9))
    for row, (name, each) in zip(others, maps.items(), strict=True):
        row[0].set_ylabel(name, fontsize=SMALL)
        for axes, values in zip(row, each, strict=True):
            scale = greatest(drawable(values))
            image_axes(axes).imshow(drawable(values), cmap=SIGNED, vmin=-scale, vmax=scale, interpolation="nearest")
    return figure


def histograms(weights: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of each parameter and of its gradient, one row per parameter, with counts on a log scale.

    Values that are not finite are counted in the title.
    """
    names = list(weights)
    if not names:
        return message("None.")
    figure = new_figure(0.4 + 0.92 * len(names))
    for row, name in zip(figure.subplots(len(names), 2, squeeze=False), names, strict=True):
        _draw_histogram(row[0], weights[name], GREEN, name)
        _draw_histogram(row[1], gradients[name], INK, "gradient")
    return figure


def _draw_histogram(axes: Axes, values: np.ndarray, colour: str, title: str) -> None:
    values = drawable(values)
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=min(60, max(5, values.size)))
    plain_axes(axes).stairs(counts, edges, fill=True, color=colour)
    axes.set_yscale("log" if finite.size else "linear")
    axes.set_ylim(0.7, 2 * max(counts.max(), 1))
    spread = f"σ {finite.std():.2g}" if finite.size else "σ –"
    lost = f", {values.size - finite.size:,} not finite" * (finite.size < values.size)
    axes.set_title(f"{title}  ({spread}{lost})", fontsize=SMALL, loc="left", pad=2)
    axes.tick_params(labelsize=7)
    axes.minorticks_off()
    axes.locator_params(axis="x", nbins=5)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 3))
    axes.xaxis.get_offset_text().set_fontsize(7)
