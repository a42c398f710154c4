"""Find a learning rate: a short run in which it grows from step to step, and a picture of its loss.

Prints the rate at which most of the fall of the loss is done, a good value for --lr, or for the peak of a schedule. The
network is trained from random weights and thrown away. If the loss does not fall clearly, or falls fastest at an end of
the sweep, the command prints what to change instead. Exit codes: 0 success, 2 error.
"""

import argparse
from pathlib import Path

from tinycnn import models, optim
from tinycnn.commands.shared_options import check_not_of_dataset, show_notice
from tinycnn.errors import in_range, whole_number
from tinycnn.files import write_atomically
from tinycnn.run.options import NOT_OF_LR_FIND, RECIPE_HELP, RECIPES, add_model_and_data_options, train_config
from tinycnn.saving.endings import PNG, check_ending


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for the network, the data, the optimizer and the sweep."""
    add = parser.add_argument
    add_model_and_data_options(add)
    add("--recipe", choices=RECIPES, help=RECIPE_HELP)
    add("--batch-size", type=int, metavar="N", help="images per step (default: from the recipe)")
    add("--optimizer", choices=optim.OPTIMIZERS, help="default: from the recipe")
    add("--momentum", type=float, metavar="X", help="momentum of the optimizer, as for tinycnn train")
    add("--weight-decay", type=float, metavar="X", help="how strongly weights shrink (default: from the recipe)")
    add("--label-smoothing", type=float, metavar="F", help="fraction of the target spread over all classes, in [0, 1)")
    add("--seed", type=int, default=0, metavar="N", help="determines weights, shuffling and dropout (default: 0)")
    add("--limit", type=int, metavar="N", help="use only the first N training images")
    add("--threads", type=int, metavar="N", help="threads of the numba backend (default: all cores)")
    add("--lowest", type=float, default=1e-6, metavar="X", help="the first learning rate (default: 1e-6)")
    add("--highest", type=float, default=10.0, metavar="X", help="the last learning rate (default: 10)")
    add("--steps", type=int, default=200, metavar="N", help="steps of the sweep (default: 200)")
    add("--output", type=Path, default=Path("lr_find.png"), metavar="FILE", help="the picture (default: lr_find.png)")
    parser.set_defaults(**NOT_OF_LR_FIND)


def run(options: argparse.Namespace) -> None:
    """Sweep, draw the picture, and print the rate."""
    from tinycnn import plots
    from tinycnn.backends import get_backend, use_backend
    from tinycnn.backends.preparation import announcing
    from tinycnn.backends.threads import set_threads
    from tinycnn.run.build import make_model, make_trainer, read_source
    from tinycnn.run.job import load_data
    from tinycnn.train.lr_find import find_learning_rate

    check_not_of_dataset("--output", options.output, options)
    check_ending(options.output, PNG, "--output")
    in_range("--highest", options.highest, above=in_range("--lowest", options.lowest, above=0))
    whole_number("--steps", options.steps, at_least=10)
    picture, options.output = options.output, None
    source = read_source(options.init_from)
    config = train_config(options, source)
    if config.threads is not None:
        set_threads(config.threads)
    use_backend(config.backend)
    dataset = load_data(config)
    show_notice(dataset, options.in_options)
    config = train_config(options, source, dataset.name, len(dataset.x_train))
    model, _ = make_model(config, dataset, source)
    trainer = make_trainer(config, model, len(dataset.x_train))
    print(f"{models.name_of(model) if source else config.model} on {dataset.name}, {config.optimizer}, batch ", end="")
    print(f"{config.batch_size}, backend {get_backend().name}: {options.steps} steps", flush=True)
    with announcing(print):
        sweep = find_learning_rate(
            trainer,
            dataset.x_train,
            dataset.y_train,
            lowest=options.lowest,
            highest=options.highest,
            steps=options.steps,
        )
    figure = plots.rate_sweep(sweep.rates, sweep.losses, sweep.smoothed, sweep.suggestion)
    write_atomically(picture, plots.to_png(figure))
    if sweep.suggestion is None:
        print(f"no rate is suggested: {options.in_options(sweep.advice)}")
    else:
        print(f"most of the fall of the loss is done at {sweep.suggestion:.2g}: try --lr {sweep.suggestion:.1g}")
    print(f"written   {picture}")
