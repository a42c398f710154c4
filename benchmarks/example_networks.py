"""The networks of three examples in tinycnn and in PyTorch: accuracy, and time of the training.

    python benchmarks/example_networks.py lenet5_1998 [--data-dir DIR] [--seeds 3] [--threads N] [--json FILE]

Both begin with the same weights, see the same images in the same order, and use Adam at the same rates, so they differ
in rounding only. Every seed trains both, one after the other. Compiling and evaluation are not part of the time. After
each training the result file is written. Trainings that it already contains are not repeated, so the same command
continues where it was stopped.
"""

import argparse
import runpy
import time
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import torch
from torch import nn
from torch_networks import twin

import tinycnn
from tinycnn import data, optim
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

DATASETS = {"depthwise_network": "mnist", "lenet5_1998": "mnist", "resnet8": "fashion_mnist"}  # of each example


class Training(NamedTuple):
    """The settings that an example trains with."""

    epochs: int
    batch_size: int
    rate: float
    steps: int  # of the run


def train_tinycnn(
    model: tinycnn.Sequential, images: data.Dataset, training: Training, seed: int
) -> tuple[float, float]:
    """Accuracy on the test images, and seconds of training."""
    adam = optim.Adam(model.parameters(), training.rate, schedule=optim.cosine(training.steps))
    trainer = Trainer(model, adam, batch_size=training.batch_size, seed=seed)
    warm_up(trainer, images.x_train, images.y_train)
    history = trainer.fit(images.x_train, images.y_train, epochs=training.epochs)
    seconds = sum(result.epoch_s for result in history)
    return evaluate(model, images.x_test, images.y_test).accuracy, seconds


def train_torch(model: tinycnn.Sequential, images: data.Dataset, training: Training, seed: int) -> tuple[float, float]:
    """The same in PyTorch: all pixels are converted before the clock starts."""
    network, x, y = twin(model), channels_first(images.x_train), torch.from_numpy(np.asarray(images.y_train, np.int64))
    loss_of, adam = nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters(), training.rate)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, training.steps)
    start = time.perf_counter()
    for epoch in range(1, training.epochs + 1):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(x)))  # as `Sampler.order`
        for chosen in order.split(training.batch_size):
            adam.zero_grad()
            loss_of(network(x[chosen]), y[chosen]).backward()
            adam.step()
            rates.step()
    seconds = time.perf_counter() - start
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in channels_first(images.x_test).split(256)]).numpy()
    return float((logits.argmax(axis=1) == images.y_test).mean()), seconds


def channels_first(images: Any) -> torch.Tensor:
    """Bytes ``(M, H, W, 1)`` → numbers from 0 to 1, ``(M, 1, H, W)``."""
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("example", choices=DATASETS)
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--epochs", type=machine.positive, metavar="N", help="default: those of the example")
    parser.add_argument("--limit", type=machine.positive, metavar="N", help="use only the first N training images")
    parser.add_argument("--seeds", type=machine.positive, default=3, metavar="N")
    parser.add_argument("--threads", type=machine.positive, metavar="N", help="of both libraries (default: all cores)")
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args(arguments)
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    tinycnn.use_backend("auto")
    if options.threads is not None:
        set_threads(options.threads)
    torch.set_num_threads(get_threads())
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / f"{options.example}.py"))
    images = data.load(DATASETS[options.example], data_dir=options.data_dir, limit=options.limit)
    epochs, size = options.epochs or example["EPOCHS"], example["BATCH_SIZE"]
    training = Training(epochs, size, example["RATE"], epochs * -(-len(images.y_train) // size))
    runs = machine.runs_in(options.json)
    done = {(run["library"], run["seed"]) for run in runs}
    for seed in range(options.seeds):
        for name, train in (("tinycnn", train_tinycnn), ("pytorch", train_torch)):
            if (name, seed) in done:
                continue
            accuracy, seconds = train(example["network"](seed), images, training, seed)
            runs.append({"library": name, "seed": seed, "accuracy": accuracy, "seconds": seconds})
            print(runs[-1], flush=True)
            if options.json:
                machine.write(runs, get_threads(), options.json)
    machine.report(runs, get_threads(), options.json)


if __name__ == "__main__":
    main()
