"""A stand-in for ``cupy.cuda.nccl`` of CuPy 14.2 whose ranks are threads, with the same signatures and type checks.

The real module is compiled from Cython, which rejects a tuple for ``bytes`` and a float for ``int``; its signatures and
constants were read from an installed copy. Addresses must be those of arrays of ``fake_cupy``.
"""

import os
import threading
from typing import ClassVar

import numpy as np

from tests.support import fake_cupy
from tests.support.thread_ranks import TIMEOUT_S, ThreadRank

available = True
NCCL_UINT8, NCCL_INT32, NCCL_INT64, NCCL_FLOAT32, NCCL_FLOAT64 = 1, 2, 4, 7, 8
NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN, NCCL_AVG = range(5)
DTYPES = {1: np.uint8, 2: np.int32, 4: np.int64, 7: np.float32, 8: np.float64}


class NcclError(RuntimeError):
    """The error that NCCL raises for an invalid call."""

    def __init__(self, status):
        super().__init__(f"NCCL_ERROR_INVALID_USAGE: invalid usage ({status})")


def get_unique_id():
    return os.urandom(128)


def check_integers(**arguments):
    for name, value in arguments.items():
        if type(value) is not int:
            raise TypeError(f"an integer is required for {name}, got {type(value)}")


class NcclCommunicator:
    """The communicator of one of ``ndev`` GPUs."""

    meetings: ClassVar = {}
    entry = threading.Lock()

    def __init__(self, ndev, commId, rank, config=None):
        check_integers(ndev=ndev, rank=rank)
        if type(commId) is not bytes:
            raise TypeError(f"Argument 'commId' has incorrect type (expected bytes, got {type(commId).__name__})")
        if len(commId) != 128:
            raise ValueError(f"commId length {len(commId)} != 128.")
        with self.entry:
            meeting = threading.Barrier(ndev, timeout=TIMEOUT_S), [np.empty(0)] * ndev
            self.ranks = ThreadRank(rank, ndev, *self.meetings.setdefault(commId, meeting))

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        check_integers(sendbuf=sendbuf, recvbuf=recvbuf, count=count, datatype=datatype, op=op, stream=stream)
        source, target = (fake_cupy.MemoryPointer.arrays[address] for address in (sendbuf, recvbuf))
        assert (source.size, source.dtype, source.flags.c_contiguous) == (count, DTYPES[datatype], True)
        assert (op, stream) == (NCCL_SUM, fake_cupy.cuda.current.ptr)
        total = source.copy()
        self.ranks.all_reduce(total)
        target[...] = total
