"""Program of the ranks in ``tests/distributed``: ``mpiexec -n 2 python tests/support/mpi_program.py WHAT [FILE]``."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.distributed.test_ranks import EVERYTHING, network, train
from tinycnn import distributed
from tinycnn.backends.threads import get_threads
from tinycnn.distributed import mpi


def on_last_rank(ranks, moment, work):
    """Make the last rank call ``work()`` in the ``moment``-th check for a stop request."""
    times = 0

    def stop():
        nonlocal times
        times += 1
        if times == moment and ranks.rank == ranks.size - 1:
            work()
        return False

    return {"stop": stop}


def main():
    what, ranks = sys.argv[1], distributed.start()
    print(f"rank {ranks.rank} prints", flush=True)
    match what:
        case "train":
            state, history = train(network(), **EVERYTHING)
            sums = np.full(5, 10.0**ranks.rank)
            ranks.all_reduce(sums)
            if ranks.rank == 0:
                np.savez(sys.argv[2], **state)
            print(json.dumps({"history": history, "threads": get_threads(), "sums": sums.tolist()}))
        case "dies":
            train(network(), fit=on_last_rank(ranks, 3, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        case "hangs":
            train(network(), fit=on_last_rank(ranks, 3, lambda: time.sleep(60)))
        case "bug":
            train(network(), fit=on_last_rank(ranks, 3, lambda: {}["a key"]))
        case "one fails":
            return ranks.finish(2 * (ranks.rank == 1), "error: of rank 1" * (ranks.rank == 1))
        case "all fail":
            return ranks.finish(2, f"error: of rank {ranks.rank}")
        case "large sum":
            numbers = np.full(1_000_000, 10.0**ranks.rank)
            ranks.all_reduce(numbers)
            print(numbers.mean())
        case "threads":
            print(get_threads())
        case "slow to stop":
            mpi.FINISH_TIMEOUT_S = 0.2
            time.sleep(1.0 * (ranks.rank == 0))
            return ranks.finish(130)
        case "no memory":
            mpi.FINISH_TIMEOUT_S = 1.0
            if ranks.rank == 1:
                return ranks.finish(2, "error: out of memory")
            train(network())
    return ranks.finish(0)


if __name__ == "__main__":
    sys.exit(main())
