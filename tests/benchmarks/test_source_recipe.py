"""The source's recipe in PyTorch: its Muon and its whitened filters are ours, and its steps train."""

import sys

import numpy as np
import pytest

from tests.support.example_runner import EXAMPLES
from tinycnn.backends import load_backend
from tinycnn.layers import Conv2d, Sequential
from tinycnn.optim.muon import orthogonal
from tinycnn.train import whiten

sys.path.insert(0, str(EXAMPLES.parent / "benchmarks"))
pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[bench]'")
import source_recipe
import torch


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_the_direction_of_a_step_is_that_of_our_muon(shape):
    g = normal(*shape)
    expected = orthogonal(load_backend("numpy"), g, rounds=source_recipe.ROUNDS)
    np.testing.assert_allclose(source_recipe.orthogonal(torch.tensor(g)).numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_first_layer_is_whitened_as_ours():
    """Ours subtracts the mean of the patches, the source does not: without a mean, both are the same up to the sign."""
    images = normal(4, 32, 32, 3) * (1, 2, 4)
    images = (images + 0.5 * np.roll(images, 1, axis=1) + 0.3 * np.roll(images, 1, axis=2)).astype(np.float32)
    images = np.concatenate([images, -images])  # every patch also with the other sign: the mean is 0
    model = Sequential(Conv2d(24, 2), input_shape=(32, 32, 3), seed=0)
    whiten(model, images)
    ours = model.layers[0].parameters_by_name["weight"].numpy().transpose(3, 2, 0, 1)  # (24, 3, 2, 2)
    theirs = source_recipe.whitening_filters(torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    ours, theirs = (np.abs(filters[:12]).reshape(12, -1) for filters in (ours, theirs))
    np.testing.assert_allclose(theirs[::-1], ours, rtol=1e-3, atol=1e-3)


def test_a_short_training(monkeypatch, capsys):
    """Dark and bright images are told apart, and the filters keep their size but for the last, small step."""
    monkeypatch.setattr(source_recipe, "BATCH", 8)
    monkeypatch.setattr(source_recipe, "WIDTHS", (24, 24, 24))
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images, labels = source_recipe.normalised(rng.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)), np.arange(32) % 2
    images[labels == 1] += 1
    network = source_recipe.Network(images)
    source_recipe.train(network, images, torch.from_numpy(labels), epochs=4)
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in shown] == [f"epoch {n}" for n in range(1, 5)]
    found = source_recipe.scores(network, images, torch.from_numpy(labels))
    assert list(found) == ["plain", "mirror", "six views"]
    assert min(found.values()) > 0.9
    last_rate = 0.24 / 16  # of 16 steps
    for p in network.parameters():
        if p.ndim == 4 and p.requires_grad:
            assert float(p.norm().detach()) == pytest.approx(len(p) ** 0.5, rel=last_rate)
