"""Which rate of a learning-rate sweep to train with: a large one of those with which the loss still falls.

A straight line is fitted to the losses of each window of neighbouring steps, over the logarithm of the rate. Its middle
is the level of the loss there, its slope how fast the loss falls. Small rates change nothing, so the first losses show
the noise of the batches; a fall counts only if it is large against it, and if its steepest part lies inside the sweep.

The steepest part alone is a poor choice: with batch norm, or on few images, most of the fall takes place at rates that
are far too small for a whole training. So the rate is the one at which `MOST` of the fall is done.
"""

import numpy as np

FEWEST = 9  # losses: with fewer there is nothing to fit
CLEAR = 4.0  # standard errors
SMALLEST = 0.02  # of the first level: a smaller fall is none
EXPLODED = 1.1  # times the first level: what falls after it is only a recovery
AS_STEEP = 0.5  # of the steepest slope: an end of the sweep that falls like this may be a part of a longer fall
MOST = 0.8  # of the fall
RISEN = 0.3  # of the fall so far: the rates have become too large

TOO_HIGH = "the loss rises from the first rates on: try a smaller `lowest`"
NO_FALL = (
    "the loss does not fall clearly, compared with its noise: try a larger `highest` or `batch_size`, or more `steps`"
)
AT_THE_FIRST = "the loss falls fastest at the first rates, a better one may be below: try a smaller `lowest`"
AT_THE_LAST = "the loss still falls at the last rates, a better one may be above: try a larger `highest`"


def choose_rate(rates: np.ndarray, losses: np.ndarray) -> tuple[float | None, str]:
    """The rate at which most of the fall is done, and an empty text; or None, and why there is none and what to change.

    ``rates`` and ``losses`` are ``(steps,)``; the rates grow by the same factor from step to step.
    """
    if len(losses) < FEWEST:
        return None, TOO_HIGH
    noise = _noise(losses[: max(len(losses) // 3, FEWEST)])
    for share in (8, 4):  # a narrow window is more exact, a wide one finds a slow fall
        half = max(len(losses) // (2 * share), 3)
        rate, advice = _end_of_fall(rates, losses, noise, half)
        if advice != NO_FALL:
            break
    return rate, advice


def _noise(losses: np.ndarray) -> float:
    """The standard deviation of one loss, from second differences: a straight fall does not count."""
    return float(np.sqrt(np.mean(np.diff(losses, 2) ** 2) / 6))


def _end_of_fall(rates: np.ndarray, losses: np.ndarray, noise: float, half: int) -> tuple[float | None, str]:
    """The result of `choose_rate` with windows of ``2 half + 1`` steps."""
    levels, slopes = _lines(losses, half)  # (windows,): window i has its middle at step i + half
    steps = np.arange(-half, half + 1)
    first, doubt = levels[0], CLEAR * noise / np.sqrt(len(steps))
    lowest = np.minimum.accumulate(levels)
    fallen = first - lowest > doubt + SMALLEST * abs(first)
    risen = levels - lowest > doubt + RISEN * (first - lowest)
    ended = (levels > EXPLODED * first + doubt) | (fallen & risen)
    end = int(ended.argmax()) if ended.any() else len(levels)
    if end == 0 or not fallen[end - 1]:
        return None, TOO_HIGH if ended.any() and end <= 2 * half else NO_FALL
    bottom = int(levels[:end].argmin())
    clear = slopes < -CLEAR * noise / np.sqrt((steps**2).sum())
    clear[bottom + 1 :] = False
    if not clear.any():
        return None, NO_FALL
    steepest = int(np.where(clear, slopes, np.inf).argmin())
    as_steep = clear & (slopes <= AS_STEEP * slopes[steepest])
    if as_steep[0] or steepest <= half // 2:
        return None, AT_THE_FIRST
    if as_steep[-1] or steepest >= len(levels) - 1 - half // 2:
        return None, AT_THE_LAST
    floor = lowest[bottom] + doubt / 2  # the lowest of many noisy levels is too low
    most = int((lowest <= first - MOST * (first - floor)).argmax())
    return float(rates[max(steepest, most) + half]), ""


def _lines(losses: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """The value in the middle and the slope per step of the line through each window, both ``(windows,)``."""
    windows = np.lib.stride_tricks.sliding_window_view(losses, 2 * half + 1)  # (windows, 2 half + 1)
    steps = np.arange(-half, half + 1)
    return windows.mean(axis=1), windows @ steps / (steps**2).sum()  # (windows,), (windows,)
