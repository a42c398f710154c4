"""Nanoseconds that a row of a recorded step costs besides its arithmetic, for one thread and more.

    python benchmarks/step_table.py --json benchmarks/results/step_table_cpu.json

The table has 2,000 rows with as many parts as threads. A part adds one number, so what is timed is the hand-over: the
threads take their parts, and begin a row when the row before is done.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import machine

import tinycnn
from tinycnn.backends.numba.kernels import packing
from tinycnn.backends.numba.step_table import StepRecorder
from tinycnn.backends.threads import in_parallel, set_threads
from tinycnn.run.scripts import in_sentences

ROWS, REPEATS = 2000, 50


def nanoseconds_per_row(threads: int) -> float:
    """The shortest time of a replay, divided by its rows."""
    set_threads(threads)
    numbers = np.zeros((threads, 16), np.float32)  # a cache line for each part

    def work(track: object) -> None:
        for _ in range(ROWS):
            in_parallel(lambda part: packing.add_parts(numbers[part, :2, None], numbers[part, 2:3], 0, 1), threads)

    recording = StepRecorder().record(work)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        recording()
        times.append(time.perf_counter() - start)
    return 1e9 * min(times) / ROWS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", nargs="*", type=machine.positive, default=sorted({1, 2, os.cpu_count() or 1}))
    parser.add_argument("--json", type=machine.result_file, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    tinycnn.use_backend("numba")
    results = []
    for threads in options.threads:
        results.append({"threads": threads, "ns_per_row": nanoseconds_per_row(threads)})
        print(f"{threads} threads: {results[-1]['ns_per_row']:.0f} ns per row", flush=True)
    if options.json:
        machine.write_results(options.json, "hand-over of a row", max(options.threads), results)


if __name__ == "__main__":
    main()
