"""Mutation tests: break the engine in one place at a time, run the tests of that file, count the survivors.

    python -m tests.mutation.run [--sample 40] [--seed 0] [--only tensor.py] [--report FILE]
    python -m tests.mutation.run --again REPORT [--cases 1000]

A mutant is killed when a test fails, when the engine does not import, or when the tests take far longer than without
it. The cases that run its line, a few of each test function first, run on it in a separate process. Tests that start
another Python process see the unmodified engine there. ``--sample`` limits the number of mutants per file; ``--seed``
selects them. See docs/trust.md.
"""

import argparse
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.breaking import KERNELS, exchange_code, forget_compiled, import_instead
from tests.mutation.compiled import callers, calling_lines, is_compiled
from tests.mutation.mutants import Mutant, broken, mutants, unchanged
from tests.mutation.watching import FEW, Seen, Watching, few, few_first

ROOT = Path(__file__).resolve().parents[2]
SURVIVES = "SURVIVES"
COMPILE_S = 5  # time to compile the kernels of a case
MEMORY_BYTES = 8 << 30  # limit, since a wrong size may allocate more
NUMPY, NUMBA = "not numba and not cupy and not loops", "not numpy and not cupy and not loops"


@dataclass(frozen=True)
class Target:
    """Files, and the tests that should detect mistakes in them."""

    files: str
    tests: str
    keyword: str = NUMPY

    def paths(self, parts: list[str]) -> list[Path]:
        paths = [path for path in sorted(ROOT.glob(self.files)) if path.name != "__init__.py"]
        return [path for path in paths if any(part in str(path.relative_to(ROOT)) for part in parts)]


TARGETS = [
    Target(
        "tinycnn/tensor.py",
        "test_tensor test_function test_random_graphs test_gradients test_backends test_dlpack",
        f"{NUMPY} and not real",
    ),
    Target("tinycnn/optim/*.py", "test_optim test_muon test_groups test_weight_average", "emulated or not cupy"),
    Target("tinycnn/gradcheck.py", "test_gradcheck", "not many_seeds"),
    Target("tinycnn/ops/[!f]*.py", "test_ops test_layers test_gradients", f"{NUMPY} and not real_networks"),
    Target("tinycnn/ops/losses/*.py", "test_losses test_ops", f"{NUMPY} and not loops"),
    Target("tinycnn/ops/f*.py", "test_ops test_gradients test_fusion", "not cupy and not loops and not real_networks"),
    Target("tinycnn/backends/numpy_[bw]*.py", "test_kernels test_backends", NUMPY),
    Target("tinycnn/backends/numba/[cfn]*.py", "test_numba_blocks test_fusion test_optim", NUMBA),
    Target("tinycnn/backends/numba/backend.py", "test_kernels test_threads", NUMBA),
    Target(f"{KERNELS}/[cgsw][!p]*.py", "test_numba_kernels", "not lane_count and not without_simd"),
    Target(f"{KERNELS}/[ajl]*.py", "test_numba_kernels", "not lane_count and not without_simd"),
    Target(f"{KERNELS}/spin.py", "test_threads", NUMBA),
    Target(f"{KERNELS}/plain.py", "test_kernels test_fusion test_optim test_ops", NUMBA),
    Target(f"{KERNELS}/batch_norm.py", "test_fusion", NUMBA),
]


@dataclass
class Attempt:
    """A mutant, the cases that may detect it, and their time limit; later the first case that failed ("": none)."""

    path: Path
    mutant: Mutant
    cases: list[str]
    seconds: float
    on_import: bool
    killer: str = ""
    took: float = 0

    def __str__(self) -> str:
        fate = f"killed by {self.killer}" if self.killer else f"{SURVIVES} {len(self.cases)} cases"
        return f"{title(self.path, self.mutant)}: {fate} ({self.took:.1f} s)"


def title(path: Path, mutant: Mutant) -> str:
    return f"{path.relative_to(ROOT)}:{mutant.line}: {mutant.change}"


class Repeatable:
    """A pytest plugin that makes hypothesis draw the same examples every time, without shrinking."""

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutation", database=None, derandomize=True, phases=phases)
        settings.load_profile("mutation")


class Noticing:
    """A pytest plugin that records the first case that failed."""

    killer = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.killer = self.killer or (report.nodeid if report.failed else "")


class Choosing:
    """A pytest plugin that runs the cases of an attempt in their order, with newly compiled kernels."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_name = {item.nodeid: item for item in items}
        items[:] = [by_name[case] for case in self.attempt.cases if case in by_name]
        forget_compiled(self.attempt.path)


class Exchanging:
    """A pytest plugin that runs all attempts in place of the collected cases, replacing the code for each."""

    def __init__(self, attempts: list[Attempt], report: Callable[[object], None]) -> None:
        self.attempts, self.report = attempts, report

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        by_name = {item.nodeid: item for item in session.items}
        for path in {attempt.path for attempt in self.attempts}:  # backends are imported lazily
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for attempt in self.attempts:
            items = [by_name[case] for case in attempt.cases]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            attempt.killer = in_child(lambda a=attempt, i=items: exchange_and_run(a, i), attempt.seconds)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            attempt.took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            self.report(attempt)
        return True


def exchange_and_run(attempt: Attempt, items: list[pytest.Item]) -> str:
    """Replace the code, run the cases, and return the name of the first that fails."""
    if not items:
        return ""
    noticing = Noticing()
    items[0].config.pluginmanager.register(noticing)
    exchange_code(attempt.path, attempt.mutant.code)
    forget_compiled(attempt.path)
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if noticing.killer:
            break
    return noticing.killer


def import_and_run(target: Target, attempt: Attempt) -> str:
    """Import the mutant, run the cases, and return the name of the first that fails."""
    noticing = Noticing()
    import_instead(attempt.path, attempt.mutant.code)
    failed = run_pytest(target, Choosing(attempt), noticing)
    return noticing.killer or ("the import" if failed else "")


def watch(target: Target, paths: list[Path]) -> Any:
    watching = Watching([*paths, *(callers(ROOT) if any(map(is_compiled, paths)) else [])])
    failed = run_pytest(target, watching)
    return None if failed else (watching.seconds, watching.lines())


def exchange(target: Target, attempts: list[Attempt], report: Callable[[object], None]) -> list[str]:
    run_pytest(target, Exchanging(attempts, report))
    return [attempt.killer for attempt in attempts]


def exchange_all(target: Target, attempts: list[Attempt], report: Callable[[object], None]) -> None:
    """Run all attempts in a child process and set their ``killer``."""
    for done, killer in zip(attempts, in_child(lambda: exchange(target, attempts, report)), strict=True):
        done.killer = killer


def run_pytest(target: Target, *plugins: object) -> bool:
    """Run the tests of ``target``; returns whether any failed."""
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT)]
    sys.dont_write_bytecode = True
    with open(Path(tempfile.gettempdir()) / "tinycnn-mutation.txt", "w") as output:  # the last run
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    tests = [str(path.relative_to(ROOT)) for name in target.tests.split() for path in ROOT.glob(f"tests/**/{name}.py")]
    options = ["-xsq", "-p", "no:cacheprovider", "-k", target.keyword]
    return pytest.main([*tests, *options], plugins=[Repeatable(), *plugins]) != 0


def in_child(work: Callable[[], Any], seconds: float = 36000) -> Any:
    """Run ``work`` in a child process with a limit of CPU ``seconds``; returns its result, or how the process ended."""
    with tempfile.TemporaryFile("w+") as result:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            signal.alarm(10 * int(seconds) + 60)  # ends deadlocks
            try:
                json.dump(work(), result)
                result.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(0)
        _, status = os.waitpid(child, 0)
        result.seek(0)
        return json.loads(result.read() or json.dumps(f"signal {status}" if status else "an exception"))


def attempt(path: Path, mutant: Mutant, seen: Seen, most: int) -> Attempt:
    compiled = is_compiled(path)
    cases = compiled_cases(path, mutant, seen, most) if compiled else seen.cases({path: set(mutant.statement)})
    if not mutant.in_function:  # it runs once, on import, for all cases
        cases = few_first(list(seen.seconds))
    seconds = 10 + sum(3 * seen.seconds[case] + COMPILE_S * compiled for case in cases)
    return Attempt(path, mutant, cases, seconds, seen.on_import(path, mutant.statement))


def compiled_cases(path: Path, mutant: Mutant, seen: Seen, most: int) -> list[str]:
    """The cases for a compiled mutant; at most ``most`` per test function where each compiles its own kernels."""
    cases = seen.cases(calling_lines(ROOT, path, mutant.line))
    return cases if path.stem in ("plain", "batch_norm") else few(cases, most)


def chosen(path: Path, arguments: argparse.Namespace) -> list[Mutant]:
    """The requested mutants of a file: all, a sample, or the survivors in a report."""
    every = mutants(path.read_text(encoding="utf-8"), str(path))
    if arguments.again:
        reported = Path(arguments.again).read_text(encoding="utf-8")
        return [m for m in every if f"{title(path, m)}: {SURVIVES}" in reported]
    count = len(every) if arguments.sample is None else min(arguments.sample, len(every))
    return sorted(random.Random(arguments.seed).sample(every, count), key=lambda mutant: mutant.line)


def control(path: Path, seen: Seen, made: Callable[[str, str], Mutant]) -> Attempt:
    result = attempt(path, made(path.read_text(encoding="utf-8"), str(path)), seen, FEW)
    result.cases = few(result.cases)
    return result


def check_the_runner(target: Target, paths: list[Path], seen: Seen, report: Callable[[object], None]) -> None:
    """Check both controls: unmodified code must survive, and code in which every function fails must be killed."""
    exchange_all(target, controls := [control(path, seen, unchanged) for path in paths[:1]], report)
    exchange_all(target, plants := [control(path, seen, broken) for path in paths], report)
    if controls[0].killer:
        sys.exit(f"{paths[0]}: the unmodified code was killed")
    for plant in plants:
        if not plant.killer:
            sys.exit(f"{plant.path}: no test failed although every function fails; check that its code is replaced")


def judge(
    target: Target, paths: list[Path], arguments: argparse.Namespace, report: Callable[[object], None]
) -> list[Attempt]:
    """Run all attempts on these files and report each as soon as it is done."""
    watched = in_child(lambda: watch(target, paths))
    if not isinstance(watched, list):
        sys.exit(f"{target.tests}: the tests fail without a mutant")
    seconds, files = watched
    seen = Seen(seconds, {path: {int(line): cases for line, cases in lines.items()} for path, lines in files.items()})
    attempts = [attempt(path, m, seen, arguments.cases) for path in paths for m in chosen(path, arguments)]
    check_the_runner(target, paths, seen, report)
    exchange_all(target, [a for a in attempts if a.mutant.in_function], report)
    for a in attempts:
        if not a.killer and (a.on_import or not a.mutant.in_function):
            a.killer = in_child(lambda a=a: import_and_run(target, a), a.seconds + 60)
            report(a)
    return attempts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="mutants per file (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[""], help="files whose path contains one of these")
    parser.add_argument("--cases", type=int, default=FEW, help="cases per test function, for mutants of compiled code")
    parser.add_argument("--again", metavar="REPORT", help="run only the mutants that survive in a report")
    parser.add_argument("--report", type=argparse.FileType("a"), default=os.fdopen(os.dup(1), "w"))
    arguments = parser.parse_args()

    def report(line: object) -> None:
        print(line, file=arguments.report, flush=True)

    for name in ("numba", "scipy.special", "scipy.signal"):
        importlib.import_module(name)  # once, before the first fork
    attempts: list[Attempt] = []
    for target in TARGETS:
        if paths := target.paths(arguments.only):
            attempts += judge(target, paths, arguments, report)
            for path in paths:
                report(summary(str(path.relative_to(ROOT)), [a for a in attempts if a.path == path]))
    report(summary("total", attempts))


def summary(name: str, attempts: list[Attempt]) -> str:
    killed = sum(bool(a.killer) for a in attempts)
    return f"{name}: {killed} of {len(attempts)} killed, {killed / max(len(attempts), 1):.1%}"


if __name__ == "__main__":
    main()
