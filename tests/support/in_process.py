"""Runs a tinycnn command inside the test process, which saves the start of a new Python process."""

import contextlib
import io
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import tinycnn
from tests.support.data_helpers import refused_address
from tinycnn import commands
from tinycnn.backends import threads


def run_here(*arguments: Any, folder: Path, mnist: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``tinycnn <arguments>`` in ``folder``, return exit code and output; MNIST is found in ``mnist`` only.

    Backend, threads, working folder and environment are restored afterwards. A warning is an error, as in every test.
    """
    words, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    variables = {"TINYCNN_MIRRORS": refused_address(), "XDG_CACHE_HOME": f"{folder}-cache"}
    variables["TINYCNN_DATA"] = str(mnist or "")
    with (
        mock.patch.dict(os.environ, variables),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        tinycnn.use_backend(tinycnn.get_backend().name),
    ):
        if not mnist:
            del os.environ["TINYCNN_DATA"]
        before = threads.get_threads()
        try:
            code = commands.main(words)
        except SystemExit as exit_:  # argparse
            code = int(exit_.code or 0)
        finally:
            threads.set_threads(before)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
