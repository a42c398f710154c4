"""``check_backend``: whether a backend keeps the contract, for authors of a backend outside of this package."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tinycnn.backends.base import Backend
from tinycnn.errors import KernelError, SettingError
from tinycnn.testing.fused_cases import CASES as FUSED_CASES
from tinycnn.testing.kernel_cases import CASES, KernelCase
from tinycnn.testing.long_sums import CASES as LONG_SUMS

MAX_SHOWN = 3  # failures of a kernel in a report


@dataclass(frozen=True)
class KernelFailure:
    """An input on which a kernel breaks the contract, and how."""

    kernel: str
    case: str
    message: str

    def __str__(self) -> str:
        return f"{self.kernel} ({self.case}): {self.message}"


@dataclass
class BackendReport:
    """How many cases of each kernel ran, and those that failed."""

    backend: str
    checked: dict[str, int] = field(default_factory=dict)
    failures: list[KernelFailure] = field(default_factory=list)
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        lines = [f"backend {self.backend!r}: {self._verdict()}"]
        for kernel, count in self.checked.items():
            failed = [failure for failure in self.failures if failure.kernel == kernel]
            lines.append(f"{kernel:<22}{count:>6} cases  {f'{len(failed)} WRONG' if failed else 'right'}")
            lines += [f"  {failure.case}: {failure.message}" for failure in failed[:MAX_SHOWN]]
            if len(failed) > MAX_SHOWN:
                lines.append(f"  and {len(failed) - MAX_SHOWN} more")
        return "\n".join(lines)

    def _verdict(self) -> str:
        total = sum(self.checked.values())
        verdict = (
            f"{len(self.failures)} of {total} cases are wrong" if self.failures else f"all {total} cases are right"
        )
        return f"{verdict} ({self.seconds:.0f} s)"


def check_backend(
    backend: Backend, *, kernels: Collection[str] | None = None, raise_exception: bool = True
) -> BackendReport:
    """Compare every kernel of ``backend`` with the loop oracle, over dtypes, layouts, sizes, ties, NaN and long sums.

    The fused kernels that it has are compared with the plain operations. ``kernels`` chooses some by name. The report
    is true when all cases are right. Raises KernelError with the report when one is wrong, unless ``raise_exception``
    is false, and SettingError for a value that is not a backend.
    """
    if not isinstance(backend, Backend):
        raise SettingError(f"`backend` is {backend!r}, expected an instance of tinycnn.backends.base.Backend")
    start, report = time.perf_counter(), BackendReport(backend.name)
    for case in _chosen(backend, kernels):
        report.checked[case.kernel] = report.checked.get(case.kernel, 0) + 1
        if (message := _failure(case, backend)) is not None:
            report.failures.append(KernelFailure(case.kernel, case.label, message))
    report.seconds = time.perf_counter() - start
    if report.failures and raise_exception:
        raise KernelError(str(report))
    return report


def _chosen(backend: Backend, kernels: Collection[str] | None) -> Iterable[KernelCase]:
    """The cases of the kernels that the backend has, and of those that ``kernels`` names among them."""
    fused = {name for kernel in backend.fused.names() for name in _with_partner(kernel)}
    cases = [*CASES, *(case for case in (*FUSED_CASES, *LONG_SUMS) if case.kernel in fused)]
    names = dict.fromkeys(case.kernel for case in cases)
    if unknown := sorted(set(kernels or ()) - names.keys()):
        raise SettingError(f"`kernels` contains {', '.join(unknown)}, expected some of {', '.join(names)}")
    return [case for case in cases if kernels is None or case.kernel in kernels]


def _with_partner(kernel: str) -> set[str]:
    """A fused forward kernel and its backward kernel, whichever of the two is named."""
    name, _, direction = kernel.rpartition("_")
    return {f"{name}_forward", f"{name}_backward"} if direction in ("forward", "backward") else {kernel}


def _failure(case: KernelCase, backend: Backend) -> str | None:
    """What is wrong with the case; an exception of the kernel itself is a failure like any other."""
    try:
        case.check(backend)
    except KernelError as error:
        return str(error)
    except Exception as error:  # the code under test is not ours
        return f"raised {type(error).__name__}: {error}"
    return None
