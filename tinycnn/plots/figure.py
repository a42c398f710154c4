"""Shared by all pictures: colours, sizes, image tiles, and saving a figure.

Pictures are 5.6 inches wide, so that the text is still readable when a phone shows the whole width.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tinycnn.errors import requires
from tinycnn.files import write_atomically
from tinycnn.saving.endings import PNG, check_ending

with requires("matplotlib", "drawing pictures"):
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

WIDTH = 5.6  # inches
DPI = 264  # the report shows a picture 736 CSS pixels wide: two pixels for each
SMALL = 8  # points; the default is 10
MAX_LETTERS = 28  # of a class name beside a row, where it takes less than half of the width
# Of Okabe and Ito. Blue is a positive number or what is right, orange a negative one or what is wrong, in all pictures;
# lines and bars that are neither are green, ink and grey.
BLUE, ORANGE, GREEN, GREY, INK = "#0072b2", "#d55e00", "#009e73", "#9a9a9a", "#222222"
SIGNED = LinearSegmentedColormap.from_list("signed", [ORANGE, "white", BLUE])  # below zero, zero, above: as on the page
RIGHT, WRONG = "✓", "✗"


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure with constrained layout; sizes in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def message(text: str) -> Figure:
    """A figure that shows only ``text``, for example why there is no picture."""
    figure = new_figure(0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure`` as a PNG file, atomically; the same figure gives the same bytes.

    Raises SettingError for a path with the ending of another format.
    """
    check_ending(path, PNG)
    write_atomically(path, to_png(figure))


def to_png(figure: Figure) -> bytes:
    """``figure`` as the content of a PNG file."""
    content = io.BytesIO()
    with _letters_may_be_missing():
        figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


def lay_out(figure: Figure) -> None:
    """Give everything in ``figure`` its place, so that it can be measured."""
    with _letters_may_be_missing():
        figure.draw_without_rendering()


@contextmanager
def _letters_may_be_missing() -> Iterator[None]:
    """Inside, Matplotlib does not warn that it draws a box for a letter that its font does not have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def plain_axes(axes: Axes) -> Axes:
    """Axes without the top and right spines, with faint grid lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def as_picture(image: np.ndarray) -> np.ndarray:
    """Bytes ``(H, W, C)`` → ``(H, W, 3)`` from 0 to 1 for imshow; unless C is 3, the mean of the channels as grey."""
    image = image.astype(np.float32) / 255
    return image if image.shape[2] == 3 else np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)  # (H, W, 3)


def drawable(values: np.ndarray) -> np.ndarray:
    """``values`` in float64, in which sums and squares of float32 do not overflow; NaN, not drawn, for infinities."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def greatest(values: np.ndarray) -> float:
    """The greatest absolute value, the end of a colour scale; not 0, and NaN does not count."""
    return float(np.abs(np.nan_to_num(values)).max(initial=1e-12))


def mosaic(tiles: np.ndarray, columns: int, gap: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Arrange tiles ``(T, H, W, ...)`` in rows of ``columns``, with NaN in the gaps ``(below, right)`` of each tile."""
    count, H, W, *rest = tiles.shape
    rows = -(-count // columns)
    sheet = np.full((rows, H + gap[0], columns, W + gap[1], *rest), np.nan)
    for i, tile in enumerate(tiles):
        sheet[i // columns, :H, i % columns, :W] = tile
    return sheet.reshape(rows * (H + gap[0]), columns * (W + gap[1]), *rest)[: -gap[0] or None, : -gap[1] or None]


def short_name(name: str, most: int = MAX_LETTERS) -> str:
    """A class name as text in a picture: cut at ``most`` letters; ``$`` does not begin a formula of Matplotlib."""
    return (name if len(name) <= most else f"{name[: most - 1]}…").replace("$", r"\$")


def caption_size(captions: Sequence[str], tile: float, most: float = SMALL) -> float:
    """The font size in points at which captions fit above tiles of ``tile`` inches; a letter is 0.6 times as wide."""
    longest = max((len(line) for caption in captions for line in caption.split("\n")), default=0)
    return min(most, 115 * tile / max(longest, 1))


def image_axes(axes: Axes) -> Axes:
    """Axes for an image, without ticks and spines."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes
