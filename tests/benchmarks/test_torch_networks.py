"""The example networks and their twins in PyTorch, which the benchmarks train, have the same outputs and gradients."""

import runpy

import numpy as np
import pytest

from tests.support.example_runner import EXAMPLES
from tinycnn import Sequential, Tensor, ops

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[bench]'")


def in_float64(*layers, **settings):
    """A network with its own input shape in float64; its parts take over the dtype."""
    return Sequential(*layers, **settings, **({"dtype": np.float64} if "input_shape" in settings else {}))


@pytest.mark.parametrize("name", ["depthwise_network", "lenet5_1998", "resnet8"])
def test_both_compute_the_same(name):
    network = runpy.run_path(str(EXAMPLES / f"{name}.py"))["network"]
    network.__globals__["Sequential"] = in_float64
    model = network()
    assert model.dtype == np.float64
    twin = runpy.run_path(str(EXAMPLES.parent / "benchmarks" / "torch_networks.py"))["twin"](model)
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(3, 28, 28, 1)), np.array([1, 7, 9])
    loss = ops.softmax_cross_entropy(model(Tensor(x)), labels)
    loss.backward()
    theirs = torch.nn.functional.cross_entropy(twin(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(labels))
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-9)
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert np.sort(own.grad.ravel()) == pytest.approx(np.sort(other.grad.numpy().ravel()), abs=1e-9)
