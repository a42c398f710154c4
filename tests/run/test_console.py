"""The command that resumes a run is the one that was typed."""

import sys

import pytest

from tinycnn.run.console import command_line


@pytest.mark.parametrize(
    ("original", "argv", "on_path", "expected"),
    [
        (["python", "-m", "tinycnn", "train", "--lr", "1"], ["/t/__main__.py", "train", "--lr", "1"], None, None),
        (["python", "examples/train_mnist.py", "--lr", "1"], ["examples/train_mnist.py", "--lr", "1"], None, None),
        (
            ["python", "/bin/tinycnn", "train", "-q"],
            ["/bin/tinycnn", "train", "-q"],
            "/bin/tinycnn",
            "tinycnn train -q",
        ),
        (["python", "/env/tinycnn", "train"], ["/env/tinycnn", "train"], "/bin/tinycnn", "/env/tinycnn train"),
        (["python", "/env/tinycnn", "train"], ["/env/tinycnn", "train"], None, "/env/tinycnn train"),
        (["python", "-X", "dev", "/bin/tinycnn", "train"], ["/bin/tinycnn", "train"], "/bin/tinycnn", None),
        (["python"], [""], None, None),
    ],
)
def test_the_command_line_of_this_process(original, argv, on_path, expected, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", original)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr("shutil.which", lambda name: on_path)
    assert " ".join(command_line()) == (expected or " ".join(original))
