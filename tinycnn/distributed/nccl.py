"""Ranks with a GPU each, bound together by NCCL: sums go from GPU to GPU, and nothing waits for the host.

Not yet run on a GPU: a stand-in plays CuPy in the tests. MPI tells all ranks the name under which they meet. The order
of the additions is NCCL's.
"""

from tinycnn.backends.base import Array
from tinycnn.distributed.communicator import Communicator
from tinycnn.errors import BackendError

NCCL_TYPES = {"u1": "UINT8", "i4": "INT32", "i8": "INT64", "f4": "FLOAT32", "f8": "FLOAT64"}


class NcclCommunicator(Communicator):
    """The ranks of ``host``, each with the GPU that is its current one; raises BackendError where NCCL cannot do it."""

    def __init__(self, host: Communicator) -> None:
        import cupy
        from cupy.cuda import nccl

        if not nccl.available:
            package = f"nvidia-nccl-cu{cupy.cuda.runtime.runtimeGetVersion() // 1000}"
            raise BackendError(
                f"GPUs of several ranks talk through NCCL, which CuPy does not find: `pip install {package}`"
            )
        self.cupy, self.nccl, self.rank, self.size = cupy, nccl, host.rank, host.size
        meeting = host.broadcast(nccl.get_unique_id() if host.rank == 0 else b"")  # NCCL's name for it, 128 bytes
        try:
            self.comm = nccl.NcclCommunicator(self.size, meeting, self.rank)
        except nccl.NcclError as error:
            raise BackendError(
                f"NCCL cannot bind {self.size} ranks together ({error}): start no more on a machine than it has GPUs; "
                "the environment variable NCCL_DEBUG=WARN tells more"
            ) from error

    def all_reduce(self, numbers: Array) -> None:
        kind = getattr(self.nccl, f"NCCL_{NCCL_TYPES[numbers.dtype.str[1:]]}")
        address, stream = numbers.data.ptr, self.cupy.cuda.get_current_stream().ptr
        self.comm.allReduce(address, address, numbers.size, kind, self.nccl.NCCL_SUM, stream)


def take_gpu(number: int) -> None:
    """Make GPU ``number`` of this machine the current one, beginning again after the last; none where CuPy has none."""
    try:
        import cupy
    except ImportError:  # several of them, or one for another CUDA: whoever chooses this backend is told
        return
    if cupy.is_available():
        cupy.cuda.Device(number % cupy.cuda.runtime.getDeviceCount()).use()
