"""DLPack: libraries exchange the memory of an array without a copy.

Source: https://data-apis.org/array-api/latest/design_topics/data_interchange.html.
"""

from typing import Any

import numpy as np

from tinycnn.backends.base import Array, Backend
from tinycnn.errors import AutogradError, BackendError

HOST = 1  # DLPack's number for the CPU


class DLPackExport:
    """What ``from_dlpack`` of NumPy, PyTorch, CuPy and others calls: hands out the memory of ``self.data``."""

    __slots__ = ()
    data: Array
    requires_grad: bool

    def __dlpack__(self, **options: Any) -> Any:
        """A DLPack capsule of the array; ``options`` are those of the array's own ``__dlpack__``.

        Raises AutogradError, as PyTorch does, for a tensor that needs a gradient: changes from outside are not
        recorded.
        """
        if self.requires_grad:
            raise AutogradError("__dlpack__ of a tensor that needs a gradient: pass tensor.detach() instead")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()


def array_from_dlpack(backend: Backend, x: Any) -> Array:
    """An array of another library → an array in the same memory, of NumPy or of ``backend``.

    Raises BackendError for an array on a GPU that the backend does not use or that its library does not export.
    """
    try:
        kind = int(x.__dlpack_device__()[0])
        return (np if kind == HOST else backend.xp).from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:  # libraries differ
        raise BackendError(
            f"backend {backend.name!r} cannot use this {type(x).__name__} ({error}); detach it from its history, or "
            "move it to the device of the backend"
        ) from None
