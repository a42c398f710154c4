"""``tinycnn train``, its script, and ``tinycnn`` without a command."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import tinycnn
from tests.support.example_runner import EXAMPLES, environment, run_command, run_example
from tinycnn.commands import COMMANDS, main, make_parser

PAGE = EXAMPLES.parent / "docs" / "commands.md"
TINY = ["--dataset", "digits", "--limit", "96", "--model", "lenet", "--backend", "numpy", "--epochs", "1", "--no-plots"]


def test_the_page_shows_every_command_with_options_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    examples = [shlex.split(line)[1:] for line in re.findall(r"^tinycnn .*$", text, re.MULTILINE)]
    parser, commands = make_parser()
    assert {words[0] for words in examples} == commands.keys() - {"import"}
    assert all(parser.parse_args(words).run for words in examples)
    assert re.findall(r"^\| `([a-z-]+)", text, re.MULTILINE) == COMMANDS  # environment variables are in capitals


def test_without_a_command_it_prints_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: tinycnn [-h] [--version] COMMAND ...\n")
    assert all(re.search(rf"^    {command}\b", out, re.MULTILINE) for command in COMMANDS)


def test_version_names_everything_that_computes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert (first, second) == (f"tinycnn {tinycnn.__version__}", f"Python {sys.version.split()[0]}")
    found = third.removeprefix("backends ").split(", ")
    assert [name.split()[0] for name in found] == tinycnn.available_backends()
    assert f"numpy {np.__version__}" in found


def test_help_loads_nothing_heavy(tmp_path):
    code = "import sys, tinycnn.commands as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numba', 'matplotlib', 'tqdm', 'pooch', 'tinycnn.run.job') if m in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True, env=environment(tmp_path)
    )
    assert process.stdout.splitlines()[-1] == "[]"


def test_the_script_is_the_command(tmp_path):
    by_command = run_command("train", *TINY, "--output", "command", folder=tmp_path)
    by_script = run_example("train_mnist.py", *TINY, "--output", "script", folder=tmp_path)
    assert (by_command.returncode, by_script.returncode) == (0, 0), by_command.stderr + by_script.stderr
    folders = tmp_path / "command", tmp_path / "script"
    one, other = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert one == other
    one, other = (json.loads((folder / "metrics.json").read_text()) for folder in folders)
    assert one.keys() == other.keys()
    assert one["options"] | {"output": None} == other["options"] | {"output": None}
    assert one["test_loss"] == other["test_loss"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("program", [["-m", "tinycnn", "train"], [str(EXAMPLES / "train_mnist.py")]])
def test_ctrl_c_prints_the_command_that_resumes(program, tmp_path):
    command = [sys.executable, *program, *TINY, "--epochs", "30", "--batch-size", "8", "--output", "an output"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), **pipes)
    for line in process.stdout:
        if line.startswith("epoch"):
            process.send_signal(signal.SIGINT)
            break
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    *_, where, printed = error.splitlines()
    assert re.fullmatch(r"stopped after .*; saved to an output/checkpoints/step-\d+\.safetensors\. To continue:", where)
    assert shlex.split(printed) == [*command, "--resume"]
    resumed = subprocess.run(
        shlex.split(printed), cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=300
    )
    assert resumed.returncode == 0, resumed.stderr
    assert len(json.loads((tmp_path / "an output" / "metrics.json").read_text())["epochs"]) == 30
