"""Names of files to be written: one with the ending of another format is refused.

Programs go by the ending, so they could not open the file. And a file of that name may still be needed, as the second
network in ``tinycnn export a.safetensors b.safetensors``.
"""

import os
from typing import Any

from tinycnn.errors import SettingError, printable, shortened

PNG, HTML, CSV, ONNX, SAFETENSORS = (".png",), (".html", ".htm"), (".csv",), (".onnx",), (".safetensors",)
NAMES = {PNG: "a PNG picture", HTML: "an HTML page", CSV: "a CSV table", ONNX: "an ONNX file"}
NAMES |= {SAFETENSORS: "a safetensors file"}
OTHERS = ".bin .bmp .eps .gif .gz .h5 .hdf5 .ipynb .joblib .jpeg .jpg .json .keras .npy .npz .pdf .pickle .pkl .pt .pth"
OTHERS += " .py .svg .tar .tif .tiff .webp .zip"
KNOWN = {ending for endings in NAMES for ending in endings}.union(OTHERS.split())


def check_path(path: Any) -> None:
    """Raise SettingError for what is not the name of a file."""
    if not isinstance(path, str | os.PathLike):
        raise SettingError(f"`path` is {shortened(path)}: expected the name of a file")


def check_ending(path: str | os.PathLike[str], own: tuple[str, ...], option: str = "`path`") -> None:
    """Raise SettingError for a ``path`` with the ending of another format than that with the endings ``own``.

    ``option``: what the message calls the path.
    """
    check_path(path)
    name, ending = os.path.splitext(os.fspath(path))
    if ending.lower() in KNOWN.difference(own):
        raise SettingError(
            f"{option} {printable(os.fspath(path))}: {NAMES[own]} is written, and {ending} is the ending of another "
            f"format; name it {printable(name)}{own[0]}"
        )
