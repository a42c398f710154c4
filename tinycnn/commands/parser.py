"""The parser of a command. Its errors are one sentence, which names what was probably meant."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from tinycnn.errors import in_shell

MEANT = {  # options that people know from other programs → those that do the same here, the first that a command has
    "arch": ["model"],
    "augmentation": ["augment"],
    "bs": ["batch-size"],
    "color": ["colour"],
    "cuda": ["backend cupy"],
    "decay": ["weight-decay"],
    "device": ["backend"],
    "ema": ["average-weights"],
    "gpu": ["backend cupy"],
    "gray": ["grey"],
    "grayscale": ["grey"],
    "img-size": ["image-size"],
    "jobs": ["threads"],
    "learning-rate": ["lr"],
    "load": ["init-from"],
    "log-dir": ["tensorboard"],
    "net": ["model"],
    "network": ["model"],
    "num-workers": ["threads"],
    "out": ["output", "model"],
    "patience": ["early-stopping"],
    "pretrained": ["init-from"],
    "rgb": ["colour"],
    "save": ["output", "model"],
    "scheduler": ["schedule"],
    "size": ["image-size"],
    "val-split": ["validation-split"],
    "wd": ["weight-decay"],
    "weights": ["init-from"],
    "workers": ["threads"],
}


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser whose commands refuse unknown options themselves."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options, and an empty list: words that the command does not know are an error."""
        self.check_opposites(args or ())
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self.about_unknown(next((word for word in unknown if word.startswith("-")), unknown[0])))
        return options, unknown

    def check_opposites(self, words: Iterable[str]) -> None:
        """Exit with a sentence if two options are given that set the same thing, such as --grey and --colour."""
        given = {word.partition("=")[0] for word in words}
        found: dict[str, str] = {}
        for action in self._actions:
            option = next((one for one in action.option_strings if one in given), None)
            if option and action.dest in found:
                self.error(f"{found[action.dest]} and {option} exclude each other: pass one of them")
            if option:
                found[action.dest] = option

    def error(self, message: str) -> NoReturn:
        """Exit with a sentence. All options would be 20 lines, in which it gets lost."""
        self.exit(2, f"error: {message} (all options: {self.prog} --help)\n")

    def about_unknown(self, word: str) -> str:
        """The sentence for a ``word`` that the command does not know."""
        if not word.startswith("-"):
            option = next((f"--{one.dest}" for one in self._actions if word in (one.choices or ())), "--dataset")
            hint = f"; did you mean {option} {in_shell(word)}?" if option in self._option_string_actions else ""
            return f"unexpected {word!r}{hint}"
        name = word.partition("=")[0]
        bare = name.lstrip("-").replace("-", "_")
        if any(bare == action.dest for action in self._actions if not action.option_strings):
            return (
                f"there is no option {name}: write the {bare} without {name}, as in {self.prog} {self._first_words()}"
            )
        return f"there is no option {name}{did_you_mean(self._similar(name))}"

    def _first_words(self) -> str:
        """The words without an option, as the usage names them."""
        return " ".join(str(action.metavar or action.dest) for action in self._actions if not action.option_strings)

    def _similar(self, name: str) -> list[str]:
        """Options that were probably meant by ``name``."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        bare = name.lstrip("-").replace("_", "-").lower()
        known = [f"--{meant}" for meant in MEANT.get(bare, ()) if f"--{meant}".partition(" ")[0] in options]
        if f"--{bare}" in options:
            known = [f"--{bare}"]
        longer = [option for option in options if option.startswith(f"--{bare}")]
        return known[:1] or longer or difflib.get_close_matches(f"--{bare}", options, n=2, cutoff=0.7)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            hint = did_you_mean(difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.75))
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}, expected {', '.join(choices)}{hint}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            kinds: dict[Any, str] = {int: "a whole number", float: "a number"}
            kind = kinds.get(action.type)
            if kind is None:
                raise
            raise argparse.ArgumentError(action, f"expected {kind}, came {arg_string!r}") from None


def did_you_mean(words: list[str]) -> str:
    """The end of a sentence about a word that is not known: ``; did you mean --lr?``, or nothing."""
    return f"; did you mean {' or '.join(words[:2])}?" if words else ""
