"""Train a network and write it with its metrics, history and plots to an output folder.

Without options it trains keras_cnn on MNIST, with the fastest backend available. Results: metrics.json,
history.csv, model.safetensors, report.html and its plots. Ctrl-C saves a checkpoint in the output folder, and the
same command with --resume continues. Exit codes: 0 success, 2 error, 130 or 143 stopped by Ctrl-C or SIGTERM.
"""

import argparse

from tinycnn.commands.shared_options import check_not_of_dataset
from tinycnn.run.options import TrainConfig, add_train_options, train_config
from tinycnn.saving.endings import CSV, check_ending


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare all options of a run."""
    add_train_options(parser)


def run(options: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from tinycnn.run.build import read_source
    from tinycnn.run.job import train

    if options.csv:
        check_not_of_dataset("--csv", options.csv, options)
        check_ending(options.csv, CSV, "--csv")
    source = read_source(options.init_from)

    def config_for(dataset: str | None = None, images: int | None = None) -> TrainConfig:
        return train_config(options, source, dataset, images)

    return train(config_for(), source, config_for=config_for, in_options=options.in_options)
