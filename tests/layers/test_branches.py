"""Networks that are not chains: residual, dense and squeeze-excite blocks, and everything that a network can do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn
from tinycnn import Tensor, ops
from tinycnn.backends import get_backend
from tinycnn.errors import FileFormatError, SettingError, ShapeError
from tinycnn.layers import (
    GELU,
    Add,
    AvgPool2d,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    MaxPool2d,
    Multiply,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    Upsample,
    building,
    register_layer,
)
from tinycnn.layers.summary import costs
from tinycnn.saving.model_file import of_bytes, to_bytes
from tinycnn.train.step import dropout_layers

SHAPE = (6, 6, 2)


def branched(**settings):
    """A residual block, one with a shortcut, a DenseNet block and a squeeze-excite block, in one expression."""
    return Sequential(
        Conv2d(4, padding=1),
        Residual(Conv2d(4, padding=1), BatchNorm(), ReLU(), Dropout(0.25), Conv2d(4, padding=1), BatchNorm()),
        Residual(Conv2d(6, stride=2, padding=1), Tanh(), shortcut=Conv2d(6, 1, stride=2)),
        Concatenate(Identity(), [BatchNorm(), ReLU(), Conv2d(2, padding=1), Dropout()]),
        Multiply(Identity(), [AvgPool2d(3), Conv2d(2, 1), ReLU(), Conv2d(8, 1), Sigmoid()]),
        Flatten(),
        Dense(3),
        input_shape=SHAPE,
        **settings,
    )


def images(count, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE)).astype(dtype)


@pytest.mark.parametrize("block", [Residual, Add, Multiply, Concatenate])
@pytest.mark.usefixtures("backend")
def test_what_the_branches_compute(block):
    x = images(3)
    left, right = Conv2d(2, padding=1), [Conv2d(2, padding=1), Tanh()]
    layer = Residual(left, shortcut=right) if block is Residual else block(left, right)
    network = Sequential(layer, input_shape=SHAPE, dtype=np.float64)
    first, second = (branch(x).numpy() for branch in layer.sublayers().values())
    np.testing.assert_allclose(
        second, np.tanh(layer.sublayers()[list(layer.sublayers())[1]].layers["conv2d_1"](x).numpy())
    )
    joined = {
        Residual: first + second,
        Add: first + second,
        Multiply: first * second,
        Concatenate: np.concatenate([first, second], axis=3),
    }
    np.testing.assert_allclose(network(x).numpy(), joined[block], rtol=1e-12)


def test_the_gradients_of_branches():
    network = branched(dtype=np.float64)
    x = Tensor(images(3), requires_grad=True)

    def loss(x, *_):
        network.load_counters(dict.fromkeys(network.counters(), 0))
        return network(x)

    assert tinycnn.gradcheck(loss, [x, *network.parameters()], fast_mode=True)
    assert all(np.abs(parameter.grad).max() > 0 for parameter in network.parameters())


def test_names_of_parameters_follow_the_branches():
    names = list(branched().state_dict())
    assert names[2:4] == ["residual_1.body.conv2d_1.weight", "residual_1.body.conv2d_1.bias"]
    assert "residual_2.shortcut.weight" in names
    assert "concatenate_1.sequential_1.batchnorm_1.running_mean" in names
    assert "multiply_1.sequential_1.conv2d_2.bias" in names
    assert len(names) == len(set(names))


@pytest.mark.usefixtures("backend")
def test_a_saved_network_with_branches_is_restored(tmp_path):
    network = branched()
    network(images(4, np.float32))  # moves the running statistics
    tinycnn.save(network, tmp_path / "model.safetensors")
    again = tinycnn.load(tmp_path / "model.safetensors")
    assert repr(again) == repr(network)
    assert not any(layer.training for _, layer in again.all_layers())
    x = images(2, np.float32, seed=1)
    assert np.array_equal(again(x).numpy(), network.eval()(x).numpy())
    tinycnn.save(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_a_part_beside_a_nested_network_is_restored(tmp_path):
    own = Sequential(Dense(4), input_shape=(3,), seed=5)
    network = Sequential(
        Sequential(Dense(3)), own, Sequential(Residual(own_shape_in_a_branch()), ReLU()), input_shape=(2,)
    )
    tinycnn.save(network, tmp_path / "model.safetensors")
    again = tinycnn.load(tmp_path / "model.safetensors")
    x = np.ones((1, 2), np.float32)
    assert np.array_equal(again(x).numpy(), network.eval()(x).numpy())
    assert network.state_dict().keys() == again.state_dict().keys()


def own_shape_in_a_branch():
    return Sequential(Dense(4), input_shape=(4,))


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("residual_2.shortcut.bias"), lambda s: s.update({"residual_2.x.y": 0})]
)
def test_values_that_do_not_fit_the_branches_are_refused(change):
    state = branched().state_dict()
    assert branched(seed=1, state=state).state_dict().keys() == state.keys()
    change(state)
    with pytest.raises(ShapeError, match=r"layer residual_2 does not fit: .*(bias is missing|unknown names: 'x')"):
        branched(state=state)


def test_a_file_with_a_layer_that_is_no_layer_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    tinycnn.save(Sequential(Residual(Tanh(), shortcut=ReLU()), input_shape=(3,)), path)
    for changed in (b'"Tanx"', b'"kin"', b'"body"'):
        old = {b'"Tanx"': b'"Tanh"', b'"kin"': b'"kind"', b'"body"': b'"layers"'}[changed]
        content = path.read_bytes().replace(
            old.replace(b'"', b'\\"'), changed.replace(b'"', b'\\"').ljust(len(old) + 2)
        )
        (tmp_path / "damaged.safetensors").write_bytes(content)
        with pytest.raises(FileFormatError):
            tinycnn.load(tmp_path / "damaged.safetensors")


def test_modes_reach_the_branches():
    network = branched().eval()
    assert not any(layer.training for _, layer in network.all_layers())
    network.train()
    assert all(layer.training for _, layer in network.all_layers())


def test_a_frozen_block_does_not_change():
    network = branched(dtype=np.float64).freeze_only("residual_1")
    before = network.state_dict()
    ops.softmax_cross_entropy(network(images(4)), [0, 1, 2, 0]).backward()
    tinycnn.optim.SGD(network.parameters(), 0.1).step()
    changed = {name for name, array in network.state_dict().items() if not np.array_equal(array, before[name])}
    assert not any(name.startswith("residual_1.") for name in changed)
    assert "residual_2.shortcut.weight" in changed
    assert "concatenate_1.sequential_1.batchnorm_1.running_mean" in changed
    assert "residual_1 (frozen)" in network.summary()


def test_a_layer_inside_a_block_can_be_frozen_by_its_name():
    network = branched().freeze_only("residual_1.body.conv2d_*", "residual_2.shortcut")
    frozen = [name for name, layer in network.all_layers() if layer.frozen]
    assert frozen == ["residual_1.body.conv2d_1", "residual_1.body.conv2d_2", "residual_2.shortcut"]
    frozen = {name for name, layer in network.freeze_only("*conv2d_*").all_layers() if layer.frozen}
    assert {name for name, layer in network.all_layers() if isinstance(layer, Conv2d)} - {
        "residual_2.shortcut"
    } <= frozen
    network.freeze_only("residual_1")
    assert not network.layers["residual_2"].shortcut.frozen
    assert network.layers["residual_1"].frozen
    with pytest.raises(SettingError, match=r"did you mean residual_1.body.conv2d_2 .*: conv2d_1, residual_1, r"):
        network.freeze_only("residual_1.body.conv2d_7")
    assert network.layers["residual_1"].frozen  # nothing was changed


def test_the_summary_shows_the_layers_of_a_block():
    rows = branched().summary().splitlines()
    start = next(i for i, row in enumerate(rows) if row.startswith("residual_2 "))
    block = [row.split() for row in rows[start : start + 4]]
    assert [row[0] for row in block] == ["residual_2", "body.conv2d_1", "body.tanh_1", "shortcut"]
    assert [row.startswith("  ") for row in rows[start : start + 4]] == [False, True, True, True]
    assert [int(row[-3]) for row in block] == [9 * 4 * 6 + 6 + 4 * 6 + 6, 9 * 4 * 6 + 6, 0, 4 * 6 + 6]
    (total,) = (row for row in rows if row.startswith("one image, total"))
    parameters = sum(parameter.data.size for parameter in branched().parameters())
    assert int(total.split()[3].replace(",", "")) == parameters  # inner rows are not counted twice


def test_counters_of_dropout_in_branches_are_saved_and_restored():
    first, second = branched(seed=0), branched(seed=1)
    for _ in range(3):
        first(images(2, np.float32))
    second.load_state_dict(first.state_dict())
    second.load_counters(first.counters())
    assert first.counters()["residual_1.body.dropout_1.step"] == 3
    assert len(dropout_layers(first)) == 2
    x = images(2, np.float32)
    assert np.array_equal(first(x).numpy(), second(x).numpy())


def test_a_new_head_gives_dropout_in_branches_new_masks():
    network = branched()
    changed = network.with_head(5, seed=7)
    seeds = [{name: value for name, value in one.counters().items() if "seed" in name} for one in (network, changed)]
    assert seeds[0].keys() == seeds[1].keys()
    assert not set(seeds[0].values()) & set(seeds[1].values())
    same = [name for name, array in network.state_dict().items() if "dense" not in name]
    assert all(np.array_equal(network.state_dict()[name], changed.state_dict()[name]) for name in same)
    assert changed(images(2, np.float32)).shape == (2, 5)


def test_operations_and_memory_of_branches_are_counted_by_hand():
    network = Sequential(
        Residual(Conv2d(2, padding=1), ReLU()),
        Concatenate(Identity(), [Conv2d(3, 1), Tanh()]),
        Multiply(Identity(), [MaxPool2d(6), Sigmoid()]),
        Add(ReLU(), Identity(), Dropout()),
        input_shape=SHAPE,
    )
    found = {cost.name: (cost.flops, cost.bytes // 4) for cost in costs(network.layers, SHAPE, network.dtype)}
    conv = 72 * (2 * 9 * 2 + 1)
    assert found == {
        "residual_1": (conv + 72 + 72, 3 * 72),
        "concatenate_1": (108 * (2 * 2 + 1) + 108, 2 * 108 + 180),
        "multiply_1": (5 * 36 + 4 * 5 + 180, 5 + 5 + 180),
        "add_1": (180 + 2 * 180, 2 * 180),
    }
    nested = Sequential(Sequential(Dense(3), ReLU()), input_shape=(4,))
    (cost,) = costs(nested.layers, (4,), nested.dtype)
    assert (cost.flops, cost.bytes) == (3 * 9 + 3, 4 * 6)


def test_branches_use_the_fused_kernels(backend):
    """The blocks of a branch are fused as those of a network, ``fuse=False`` reaches them, and both agree."""
    fused, plain = (
        Sequential(Residual(Conv2d(2, padding=1), ReLU()), input_shape=SHAPE, fuse=fuse) for fuse in (True, False)
    )
    x = images(2, np.float32)
    np.testing.assert_allclose(fused(x).numpy(), plain(x).numpy(), rtol=1e-5, atol=1e-5)
    body, unfused = (network.layers["residual_1"].body for network in (fused, plain))
    assert len(unfused._steps()) == 2
    assert len(body._steps()) == (1 if backend.fused.conv_forward else 2)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Residual(Conv2d(2)), r"Residual: the body returns \(4, 4, 2\), the shortcut \(6, 6, 2\)"),
        (Residual(Conv2d(1, padding=1)), r"Residual: the body returns \(6, 6, 1\)"),
        (Add(ReLU(), Conv2d(3, padding=1)), r"Add: the branches return \(6, 6, 2\), \(6, 6, 3\), expected equal"),
        (Add(ReLU(), Flatten()), r"Add: the branches return \(6, 6, 2\), \(72,\), expected equal"),
        (Multiply(Flatten(), [Flatten(), Dense(2)], ReLU()), "Multiply: the branches return"),
        (Concatenate(ReLU(), MaxPool2d()), r"Concatenate: .* \(6, 6, 2\), \(3, 3, 2\), expected shapes that differ"),
        (Add(ReLU(), [ReLU(), Dense(3)]), r"layer sequential_1 does not fit: layer dense_1 does not fit"),
    ],
)  # fmt: skip
def test_branches_that_do_not_fit_together(layer, words):
    with pytest.raises(ShapeError, match=words):
        Sequential(layer, input_shape=SHAPE)


def test_a_layer_in_two_branches_is_refused():
    shared = Conv2d(2, padding=1)
    for make in (
        lambda: Residual(shared, shortcut=shared),
        lambda: Add([shared, ReLU()], [shared, Tanh()]),
        lambda: Sequential(Residual(shared), shared, input_shape=SHAPE),
    ):
        with pytest.raises(SettingError, match="no layer twice"):
            make()


layers = st.sampled_from(
    [
        lambda: Conv2d(2, padding=1),
        lambda: Conv2d(2, 1, stride=2),
        lambda: MaxPool2d(3, 1, 1),
        BatchNorm,
        lambda: LayerNorm(0.1),
        lambda: GroupNorm(2),
        GELU,
        lambda: Clip(-1, 1),
        Dropout,
        Identity,
        Upsample,
    ]
).map(lambda make: make())
blocks = st.recursive(
    layers,
    lambda inner: st.builds(
        lambda kind, first, second: kind(first, shortcut=second) if kind is Residual else kind(first, second),
        st.sampled_from([Residual, Add, Multiply, Concatenate]),
        inner,
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=25)
@given(block=blocks)
def test_whatever_was_built_runs_trains_and_is_restored(block):
    """Blocks in blocks: shapes, gradients, counts and model files, or a sentence that names the layer."""
    try:
        network = Sequential(block, Flatten(), Dense(2), input_shape=(4, 4, 2))
    except ShapeError as error:
        network, words = None, str(error)
    assert network or "does not fit" in words
    if network is None:
        return
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    network(x).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert block(Tensor(x)).shape == (3, *block.output_shape)
    assert len(network.state_dict()) == len([*network.named_parameters(), *network.named_buffers()])  # names differ
    assert None not in [cost.flops for cost in costs(network.layers, (4, 4, 2), network.dtype)]
    again = of_bytes(to_bytes(network), "test")
    assert repr(again) == repr(network)
    assert np.array_equal(again(x).numpy(), network.eval()(x).numpy())


# ------------------------------------------------------------------------------------------------- parts of a network


def test_a_network_without_an_input_shape_says_what_it_needs(tmp_path):
    part = Sequential(Conv2d(2), ReLU())
    for use in (
        lambda: part(images(1, np.float32)),
        part.summary,
        part.parameters,
        part.state_dict,
        lambda: part.input_shape,
        lambda: part.class_names,
        lambda: tinycnn.save(part, tmp_path / "part.safetensors"),
        lambda: Sequential(Dense(2), state={}),
    ):
        with pytest.raises(SettingError, match=r"`input_shape`|input_shape=\(H, W, C\)"):
            use()
    assert not hasattr(part, "output_shape")
    assert repr(part).endswith("ReLU())")


# -------------------------------------------------------------------------------------------------- layers of one's own


class OwnBlock(Layer):
    """A residual block as PyTorch writes it: layers made in ``__init__``, used in ``forward``."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.filters = filters
        self.body = Sequential(Conv2d(filters, padding=1), BatchNorm(), Dropout(0.5), ReLU())
        self.others = [Conv2d(filters, 1), Tanh()]
        self.gates = {"left": Sigmoid(), "right": Sigmoid()}

    def forward(self, x):
        y = self.body(x)
        for layer in self.others:
            y = layer(y) * self.gates["left"](y) * self.gates["right"](y)
        return ops.relu(y)


def own_network(**settings):
    return Sequential(OwnBlock(3), OwnBlock(4), Flatten(), Dense(2), input_shape=SHAPE, **settings)


@pytest.mark.usefixtures("backend")
def test_layers_made_in_init_are_found_built_and_trained():
    network = own_network()
    assert [name for name in network.state_dict() if name.startswith("ownblock_2") and "running" not in name] == [
        "ownblock_2.body.conv2d_1.weight",
        "ownblock_2.body.conv2d_1.bias",
        "ownblock_2.body.batchnorm_1.gamma",
        "ownblock_2.body.batchnorm_1.beta",
        "ownblock_2.others_1.weight",
        "ownblock_2.others_1.bias",
    ]
    assert network.layers["ownblock_1"].output_shape == (6, 6, 3)
    assert set(network.layers["ownblock_1"].sublayers()) == {
        "body",
        "others_1",
        "others_2",
        "gates_left",
        "gates_right",
    }
    assert network.state_dict()["ownblock_1.body.batchnorm_1.running_mean"].any() == np.False_  # not moved by building
    assert network.counters()["ownblock_1.body.dropout_1.step"] == 0
    assert all(layer.training for _, layer in network.all_layers())
    network(images(3, np.float32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_weights_of_inner_layers_follow_from_the_seed():
    first, again, other = (own_network(seed=seed).state_dict() for seed in (0, 0, 1))
    name = "ownblock_1.others_1.weight"
    assert np.array_equal(first[name], again[name])
    assert not np.array_equal(first[name], other[name])


def test_an_own_layer_with_inner_layers_is_saved_and_restored(tmp_path, monkeypatch):
    monkeypatch.setattr(Layer, "registry", dict(Layer.registry))
    register_layer(OwnBlock)
    network = own_network()
    tinycnn.save(network, tmp_path / "model.safetensors")
    again = tinycnn.load(tmp_path / "model.safetensors")
    x = images(2, np.float32)
    assert np.array_equal(again(x).numpy(), network.eval()(x).numpy())


def test_an_own_layer_can_build_its_inner_layers_itself():
    class Own(Layer):
        def __init__(self):
            super().__init__()
            self.first, self.second = Dense(3), Dense(2)

        def build(self, input_shape, rng, dtype):
            self._add_parameter("scale", (1,), tinycnn.initializers.ones, rng, dtype)
            with building(self, rng, dtype) as build_inner:
                return build_inner(self.second, build_inner(self.first, input_shape))

        def forward(self, x):
            return self.second(self.first(x)) * self.parameters_by_name["scale"]

        def flops(self, input_shape):
            return 2

    network = Sequential(Own(), input_shape=(4,))
    assert network.output_shape == (2,)
    assert list(network.state_dict())[:2] == ["own_1.scale", "own_1.first.weight"]
    (cost,) = costs(network.layers, (4,), network.dtype)
    assert (cost.flops, cost.bytes) == (3 * 9 + 2 * 7 + 2, 4 * (3 + 2 + 2))


def test_a_layer_that_is_called_in_training_only_is_built():
    class Own(Layer):
        def __init__(self):
            super().__init__()
            self.norm, self.drop = BatchNorm(), Dropout(0.5)

        def forward(self, x):
            return self.drop(self.norm(x)) if self.training else x

    network = Sequential(Own(), input_shape=(4,))
    assert network.layers["own_1"].drop.seed > 0
    assert network.counters()["own_1.drop.step"] == 0
    assert not network.state_dict()["own_1.norm.running_mean"].any()
    assert network.state_dict()["own_1.norm.running_var"].all()
    network(np.ones((2, 4), np.float32))
    assert network.counters()["own_1.drop.step"] == 1


def test_a_layer_that_forward_does_not_call_is_named():
    class Own(Layer):
        def __init__(self):
            super().__init__()
            self.used, self.unused = Dense(2), Dense(3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(SettingError, match="forward does not call its layer unused"):
        Sequential(Own(), input_shape=(4,))


def test_a_layer_under_two_names_has_its_parameters_once():
    class Tied(Layer):
        def __init__(self):
            super().__init__()
            self.first = self.second = Dense(4)

        def forward(self, x):
            return self.second(self.first(x))

    network = Sequential(Tied(), input_shape=(4,))
    assert list(network.state_dict()) == ["tied_1.first.weight", "tied_1.first.bias"]
    network(np.ones((1, 4), np.float32)).sum().backward()
    assert np.isfinite(get_backend().to_host(network.parameters()[0].grad)).all()
