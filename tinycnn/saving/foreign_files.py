"""Files of other programs that are given to ``load``: what they are, and what reads them.

Only the first bytes and the names in a zip archive are looked at; nothing in the file is unpickled or run.
"""

import os
import zipfile

from tinycnn.files import open_regular

ONNX = "an ONNX file, which `tinycnn import` converts, and tinycnn.from_onnx reads"
TORCH = (
    "a file of torch.save; read it with torch.load(path, weights_only=True), and pass the weights to "
    "tinycnn.load_torch_state_dict(model, state_dict)"
)
KERAS = (
    "a file of Keras, which `tinycnn import` converts, and tinycnn.from_keras reads; weights alone are read by "
    "tinycnn.load_keras_weights(model, path)"
)
SAFETENSORS = (
    "a safetensors file of another program; tinycnn.load_torch_state_dict(model, path) reads the weights of a module"
)
PICKLE_ALONE = "a pickled file of Python, which is not read, because that can run the code in it"
PICTURE = "a picture, not a network; pictures are what `tinycnn predict` classifies"
ARRAYS = "arrays of NumPy, such as a data set, not a network"
OF_PYTHON = ("pkl", "pickle", "joblib")
PICKLED = ("pt", "pth", "bin", "ckpt")  # suffixes of files of torch.save
HDF5, ZIP, PICKLE, IR_VERSION = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80", b"\x08"
PICTURES = b"\x89PNG", b"\xff\xd8\xff", b"GIF8"


def described(path: str, first: bytes) -> str | None:
    """What the file at ``path`` is, which begins with ``first``, and what reads it; None if that is unknown."""
    suffix = path.lower().rpartition(".")[2]
    if first.startswith(PICTURES) or (first.startswith(b"RIFF") and first[8:12] == b"WEBP"):
        return PICTURE
    if first.startswith(b"\x93NUMPY"):
        return ARRAYS
    if first.startswith(HDF5):
        return KERAS
    if first.startswith(ZIP):
        names = _names(path)
        if "config.json" in names:
            return KERAS
        if names and all(name.endswith(".npy") for name in names):
            return ARRAYS
        return TORCH if any(name.endswith("/data.pkl") for name in names) or suffix in PICKLED else None
    if suffix == "onnx" and first.startswith(IR_VERSION):
        return ONNX
    if first.startswith(PICKLE):
        return TORCH if suffix in PICKLED else PICKLE_ALONE if suffix in OF_PYTHON else None
    return None


def description(path: str | os.PathLike[str]) -> str | None:
    """What the file at ``path`` is, and what reads it; None if that is unknown, or if it cannot be read."""
    try:
        with open_regular(path) as file:
            return described(os.fsdecode(path), file.read(16))
    except OSError:
        return None


def _names(path: str) -> list[str]:
    """The names in a zip archive; none if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []
