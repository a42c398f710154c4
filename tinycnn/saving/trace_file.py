"""Files of traces: the arrays of one step by name, and a description as JSON under the metadata key ``tinycnn_trace``.

They are ordinary safetensors files. The page that shows a trace reads the same bytes.
"""

import json
import os
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, printable, shortened
from tinycnn.files import write_atomically
from tinycnn.saving.endings import SAFETENSORS, check_ending, check_path
from tinycnn.saving.safetensors_file import DAMAGED, MAX_FILE, check_readable, read_arrays, strict_json

KEY = "tinycnn_trace"


def to_bytes(arrays: dict[str, np.ndarray], description: dict[str, Any]) -> bytes:
    """The content of a trace file."""
    from safetensors.numpy import save as as_safetensors

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = as_safetensors(contiguous, metadata={KEY: json.dumps(description, sort_keys=True)})
    check_readable(content, MAX_FILE, "the trace")
    return content


def save(path: str | os.PathLike[str], arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write a trace file, atomically; raises OSError when ``path`` cannot be written.

    Raises SettingError for a path with the ending of another format.
    """
    check_ending(path, SAFETENSORS)
    write_atomically(path, to_bytes(arrays, description))


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the description of a trace file; raises FileFormatError for any other file."""
    check_path(path)
    arrays, text = read_arrays(path, KEY)
    try:
        description = strict_json(text)
    except DAMAGED as error:
        name = printable(os.fspath(path))
        raise FileFormatError(f"{name}: the trace in it is damaged: {shortened(error)}") from None
    return arrays, description
