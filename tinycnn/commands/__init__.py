"""The command ``tinycnn COMMAND``, also ``python -m tinycnn COMMAND``: one module per command.

A command module has a docstring, whose first line is the command's help, ``add_options(parser)``, and ``run(options)``,
which returns the exit code (None for 0). It imports large modules (Matplotlib, a web server) inside ``run``. Library
messages that ``run`` prints are passed through ``options.in_options``; ``main`` does so for errors.
"""

import argparse
import contextlib
import importlib
import keyword
import os
import platform
import shlex
import sys
from collections.abc import Callable
from typing import Any

from tinycnn.backends.preparation import announcing
from tinycnn.commands.parser import CommandParser
from tinycnn.distributed.communicator import get_communicator
from tinycnn.errors import SettingError, in_words
from tinycnn.run.console import STANDARD_OUTPUT, discard_output, standard_streams
from tinycnn.run.option_names import OptionNames
from tinycnn.run.scripts import EXPLAINED
from tinycnn.run.stop_signals import EndingSignals, Stopped
from tinycnn.version import __version__

COMMANDS = [
    "train",
    "summary",
    "explain-step",
    "predict",
    "evaluate",
    "trace",
    "report",
    "runs",
    "lr-find",
    "augmentation",
    "export",
    "import",
    "gradcheck",
    "doctor",
    "exercises",
    "serve",
]  # fmt: skip
OWN_NOTICES = "train", "lr-find"  # commands that themselves announce that kernels are compiled
PIPE_CLOSED = 141  # as a shell reports a command whose output pipe was closed: 128 + SIGPIPE
INTERRUPTED = 130  # 128 + SIGINT


class ShowVersions(argparse.Action):
    """``--version``: tinycnn, Python, and the backends of this machine with their versions."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from tinycnn.backends import available_backends

        versions = ((name, getattr(sys.modules.get(name), "__version__", "")) for name in available_backends())
        found = (f"{name} {version}".rstrip() for name, version in versions)
        print(f"tinycnn {__version__}\nPython {platform.python_version()}\nbackends {', '.join(found)}")
        parser.exit()


def make_parser() -> tuple[CommandParser, dict[str, CommandParser]]:
    """The parser of ``tinycnn``, and the parsers of its commands by name."""
    parser = CommandParser(prog="tinycnn", description="Train convolutional networks, and use them.")
    parser.add_argument("--version", action=ShowVersions, nargs=0, help="print versions and backends, and exit")
    parser.set_defaults(run=None)
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands = {}
    for name in COMMANDS:
        module = importlib.import_module(f"tinycnn.commands.{module_name(name)}")
        text = (module.__doc__ or "").strip()
        commands[name] = chosen.add_parser(
            name,
            help=text.split("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(commands[name])
        commands[name].set_defaults(run=module.run, in_options=OptionNames(commands[name]))
    return parser, commands


def module_name(command: str) -> str:
    """The module of a command: ``lr_find`` of ``lr-find``, ``import_`` of ``import``, which is a keyword."""
    return f"{command.replace('-', '_')}{'_' if keyword.iskeyword(command) else ''}"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 for success, 2 for an error, which is reported on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with standard_streams(), EndingSignals() as signals:
            code, failure = outcome(words, signals)
            return get_communicator().finish(code, failure)
    except Stopped as second:  # a second signal, while the first was being reported
        return second.exit_code


def outcome(words: list[str], signals: EndingSignals) -> tuple[int, str]:
    """Run a command; returns its exit code, and the sentence for stderr if it failed."""
    in_options: Callable[[str], str] = str
    try:
        parser, commands = make_parser()
        if words and words[0] in commands:
            in_options = OptionNames(commands[words[0]])
        try:
            return execute(words, parser), ""
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.filename == STANDARD_OUTPUT:
            discard_output()
        stopped = error if isinstance(error, Stopped) else signals.stopped  # a lost signal causes any other error
        if stopped:
            return stopped.exit_code, str(stopped)
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED, "interrupted"
        if isinstance(error, BrokenPipeError) and error.filename == STANDARD_OUTPUT:
            return PIPE_CLOSED, ""
        if isinstance(error, EXPLAINED):  # MemoryError: data that is too large
            return 2, f"error: {in_options(in_words(error))}{advice(error, words)}"
        raise


def advice(error: BaseException, words: list[str]) -> str:
    """What to do about an error, in addition to its message, in the words of the shell; "" if there is nothing."""
    from tinycnn.saving.model_file import UnknownLayerError

    if not isinstance(error, UnknownLayerError):
        return ""
    program = "import MODULE, tinycnn.commands as t; raise SystemExit(t.main())"
    return f". For this command, with MODULE.py in this folder:\n  {shlex.join(['python', '-c', program, *words])}"


def execute(words: list[str], parser: argparse.ArgumentParser) -> int:
    """Run the command that ``words`` name; returns its exit code."""
    check_working_directory()
    if "--distributed" in words:
        from tinycnn.distributed import start

        start()  # before anything is printed: from here on only rank 0 prints
    options = parser.parse_args(words)
    if options.run is None:
        parser.print_help()
        return 0
    with contextlib.nullcontext() if words[0] in OWN_NOTICES else announcing(notice):
        return options.run(options) or 0


def notice(text: str) -> None:
    """Print a sentence that is not a result, on stderr."""
    print(f"NOTICE: {text}", file=sys.stderr, flush=True)


def check_working_directory() -> None:
    """Raises SettingError if the working directory was deleted: relative paths and Numba would fail later."""
    try:
        os.getcwd()
    except OSError as error:
        raise SettingError(f"the working directory cannot be used ({error.strerror}): `cd` to another one") from None
