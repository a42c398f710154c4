""".npz data sets: data that convert without loss are read; all others raise an error before memory is allocated."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data_helpers import returned_or_raised
from tinycnn.data import load
from tinycnn.data.npz import read_npz
from tinycnn.errors import DataError, SettingError

LABELS = np.array([0, 1, 2, 1])


def arrays(**changes):
    images = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5) * 2
    return {"x_train": images, "y_train": LABELS, "x_test": images[:2], "y_test": LABELS[:2]} | changes


def save(path, **changes):
    np.savez_compressed(path, **arrays(**changes))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.npz"


@pytest.mark.parametrize("save_npz", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(path, save_npz):
    save_npz(path, extra=np.zeros(3), **arrays())
    dataset = load(path)
    assert (dataset.name, dataset.source, dataset.class_names) == ("mine", str(path), ("0", "1", "2"))
    np.testing.assert_array_equal(dataset.x_train[..., 0], arrays()["x_train"])
    np.testing.assert_array_equal(dataset.y_test, LABELS[:2])


def test_fortran_order(path):
    dataset = load(save(path, x_train=np.asfortranarray(arrays()["x_train"])))
    np.testing.assert_array_equal(dataset.x_train[..., 0], arrays()["x_train"])


@pytest.mark.parametrize("dtype", [np.int16, ">i4", np.uint64, np.float16, np.float32, np.float64])
def test_whole_grey_levels_of_any_type(path, dtype):
    x = arrays()["x_train"]
    dataset = load(save(path, x_train=x.astype(dtype), x_test=x[:2].astype(dtype)))
    np.testing.assert_array_equal(dataset.x_train[..., 0], x)
    assert dataset.x_train.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_divided_by_255_come_back_exactly(path, dtype):
    x = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    scaled = (x / 255).astype(dtype)
    dataset = load(save(path, x_train=scaled, x_test=scaled[:2]))
    np.testing.assert_array_equal(dataset.x_train[..., 0], x)


WHITE = {  # how the same images, bytes from 0 to 255, are stored, and the range that this is
    "bytes": (lambda x: x, "0..255"),
    "whole numbers": (lambda x: x.astype(np.int32), "0..255"),
    "fractions": (lambda x: x / 255, "0..1"),
    "signed": (lambda x: x / 127.5 - 1, "-1..1"),
    "16 bits": (lambda x: x.astype(np.uint16) * 257, "0..65535"),
    "signed bytes": (lambda x: (x.astype(int) - 128).astype(np.int8), "-128..127"),
    "standardised": (lambda x: (x / 255 - 0.1307) / 0.3081, "-0.424213..2.82149"),
    "inverted": (lambda x: 1 - x / 255, "1..0"),
}
SHOWN = ("bytes", "whole numbers", "fractions", "signed")  # by their numbers; the others must be stated
RAMP = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)


@pytest.mark.parametrize("kind", WHITE)
def test_the_range_of_the_pixels(path, kind):
    store, pixels = WHITE[kind]
    save(path, x_train=store(RAMP), x_test=store(RAMP[::3]))
    for stated in (pixels, None) if kind in SHOWN else (pixels,):
        dataset = load(path, pixels=stated)
        np.testing.assert_array_equal(dataset.x_train[..., 0], RAMP)
        np.testing.assert_array_equal(dataset.x_test[..., 0], RAMP[::3])
        assert dataset.notice is None
        told = "as given" if stated else {"0..1": "fractions", "-1..1": "signed fractions"}.get(pixels)
        assert dataset.source == (f"{path} (pixels {pixels}: {told})" if told else str(path))
    if kind not in (*SHOWN, "inverted"):
        with pytest.raises(DataError, match=r"x_train: .* values from .*`pixels="):
            load(path)


@pytest.mark.parametrize(
    ("x_train", "x_test"),
    [
        (RAMP > 127, RAMP),
        ((RAMP > 127).astype(float), RAMP),
        (RAMP, RAMP / 255),
        ((RAMP > 127).astype(np.uint8), RAMP),
        (RAMP / 255, RAMP / 127.5 - 1),
    ],
)
def test_parts_on_different_scales_are_refused(path, x_train, x_test):
    """Otherwise the network would be trained on black images, or tested on them."""
    save(path, x_train=x_train, x_test=x_test)
    with pytest.raises(DataError, match=r"the parts are on different scales: x_train from .*, x_test from .*`pixels="):
        load(path)


def test_a_part_that_is_black_all_over_has_any_scale(path):
    dataset = load(save(path, x_train=RAMP, x_test=RAMP[:2] * 0.0))
    assert (dataset.x_train.max(), dataset.x_test.max()) == (255, 0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_black_and_white_images(path, dtype):
    """Whole numbers 0 and 1 could be bytes as well, so the choice is reported."""
    black_and_white = (RAMP > 127).astype(dtype)
    dataset = load(save(path, x_train=black_and_white, x_test=black_and_white[2:]))
    np.testing.assert_array_equal(dataset.x_train[..., 0], np.where(RAMP > 127, 255, 0))
    assert "pixels 0..1" in dataset.source
    assert ("NOTICE: the images hold only the whole numbers 0 and 1" in (dataset.notice or "")) == (
        np.dtype(dtype).kind in "iu"
    )
    if dtype is not bool:
        np.testing.assert_array_equal(load(path, pixels="0..255").x_train[..., 0], RAMP > 127)


def test_numbers_between_the_levels_are_rounded_if_the_range_is_given(path):
    save(path, x_train=np.full((4, 2, 2), 0.5), x_test=np.full((2, 2, 2), 0.5), y_test=LABELS[:2])
    with pytest.raises(DataError, match=r'not whole grey levels .* to round them: `pixels="0\.\.1"`'):
        load(path)
    assert (load(path, pixels="0..1").x_train == round(255 * 0.5)).all()
    with pytest.raises(DataError, match=r"x_train: from 0\.5 to 0\.5, outside of 0\.\.0\.4"):
        load(path, pixels="0..0.4")


@pytest.mark.parametrize(
    "pixels", ["", "0", "0..", "0..0", "a..b", "0..inf", "nan..1", "1e999..0", "0.255", 255, "0...1..2"]
)
def test_a_range_that_is_none_is_refused(path, pixels):
    with pytest.raises(SettingError, match="expected the numbers for black and white, such as"):
        load(save(path), pixels=pixels)


def test_images_that_are_almost_black_are_reported(path):
    """As the digits of scikit-learn are, with values from 0 to 16."""
    x = (RAMP // 16).astype(float)
    dataset = load(save(path, x_train=x, x_test=x[2:]))
    assert "the brightest pixel of all training images is 15 of 255" in dataset.notice
    assert '`pixels="0..15"`' in dataset.notice
    assert load(path, pixels="0..15").x_train.max() == 255
    assert "all training images are black" in load(save(path, x_train=X * 0)).notice


NO_NUMBERS = {
    "only the parity": (np.array([0, 2, 4, 2]), "2 of the 5 classes ('1', '3')"),
    "from one": (LABELS + 1, "the class '0'. If its labels start at 1"),
    "a class only in the test": (np.array([0, 1, 0, 1]), "the class '2'. 1 of the 3 test images are of such a class"),
    "many": (np.array([0, 9, 0, 9]), "8 of the 10 classes ('1', '2', '3', '4', '5' and 3 more). 1 of"),
}


@pytest.mark.parametrize("labels", NO_NUMBERS)
def test_classes_without_a_training_image_are_reported(path, labels):
    y, told = NO_NUMBERS[labels]
    y_test = y[:3] if "from" in labels else np.array([0, 0, 2 if "test" in labels or "many" in labels else 0])
    dataset = load(save(path, y_train=y, x_test=X[:3], y_test=y_test))
    assert dataset.notice.startswith(f"NOTICE: no training image of {told}")


def test_a_limit_that_loses_classes_is_reported(path):
    save(path, y_train=np.sort(LABELS))
    assert load(path, limit=3).notice == (
        "NOTICE: the first 3 training images (`limit`) hold none of the class '2'. Use more, or shuffle the images in "
        "the file: it may be sorted by class."
    )
    assert load(path, limit=4).notice is None
    assert load(path, limit=1).notice.startswith("NOTICE: the first training image (`limit`) shows none of 2 of the 3")


@pytest.mark.parametrize(
    "labels", [LABELS[:, None], np.eye(3)[LABELS], np.eye(3, dtype=bool)[LABELS]], ids=["column", "one-hot", "bool"]
)
def test_label_layouts(path, labels):
    dataset = load(save(path, y_train=labels))
    np.testing.assert_array_equal(dataset.y_train, LABELS)


X = arrays()["x_train"]
REFUSED = {
    "missing file": (None, "no such file"),
    "flat images": ({"x_train": X.reshape(4, -1)}, r"x_train has the shape \(4, 30\)"),
    "channels first": ({"x_train": np.zeros((4, 1, 6, 5), np.uint8)}, r"store \(N, H, W, C\)"),
    "object array": ({"y_train": np.array([1, "a", 2, 3], object)}, "y_train.*Pickled objects"),
    "strings": ({"y_train": np.array(["1", "2", "3", "4"])}, "y_train.*text; expected numbers. Number the classes"),
    "complex": ({"x_train": X.astype(complex)}, "x_train.*expected numbers"),
    "empty": ({"x_train": X[:0]}, "x_train.*at least one element"),
    "NaN": ({"x_train": np.full(X.shape, np.nan)}, "x_train.*finite"),
    "infinity": ({"x_train": np.full(X.shape, np.inf)}, "x_train.*finite"),
    "half grey levels": ({"x_train": X + 0.5}, "x_train.*whole grey levels"),
    "standardised": ({"x_train": (X - X.mean()) / X.std()}, r"x_train: float64 values from -1\.71.* pass .*`pixels="),
    "above 255": ({"x_train": X.astype(int) + 200}, "x_train.*expected 0 to 255"),
    "negative": ({"x_train": X.astype(int) - 1}, "x_train.*expected 0 to 255"),
    "mixed scales": ({"x_train": X / 255}, "x_train from 0 to 0.93.*, as in 0..1, x_test from 0 to 118, as in 0..255"),
    "counts": ({"y_train": LABELS[:3]}, "4 images, y_train 3 labels"),
    "sizes": ({"x_test": X[:2, :5]}, "expected the same"),
    "float labels": ({"y_train": LABELS / 1.0}, r"y_train: got float64.*labels\.astype\(int\)"),
    "negative labels": ({"y_test": -LABELS[:2]}, "y_test: values from -1"),
    "huge labels": ({"y_train": LABELS * 10**9}, "y_train: values from"),
    "two ones": ({"y_train": np.ones((4, 3))}, "y_train.*not one-hot"),
    "probabilities": ({"y_train": np.array([[1, 0.5, 0]] * 4)}, "y_train.*not one-hot"),
    "one-hot widths": ({"y_train": np.eye(3)[LABELS], "y_test": np.eye(4)[LABELS[:2]]}, "expected the same"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_contents_raise(path, case):
    changes, reason = REFUSED[case]
    if changes is not None:
        save(path, **changes)
    with pytest.raises(DataError, match=reason) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_truth_values_are_two_classes(path):
    dataset = load(save(path, y_train=LABELS > 0, y_test=LABELS[:2] > 0))
    assert (dataset.y_train.tolist(), dataset.num_classes) == ([0, 1, 1, 1], 2)


def test_a_truth_value_is_whether_its_byte_is_zero(path):
    write_zip(path, npy_header((4, 6, 5), "|b1") + bytes([0, 1, 2, 255]) * 30)
    with pytest.raises(DataError, match="different scales"):  # the other part holds bytes
        load(path)
    assert sorted(set(read_npz(path)["x_train"].view(np.uint8).ravel().tolist())) == [0, 1]


@pytest.mark.parametrize("name", ["x" * 60_000, "a\nerror: forged", "\x1b[2J", "\u202egnp"])
def test_names_in_the_archive_are_shortened_and_escaped(path, name):
    np.savez(path, **{name: X})
    with pytest.raises(DataError, match="the array x_train is missing") as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_missing_key_names_what_is_there(path):
    np.savez(path, x_train=X, images=X)
    with pytest.raises(DataError, match="y_train is missing: it holds 'images', 'x_train'"):
        load(path)


def npy_header(shape, descr="|u1"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": descr})
    return buffer.getvalue()


def write_zip(path, x_train, compression=zipfile.ZIP_DEFLATED):
    save(path)
    with zipfile.ZipFile(path) as old:
        others = {name: old.read(name) for name in old.namelist() if name != "x_train.npy"}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in (others | {"x_train.npy": x_train}).items():
            new.writestr(name, content)


HOSTILE = {
    "4 TiB declared": npy_header((2**42, 1, 1)),
    "product wraps to 0": npy_header((2**32, 2**32, 1)),
    "negative": npy_header((-4, 6, 5)),
    "truncated": npy_header((4, 6, 5)) + bytes(119),
    "trailing": npy_header((4, 6, 5)) + bytes(121),
    "scalar": npy_header(()) + b"x",
    "not npy": b"<html></html>",
    "nothing": b"",
    "code in the header": npy_header((4, 6, 5)).replace(b"(4, 6, 5)", b"exit(123)"),
    "zero-sized items": npy_header((4, 6, 5), "|S0"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_header_is_refused_before_memory_is_taken(path, case, monkeypatch):
    write_zip(path, HOSTILE[case])
    monkeypatch.setattr("tinycnn.data.npy.read_exactly", lambda *_: pytest.fail("allocated before the check"))
    with pytest.raises(DataError, match="x_train"):
        load(path)


@pytest.mark.parametrize(
    ("compression", "reason"), [(zipfile.ZIP_DEFLATED, "cannot hold"), (zipfile.ZIP_STORED, "its zip entry declares")]
)
def test_a_zip_entry_that_declares_a_gigabyte_raises(path, monkeypatch, compression, reason):
    """The .npy header and the zip directory agree with each other, but not with the size of the file."""
    write_zip(path, npy_header((2**30, 1, 1)) + bytes(100), compression)
    with zipfile.ZipFile(path) as archive:
        declared = archive.getinfo("x_train.npy").file_size
    content = path.read_bytes()
    forged = content.replace(declared.to_bytes(4, "little"), (declared - 100 + 2**30).to_bytes(4, "little"))
    assert forged != content
    path.write_bytes(forged)
    monkeypatch.setattr("tinycnn.data.npy.read_exactly", lambda *_: pytest.fail("allocated before the check"))
    with pytest.raises(DataError, match=reason):
        load(path)


def test_unusual_compression_is_refused(path):
    write_zip(path, npy_header((4, 6, 5)) + bytes(120), zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="compressed in a way"):
        load(path)


def test_files_that_are_not_zip_archives_raise(path):
    for content in (b"", b"PK\x03\x04", b"hello"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            load(path)


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_files_raise_nothing_but_data_errors(tmp_path_factory, at, byte, cut):
    path = save(tmp_path_factory.mktemp("npz") / "damaged.npz")
    content = bytearray(path.read_bytes())
    at %= len(content)
    content[at] = byte
    path.write_bytes(content[:at] if cut else content)
    outcome = returned_or_raised(load, path)
    if isinstance(outcome, DataError):
        assert str(path) in str(outcome)
    else:
        np.testing.assert_array_equal(outcome.x_train[..., 0], X)
