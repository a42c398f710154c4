"""Ranks that are threads of one process: a communicator without MPI that sums in the order of the ranks."""

import contextvars
import threading

import numpy as np

from tinycnn.distributed.communicator import Communicator, use_communicator

TIMEOUT_S = 60


class ThreadRank(Communicator):
    """One of ``size`` threads, which synchronise at ``barrier`` and exchange arrays in ``table``."""

    def __init__(self, rank, size, barrier, table):
        self.rank, self.size, self.barrier, self.table = rank, size, barrier, table
        self.reduced = []  # sizes of all reduced arrays

    def all_reduce(self, numbers):
        self.reduced.append(numbers.size)
        self.table[self.rank] = numbers.copy()
        self.barrier.wait()
        total = self.table[0].copy()
        for theirs in self.table[1:]:
            total += theirs
        self.barrier.wait()
        numbers[...] = total


def on_ranks(size, work, kind=ThreadRank):
    """Return ``[work(rank) for rank in ranks]``, run concurrently; raises the error of the lowest rank that failed."""
    barrier, table = threading.Barrier(size, timeout=TIMEOUT_S), [np.empty(0)] * size
    results, errors = [None] * size, [None] * size

    def run(number):
        rank = kind(number, size, barrier, table)
        try:
            with use_communicator(rank):
                results[number] = work(rank)
        except BaseException as error:
            errors[number] = error
            barrier.abort()

    contexts = [contextvars.copy_context() for _ in range(size)]
    threads = [threading.Thread(target=context.run, args=[run, i]) for i, context in enumerate(contexts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in [e for e in errors if e and not isinstance(e, threading.BrokenBarrierError)] + [
        e for e in errors if e
    ]:
        raise error
    return results
