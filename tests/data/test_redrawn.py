"""Digits with another pen and another angle."""

import numpy as np
import pytest

from tinycnn import data
from tinycnn.data.drawing import centred, cut_out
from tinycnn.data.redrawn import THICKEST, redrawn, with_pen
from tinycnn.errors import SettingError

DIGITS = data.load("digits").x_test[:12]


def reached(shape, steps):
    """Where a pen reaches from the pixel in the middle, by walking: to the sides, and every second step also askew."""
    places = {(shape // 2, shape // 2)}
    for step in range(steps):
        moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if step % 2 or not (down and right)]
        places = {(row + down, column + right) for row, column in places for down, right in moves}
    return places


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_a_dot_becomes_as_round_as_the_pen(steps):
    ink = np.zeros((15, 15), np.uint8)
    ink[7, 7] = 200
    thick = with_pen(ink, steps)
    assert thick.shape == (15 + 2 * steps, 15 + 2 * steps)
    assert set(map(tuple, np.argwhere(thick == 200))) == reached(15 + 2 * steps, steps)
    assert set(np.unique(thick)) == {0, 200}
    thin = with_pen(thick, -steps)  # the other way round
    assert set(map(tuple, np.argwhere(thin == 200))) == {(7 + 2 * steps, 7 + 2 * steps)}


def test_redrawn_digits_look_like_prepared_drawings():
    again = redrawn(DIGITS, seed=3)
    assert (again.shape, again.dtype) == (DIGITS.shape, np.uint8)
    for image in again[..., 0]:
        rows, columns = (np.flatnonzero((image > 25).any(axis)) for axis in (1, 0))
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        mass = image.astype(float)
        assert mass.sum(1) @ np.arange(28) / mass.sum() == pytest.approx(14, abs=0.6)
        assert mass.sum(0) @ np.arange(28) / mass.sum() == pytest.approx(14, abs=0.6)


def test_the_seed_determines_pens_and_angles():
    assert np.array_equal(redrawn(DIGITS, 5), redrawn(DIGITS, 5))
    different = redrawn(DIGITS, 5) != redrawn(DIGITS, 6)
    assert different.any(axis=(1, 2, 3)).mean() > 0.9
    share = [redrawn(np.repeat(DIGITS[:1], 40, axis=0), seed).astype(float).mean(axis=(1, 2, 3)) for seed in (0, 1)]
    assert all(ink.max() > 1.5 * ink.min() for ink in share)  # thin and thick pens


def test_the_thinnest_strokes_do_not_vanish():
    """One pixel wide, straight or askew."""
    images = np.zeros((2, 28, 28, 1), np.uint8)
    images[0, 4:24, 14] = 255
    images[1, range(4, 24), range(4, 24)] = 255
    assert redrawn(np.repeat(images, 20, axis=0)).max(axis=(1, 2, 3)).min() > 30


def test_a_turn_that_is_no_angle():
    with pytest.raises(SettingError, match="redrawn: `turn=-1`"):
        redrawn(DIGITS, turn=-1)
    untouched = np.concatenate([centred(cut_out(np.float32(image) / 255)) for image in DIGITS[..., 0]])
    assert THICKEST > 0
    assert np.abs(redrawn(DIGITS, turn=0).astype(float) - untouched).mean() > 1  # the pens are still changed
