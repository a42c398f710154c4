"""Measures the memory of a program in a separate process, from Linux's ``/proc``.

``getrusage`` is unsuitable: its maximum includes the peak of the parent process, and pytest's is high.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
linux_only = pytest.mark.skipif(not STATUS.exists(), reason="reads Linux' account of memory")


def held(kind: str) -> float:
    """Memory of this process in MiB: ``VmRSS`` is the current use, ``VmHWM`` the peak."""
    return next(int(line.split()[1]) / 1024 for line in STATUS.read_text().splitlines() if line.startswith(kind))


def output_of(code: str, *arguments: object) -> str:
    """Run the program ``code`` and return its output; it can import ``held`` from this module."""
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
