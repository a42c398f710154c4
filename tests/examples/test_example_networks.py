"""The examples of networks that people bring are short, and the networks learn."""

import runpy

import numpy as np
import pytest

from tests.support.example_runner import EXAMPLES
from tinycnn import Tensor, no_grad, ops, optim

PARAMETERS = {
    "depthwise_network": 18_826,
    "lenet5_1998": 61_706,  # C1 156, C3 2,416 (each map sees all six), C5 48,120, F6 10,164, output 850
    "resnet8": 77_754,  # 77,082 of convolutions and the dense layer, 2 for each of the 336 normalised channels
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_is_short_and_its_network_learns(name):
    """One batch, seen a few times; the whole example takes minutes."""
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    example = runpy.run_path(str(path))
    model, rng = example["network"](), np.random.default_rng(0)
    assert model.parameter_count() == PARAMETERS[name]
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
