"""Several digits and lined paper: each digit is found, and one digit on plain paper is read as before."""

import io

import numpy as np
import pytest
from PIL import Image

from tinycnn import data
from tinycnn.data.drawing import EmptyDrawingError, normalise, read_drawing
from tinycnn.data.several import MOST, digits_in, pieces_of, read_digits, without_lines


@pytest.fixture(scope="module")
def digits():
    """Bundled digits, ``(40, 28, 28)`` bytes, light on dark."""
    return data.load("digits").x_test[:40, :, :, 0]


def sheet(images, gap=30, lines=False):
    """Digits side by side, dark on light, four times as large; grey levels ``(H, W)``."""
    large = [np.kron(image, np.ones((4, 4))) / 255 for image in images]
    paper = np.ones((200, sum(one.shape[1] + gap for one in large) + gap))
    left = gap
    for one in large:
        paper[40 : 40 + len(one), left : left + one.shape[1]] -= one
        left += one.shape[1] + gap
    if lines:
        for row in range(15, 200, 35):
            paper[row : row + 2] = np.minimum(paper[row : row + 2], 0.7)
    return paper


def png(grey):
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * grey).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_digits_side_by_side_are_found_from_left_to_right(digits):
    for start in range(0, 36, 4):
        found = digits_in(sheet(digits[start : start + 4]))
        assert found.pictures.shape == (4, 28, 28, 1)
        assert not found.lined
        for picture, image in zip(found.pictures, digits[start : start + 4], strict=True):
            alone = normalise(sheet([image]))[0]
            assert np.abs(picture.astype(int) - alone).mean() < 4  # of 255: the edges of the box may differ


def test_one_digit_on_plain_paper_is_read_as_before(digits):
    for image in digits:
        assert digits_in(sheet([image])) is None
    content = png(sheet(digits[:1]))
    found = read_digits(content)
    np.testing.assert_array_equal(found.pictures, read_drawing(content))
    assert not found.lined


def test_ruled_lines_are_removed(digits):
    for image in digits[:20]:
        found = digits_in(sheet([image], gap=80, lines=True))
        assert found.lined
        assert len(found.pictures) == 1
        alone = normalise(sheet([image], gap=80))[0]
        assert np.abs(found.pictures[0].astype(int) - alone).mean() < 16
    content = png(sheet(digits[:3], lines=True))
    assert read_digits(content).pictures.shape == (3, 28, 28, 1)


def test_strokes_that_cross_a_line_stay():
    amount = np.zeros((120, 120))
    amount[20:100, 58:64] = 1
    amount[50:52] = 0.5
    plain, lined = without_lines(amount)
    assert lined
    assert (plain[50:52, 58:64] > 0).all()
    assert (plain[50:52, :50] == 0).all()
    turned, lined = without_lines(amount.T)
    assert lined
    np.testing.assert_array_equal(turned.T, plain)
    thick = amount.copy()
    thick[40:60] = 1  # the bar of a seven across the sheet is no line
    assert not without_lines(thick)[1]


def test_a_broad_slanted_stroke_is_no_line():
    """Few of its rows are inked across the sheet, but their neighbours nearly so."""
    rows, columns = np.indices((280, 280))
    stroke = np.where(np.abs(rows - 140 - 0.05 * (columns - 140)) < 10, 1.0, 0.0)
    assert not without_lines(stroke)[1]
    triangle = np.where((columns < rows) & (rows < 201), 1.0, 0.0)  # five rows are inked across, with one sharp edge
    assert not without_lines(triangle)[1]
    assert not without_lines(triangle[::-1])[1]


def test_low_pieces_belong_to_their_neighbour():
    amount = np.zeros((100, 200))
    amount[10:90, 20:40] = 1
    amount[10:16, 46:60] = 1  # the bar of a five
    amount[10:90, 120:140] = 1
    amount[50:53, 190:193] = 1  # a speck
    assert pieces_of(amount) == [slice(20, 60), slice(120, 140)]


def test_nothing_and_too_much():
    with pytest.raises(EmptyDrawingError):
        read_digits(png(np.ones((50, 50))))
    comb = np.ones((60, 40 * (MOST + 3)))
    comb[10:50, 10::40] = 0
    assert digits_in(comb) is None
