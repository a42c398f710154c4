"""``tinycnn explain-step``: every kernel of a step, in the order of its table."""

import dataclasses
import re

import pytest

import tinycnn
from tinycnn import models
from tinycnn.commands import main
from tinycnn.layers import Conv2d, Dense, Flatten, ReLU, Sequential, Softmax

pytest.importorskip("numba")


def test_the_table_of_a_step(capsys):
    assert main(["explain-step", "lenet", "--batch-size", "2"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("lenet: a training step with 2 images\n")
    kernels = "gather_images", "pooled_forward", "one_hot", "sparse_grad_weight", "masked_grad_weight", "adam ("
    places = [text.index(kernel) for kernel in kernels]
    assert places == sorted(places)
    rows, calls = map(int, re.search(r"^(\d+) rows, (\d+) calls, ", text, re.MULTILINE).groups())
    assert rows == len(re.findall(r"^ +\d+ +\d+  ", text, re.MULTILINE))
    assert calls > 40


def test_operations_are_those_of_the_definition(capsys):
    """lenet, per image: 6 filters of 9 weights at 26x26 pixels, 16 of 54 at 10x10 (of 11x11); dense 400-120-84-10."""
    assert main(["explain-step", "lenet", "--batch-size", "2"]) == 0
    found = re.findall(r"(\d+\.\d\d) +\d+   +\d", capsys.readouterr().out)
    forward = 2 * (6 * 9 * 26 * 26 + 16 * 54 * 10 * 10) * 2
    assert sum(map(float, found)) > forward / 1e6
    assert 3 * forward / 1e6 + 6 * 2 * 59_000 / 1e6 + 12 * 60_074 / 1e6 > sum(map(float, found))


def test_a_whitened_first_layer_has_no_gradients(capsys, monkeypatch):
    """As in a run, where it is frozen."""
    layers = lambda classes=10: [Conv2d(8, 2), ReLU(), Flatten(), Dense(classes)]  # noqa: E731
    for name, whitened in (("trained", False), ("whitened", True)):
        small = dataclasses.replace(models.NETWORKS["lenet"], layers=layers, input_shape=(5, 5, 1), whitened=whitened)
        monkeypatch.setitem(models.NETWORKS, name, small)
        assert main(["explain-step", name, "--batch-size", "2"]) == 0
        assert ("dense_grad_weight" in capsys.readouterr().out) != whitened


def test_a_step_that_is_not_recorded_is_an_error(capsys, tmp_path):
    path = tmp_path / "model.safetensors"
    tinycnn.save(Sequential(Flatten(), Dense(4), Softmax(), Dense(3), input_shape=(8, 8, 1)), path)
    assert main(["explain-step", str(path), "--batch-size", "2"]) == 2
    assert "the step of this network is not recorded: softmax_1 (Softmax): it uses NumPy" in capsys.readouterr().err
