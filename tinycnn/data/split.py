"""Setting training images aside for validation."""

import numpy as np

from tinycnn.errors import DataError, SettingError


def split_validation(
    x: np.ndarray, y: np.ndarray, fraction: float, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shuffle by ``seed`` and cut: x (N, ...), y (N,) -> x_train, y_train, x_val, y_val with round(N * fraction) last.

    At least one image stays for training. SettingError unless 0 <= fraction < 1, and when a fraction above 0 sets
    no image aside; DataError unless len(x) == len(y) > 0.
    """
    if not 0 <= fraction < 1:
        raise SettingError(f"validation fraction: got {fraction}; expected at least 0 and below 1, for instance 0.2.")
    if len(x) != len(y) or len(x) == 0:
        raise DataError(f"split_validation: got {len(x)} images and {len(y)} labels; expected one label per image.")
    order = np.random.default_rng(seed).permutation(len(x))
    n_val = min(round(len(x) * fraction), len(x) - 1)
    if fraction and not n_val:
        raise SettingError(
            f"validation fraction: {fraction:g} of {len(x)} images sets none aside; use more, a larger fraction, or 0"
        )
    train, val = order[n_val:], order[:n_val]
    return x[train], y[train], x[val], y[val]
