"""`load`: the places where it searches for a data set, in order, and the errors if the data set is missing.

    data_dir (if given: only there) -> $TINYCNN_DATA -> the user's cache -> Debian's package (Fashion-MNIST)
    -> download -> (auto only) bundled digits

A damaged file in a folder named by the user is always an error. `Dataset.notice` reports every fallback.
"""

import difflib
import os
from os import PathLike
from pathlib import Path

from tinycnn.data.array_folder import load_arrays
from tinycnn.data.dataset import Dataset
from tinycnn.data.digits import load_digits
from tinycnn.data.download import cache_folder, download_files
from tinycnn.data.load_options import NAMES, check_options, is_array_folder, is_folder
from tinycnn.data.notices import with_notices
from tinycnn.data.npz import load_npz
from tinycnn.data.picture_folder import IMAGE_SIZE, load_pictures
from tinycnn.data.pixel_range import PixelRange, parse_range
from tinycnn.data.published_folder import NotHere, read_folder
from tinycnn.data.sources import SOURCES
from tinycnn.data.stored import MEMORY_LIMIT
from tinycnn.errors import DataError, SettingError, in_shell, in_words, printable, shortened

DATA_VARIABLE = "TINYCNN_DATA"


def load(
    name: str | PathLike[str] = "auto",
    *,
    data_dir: str | PathLike[str] | None = None,
    download: bool = True,
    limit: int | None = None,
    image_size: int | None = None,
    colour: bool | None = None,
    memory: int | None = None,
    pixels: str | None = None,
) -> Dataset:
    """Load a data set by name (auto, mnist, fashion_mnist, cifar10, digits), an .npz file, a folder of pictures, or a
    folder of .npy files, which stay on disk.

    ``auto`` is MNIST if available, otherwise the digits bundled with scikit-learn, with ``notice`` set. ``limit`` keeps
    the first training images; the test set stays whole. ``data_dir`` applies to the first four names, ``image_size``
    and ``colour`` to folders of pictures (see `load_pictures`), ``memory`` to folders of .npy files (see
    `load_arrays`). ``pixels`` states the numbers for black and white in .npz files and in pictures of more than 8 bits,
    as in ``"0..1"`` or ``"0..4095"``; None: inferred from the file. Raises DataError (missing, damaged or wrong data)
    and SettingError (unknown name, bad limit, an argument that the data set does not use).
    """
    _check_limit(limit)
    white = parse_range(pixels)
    if not isinstance(name, str | PathLike):
        hint = "; images and labels in arrays are passed to fit" if hasattr(name, "__array__") else ""
        given = type(name).__name__ if hint else shortened(name)
        raise SettingError(f"`name` is {given}: expected a name or a path{hint}")
    name = os.fspath(name)
    check_options(name, data_dir=data_dir, image_size=image_size, colour=colour, memory=memory, pixels=pixels)
    if is_array_folder(name):
        dataset = load_arrays(name, memory=MEMORY_LIMIT if memory is None else memory)
    elif is_folder(name):
        size = IMAGE_SIZE if image_size is None else image_size
        dataset = load_pictures(name, image_size=size, colour=colour, pixels=pixels)
    else:
        dataset = _load(name, data_dir, download, white)
    return with_notices(dataset, limit=limit, pixels_given=white is not None)


def _check_limit(limit: int | None) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise SettingError(f"`limit={limit!r}`: expected a whole number of training images, at least 1.")


def _load(name: str, data_dir: str | PathLike[str] | None, download: bool, pixels: PixelRange | None) -> Dataset:
    if name.lower().endswith(".npz"):
        return load_npz(name, pixels)
    if name == "digits":
        return load_digits()
    if name in SOURCES:
        return _search(name, data_dir, download)
    if name == "auto":
        return _load_auto(data_dir, download)
    if os.path.isfile(os.path.expanduser(name)):
        raise DataError(_other_format(name))
    raise SettingError(
        f"unknown data set {shortened(name)}; expected one of {', '.join(NAMES)}, a path ending in .npz, "
        f"or an existing folder of pictures or .npy files{_similar(name) or '.'}"
    )


def _similar(name: str) -> str:
    """The end of the sentence about an unknown data set: a similar name, or a similar folder or file beside it."""
    known = difflib.get_close_matches(name.lower().replace("-", "_"), NAMES, n=1)
    if not known and name:
        path = Path(os.path.expanduser(name))
        try:
            beside = [one.name for one in path.parent.iterdir() if one.is_dir() or one.suffix.lower() == ".npz"]
        except OSError:
            beside = []
        known = [str(path.parent / one) for one in difflib.get_close_matches(path.name, beside, n=1)]
    return f"; did you mean {in_shell(known[0])}?" if known else ""


def _other_format(name: str) -> str:
    """What to do with a file that is not an .npz file, such as Kaggle's train.csv."""
    suffix = Path(name).suffix.lower()
    if suffix == ".csv":
        return (
            f"{printable(name)}: a CSV file; expected an .npz file. Convert it with NumPy: "
            'rows = np.loadtxt(name, np.uint8, delimiter=",", skiprows=1), labels rows[:, 0], images '
            "rows[:, 1:].reshape(-1, 28, 28), and np.savez_compressed with x_train, y_train, x_test and y_test."
        )
    return (
        f"{printable(name)}: not a format that tinycnn reads; expected an .npz file. Save its arrays with "
        "np.savez_compressed as x_train, y_train, x_test and y_test."
    )


def _load_auto(data_dir: str | PathLike[str] | None, download: bool) -> Dataset:
    try:
        return _search("mnist", data_dir, download)
    except _NotFound as error:
        return load_digits(notice=_notice(error.attempts))


class _NotFound(DataError):
    """Not found; ``attempts`` lists the places of the search, each with the reason why it failed."""

    def __init__(self, name: str, attempts: list[str]) -> None:
        self.attempts = attempts
        super().__init__(f"{SOURCES[name].title} is not available. Tried:\n{_bullets(attempts)}\n{_advice(name)}")


def _search(name: str, data_dir: str | PathLike[str] | None, download: bool) -> Dataset:
    if data_dir is not None:
        return _read_given(name, Path(os.path.expanduser(data_dir)))
    attempts = []
    packaged = [_from_package] if SOURCES[name].package else []
    for source in (_from_environment, _from_cache, *packaged, _from_download if download else _without_download):
        try:
            return source(name)
        except NotHere as error:
            attempts.append(str(error))
    raise _NotFound(name, attempts)


def _read_given(name: str, folder: Path) -> Dataset:
    try:
        return read_folder(name, folder)
    except NotHere as error:
        raise DataError(f"`data_dir`: {error}\n{_advice(name)}") from None


def _from_environment(name: str) -> Dataset:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        raise NotHere(f"${DATA_VARIABLE}: not set.")
    path = Path(os.path.expanduser(folder))
    if not os.path.isdir(path):
        raise DataError(
            f"${DATA_VARIABLE}: {printable(folder)} is not a folder; correct the variable, or unset it to search "
            "elsewhere"
        )
    try:
        return read_folder(name, path)
    except NotHere as error:
        raise NotHere(f"${DATA_VARIABLE}: {error}") from None


def _from_cache(name: str) -> Dataset:
    """Damage in the cache is not an error: the download that follows replaces the file, or reports why it cannot."""
    try:
        return read_folder(name, cache_folder(name))
    except DataError as error:
        raise NotHere(f"cache: {error}") from None


def _from_package(name: str) -> Dataset:
    """The folder of Debian's package. Damage there is not an error either: a download does not need the package."""
    package = SOURCES[name].package
    assert package is not None
    try:
        return read_folder(name, Path(package.folder))
    except DataError as error:
        raise NotHere(f"Debian's package {package.name}: {error}") from None


def _from_download(name: str) -> Dataset:
    try:
        folder = cache_folder(name)
        download_files(name, folder)
        return read_folder(name, folder)
    except DataError as error:
        raise NotHere(f"download: {error}") from None
    except OSError as error:  # the cache cannot be written, or not even searched
        raise NotHere(f"download: {in_words(error)}.") from None


def _without_download(name: str) -> Dataset:
    raise NotHere("download: switched off.")


def _bullets(lines: list[str]) -> str:
    return "\n".join("  - " + line.replace("\n", "\n    ") for line in lines)


def _advice(name: str) -> str:
    source = SOURCES[name]
    files = ", ".join(file.name for file in source.files)
    install = f"on Debian and Ubuntu, run `apt-get install {source.package.name}`; or " if source.package else ""
    return (
        f"To get {source.title}: run once with network access; or {install}put {files} (from {source.mirrors[0]}) "
        f"into a folder and pass it as `data_dir` or in ${DATA_VARIABLE}."
    )


def _notice(attempts: list[str]) -> str:
    return (
        "NOTICE: this is NOT MNIST. MNIST is not available here, so the 1,797 digits bundled with scikit-learn\n"
        "are used (8x8 pixels scaled to 28x28; 1,437 for training, 360 for testing).\n"
        "Accuracies cannot be compared with those on MNIST.\n"
        f"Tried:\n{_bullets(attempts)}\n{_advice('mnist')}"
    )
