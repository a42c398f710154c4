"""The published data sets: their files, their mirrors, and the hashes that identify their content.

MNIST and Fashion-MNIST use the same file names, so only the content distinguishes their files. The hashes of the
unpacked bytes also identify a file that was compressed again, such as those in Debian's package.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike

import numpy as np

from tinycnn.data.idx import idx_header
from tinycnn.files import open_regular


@dataclass(frozen=True)
class SourceFile:
    """One published file: its name without .gz, the rank of its array, size and sha256 of the .gz, sha256 unpacked.

    Rank 0: an archive.
    """

    stem: str
    rank: int
    gz_bytes: int
    gz_sha256: str
    content_sha256: str | None = None

    @property
    def name(self) -> str:
        """The published file name."""
        return f"{self.stem}.gz"


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian and Ubuntu that holds a data set: its name, and the folder into which it puts the files."""

    name: str
    folder: str


@dataclass(frozen=True)
class Source:
    """One published data set: its title, its files, its mirrors in order, its class names."""

    title: str
    files: tuple[SourceFile, ...]
    mirrors: tuple[str, ...]
    class_names: tuple[str, ...]
    pictures: str | None = None  # as in Dataset
    package: DebianPackage | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSource(Source):
    """A data set in one archive: a folder of files with ``records`` images of one shape each."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    records: int  # in each file
    shape: tuple[int, int, int]  # (H, W, C)

    @property
    def record_bytes(self) -> int:
        """The size of a record: a label and the pixels of an image."""
        return 1 + math.prod(self.shape)


MNIST = Source(
    title="MNIST",
    files=(
        SourceFile(
            "train-images-idx3-ubyte",
            3,
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        SourceFile(
            "train-labels-idx1-ubyte",
            1,
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        SourceFile(
            "t10k-images-idx3-ubyte",
            3,
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        SourceFile(
            "t10k-labels-idx1-ubyte",
            1,
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    class_names=tuple("0123456789"),
    pictures="drawing",
)

FASHION_MNIST = Source(
    title="Fashion-MNIST",
    files=(
        SourceFile(
            "train-images-idx3-ubyte",
            3,
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        SourceFile(
            "train-labels-idx1-ubyte",
            1,
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        SourceFile(
            "t10k-images-idx3-ubyte",
            3,
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        SourceFile(
            "t10k-labels-idx1-ubyte",
            1,
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),  # without https: the hash protects
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    pictures="whole",  # they fill their 28 pixels: cut out as digits are, two of three test images are misread
    package=DebianPackage("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist"),
)

CIFAR10 = BatchSource(
    title="CIFAR-10",
    files=(
        SourceFile(
            "cifar-10-binary.tar",
            0,
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    ),
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    pictures="whole",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test=("test_batch.bin",),
    records=10_000,
    shape=(32, 32, 3),
)

SOURCES: dict[str, Source] = {"mnist": MNIST, "fashion_mnist": FASHION_MNIST, "cifar10": CIFAR10}


def recognise(array: np.ndarray, path: str | PathLike[str]) -> tuple[str, str] | None:
    """The published file that an array read from ``path`` equals -> (data set, stem), or None if there is none."""
    content, packed = content_sha256(array), file_sha256(path)
    for name, source in SOURCES.items():
        for file in source.files:
            if content == file.content_sha256 or packed == file.gz_sha256:
                return name, file.stem
    return None


def content_sha256(array: np.ndarray) -> str:
    """The sha256 of the uncompressed IDX file with this uint8 array, which may come from any kind of file."""
    return _sha256([idx_header(array.shape), np.ascontiguousarray(array).data])


def file_sha256(path: str | PathLike[str]) -> str:
    """The sha256 of a file on disk."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(pieces: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
