"""The runs of ``examples/speedrun.py`` in PyTorch: same initial weights, order of images, learning rates and loss.

They differ from tinycnn's in rounding only. All pixels are converted before the clock starts, and one step on a copy of
the network lets PyTorch choose its kernels.
"""

import copy
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch_networks import twin

import tinycnn
from tinycnn import data
from tinycnn.train.evaluation import EVALUATION_BATCH

Run = Callable[[Any, data.Dataset, int], tuple[float, float]]


def torch_runs(threads: int) -> dict[str, Run]:
    """PyTorch's modes by name; each is called like ``run`` of the example."""
    torch.set_num_threads(threads)
    modes = {"torch": torch.contiguous_format, "torch channels_last": torch.channels_last}
    return {name: partial(run, layout=layout) for name, layout in modes.items()}


def run(recipe: Any, mnist: data.Dataset, seed: int, *, layout: torch.memory_format) -> tuple[float, float]:
    """Train once with fused Adam: accuracy, seconds."""
    model = tinycnn.Sequential(*recipe.layers(), input_shape=mnist.input_shape, seed=seed)
    network = twin(model).to(memory_format=layout)
    x, y = pixels(mnist.x_train, layout), torch.from_numpy(np.asarray(mnist.y_train, np.int64))
    x_test, size = pixels(mnist.x_test, layout), recipe.batch_size
    schedule = recipe.schedule(recipe.epochs * -(-len(x) // size))
    train(copy.deepcopy(network), recipe, schedule, [(x[:size], y[:size])])
    start = time.perf_counter()
    orders = (np.random.default_rng([seed, epoch]).permutation(len(x)) for epoch in range(1, recipe.epochs + 1))
    batches = (chosen for order in orders for chosen in torch.from_numpy(order).split(size))  # as in `Sampler.order`
    train(network, recipe, schedule, ((x[chosen], y[chosen]) for chosen in batches))
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(dim=1) for part in x_test.split(EVALUATION_BATCH)]).numpy()
    accuracy = float((found == mnist.y_test).mean())
    return accuracy, time.perf_counter() - start


def train(
    network: nn.Module,
    recipe: Any,
    schedule: Callable[[int], float],
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """One step for each batch."""
    adam = torch.optim.Adam(network.parameters(), recipe.lr, recipe.betas, fused=True)
    rates = torch.optim.lr_scheduler.LambdaLR(adam, schedule)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for x, y in batches:
        adam.zero_grad()
        loss_of(network(x), y).backward()
        adam.step()
        rates.step()


def pixels(images: Any, layout: torch.memory_format) -> torch.Tensor:
    """Bytes ``(M, H, W, 1)`` → numbers from 0 to 1, ``(M, 1, H, W)``."""
    return torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).astype(np.float32) / 255).to(memory_format=layout)
