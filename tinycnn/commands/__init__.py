"""What ``python -m tinycnn COMMAND`` does: one module per command.

A module has a docstring, whose first line is the command's help, ``add_options(parser)``, and ``run(options)``, which
answers the exit code (None for 0). It imports what is large (Matplotlib, a web server) inside ``run``.
"""

import argparse
import importlib
import keyword
import sys

from tinycnn.errors import TinyCNNError, in_words
from tinycnn.run.console import discard_output

COMMANDS = [
    "summary",
    "predict",
    "evaluate",
    "report",
    "augmentation",
    "export",
    "import",
    "gradcheck",
    "doctor",
    "exercises",
    "serve",
]  # fmt: skip
NOBODY_READS = 141  # what a shell expects of a command whose reader went away: 128 + SIGPIPE


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command that ``arguments`` name, with its ``run``."""
    parser = argparse.ArgumentParser(prog="python -m tinycnn", description="Look into networks, and use them.")
    chosen = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"tinycnn.commands.{name}{'_' if keyword.iskeyword(name) else ''}")
        text = (module.__doc__ or "").strip()
        one = chosen.add_parser(
            name,
            help=text.split("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_options(one)
        one.set_defaults(run=module.run)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; answers its exit code: 0 done, 2 a mistake that one sentence on stderr explains."""
    try:
        options = parse(arguments)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        discard_output()
        return NOBODY_READS
    except (TinyCNNError, OSError, MemoryError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2
