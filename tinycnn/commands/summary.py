"""Print layers, output shapes, parameters, operations and memory of a network."""

import argparse

from tinycnn import models
from tinycnn.commands.shared_options import open_network


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the option for the network."""
    names = ", ".join(models.NETWORKS)
    parser.add_argument("model", metavar="MODEL|MODEL_FILE", help=f"one of {names}; or a model file")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    model = open_network(options.model)
    known = models.NETWORKS.get(options.model)
    print(f"{options.model}: {known.description}" if known else options.model)
    print(model.summary())
    print("FLOPs and bytes are for one image; a multiplication and an addition are two operations.")
