"""Ranks with a GPU each, bound together by NCCL: sums go from GPU to GPU, and nothing waits for the host.

Not yet run on a GPU: a stand-in plays CuPy in the tests. MPI tells all ranks the name under which they meet. The order
of the additions is NCCL's.
"""

from tinycnn.backends.base import Array
from tinycnn.errors import BackendError
from tinycnn.ranks import Communicator

NCCL_TYPES = {"u1": "UINT8", "i4": "INT32", "i8": "INT64", "f4": "FLOAT32", "f8": "FLOAT64"}


class NcclCommunicator(Communicator):
    """The ranks of ``host``, each with the GPU that is its current one."""

    def __init__(self, host: Communicator) -> None:
        import cupy
        from cupy.cuda import nccl

        if not nccl.available:
            raise BackendError("this CuPy has no NCCL, which GPUs talk through: `pip install nvidia-nccl-cu12`")
        self.cupy, self.nccl, self.rank, self.size = cupy, nccl, host.rank, host.size
        # NCCL's name for a meeting is a tuple of 128 numbers, signed bytes
        name = bytes(number % 256 for number in nccl.get_unique_id()) if host.rank == 0 else b""
        shared = tuple(byte - 256 * (byte > 127) for byte in host.broadcast(name))
        self.comm = nccl.NcclCommunicator(self.size, shared, self.rank)

    def all_reduce(self, numbers: Array) -> None:
        kind = getattr(self.nccl, f"NCCL_{NCCL_TYPES[numbers.dtype.str[1:]]}")
        address, stream = numbers.data.ptr, self.cupy.cuda.get_current_stream().ptr
        self.comm.allReduce(address, address, numbers.size, kind, self.nccl.NCCL_SUM, stream)


def take_gpu(number: int) -> None:
    """Make GPU ``number`` of this machine the current one, beginning again after the last."""
    import cupy

    cupy.cuda.Device(number % cupy.cuda.runtime.getDeviceCount()).use()
