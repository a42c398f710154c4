"""CIFAR-10: the published archive and the folder it unpacks to, both read through the code that reads the real ones.

The data set has 170 MB and is not here; its stand-in has 7 images a file, in the same format.
"""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinycnn
from tests.support.data_helpers import refused_address, serving
from tests.support.example_runner import load_example
from tinycnn.data import cifar, download, load
from tinycnn.data.sources import CIFAR10, SOURCES
from tinycnn.errors import DataError

pooch = pytest.importorskip("pooch", reason="pooch, which downloads, is not installed: pip install pooch")

RECORDS = 7
ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
AS_PUBLISHED = [1, 3, 4, 5, 0, 2]  # the order in the published archive is not that of the numbers


def tiny_batches(seed=0):
    """``{file: (images (7, 32, 32, 3), labels (7,))}``."""
    rng = np.random.default_rng(seed)
    pixels = lambda: rng.integers(0, 256, (RECORDS, 32, 32, 3), np.uint8)  # noqa: E731
    return {name: (pixels(), rng.integers(0, 10, RECORDS, np.uint8)) for name in BATCHES}


def as_bytes(images, labels):
    """A batch file written without the code under test: for each image its label, then its planes."""
    records = []
    for image, label in zip(images, labels, strict=True):
        records.append(bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3)))
    return b"".join(records)


CONTENTS = {name: as_bytes(*batch) for name, batch in tiny_batches().items()}


def entry(name, content=b"", **fields):
    """``(header, content)`` of an archive member."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def ordinary_entries(contents=CONTENTS):
    folder = entry(FOLDER, type=tarfile.DIRTYPE)
    text = entry(f"{FOLDER}/batches.meta.txt", b"airplane\n")
    return [folder, text, *(entry(f"{FOLDER}/{BATCHES[i]}", contents[BATCHES[i]]) for i in AS_PUBLISHED)]


def tar(entries, format=tarfile.GNU_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def pack(entries):
    return gzip.compress(tar(entries), mtime=0)


GOOD = pack(ordinary_entries())


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No environment variables, an empty cache, and ``GOOD`` as the published archive."""
    for variable in ("TINYCNN_DATA", "TINYCNN_MIRRORS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    file = dataclasses.replace(CIFAR10.files[0], gz_bytes=len(GOOD), gz_sha256=hashlib.sha256(GOOD).hexdigest())
    monkeypatch.setitem(SOURCES, "cifar10", dataclasses.replace(CIFAR10, files=(file,), records=RECORDS))


def folder_with(tmp_path, content=GOOD, name=ARCHIVE):
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


def unpacked(tmp_path, contents=CONTENTS):
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def refused(tmp_path, content):
    with pytest.raises(DataError) as caught:
        load("cifar10", data_dir=folder_with(tmp_path, content))
    assert ARCHIVE in str(caught.value)
    return str(caught.value)


def check_is_tiny(dataset):
    batches = tiny_batches()
    train = [batches[name] for name in BATCHES[:5]]
    np.testing.assert_array_equal(dataset.x_train, np.concatenate([images for images, _ in train]))
    np.testing.assert_array_equal(dataset.y_train, np.concatenate([labels for _, labels in train]))
    np.testing.assert_array_equal(dataset.x_test, batches["test_batch.bin"][0])
    np.testing.assert_array_equal(dataset.y_test, batches["test_batch.bin"][1])


# ------------------------------------------------------------------------------------------------------- valid archives


def test_reads_the_published_archive(tmp_path):
    dataset = load("cifar10", data_dir=folder_with(tmp_path))
    check_is_tiny(dataset)
    assert (dataset.name, dataset.input_shape, dataset.pictures) == ("cifar10", (32, 32, 3), "whole")
    assert dataset.class_names[3] == "cat"
    assert "(verified: the published CIFAR-10 archive)" in dataset.source
    assert sorted(os.listdir(tmp_path / "data")) == [ARCHIVE]  # the archive is not unpacked to disk


def test_description_of_the_published_archive():
    assert CIFAR10.record_bytes == 3073
    assert CIFAR10.records * len(CIFAR10.train) == 50_000
    assert (CIFAR10.files[0].name, CIFAR10.files[0].gz_bytes) == (ARCHIVE, 170_052_171)
    assert len(CIFAR10.class_names) == 10


@pytest.mark.parametrize("place", ["data", f"data/{FOLDER}"])
def test_reads_the_unpacked_folder(tmp_path, place):
    unpacked(tmp_path)
    dataset = load("cifar10", data_dir=tmp_path / place)
    check_is_tiny(dataset)
    assert f"{FOLDER} (not verified: not the published {ARCHIVE})" in dataset.source


def test_the_example_trains_cifar_cnn(tmp_path, capsys):
    """The command of the documentation trains the network for colour images."""
    where = ["--data-dir", str(folder_with(tmp_path)), "--output", str(tmp_path / "out")]
    options = ["--recipe", "best", "--epochs", "1", "--batch-size", "16", "--backend", "numpy", "--no-plots"]
    train = load_example("train_mnist")
    assert train.main(["--model", "cifar_cnn", "--dataset", "cifar10", *where, *options]) == 0
    output = capsys.readouterr().out
    assert "cifar10: 35 training, 0 validation, 7 test images" in output
    assert "augmented (alternating_flip)" in output
    model = tinycnn.load(tmp_path / "out" / "model.safetensors")
    assert (model.input_shape, model.pictures) == ((32, 32, 3), "whole")
    assert model.class_names[:2] == ("airplane", "automobile")
    assert model.parameter_count() == 308_394


def test_reads_a_subfolder_of_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "all").mkdir()
    folder_with(tmp_path).rename(tmp_path / "all" / "cifar10")
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "all"))
    check_is_tiny(load("cifar10", download=False))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_a_repacked_archive_is_read_but_not_verified(tmp_path, format):
    entries = [(info.replace(name=f"./{info.name}"), content) for info, content in ordinary_entries()]
    dataset = load("cifar10", data_dir=folder_with(tmp_path, gzip.compress(tar(entries, format))))
    check_is_tiny(dataset)
    assert "(not the published archive: content differs)" in dataset.source


# ------------------------------------------------------------------------------------------------- damaged archives


def without(name):
    return [(info, content) for info, content in ordinary_entries() if not info.name.endswith(name)]


def replaced(name, **fields):
    """The members of the ordinary archive, with other fields for one of them."""
    return [*without(name), entry(f"{FOLDER}/{name}", **{"content": b"", **fields})]


def link(kind, target):
    return replaced("test_batch.bin", type=kind, linkname=target)


SPARSE = {
    "GNU.sparse.major": "0",
    "GNU.sparse.size": str(1 << 50),
    "GNU.sparse.map": "0,0",
    "GNU.sparse.numblocks": "1",
}
ELSEWHERE = ["../../{}", "/tmp/{}", "{}", "other/{}", "x/../cifar-10-batches-bin/{}", "cifar-10-batches-bin/../{}"]
DAMAGED = {
    "nothing": (b"", "not a .tar.gz archive"),
    "no gzip": (b"<html>Please log in</html>", "not a .tar.gz archive"),
    "gzip without tar": (gzip.compress(b"hello" * 300), "not a .tar.gz archive"),
    "empty tar": (pack([]), "data_batch_1.bin, data_batch_2.bin"),
    "half": (GOOD[: len(GOOD) // 2], "damaged, or not a .tar.gz archive"),
    "without its end": (GOOD[:-9], "damaged, or not a .tar.gz archive"),
    "wrong checksum": (GOOD[:-8] + bytes(4) + GOOD[-4:], "CRC check failed"),
    "half a tar": (gzip.compress(tar(ordinary_entries())[:50_000]), "it is damaged, or not a"),
    "a file missing": (pack(without("data_batch_4.bin")), "data_batch_4.bin missing in it"),
    "a file twice": (pack([*ordinary_entries(), *ordinary_entries()[-1:]]), "data_batch_3.bin: it appears twice"),
    "a file too short": (
        pack(replaced("test_batch.bin", content=b"1" * 3072)),
        "3,072 bytes; expected 21,511: 7 images of 3,073",
    ),
    "a file too long": (
        pack(replaced("test_batch.bin", content=b"\1" * 3073 * 8)),
        "bytes; expected 21,511: 7 images of 3,073",
    ),
    "label 10": (
        pack(replaced("data_batch_2.bin", content=b"\12" * 3073 * 7)),
        "data_batch_2.bin: labels: values from 10",
    ),
    "symbolic link": (pack(link(tarfile.SYMTYPE, "/etc/passwd")), "test_batch.bin: it is a link"),
    "hard link": (pack(link(tarfile.LNKTYPE, f"{FOLDER}/data_batch_1.bin")), "test_batch.bin: it is a link"),
    "pipe": (pack(replaced("test_batch.bin", type=tarfile.FIFOTYPE)), "test_batch.bin: it is a link"),
    "folder": (pack(replaced("test_batch.bin", type=tarfile.DIRTYPE)), "test_batch.bin: it is a link"),
    "sparse": (
        gzip.compress(tar(replaced("test_batch.bin", pax_headers=SPARSE), tarfile.PAX_FORMAT)),
        "test_batch.bin: it is a link|it has 1,125,899,906,842,624 bytes|or damaged",
    ),
    "many files": (pack([entry(f"{i}") for i in range(101)]), "more than 100 files"),
} | {
    f"under the name {name}": (
        pack([*without("test_batch.bin"), entry(name.format("test_batch.bin"), CONTENTS["test_batch.bin"])]),
        "test_batch.bin missing in it",
    )
    for name in ELSEWHERE
}


@pytest.mark.parametrize(("content", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_archives_raise(tmp_path, content, words):
    assert re.search(words, refused(tmp_path, content))
    assert sorted(os.listdir(tmp_path)) == ["data"]  # no file was written
    assert os.listdir(tmp_path / "data") == [ARCHIVE]


def bomb(kind):
    """32 MiB of zeros in 32 KB: in an unused member, in the header of one, or after the end."""
    zeros = bytes(32 << 20)
    if kind == "behind the end":
        return gzip.compress(tar(ordinary_entries()) + zeros)
    if kind == "a header":
        info = tarfile.TarInfo(f"{FOLDER}/x")
        info.pax_headers = {"comment": "0" * (32 << 20)}
        return gzip.compress(info.tobuf(tarfile.PAX_FORMAT))
    if kind == "a name":
        return gzip.compress(tarfile.TarInfo("x" * (32 << 20)).tobuf(tarfile.GNU_FORMAT))
    return pack([entry("readme.html", zeros), *ordinary_entries()])


@pytest.mark.parametrize("kind", ["a member", "behind the end", "a header", "a name"])
def test_decompression_bombs_raise_without_taking_memory(tmp_path, kind):
    folder_with(tmp_path, bomb(kind))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"it unpacks to more than 1,[0-9,]+ bytes"):
            load("cifar10", data_dir=tmp_path / "data")
        assert tracemalloc.get_traced_memory()[1] < 12 << 20  # the limit here is 1.2 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "data_batch_3.bin").unlink(), "data_batch_3.bin: it is missing"),
        (
            lambda folder: (folder / "data_batch_3.bin").write_bytes(b"short"),
            "it has 5 bytes; expected 21,511: 7 images of 3,073",
        ),
        (lambda folder: (folder / "data_batch_1.bin").write_bytes(b"\xff" * 3073 * 7), "values from 255 to 255"),
        (lambda folder: (folder / "data_batch_1.bin").unlink() or os.mkfifo(folder / "data_batch_1.bin"), "missing"),
    ],
    ids=["missing", "short", "labels", "pipe"],
)
def test_damaged_folders_raise(tmp_path, damage, words):
    damage(unpacked(tmp_path))
    with pytest.raises(DataError, match=words) as caught:
        load("cifar10", data_dir=tmp_path / "data")
    assert FOLDER in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "cifar-10-batches-py/data_batch_1",
        "cifar10/cifar-10-batches-py/data_batch_1",
        "data_batch_1",
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py-target/cifar-10-batches-py/data_batch_1",
    ],
)
def test_the_python_version_is_named_and_never_unpickled(tmp_path, place, monkeypatch):
    """torchvision and Keras leave it behind."""

    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path = tmp_path / "data" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"is the Python version of CIFAR-10\. It is pickled, .*Get the binary version"):
        load("cifar10", data_dir=tmp_path / "data")
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"\$TINYCNN_DATA: .* is the Python version"):
        load("cifar10", download=False)
    folder_with(tmp_path)  # the binary version beside it is read
    check_is_tiny(load("cifar10", data_dir=tmp_path / "data"))


def test_a_folder_without_the_data_set_raises(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=f"holds neither {ARCHIVE} nor the folder {FOLDER}") as caught:
        load("cifar10", data_dir=tmp_path / "data")
    assert "from https://www.cs.toronto.edu/~kriz/" in str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 255)), min_size=1, max_size=6), cut=st.floats(0, 1)
)
def test_changed_bytes_give_the_images_or_a_data_error(tmp_path, changes, cut):
    """The changes are in the tar headers; the archive is compressed again, so that gzip's checksum is right."""
    content = bytearray(tar(ordinary_entries()))
    headers = [i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"]
    for place, value in changes:
        content[headers[place % len(headers)] + place // 7 % 512] = value
    if cut < 0.5:
        content = content[: int(len(content) * 2 * cut)]
    folder_with(tmp_path, gzip.compress(bytes(content), 1))
    try:
        check_is_tiny(load("cifar10", data_dir=tmp_path / "data"))
    except DataError as error:
        assert ARCHIVE in str(error)  # noqa: PT017


# -------------------------------------------------------------------------------------------------------- the download


@pytest.fixture
def server(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / ARCHIVE).write_bytes(GOOD)
    with serving(tmp_path / "published") as server:
        yield server


def test_the_archive_is_downloaded_once(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ANSWER_S", 30.0)
    monkeypatch.setenv("TINYCNN_MIRRORS", f"{refused_address()}, {server.address('corrupt')}, {server.address('good')}")
    dataset = load("cifar10")
    check_is_tiny(dataset)
    assert "(verified" in dataset.source
    assert os.listdir(tmp_path / "cache" / "tinycnn" / "cifar10") == [ARCHIVE]
    server.requests.clear()
    check_is_tiny(load("cifar10"))
    assert server.requests == []


@pytest.mark.parametrize("behaviour", ["corrupt", "truncate", "html", "endless"])
def test_a_failed_download_raises_and_leaves_no_file(server, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(download, "ANSWER_S", 30.0)
    monkeypatch.setenv("TINYCNN_MIRRORS", server.address(behaviour))
    with pytest.raises(DataError, match="CIFAR-10 could not be downloaded"):
        load("cifar10")
    assert os.listdir(tmp_path / "cache" / "tinycnn" / "cifar10") == []


# ------------------------------------------------------------------------------------------------- the checks can fail


def test_swapped_planes_are_detected(tmp_path, monkeypatch):
    joined = cifar._joined
    swapped = lambda *arguments: (joined(*arguments)[0].swapaxes(1, 2), joined(*arguments)[1])  # noqa: E731
    monkeypatch.setattr(cifar, "_joined", swapped)
    with pytest.raises(AssertionError):
        check_is_tiny(load("cifar10", data_dir=folder_with(tmp_path)))


def test_the_reference_archive_follows_the_format():
    content = zlib.decompress(GOOD, 31)
    first = content.index(CONTENTS["data_batch_2.bin"][:100])
    assert content[first - 512 : first - 412].rstrip(b"\0") == f"{FOLDER}/data_batch_2.bin".encode()
    assert struct.unpack("<I", GOOD[-4:])[0] == len(content)
