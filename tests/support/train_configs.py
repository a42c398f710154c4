"""Parses command lines of ``tinycnn train`` into run settings."""

import argparse

from tinycnn.run.build import read_source
from tinycnn.run.options import add_train_options, train_config


def train_parser():
    """A parser with the options of ``tinycnn train``."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_train_options(parser)
    return parser


def config_and_source(words):
    """``(TrainConfig, network of --init-from)`` of the options ``words``, a string or a list."""
    options = train_parser().parse_args(words.split() if isinstance(words, str) else list(words))
    source = read_source(options.init_from)
    return train_config(options, source), source


def config_of(words):
    """The TrainConfig of the options ``words``."""
    return config_and_source(words)[0]
