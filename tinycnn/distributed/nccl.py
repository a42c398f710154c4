"""Ranks with a GPU each, connected by NCCL: sums go from GPU to GPU, and no rank waits for its host.

Not yet run on a GPU: the tests use a stand-in for CuPy. MPI sends all ranks the identifier under which they connect.
NCCL determines the order of the additions.
"""

from tinycnn.distributed.communicator import Array, Communicator
from tinycnn.errors import BackendError

NCCL_TYPES = {"u1": "UINT8", "i4": "INT32", "i8": "INT64", "f4": "FLOAT32", "f8": "FLOAT64"}


class NcclCommunicator(Communicator):
    """The ranks of ``host``, each with its current GPU. Raises BackendError if NCCL is missing or cannot connect."""

    def __init__(self, host: Communicator) -> None:
        import cupy
        from cupy.cuda import nccl

        if not nccl.available:
            package = f"nvidia-nccl-cu{cupy.cuda.runtime.runtimeGetVersion() // 1000}"
            raise BackendError(
                f"GPUs of several ranks communicate through NCCL, which CuPy does not find: `pip install {package}`"
            )
        self.cupy, self.nccl, self.rank, self.size = cupy, nccl, host.rank, host.size
        identifier = host.broadcast(nccl.get_unique_id() if host.rank == 0 else b"")  # 128 bytes
        try:
            self.comm = nccl.NcclCommunicator(self.size, identifier, self.rank)
        except nccl.NcclError as error:
            raise BackendError(
                f"NCCL cannot connect {self.size} ranks ({error}): start at most as many ranks on a machine as it has "
                "GPUs; the environment variable NCCL_DEBUG=WARN prints details"
            ) from error

    def all_reduce(self, numbers: Array) -> None:
        kind = getattr(self.nccl, f"NCCL_{NCCL_TYPES[numbers.dtype.str[1:]]}")
        address, stream = numbers.data.ptr, self.cupy.cuda.get_current_stream().ptr
        self.comm.allReduce(address, address, numbers.size, kind, self.nccl.NCCL_SUM, stream)
