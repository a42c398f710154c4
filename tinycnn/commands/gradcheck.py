"""Every derivative of tinycnn against finite differences, in float64: one line per operation.

Each operation runs with all its settings (see tinycnn/testing/gradient_cases.py), and every element of every input is
checked. The worst relative error is |analytic - numeric| / (|numeric| + 0.01); kinks are places (such as ReLU at 0)
where any slope between left and right is right. Fused kernels compute in float32; the tests compare them with these
operations.
Exit codes: 0 all gradients are right, 1 one is wrong, 2 a mistake.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import tinycnn
from tinycnn.commands.shared_options import add_backend
from tinycnn.errors import SettingError
from tinycnn.gradcheck import GradcheckResult, gradcheck

ROW = "{:<22}{:>7}{:>10}{:>8}{:>13}  {}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where, and which."""
    add_backend(parser)
    parser.add_argument("--op", metavar="NAME", help="only this operation, as it is called in the table")
    parser.add_argument("--quick", action="store_true", help="one random direction per input instead of every element")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    from tinycnn.testing.gradient_cases import CASES, Case  # takes a moment

    backend = tinycnn.use_backend(options.backend).backend
    cases: dict[str, list[Case]] = defaultdict(list)
    for case in CASES:
        cases[case.function.__name__.removesuffix("Function")].append(case)
    chosen = [name for name in cases if options.op is None or name.casefold() == options.op.casefold()]
    if not chosen:
        raise SettingError(f"--op {options.op}: expected one of {', '.join(cases)}")
    start = time.perf_counter()
    print(ROW.format("operation", "cases", "checked", "kinks", "worst error", f"on {backend.name}"))
    failures = 0
    for name in chosen:
        failures += report(name, [(str(case), check(case, options.quick)) for case in cases[name]])
    verdict = "every gradient is right" if not failures else f"{failures} wrong gradients"
    print(f"{verdict} ({time.perf_counter() - start:.0f} s)")
    return 1 if failures else 0


def check(case: Any, quick: bool) -> GradcheckResult:
    """The outcome for one case, wrong or right."""
    return gradcheck(case.call, case.inputs(), fast_mode=quick, raise_exception=False)


def report(name: str, results: Iterable[tuple[str, GradcheckResult]]) -> int:
    """Print the line of an operation, and one for each of its failures; answers how many there are."""
    outcomes = list(results)
    failed = [(case, result.failure) for case, result in outcomes if result.failure]
    checked, kinks = sum(r.checked for _, r in outcomes), sum(len(r.kinks) for _, r in outcomes)
    worst = max(result.worst_error for _, result in outcomes)
    print(ROW.format(name, len(outcomes), checked, kinks, f"{worst:.1e}", "WRONG" if failed else "right"), flush=True)
    for case, failure in failed:
        print(f"  {case}: {failure}")
    return len(failed)
