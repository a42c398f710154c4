"""Check every derivative of tinycnn against finite differences, in float64: one line per operation.

Each operation runs with all its settings (see tinycnn/testing/gradient_cases.py), and every element of every input is
checked. The worst relative error is |analytic - numeric| / (|numeric| + 0.01). Kinks are points, such as ReLU at 0,
where any slope between the left and the right one is correct. --kernels compares the kernels of the backend with plain
loops instead, fused kernels included, which compute in float32.
A backend of your own is found by --backend when an installed package declares it as an entry point of the group
tinycnn.backends, or when --import names a module that calls tinycnn.register_backend.
Exit codes: 0 all gradients and kernels are right, 1 one is wrong, 2 an error in the options.
"""

import argparse
import importlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tinycnn.backends import use_backend
from tinycnn.commands.shared_options import add_backend
from tinycnn.errors import SettingError
from tinycnn.gradcheck import GradcheckResult, gradcheck

if TYPE_CHECKING:
    from tinycnn.backends.base import Backend
    from tinycnn.testing.gradient_cases import Case

ROW = "{:<22}{:>7}{:>10}{:>8}{:>13}  {}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the backend, the operation and the thoroughness."""
    add_backend(parser)
    parser.add_argument(
        "--import", dest="module", metavar="MODULE", help="first import a module that registers a backend"
    )
    parser.add_argument("--op", metavar="NAME", help="only this operation, by its name in the table")
    parser.add_argument("--quick", action="store_true", help="one random direction per input instead of every element")
    parser.add_argument("--kernels", action="store_true", help="compare the backend's kernels with plain loops instead")


def run(options: argparse.Namespace) -> int:
    """Print the table; returns the exit code."""
    if options.kernels and (options.op or options.quick):
        raise SettingError("--op and --quick choose how gradients are checked; --kernels checks all kernels, in full")
    if options.module is not None:
        import_module(options.module)
    backend = use_backend(options.backend).backend
    return check_kernels(backend) if options.kernels else check_gradients(backend, options.op, options.quick)


def import_module(name: str) -> None:
    """Import a module, also from the current folder; raises SettingError if there is none."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(name)
    except (ImportError, ValueError, TypeError) as error:  # the last two: an empty name, .name
        raise SettingError(
            f"--import {name}: {error}; pass the name of a module that is in this folder or installed"
        ) from error


def check_kernels(backend: "Backend") -> int:
    """Compare every kernel with the loop oracle; returns the exit code."""
    from tinycnn.testing import check_backend  # builds its cases

    report = check_backend(backend, raise_exception=False)
    print(report)
    return 0 if report else 1


def check_gradients(backend: "Backend", op: str | None, quick: bool) -> int:
    """Check one operation, or all of them; returns the exit code."""
    from tinycnn.testing.gradient_cases import CASES  # builds its cases

    cases: dict[str, list[Case]] = defaultdict(list)
    for case in CASES:
        cases[case.function.__name__.removesuffix("Function")].append(case)
    chosen = [name for name in cases if op is None or name.casefold() == op.casefold()]
    if not chosen:
        raise SettingError(f"--op {op}: expected one of {', '.join(cases)}")
    start = time.perf_counter()
    print(ROW.format("operation", "cases", "checked", "kinks", "worst error", f"on {backend.name}"))
    failures = 0
    for name in chosen:
        failures += report(name, [(str(case), check(case, quick)) for case in cases[name]])
    verdict = "every gradient is right" if not failures else f"{failures} wrong gradients"
    print(f"{verdict} ({time.perf_counter() - start:.0f} s)")
    return 1 if failures else 0


def check(case: "Case", quick: bool) -> GradcheckResult:
    """The result for one case, right or wrong."""
    return gradcheck(case.call, case.inputs(), fast_mode=quick, raise_exception=False)


def report(name: str, results: Iterable[tuple[str, GradcheckResult]]) -> int:
    """Print the line of an operation and one for each of its failures; returns the number of failures."""
    outcomes = list(results)
    failed = [(case, result.failure) for case, result in outcomes if result.failure]
    checked, kinks = sum(r.checked for _, r in outcomes), sum(len(r.kinks) for _, r in outcomes)
    worst = max(result.worst_error for _, result in outcomes)
    print(ROW.format(name, len(outcomes), checked, kinks, f"{worst:.1e}", "WRONG" if failed else "right"), flush=True)
    for case, failure in failed:
        print(f"  {case}: {failure}")
    return len(failed)
