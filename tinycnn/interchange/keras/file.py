"""Reads the files of Keras, treating them as untrusted input: the description of the network, and the weights.

A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and ``model.weights.h5``; an ``.h5`` file of
older versions holds both in HDF5. The package ``h5py`` reads HDF5. Nothing is unpickled or run. Links to other files,
arrays in other files and filters, which could be programs, are refused. No array is read unless the file holds all of
its bytes, and all arrays together have at most the size of the file, so the memory used is proportional to it.
"""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np

from tinycnn.errors import FileFormatError, SettingError, printable, shortened
from tinycnn.files import open_regular
from tinycnn.saving.foreign_files import KERAS, described
from tinycnn.saving.safetensors_file import DAMAGED, MAX_FILE, strict_json

INSTALL_HINT = "files of Keras need one more package: pip install 'tinycnn[keras]'"
MAX_CONFIG = 1 << 24  # characters: a network has some thousand
MAX_AXES = 8
MAX_VARIABLES = 64  # of one layer
RATIO, SMALL = 20, 1 << 20  # a member of an archive may be 20 times as long as its compressed bytes, and 1 MiB longer
HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
BEFORE_2_16 = "_layer_checkpoint_dependencies"  # what TensorFlow 2.12 to 2.15 called the group "layers"
ERRORS = (OSError, RuntimeError, zipfile.BadZipFile, EOFError, NotImplementedError, *DAMAGED)


class Variables(Protocol):
    """The arrays of the layers."""

    def of(self, place: tuple[str, ...], name: str) -> list["Variable"]:
        """Those of the layer at ``place``, a path of groups, which is called ``name``, in the order of Keras."""


@dataclass(frozen=True)
class Variable:
    """One array of a layer, which is not read before its shape is known to be right."""

    tree: "Tree"
    data: Any  # h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape or ()

    def read(self) -> np.ndarray:
        """The array; halves become float32. Raises FileFormatError unless the file holds all of its numbers."""
        return self.tree.array(self.data)


@dataclass(frozen=True)
class SavedNetwork:
    """The description of a network as Keras' JSON, the version of Keras, and the arrays of its layers."""

    config: dict[str, Any]
    version: str
    variables: Variables


def is_of_keras(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as an archive or an HDF5 file does; False where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(HDF5)).startswith((ZIP, HDF5))
    except OSError:
        return False


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator["SavedNetwork | Tree"]:
    """The network in the file ``path``, or a tree of weights if it holds no network; closed after the block.

    Raises FileFormatError, which names the file, also for what is raised in the block.
    """
    name = printable(os.fsdecode(path))
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE:
                raise FileFormatError(f"{size:,} bytes; the limit for files of Keras is {MAX_FILE:,}")
            first = file.read(len(HDF5))
            file.seek(0)
            found = described(os.fsdecode(path), first)
            if found not in (None, KERAS):
                raise FileFormatError(f"expected a file of Keras, but this is {found}")
            check_installed()  # after what no package reads
            if first.startswith(ZIP):
                yield from archive(file, size)
            elif first == HDF5:
                yield from hdf5(file, size)
            else:
                raise FileFormatError("neither a .keras archive nor an HDF5 file (.h5, .weights.h5)")
    except FileFormatError as error:
        raise FileFormatError(f"{name}: {error}") from None
    except MissingError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise FileFormatError(f"{name}: no such file") from None
    except OSError as error:
        raise FileFormatError(f"{name}: cannot be read: {shortened(error.strerror or error)}") from None
    except ERRORS as error:
        raise FileFormatError(f"{name}: not a readable file of Keras ({shortened(error)})") from None


class MissingError(SettingError):
    """The package that reads HDF5 is missing."""


def check_installed() -> None:
    """Raise MissingError unless the package that reads HDF5 can be imported."""
    try:
        import h5py  # noqa: F401  (used below)
    except ImportError:
        raise MissingError(INSTALL_HINT) from None


def archive(file: Any, size: int) -> Iterator[SavedNetwork]:
    """The network in a ``.keras`` archive."""
    import h5py

    with zipfile.ZipFile(file) as members:
        names = members.namelist()
        if "model.weights.h5" not in names or "config.json" not in names:
            found = ", ".join(map(printable, names[:5])) or "nothing"
            raise FileFormatError(f"holds {shortened(found)}; expected config.json and model.weights.h5")
        config = as_mapping(strict_json(member(members, "config.json", MAX_CONFIG)), "config.json")
        metadata = strict_json(member(members, "metadata.json", MAX_CONFIG)) if "metadata.json" in names else {}
        weights = member(members, "model.weights.h5", MAX_FILE)
    with h5py.File(BytesIO(weights), "r") as content:
        version = as_mapping(metadata, "metadata.json").get("keras_version")
        yield SavedNetwork(config, str(version), Groups(Tree(content, max(size, len(weights)))))


def member(members: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of one member of an archive, whose declared length is checked before."""
    entry = members.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileFormatError(f"{name} is compressed in a way that Keras never uses; save the network again")
    if entry.file_size > min(most, RATIO * entry.compress_size + SMALL):
        raise FileFormatError(f"{name} has {entry.file_size:,} bytes, in the archive {entry.compress_size:,}")
    with members.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise FileFormatError(f"{name} has another length than the archive declares; it is damaged")
    return content


def hdf5(file: Any, size: int) -> Iterator["SavedNetwork | Tree"]:
    """The network in an ``.h5`` file of older versions, or the weights in a ``.weights.h5`` file."""
    import h5py

    with h5py.File(file, "r") as content:
        tree = Tree(content, size)
        text = tree.text(content, "model_config")
        if text is None:
            yield tree
            return
        if len(text) > MAX_CONFIG:
            raise FileFormatError(f"its description has {len(text):,} characters, more than {MAX_CONFIG:,}")
        config = as_mapping(strict_json(text), "model_config")
        yield SavedNetwork(config, tree.text(content, "keras_version") or "2", ByName(tree))


def as_mapping(value: Any, what: str) -> dict[str, Any]:
    """``value``; raises FileFormatError unless it is a JSON object."""
    if not isinstance(value, dict):
        raise FileFormatError(f"{what}: {shortened(value)}, expected an object with names")
    return value


class Tree:
    """The groups and arrays of an HDF5 file; links that leave it are refused."""

    def __init__(self, root: Any, size: int) -> None:
        self.root, self.size, self.left = root, size, size

    def child(self, group: Any, name: str) -> Any:
        """The group or array ``name`` directly in ``group``; None if there is none."""
        import h5py

        link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
        if link is not None and type(link) is not h5py.HardLink:
            raise FileFormatError(f"{shortened(name)} is a link to another place; save the network again")
        return None if link is None else group[name]

    def descend(self, group: Any, names: tuple[str, ...]) -> Any:
        """The group or array at the end of a path; None if there is none."""
        for name in names:
            group = None if group is None else self.child(group, name)
        return group

    def text(self, group: Any, name: str) -> str | None:
        """The attribute ``name`` as text; None if there is none."""
        value = group.attrs.get(name)
        if isinstance(value, bytes):
            value = value.decode()
        if value is not None and not isinstance(value, str):
            raise FileFormatError(f"its attribute {name} is {shortened(value)}, expected text")
        return value

    def variable(self, data: Any, name: str) -> Variable:
        """The array ``data``; raises FileFormatError for anything else."""
        import h5py

        if not isinstance(data, h5py.Dataset):
            raise FileFormatError(f"{shortened(name)} is missing, or no array")
        return Variable(self, data)

    def array(self, data: Any) -> np.ndarray:
        """The numbers of an array in the file, read only if all of them are there."""
        name, shape = shortened(data.name), data.shape
        if data.is_virtual or data.external or data.id.get_create_plist().get_nfilters():
            raise FileFormatError(f"{name} is compressed or lies in another file; save the network again with Keras")
        if shape is None or len(shape) > MAX_AXES or data.nbytes > data.id.get_storage_size():
            raise FileFormatError(f"{name} has shape {shortened(shape)}, of which the file holds only a part")
        self.left -= data.nbytes
        if self.left < 0:
            raise FileFormatError(f"its layers share arrays: more than {self.size:,} bytes")
        array = np.asarray(data[()])
        if array.dtype.kind == "V" and array.dtype.itemsize == 2 and self.text(data, "dtype") == "bfloat16":
            return (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise FileFormatError(f"{name} is {array.dtype}, expected floating-point numbers")
        return array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64)


class Groups:
    """The arrays of a file of Keras 3: those of a layer are ``layers/conv2d_1/vars/0``, ``1``, …"""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def of(self, place: tuple[str, ...], name: str) -> list[Variable]:
        root = self.tree.root
        before = tuple(BEFORE_2_16 if one == "layers" else one for one in place)
        group = self.tree.descend(root, (*place, "vars")) or self.tree.descend(root, (*before, "vars"))
        return variables_in(self.tree, group)


def variables_in(tree: Tree, group: Any) -> list[Variable]:
    """The arrays ``0``, ``1``, … of a group; none if there is no group."""
    count = 0 if group is None else len(group)
    if count > MAX_VARIABLES:
        raise FileFormatError(f"a layer with {count:,} arrays, more than {MAX_VARIABLES}")
    return [tree.variable(tree.child(group, str(i)), f"array {i} of {group.name}") for i in range(count)]


class ByName:
    """The arrays of an ``.h5`` file: ``model_weights/NAME``, whose attribute ``weight_names`` lists them in order."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def of(self, place: tuple[str, ...], name: str) -> list[Variable]:
        if len(place) > 2:
            raise FileFormatError("a network within a network in an .h5 file: save it again as a .keras file")
        group = self.tree.descend(self.tree.root, ("model_weights", name))
        listed = [] if group is None else np.asarray(group.attrs.get("weight_names", ())).ravel().tolist()
        if len(listed) > MAX_VARIABLES:
            raise FileFormatError(f"a layer with {len(listed):,} arrays, more than {MAX_VARIABLES}")
        paths = [one.decode() if isinstance(one, bytes) else str(one) for one in listed]
        return [self.tree.variable(self.tree.descend(group, tuple(path.split("/"))), path) for path in paths]
