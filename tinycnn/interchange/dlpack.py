"""The import side of DLPack: tensors of other libraries, in the same memory.

The other direction needs no function of this package: ``torch.from_dlpack(tensor)`` and ``numpy.from_dlpack(tensor)``
call ``Tensor.__dlpack__``. Source: https://data-apis.org/array-api/latest/design_topics/data_interchange.html.
"""

from typing import Any

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import BackendError, DtypeError
from tinycnn.tensor import Tensor

HOST = 1  # DLPack's number of the CPU


def from_dlpack(x: Any) -> Tensor:
    """A tensor of another library → a ``Tensor`` of the active backend, without history and without a copy.

    Integers are copied, since they become float32; so is an array on the host where the backend uses a GPU. Raises
    BackendError for an array on a GPU that the backend does not use or that its library does not export, DtypeError for
    anything but arrays of float32, float64 or integers.
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise DtypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__; for lists and numbers use Tensor(...)")
    backend, kind = get_backend(), int(x.__dlpack_device__()[0])
    try:
        array = (np if kind == HOST else backend.xp).from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # libraries differ in which they raise
        raise BackendError(
            f"from_dlpack: backend {backend.name!r} cannot use this {type(x).__name__} ({error}); detach it from its "
            "history, or move it to where the backend computes"
        ) from None
    return Tensor(array)
