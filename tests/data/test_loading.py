"""`load`: the search order, damaged files, and the bundled digits."""

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.support.data_helpers import STEMS, publish, raw_idx, real_mnist, tiny_arrays, write_set
from tinycnn.data import load, write_idx
from tinycnn.data.digits import enlarge
from tinycnn.data.drawn import are_drawings
from tinycnn.data.idx import read_idx
from tinycnn.data.load_options import applicable
from tinycnn.data.sources import FASHION_MNIST, MNIST, SOURCES, DebianPackage, recognise
from tinycnn.errors import DataError, SettingError

pooch = pytest.importorskip("pooch", reason="pooch, which downloads, is not installed: pip install pooch")

REAL_MNIST = real_mnist()  # found now, because the tests run without TINYCNN_DATA
needs_mnist = pytest.mark.skipif(REAL_MNIST is None, reason="MNIST is not on this machine; point TINYCNN_DATA to it")
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = STEMS


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No environment variables, no network, an empty cache; the two published data sets are tiny."""
    for variable in ("TINYCNN_DATA", "TINYCNN_MIRRORS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr("tinycnn.data.download._open", refuse)
    mnist, fashion = write_set(tmp_path / "m", tiny_arrays(0)), write_set(tmp_path / "f", tiny_arrays(1))
    monkeypatch.setitem(SOURCES, "mnist", publish(mnist, "MNIST"))
    monkeypatch.setitem(SOURCES, "fashion_mnist", publish(fashion, "Fashion-MNIST", contents_known=False))


def refuse(url):
    raise ConnectionError("the network is unplugged")


def check_is(dataset, name, seed):
    x_train, y_train, x_test, y_test = tiny_arrays(seed).values()
    assert dataset.name == name
    np.testing.assert_array_equal(dataset.x_train[..., 0], x_train)
    np.testing.assert_array_equal(dataset.y_train, y_train)
    np.testing.assert_array_equal(dataset.x_test[..., 0], x_test)
    np.testing.assert_array_equal(dataset.y_test, y_test)


# -------------------------------------------------------------------------------------------------------- valid folders


def dotted(folder):
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("rename", [lambda folder: None, dotted], ids=["hyphen", "dot"])
def test_usual_file_names(tmp_path, suffix, rename):
    folder = write_set(tmp_path / "data", tiny_arrays(0), suffix)
    rename(folder)
    dataset = load("mnist", data_dir=folder)
    check_is(dataset, "mnist", 0)
    assert dataset.source.startswith(str(folder))
    assert "(verified" in dataset.source


def in_folders(folder):
    """As Kaggle's archive unpacks: each file in a folder of its name."""
    for path in list(folder.iterdir()):
        path.rename(folder / "moved")
        path.mkdir()
        (folder / "moved").rename(path / path.name)


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("rename", [in_folders, lambda folder: dotted(folder) or in_folders(folder)])
def test_files_in_folders_of_their_names(tmp_path, suffix, rename):
    folder = write_set(tmp_path / "unpacked", tiny_arrays(), suffix)
    rename(folder)
    check_is(load("mnist", data_dir=folder), "mnist", 0)


@pytest.mark.parametrize("given", ["root", "root/{}", "root/{}/raw"])
def test_the_folders_of_torchvision(tmp_path, given):
    """Its ``root``, which may hold both data sets, or a folder in it."""
    for seed, (name, place) in enumerate({"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}.items()):
        write_set(tmp_path / "root" / place / "raw", tiny_arrays(seed), "" if seed else ".gz")
        check_is(load(name, data_dir=tmp_path / given.format(place)), name, seed)
    check_is(load("mnist", data_dir=tmp_path / given.format("MNIST")), "mnist", 0)


def test_names_may_be_mixed_and_repacked(tmp_path):
    folder = write_set(tmp_path / "data", tiny_arrays(0))
    (folder / f"{IMAGES}.gz").unlink()
    (folder / IMAGES).write_bytes(raw_idx(tiny_arrays(0)[IMAGES]))
    write_idx(folder / f"{LABELS}.gz", tiny_arrays(0)[LABELS])  # another gzip header, the same content
    assert "(verified" in load("mnist", data_dir=folder).source


def test_keras_file(tmp_path):
    keys = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "mnist.npz", **dict(zip(keys, tiny_arrays(0).values(), strict=True)))
    dataset = load("mnist", data_dir=tmp_path)
    check_is(dataset, "mnist", 0)
    assert dataset.class_names == tuple("0123456789")
    assert "(verified" in dataset.source


def test_keras_file_with_other_content(tmp_path):
    keys = ("x_train", "y_train", "x_test", "y_test")
    arrays = dict(zip(keys, tiny_arrays(5).values(), strict=True))
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert "not the published files" in load("mnist", data_dir=tmp_path).source
    np.savez(tmp_path / "mnist.npz", **(arrays | {"y_train": np.full(30, 11)}))
    with pytest.raises(DataError, match="y_train: values from 11 to 11; expected 0 to 9"):
        load("mnist", data_dir=tmp_path)


def test_one_folder_may_hold_both_sets_in_subfolders(tmp_path):
    write_set(tmp_path / "both" / "mnist", tiny_arrays(0))
    shutil.copytree(tmp_path / "f", tmp_path / "both" / "fashion_mnist")
    check_is(load("mnist", data_dir=tmp_path / "both"), "mnist", 0)
    check_is(load("fashion_mnist", data_dir=tmp_path / "both"), "fashion_mnist", 1)


def test_valid_files_with_other_content_are_taken_and_named(tmp_path):
    folder = write_set(tmp_path / "data", tiny_arrays(0) | {LABELS: tiny_arrays(5)[LABELS]})
    assert "(not the published files: content differs)" in load("mnist", data_dir=folder).source
    assert "not verified" in load("fashion_mnist", data_dir=write_set(tmp_path / "g", tiny_arrays(5))).source


@pytest.mark.parametrize(
    ("name", "folder", "other"), [("mnist", "f", "Fashion-MNIST"), ("fashion_mnist", "m", "MNIST")]
)
def test_the_other_data_set_under_the_same_names_is_refused(tmp_path, name, folder, other):
    with pytest.raises(DataError, match=f"{IMAGES}.gz belongs to {other}, not to"):
        load(name, data_dir=tmp_path / folder)


def test_auto_refuses_fashion_mnist_in_a_given_folder(tmp_path):
    with pytest.raises(DataError, match="belongs to Fashion-MNIST"):
        load("auto", data_dir=tmp_path / "f")


# ------------------------------------------------------------------------------------------------------ damaged folders


def swap(folder, first, second):
    first, second, aside = folder / f"{first}.gz", folder / f"{second}.gz", folder / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


DAMAGE = {
    "incomplete": (lambda f: (f / f"{TEST_LABELS}.gz").unlink(), TEST_LABELS, "incomplete"),
    "truncated": (lambda f: cut(f / f"{IMAGES}.gz"), IMAGES, "ended before"),
    "foreign": (lambda f: (f / f"{TEST_IMAGES}.gz").write_bytes(b"%PDF-1.7"), TEST_IMAGES, "not an IDX file"),
    "swapped": (lambda f: swap(f, IMAGES, LABELS), IMAGES, "swapped"),
    "train and test swapped": (lambda f: swap(f, IMAGES, TEST_IMAGES), IMAGES, "swapped"),
    "labels swapped": (lambda f: swap(f, LABELS, TEST_LABELS), LABELS, "swapped"),
    "counts": (lambda f: write_idx(f / f"{LABELS}.gz", np.zeros(29, np.uint8)), LABELS, "30 images.*29 labels"),
    "labels": (lambda f: write_idx(f / f"{LABELS}.gz", np.full(30, 10, np.uint8)), LABELS, "values from 10 to 10"),
    "sizes": (
        lambda f: write_idx(f / f"{TEST_IMAGES}.gz", np.zeros((12, 4, 4), np.uint8)),
        "data",
        "expected the same",
    ),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_never_skipped(tmp_path, monkeypatch, case, way, name):
    damage, file, reason = DAMAGE[case]
    folder = write_set(tmp_path / "data", tiny_arrays(0))
    damage(folder)
    if way == "environment":
        monkeypatch.setenv("TINYCNN_DATA", str(folder))
    with pytest.raises(DataError, match=reason) as caught:
        load(name, data_dir=folder if way == "argument" else None)
    assert file in str(caught.value)


# --------------------------------------------------------------------------------------------------------- the search


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_given_folder_without_the_data_set_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "m"))
    (tmp_path / "empty").mkdir()
    for folder, reason in (("empty", rf"holds neither mnist.npz nor any of {IMAGES}"), ("none", "does not exist")):
        with pytest.raises(DataError, match=reason):
            load(name, data_dir=tmp_path / folder)
    with pytest.raises(DataError, match="is not a folder"):
        load(name, data_dir=tmp_path / "m" / f"{IMAGES}.gz")


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_environment_comes_before_the_cache(tmp_path, monkeypatch, name):
    shutil.copytree(tmp_path / "m", tmp_path / "cache" / "tinycnn" / "mnist")
    from_cache = load(name)
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "m"))
    from_environment = load(name)
    assert from_cache.source.startswith(str(tmp_path / "cache"))
    assert from_environment.source.startswith(str(tmp_path / "m"))
    assert from_environment.notice is from_cache.notice is None


def test_environment_that_lacks_the_set_is_passed_over_but_named(tmp_path, monkeypatch):
    shutil.copytree(tmp_path / "f", tmp_path / "cache" / "tinycnn" / "fashion_mnist")
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "m"))
    check_is(load("fashion_mnist"), "fashion_mnist", 1)
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "f"))
    with pytest.raises(DataError, match=r"\$TINYCNN_DATA: .*belongs to Fashion-MNIST"):
        load("mnist")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a Debian package with Fashion-MNIST, which compresses the published files again."""
    source = replace(
        publish(tmp_path / "f", "Fashion-MNIST"), package=DebianPackage("a-package", str(tmp_path / "deb"))
    )
    monkeypatch.setitem(SOURCES, "fashion_mnist", source)
    (tmp_path / "deb").mkdir()
    for stem, array in tiny_arrays(1).items():
        (tmp_path / "deb" / f"{stem}.gz").write_bytes(gzip.compress(raw_idx(array), mtime=1))
    return tmp_path / "deb"


def test_the_folder_of_debians_package_is_found_without_an_option(tmp_path, monkeypatch, package):
    check_is(load("fashion_mnist"), "fashion_mnist", 1)
    assert load("fashion_mnist", download=False).source == f"{package} (verified: the published Fashion-MNIST files)"
    shutil.copytree(tmp_path / "f", tmp_path / "cache" / "tinycnn" / "fashion_mnist")
    assert load("fashion_mnist").source.startswith(str(tmp_path / "cache"))
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "f"))
    assert load("fashion_mnist").source.startswith(str(tmp_path / "f"))
    with pytest.raises(DataError, match="belongs to MNIST, not to Fashion-MNIST"):
        load("fashion_mnist", data_dir=tmp_path / "m")


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_without_a_usable_package_the_error_names_it_and_the_download(package, fault):
    if fault == "missing":
        shutil.rmtree(package)
    else:
        (package / f"{LABELS}.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError) as caught:
        load("fashion_mnist")
    message = str(caught.value)
    for part in (f"Debian's package a-package: {package}", "the network is unplugged", "apt-get install a-package"):
        assert part in message
    with pytest.raises(DataError) as caught:
        load("mnist")
    assert "Debian" not in str(caught.value)


def test_the_packaged_fashion_mnist_is_the_published_one(monkeypatch):
    monkeypatch.setitem(SOURCES, "fashion_mnist", FASHION_MNIST)
    package = FASHION_MNIST.package
    assert package.name == "dataset-fashion-mnist"
    assert all(file.content_sha256 for file in FASHION_MNIST.files)
    if not os.path.isdir(package.folder):
        pytest.skip(f"{package.name} is not installed")
    for file in FASHION_MNIST.files[1:]:  # the largest file would take a second
        assert recognise(read_idx(f"{package.folder}/{file.name}", file.rank), f"{package.folder}/{file.name}") == (
            "fashion_mnist", file.stem
        )  # fmt: skip
    images = read_idx(f"{package.folder}/{FASHION_MNIST.files[2].name}", 3)[..., None]
    assert FASHION_MNIST.pictures == ("drawing" if are_drawings(images) else "whole")  # as `fit` states of the arrays


def test_what_mnist_states_is_what_its_images_show(mnist_folder):
    file = MNIST.files[2]
    (path,) = mnist_folder.glob(f"{file.stem}*")
    assert MNIST.pictures == ("drawing" if are_drawings(read_idx(path, file.rank)[..., None]) else "whole")


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    check_is(load("mnist", data_dir="~/m"), "mnist", 0)


def test_the_error_lists_the_searched_places_and_a_remedy(tmp_path):
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    for part in ("$TINYCNN_DATA: not set", str(tmp_path / "cache"), "http://127.0.0.1:9/: the network is unplugged"):
        assert part in message
    assert "`data_dir`" in message


def test_auto_falls_back_to_digits_with_a_notice(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "empty"))
    dataset = load("auto")
    assert dataset.name == "digits"
    for part in ("NOT MNIST", "1,797 digits", "empty holds neither", "the network is unplugged", "`data_dir`"):
        assert part in dataset.notice


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_variable_that_names_no_folder_is_an_error(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"^\$TINYCNN_DATA: .*nowhere is not a folder; correct the variable"):
        load(name)


def denied(*_):
    raise PermissionError(13, "Permission denied", "/home/somebody")


@pytest.mark.parametrize("function", ["scandir", "stat"])
def test_a_cache_that_cannot_be_searched_is_named(tmp_path, monkeypatch, function):
    """As where HOME belongs to another user."""
    real = getattr(os, function)
    cache = str(tmp_path / "cache")
    (tmp_path / "cache" / "tinycnn" / "mnist").mkdir(parents=True)

    def refusing(path=".", **settings):
        refused = str(path).startswith(cache) and (function == "scandir" or str(path).endswith(os.curdir))
        return denied() if refused else real(path, **settings)

    monkeypatch.setattr(os, function, refusing)
    monkeypatch.setattr("tinycnn.data.download.remove_stale", denied)
    with pytest.raises(DataError, match=r"cache: .* cannot be read \(Permission denied\)") as caught:
        load("mnist")
    assert "download: /home/somebody: Permission denied." in str(caught.value)
    assert load("auto").name == "digits"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among its files")
@pytest.mark.parametrize("kind", ["file", "pipe", "unknown home"])
def test_a_variable_that_names_something_else_is_an_error(tmp_path, monkeypatch, kind):
    place = tmp_path / kind
    place.touch() if kind == "file" else os.mkfifo(place)
    monkeypatch.setenv("TINYCNN_DATA", "~nobody-has-this-name/x" if kind == "unknown home" else str(place))
    with pytest.raises(DataError, match=r"\$TINYCNN_DATA: .* is not a folder"):
        load("auto")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes among its files")
@pytest.mark.parametrize("name", ["mine.npz", "x_train.npy", "y_train.npy", "cat/a.png", *STEMS])
def test_pipes_in_the_place_of_files_do_not_block(tmp_path, name):
    """Each is refused, or passed over as if there were no file."""
    x, y = np.zeros((6, 3, 3), np.uint8), np.arange(6) % 2
    for file, array in {"x_train": x, "y_train": y, "x_test": x, "y_test": y}.items() if ".npy" in name else ():
        np.save(tmp_path / f"{file}.npy", array)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    given = "mnist" if name in STEMS else tmp_path / name if name == "mine.npz" else tmp_path
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        load(given, data_dir=tmp_path if name in STEMS else None)


def test_download_can_be_switched_off(monkeypatch):
    monkeypatch.setattr("tinycnn.data.loading.download_files", lambda *_: pytest.fail("it downloads"))
    assert "download: switched off" in load("auto", download=False).notice
    with pytest.raises(DataError, match="download: switched off"):
        load("mnist", download=False)


def test_damaged_cache_that_cannot_be_repaired_is_named(tmp_path):
    cache = tmp_path / "cache" / "tinycnn" / "mnist"
    shutil.copytree(tmp_path / "m", cache)
    cut(cache / f"{IMAGES}.gz")
    with pytest.raises(DataError, match=rf"cache: .*{IMAGES}.gz: cannot be read"):
        load("mnist")
    assert "cannot be read" in load("auto").notice


def test_limit_shortens_the_training_set_only(tmp_path):
    dataset = load("mnist", data_dir=tmp_path / "m", limit=7)
    assert (len(dataset.x_train), len(dataset.y_train), len(dataset.x_test)) == (7, 7, 12)
    np.testing.assert_array_equal(dataset.y_train, tiny_arrays(0)[LABELS][:7])
    assert len(load("mnist", data_dir=tmp_path / "m", limit=10**6).x_train) == 30


@pytest.mark.parametrize("limit", [0, -1, 2.5, True])
def test_limit_is_checked_first(limit):
    with pytest.raises(SettingError, match="limit"):
        load("mnist", limit=limit)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "train.csv",
            b"label,pixel0\n1,0\n",
            "a CSV file; expected an .npz file. Convert it with NumPy: rows = np.loadtxt",
        ),
        ("m.parquet", b"PAR1", "not a format that tinycnn reads; expected an .npz file"),
        ("data", b"", "not a format that tinycnn reads; expected an .npz file"),
    ],
)
def test_files_of_other_formats_are_refused_with_what_to_do(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {told}"):
        load(tmp_path / name)


def test_the_suffix_may_have_capital_letters(tmp_path):
    path = tmp_path / "MINE.NPZ"
    x, y = np.zeros((2, 3, 3), np.uint8), np.array([0, 1])
    with path.open("wb") as file:
        np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    assert load(path).name == "MINE"


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        SettingError,
        match=r"auto, mnist, fashion_mnist, cifar10, digits, a path ending in \.npz, or an existing folder",
    ):
        load("cifar")


# ---------------------------------------------------------------------------------------------------- bundled digits


def test_digits_are_split_by_class_and_reproducibly():
    dataset, again = load("digits"), load("digits")
    assert dataset.notice is None
    assert dataset.x_train.shape == (1437, 28, 28, 1)
    assert dataset.x_test.shape == (360, 28, 28, 1)
    np.testing.assert_array_equal(dataset.x_test, again.x_test)
    counts = np.bincount(dataset.y_test)
    assert (counts.min(), counts.max()) == (35, 37)  # a fifth of 174 to 183 digits per class


def test_digits_keep_every_picture_once_and_with_its_label():
    from sklearn.datasets import load_digits

    original = load_digits()
    dataset = load("digits")
    labels = np.concatenate([dataset.y_train, dataset.y_test])
    pictures = np.concatenate([dataset.x_train, dataset.x_test])
    expected = enlarge(original.images)
    assert sorted(zip(map(bytes, pictures), labels, strict=True)) == sorted(
        zip(map(bytes, expected), original.target, strict=True)
    )


def test_enlarged_digit_is_bilinear_and_centred():
    from scipy.ndimage import map_coordinates

    image = np.random.default_rng(0).integers(0, 17, (8, 8)).astype(np.float64)
    at = (np.arange(20) + 0.5) * 8 / 20 - 0.5
    box = map_coordinates(image, np.meshgrid(at, at, indexing="ij"), order=1, mode="nearest") * 255 / 16  # (20, 20)
    enlarged = enlarge(image[np.newaxis])[0]  # (28, 28)
    assert enlarged.dtype == np.uint8
    assert np.abs(enlarged[4:24, 4:24] - box).max() <= 0.5 + 1e-9
    assert enlarged.sum() == enlarged[4:24, 4:24].sum()


def test_missing_scikit_learn_raises_with_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        load("digits")


def test_digits_that_scikit_learn_keeps_elsewhere_are_loaded_by_it(tmp_path, monkeypatch):
    (tmp_path / "sklearn").mkdir()
    bunch = "types.SimpleNamespace(images=numpy.full((1797, 8, 8), 16.0), target=numpy.ones(1797))"
    (tmp_path / "sklearn" / "__init__.py").touch()
    (tmp_path / "sklearn" / "datasets.py").write_text(f"import numpy, types\ndef load_digits(): return {bunch}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert set(load("digits").y_train) == {1}


def test_missing_pooch_leaves_auto_working(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pip install pooch" in load("auto").notice


# ------------------------------------------------------------------------------------------------- the real data sets


def test_published_tables_are_complete():
    for source in (MNIST, FASHION_MNIST):
        assert tuple(file.stem for file in source.files) == STEMS
        assert [file.rank for file in source.files] == [3, 1, 3, 1]
        assert {len(file.gz_sha256) for file in source.files} == {64}
        assert len(source.class_names) == len(set(source.class_names)) == 10
    hashes = [file.gz_sha256 for source in (MNIST, FASHION_MNIST) for file in source.files]
    assert len(set(hashes)) == 8


@needs_mnist
@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_real_mnist(monkeypatch, name):
    monkeypatch.setitem(SOURCES, "mnist", MNIST)
    dataset = load(name, data_dir=REAL_MNIST)
    assert (dataset.name, dataset.notice) == ("mnist", None)
    assert dataset.x_train.shape == (60_000, 28, 28, 1)
    assert dataset.x_test.shape == (10_000, 28, 28, 1)
    assert list(dataset.y_train[:5]) == [5, 0, 4, 1, 9]  # the first digits of MNIST
    assert "verified: the published MNIST files" in dataset.source


@needs_mnist
def test_real_mnist_with_one_changed_pixel_is_not_verified(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "mnist", MNIST)
    shutil.copytree(REAL_MNIST, tmp_path / "real")
    path = tmp_path / "real" / f"{TEST_IMAGES}.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.chmod(0o644)
    (tmp_path / "real").chmod(0o755)
    path.write_bytes(gzip.compress(content, compresslevel=1))
    assert "content differs" in load("mnist", data_dir=tmp_path / "real").source


@needs_mnist
def test_real_mnist_is_refused_as_fashion_mnist(monkeypatch):
    monkeypatch.setitem(SOURCES, "mnist", MNIST)
    monkeypatch.setitem(SOURCES, "fashion_mnist", FASHION_MNIST)
    with pytest.raises(DataError, match="belongs to MNIST, not to Fashion-MNIST"):
        load("fashion_mnist", data_dir=REAL_MNIST)


def test_published_gz_hash_alone_identifies_a_file(tmp_path, monkeypatch):
    """Only the .gz hash of Fashion-MNIST is known: the same arrays in another .gz file are read but not verified."""
    assert "(verified" in load("fashion_mnist", data_dir=tmp_path / "f").source
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=MNIST.files))
    with pytest.raises(DataError, match="belongs to Fashion-MNIST"):
        load("mnist", data_dir=tmp_path / "f")


def test_importing_the_package_loads_no_library_that_only_loading_needs():
    code = "import sys, tinycnn.data; print([m for m in ('pooch', 'sklearn', 'tqdm', 'requests') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert result.stdout.strip() == "[]"


def test_a_similar_folder_is_proposed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "shapes.npz").touch()
    (tmp_path / "notes.txt").touch()
    for name, meant in (("picture", "pictures"), ("shape.npz2", "shapes.npz"), (f"{tmp_path}/pictuers", "pictures")):
        with pytest.raises(SettingError, match=rf"unknown data set .*; did you mean \S*{meant}\?$"):
            load(name)
    (tmp_path / "Photos of Ann").mkdir()
    with pytest.raises(SettingError, match=r"unknown data set 'Photos of An'.*; did you mean 'Photos of Ann'\?$"):
        load("Photos of An")
    for name in ("note", "zzz", "nowhere/pictures"):
        with pytest.raises(SettingError, match=r"or \.npy files\.$"):
            load(name)


# ------------------------------------------------------------------------------------ arguments that are for other sets


@pytest.fixture
def one_of_each_kind(tmp_path):
    arrays = {f"{axis}_{part}": np.arange(4, dtype=np.uint8) % 2 for axis in "xy" for part in ("train", "test")}
    arrays |= {f"x_{part}": np.full((4, 2, 2), 200, np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", **arrays)
    for folder in ("arrays", "pictures/a", "pictures/b"):
        (tmp_path / folder).mkdir(parents=True)
    for name, array in arrays.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", array)
    for place in ("a/0", "a/1", "b/0", "b/1"):
        Image.new("RGB", (2, 2), (200, 0, 0)).save(tmp_path / "pictures" / f"{place}.png")
    sets = {"digits": "digits", "mnist": "mnist"}
    return sets | {name: str(tmp_path / name) for name in ("a.npz", "arrays", "pictures")}


USED = {
    "image_size": (["pictures"], 5),
    "colour": (["pictures"], False),
    "memory": (["arrays"], 1 << 20),
    "pixels": (["a.npz", "pictures"], "0..255"),
    "data_dir": (["mnist"], "nowhere"),
}


@pytest.mark.parametrize("option", USED)
def test_an_argument_that_a_data_set_does_not_use_is_refused(option, one_of_each_kind):
    kinds, value = USED[option]
    for kind, name in one_of_each_kind.items():
        assert applicable(name, **{option: value}) == ({option: value} if kind in kinds else {})
        words = re.escape(f"`{option}={value!r}` has no effect on {name}: it is for")
        with contextlib.nullcontext() if kind in kinds else pytest.raises(SettingError, match=words):
            if kind == "mnist" and kind in kinds:
                with pytest.raises(DataError, match="nowhere does not exist"):
                    load(name, **{option: value})
            else:
                load(name, **{option: value})
    with pytest.raises(SettingError, match="unknown data set"):
        load("qqqq", **{option: value})
