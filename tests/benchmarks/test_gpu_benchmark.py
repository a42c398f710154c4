"""The GPU benchmark, as far as it runs without a GPU: both sides train the same network, and cheats are caught."""

import argparse
import json
import sys

import numpy as np
import pytest

import tinycnn
from tests.support import fake_cupy
from tests.support.backends import activated
from tests.support.example_runner import EXAMPLES
from tinycnn import models
from tinycnn.backends import use_tf32

sys.path.insert(0, str(EXAMPLES.parent / "benchmarks"))
import gpu_steps

pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[bench]'")
import torch_networks
import train_step


@pytest.fixture
def emulated(request, monkeypatch):
    monkeypatch.setattr(fake_cupy, "BLAS", set())
    monkeypatch.setenv("TINYCNN_DATA", "nowhere")
    monkeypatch.setattr("tinycnn.data.load", refuse)
    request.param = "cupy-emulated"
    yield from activated(request)


def refuse(*_, **__):
    raise tinycnn.errors.DataError("no MNIST in this test")


def test_both_sides_take_the_same_steps():
    """The mean losses of two epochs agree far beyond chance: same images, batches, first weights, same optimizer."""
    images, labels = train_step.fake_mnist(256)
    torch_side = gpu_steps.TorchTraining("lenet", "eager", 64, images, labels, device="cpu")
    with tinycnn.use_backend("numpy"):
        ours = gpu_steps.tinycnn_epochs("lenet", 64, images, labels, capture=True)
        for epoch in (1, 2):
            assert torch_side.epoch(epoch) == pytest.approx(ours(epoch), rel=1e-4)


@pytest.mark.usefixtures("emulated")
def test_a_measurement_from_check_to_figures(monkeypatch):
    """On the stand-in, with PyTorch on the CPU; only what a graph of PyTorch's needs a GPU for is left out."""
    torch_side = gpu_steps.TorchTraining
    monkeypatch.setattr(gpu_steps, "TorchTraining", lambda *arguments: torch_side(*arguments, device="cpu"))
    options = argparse.Namespace(against="torch", torch_modes=["eager"], limit=70, turns=2)
    result = gpu_steps.measure("lenet", 32, "float32", options, train_step.check_same, train_step.fake_mnist)
    assert (result["images"], result["mnist"]) == (64, False)
    assert result["difference_to_torch"] < gpu_steps.STRICT
    assert list(result["contestants"]) == ["tinycnn eager", "tinycnn captured", "torch eager"]
    losses = [figures["loss"] for figures in result["contestants"].values()]
    assert losses[0] == losses[1] == pytest.approx(losses[2], rel=1e-3)
    for figures in result["contestants"].values():
        assert figures["ms_per_epoch"] == pytest.approx(figures["ms_per_step"] * 2 * 60_000 / 64)


@pytest.mark.usefixtures("emulated")
def test_what_is_not_recorded_is_not_timed_as_recorded(monkeypatch):
    monkeypatch.setattr("tinycnn.train.capture.reason_not_recordable", lambda step, images: "it is Sunday")
    epoch = gpu_steps.tinycnn_epochs("lenet", 16, *train_step.fake_mnist(16), capture=True)
    with pytest.raises(SystemExit, match="the step was not captured, so it is not timed: it is Sunday"):
        epoch(1)


@pytest.mark.usefixtures("emulated")
def test_what_is_refused_keeps_nothing_else_from_being_measured(monkeypatch, tmp_path, capsys):
    def measure(name, batch_size, precision, *_):
        if (name, precision) == ("lenet", "tf32"):
            raise SystemExit("lenet: it disagrees")
        about = {"model": name, "batch_size": batch_size, "precision": precision}
        return about | {"tinycnn_precision": precision, "contestants": {}}

    monkeypatch.setattr(gpu_steps, "measure", measure)
    monkeypatch.setattr(gpu_steps, "describe_gpu", dict)
    monkeypatch.setattr(tinycnn, "use_backend", lambda name: None)
    options = argparse.Namespace(
        model=["lenet", "keras_cnn"], batch_size=[64], precision=["tf32", "float32"], json=tmp_path / "steps.json"
    )
    with pytest.raises(SystemExit, match="1 of 4 measurements failed, see above"):
        gpu_steps.main(options, None, None)
    assert "lenet: it disagrees" in capsys.readouterr().out
    written = json.loads(options.json.read_text())["results"]
    measured = [("lenet", "float32"), ("keras_cnn", "tf32"), ("keras_cnn", "float32")]
    assert [(result["model"], result["precision"]) for result in written] == measured


@pytest.mark.usefixtures("emulated")
def test_rounded_factors_are_neither_strict_nor_wrong():
    model = models.create("lenet")
    images, labels = train_step.fake_mnist(16)
    use_tf32()
    try:
        gap = train_step.largest_gap(model, torch_networks.twin(model), images, labels)
    finally:
        use_tf32(False)
    assert gpu_steps.STRICT < gap < gpu_steps.ROUNDED


def test_a_contestant_that_does_not_learn_is_caught():
    gpu_steps.check_alike("lenet", {"tinycnn eager": 0.10, "torch graph": 0.11}, real=True)
    with pytest.raises(SystemExit, match="the losses of torch graph differ"):
        gpu_steps.check_alike("lenet", {"tinycnn eager": 0.10, "torch graph": 2.3}, real=True)
    with pytest.raises(SystemExit, match="torch graph"):
        gpu_steps.check_alike("lenet", {"tinycnn eager": 0.10, "torch graph": float("nan")}, real=True)


def test_epochs_hold_whole_batches_only(monkeypatch):
    monkeypatch.setattr("tinycnn.data.load", refuse)
    images, labels, real = gpu_steps.mnist(64, 1000, train_step.fake_mnist)
    assert (len(images), len(labels), real) == (960, 960, False)
    assert images.dtype == np.uint8
