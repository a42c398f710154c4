"""The network of ``examples/depthwise_network.py`` in tinycnn and in PyTorch: accuracy, and time of the training.

    python benchmarks/depthwise.py --data-dir DIR [--seeds 3] [--json FILE]

Both begin with the same weights, see the same images in the same order, and use Adam at the same rates, so they differ
in rounding only. Every seed trains both, one after the other. Compiling and evaluation are not part of the time.
"""

import argparse
import runpy
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from torch import nn
from torch_networks import twin

import tinycnn
from tinycnn import data, optim
from tinycnn.backends.threads import get_threads
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "depthwise_network.py"))


def train_tinycnn(model: tinycnn.Sequential, mnist: data.Dataset, epochs: int, seed: int) -> tuple[float, float]:
    """Accuracy on the test images, and seconds of training."""
    adam = optim.Adam(model.parameters(), EXAMPLE["RATE"], schedule=optim.cosine(steps(mnist, epochs)))
    trainer = Trainer(model, adam, batch_size=EXAMPLE["BATCH_SIZE"], seed=seed)
    warm_up(trainer, mnist.x_train, mnist.y_train)
    history = trainer.fit(mnist.x_train, mnist.y_train, epochs=epochs)
    seconds = sum(result.epoch_s for result in history)
    return evaluate(model, mnist.x_test, mnist.y_test).accuracy, seconds


def train_torch(model: tinycnn.Sequential, mnist: data.Dataset, epochs: int, seed: int) -> tuple[float, float]:
    """The same in PyTorch: all pixels are converted before the clock starts."""
    network, x, y = twin(model), channels_first(mnist.x_train), torch.from_numpy(np.asarray(mnist.y_train, np.int64))
    loss_of, adam = nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters(), EXAMPLE["RATE"])
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps(mnist, epochs))
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(x)))  # as `Sampler.order`
        for chosen in order.split(EXAMPLE["BATCH_SIZE"]):
            adam.zero_grad()
            loss_of(network(x[chosen]), y[chosen]).backward()
            adam.step()
            rates.step()
    seconds = time.perf_counter() - start
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in channels_first(mnist.x_test).split(256)]).numpy()
    return float((logits.argmax(axis=1) == mnist.y_test).mean()), seconds


def steps(mnist: data.Dataset, epochs: int) -> int:
    """The steps of a run."""
    return epochs * -(-len(mnist.y_train) // EXAMPLE["BATCH_SIZE"])


def channels_first(images: Any) -> torch.Tensor:
    """Bytes ``(M, H, W, 1)`` → numbers from 0 to 1, ``(M, 1, H, W)``."""
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--epochs", type=int, default=EXAMPLE["EPOCHS"], metavar="N")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    tinycnn.use_backend("auto")
    torch.set_num_threads(get_threads())
    mnist = data.load("mnist", data_dir=options.data_dir)
    runs: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for name, train in (("tinycnn", train_tinycnn), ("pytorch", train_torch)):
            accuracy, seconds = train(EXAMPLE["network"](seed), mnist, options.epochs, seed)
            runs.append({"library": name, "seed": seed, "accuracy": accuracy, "seconds": seconds})
            print(runs[-1], flush=True)
    machine.report(runs, get_threads(), options.json)


if __name__ == "__main__":
    main()
