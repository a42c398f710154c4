"""The import side of DLPack: tensors of other libraries, in the same memory.

The other direction needs no function of this package: ``torch.from_dlpack(tensor)`` and ``numpy.from_dlpack(tensor)``
call ``Tensor.__dlpack__``. Source: https://data-apis.org/array-api/latest/design_topics/data_interchange.html.
"""

from typing import Any

from tinycnn.backends import get_backend
from tinycnn.backends.dlpack import array_from_dlpack
from tinycnn.errors import BackendError, DtypeError
from tinycnn.tensor import Tensor


def from_dlpack(x: Any) -> Tensor:
    """A tensor of another library → a ``Tensor`` of the active backend, without history and without a copy.

    Integers are copied, since they become float32; so is an array on the host where the backend uses a GPU. Raises
    BackendError for an array on a GPU that the backend does not use or that its library does not export, DtypeError for
    anything but arrays of float32, float64 or integers.
    """
    if not (hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__")):
        raise DtypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__; for lists and numbers use Tensor(...)")
    try:
        return Tensor(array_from_dlpack(get_backend(), x))
    except BackendError as error:
        raise BackendError(f"from_dlpack: {error}") from None
