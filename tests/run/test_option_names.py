"""Argument names in library errors become options of the command that prints them."""

import argparse
import re

import pytest

from tests.support.train_configs import train_parser
from tinycnn.commands import COMMANDS, main, make_parser
from tinycnn.run.option_names import OPTION_OF, OptionNames


@pytest.fixture(scope="module")
def in_options():
    return OptionNames(train_parser())


@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("try a smaller `lr`", "try a smaller --lr"),
        ("`batch_size=32` should fit", "--batch-size 32 should fit"),
        ("`batch_size`=0: expected at least 1", "--batch-size=0: expected at least 1"),
        ("`threads=0`: expected", "--threads 0: expected"),
        ("pass `resume=True`, or another `folder`", "pass --resume, or another --output"),
        ("pass `tf32=True` or `capture=False`", "pass --tf32 or --no-capture"),
        ("`capture` is for a GPU", "--no-capture is for a GPU"),
        ("`colour=False` or `colour=True`", "--grey or --colour"),
        ("`augment=None` or `augment='affine'`", "--no-augment or --augment affine"),
        ('use `backend="numpy"`', "use --backend numpy"),
        ('call `use_backend("numba")`', "call --backend numba"),
        ("`every` 0 steps", "--checkpoint-every 0 steps"),
        ("`data_dir` and `lr`", "--data-dir and --lr"),
        ('pass `pixels="0..16"`', "pass --pixels 0..16"),
        ('pass `pixels="-1..1"`', "pass --pixels=-1..1"),  # otherwise argparse takes it for an option
    ],
)
def test_an_argument_becomes_its_option(library, command, in_options):
    assert in_options(library) == command


@pytest.mark.parametrize(
    "text",
    [
        "`kernel_size`: expected a positive number",
        "`resume=False`",  # there is no option for it
        "install it: `pip install numba`",
        "`pip install 'tinycnn[mpi]'`",
        "no argument: lr, batch_size=3",
        "`",
    ],
)
def test_a_text_without_an_option_stays_as_it_is(text, in_options):
    assert in_options(text) == text


def test_the_same_argument_is_left_alone_by_a_command_without_the_option():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend")
    assert OptionNames(parser)("`backend`, `lr`, `folder`") == "--backend, `lr`, `folder`"


def test_the_table_names_options_of_train():
    assert set(OPTION_OF.values()) <= train_parser()._option_string_actions.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_a_message_is_one_of_the_command(command):
    _, commands = make_parser()
    own = commands[command]._option_string_actions.keys()
    arguments = [option[2:].replace("-", "_") for option in train_parser()._option_string_actions if option[:2] == "--"]
    arguments += [argument.partition("=")[0] for argument in OPTION_OF]
    values = ("", "=True", "=False", "=None", "=3")
    text = " ".join(f"`{argument}{value}`" for argument in arguments for value in values)
    assert set(re.findall(r"--[\w-]+", OptionNames(commands[command])(text))) <= own


def test_main_prints_options(tmp_path, capsys):
    assert main(["train", "--dataset", "digits", "--limit", "0", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "`" not in error
