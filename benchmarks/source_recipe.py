"""The network and the recipe that `wide_whitened_cnn` comes from, in PyTorch, on CIFAR-10 as a folder of pictures.

    python benchmarks/source_recipe.py FOLDER --json benchmarks/results/cifar10_jpeg_source_recipe.json

Its author reports 94 % of the original test images after eight epochs (Jordan, "airbench94_muon", 2024). The accuracy
on a JPEG copy shows what the copy costs. Convolutions are in bfloat16 and everything else in float32, where the source,
on a GPU, has float16 and, for Muon, bfloat16.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import machine
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinycnn import data
from tinycnn.run.scripts import in_sentences

WIDTHS, BATCH = (64, 256, 256), 2000
FILTER_RATE, FILTER_MOMENTUM, ROUNDS = 0.24, 0.6, 3  # of Muon
BIAS_RATE, HEAD_RATE, DECAY = 0.053, 0.67, 2e-6 * BATCH  # of SGD, for the sum of the losses of a batch
WHITENING_EPOCHS = 3  # in which the bias of the first layer is trained
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the colours of CIFAR-10


class Norm(nn.BatchNorm2d):
    """Batch norm that trains its bias only."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad = False


def conv(channels: int, filters: int) -> nn.Conv2d:
    """A 3x3 convolution, whose first filters copy a channel each at the start."""
    layer = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:channels])
    return layer


def block(channels: int, filters: int) -> list[nn.Module]:
    first = [conv(channels, filters), nn.MaxPool2d(2), Norm(filters), nn.GELU()]
    return [*first, conv(filters, filters), Norm(filters), nn.GELU()]


class Network(nn.Module):
    """Images ``(N, 3, 32, 32)`` → logits ``(N, 10)``."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2, bias=True)
        self.whitening.weight.requires_grad = False
        blocks = (layer for sizes in zip((24, *WIDTHS), WIDTHS, strict=False) for layer in block(*sizes))
        self.body = nn.Sequential(nn.GELU(), *blocks, nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(WIDTHS[-1], 10, bias=False)
        self.head.weight.data *= 1 / self.head.weight.data.std()
        self.whitening.weight.data[:] = whitening_filters(images)
        self.whitening.bias.data.zero_()

    def forward(self, x: Tensor, train_whitening: bool = True) -> Tensor:
        bias = self.whitening.bias
        x = F.conv2d(x, self.whitening.weight, bias if train_whitening else bias.detach())
        return self.head(self.body(x)) / WIDTHS[-1]


def whitening_filters(images: Tensor) -> Tensor:
    """``(24, 3, 2, 2)``; see ``tinycnn/train/whitening.py``."""
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, vectors = torch.linalg.eigh(patches.T @ patches / len(patches), UPLO="U")
    filters = (vectors / torch.sqrt(variances + 5e-4)).T.reshape(-1, 3, 2, 2)
    return torch.cat((filters, -filters))


def orthogonal(gradient: Tensor) -> Tensor:
    """See ``tinycnn/optim/muon.py``."""
    x = gradient / (gradient.norm() + 1e-7)
    tall = len(x) > x.size(1)
    x = x.T if tall else x
    for _ in range(ROUNDS):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


class Optimizers:
    """SGD for biases and the head, Muon for the filters, all with rates that fall linearly to 0."""

    def __init__(self, network: Network, steps: int, whitening_steps: int) -> None:
        named = list(network.named_parameters())
        self.filters = [p for _, p in named if p.ndim == 4 and p.requires_grad]
        self.velocities = [torch.zeros_like(p) for p in self.filters]
        biases = [p for name, p in named if name.startswith("body") and p.ndim == 1 and p.requires_grad]
        rates = ((network.whitening.bias,), BIAS_RATE), (biases, BIAS_RATE), ((network.head.weight,), HEAD_RATE)
        groups = [{"params": list(some), "lr": rate, "weight_decay": DECAY / rate} for some, rate in rates]
        self.sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
        self.steps, self.whitening_steps, self.taken = steps, whitening_steps, 0
        self.rates = [group["lr"] for group in self.sgd.param_groups]

    @torch.no_grad()
    def step(self) -> None:
        left, whitening_left = 1 - self.taken / self.steps, max(0, 1 - self.taken / self.whitening_steps)
        for group, rate, factor in zip(self.sgd.param_groups, self.rates, (whitening_left, left, left), strict=True):
            group["lr"] = rate * factor
        self.sgd.step()
        for p, velocity in zip(self.filters, self.velocities, strict=True):
            velocity.mul_(FILTER_MOMENTUM).add_(p.grad)
            gradient = p.grad.add(velocity, alpha=FILTER_MOMENTUM)
            p.mul_(len(p) ** 0.5 / p.norm())
            p.add_(orthogonal(gradient.reshape(len(p), -1)).view_as(p), alpha=-FILTER_RATE * left)
        self.taken += 1


def shifted(images: Tensor) -> Tensor:
    """Each image moved by up to two pixels, with its reflection in the gap."""
    wide, moved = F.pad(images, (2, 2, 2, 2), "reflect"), torch.empty_like(images)
    down, right = torch.randint(0, 5, (len(images),)), torch.randint(0, 5, (len(images),))
    for y in range(5):
        for x in range(5):
            some = (down == y) & (right == x)
            moved[some] = wide[some][:, :, y : y + 32, x : x + 32]
    return moved


def epochs_of(images: Tensor, epochs: int) -> Iterator[Tensor]:
    """The images of each epoch: shifted, and each mirrored in every second epoch."""
    first = torch.rand(len(images)) < 0.5
    for epoch in range(epochs):
        moved, mirrored = shifted(images), first ^ (epoch % 2 == 1)
        moved[mirrored] = moved[mirrored].flip(-1)
        yield moved


def in_bfloat16() -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def train(network: Network, images: Tensor, labels: Tensor, epochs: int) -> None:
    steps, start = len(images) // BATCH, time.perf_counter()
    optimizers = Optimizers(network, steps * epochs, steps * WHITENING_EPOCHS)
    for epoch, moved in enumerate(epochs_of(images, epochs), start=1):
        order, right = torch.randperm(len(images)), 0
        for chosen in order.split(BATCH)[:steps]:
            network.zero_grad()
            with in_bfloat16():
                x = moved[chosen].to(memory_format=torch.channels_last)
                logits = network(x, optimizers.taken < optimizers.whitening_steps).float()
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.2, reduction="sum")
            loss.backward()
            optimizers.step()
            right += (logits.argmax(1) == labels[chosen]).sum().item()
        print(f"epoch {epoch}: {right / steps / BATCH:.2%}, {time.perf_counter() - start:.0f} s", flush=True)


@torch.no_grad()
def logits_of(network: Network, images: Tensor) -> Tensor:
    with in_bfloat16():
        parts = [network(some.to(memory_format=torch.channels_last)).float() for some in images.split(500)]
    return torch.cat(parts)


def scores(network: Network, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracies: plain, of the image and its mirror image, and of the six views of the source."""

    def mirrored(some: Tensor) -> Tensor:
        return (logits_of(network, some) + logits_of(network, some.flip(-1))) / 2

    network.eval()
    wide, both = F.pad(images, (1, 1, 1, 1), "reflect"), mirrored(images)
    moved = (mirrored(wide[:, :, :32, :32]) + mirrored(wide[:, :, 2:, 2:])) / 2
    found = {"plain": logits_of(network, images), "mirror": both, "six views": (both + moved) / 2}
    return {name: (logits.argmax(1) == labels).float().mean().item() for name, logits in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", help="pictures in train/CLASS and test/CLASS")
    parser.add_argument("--epochs", type=machine.positive, default=8, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=machine.positive, default=2)
    parser.add_argument("--json", type=machine.result_file, metavar="FILE")
    options = parser.parse_args()
    with in_sentences(parser):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    dataset = data.load(options.folder)
    x_train, x_test = (normalised(np.asarray(images)) for images in (dataset.x_train, dataset.x_test))
    y_train, y_test = (torch.from_numpy(np.asarray(y, np.int64)) for y in (dataset.y_train, dataset.y_test))
    network = Network(x_train[:5000]).to(memory_format=torch.channels_last)
    start = time.perf_counter()
    train(network, x_train, y_train, options.epochs)
    seconds = time.perf_counter() - start
    run = {"dataset": dataset.name, "seed": options.seed, "epochs": options.epochs, "s": seconds}
    run |= scores(network, x_test, y_test)
    print(run)
    if options.json:
        machine.write([run], options.threads, options.json)


def normalised(images: np.ndarray) -> Tensor:
    """Bytes ``(N, H, W, C)`` → float32 ``(N, C, H, W)``, each colour with mean 0 and deviation 1."""
    x = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / deviation


if __name__ == "__main__":
    main()
