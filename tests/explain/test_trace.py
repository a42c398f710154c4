"""``explain.trace_step``: the numbers are those that the engine computes, each layer has those of its neighbours."""

import json

import numpy as np
import pytest

import tinycnn
from tinycnn import explain, models, ops
from tinycnn.errors import DataError, FileFormatError, SettingError, ShapeError
from tinycnn.explain import Trace, trace_step
from tinycnn.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    ReLU,
    Rescaling,
    Residual,
    Sequential,
    Softmax,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (9, 8, 2), np.uint8)


def small(**settings):
    layers = [Conv2d(4), ReLU(), BatchNorm(), MaxPool2d(), Flatten(), Dense(6), Dropout(0.5), Dense(5), Softmax()]
    return Sequential(*layers, input_shape=(9, 8, 2), **settings)


@pytest.mark.parametrize("training", [False, True])
def test_the_numbers_are_those_of_the_engine(backend, training):
    model = small(dtype=np.float64)
    trace = trace_step(model, IMAGE, 3, training=training)
    x = explain.as_input(model, IMAGE[np.newaxis])
    x.requires_grad = True
    loss = ops.softmax_cross_entropy(explain.plain_logits(model.train(training), x), np.array([3]))
    loss.backward()
    to_host = tinycnn.get_backend().to_host
    np.testing.assert_allclose(trace.loss, to_host(loss.data), rtol=1e-12)
    np.testing.assert_allclose(trace.layers[0].grad_x, to_host(x.grad)[0], rtol=1e-9, atol=1e-15)
    found = {f"{la.name}.{name}": grad for la in trace.layers for name, grad in la.grad_parameters.items()}
    assert list(found) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(found[name], to_host(parameter.grad), rtol=1e-9, atol=1e-13)  # some are 0


@pytest.mark.parametrize("name", models.NETWORKS)
def test_each_layer_has_the_numbers_of_its_neighbours(name):
    model = models.create(name)
    image = np.random.default_rng(1).integers(0, 256, model.input_shape, np.uint8)
    trace = trace_step(model, image, 3)
    outputs = explain.activations(model, image)
    assert [layer.name for layer in trace.layers] + ["softmax"] * bool(trace.head) == [
        name if "softmax" not in name else "softmax" for name, _ in model.layers.items()
    ]
    for layer, following in zip(trace.layers, trace.layers[1:], strict=False):
        assert np.array_equal(layer.y, following.x)
        assert np.array_equal(layer.grad_y, following.grad_x)
    for layer in trace.layers:
        np.testing.assert_allclose(layer.y, outputs[layer.name], rtol=1e-4, atol=1e-4)
    last = trace.layers[-1]
    np.testing.assert_array_equal(last.grad_y, trace.probabilities - trace.target)
    assert trace.loss == pytest.approx(-np.log(trace.probabilities[3]), rel=1e-5)
    assert trace.target.argmax() == trace.label == 3


def test_what_layers_keep_for_the_way_back():
    trace = trace_step(small(), IMAGE, 1, training=True)
    by_name = {layer.name: layer for layer in trace.layers}
    pool, dropout, norm = by_name["maxpool2d_1"], by_name["dropout_1"], by_name["batchnorm_1"]
    for (oh, ow, c), winner in np.ndenumerate(pool.kept["winner"]):
        assert pool.x[2 * oh + winner // 2, 2 * ow + winner % 2, c] == pool.y[oh, ow, c]
    assert set(np.unique(dropout.kept["mask"])) == {0, 2}
    np.testing.assert_array_equal(dropout.y, dropout.x * dropout.kept["mask"])
    np.testing.assert_allclose(norm.kept["mean"], norm.x.mean(axis=(0, 1)), rtol=1e-5)
    assert by_name["dense_1"].kept == {}
    assert norm.calls == ("tinycnn.ops.batch_norm.BatchNormFunction",)


def test_in_evaluation_mode_dropout_passes_and_batch_norm_uses_its_running_statistics():
    by_name = {layer.name: layer for layer in trace_step(small(), IMAGE, 1).layers}
    assert np.array_equal(by_name["dropout_1"].x, by_name["dropout_1"].y)
    assert np.array_equal(by_name["dropout_1"].grad_x, by_name["dropout_1"].grad_y)
    assert by_name["dropout_1"].calls == ()
    assert (by_name["batchnorm_1"].kept["mean"] == 0).all()  # the initial ones
    assert by_name["batchnorm_1"].calls == ("tinycnn.ops.batch_norm.FixedBatchNormFunction",)


def test_the_network_does_not_change(backend):
    model = small().train()
    before, counters = model.state_dict(), model.counters()
    trace_step(model, IMAGE, 0, training=True)
    assert all((before[name] == after).all() for name, after in model.state_dict().items())
    assert model.counters() == counters
    assert all(parameter.grad is None for parameter in model.parameters())
    assert tinycnn.get_backend() is backend


def test_a_frozen_parameter_has_no_gradient():
    model = small()
    model.layers["conv2d_1"].freeze()
    conv = trace_step(model, IMAGE, 0).layers[0]
    assert set(conv.parameters) == {"weight", "bias"}
    assert conv.grad_parameters == {}


def test_a_layer_that_holds_others_is_traced_as_a_whole(tmp_path):
    block = Residual(Conv2d(2, padding=1), BatchNorm())
    model = Sequential(block, Flatten(), Dense(5), input_shape=(9, 8, 2))
    trace = trace_step(model, IMAGE, 0, training=True)
    trace.save(tmp_path / "step.safetensors")
    first = Trace.load(tmp_path / "step.safetensors").layers[0]
    assert first.kind == "Residual"
    assert set(first.grad_parameters) == {f"body.{name}" for name, _ in block.body.named_parameters()}
    np.testing.assert_array_equal(first.y, first.kept["body.out"] + first.x)
    for name in ("body", "shortcut"):
        np.testing.assert_array_equal(first.kept[f"{name}.out.grad"], first.grad_y)
    np.testing.assert_array_equal(first.kept["shortcut.in.grad"], first.grad_y)
    np.testing.assert_allclose(first.kept["body.in.grad"], first.grad_x - first.grad_y, rtol=1e-4, atol=1e-6)
    assert "Conv2d(filters=2" in str(first.settings["layers"])


def test_a_network_inside_of_a_network_and_one_without_convolutions():
    inner = Sequential(Dense(4), ReLU(), input_shape=(6,))
    model = Sequential(Rescaling(2.0, offset=1.0), inner, Dense(3), input_shape=(6,))
    trace = trace_step(model, np.arange(6, dtype=np.uint8), 2)
    rescaling, nested, _ = trace.layers
    np.testing.assert_allclose(rescaling.y, 2 * rescaling.x + 1, rtol=1e-6)
    assert [call.split(".")[-1] for call in rescaling.calls] == ["Multiply", "Add"]
    assert set(nested.grad_parameters) == {"dense_1.weight", "dense_1.bias"}
    assert trace.head == ""


def test_a_softmax_at_the_end_of_an_inner_network_belongs_to_the_loss(tmp_path):
    pixels = np.arange(6, dtype=np.uint8)
    nested, flat = (
        Sequential(Dense(4), *last, input_shape=(6,))
        for last in ((Sequential(Dense(3), Softmax()),), (Dense(3), Softmax()))
    )
    traces = [trace_step(model, pixels, 2) for model in (nested, flat)]
    assert [layer.name for layer in traces[0].layers] == ["dense_1", "sequential_1.dense_1"]
    assert traces[0].loss == traces[1].loss
    assert [trace.head for trace in traces] == ["Softmax", "Softmax"]
    traces[0].save(tmp_path / "step.safetensors")
    assert Trace.load(tmp_path / "step.safetensors").layers[1].name == "sequential_1.dense_1"


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_is_saved_and_read_again(tmp_path, training):
    trace = trace_step(small(), IMAGE, 2, training=training)
    trace.save(tmp_path / "step.safetensors")
    again = Trace.load(tmp_path / "step.safetensors")
    assert json.dumps(again.description(), sort_keys=True) == json.dumps(trace.description(), sort_keys=True)
    assert again.arrays().keys() == trace.arrays().keys()
    for name, array in trace.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
        assert again.arrays()[name].dtype == array.dtype
    assert (tmp_path / "step.safetensors").read_bytes() == trace.to_bytes()
    assert trace.size() == sum(array.size for array in trace.arrays().values())


def test_other_files_are_refused(tmp_path):
    tinycnn.save(small(), tmp_path / "model.safetensors")
    with pytest.raises(FileFormatError, match="not written by tinycnn"):
        Trace.load(tmp_path / "model.safetensors")
    content = trace_step(small(), IMAGE, 2).to_bytes()
    (tmp_path / "cut").write_bytes(content[:-8])
    with pytest.raises(FileFormatError, match="not a readable safetensors file"):
        Trace.load(tmp_path / "cut")
    (tmp_path / "newer").write_bytes(content.replace(b'format\\": 1', b'format\\": 7'))
    with pytest.raises(FileFormatError, match="the trace in it is damaged"):
        Trace.load(tmp_path / "newer")


def test_wrong_arguments_are_refused():
    model = small()
    with pytest.raises(SettingError, match="trace_step: label 5, expected 0 to 4"):
        trace_step(model, IMAGE, 5)
    with pytest.raises(SettingError, match="expected 0 to 4"):
        trace_step(model, IMAGE, True)
    with pytest.raises(SettingError, match="training"):
        trace_step(model, IMAGE, 1, training="yes")
    with pytest.raises(ShapeError, match="images have shape"):
        trace_step(model, IMAGE[1:], 1)
    with pytest.raises(DataError, match="images are"):
        trace_step(model, "three.png", 1)
    with pytest.raises(ShapeError, match="one score per class"):
        trace_step(Sequential(ReLU(), input_shape=(9, 8, 2)), IMAGE, 1)
