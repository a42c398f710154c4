"""Do the tests notice? Break the engine in one place at a time, run the tests of that file, count what survives.

    python tests/mutation/run.py [--sample 40] [--seed 0] [--only tensor.py] [--report FILE]

Works on a copy of the repository, one process at a time. A mutant is killed when a test fails, when it does not import,
or when the tests take three times as long as without it. First a few cases of each test run, then all of them. With
``--sample`` a file contributes that many mutants, chosen by the seed; without it, all (hours). See docs/trust.md.
"""

import argparse
import importlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from mutants import Mutant, mutants, unchanged

ROOT = Path(__file__).resolve().parents[2]
FEW = 6  # cases of a test function in the first round
NUMPY, NUMBA = "not numba and not cupy and not loops", "not numpy and not cupy and not loops"
KERNELS = "tinycnn/backends/numba_kernels"


@dataclass(frozen=True)
class Target:
    """Files, and the tests that are to notice what is wrong in them."""

    files: str
    tests: str
    keyword: str = NUMPY


TARGETS = [
    Target("tinycnn/ops/[!f]*.py", "test_ops test_layers test_gradients", f"{NUMPY} and not real_networks"),
    Target("tinycnn/ops/f*.py", "test_ops test_gradients test_fusion", "not cupy and not loops and not real_networks"),
    Target("tinycnn/tensor.py", "test_tensor test_function test_random_graphs test_gradients", f"{NUMPY} and not real"),
    Target("tinycnn/optim.py", "test_optim", "emulated or not cupy"),
    Target("tinycnn/gradcheck.py", "test_gradcheck", "not thousand"),
    Target("tinycnn/backends/numpy_backend.py", "test_kernels test_backends", NUMPY),
    Target("tinycnn/backends/numba_backend.py", "test_kernels test_threads", NUMBA),
    Target("tinycnn/backends/numba_fused.py", "test_fusion test_optim", NUMBA),
    Target(f"{KERNELS}/plain.py", "test_kernels test_fusion test_optim", NUMBA),
    Target(f"{KERNELS}/batch_norm.py", "test_fusion", NUMBA),
    Target(f"{KERNELS}/conv_*.py", "test_numba_kernels test_fusion", NUMBA),
    Target(f"{KERNELS}/winograd.py", "test_numba_kernels test_fusion", NUMBA),
    Target(f"{KERNELS}/geometry.py", "test_numba_kernels test_fusion", NUMBA),
    Target(f"{KERNELS}/simd.py", "test_numba_kernels test_fusion", NUMBA),
]


class SomeCases:
    """A pytest plugin: of each test function, a few cases spread over all."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_function: dict[tuple[str, str], list[pytest.Item]] = {}
        for item in items:
            by_function.setdefault((item.path.name, item.name.partition("[")[0]), []).append(item)
        items[:] = [case for cases in by_function.values() for case in spread(cases)]


def spread(cases: list[pytest.Item]) -> list[pytest.Item]:
    count = min(FEW, len(cases))
    return [cases[i * len(cases) // count] for i in range(count)]


def copy_of_the_repository() -> Path:
    """With caches: Numba compiles again only what a mutant changes."""
    copy = Path(tempfile.gettempdir()) / "tinycnn-mutation"
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("tinycnn", "tests", "examples"):
        shutil.copytree(ROOT / folder, copy / folder)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def run_tests(copy: Path, target: Target, plugins: list[object], seconds: float) -> tuple[bool, float]:
    """Whether they pass, in a process of their own, and the processor time; ``seconds`` of that are the limit."""
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        run_in_child(copy, target, plugins, seconds)
    _, status = os.waitpid(child, 0)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status == 0, end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


def run_in_child(copy: Path, target: Target, plugins: list[object], seconds: float) -> None:
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path[:0] = [str(copy), str(copy / "tests")]
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
    signal.alarm(1800)
    output = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # of the last run, for the curious
    for stream in (1, 2):
        os.dup2(output, stream)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-k", target.keyword]
    status = 1
    try:
        tests = [f"tests/{name}.py" for name in target.tests.split()]
        status = int(pytest.main([*tests, *options], plugins=plugins))
    finally:
        sys.stdout.flush()
        os._exit(status)


def importers(copy: Path, file: str) -> set[Path]:
    """Files with compiled code that may contain code of ``file``: all that import it, or import those that do."""
    kernels = {path: path.read_text(encoding="utf-8") for path in (copy / KERNELS).glob("*.py")}
    found = {copy / file} & kernels.keys()
    for _ in kernels:
        names = "|".join(path.stem for path in found) or "nothing"
        importing = re.compile(rf"^from \.(({names}) import| import .*\b({names})\b)", re.MULTILINE)
        found |= {path for path, text in kernels.items() if importing.search(text)}
    return found


def survives(copy: Path, file: str, mutant: Mutant, target: Target, seconds: float) -> bool:
    original = (copy / file).read_text(encoding="utf-8")
    caches = copy / KERNELS / "__pycache__"
    shutil.copytree(caches, copy / "caches", dirs_exist_ok=True)
    stale = {path: path.stat() for path in importers(copy, file) | {copy / file}}
    try:
        (copy / file).write_text(mutant.source, encoding="utf-8")
        for path in stale:
            path.touch()  # Numba compiles a file again when its time has changed
        return all(run_tests(copy, target, plugins, seconds)[0] for plugins in ([SomeCases()], []))
    finally:
        (copy / file).write_text(original, encoding="utf-8")
        for path, before in stale.items():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        shutil.rmtree(caches)
        (copy / "caches").rename(caches)


def judge(copy: Path, file: str, target: Target, arguments: argparse.Namespace, seconds: float) -> tuple[int, int]:
    """How many of the mutants of ``file`` were killed, and how many there were; survivors are reported at once."""
    every = mutants((ROOT / file).read_text(encoding="utf-8"))
    count = len(every) if arguments.sample is None else min(arguments.sample, len(every))
    some = sorted(random.Random(arguments.seed).sample(every, count), key=lambda mutant: mutant.line)
    start, left = time.monotonic(), 0
    if not survives(copy, file, unchanged((ROOT / file).read_text(encoding="utf-8")), target, 3 * seconds + 30):
        sys.exit(f"{file}: killed without any change, so a killed mutant would show nothing")
    for mutant in some:
        if survives(copy, file, mutant, target, 3 * seconds + 30):
            left += 1
            print(f"{file}:{mutant.line}: {mutant.change}", file=arguments.report, flush=True)
    summary = f"{count - left} of {count} killed ({len(every)} in all; {time.monotonic() - start:.0f} s)"
    print(f"{file}: {summary}", file=arguments.report, flush=True)
    return count - left, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="mutants per file (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--report", type=argparse.FileType("a"), default=sys.stdout)
    arguments = parser.parse_args()
    for name in ("numba", "scipy.special", "scipy.signal"):
        importlib.import_module(name)  # once, before the first fork
    copy, results = copy_of_the_repository(), []
    for target in TARGETS:
        files = [str(path.relative_to(copy)) for path in sorted(copy.glob(target.files))]
        files = [file for file in files if arguments.only in file and not file.endswith("__init__.py")]
        if files:
            run_tests(copy, target, [], 3600)  # fills Numba's caches
            fine, seconds = run_tests(copy, target, [], 3600)
            if not fine:
                sys.exit(f"{target.tests}: fail without any mutant")
            results += [judge(copy, file, target, arguments, seconds) for file in files]
    killed, total = (sum(numbers) for numbers in zip(*results, strict=True))
    print(f"{killed} of {total} killed: {killed / total:.1%}", file=arguments.report)


if __name__ == "__main__":
    main()
