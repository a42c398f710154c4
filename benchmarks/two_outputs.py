"""The network of ``examples/several_labels.py`` in tinycnn and in PyTorch: accuracy of both outputs, and time.

    python benchmarks/two_outputs.py --data-dir DIR [--seeds 3] [--threads N] [--json FILE]

Both begin with the same weights, see the same pictures in the same order, and use Adam at the same rate, so they differ
in rounding only. Every seed trains both, one after the other. The time is that of the training steps; compiling and
evaluation are not part of it. After each training the result file is written. Trainings that it already contains are
not repeated, so the same command continues where it was stopped.
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

import tinycnn
from tinycnn import data, optim
from tinycnn.backends.threads import get_threads, set_threads
from tinycnn.run.scripts import in_sentences
from tinycnn.train import Trainer, predict_logits
from tinycnn.train.warm_up import warm_up

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "several_labels.py"))


class TwoOutputs(nn.Module):
    """The network in PyTorch with the weights of ``model``: images ``(N, 1, 28, 56)`` → logits ``(N, 13)``."""

    def __init__(self, model: tinycnn.Sequential) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(5 * 12 * 32, 128), nn.ReLU()),
        )
        self.heads = nn.ModuleList([nn.Linear(128, 10), nn.Linear(128, 3)])
        ours = [parameter.numpy() for parameter in model.parameters()]
        for theirs, values in zip(self.parameters(), ours, strict=True):
            theirs.data = torch.from_numpy(np.ascontiguousarray(as_torch(values)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        return torch.cat([head(x) for head in self.heads], dim=1)


def as_torch(values: np.ndarray) -> np.ndarray:
    """``(KH, KW, C, F)`` → ``(F, C, KH, KW)``; dense ``(in, out)`` → ``(out, in)``, for channels first."""
    if values.ndim == 4:
        return values.transpose(3, 2, 0, 1)
    if values.shape[0] == 5 * 12 * 32:
        values = values.reshape(5, 12, 32, -1).transpose(2, 0, 1, 3).reshape(values.shape)
    return values.T if values.ndim == 2 else values


def train_tinycnn(
    model: tinycnn.Sequential, training: Any, pictures: np.ndarray, seed: int, epochs: int
) -> tuple[np.ndarray, float]:
    """Logits of the test pictures ``(M, 13)``, and seconds of training."""
    adam = optim.Adam(model.parameters(), EXAMPLE["RATE"])
    trainer = Trainer(model, adam, batch_size=EXAMPLE["BATCH_SIZE"], seed=seed, loss=EXAMPLE["LOSS"])
    warm_up(trainer, *training)
    history = trainer.fit(*training, epochs=epochs)
    return predict_logits(model, pictures), sum(result.epoch_s for result in history)


def train_torch(
    model: tinycnn.Sequential, training: Any, pictures: np.ndarray, seed: int, epochs: int
) -> tuple[np.ndarray, float]:
    """The same in PyTorch: all pixels are converted before the clock starts."""
    network, (images, labels) = TwoOutputs(model), training
    x, y = (torch.from_numpy(np.ascontiguousarray(array)) for array in (channels_first(images), labels.astype("f4")))
    loss_of, adam = nn.BCEWithLogitsLoss(), torch.optim.Adam(network.parameters(), EXAMPLE["RATE"])
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(x)))  # as `Sampler.order`
        for chosen in order.split(EXAMPLE["BATCH_SIZE"]):
            adam.zero_grad()
            loss_of(network(x[chosen]), y[chosen]).backward()
            adam.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return torch.cat(
            [network(part) for part in torch.from_numpy(channels_first(pictures)).split(256)]
        ).numpy(), seconds


def channels_first(images: np.ndarray) -> np.ndarray:
    """Bytes ``(M, H, W, 1)`` → numbers from 0 to 1, ``(M, 1, H, W)``."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """For each output, the fraction of pictures whose labels are all right; and that of right labels."""
    right = (logits > 0) == labels  # (M, 13)
    found = {name: float(right[:, columns].all(axis=1).mean()) for name, columns in EXAMPLE["OUTPUTS"].items()}
    return found | {"right labels": float(right.mean())}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--epochs", type=machine.positive, default=EXAMPLE["EPOCHS"], metavar="N")
    parser.add_argument(
        "--limit", type=machine.positive, default=EXAMPLE["TRAINING"], metavar="N", help="pictures to train with"
    )
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
    mnist = data.load("mnist", data_dir=options.data_dir)
    pictures, labels = EXAMPLE["pairs"](mnist.x_test, mnist.y_test, 10_000, seed=1)
    runs = machine.runs_in(options.json)
    done = {(run["library"], run["seed"]) for run in runs}
    for seed in range(options.seeds):
        training = EXAMPLE["pairs"](mnist.x_train, mnist.y_train, options.limit, seed=10 + seed)
        for name, train in (("tinycnn", train_tinycnn), ("pytorch", train_torch)):
            if (name, seed) in done:
                continue
            logits, seconds = train(EXAMPLE["network"](seed), training, pictures, seed, options.epochs)
            runs.append({"library": name, "seed": seed, "seconds": seconds, **scores(logits, labels)})
            print(runs[-1], flush=True)
            if options.json:
                machine.write(runs, get_threads(), options.json)
    machine.report(runs, get_threads(), options.json)


if __name__ == "__main__":
    main()
