"""IDX files: written files are read back, and damaged or hostile files raise DataError."""

import gzip
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.support.data_helpers import raw_idx, returned_or_raised
from tinycnn.data import read_idx, write_idx
from tinycnn.errors import DataError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = raw_idx(IMAGES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize("name", ["plain", "named.gz"])
def test_reads_raw_and_gzip_whatever_the_name(tmp_path, pack, name):
    (tmp_path / name).write_bytes(pack(CONTENT))
    array = read_idx(tmp_path / name, 3)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=6)), packed=st.booleans())
def test_round_trip(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


def test_writer_follows_the_format(path):
    write_idx(path, IMAGES)
    assert path.read_bytes() == CONTENT


def test_writer_takes_non_contiguous_arrays(path):
    write_idx(path, IMAGES.transpose(2, 0, 1)[::-1])
    np.testing.assert_array_equal(read_idx(path, 3), IMAGES.transpose(2, 0, 1)[::-1])


def test_packed_files_are_reproducible(tmp_path, monkeypatch):
    write_idx(tmp_path / "a.gz", IMAGES)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_idx(tmp_path / "b.gz", IMAGES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_and_leaves_nothing_else(path, monkeypatch, step):
    write_idx(path, IMAGES)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        write_idx(path, IMAGES[:1])
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("array", [IMAGES.astype(np.int64), np.uint8(3)], ids=["int64", "scalar"])
def test_writing_an_array_that_idx_cannot_hold_raises(path, array):
    with pytest.raises(DataError, match="uint8"):
        write_idx(path, array)
    assert not path.exists()


BAD = {
    "empty": (b"", "not an IDX file"),
    "foreign": (b"\x89PNG\r\n\x1a\n", "not an IDX file"),
    "web page": (b"<html></html>", "not an IDX file"),
    "float values": (b"\0\0\x0d" + CONTENT[3:], "0x0d"),
    "labels": (raw_idx(IMAGES[0, 0]), "swapped"),
    "header cut": (CONTENT[:9], "inside its header"),
    "zero images": (CONTENT[:4] + bytes(4) + CONTENT[8:], "holds nothing"),
    "truncated": (CONTENT[:-1], "truncated"),
    "trailing byte": (CONTENT + b"x", "more than the 24 bytes"),
    "4 TiB declared": (CONTENT[:4] + b"\0\x40\0\0" + b"\0\x10\0\0" + b"\0\0\0\1", "at most"),
    "wraps in 64 bits": (CONTENT[:4] + b"\xff\xff\xff\xff" * 3, "at most"),
    "1 GiB declared": (CONTENT[:4] + b"\x40\0\0\0" + b"\0\0\0\1" * 2, "cannot hold"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_raises_with_its_name_and_the_reason(path, case, pack):
    content, reason = BAD[case]
    path.write_bytes(pack(content))
    with pytest.raises(DataError, match=reason) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-9], "ended before"),
        (lambda packed: packed[:-8] + bytes(8), "CRC"),
        (lambda packed: packed[:12] + b"\xff\xff\xff" + packed[15:], "cannot be read|truncated|not an IDX"),
        (lambda packed: packed + b"garbage", "cannot be read"),
    ],
    ids=["truncated", "checksum", "corrupt", "garbage behind"],
)
def test_damaged_gzip_raises(path, damage, reason):
    path.write_bytes(damage(gzip.compress(CONTENT)))
    with pytest.raises(DataError, match=reason):
        read_idx(path, 3)


def test_a_missing_file_or_folder_raises(tmp_path):
    for path, reason in ((tmp_path / "nothing", "no such file"), (tmp_path, "a folder, expected a file")):
        with pytest.raises(DataError, match=reason):
            read_idx(path, 3)


def test_a_gzip_bomb_is_read_only_to_its_declared_size(path):
    path.write_bytes(gzip.compress(CONTENT + bytes(200_000_000), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than the 24 bytes"):
            read_idx(path, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_declared_size_is_checked_before_memory_is_taken(path, pack, monkeypatch):
    path.write_bytes(pack(BAD["1 GiB declared"][0]))
    monkeypatch.setattr("tinycnn.data.idx.read_exactly", lambda *_: pytest.fail("allocated before the check"))
    with pytest.raises(DataError, match="cannot hold"):
        read_idx(path, 3)


@given(
    content=st.one_of(
        st.binary(max_size=64),
        st.builds(lambda rank, rest: bytes([0, 0, 8, rank]) + rest, st.integers(0, 255), st.binary(max_size=64)),
        st.builds(
            lambda at, byte: CONTENT[:at] + bytes([byte]) + CONTENT[at + 1 :], st.integers(0, 15), st.integers(0, 255)
        ),
    ),
    packed=st.booleans(),
    rank=st.sampled_from([1, 3]),
)
def test_random_bytes_raise_nothing_but_data_errors(tmp_path_factory, content, packed, rank):
    path = tmp_path_factory.mktemp("random") / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    outcome = returned_or_raised(read_idx, path, rank)
    if isinstance(outcome, DataError):
        assert str(path) in str(outcome)
    else:
        assert raw_idx(outcome) == content


@given(at=st.integers(0, 60), byte=st.integers(0, 255))
def test_damaged_gzip_bytes_raise_nothing_but_data_errors(tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("damaged") / "file"
    packed = bytearray(gzip.compress(CONTENT))
    packed[at % len(packed)] = byte
    path.write_bytes(packed)
    outcome = returned_or_raised(read_idx, path, 3)
    if isinstance(outcome, DataError):
        assert str(path) in str(outcome)
    else:
        np.testing.assert_array_equal(outcome, IMAGES)  # some bytes of a gzip header are unused
