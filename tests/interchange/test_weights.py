"""Weights from PyTorch and Keras: the same outputs afterwards, and an error for everything that does not match."""

import importlib.util
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import tinycnn
from tinycnn import Tensor, layers, models
from tinycnn.errors import DtypeError, FileFormatError, SettingError, ShapeError

IMAGES = np.random.default_rng(0).uniform(size=(5, 28, 28, 1))


def small_network(dtype=np.float64):
    """A batch norm between Flatten and Dense, so that both must follow the order of the features."""
    return tinycnn.Sequential(
        layers.Conv2d(3, 2),
        layers.ReLU(),
        layers.Flatten(),
        layers.BatchNorm(),
        layers.Dense(4),
        layers.BatchNorm(),
        layers.Dense(2),
        input_shape=(4, 3, 2),
        dtype=dtype,
    ).eval()


def small_torch_weights():
    """A PyTorch state dict for ``small_network``, in PyTorch's shapes."""
    rng = np.random.default_rng(1)
    shapes = {
        "conv.weight": (3, 2, 2, 2), "conv.bias": (3,),
        "bn1.weight": (18,), "bn1.bias": (18,), "bn1.running_mean": (18,), "bn1.running_var": (18,),
        "fc1.weight": (4, 18), "fc1.bias": (4,),
        "bn2.weight": (4,), "bn2.bias": (4,), "bn2.running_mean": (4,), "bn2.running_var": (4,),
        "fc2.weight": (2, 4), "fc2.bias": (2,),
    }  # fmt: skip
    state = {name: rng.uniform(0.5, 1.5, size=shape) for name, shape in shapes.items()}
    return state | {"bn1.num_batches_tracked": np.array(3), "bn2.num_batches_tracked": np.array(3)}


def small_torch_forward(w, x):
    """PyTorch's forward pass with these weights, in plain NumPy, channels first: ``x (N, 2, 4, 3)`` → ``(N, 2)``."""

    def norm(x, name):
        x_hat = (x - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-3)
        return w[f"{name}.weight"] * x_hat + w[f"{name}.bias"]

    y = np.zeros((len(x), 3, 3, 2))
    for h, v in np.ndindex(3, 2):
        y[:, :, h, v] = np.einsum("ncij,fcij->nf", x[:, :, h : h + 2, v : v + 2], w["conv.weight"]) + w["conv.bias"]
    x = norm(np.maximum(y, 0).reshape(len(x), -1), "bn1")  # (N, 18): channels, rows, columns
    x = norm(x @ w["fc1.weight"].T + w["fc1.bias"], "bn2")
    return x @ w["fc2.weight"].T + w["fc2.bias"]


def test_the_flatten_order_without_pytorch(backend):
    model, weights = small_network(), small_torch_weights()
    tinycnn.load_torch_state_dict(model, weights)
    x = np.random.default_rng(2).normal(size=(6, 4, 3, 2))
    expected = small_torch_forward(weights, np.moveaxis(x, 3, 1))
    np.testing.assert_allclose(model.logits(Tensor(x)).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_round_trip_to_pytorch_changes_nothing():
    model, weights = small_network(), small_torch_weights()
    tinycnn.load_torch_state_dict(model, weights)
    names = {"conv2d_1": "conv", "batchnorm_1": "bn1", "dense_1": "fc1", "batchnorm_2": "bn2", "dense_2": "fc2"}
    back = tinycnn.convert.to_torch_state_dict(model, names=names)
    assert back.keys() == {name for name in weights if not name.endswith("num_batches_tracked")}
    for name, values in back.items():
        np.testing.assert_array_equal(values, weights[name], err_msg=name)
        assert values.flags.c_contiguous


def test_no_layer_is_lost_on_the_way_to_pytorch():
    model = small_network()
    with pytest.raises(SettingError, match=r"`names` has \['dense_9'\]; layers with weights are \['conv2d_1', "):
        tinycnn.convert.to_torch_state_dict(model, names={"dense_9": "fc"})
    for names in ({"dense_1": "fc", "dense_2": "fc"}, {"dense_1": "dense_2"}):
        with pytest.raises(SettingError, match="gives two layers the same name"):
            tinycnn.convert.to_torch_state_dict(model, names=names)


def test_names_map_layers_to_pytorch():
    """Also to only some of the layers of the file."""
    weights = small_torch_weights()
    names = {"conv2d_1": "conv", "batchnorm_1": "bn1", "dense_1": "fc1", "batchnorm_2": "bn2", "dense_2": "fc2"}
    swapped = {name.replace("fc1", "x").replace("fc2", "fc1").replace("x", "fc2"): w for name, w in weights.items()}
    auxiliary = weights | {"fc3.weight": np.ones((2, 4)), "fc3.bias": np.ones(2)}
    wrapped = {f"module.{name}": values for name, values in weights.items()}
    expected = small_network()
    tinycnn.load_torch_state_dict(expected, weights)
    for state, stated in [
        (swapped, names | {"dense_1": "fc2", "dense_2": "fc1"}),
        (auxiliary, names),
        (wrapped, names),
        (wrapped, {ours: f"module.{name}" for ours, name in names.items()}),
    ]:
        model = small_network()
        tinycnn.load_torch_state_dict(model, state, names=stated)
        for name, values in expected.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[name], values)


@pytest.mark.parametrize("wrong", [{"dense_2": "fc1"}, {"dense_2": "fc9"}, {"dense_9": "fc2"}, {"dense_2": "bn2"}])
def test_names_that_do_not_fit(wrong):
    names = {"conv2d_1": "conv", "batchnorm_1": "bn1", "dense_1": "fc1", "batchnorm_2": "bn2", "dense_2": "fc2"}
    with pytest.raises(ShapeError, match=r"expected exactly one for each|bn2 has .*our dense_2 needs .*pass `names="):
        tinycnn.load_torch_state_dict(small_network(), small_torch_weights(), names=names | wrong)


def chain_of_equal_layers(count, bias=True):
    """Dense layers that could be exchanged; layer ``i`` of a file for it has the weight ``i``."""
    dense = [layers.Dense(2, bias=bias) for _ in range(count)]
    return tinycnn.Sequential(*dense, input_shape=(2,))


def numbered(names, bias=True, prefix=""):
    """A state dict as PyTorch writes it, whose layer ``names[i]`` holds the number ``i``."""
    state = {}
    for i, name in enumerate(names):
        state[f"{prefix}{name}.weight"] = np.full((2, 2), i, np.float32)
        state |= {f"{prefix}{name}.bias": np.full(2, i, np.float32)} if bias else {}
    return state


def loaded_order(state, bias=True, **how):
    """The number of the file's layer in each layer of a network."""
    model = chain_of_equal_layers(len(state) // (2 if bias else 1), bias)
    tinycnn.load_torch_state_dict(model, state, **how)
    found = model.state_dict()
    for name, _ in model.layers.items():
        assert len({float(value) for own in found if own.startswith(f"{name}.") for value in found[own].flat}) == 1
    return [int(found[f"{name}.weight"][0, 0]) for name, _ in model.layers.items()]


def in_reverse(state):
    return dict(reversed(state.items()))


def sorted_by_name(state):
    """As safetensors stores it."""
    return dict(sorted(state.items()))


BY_NUMBER = {
    "conv1 to conv11": [f"conv{i}" for i in range(1, 12)],
    "places in a Sequential": [f"features.{i}" for i in range(0, 24, 2)],
    "blocks": [f"layer{i}.{j}.conv{k}" for i in (1, 2) for j in (0, 9, 10) for k in (1, 2)],
    "two digits": ["fc09", "fc10", "fc11"],
}


@pytest.mark.parametrize("names", BY_NUMBER.values(), ids=list(BY_NUMBER))
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.net2."])
def test_equal_layers_are_paired_by_their_numbers(names, prefix):
    for bias in (True, False):
        state = numbered(names, bias, prefix)
        for order in (dict, sorted_by_name):
            assert loaded_order(order(state), bias) == list(range(len(names)))
    assert loaded_order(in_reverse(numbered(names))) == list(range(len(names)))


@given(st.permutations(range(1, 13)), st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_order_of_the_file_permutes_numbered_layers(order, bias):
    """Loaded by number or, where a module may have registered its layers in this order, refused."""
    state = {f"conv{i}": numbered([f"conv{i}"], bias) for i in range(1, 13)}
    shuffled = {}
    for i in order:
        shuffled |= {name: np.full_like(values, i) for name, values in state[f"conv{i}"].items()}
    try:
        assert loaded_order(shuffled, bias) == list(range(1, 13))
    except ShapeError as error:
        assert "pass `names`" in str(error)  # noqa: PT017
        assert list(order) != list(range(1, 13))


def test_the_order_of_a_module_decides_where_names_have_no_numbers():
    assert loaded_order(numbered(["stem", "body", "head"])) == [0, 1, 2]
    assert loaded_order(numbered(["a", "b"])) == [0, 1]  # the weight precedes the bias, so this is not sorted
    assert loaded_order(numbered(["features.0", "features.3", "classifier.1"])) == [0, 1, 2]


AMBIGUOUS = {
    "sorted words": (sorted_by_name(numbered(["encoder", "decoder"])), "neither their names nor the order"),
    "words without a bias": (numbered(["a", "b"], bias=False), "neither their names nor the order"),
    "one word among numbers": (sorted_by_name(numbered(["conv1", "conv2", "last"])), "neither their names"),
    "mixed entries": (dict(sorted(numbered(["stem", "head"]).items(), key=lambda entry: entry[0][-3:])), "neither"),
    "equal numbers": (sorted_by_name(numbered(["fc1", "fc01"])), "neither"),
    "another order than the numbers": (numbered(["conv2", "conv1"]), r"lists them as \['conv2', 'conv1'\]"),
}


@pytest.mark.parametrize(("state", "reason"), AMBIGUOUS.values(), ids=list(AMBIGUOUS))
def test_equal_layers_of_unknown_order_are_refused(state, reason):
    count = len({name.rpartition(".")[0] for name in state})
    bias = any(name.endswith("bias") for name in state)
    model = chain_of_equal_layers(count, bias)
    before = model.state_dict()
    with pytest.raises(
        ShapeError, match=rf"our \['dense_1', 'dense_2'.*{reason}.*pass `names`, as in names=.'dense_1'"
    ):
        tinycnn.load_torch_state_dict(model, state)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    named = {f"dense_{i + 1}": name for i, name in enumerate(dict.fromkeys(n.rpartition(".")[0] for n in state))}
    assert sorted(loaded_order(state, bias, names=named)) == list(range(count))


def last_layer_first(state):
    """Each layer as it was, so that a module could have registered them in this order."""
    return {name: state[name] for layer in reversed(layers_in(state)) for name in state if name.startswith(f"{layer}.")}


def behind_a_prefix(state):
    return {f"module.{name}": values for name, values in state.items()}


def test_our_own_names_are_paired_by_name():
    """Written back after another change of order; here the names, not their numbers, are what counts."""
    model = tinycnn.Sequential(*(layers.Dense(2) for _ in range(11)), input_shape=(2,), seed=3)
    state = tinycnn.convert.to_torch_state_dict(model)
    for order in (dict, sorted_by_name, in_reverse, last_layer_first, behind_a_prefix):
        again = tinycnn.Sequential(*(layers.Dense(2) for _ in range(11)), input_shape=(2,))
        tinycnn.load_torch_state_dict(again, order(state))
        for name, values in model.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[name], values)


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"model": small_torch_weights(), "epoch": 3}, "'model' holds another mapping; pass the weights alone"),
        ({"a\nerror: b" * 99 + ".weight": np.ones(3)}, "a.nerror: b.*expected exactly one for each"),
        ({0: np.ones(3)}, "expected names of arrays, got the key 0"),
    ],
)
def test_what_surrounds_the_weights_is_named(state, match):
    with pytest.raises((SettingError, ShapeError), match=match) as caught:
        tinycnn.load_torch_state_dict(small_network(), state)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("names", "error"), [(["conv"], SettingError), ({"conv2d_1": 3}, ShapeError)])
def test_names_of_the_wrong_type(names, error):
    with pytest.raises(error, match=r"as a mapping, got list|expected exactly one for each"):
        tinycnn.load_torch_state_dict(small_network(), small_torch_weights(), names=names)


def test_a_name_of_the_file_does_not_forge_a_line():
    weights = {name.replace("conv", "conv\nerror"): values for name, values in small_torch_weights().items()}
    weights["conv\nerror.bias"] = np.ones(3, np.float32)
    with pytest.raises(DtypeError, match=r"^'conv.nerror.bias' is float32") as caught:
        tinycnn.load_torch_state_dict(small_network(), weights)
    assert str(caught.value).isprintable()


def without(name):
    return lambda weights: weights.pop(name)


def put(name, values):
    return lambda weights: weights.update({name: values})


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (without("fc2.bias"), ShapeError, r"fc2 has \['weight'\], our dense_2 needs \['bias', 'weight'\]"),
        (put("fc3.weight", np.ones(3)), ShapeError, r"'fc3'\] for our .*: expected exactly one for each"),
        (put("fc1.weight", np.ones((18, 4))), ShapeError, r"fc1\.weight has shape \(18, 4\), .* have \(4, 18\)"),
        (put("conv.weight", np.ones((2, 2, 2, 3))), ShapeError, r"conv\.weight .* conv2d_1\.weight .* \(3, 2, 2, 2\)"),
        (put("fc1.bias", np.ones(4, np.float32)), DtypeError, r"fc1\.bias is float32, the network float64"),
        (
            put("fc1.bias", np.ones(4, np.int64)),
            DtypeError,
            r"fc1\.bias: expected .*, got int64",
        ),
        (put("fc1.bias", {"nested": 1}), DtypeError, r"fc1\.bias: .* got dict"),
        (without("bn2.running_var"), ShapeError, r"bn2 has .* our batchnorm_2 needs .*'running_var'"),
    ],
)
def test_mismatched_weights_are_refused_and_change_nothing(damage, error, match):
    model, weights = small_network(), small_torch_weights()
    before = model.state_dict()
    damage(weights)
    with pytest.raises(error, match=match):
        tinycnn.load_torch_state_dict(model, weights)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_names_must_contain_every_layer_once():
    with pytest.raises(ShapeError, match="expected exactly one for each"):
        tinycnn.load_torch_state_dict(small_network(), small_torch_weights(), names={"conv2d_1": "conv"})


def test_a_module_in_place_of_its_state_dict_is_refused():
    with pytest.raises(SettingError, match=r"expected module.state_dict\(\), got object"):
        tinycnn.load_torch_state_dict(small_network(), object())
    with pytest.raises(SettingError, match=r"expected keras_model.get_weights\(\), got dict"):
        tinycnn.load_keras_weights(small_network(), {})


@pytest.mark.parametrize("half", [False, True])
def test_a_safetensors_file_of_a_module(half, tmp_path):
    """bfloat16 is the upper half of a float32; NumPy, and so safetensors.numpy, cannot write it."""
    weights = {name: array.astype(np.float32) for name, array in small_torch_weights().items() if array.ndim}
    bits = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()}
    rounded = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in bits.items()}
    content, path = save(bits if half else weights), tmp_path / "module.safetensors"
    path.write_bytes(content)
    if half:
        size = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + size].replace(b'"U16"', b'"BF16"')
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    model, expected = (small_network(np.float32) for _ in range(2))
    tinycnn.load_torch_state_dict(model, path)
    tinycnn.load_torch_state_dict(expected, rounded if half else weights)
    assert model.state_dict()["dense_1.weight"].min() > 0.4  # drawn between 0.5 and 1.5
    for name, array in expected.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def eps_notes(caplog, *norms, state=None, **settings):
    """What is logged about eps when a network with ``norms`` takes the weights of PyTorch's."""
    model = tinycnn.Sequential(*norms, layers.Flatten(), layers.Dense(2), input_shape=(2, 2, 4))
    weights = state or tinycnn.convert.to_torch_state_dict(model, **settings)
    tinycnn.load_torch_state_dict(model, weights, **settings)
    return [one.getMessage() for one in caplog.records]


def test_another_eps_than_pytorchs_default_is_reported_once(caplog):
    model = small_network()
    tinycnn.load_torch_state_dict(model, small_torch_weights())
    assert [one.getMessage() for one in caplog.records] == [
        "note: the default of PyTorch's norms is eps=1e-05, and a state_dict does not contain it. If the module has "
        "this default, its outputs differ from those of the network, until you write eps=1e-05 for batchnorm_1 "
        "(eps=0.001), batchnorm_2 (eps=0.001)"
    ]


@pytest.mark.parametrize("norm", [layers.LayerNorm, lambda eps=1e-3: layers.GroupNorm(2, eps=eps)])
def test_the_eps_of_other_norms_is_reported_too(norm, caplog):
    names = {type(norm()).__name__.lower() + "_1": "norm", "dense_1": "head"}
    assert eps_notes(caplog, norm(eps=1e-5), names=names) == []
    (note,) = eps_notes(caplog, norm(), names=names)
    assert note.endswith("norm_1 (eps=0.001)")


def test_weights_that_are_not_of_pytorch_or_have_its_eps_need_no_note(caplog):
    assert eps_notes(caplog, layers.BatchNorm(), layers.LayerNorm()) == []  # the names are those of tinycnn
    counters = {f"bn.{name}": np.ones(4, np.float32) for name in ("weight", "bias", "running_mean", "running_var")}
    head = {"fc.weight": np.ones((2, 16), np.float32), "fc.bias": np.ones(2, np.float32)}
    tracked = {"bn.num_batches_tracked": np.array(3)}
    assert eps_notes(caplog, layers.BatchNorm(), state=counters | head) == []
    assert eps_notes(caplog, layers.BatchNorm(eps=1e-5), state=counters | head | tracked) == []
    assert len(eps_notes(caplog, layers.BatchNorm(), state=counters | head | tracked)) == 1


def test_files_that_hold_no_module(tmp_path):
    for content, words in [
        (b"PK\x03\x04" + bytes(40), "a file of torch.save; read it with torch.load"),
        (b"1", "readable"),
    ]:
        (tmp_path / "module.pt").write_bytes(content)
        with pytest.raises(FileFormatError, match=words):
            tinycnn.load_torch_state_dict(small_network(), str(tmp_path / "module.pt"))


def test_a_custom_layer_is_refused():
    class Scale(layers.Layer):
        def build(self, input_shape, rng, dtype):
            self._add_parameter("factor", (1,), lambda shape, rng: np.ones(shape), rng, dtype)
            return input_shape

    model = tinycnn.Sequential(Scale(), input_shape=(3,))
    with pytest.raises(SettingError, match="scale_1: no rule"):
        tinycnn.load_torch_state_dict(model, {})


# --------------------------------------------------------------------------------------------------------------- Keras


def keras_list(model):
    """Random weights in the order and shapes of ``get_weights()``, with the tinycnn name of each."""
    rng, owners = np.random.default_rng(3), []
    for name, layer in model.layers.items():
        match layer:
            case layers.Conv2d() | layers.Dense():
                owners += [f"{name}.weight", f"{name}.bias"]
            case layers.BatchNorm():
                owners += [f"{name}.gamma", f"{name}.beta", f"{name}.running_mean", f"{name}.running_var"]
    state = model.state_dict()
    return {owner: rng.uniform(0.5, 1.5, state[owner].shape).astype(model.dtype) for owner in owners}


@pytest.mark.parametrize("name", models.MODELS)
def test_a_weight_list_of_keras_is_loaded(backend, name):
    model = models.create(name)
    weights = keras_list(model)
    tinycnn.load_keras_weights(model, list(weights.values()))
    state = model.state_dict()
    assert state.keys() == weights.keys()
    for owner, values in weights.items():
        np.testing.assert_array_equal(state[owner], values, err_msg=owner)
    for ours, theirs in zip(tinycnn.convert.to_keras_weights(model), weights.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_mismatched_weight_list_is_refused():
    model = models.create("lenet")
    weights = list(keras_list(model).values())
    with pytest.raises(ShapeError, match=r"got 9 arrays, the network has 10: conv2d_1\.weight, conv2d_1\.bias,"):
        tinycnn.load_keras_weights(model, weights[:-1])
    with pytest.raises(ShapeError, match=r"weights\[0\] has shape \(6,\), for conv2d_1\.weight .* \(3, 3, 1, 6\)"):
        tinycnn.load_keras_weights(model, [weights[1], weights[0], *weights[2:]])
    with pytest.raises(DtypeError, match=r"weights\[9\] is float64, the network float32"):
        tinycnn.load_keras_weights(model, [*weights[:-1], weights[-1].astype(np.float64)])


def test_a_list_in_another_order_of_equal_shapes_is_noticed():
    """As trainable and other weights one after the other, where every array of a batch norm has the same shape."""
    model = tinycnn.Sequential(layers.BatchNorm(), layers.BatchNorm(), input_shape=(3,))
    gamma, beta, mean, variance = (np.full(3, number, np.float32) for number in (1, -2, -3, 4))
    with pytest.raises(SettingError, match=r"weights\[3\] has negative numbers, but batchnorm_1\.running_var holds"):
        tinycnn.load_keras_weights(model, [gamma, beta, gamma, beta, mean, variance, mean, variance])
    tinycnn.load_keras_weights(model, 2 * [gamma, beta, mean, variance])


def keras_twin(keras, name):
    """The network as its author wrote it (the logits: without the final softmax)."""
    k = keras.layers

    def conv(filters):
        return [k.Conv2D(filters, 3, activation="relu")]

    def dense(units):
        return [k.Dense(units, activation="relu")]

    def norm():
        return [k.BatchNormalization()]

    def pool():
        return [k.MaxPooling2D()]

    body = {
        "lenet": [*conv(6), *pool(), *conv(16), *pool(), k.Flatten(), *dense(120), *dense(84)],
        "keras_cnn": [*conv(32), *pool(), *conv(64), *pool(), k.Flatten(), *dense(128)],
        "batchnorm_cnn": [
            *conv(32), *norm(), *pool(), *conv(64), *norm(), *pool(), *conv(128), *norm(),
            k.Flatten(), *dense(128), k.Dropout(0.5), *dense(64), k.Dropout(0.3),
        ],
        "single_conv": [*conv(32), *pool(), k.Flatten(), *dense(128)],
        "three_conv": [
            k.Rescaling(1 / 255), *conv(32), *pool(), *conv(64), *pool(), *conv(128), *pool(),
            k.Flatten(), k.Dropout(0.5), *dense(64),
        ],
    }[name]  # fmt: skip
    return keras.Sequential([k.Input((28, 28, 1)), *body, k.Dense(10)])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, inside get_weights()
@pytest.mark.parametrize("name", models.MODELS)
def test_the_same_logits_as_keras(name, monkeypatch):
    """In float32: Keras 3 on PyTorch multiplies matrices in float32 even where the dtype policy says float64."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install keras torch")
    twin = keras_twin(keras, name)
    rng = np.random.default_rng(4)
    twin.set_weights([values + rng.uniform(0, 0.002, values.shape).astype("float32") for values in twin.get_weights()])
    model = models.create(name).eval()
    tinycnn.load_keras_weights(model, twin.get_weights())
    x = (IMAGES * (255 if name == "three_conv" else 1)).astype(np.float32)
    expected = twin.predict(x, verbose=0)
    assert np.abs(model.logits(Tensor(x)).numpy() - expected).max() < 1e-5


# ------------------------------------------------------------------------------------------------------------- PyTorch


def torch_twin(torch, name):
    """The network as a PyTorch user writes it, up to the logits."""
    nn = torch.nn

    def block(inputs, outputs, *, norm=False, pool=True):
        found = [nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
        return [*found, *([nn.BatchNorm2d(outputs, eps=1e-3)] * norm), *([nn.MaxPool2d(2)] * pool)]

    def head(*sizes, p=0.0):
        for inputs, outputs in itertools.pairwise(sizes[:-1]):
            yield from (nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(p))
        yield nn.Linear(*sizes[-2:])

    class Divide(nn.Module):
        def forward(self, x):
            return x / 255

    body = {
        "lenet": [*block(1, 6), *block(6, 16), nn.Flatten(), *head(400, 120, 84, 10)],
        "keras_cnn": [*block(1, 32), *block(32, 64), nn.Flatten(), *head(1600, 128, 10)],
        "batchnorm_cnn": [
            *block(1, 32, norm=True), *block(32, 64, norm=True), *block(64, 128, norm=True, pool=False),
            nn.Flatten(), *head(1152, 128, 64, 10, p=0.4),
        ],
        "single_conv": [*block(1, 32), nn.Flatten(), *head(5408, 128, 10)],
        "three_conv": [
            Divide(), *block(1, 32), *block(32, 64), *block(64, 128), nn.Flatten(), nn.Dropout(0.5), *head(128, 64, 10),
        ],
    }[name]  # fmt: skip
    return nn.Sequential(*body)


@pytest.fixture
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'tinycnn[bench]'")
    module.manual_seed(0)
    return module


def trained_twin(torch, name, dtype, x):
    """The module after a few training batches, so that its running statistics are not 0 and 1."""
    twin = torch_twin(torch, name).to(getattr(torch, dtype))
    for factor in (1, 0.5, 2):
        twin(torch.tensor(x * factor).to(getattr(torch, dtype)))
    return twin.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("name", models.MODELS)
def test_the_same_logits_as_pytorch(torch, backend, name, dtype, tolerance):
    x = (IMAGES * (255 if name == "three_conv" else 1)).astype(dtype)
    channels_first = np.ascontiguousarray(np.moveaxis(x, 3, 1))
    twin = trained_twin(torch, name, dtype, channels_first)
    model = models.create(name, dtype=dtype).eval()
    tinycnn.load_torch_state_dict(model, twin.state_dict())
    expected = twin(torch.tensor(channels_first)).detach().numpy()
    assert np.abs(model.logits(Tensor(x)).numpy() - expected).max() < tolerance

    blank = torch_twin(torch, name).to(getattr(torch, dtype)).eval()
    names = dict(zip(layers_in(model.state_dict()), layers_in(twin.state_dict()), strict=True))
    back = tinycnn.convert.to_torch_state_dict(model, names=names)
    blank.load_state_dict({name: torch.from_numpy(values) for name, values in back.items()}, strict=False)
    assert torch.equal(blank(torch.tensor(channels_first)), twin(torch.tensor(channels_first)))


def layers_in(state):
    """The names of the layers, each once, in the order of the file."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in state))


def test_a_dtype_that_numpy_does_not_have(torch):
    """bfloat16 becomes float32; a dtype that is no floating-point number is refused by its name in PyTorch."""
    single = {name: array.astype(np.float32) for name, array in small_torch_weights().items()}
    model = small_network(np.float32)
    tinycnn.load_torch_state_dict(model, single | {"fc1.bias": torch.full((4,), 1.5, dtype=torch.bfloat16)})
    np.testing.assert_array_equal(model.state_dict()["dense_1.bias"], [1.5] * 4)
    with pytest.raises(DtypeError, match=r"fc1\.bias: .* got torch\.complex64"):
        tinycnn.load_torch_state_dict(model, single | {"fc1.bias": torch.ones(4, dtype=torch.complex64)})


def test_parameters_that_require_a_gradient_are_accepted(torch):
    weights = {
        name: torch.tensor(values, requires_grad=values.ndim > 0) for name, values in small_torch_weights().items()
    }
    model = small_network()
    tinycnn.load_torch_state_dict(model, weights)
    np.testing.assert_array_equal(model.state_dict()["dense_2.bias"], small_torch_weights()["fc2.bias"])


def test_neither_library_is_imported():
    source = importlib.util.find_spec("tinycnn.interchange.weights").loader.get_source("tinycnn.interchange.weights")
    assert "import torch" not in source
    assert "import keras" not in source
