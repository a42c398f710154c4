"""How much faster several ranks are: one process with all threads, and ranks that share the cores, step by step.

    python benchmarks/scaling.py --model keras_cnn --ranks 1 2 --steps 60

Each row is a run of its own under ``mpiexec``. A step is split into what a rank computes and what it waits and adds up.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this file is also what the ranks run

import tinycnn  # noqa: E402
from tinycnn import distributed, models, optim  # noqa: E402
from tinycnn.backends.threads import get_threads  # noqa: E402
from tinycnn.ranks import Communicator, get_communicator  # noqa: E402
from tinycnn.rehearsal import warm_up  # noqa: E402
from tinycnn.train import Trainer  # noqa: E402


def timed_sums(ranks: Communicator) -> list[float]:
    """From now on, the seconds of every all-reduce of ``ranks``, the waiting for others included."""
    seconds: list[float] = []
    original = ranks.all_reduce

    def all_reduce(numbers: np.ndarray) -> None:
        start = time.perf_counter()
        original(numbers)
        seconds.append(time.perf_counter() - start)

    ranks.all_reduce = all_reduce  # type: ignore[method-assign]
    return seconds


def measure(model_name: str, backend: str, batch_size: int, steps: int) -> dict[str, object]:
    """Median milliseconds of a step of this rank, and of the sums in it."""
    ranks = get_communicator()
    tinycnn.use_backend(backend)
    model = models.create(model_name)
    trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=batch_size)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4 * batch_size, 28, 28, 1), dtype=np.uint8)
    labels = rng.integers(0, 10, len(images))
    warm_up(trainer, images, labels)
    sums, step_s, sums_s = timed_sums(ranks), [], []
    for step in range(steps + 5):
        sums.clear()
        chosen = np.arange(step % 4 * batch_size, (step % 4 + 1) * batch_size)
        start = time.perf_counter()
        trainer.step(images, labels, chosen)
        step_s.append(time.perf_counter() - start)
        sums_s.append(sum(sums))
    times = {"step_ms": 1e3 * float(np.median(step_s[5:])), "sums_ms": 1e3 * float(np.median(sums_s[5:]))}
    return {"ranks": ranks.size, "threads": get_threads(), **times}


def row(ranks: int, options: argparse.Namespace) -> dict[str, float]:
    """What ``ranks`` ranks measured, as rank 0 tells it."""
    mpiexec = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks), sys.executable, __file__, "--inside"]
    settings = [options.model, options.backend, str(options.batch_size), str(options.steps)]
    done = subprocess.run([*mpiexec, *settings], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=models.MODELS, default="keras_cnn")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--batch-size", type=int, default=128, help="of all ranks together")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    print("ranks  threads each  step ms  of these sums  images/s")
    for ranks in options.ranks:
        found = row(ranks, options)
        speed = 1e3 * options.batch_size / found["step_ms"]
        numbers = f"{found['threads']:>12}  {found['step_ms']:>7.2f}  {found['sums_ms']:>13.2f}  {speed:>8,.0f}"
        print(f"{found['ranks']:>5}  {numbers}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        distributed.start()
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
        sys.exit(get_communicator().leave(0))
    main()
