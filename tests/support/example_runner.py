"""Running an example as a user does: another process, another folder, and no network to save it; or as a module."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support.data_helpers import refused_address

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_example(name, *arguments, folder, mnist=None, path=None):
    """The finished process ``python examples/<name>``, run in ``folder``; MNIST is found in ``mnist`` or not at all.

    Modules in the folder ``path`` are found before all others.
    """
    surroundings = {key: value for key, value in os.environ.items() if key != "TINYCNN_DATA"}
    surroundings |= {"TINYCNN_MIRRORS": refused_address(), "XDG_CACHE_HOME": f"{folder}-cache"}
    surroundings |= {"TINYCNN_DATA": str(mnist)} if mnist else {}
    found_in = [path, EXAMPLES.parent] if path else [EXAMPLES.parent]
    surroundings |= {"PYTHONPATH": os.pathsep.join(map(str, found_in)), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, encoding="utf-8", timeout=300)


def load_example(name):
    """The example ``name`` as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
