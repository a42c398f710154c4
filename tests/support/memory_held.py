"""How much memory a program takes, which runs in a process of its own, as Linux accounts for it.

``getrusage`` would not do: it begins with the high mark of the process that started this one, and pytest's is high.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
linux_only = pytest.mark.skipif(not STATUS.exists(), reason="reads Linux' account of memory")


def held(kind: str) -> float:
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` the most so far."""
    return next(int(line.split()[1]) / 1024 for line in STATUS.read_text().splitlines() if line.startswith(kind))


def output_of(code: str, *arguments: object) -> str:
    """What the program ``code`` prints; it may ``from tests.support.memory_held import held``."""
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
