"""``python -m tinycnn COMMAND``: output, exit codes, and sentences instead of tracebacks."""

import subprocess
import sys

import pytest

from tinycnn.commands import COMMANDS, main


def test_summary_shows_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet"]) == 0
    assert "60,074" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: python -m tinycnn" in capsys.readouterr().out


def test_an_unknown_command_is_told_which_there_are() -> None:
    done = subprocess.run([sys.executable, "-m", "tinycnn", "fly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "invalid choice: 'fly'" in done.stderr
    assert "summary" in done.stderr
    assert "Traceback" not in done.stderr
