""".npz data sets: data that convert without loss are read; all others raise an error before memory is allocated."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.data_helpers import returned_or_raised
from tinycnn.data import load
from tinycnn.errors import DataError

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


@pytest.mark.parametrize("labels", [LABELS[:, None], np.eye(3)[LABELS]], ids=["column", "one-hot"])
def test_label_layouts(path, labels):
    dataset = load(save(path, y_train=labels))
    np.testing.assert_array_equal(dataset.y_train, LABELS)


X = arrays()["x_train"]
REFUSED = {
    "missing file": (None, "no such file"),
    "flat images": ({"x_train": X.reshape(4, -1)}, r"x_train has the shape \(4, 30\)"),
    "channels first": ({"x_train": np.zeros((4, 1, 6, 5), np.uint8)}, r"store \(N, H, W, C\)"),
    "object array": ({"y_train": np.array([1, "a", 2, 3], object)}, "y_train.*Pickled objects"),
    "strings": ({"y_train": np.array(["1", "2", "3", "4"])}, "y_train.*expected numbers"),
    "complex": ({"x_train": X.astype(complex)}, "x_train.*expected numbers"),
    "empty": ({"x_train": X[:0]}, "x_train.*at least one element"),
    "NaN": ({"x_train": np.full(X.shape, np.nan)}, "x_train.*finite"),
    "infinity": ({"x_train": np.full(X.shape, np.inf)}, "x_train.*finite"),
    "half grey levels": ({"x_train": X + 0.5}, "x_train.*whole grey levels"),
    "standardised": ({"x_train": (X - X.mean()) / X.std()}, "x_train.*whole grey levels"),
    "above 255": ({"x_train": X.astype(int) + 200}, "x_train.*expected 0 to 255"),
    "negative": ({"x_train": X.astype(int) - 1}, "x_train.*expected 0 to 255"),
    "mixed scales": ({"x_train": X / 255}, "x_train.*whole grey levels"),
    "counts": ({"y_train": LABELS[:3]}, "4 images, y_train 3 labels"),
    "sizes": ({"x_test": X[:2, :5]}, "expected the same"),
    "float labels": ({"y_train": LABELS / 1.0}, "y_train: got float64"),
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


def test_missing_key_names_what_is_there(path):
    np.savez(path, x_train=X, images=X)
    with pytest.raises(DataError, match="y_train is missing: it holds images, x_train"):
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
