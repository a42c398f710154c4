"""Layers and networks: shapes known before any data is seen, names, modes, values in and out, dropout, statistics."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn
from tests.support.onnx_networks import LAYERS
from tinycnn import Tensor, ops
from tinycnn.errors import DtypeError, SettingError, ShapeError
from tinycnn.interchange.onnx.operators.axes import ROW_LAYERS
from tinycnn.layers import (
    ELU,
    GELU,
    Abs,
    Add,
    AvgPool2d,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Crop2d,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    HardSwish,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    Maximum,
    MaxPool2d,
    Minimum,
    Multiply,
    Normalization,
    Pad2d,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    Transpose2d,
    Upsample,
)
from tinycnn.layers.summary import costs, flops
from tinycnn.train import memory_estimate
from tinycnn.train.memory_estimate import stages

MEAN, VARIANCE = "batchnorm_1.running_mean", "batchnorm_1.running_var"


def small_network(seed=0, **settings):
    """A network with every kind of parameter and buffer: ``(6, 6, 2)`` → ``(3,)``."""
    layers = Conv2d(4), BatchNorm(), ReLU(), MaxPool2d(), Flatten(), Dropout(0.5), Dense(3)
    return Sequential(*layers, input_shape=(6, 6, 2), seed=seed, **settings)


def images(count, shape=(6, 6, 2), dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(dtype)


def same_arrays(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


# ------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("layer", "shape_in", "shape_out"),
    [
        (Conv2d(5), (28, 28, 1), (26, 26, 5)),
        (Conv2d(5, kernel_size=(1, 3)), (8, 9, 2), (8, 7, 5)),
        (Conv2d(5, kernel_size=5, stride=2, padding=2), (28, 28, 1), (14, 14, 5)),
        (Conv2d(5, stride=(3, 1), padding=(0, 1)), (10, 10, 1), (3, 10, 5)),
        (MaxPool2d(), (13, 12, 4), (6, 6, 4)),
        (MaxPool2d(3, stride=1, padding=1), (5, 5, 4), (5, 5, 4)),
        (AvgPool2d(2), (5, 4, 3), (2, 2, 3)),
        (Flatten(), (5, 4, 3), (60,)),
        (Flatten(), (7,), (7,)),
        (Dense(9), (7,), (9,)),
        (ReLU(), (5, 4, 3), (5, 4, 3)),
        (Dropout(0.1), (5, 4, 3), (5, 4, 3)),
        (BatchNorm(), (5, 4, 3), (5, 4, 3)),
        (BatchNorm(), (7,), (7,)),
        (Rescaling(0.5), (5, 4, 3), (5, 4, 3)),
        (Softmax(), (7,), (7,)),
        (LogSoftmax(), (7,), (7,)),
        (Tanh(), (5, 4, 3), (5, 4, 3)),
        (Sigmoid(), (5, 4, 3), (5, 4, 3)),
        (LeakyReLU(0.2), (5, 4, 3), (5, 4, 3)),
        (Identity(), (5, 4, 3), (5, 4, 3)),
        (Residual(Conv2d(3, padding=1), ReLU()), (5, 4, 3), (5, 4, 3)),
        (Residual(Conv2d(6, stride=2), shortcut=[AvgPool2d(2), Conv2d(6, 1)]), (5, 5, 3), (2, 2, 6)),
        (Add(ReLU(), Tanh(), [Conv2d(1, (5, 4)), Sigmoid()]), (5, 4, 3), (5, 4, 3)),
        (Multiply(Identity(), [AvgPool2d((5, 4)), Conv2d(3, 1), Sigmoid()]), (5, 4, 3), (5, 4, 3)),
        (Concatenate(Identity(), [Conv2d(2, padding=1), ReLU()], ReLU()), (5, 4, 3), (5, 4, 8)),
        (Concatenate(Identity(), Dense(4)), (7,), (11,)),
        (ELU(), (5, 4, 3), (5, 4, 3)),
        (GELU(), (5, 4, 3), (5, 4, 3)),
        (SiLU(), (7,), (7,)),
        (HardSwish(), (7,), (7,)),
        (Clip(0, 6), (7,), (7,)),
        (LayerNorm(), (5, 4, 3), (5, 4, 3)),
        (LayerNorm(), (7,), (7,)),
        (GroupNorm(2), (5, 4, 6), (5, 4, 6)),
        (GroupNorm(3), (6,), (6,)),
        (Normalization(0.5, 0.25), (7,), (7,)),
        (Normalization((0.5, 0.4, 0.3), 0.25), (5, 4, 3), (5, 4, 3)),
        (Pad2d(2), (5, 4, 3), (9, 8, 3)),
        (Pad2d((2, 0)), (5, 4, 3), (9, 4, 3)),
        (Pad2d(((1, 0), (2, 3))), (5, 4, 3), (6, 9, 3)),
        (ConvTranspose2d(6), (5, 4, 3), (7, 6, 6)),
        (ConvTranspose2d(6, (4, 2), stride=2, padding=1, output_padding=(1, 0)), (5, 4, 3), (11, 6, 6)),
        (ConvTranspose2d(6, stride=2, padding="same"), (5, 4, 3), (10, 8, 6)),
        (ConvTranspose2d(6, 2, stride=(3, 1), padding="same"), (5, 4, 3), (15, 4, 6)),
        (Crop2d(((1, 0), (2, 1))), (5, 4, 3), (4, 1, 3)),
        (Transpose2d(), (5, 4, 3), (4, 5, 3)),
        (Softplus(), (7,), (7,)),
        (Softsign(), (7,), (7,)),
        (Abs(), (7,), (7,)),
        (Maximum(Identity(), [AvgPool2d((5, 4)), Conv2d(3, 1)]), (5, 4, 3), (5, 4, 3)),
        (Minimum(Dense(4), Dense(1)), (7,), (4,)),
        (Upsample(), (5, 4, 3), (10, 8, 3)),
        (Upsample((1, 3)), (5, 4, 3), (5, 12, 3)),
    ],
    ids=repr,
)
def test_shapes_are_inferred_without_data(layer, shape_in, shape_out):
    network = Sequential(layer, input_shape=shape_in)
    assert network.output_shape == shape_out
    assert network(images(2, shape_in)).shape == (2, *shape_out)


@pytest.mark.usefixtures("backend")
def test_every_backend_gives_the_shapes_that_were_inferred():
    network = small_network()
    x = Tensor(images(3))
    for layer in network.layers.values():
        x = layer(x)
        assert x.shape == (3, *layer.output_shape)
    assert network(images(3)).shape == (3, 3)


windows = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 2)),
    kernel=windows,
    stride=windows,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    pool=windows,
)
def test_a_network_that_was_built_can_run(shape, kernel, stride, padding, pool):
    layers = Conv2d(2, kernel, stride=stride, padding=padding), MaxPool2d(pool), Flatten(), Dense(3)
    try:
        outcome = Sequential(*layers, input_shape=shape)(images(2, shape)).shape
    except ShapeError as error:
        outcome = str(error)
    assert outcome == (2, 3) or re.search(r"layer (conv2d|maxpool2d)_1 does not fit", outcome)


# ------------------------------------------------------------------------------------------------- wrong architectures


@pytest.mark.parametrize(
    ("layers", "shape", "culprit", "hint"),
    [
        ([Dense(3)], (5, 5, 1), "dense_1", "Flatten()"),
        ([Conv2d(3), ReLU(), Dense(3)], (5, 5, 1), "dense_1", "Flatten()"),
        ([Flatten(), Conv2d(3)], (5, 5, 1), "conv2d_1", "(N, H, W, C)"),
        ([Conv2d(3)], (28, 28), "conv2d_1", "(N, H, W, C)"),
        ([Conv2d(3), Conv2d(3), Conv2d(3)], (6, 9, 1), "conv2d_3", "smaller `kernel_size`"),
        ([Conv2d(3), MaxPool2d(5)], (6, 6, 1), "maxpool2d_1", "5x5 window does not fit into the 4x4 image"),
        ([AvgPool2d(2), AvgPool2d(2)], (3, 3, 1), "avgpool2d_2", "2x2 window does not fit into the 1x1 image"),
        ([Flatten(), MaxPool2d()], (4, 4, 1), "maxpool2d_1", "(N, H, W, C)"),
        ([Flatten(), Pad2d()], (4, 4, 1), "pad2d_1", "(H, W, C)"),
        ([Flatten(), Upsample()], (4, 4, 1), "upsample_1", "(H, W, C)"),
        ([Crop2d(2)], (4, 5, 1), "crop2d_1", "leaves no pixel of a 4x5 image"),
        ([Flatten(), Transpose2d()], (4, 4, 1), "transpose2d_1", "(H, W, C)"),
        ([ConvTranspose2d(2, padding=3)], (4, 5, 1), "convtranspose2d_1", "leaves 0x1 pixels"),
        ([GroupNorm(4)], (4, 4, 6), "groupnorm_1", "6 channels cannot form 4 groups"),
        ([Normalization((1, 2), 1)], (4, 4, 3), "normalization_1", "`mean` has 2 numbers, the input 3 channels"),
    ],
)
def test_a_wrong_architecture_names_the_layer(layers, shape, culprit, hint):
    with pytest.raises(ShapeError) as caught:
        Sequential(*layers, input_shape=shape)
    assert f"layer {culprit} does not fit" in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Conv2d(0),
        lambda: Conv2d(-3),
        lambda: Conv2d(2.5),
        lambda: Conv2d(True),
        lambda: Conv2d(3, kernel_size=0),
        lambda: Conv2d(3, kernel_size=(3, 3, 3)),
        lambda: Conv2d(3, kernel_size="3"),
        lambda: Conv2d(3, stride=0),
        lambda: Conv2d(3, padding=-1),
        lambda: Conv2d(3, initializer="magic"),
        lambda: MaxPool2d(0),
        lambda: MaxPool2d(2, stride=-1),
        lambda: MaxPool2d(2, padding=2),
        lambda: AvgPool2d(2, padding=2),
        lambda: Dense(0),
        lambda: Dense(10, initializer="magic"),
        lambda: Dropout(1.0),
        lambda: Dropout(-0.1),
        lambda: Dropout(float("nan")),
        lambda: BatchNorm(momentum=1.5),
        lambda: BatchNorm(momentum=float("nan")),
        lambda: BatchNorm(eps=0),
        lambda: Rescaling(float("inf")),
        lambda: Rescaling(1, offset=float("nan")),
        lambda: LeakyReLU(float("nan")),
        lambda: LeakyReLU("0.1"),
        lambda: ELU(None),
        lambda: GELU("tanh"),
        lambda: Clip(),
        lambda: Clip(6, 0),
        lambda: Clip(1, 1),
        lambda: Clip(0, float("inf")),
        lambda: LayerNorm(0),
        lambda: GroupNorm(0),
        lambda: GroupNorm(2, eps=-1),
        lambda: Normalization(0, 0),
        lambda: Normalization((), 1),
        lambda: Normalization((0, "1"), 1),
        lambda: Pad2d(-1),
        lambda: Pad2d((1, 2, 3)),
        lambda: Pad2d(((1, 2), (3,))),
        lambda: Upsample(0),
        lambda: Crop2d("same"),
        lambda: Crop2d(-1),
        lambda: ConvTranspose2d(0),
        lambda: ConvTranspose2d(2, stride=2, output_padding=2),
        lambda: Residual(),
        lambda: Residual(ReLU(), shortcut=[]),
        lambda: Residual(ReLU(), shortcut="identity"),
        lambda: Add(ReLU()),
        lambda: Concatenate(ReLU(), None),
        lambda: Multiply([ReLU(), Dense], Identity()),
    ],
)
def test_settings_out_of_range_raise_an_error_at_once(make):
    with pytest.raises(SettingError):
        make()


def test_numpy_integers_are_accepted():
    assert Dense(np.int64(3)).settings() == {"units": 3, "bias": True, "initializer": "he_normal"}
    assert type(Dense(np.int64(3)).units) is int


@pytest.mark.parametrize("shape", [(), (0,), (28, 28, 0), (-1, 28, 1), (28.0, 28, 1), (28, 28, "1")])
def test_an_invalid_input_shape(shape):
    with pytest.raises(ShapeError, match="input_shape"):
        Sequential(ReLU(), input_shape=shape)


@pytest.mark.parametrize("dtype", [np.int32, np.float16, bool, "complex64"])
def test_a_network_computes_in_float32_or_float64(dtype):
    with pytest.raises(DtypeError, match="float32 or float64"):
        Sequential(Dense(3), input_shape=(2,), dtype=dtype)


@pytest.mark.parametrize("layers", [[], [Dense], [[Dense(3)]], [None]])
def test_anything_but_layers_is_refused(layers):
    with pytest.raises(SettingError, match="Sequential takes"):
        Sequential(*layers, input_shape=(2,))


def test_a_layer_cannot_be_in_two_places():
    dense = Dense(4)
    with pytest.raises(SettingError, match="no layer twice"):
        Sequential(dense, ReLU(), dense, input_shape=(4,))


def test_images_of_another_shape_are_refused():
    network = small_network()
    with pytest.raises(ShapeError, match=re.escape("(N, 6, 6, 2), got (5, 6, 2)")):
        network(images(5, (6, 2)))


def test_layers_of_another_network_keep_their_weights():
    first = small_network(seed=3)
    x, state = images(2), first.state_dict()
    expected = first.eval()(x).numpy()
    kept = first.layers[:-1]
    kept[0].freeze()
    second = Sequential(*kept, Dense(7), input_shape=first.input_shape, seed=4).eval()
    assert second(x).shape == (2, 7)
    np.testing.assert_array_equal(first(x).numpy(), expected)
    for name, array in first.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    weight = kept[0].parameters_by_name["weight"]
    assert kept[0].frozen
    assert all(any(weight is one for one in network.parameters()) for network in (first, second))


def test_layers_of_another_network_are_for_the_same_input():
    dense = Dense(3)
    Sequential(dense, input_shape=(4,))
    with pytest.raises(ShapeError, match=r"dense_1 does not fit: it has weights for float32 \(4,\), from an earl"):
        Sequential(dense, input_shape=(5,))
    with pytest.raises(ShapeError, match=r"and receives float64 \(4,\): create a new layer"):
        Sequential(dense, input_shape=(4,), dtype=np.float64)


def test_a_tensor_of_another_precision_is_refused_and_an_array_converted():
    network, x = small_network().eval(), images(2, dtype=np.float64)
    with pytest.raises(DtypeError):
        network(Tensor(x))
    assert network(x).dtype == np.float32
    np.testing.assert_array_equal(network(x).numpy(), network(x.astype(np.float32)).numpy())


# --------------------------------------------------------------------------------------------------- names and weights


def test_names_count_within_each_kind():
    layers = Conv2d(2), ReLU(), Conv2d(2, bias=False), ReLU(), Flatten(), BatchNorm(), Dense(3)
    network = Sequential(*layers, input_shape=(6, 6, 1))
    names = ["conv2d_1", "relu_1", "conv2d_2", "relu_2", "flatten_1", "batchnorm_1", "dense_1"]
    assert list(network.layers.keys()) == names
    assert {name: parameter.shape for name, parameter in network.named_parameters()} == {
        "conv2d_1.weight": (3, 3, 1, 2),
        "conv2d_1.bias": (2,),
        "conv2d_2.weight": (3, 3, 2, 2),
        "batchnorm_1.gamma": (8,),
        "batchnorm_1.beta": (8,),
        "dense_1.weight": (8, 3),
        "dense_1.bias": (3,),
    }
    assert {name: buffer.shape for name, buffer in network.named_buffers()} == {MEAN: (8,), VARIANCE: (8,)}
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.usefixtures("backend")
def test_the_weights_depend_on_the_seed_only():
    first, again, other = (small_network(seed).state_dict() for seed in (0, 0, 1))
    assert same_arrays(first, again)
    assert not np.array_equal(first["conv2d_1.weight"], other["conv2d_1.weight"])
    assert not np.array_equal(first["dense_1.weight"], other["dense_1.weight"])


def test_initial_values_that_are_not_random():
    state = small_network().state_dict()
    zeros = "conv2d_1.bias", "batchnorm_1.beta", MEAN, "dense_1.bias"
    assert all(not state[name].any() for name in zeros)
    assert all((state[name] == 1).all() for name in ("batchnorm_1.gamma", VARIANCE))


def test_zero_grad_drops_all_gradients():
    network = small_network()
    network(images(4)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.zero_grad()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_train_and_eval_reach_every_layer():
    network = small_network()
    assert network.training
    assert network.eval() is network
    assert not any(layer.training for layer in (network, *network.layers.values()))
    assert network.train() is network
    assert all(layer.training for layer in (network, *network.layers.values()))


# ---------------------------------------------------------------------------------------------------------- state_dict


@pytest.mark.usefixtures("backend")
def test_a_network_can_start_from_given_values(monkeypatch):
    source = small_network(seed=1)
    state = {name: np.asfortranarray(array) for name, array in source.state_dict().items()}
    monkeypatch.setattr("tinycnn.initializers.zeros", lambda *_: pytest.fail("drawn"))
    network = small_network(seed=2, state=state)
    assert same_arrays(network.state_dict(), source.state_dict())
    assert [layer.initial_values for layer in network.layers.values()] == [None] * len(network.layers)
    for _, parameter in network.named_parameters():
        parameter.data[...] = 7
    assert same_arrays(state, source.state_dict())  # they were copied


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda state: state.pop("dense_1.bias"), "layer dense_1 does not fit: bias is missing"),
        (lambda state: state.pop(MEAN), "layer batchnorm_1 does not fit: running_mean is missing"),
        (
            lambda state: state.update({"dense_1.b": state[MEAN]}),
            "layer dense_1 does not fit: unknown names: 'b'",
        ),
        (lambda state: state.update({"dense_2.b": state[MEAN]}), "unknown names: 'dense_2'"),
        (lambda state: state.update({MEAN: np.zeros(4)}), r"running_mean is float64 \(4,\), .* float32 \(4,\)"),
        (lambda state: state.update({MEAN: np.zeros(5, "f4")}), r"running_mean is float32 \(5,\), .* float32 \(4,\)"),
    ],
)
def test_given_values_must_fit(damage, words):
    state = small_network().state_dict()
    damage(state)
    with pytest.raises(ShapeError, match=words):
        small_network(state=state)


@pytest.mark.usefixtures("backend")
def test_a_state_moves_to_another_network():
    source, target = small_network(0), small_network(1)
    source(images(8))  # moves the running statistics
    target.load_state_dict(source.state_dict())
    assert same_arrays(source.state_dict(), target.state_dict())
    x = images(4, seed=1)
    assert np.array_equal(source.eval()(x).numpy(), target.eval()(x).numpy())


@pytest.mark.usefixtures("backend")
def test_a_state_is_a_copy():
    network = small_network()
    before = network.state_dict()
    for array in network.state_dict().values():
        array += 1
    assert same_arrays(network.state_dict(), before)
    network(images(4))  # changes the running statistics in place
    assert not before[MEAN].any()


def renamed(state):
    return {name.replace("dense", "thick"): array for name, array in state.items()}


def without_dense(state):
    return {name: array for name, array in state.items() if "dense" not in name}


def with_more(state):
    return state | {"dense_2.weight": np.zeros((3, 3), np.float32)}


def of_torch(state):
    return {name.replace("conv2d_1", "0").replace("dense_1", "features.4"): array for name, array in state.items()}


def of_torch_by_attributes(state):
    return {name.replace("conv2d_1", "conv").replace("dense_1", "fc"): array for name, array in state.items()}


def with_wrong_shape(state):
    return state | {"dense_1.weight": state["dense_1.weight"].T.copy()}


def with_wrong_dtype(state):
    return state | {"dense_1.bias": state["dense_1.bias"].astype(np.float64)}


def with_lists(state):
    return state | {"dense_1.bias": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (renamed, "missing ['dense_1.bias', 'dense_1.weight'], unknown ['thick_1.bias', 'thick_1.weight']"),
        (with_more, "missing [], unknown ['dense_2.weight']"),
        (of_torch, "; a state of PyTorch is loaded with tinycnn.load_torch_state_dict(model, state)"),
        (of_torch_by_attributes, "; a state of PyTorch is loaded with tinycnn.load_torch_state_dict(model, state)"),
        (without_dense, "missing ['dense_1.bias', 'dense_1.weight'], unknown []"),
        (with_wrong_shape, "dense_1.weight is float32 (3, 16), the network has float32 (16, 3)"),
        (with_wrong_dtype, "dense_1.bias is float64 (3,), the network has float32 (3,)"),
        (with_lists, "dense_1.bias is float64 (3,), the network has float32 (3,)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(damage, words):
    network = small_network(0)
    before = network.state_dict()
    with pytest.raises(ShapeError, match=re.escape(words)):
        network.load_state_dict(damage(small_network(1).state_dict()))
    assert same_arrays(network.state_dict(), before)


def test_a_network_for_grey_images_needs_their_channel():
    for layers in ([Conv2d(3), Flatten()], [MaxPool2d(), Flatten()]):
        with pytest.raises(ShapeError, match=r"; pass grey images as `input_shape=\(8, 6, 1\)`$"):
            Sequential(*layers, Dense(2), input_shape=(8, 6))
    with pytest.raises(ShapeError, match=r"channels$"):
        Sequential(Conv2d(3), input_shape=(8,))
    assert Sequential(Flatten(), Dense(2), input_shape=(8, 6)).output_shape == (2,)


def test_not_strict_takes_what_fits_by_name():
    network, other = small_network(0), small_network(1).state_dict()
    before = network.state_dict()
    network.load_state_dict(renamed(other), strict=False)
    after = network.state_dict()
    assert np.array_equal(after["conv2d_1.weight"], other["conv2d_1.weight"])
    assert np.array_equal(after["dense_1.weight"], before["dense_1.weight"])


@pytest.mark.parametrize("damage", [with_wrong_shape, with_wrong_dtype])
def test_not_strict_still_refuses_other_shapes_and_dtypes(damage):
    network = small_network(0)
    before = network.state_dict()
    with pytest.raises(ShapeError):
        network.load_state_dict(damage(small_network(1).state_dict()), strict=False)
    assert same_arrays(network.state_dict(), before)


def test_a_network_does_not_share_memory_with_the_state_it_loaded():
    network, state = small_network(0), small_network(1).state_dict()
    network.load_state_dict(state)
    state["dense_1.weight"] += 1
    assert np.array_equal(network.state_dict()["dense_1.weight"], small_network(1).state_dict()["dense_1.weight"])


# ------------------------------------------------------------------------------------------------------------- summary


def test_the_summary_adds_up():
    text = small_network().summary()
    assert repr(text) == text  # as a notebook shows it
    counts = {"conv2d_1": 9 * 2 * 4 + 4, "batchnorm_1": 2 * 4, "dense_1": 16 * 3 + 3}
    for name, _ in small_network().layers.items():
        row = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert int(row.split()[-3].replace(",", "")) == counts.get(name, 0)
    total = sum(counts.values())
    assert f"{total} trainable parameters and 8 running statistics, float32" in text
    assert f"{(total + 8) * 4 / 1024:.1f} KiB" in text
    assert "conv2d_1 3x3" in text
    assert "dropout_1 p=0.5" in text
    assert "(N, 2, 2, 4)" in text


def test_the_summary_is_a_table():
    head, rule, *rows, last_rule, _total = small_network().summary().splitlines()
    assert head.split() == ["layer", "output", "shape", "parameters", "FLOPs", "bytes", "out"]
    assert rule == last_rule == "-" * len(head)
    assert all(len(row) == len(head) for row in rows[1:])


def test_operations_and_memory_are_counted_by_hand():
    layers = [Rescaling(2.0), Conv2d(3, 2), ReLU(), BatchNorm(), MaxPool2d(2), Flatten(), Dropout(0.5)]
    network = Sequential(*layers, Dense(4, bias=False), Softmax(), input_shape=(5, 6, 2))
    found = {cost.name.split()[0]: (cost.flops, cost.bytes) for cost in costs(network.layers, (5, 6, 2), network.dtype)}
    assert found == {
        "rescaling_1": (60, 4 * 60),
        "conv2d_1": (4 * 5 * 3 * (2 * 2 * 2 * 2 + 1), 4 * 60),
        "relu_1": (60, 4 * 60),
        "batchnorm_1": (2 * 60, 4 * 60),
        "maxpool2d_1": (12 * 4, 4 * 12),
        "flatten_1": (0, 0),
        "dropout_1": (0, 0),
        "dense_1": (2 * 12 * 4, 4 * 4),
        "softmax_1": (5 * 4, 4 * 4),
    }
    (last,) = (line for line in network.summary().splitlines() if line.startswith("one image, total"))
    flops, memory = (f"{sum(column):,}" for column in zip(*found.values(), strict=True))
    assert last.split()[-2:] == [flops, memory]


def test_operations_of_layers_that_enlarge_and_cut_by_hand():
    """A transposed convolution multiplies each of its 5 * 6 * 2 numbers with the 2 * 3 * 4 weights of its channel."""
    layers = [ConvTranspose2d(4, (2, 3), stride=2), Softplus(), Crop2d(1), Transpose2d()]
    network = Sequential(*layers, input_shape=(5, 6, 2))
    found = [(cost.flops, cost.bytes) for cost in costs(network.layers, (5, 6, 2), network.dtype)]
    large, small = 10 * 13 * 4, 8 * 11 * 4
    assert found == [
        (5 * 6 * 2 * (2 * 2 * 3 * 4) + large, 4 * large), (5 * large, 4 * large), (0, 4 * small), (0, 4 * small)
    ]  # fmt: skip


def test_the_operations_of_a_custom_layer_are_unknown():
    class Odd(Layer):
        def forward(self, x):
            return x

    text = Sequential(Odd(), Dense(2), input_shape=(3,)).summary()
    assert "odd_1" in text
    assert " ? " in text
    assert "> 14 " in text


def test_float64_takes_twice_the_memory():
    numbers = 76 + 8 + 51 + 8  # of the convolution, batch norm, dense layer, running statistics
    kib = [float(small_network(dtype=dtype).summary().split()[-2]) for dtype in (np.float32, np.float64)]
    assert kib == [pytest.approx(numbers * size / 1024, abs=0.05) for size in (4, 8)]


def test_repr_shows_the_settings():
    assert repr(Sequential(Dense(3), ReLU(), input_shape=(2,))) == (
        "Sequential(Dense(units=3, bias=True, initializer='he_normal'), ReLU(), input_shape=(2,))"
    )


def test_every_layer_can_be_created_again_from_its_settings():
    ours = {name: kind for name, kind in Layer.registry.items() if kind.__module__.startswith("tinycnn.")}
    for name, kind in ours.items():  # not those that the tests of other files registered
        layer = example(kind)
        assert repr(kind.from_settings(layer.settings())) == repr(layer)
        assert repr(layer).startswith(f"{name}(")


def test_normalization_divides_by_given_numbers(backend):
    x = images(2, (3, 3, 2))
    network = Sequential(Normalization((0.5, 1.5), 0.25), input_shape=(3, 3, 2))
    np.testing.assert_allclose(network(x).numpy(), (x - np.array([0.5, 1.5])) / 0.25, rtol=1e-5)
    pixels = {std: Sequential(Normalization(0.5, std), input_shape=(2,)).pixels for std in (0.25, 60, (0.2, 50))}
    assert pixels == {0.25: "0..1", 60: "0..255", (0.2, 50): "0..255"}


# ------------------------------------------------------------------------------------------------------------- dropout


def dropout_network(seed=0, p=0.25):
    return Sequential(Dropout(p), input_shape=(1000,), seed=seed)


@pytest.mark.usefixtures("backend")
def test_dropout_does_nothing_in_evaluation():
    network = dropout_network().eval()
    x = images(3, (1000,))
    assert np.array_equal(network(x).numpy(), x)
    assert network.layers["dropout_1"].step == 0


@pytest.mark.usefixtures("backend")
def test_dropout_drops_a_fraction_and_scales_the_rest():
    y = dropout_network(p=0.25)(np.ones((100, 1000), np.float32)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / y.size)  # five standard deviations


@pytest.mark.usefixtures("backend")
def test_dropout_masks_follow_from_seed_and_step():
    x = np.ones((2, 1000), np.float32)
    first, again, other = dropout_network(0), dropout_network(0), dropout_network(1)
    masks = [first(x).numpy() for _ in range(3)]
    assert all(np.array_equal(mask, again(x).numpy()) for mask in masks)
    assert first.layers["dropout_1"].step == 3
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], other(x).numpy())


def test_two_dropouts_in_one_network_drop_different_places():
    x = Tensor(np.ones((2, 1000), np.float32))
    network = Sequential(Dropout(), Dropout(), input_shape=(1000,))
    left, right = (layer(x).numpy() for layer in network.layers.values())
    assert not np.array_equal(left, right)


def test_dropout_with_probability_0():
    x = images(2, (1000,))
    assert np.array_equal(dropout_network(p=0.0)(x).numpy(), x)


# --------------------------------------------------------------------------------------------------------- batch norm


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("shape", [(6,), (4, 5, 6)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_statistics_move_towards_the_batch(shape, dtype):
    network = Sequential(BatchNorm(momentum=0.3), input_shape=shape, dtype=dtype)
    mean, variance = np.zeros(6), np.ones(6)
    for seed in range(3):
        x = 2 * images(7, shape, dtype, seed) + 5
        network(x)
        rows = x.reshape(-1, 6).astype(np.float64)
        mean = 0.7 * mean + 0.3 * rows.mean(axis=0)
        variance = 0.7 * variance + 0.3 * rows.var(axis=0)  # biased: divided by M, not by M - 1
    state = network.state_dict()
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert state[MEAN].dtype == state[VARIANCE].dtype == dtype
    np.testing.assert_allclose(state[MEAN], mean, rtol=tolerance)
    np.testing.assert_allclose(state[VARIANCE], variance, rtol=tolerance)


@pytest.mark.usefixtures("backend")
def test_training_normalises_by_the_batch_evaluation_by_the_running_statistics():
    network = Sequential(BatchNorm(momentum=0.5, eps=1e-3), input_shape=(4, 4, 3))
    x = 3 * images(10, (4, 4, 3)) + 2
    y = network(x).numpy().reshape(-1, 3)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-3)
    state = network.eval().state_dict()
    expected = (x - state[MEAN]) / np.sqrt(state[VARIANCE] + 1e-3)
    np.testing.assert_allclose(network(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert same_arrays(network.state_dict(), state)  # evaluation moves nothing


def test_scale_and_shift_come_last():
    network = Sequential(BatchNorm(), input_shape=(3,))
    network.load_state_dict(
        {"batchnorm_1.gamma": np.full(3, 2, np.float32), "batchnorm_1.beta": np.full(3, 7, np.float32)}, strict=False
    )
    y = network(images(500, (3,))).numpy()
    np.testing.assert_allclose(y.mean(axis=0), 7, rtol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 2, rtol=1e-3)


# ------------------------------------------------------------------------------------------------networks in networks


def nested_network():
    block = Sequential(Conv2d(2), BatchNorm(), Dropout(), input_shape=(6, 6, 1))
    return Sequential(block, Flatten(), Dense(3), input_shape=(6, 6, 1))


@pytest.mark.usefixtures("backend")
def test_a_network_can_be_a_layer():
    network = nested_network()
    assert network(images(2, (6, 6, 1))).shape == (2, 3)
    assert network.parameter_count() == (9 * 2 + 2) + 4 + (32 * 3 + 3)
    assert "sequential_1.conv2d_1.weight" in network.state_dict()
    network.eval()
    assert not network.layers["sequential_1"].layers["dropout_1"].training
    network(images(2, (6, 6, 1))).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_network_that_does_not_fit_is_named():
    block = Sequential(Dense(3), input_shape=(4,))
    with pytest.raises(ShapeError, match="layer sequential_1 does not fit"):
        Sequential(block, input_shape=(5,))
    with pytest.raises(ShapeError, match="layer sequential_1 does not fit"):
        Sequential(block, input_shape=(4,), dtype=np.float64)


# ------------------------------------------------------------------------------------------------------------- float64


@pytest.mark.usefixtures("backend")
def test_a_float64_network_stays_in_float64():
    network = small_network(dtype=np.float64)
    logits = network(images(4, dtype=np.float64))
    ops.softmax_cross_entropy(logits, np.array([0, 1, 2, 0])).backward()
    assert logits.dtype == np.float64
    assert {array.dtype for array in network.state_dict().values()} == {np.dtype(np.float64)}
    assert {parameter.grad.dtype for parameter in network.parameters()} == {np.dtype(np.float64)}


def test_the_gradients_of_a_whole_network_are_right():
    network = small_network(dtype=np.float64).eval()
    x = Tensor(images(3, dtype=np.float64), requires_grad=True)
    assert tinycnn.gradcheck(lambda x, *_: network(x), [x, *network.parameters()])


@pytest.mark.parametrize("last", [Softmax, LogSoftmax])
def test_logits_are_the_scores_before_the_probabilities(last):
    network, x = Sequential(Dense(4), last(), input_shape=(3,)), images(5, (3,))
    scores = network.logits(x)
    expected = ops.softmax(scores) if last is Softmax else ops.log_softmax(scores)
    assert np.array_equal(network(x).numpy(), expected.numpy())
    assert not np.allclose(scores.numpy(), network(x).numpy())


@pytest.mark.parametrize("last", [Softmax, LogSoftmax, Sigmoid])
def test_logits_are_those_of_the_last_network_where_it_is_the_last_layer(last):
    x = images(5, (3,))
    parts = [
        (Dense(4), last()),
        (Sequential(Dense(4), last()),),
        (Sequential(Dense(4)), Sequential(Sequential(last()))),
    ]
    flat, nested, alone = (Sequential(*layers, input_shape=(3,)) for layers in parts)
    assert len({network.outputs for network in (flat, nested, alone)}) == 1
    for network in (nested, alone):
        np.testing.assert_array_equal(network.logits(x).numpy(), flat.logits(x).numpy())
        np.testing.assert_array_equal(network(x).numpy(), flat(x).numpy())
        with tinycnn.use_backend("numpy"):
            np.testing.assert_array_equal(network.predict(x), flat.predict(x))
            assert network.evaluate(x, [0, 1, 2, 3, 0]) == flat.evaluate(x, [0, 1, 2, 3, 0])


@pytest.mark.parametrize("layer", [Conv2d(2), Dense(3), BatchNorm()], ids=lambda layer: type(layer).__name__)
def test_parameters_of_a_layer_outside_of_a_network(layer):
    kind = type(layer).__name__
    with pytest.raises(SettingError, match=rf"{kind} has no \w+ yet: .*Sequential\({kind}\(...\), input_shape=...\)"):
        layer(Tensor(np.zeros((1, 4, 4, 1), np.float32)))


def test_a_parameter_that_a_layer_does_not_have():
    network = Sequential(Dense(3, bias=False), input_shape=(4,))
    with pytest.raises(SettingError, match="Dense has no bias, only weight"):
        network.layers["dense_1"].parameters_by_name["bias"]


# ----------------------------------------------------------------------------------------- each layer is in every list


EXAMPLES = {
    Conv2d: lambda: Conv2d(3),
    ConvTranspose2d: lambda: ConvTranspose2d(3),
    Dense: lambda: Dense(3),
    Rescaling: lambda: Rescaling(3),
    Reshape: lambda: Reshape((2, 8, 3)),
    Clip: lambda: Clip(0, 6),
    GroupNorm: lambda: GroupNorm(3),
    Normalization: lambda: Normalization((0.5, 0.4, 0.3), 0.2),
    Residual: lambda: Residual(Tanh(), shortcut=Sigmoid()),
    **{
        kind: lambda kind=kind: kind([Tanh(), ReLU()], Identity())
        for kind in (Add, Multiply, Maximum, Minimum, Concatenate)
    },
}


def example(kind):
    """A layer of this class."""
    return EXAMPLES.get(kind, kind)()


def missing_from_lists(classes):
    """What CONTRIBUTING asks for and these layer classes lack, as sentences."""
    in_onnx_networks = {type(layer) for network in LAYERS.values() for layer in network}
    for one in classes:
        layer = example(one)
        network = Sequential(layer, input_shape=(3,) if one is Dense else (4, 4, 3))
        if Layer.registry.get(one.__name__) is not one:
            yield f"{one.__name__} is not registered: @register_layer"
        if one not in in_onnx_networks:
            yield f"{one.__name__} is in no network of tests/support/onnx_networks.py"
        if flops(layer, network.input_shape) is None:
            yield f"{one.__name__} has no operations in tinycnn/layers/summary.py"
        kept, counted = kept_elements(network), sum(s.inner + s.columns + s.passing for s in stages(network))
        if kept > counted + 0.3 * np.prod(network.output_shape):  # a mask of bytes is a quarter of the output
            yield f"{one.__name__} keeps {kept:.0f} numbers per image, {counted} in tinycnn/train/memory_estimate.py"


def kept_elements(network, batch_size=8):
    """The float32 numbers per image that the functions keep for the backward pass, besides inputs and outputs."""
    with tinycnn.use_backend("numpy"):
        shape = batch_size, *network.input_shape
        x = Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32), requires_grad=True)
        waiting, functions = [network(x)], set()
    known = {id(memory_of(tensor.data)) for tensor in (x, *waiting, *network.parameters())}
    while waiting:
        tensor = waiting.pop()
        known.add(id(memory_of(tensor.data)))
        if tensor.creator and tensor.creator not in functions:
            functions.add(tensor.creator)
            waiting += tensor.creator.inputs
    attributes = (value for function in functions for name, value in vars(function).items() if name not in KNOWN)
    kept = {id(memory): memory for memory in map(memory_of, arrays_in(list(attributes))) if id(memory) not in known}
    return sum(memory.nbytes for memory in kept.values()) / batch_size / 4


KNOWN = "inputs", "guards"  # of a Function: not what it keeps, but what it was called with


def arrays_in(value):
    """The arrays in lists, tuples and dictionaries, at any depth."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from arrays_in(one)


def memory_of(array):
    """The array that owns the memory of this one."""
    return memory_of(array.base) if isinstance(array.base, np.ndarray) else array


def test_every_layer_is_registered_counted_and_exported_to_onnx():
    offered = [getattr(tinycnn.layers, name) for name in tinycnn.layers.__all__]
    classes = [one for one in offered if isinstance(one, type) and issubclass(one, Layer)]
    assert len(classes) >= 13
    assert list(missing_from_lists(set(classes) - {Layer, Sequential})) == []


def test_every_layer_of_single_numbers_can_be_reordered_in_an_onnx_file():
    """`ROW_LAYERS`: a layer that changes each number by itself, whatever its place."""
    x, others = np.linspace(-1.9, 1.9, 6, dtype=np.float32).reshape(1, 6), {Dropout, Identity, Flatten, Sequential}
    for one in sorted({type(layer) for network in LAYERS.values() for layer in network} - others, key=str):
        try:
            network = Sequential(example(one), input_shape=(6,)).eval()
        except ShapeError:
            continue  # for images
        y = network(x).numpy()
        if y.shape == x.shape and not network.layers[0].sublayers():
            alone = [network(np.where(np.arange(6) == i, x, 0.5).astype(x.dtype)).numpy()[0, i] for i in range(6)]
            assert not np.array_equal(alone, y[0]) or one in ROW_LAYERS, f"axes.ROW_LAYERS lacks {one.__name__}"


def test_a_layer_whose_memory_is_not_counted_is_noticed(monkeypatch):
    monkeypatch.setattr(memory_estimate, "inner_count", lambda layers: 0)
    (sentence,) = missing_from_lists([Sigmoid])
    assert sentence == "Sigmoid keeps 48 numbers per image, 0 in tinycnn/train/memory_estimate.py"


def test_a_layer_that_is_in_no_list_is_noticed():
    class Unlisted(Layer):
        def build(self, input_shape, rng, dtype):
            return input_shape

        def forward(self, x):
            return x

        def settings(self):
            return {}

    assert len(list(missing_from_lists([Unlisted]))) == 3


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [((3, 3), 1, 1), ((3, 2), (2, 1), (1, 1)), ((4, 5), (3, 2), (2, 0))]
)
def test_a_mean_without_the_padding(backend, kernel_size, stride, padding):
    """Against plain loops over the pixels that lie in the image."""
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3))
    network = Sequential(
        AvgPool2d(kernel_size, stride, padding, count_include_pad=False), input_shape=x.shape[1:], dtype=np.float64
    )
    layer = network.layers["avgpool2d_1"]
    y = network(backend.asarray(x)).numpy()
    for n, i, j, c in np.ndindex(y.shape):
        top, left = i * layer.stride[0] - layer.padding[0], j * layer.stride[1] - layer.padding[1]
        window = x[n, max(top, 0) : top + layer.kernel_size[0], max(left, 0) : left + layer.kernel_size[1], c]
        assert abs(y[n, i, j, c] - window.mean()) < 1e-12
    tinycnn.gradcheck(network, Tensor(backend.asarray(x[:1]), requires_grad=True), fast_mode=True)
    with pytest.raises(SettingError, match=r"AvgPool2d\(count_include_pad=0\): expected True or False"):
        AvgPool2d(3, 1, 1, count_include_pad=0)
