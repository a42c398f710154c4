"""The depthwise example is short, and its network learns."""

import runpy

import numpy as np

from tests.support.example_runner import EXAMPLES
from tinycnn import Tensor, no_grad, ops, optim


def test_it_is_short_and_its_network_learns():
    """One batch, seen a few times; the whole example takes minutes."""
    path = EXAMPLES / "depthwise_network.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    example = runpy.run_path(str(path))
    model, rng = example["network"](), np.random.default_rng(0)
    assert model.parameter_count() == 18_826
    x, labels = Tensor(rng.normal(size=(8, 28, 28, 1)).astype(np.float32)), np.arange(8)
    optimizer, losses = optim.Adam(model.parameters(), example["RATE"]), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = ops.softmax_cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    with no_grad():
        assert model.eval()(x).shape == (8, 10)
