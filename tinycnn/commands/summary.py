"""Layers, output shapes and parameters of a network."""

import argparse

from tinycnn import models


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which network."""
    parser.add_argument("model", choices=models.MODELS, help="one of the five networks")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    print(f"{options.model}: {models.MODELS[options.model].description}\n{models.create(options.model).summary()}")
