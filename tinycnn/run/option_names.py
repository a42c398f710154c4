"""Errors of the library name arguments; a command names the options that set them.

A library error reads "try a smaller `lr`" or "pass `resume=True`". ``OptionNames(parser)`` turns it into "try a smaller
--lr" and "pass --resume". An argument is found by its name, or in the table below where the option is called
differently. An argument without an option, and a command such as `pip install cupy`, stay as they are.
"""

import argparse
import re

ARGUMENT = re.compile(
    r"""`(?P<name>[A-Za-z_][\w.]*)
    (?: \( (?P<parameter>[^()`]*) \) )?
    (?: =  (?P<value>"[^"`]*"|'[^'`]*'|[^\s`]+) )?`""",
    re.VERBOSE,
)
QUOTES = "\"'"
OPTION_OF = {
    "augment=None": "--no-augment",
    "bend": "--elastic",
    "capture": "--no-capture",
    "capture=False": "--no-capture",
    "colour=False": "--grey",
    "distributed.start": "--distributed",
    "every": "--checkpoint-every",
    "folder": "--output",
    "set_threads": "--threads",
    "use_backend": "--backend",
    "use_tf32": "--tf32",
    "validation": "--validation-split",
}


class OptionNames:
    """Calling it puts the options of a command in the place of the arguments that a text names in backticks."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.takes_value = {  # option → whether a value follows it
            option: action.nargs != 0 for action in parser._actions for option in action.option_strings
        }

    def __call__(self, text: str) -> str:
        return ARGUMENT.sub(self._replacement, text)

    def _replacement(self, found: re.Match[str]) -> str:
        name, value = found["name"], found["value"] or found["parameter"] or ""
        option = self.option_of(name, value)
        if option is None:
            return found[0]
        if not (self.takes_value[option] and value):
            return option
        value = value.strip(QUOTES)
        like_an_option = value.startswith("-") and ".." in value  # -1..1, which argparse takes for one
        return f"{option}={value}" if like_an_option else f"{option} {value}"

    def option_of(self, name: str, value: str = "") -> str | None:
        """The option that sets the argument ``name``, to ``value`` if given; None where the command has none."""
        words = name.replace("_", "-")
        if value == "False":
            candidates = [OPTION_OF.get(f"{name}=False"), f"--no-{words}"]
        else:
            candidates = [OPTION_OF.get(f"{name}={value}"), f"--{words}", OPTION_OF.get(name)]
        return next((option for option in candidates if option in self.takes_value), None)
