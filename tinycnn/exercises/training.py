"""Trains a network in which the functions of a student's files stand in the place of tinycnn's own.

The network has a layer for each exercise: convolutions (im2col and col2im), batch norm, leaky ReLU, ReLU, max-pools,
dropout, and a dense layer whose weights are kept small by a penalty of products, quotients and matrix products.
"""

import functools
import importlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinycnn.backends import use_backend
from tinycnn.data import Dataset
from tinycnn.errors import SettingError, in_shell
from tinycnn.exercises import leaky_relu
from tinycnn.exercises.folder import EXERCISES, Outcome, check_file
from tinycnn.exercises.locating import load, owner_of
from tinycnn.gradcheck import gradcheck
from tinycnn.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, ReLU, Sequential
from tinycnn.ops import dense, softmax_cross_entropy
from tinycnn.optim import Adam
from tinycnn.tensor import Tensor, no_grad

BATCH_SIZE, LEARNING_RATE, PENALTY = 64, 2e-3, 1e-4
MIN_STEPS = 300  # of a small data set, more than one epoch


class LeakyReLU(Layer):
    """The operation of exercise 13 as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu.leaky_relu(x)


def train_on(folder: Path, dataset: Dataset, report: Callable[[str], None], steps: int | None = None) -> float:
    """Train one epoch (or ``steps``) on the files of ``folder`` that are right; returns the accuracy on test images.

    Of an exercise with an extra step, the first task is enough: the network needs no more.

    ``report`` takes each line for the student. In the place of a file that is not right, tinycnn's own code works.
    Raises SettingError if no file is right.
    """
    outcomes = [check_file(exercise, folder / exercise.file_name) for exercise in EXERCISES]
    for outcome in outcomes:
        report(f"{outcome.exercise.name:<18}{whose(outcome)}")
    if not any(is_used(outcome) for outcome in outcomes):
        raise SettingError(f"no file in {folder} is right yet: `tinycnn exercises check {in_shell(folder)}` says why")
    with use_backend("numpy"), borrowed(folder, outcomes) as calls:
        check_a_gradient()
        model = network(dataset.input_shape, dataset.num_classes)
        train(model, dataset, report, steps)
        accuracy = evaluate(model, dataset)
    yours = [outcome.exercise.name for outcome in outcomes if is_used(outcome)]
    for name in yours:
        report(f"{name:<18}called {calls[name]:,} times")
    count = f"{len(yours)} of {len(EXERCISES)} files are yours"
    report(f"{accuracy:.1%} of {len(dataset.y_test):,} test images are read correctly; {count}")
    return accuracy


def is_used(outcome: Outcome) -> bool:
    """Whether the network can run on this file."""
    return outcome.state in ("right", "part")


def whose(outcome: Outcome) -> str:
    """Whose code runs."""
    return "yours" if is_used(outcome) else f"tinycnn's own: yours is {outcome.state}"


@contextmanager
def borrowed(folder: Path, outcomes: Sequence[Outcome]) -> Iterator[Counter[str]]:
    """Put the student's functions in the places of tinycnn's own; yields their calls, by the name of the exercise."""
    calls: Counter[str] = Counter()
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for exercise in (outcome.exercise for outcome in outcomes if is_used(outcome)):
            theirs, ours = load((folder / exercise.file_name).absolute()), importlib.import_module(exercise.source)
            for hole in exercise.holes:
                owner, name = owner_of(ours, exercise.origin(hole.place))
                theirs_owner, their_name = owner_of(theirs, hole.place)
                replaced.append((owner, name, vars(owner)[name]))
                setattr(owner, name, counted(vars(theirs_owner)[their_name], exercise.name, calls))
        yield calls
    finally:
        for owner, name, function in reversed(replaced):
            setattr(owner, name, function)


def counted(function: Callable[..., Any], name: str, calls: Counter[str]) -> Callable[..., Any]:
    """``function``, whose calls are counted."""

    @functools.wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        calls[name] += 1
        return function(*arguments, **settings)

    return call


def check_a_gradient() -> None:
    """The checker of exercise 12 looks at a dense layer before it trains."""
    rng = np.random.default_rng(0)
    x, weight = (Tensor(rng.normal(size=shape), requires_grad=True) for shape in ((3, 2), (2, 4)))
    gradcheck(dense, [x, weight])


def network(input_shape: tuple[int, ...], classes: int) -> Sequential:
    """The network, for images ``(H, W, C)``. All scores are 0 at first, so it begins with the loss log K of a guess."""
    return Sequential(
        Conv2d(8), BatchNorm(), LeakyReLU(), MaxPool2d(), Conv2d(16), ReLU(), MaxPool2d(), Flatten(), Dropout(0.25),
        Dense(classes, initializer="zeros"), input_shape=input_shape,
    )  # fmt: skip


def train(model: Sequential, dataset: Dataset, report: Callable[[str], None], steps: int | None) -> None:
    """The loop of ``examples/minimal.py``, with a penalty for large weights."""
    optimizer, rng = Adam(model.parameters(), lr=LEARNING_RATE), np.random.default_rng(0)
    size = len(dataset.y_train)
    steps = max(size // BATCH_SIZE, MIN_STEPS) if steps is None else steps
    begin = time.monotonic()
    orders = np.concatenate([rng.permutation(size) for _ in range(-(-steps * BATCH_SIZE // size))])
    for step in range(steps):
        chosen = orders[step * BATCH_SIZE :][:BATCH_SIZE]
        loss = softmax_cross_entropy(model(pixels(dataset.x_train[chosen])), dataset.y_train[chosen])
        loss = loss + penalty(model.parameters()[-2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            left = remaining(step, steps, time.monotonic() - begin)
            report(f"step {step:4} of {steps}{left}: loss {loss.item():.3f}")


def remaining(step: int, steps: int, seconds: float) -> str:
    """How long the other steps take if they take as long as the first ``step``; empty at the first."""
    left = seconds / step * (steps - step) if step else 0
    return "" if not step else f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} minutes left"


def penalty(weight: Tensor) -> Tensor:
    """Half of the sum of all squares, as a matrix product, times a small number."""
    row = weight.reshape(1, -1)
    return (row @ row.T).sum() * PENALTY / 2.0


def evaluate(model: Sequential, dataset: Dataset) -> float:
    """The share of the test images that are read correctly."""
    model.eval()
    right = 0
    with no_grad():
        for start in range(0, len(dataset.y_test), 500):
            part = slice(start, start + 500)
            right += (model(pixels(dataset.x_test[part])).numpy().argmax(axis=1) == dataset.y_test[part]).sum()
    return float(right / len(dataset.y_test))


def pixels(images: np.ndarray) -> Tensor:
    """Bytes → numbers from 0 to 1."""
    return Tensor(images.astype(np.float32) / 255)
