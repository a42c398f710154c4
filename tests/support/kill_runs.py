"""Kill a training run repeatedly, resume it each time, and compare its results with those of an uninterrupted run.

    python -m tests.support.kill_runs --kills 100 --backend numba

Every kill is a SIGKILL of a separate process that runs ``examples/train_mnist.py``. It comes before a step, after a
step, or while a checkpoint is written: with the file missing, half written, complete but not yet renamed, or renamed
with the oldest checkpoint not yet deleted. Other kills come from outside, after a random time. Between some kills the
disk is full or files may not grow. ``--seed`` determines the moments.
"""

import argparse
import json
import os
import random
import resource
import runpy
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
STEPS = 30  # 3 epochs of 10
RUN = [
    "--dataset",
    "digits",
    "--model",
    "batchnorm_cnn",
    "--limit",
    "178",
    "--validation-split",
    "0.1",
    "--epochs",
    "3",
]
RUN += ["--batch-size", "16", "--optimizer", "adam", "--augment", "--clip-norm", "1", "--save-best", "--quiet"]
RUN += ["--checkpoint-every", "4", "--no-plots"]
MOMENTS = ["before a step", "after a step", "nothing written", "half written", "not yet renamed", "renamed"]
MOMENTS += ["from outside"]


# ------------------------------------------------------------------------------------------------ inside the process


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, count: int) -> None:
    """Make this process kill itself when it reaches ``moment`` for the ``count``-th time.

    Other moments send a signal, wait or fill the disk; where files may not grow, ``count`` is their size in bytes.
    """
    from tinycnn.run import results
    from tinycnn.train.checkpoint import Checkpoints
    from tinycnn.train.trainer import Trainer

    arrivals = 0

    def arrive() -> bool:
        nonlocal arrivals
        arrivals += 1
        return arrivals == count

    def before(original, name):
        def call(*arguments, **settings):
            if name in str(arguments[:2]) and arrive():
                die()
            return original(*arguments, **settings)

        return call

    def half(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and arrive():  # folders are synchronised, too
            os.ftruncate(descriptor, status.st_size // 2)
            die()

    step, write, save = Trainer.step, Checkpoints.write, results.save
    match moment:
        case "before a step":
            Trainer.step = lambda *arguments: die() if arrive() else step(*arguments)
        case "after a step":
            Trainer.step = lambda *arguments: (step(*arguments), arrive() and die())[0]
        case "nothing written":
            Checkpoints.write = lambda *arguments: die() if arrive() else write(*arguments)
        case "half written":
            os.fsync = half
        case "not yet renamed":
            os.replace = before(os.replace, "step-")
        case "renamed":
            Checkpoints.paths = before(Checkpoints.paths, "")
        case "Ctrl-C" | "SIGTERM" | "Ctrl-C twice":
            number = signal.SIGTERM if moment == "SIGTERM" else signal.SIGINT

            def signalled(*arguments):
                for _ in range(1 + moment.endswith("twice") if arrive() else 0):
                    os.kill(os.getpid(), number)
                return step(*arguments)

            Trainer.step = signalled
        case "waits":
            Trainer.step = lambda *arguments: time.sleep(600) if arrive() else step(*arguments)
        case "full disk":
            os.fsync = lambda descriptor: _no_space()
        case "files may not grow":
            may_not_grow(count)
        case "files may not grow after the model":
            results.save = lambda *arguments: (save(*arguments), may_not_grow(count))


def may_not_grow(size: int) -> None:
    """Limit files to ``size`` bytes; Python ignores SIGXFSZ, so that a larger file raises OSError."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _no_space() -> None:
    raise OSError(28, "No space left on device")


# ----------------------------------------------------------------------------------------------- outside the process


def arguments(folder: Path, backend: str) -> list[str]:
    return [*RUN, "--backend", backend, "--output", str(folder)]


def start(*arguments: str, moment: str = "", count: int = 0) -> subprocess.Popen[str]:
    """Start the run as a separate process, prepared with ``arm(moment, count)``."""
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    inside = [sys.executable, __file__, "--inside", json.dumps([moment, count]), *arguments]
    return subprocess.Popen(inside, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, backend: str, *more: str) -> None:
    """Run to the end; raises RuntimeError if the exit code is not 0."""
    process = start(*arguments(folder, backend), *more)
    _, errors = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(errors)


def kill(folder: Path, backend: str, moment: str, count: int, delay_s: float | None = None) -> bool:
    """Resume the run and kill it at the ``count``-th ``moment``; returns False if it finished before that."""
    process = start(*arguments(folder, backend), "--resume", moment=moment, count=count)
    if delay_s is not None:
        time.sleep(delay_s)
        process.kill()
    _, errors = process.communicate(timeout=300)
    if process.returncode not in (0, 2, -signal.SIGKILL) or "Traceback" in errors or "Warning" in errors:
        raise RuntimeError(f"{moment}: exit code {process.returncode}\n{errors}")
    return process.returncode == -signal.SIGKILL


def remains(folder: Path) -> dict[str, object]:
    """The results of a finished run without times: models, history, and the last checkpoint with the optimizer."""
    sys.path.insert(0, str(ROOT))
    from tinycnn.train.checkpoint import Checkpoints

    metrics = json.loads((folder / "metrics.json").read_text())
    epochs = [{k: v for k, v in e.items() if k not in ("epoch_s", "images_per_s")} for e in metrics["epochs"]]
    last = load_file(Checkpoints(folder / "checkpoints").paths()[0])
    arrays = {name: array.tobytes() for name, array in last.items() if name not in ("nest", "sha256")}
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    scores = {name: metrics[name] for name in ("test_accuracy", "test_loss", "best")}
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {"epochs": epochs, "arrays": arrays, "files": files, "scores": scores, "names": names}


def campaign(folder: Path, backend: str, kills: int, seed: int) -> dict[str, int]:
    """Kill runs ``kills`` times; compare each run that finishes and start the next. Returns the kills by moment."""
    rng = random.Random(seed)
    finish(folder / "peace", backend)
    expected = remains(folder / "peace")
    survived: dict[str, int] = {}
    moments: list[str] = []
    runs = 0
    while sum(survived.values()) < kills:
        runs += 1
        run = folder / f"run{runs}"
        while sum(survived.values()) < kills:
            moments = moments or rng.sample(MOMENTS, len(MOMENTS))  # every moment once before any repeats
            moment, count = moments.pop(), rng.randint(1, 4)
            delay_s = rng.uniform(0.5, 4) if moment == "from outside" else None
            if not kill(run, backend, moment, count, delay_s):
                break
            survived[moment] = survived.get(moment, 0) + 1
            if rng.random() < 0.1:
                kill(run, backend, rng.choice(["full disk", "files may not grow"]), 10_000)
        finish(run, backend, "--resume")
        found = remains(run)
        different = [name for name in expected if found[name] != expected[name]]
        if different:
            raise RuntimeError(f"run {runs} (seed {seed}) differs in {different} after {survived}")
    return survived


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        survived = campaign(Path(folder), options.backend, options.kills, options.seed)
    print(f"{sum(survived.values())} kills survived, every run ended with the same bits: {survived}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        arm(*json.loads(sys.argv[2]))
        sys.argv = [str(ROOT / "examples" / "train_mnist.py"), *sys.argv[3:]]
        runpy.run_path(sys.argv[0], run_name="__main__")
    main()
