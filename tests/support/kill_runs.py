"""Kill a training run repeatedly, resume it each time, and compare its results with those of an uninterrupted run.

    python -m tests.support.kill_runs --kills 100
    python -m tests.support.kill_runs --kills 20 --ranks 2

Every kill is a SIGKILL of a real process that runs ``tinycnn train``. It comes before a step, after a step, at a call
of the file system (at any of them), or while a checkpoint is written: with the file missing, half written, complete but
not yet renamed, or renamed with the oldest checkpoint not yet deleted. Other kills come from outside, after a random
time. Between some kills the disk is full or files may not grow. ``--seed`` determines the moments.

A process is forked from a server that has imported everything but has computed nothing, so it starts in milliseconds.
Ranks are started by mpiexec.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import tinycnn
from tinycnn import report
from tinycnn.backends import available_backends
from tinycnn.commands import main as tinycnn_main
from tinycnn.distributed.mpi import mpiexec
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU, Sequential, Softmax
from tinycnn.run import job, results
from tinycnn.train.checkpoint import Checkpoints
from tinycnn.train.checkpoint_manager import CheckpointManager
from tinycnn.train.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS_PER_EPOCH = 4, 6  # 54 images in batches of 10, and 6 for validation
RUN = ["train", "--validation-split", "0.1", "--epochs", f"{EPOCHS}", "--batch-size", "10", "--optimizer", "adam"]
RUN += ["--lr", "0.01", "--augment", "affine", "--clip-norm", "1", "--early-stopping", "3", "--quiet"]
EVERY = ["--checkpoint-every", "4"]
AT_A_CALL = "at a call of the file system"
MOMENTS = ["before a step", "after a step", "nothing written", "half written", "not yet renamed", "renamed"]
MOMENTS += ["from outside", AT_A_CALL, AT_A_CALL, AT_A_CALL, AT_A_CALL]
CALLS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}


# ------------------------------------------------------------------------------------------------ inside the process


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Arrivals:
    """Counts arrivals at a moment; a call returns whether this is the ``wanted``-th."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count = wanted, 0

    def __call__(self) -> bool:
        self.count += 1
        return self.count == self.wanted


def arm(moment: str, count: int, output: str) -> Arrivals:
    """Make this process kill itself when it reaches ``moment`` for the ``count``-th time.

    Other moments send a signal, wait or fill the disk; where files may not grow, ``count`` is their size in bytes.
    ``output``: the folder whose calls of the file system count.
    """
    arrive = Arrivals(count)

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

    def count_calls(event, arguments):
        if event in CALLS and output in str(arguments[:2]) and arrive():
            die()

    def signalling(original, number, times):
        def call(*arguments, **settings):
            for _ in range(times if arrive() else 0):
                os.kill(os.getpid(), number)
            return original(*arguments, **settings)

        return call

    step, write, save, fsync = Trainer.step, Checkpoints.write, results.save, os.fsync
    match moment.split(": "):
        case ["before a step"]:
            Trainer.step = lambda *arguments: die() if arrive() else step(*arguments)
        case ["after a step"]:
            Trainer.step = lambda *arguments: (step(*arguments), arrive() and die())[0]
        case ["nothing written"]:
            Checkpoints.write = lambda *arguments: die() if arrive() else write(*arguments)
        case ["half written"]:
            os.fsync = half
        case ["not yet renamed"]:
            os.replace = before(os.replace, "step-")
        case ["renamed"]:
            Checkpoints.paths = before(Checkpoints.paths, "")
        case [moment] if moment == AT_A_CALL:
            sys.addaudithook(count_calls)  # is called before each of them
            os.fsync = lambda descriptor: die() if arrive() else fsync(descriptor)  # which is not audited
        case ["Ctrl-C" | "SIGTERM" | "Ctrl-C twice" as name, *at]:
            number = signal.SIGTERM if name == "SIGTERM" else signal.SIGINT
            place, function = SIGNALLED["".join(at)]
            setattr(place, function, signalling(getattr(place, function), number, 1 + name.endswith("twice")))
        case ["waits"]:
            Trainer.step = lambda *arguments: time.sleep(600) if arrive() else step(*arguments)
        case ["full disk"]:
            os.fsync = lambda descriptor: _no_space()
        case ["files may not grow"]:
            may_not_grow(count)
        case ["files may not grow after the model"]:
            results.save = lambda *arguments: (save(*arguments), may_not_grow(count))
    return arrive


SIGNALLED = {"": (Trainer, "step"), "in the test evaluation": (job, "evaluate_finite")}
SIGNALLED |= {"while drawing": (report, "draw"), "while writing": (job, "write_results")}
SIGNALLED |= {"after the last step": (CheckpointManager, "after_last_epoch")}


def may_not_grow(size: int) -> None:
    """Limit files to ``size`` bytes; Python ignores SIGXFSZ, so that a larger file raises OSError."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _no_space() -> None:
    raise OSError(28, "No space left on device")


def inside(words: list[str], moment: str, count: int, output: str, errors: Connection, arrived: Path) -> None:
    """Run ``tinycnn`` with ``words``; ``errors`` receives standard error, ``arrived`` the number of arrivals."""
    os.dup2(errors.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.orig_argv, sys.argv = [sys.executable, "-m", "tinycnn", *words], ["tinycnn", *words]
    arrivals = arm(moment, count, output)
    code = tinycnn_main(words)
    arrived.write_text(str(arrivals.count))
    sys.exit(code)


def inside_rank(words: list[str], moment: str, count: int, output: str) -> None:
    """Run ``tinycnn`` with ``words`` as a rank: the first, which writes the files, or the second kills itself."""
    rank, writes = int(os.environ["PMI_RANK"]), moment in [*MOMENTS[2:6], AT_A_CALL]
    arm(moment if rank == (0 if writes else 1) else "", count, output)
    sys.exit(tinycnn_main(words))


# ----------------------------------------------------------------------------------------------- outside the process

available_backends()  # is slow the first time
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.support.kill_runs"])


@dataclass
class Run:
    """A process that trains; ``errors`` is what it has printed on standard error when ``wait`` returns."""

    process: "multiprocessing.context.ForkServerProcess"
    reader: Connection
    arrived: Path
    errors: str = ""

    def wait(self, timeout_s: float = 300) -> int:
        """The exit code, negative for a signal."""
        self.process.join(timeout_s)
        os.set_blocking(self.reader.fileno(), False)
        with contextlib.suppress(BlockingIOError):  # a rank that outlives mpiexec still holds the pipe
            while piece := os.read(self.reader.fileno(), 1 << 16):
                self.errors += piece.decode()
        self.reader.close()
        return self.process.exitcode


@dataclass
class Study:
    """A folder with a small data set, a network with batch norm and dropout, and the settings of a run on them."""

    folder: Path
    backend: str = "numpy"
    ranks: int = 1
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (84, 8, 8, 1), np.uint8)
        labels = images[:, 0, 0, 0] // 128
        arrays = {"x_train": images[:60], "y_train": labels[:60], "x_test": images[60:], "y_test": labels[60:]}
        np.savez(self.folder / "tiny.npz", **arrays)
        layers = Conv2d(4), BatchNorm(), ReLU(), Flatten(), Dropout(0.2), Dense(40), ReLU(), Dense(2), Softmax()
        tinycnn.save(Sequential(*layers, input_shape=(8, 8, 1)), self.folder / "tiny.safetensors")

    def words(self, output: Path, *more: str, plots: bool = False) -> list[str]:
        """The words after ``tinycnn``."""
        files = ["--dataset", str(self.folder / "tiny.npz"), "--init-from", str(self.folder / "tiny.safetensors")]
        given = [*RUN, *files, "--backend", self.backend, "--output", str(output), *more]
        return given if plots else [*given, "--no-plots"]

    def start(self, output: Path, *more: str, moment: str = "", count: int = 0) -> Run:
        """Start a run as a separate process, prepared with ``arm(moment, count)``."""
        self.count += 1
        reader, writer = SERVER.Pipe(duplex=False)
        arrived = self.folder / f"arrivals{self.count}"
        call = (
            self.words(output, *more, plots=moment.endswith(("drawing", "writing"))),
            moment,
            count,
            str(output),
            writer,
            arrived,
        )
        process = SERVER.Process(target=inside if self.ranks == 1 else self._with_mpiexec, args=call)
        process.start()
        writer.close()
        return Run(process, reader, arrived)

    def _with_mpiexec(
        self, words: list[str], moment: str, count: int, output: str, errors: Connection, arrived: Path
    ) -> None:
        """Run ``words`` in several ranks, one of which kills itself; the process that waits for them."""
        call = json.dumps([[*words, "--distributed"], moment, count, output])
        ranks = [mpiexec(), "-n", str(self.ranks), sys.executable, str(Path(__file__)), "--rank", call]
        surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(ranks, stdout=errors.fileno(), stderr=errors.fileno(), env=surroundings, check=False)
        sys.exit(min(done.returncode, 100))

    def finish(self, output: Path, *more: str) -> None:
        """Run to the end; raises RuntimeError if the exit code is not 0."""
        run = self.start(output, *more)
        if run.wait():
            raise RuntimeError(run.errors)

    def calls(self, output: Path, *more: str) -> int:
        """How often a run calls the file system in its folder."""
        run = self.start(output, *more, moment=AT_A_CALL, count=-1)
        if run.wait():
            raise RuntimeError(run.errors)
        return int(run.arrived.read_text())

    def kill(self, output: Path, *more: str, moment: str, count: int, delay_s: float | None = None) -> bool:
        """Resume the run and kill it at the ``count``-th ``moment``; returns False if it finished before that."""
        run = self.start(output, "--resume", *more, moment=moment, count=count)
        if delay_s is not None:
            time.sleep(delay_s)
            run.process.kill()
        code = run.wait()
        killed = code == -signal.SIGKILL or (self.ranks > 1 and code not in (0, 2))  # mpiexec has a code of its own
        if not (killed or code in (0, 2)) or "Traceback" in run.errors or "Warning" in run.errors:
            raise RuntimeError(f"{moment}: exit code {code}\n{run.errors}")
        return killed


def remains(output: Path) -> dict[str, object]:
    """The results of a finished run without times: models, history, and the last checkpoint with the optimizer."""
    metrics = json.loads((output / "metrics.json").read_text())
    epochs = [{k: v for k, v in e.items() if k not in ("epoch_s", "images_per_s")} for e in metrics["epochs"]]
    paths = Checkpoints(output / "checkpoints").paths()
    last = load_file(paths[0]) if paths else {}
    arrays = {name: array.tobytes() for name, array in last.items() if name not in ("nest", "sha256")}
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("model*.safetensors")}
    scores = {name: metrics[name] for name in ("test_accuracy", "test_loss", "best", "stopped_early")}
    names = sorted(str(path.relative_to(output)) for path in output.rglob("*"))
    return {"epochs": epochs, "arrays": arrays, "files": files, "scores": scores, "names": names}


def campaign(study: Study, kills: int, seed: int, every: list[str] | None = None) -> dict[str, int]:
    """Kill runs ``kills`` times; compare each run that finishes and start the next. Returns the kills by moment."""
    rng, every = random.Random(seed), EVERY if every is None else every
    peace = study.folder / f"peace{len(every)}"
    study.finish(peace, *every)
    expected = remains(peace)
    calls = study.calls(study.folder / f"counted{len(every)}", *every) if study.ranks == 1 else 150
    survived: dict[str, int] = {}
    moments: list[str] = []
    runs = 0
    while sum(survived.values()) < kills:
        runs += 1
        if runs > 20 * kills:
            raise RuntimeError(f"{runs} runs finished, but only these kills came in time: {survived}")
        output = study.folder / f"run{len(every)}-{seed}-{runs}"
        while sum(survived.values()) < kills:
            moments = moments or rng.sample(MOMENTS, len(MOMENTS))  # every moment once before any repeats
            moment = moments.pop()
            count = rng.randint(1, calls) if moment == AT_A_CALL else rng.randint(1, 4)
            delay_s = rng.uniform(0, 0.4 * study.ranks**3) if moment == "from outside" else None
            if not study.kill(output, *every, moment=moment, count=count, delay_s=delay_s):
                moments.insert(0, moment)  # the run finished before this moment: another run reaches it
                break
            survived[moment] = survived.get(moment, 0) + 1
            if rng.random() < 0.1 and study.ranks == 1:
                study.kill(output, *every, moment=rng.choice(["full disk", "files may not grow"]), count=10_000)
        try:
            study.finish(output, *every, "--resume")
        except RuntimeError as error:
            if "is finished" not in str(error):  # killed after the last checkpoint had been deleted
                raise
        found = remains(output)
        different = [name for name in expected if found[name] != expected[name]]
        if different:
            raise RuntimeError(f"run {runs} (seed {seed}) differs in {different} after {survived}")
    return survived


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-at-the-end", action="store_true", help="without --checkpoint-every")
    options = parser.parse_args()
    every = [] if options.only_at_the_end else EVERY
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), options.backend, options.ranks)
        survived = campaign(study, options.kills, options.seed, every)
    print(f"{sum(survived.values())} kills survived, every run ended with the same bits: {survived}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        inside_rank(*json.loads(sys.argv[2]))
    vars(sys.modules["__main__"]).update(__spec__=None, __file__=None)  # is not imported again in every process
    from tests.support.kill_runs import main

    main()
