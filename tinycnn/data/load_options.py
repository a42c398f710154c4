"""Which arguments of `load` apply to which kind of data set: the others are refused, because nothing would use them."""

import os
from typing import Any

from tinycnn.data.array_folder import holds_arrays
from tinycnn.data.sources import SOURCES
from tinycnn.errors import SettingError, shortened

PICTURES, ARRAYS, NPZ, PUBLISHED, DIGITS = (
    "folders of pictures",
    "folders of .npy files",
    ".npz files",
    ", ".join(SOURCES),
    "the bundled digits",
)
NAMES = ("auto", *SOURCES, "digits")
APPLIES = {
    "image_size": (PICTURES,),
    "colour": (PICTURES,),
    "memory": (ARRAYS,),
    "pixels": (PICTURES, NPZ),
    "data_dir": (PUBLISHED,),
}


def is_folder(name: str) -> bool:
    """Whether ``name`` is a folder rather than the name of a data set (``./mnist`` is a folder, ``mnist`` is not)."""
    return name not in ("", *NAMES) and os.path.isdir(os.path.expanduser(name))


def is_array_folder(name: str) -> bool:
    """Whether ``name`` is a folder of .npy files."""
    return is_folder(name) and holds_arrays(name)


def kind_of(name: str) -> str:
    """The kind of a data set; "" for a name that `load` does not know."""
    if is_folder(name):
        return ARRAYS if is_array_folder(name) else PICTURES
    if name.lower().endswith(".npz"):
        return NPZ
    return DIGITS if name == "digits" else PUBLISHED if name in NAMES else ""


def applicable(name: str, **options: Any) -> dict[str, Any]:
    """Those of ``options`` that apply to the data set, for a caller that has options for every kind."""
    return {option: value for option, value in options.items() if kind_of(name) in APPLIES[option]}


def check_options(name: str, **options: Any) -> None:
    """Raise SettingError for an option that was given, and that the data set does not use."""
    kind = kind_of(name)
    for option, value in options.items():
        if kind and value is not None and kind not in APPLIES[option]:
            use = " and ".join(APPLIES[option])
            raise SettingError(f"`{option}={shortened(value)}` has no effect on {name}: it is for {use}; leave it out")
