"""Printing never ends a run, and the command that resumes a run is the one that was typed."""

import errno
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from tinycnn.commands import main
from tinycnn.run.console import command_line, print_line, standard_streams


class Broken(io.StringIO):
    """A stream whose every write raises OSError(``number``), or ValueError without a number."""

    def __init__(self, number=None):
        super().__init__()
        self.number, self.attempts = number, 0

    def write(self, text):
        self.attempts += 1
        raise OSError(self.number, os.strerror(self.number)) if self.number else ValueError("closed file")


@pytest.fixture
def streams(monkeypatch):
    """Sets standard output and standard error; outside the test they are as before."""

    def choose(out, err):
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return choose


BROKEN = [errno.ENOSPC, errno.EIO, errno.EAGAIN, errno.EPIPE, errno.EBADF, None]  # full disk, lost terminal, ...


@pytest.mark.parametrize("number", BROKEN)
def test_a_run_whose_output_fails_is_completed(number, streams, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    network = "train --model lenet --epochs 1 --backend numpy --no-plots"
    words = [*network.split(), "--dataset", str(tmp_path / "d.npz"), "--output", str(tmp_path / "out")]
    out, err = streams(Broken(number), Broken(number))
    assert main(words) == 0
    assert (sys.stdout, sys.stderr) == (out, err)
    assert {"metrics.json", "model.safetensors"} <= {path.name for path in (tmp_path / "out").iterdir()}


WORDS = ["summary lenet", "summary lenot", "fly", "--version", "gradcheck --quick --op ReLU", "predict gone gone", ""]


@pytest.mark.parametrize("words", WORDS)
def test_commands_whose_output_fails_end_in_a_sentence(words, streams):
    usual = {"summary lenot": 2, "fly": 2, "predict gone gone": 2}.get(words, 0)
    fails = {"summary lenet": 2, "--version": 2, "gradcheck --quick --op ReLU": 2}.get(words, usual)
    _, err = streams(Broken(errno.ENOSPC), io.StringIO())
    assert code_of(words) == fails
    if usual == 0 and fails == 2:
        assert err.getvalue() == "error: standard output: No space left on device\n"
    for out, err in ((None, None), (io.StringIO(), None), (io.StringIO(), Broken(errno.ENOSPC)), (None, io.StringIO())):
        streams(out, err)
        assert code_of(words) == usual
    streams(Broken(errno.EPIPE), Broken(errno.EPIPE))
    assert code_of(words) == (141 if fails != usual else usual)


class FullDisk(io.RawIOBase):
    """A file on a disk that is full until ``room``."""

    room = False

    def writable(self):
        return True

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(content)


def test_what_python_has_buffered_is_written_before_the_exit_code_is_known(streams):
    disk = FullDisk()
    out, err = streams(io.TextIOWrapper(io.BufferedWriter(disk, 1 << 16)), io.StringIO())
    for words in ("summary lenet", "--help"):
        assert code_of(words) == 2
    assert err.getvalue() == "error: standard output: No space left on device\n" * 2
    disk.room = True
    out.close()


def code_of(words):
    try:
        return main(words.split())
    except SystemExit as end:  # argparse
        return end.code or 0


def test_a_failing_output_is_reported_once_and_a_closed_pipe_is_not(streams):
    _, err = streams(Broken(errno.ENOSPC), io.StringIO())
    with standard_streams():
        print_line("one")
    assert err.getvalue() == "the run continues without standard output (No space left on device)\n"
    _, err = streams(Broken(errno.EPIPE), io.StringIO())
    with standard_streams():
        print_line("one")
    assert err.getvalue() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_the_encoding_lacks_are_printed_as_escapes(encoding, streams):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    streams(out, err)
    with standard_streams():
        print_line("é 数 \udcff")
        print("é 数 \udcff", file=sys.stderr, flush=True)
    written = {"ascii": rb"\xe9 \u6570 \udcff", "latin-1": b"\xe9 \\u6570 \\udcff", "utf-8": "é 数 \\udcff".encode()}
    for stream in (out, err):
        assert stream.buffer.getvalue().splitlines() == [written[encoding]]


DESCRIPTORS = """
import os, sys
from tinycnn.commands import main
code = main(["summary", "lenet"])
with open(os.devnull) as file:
    sys.exit(code or (0 if file.fileno() > 2 else 10 + file.fileno()))
"""


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as a shell does")
def test_closed_streams_leave_their_numbers_to_no_file():
    command = ["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, DESCRIPTORS]
    assert subprocess.run(command, timeout=300, check=False).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_under_the_output_leaves_no_trace_of_python():
    """Python itself would exit with 120 and a traceback when it cannot flush the stream at its end."""
    command = [sys.executable, "-m", "tinycnn", "summary", "lenet"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


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
