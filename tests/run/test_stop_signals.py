"""One Ctrl-C or SIGTERM ends a command in a sentence, with 130 or 143, wherever it arrives."""

import signal
import subprocess
import sys
import time

import pytest

from tinycnn import commands
from tinycnn.errors import SettingError
from tinycnn.run.stop_signals import SIGNALS, EndingSignals, Stopped, StopSignals
from tinycnn.starting import is_command

WORDS = {signal.SIGINT: "interrupted\n", signal.SIGTERM: "terminated\n"}


@pytest.mark.parametrize("number", SIGNALS)
def test_inside_the_block_a_signal_raises(number):
    before = [signal.getsignal(one) for one in SIGNALS], sys.unraisablehook
    with EndingSignals() as signals:
        assert signals.stopped is None
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(number)
        assert signals.stopped is caught.value
        assert caught.value.exit_code == 128 + number
    assert ([signal.getsignal(one) for one in SIGNALS], sys.unraisablehook) == before


class Finalized:
    """Its finalizer receives a signal; Python drops exceptions of finalizers."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_whose_exception_python_drops_is_sent_again(number):
    def wait():
        Finalized(number)
        time.sleep(30)

    with EndingSignals() as signals, pytest.raises(Stopped) as caught:
        wait()
    assert caught.value.exit_code == signals.stopped.exit_code == 128 + number


def test_other_dropped_exceptions_are_reported_as_before(monkeypatch):
    class Failing:
        def __del__(self):
            raise ZeroDivisionError

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with EndingSignals():
        Failing()
    assert [dropped.exc_type for dropped in seen] == [ZeroDivisionError]


def command_that(work, monkeypatch):
    """``tinycnn summary`` does ``work()``."""
    monkeypatch.setattr("tinycnn.commands.summary.run", lambda options: work())
    return commands.main(["summary", "lenet"])


def lose(number, error):
    """A library that swallows the exception of a signal, and fails for that reason."""
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        raise error from None


@pytest.mark.parametrize("error", [None, RuntimeError("no compiled object yet"), SettingError("no"), OSError("no")])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_ends_by_a_signal(number, error, monkeypatch, capsys):
    def work():
        lose(number, error) if error else signal.raise_signal(number)

    assert command_that(work, monkeypatch) == 128 + number
    assert capsys.readouterr() == ("", WORDS[number])


def test_errors_without_a_signal_stay_errors(monkeypatch, capsys):
    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        command_that(fail, monkeypatch)


def test_a_signal_inside_training_ends_the_command_if_it_is_the_second(monkeypatch, capsys):
    def work():
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert stop()
            signal.raise_signal(signal.SIGINT)

    assert command_that(work, monkeypatch) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_signal_while_the_first_is_reported_ends_at_once(monkeypatch):
    monkeypatch.setattr(
        "tinycnn.distributed.communicator.SingleProcess.finish",
        lambda self, code, error: signal.raise_signal(signal.SIGTERM),
    )
    assert command_that(lambda: signal.raise_signal(signal.SIGINT), monkeypatch) == 143


@pytest.mark.parametrize(
    ("script", "command_line", "expected"),
    [
        ("-m", ["python", "-m", "tinycnn", "train"], True),
        ("-m", ["python", "-X", "dev", "-m", "tinycnn"], True),
        ("-m", ["python", "-m", "pytest", "tinycnn"], False),
        ("/env/bin/tinycnn", ["/env/bin/python", "/env/bin/tinycnn", "train"], True),
        ("examples/train_mnist.py", ["python", "examples/train_mnist.py"], True),
        ("mine.py", ["python", "mine.py", "-m", "tinycnn"], False),
        ("-c", ["python", "-c", "import tinycnn"], False),
        ("", ["python"], False),
    ],
)
def test_only_the_command_sets_handlers_when_it_is_imported(script, command_line, expected):
    assert is_command(script, command_line) is expected


WHILE_LOADING = """
import runpy, signal, sys
class Interrupt:
    def find_spec(self, name, *rest):
        if name == NAME: signal.raise_signal(NUMBER)
sys.meta_path.insert(0, Interrupt())
sys.argv[0], sys.orig_argv = "-m", ["python", "-m", "tinycnn"]
runpy.run_module("tinycnn", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "numpy"), (signal.SIGTERM, "tinycnn.commands")])
def test_a_signal_while_the_command_loads_its_modules(number, name):
    code = WHILE_LOADING.replace("NAME", repr(name)).replace("NUMBER", str(int(number)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", WORDS[number])


IN_A_STRING = """
import sys
from tinycnn.run.stop_signals import EndingSignals, Stopped
try:
    with EndingSignals():
        exec("import signal; signal.raise_signal(signal.SIGINT)")
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_the_exit_code_is_that_of_the_command_also_after_code_in_a_string():
    """After a KeyboardInterrupt there, Python would end by the signal: -2."""
    assert subprocess.run([sys.executable, "-c", IN_A_STRING], timeout=300, check=False).returncode == 130
