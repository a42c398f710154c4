"""Data sets: finding them, checking them, and splitting them into training, validation and test parts.

``load("auto")`` is the entry point: it returns a checked `Dataset` of uint8 images (N, H, W, C) and int64 labels (N,).
"""

from typing import Any

from tinycnn.data import augment as augment
from tinycnn.data.array_folder import load_arrays
from tinycnn.data.arrays import class_counts, one_hot
from tinycnn.data.dataset import Dataset
from tinycnn.data.idx import read_idx, write_idx
from tinycnn.data.load_options import is_array_folder, is_folder
from tinycnn.data.loading import load
from tinycnn.data.measured_pictures import load_pictures_for
from tinycnn.data.new_picture import load_picture
from tinycnn.data.picture_folder import load_pictures
from tinycnn.data.split import split_validation
from tinycnn.data.stored import StoredImages, load_stored
from tinycnn.other_names.arguments import explain_functions
from tinycnn.other_names.modules import missing_name

__all__ = [
    "Dataset",
    "StoredImages",
    "class_counts",
    "is_array_folder",
    "is_folder",
    "load",
    "load_arrays",
    "load_picture",
    "load_pictures",
    "load_pictures_for",
    "load_stored",
    "one_hot",
    "read_idx",
    "split_validation",
    "write_idx",
]

explain_functions(__name__, __all__)


def __getattr__(name: str) -> Any:
    raise missing_name(__name__, name, __all__)
