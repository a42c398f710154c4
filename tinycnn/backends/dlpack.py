"""The export side of DLPack: other libraries read the memory of an array without a copy.

Source: https://data-apis.org/array-api/latest/design_topics/data_interchange.html.
"""

from typing import Any

from tinycnn.backends.base import Array
from tinycnn.errors import AutogradError


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
