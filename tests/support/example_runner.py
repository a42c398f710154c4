"""Runs examples and commands as a user does: in another process, in another folder, without a network."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support.data_helpers import refused_address

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name, *arguments, folder, mnist=None, path=None):
    """Run ``python examples/<name>`` in ``folder`` and return the process; MNIST is found in ``mnist`` only.

    Python searches the folder ``path`` for modules first.
    """
    return run_python(EXAMPLES / name, *arguments, folder=folder, mnist=mnist, path=path)


def run_command(*arguments, folder, mnist=None):
    """Run ``python -m tinycnn <arguments>``, as ``run_example`` does."""
    return run_python("-m", "tinycnn", *arguments, folder=folder, mnist=mnist)


def run_python(*arguments, folder, mnist=None, path=None):
    """Run ``python <arguments>``, as ``run_example`` does."""
    command = [sys.executable, *map(str, arguments)]
    env = environment(folder, mnist=mnist, path=path)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=300)


def environment(folder, *, mnist=None, path=None):
    """Environment variables with which Python imports this checkout and finds data sets in ``mnist`` only."""
    variables = {key: value for key, value in os.environ.items() if key != "TINYCNN_DATA"}
    variables |= {"TINYCNN_MIRRORS": refused_address(), "XDG_CACHE_HOME": f"{folder}-cache"}
    variables |= {"TINYCNN_DATA": str(mnist)} if mnist else {}
    searched = [path, EXAMPLES.parent] if path else [EXAMPLES.parent]
    return variables | {"PYTHONPATH": os.pathsep.join(map(str, searched)), "PYTHONIOENCODING": "utf-8"}


def load_example(name):
    """The example ``name`` as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
