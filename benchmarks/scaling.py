"""Speed-up of several ranks: measured on this machine, and the data for a model of several machines.

    python benchmarks/scaling.py --json benchmarks/results/scaling_cpu.json

Two quantities are measured. *Ranks*: each row is a separate run under ``mpiexec``, with the time of a step and of its
all-reduces, which includes waiting. *Parts*: the step time of one process for every share of a batch that a rank can
get. From these times ``scaling_model.py`` estimates the speed of R such machines.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from scaling_model import RANKS
from train_step import fake_mnist

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the ranks run this file too

import tinycnn  # noqa: E402
from tinycnn import distributed, models, optim  # noqa: E402
from tinycnn.backends.threads import get_threads  # noqa: E402
from tinycnn.distributed.communicator import Communicator, get_communicator  # noqa: E402
from tinycnn.run.scripts import in_sentences  # noqa: E402
from tinycnn.train.trainer import Trainer  # noqa: E402
from tinycnn.train.warm_up import warm_up  # noqa: E402

FIRST, AT_ONCE = 5, 5  # warm-up steps, not counted; consecutive steps of one part


def make_trainer(model_name: str, options: argparse.Namespace) -> tuple[Trainer, np.ndarray, np.ndarray]:
    tinycnn.use_backend(options.backend)
    model = models.create(model_name)
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=options.batch_size)
    images, labels = fake_mnist(4 * options.batch_size)
    warm_up(trainer, images, labels)
    return trainer, images, labels


def part(model_name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds per step of one process, for the whole batch and for the share of each of 2, 4, … ranks."""
    trainer, images, labels = make_trainer(model_name, options)
    taken: dict[int, list[float]] = {options.batch_size // ranks: [] for ranks in (1, *RANKS)}
    for _ in range(options.steps // AT_ONCE):
        for size, times in taken.items():
            for start in range(AT_ONCE):
                began = time.perf_counter()
                trainer.step(images, labels, np.arange(start * size, (start + 1) * size) % len(images))
                times.append(1e3 * (time.perf_counter() - began))
    return {
        "model": model_name,
        "parameters": trainer.model.parameter_count(),
        "norms": sum(name.startswith("batchnorm") for name, _ in trainer.model.layers.items()),
        "step_ms": {str(size): float(np.median(times[FIRST:])) for size, times in taken.items()},
    }


def timed_sums(ranks: Communicator) -> list[float]:
    """Return a list to which every later all-reduce of ``ranks`` appends its seconds, including waiting."""
    seconds: list[float] = []
    original = ranks.all_reduce

    def all_reduce(numbers: np.ndarray) -> None:
        start = time.perf_counter()
        original(numbers)
        seconds.append(time.perf_counter() - start)

    ranks.all_reduce = all_reduce  # type: ignore[method-assign]
    return seconds


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds per step of this rank, and of the all-reduces in a step."""
    ranks = get_communicator()
    trainer, images, labels = make_trainer(options.model[0], options)
    sums, step_s, sums_s = timed_sums(ranks), [], []
    for step in range(options.steps + FIRST):
        sums.clear()
        chosen = np.arange(step % 4 * options.batch_size, (step % 4 + 1) * options.batch_size)
        start = time.perf_counter()
        trainer.step(images, labels, chosen)
        step_s.append(1e3 * (time.perf_counter() - start))
        sums_s.append(1e3 * sum(sums))
    quartiles = [float(ms) for ms in np.quantile(step_s[FIRST:], (0.25, 0.5, 0.75))]
    times = {"step_ms": quartiles[1], "quartiles_ms": quartiles, "sums_ms": float(np.median(sums_s[FIRST:]))}
    return {"model": options.model[0], "ranks": ranks.size, "threads": get_threads(), **times}


def row(model: str, ranks: int, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run ``ranks`` ranks with ``threads`` threads each, and return the figures of rank 0."""
    mpiexec = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks), sys.executable, __file__, "--inside"]
    settings = ["--model", model, "--backend", options.backend, "--batch-size", str(options.batch_size)]
    command = [*mpiexec, *settings, "--steps", str(options.steps)]
    surroundings = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=surroundings)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def setups(most: int) -> list[tuple[int, int]]:
    """``(ranks, threads per rank)``: one process with one thread and with all cores, and ranks that share the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = [(ranks, max(cores // ranks, 1)) for ranks in range(2, most + 1)]
    return list(dict.fromkeys([(1, 1), (1, cores), *shared]))


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=models.MODELS, nargs="+", default=list(models.MODELS))
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--batch-size", type=machine.positive, default=128, help="global batch size, over all ranks")
    parser.add_argument("--ranks", type=machine.positive, default=2, help="largest number of ranks (default: 2)")
    parser.add_argument("--steps", type=machine.positive, default=60)
    parser.add_argument("--json", type=machine.result_file, help="write the figures and a description of the machine")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser, parser.parse_args()


def show(found: dict[str, Any], batch_size: int) -> dict[str, Any]:
    speed = f"{1e3 * batch_size / found['step_ms']:>8,.0f} images/s"
    times = f"{found['step_ms']:7.2f} ms per step, of which all-reduce {found['sums_ms']:6.2f} ms, {speed}"
    print(f"{found['model']:14} {found['ranks']} ranks, {found['threads']} threads each: {times}", flush=True)
    return found


def main() -> None:
    parser, options = arguments()
    with in_sentences(parser):
        if options.inside:
            distributed.start()
            print(json.dumps(measure(options)))
            sys.exit(get_communicator().finish(0))
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    tinycnn.use_backend(options.backend)  # an error is reported here, once; each of the ranks would report it
    rows = [
        show(row(model, ranks, threads, options), options.batch_size)
        for model in options.model
        for ranks, threads in setups(options.ranks)
    ]
    parts = [part(model, options) for model in options.model]
    for one in parts:
        print(f"{one['model']:14} {one['step_ms']}")
    if options.json:
        what = {"measured": "ranks on one machine, and a step of parts of a batch", "batch_size": options.batch_size}
        content = what | {"machine": machine.describe(get_threads()), "ranks": rows, "parts": parts}
        machine.replace(options.json, content)


if __name__ == "__main__":
    main()
