"""Parses command lines of ``tinycnn train`` into run settings."""

import argparse

from tinycnn.run.build import read_source
from tinycnn.run.options import add_train_options, train_config


def train_parser():
    """A parser with the options of ``tinycnn train``."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_train_options(parser)
    return parser


def config_and_source(words, dataset=None):
    """``(TrainConfig, network of --init-from)`` of the options ``words``, a string or a list, for a loaded data set."""
    options = train_parser().parse_args(words.split() if isinstance(words, str) else list(words))
    source = read_source(options.init_from)
    return train_config(options, source, dataset), source


def config_of(words, dataset=None):
    """The TrainConfig of the options ``words``, for a loaded data set."""
    return config_and_source(words, dataset)[0]
