"""Files of Keras, read without Keras: those of ``keras_files.py``, and spoilt or unusual ones made here."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="files of Keras need: pip install 'tinycnn[keras]'")
import h5py

import tinycnn
from tests.support.onnx_networks import in_float64
from tinycnn import no_grad
from tinycnn.commands import main
from tinycnn.errors import FileFormatError, SettingError, ShapeError, TinyCNNError
from tinycnn.interchange.keras.importer import snake_case
from tinycnn.interchange.keras.layers import LAYERS, WITHOUT_EFFECT
from tinycnn.layers import (
    ELU,
    GELU,
    Add,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Crop2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    HardSwish,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    Multiply,
    Normalization,
    Pad2d,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    Sequential,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Transpose2d,
    Upsample,
)

FOLDER = Path(__file__).parent / "keras_files"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".npz" and ".weights" not in path.name)


def unpacked(name, folder):
    """The file as Keras wrote it."""
    path = folder / name.removesuffix(".gz")
    content = (FOLDER / name).read_bytes()
    path.write_bytes(gzip.decompress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_keras_is_read(name, tmp_path):
    """In float64, so that only Keras' rounding is left."""
    model = tinycnn.from_keras(unpacked(name, tmp_path))
    values = np.load(FOLDER / f"{name.split('.')[0]}.npz")
    with no_grad():
        ours = in_float64(model)(values["x"].astype(np.float64)).numpy()
    assert np.abs(ours - values["y"]).max() <= 1e-6 * max(1, np.abs(values["y"]).max())
    assert not model.training


def kinds(model):
    return [type(layer) for layer in model.layers.values()]


def test_the_layers_are_those_of_keras(tmp_path):
    expected = [Conv2d, Conv2d, ReLU, Residual, Multiply, Concatenate]
    assert kinds(tinycnn.from_keras(FOLDER / "functional.keras"))[:6] == expected
    model = tinycnn.from_keras(FOLDER / "sequential.keras")
    assert kinds(model)[:7] == [Rescaling, Conv2d, BatchNorm, Rescaling, Clip, MaxPool2d, Conv2d]
    assert (model.layers["batchnorm_1"].momentum, model.layers["batchnorm_1"].eps) == (0.01, 1e-3)
    assert repr(model.layers["dropout_1"]) == "Dropout(p=0.25)"
    older = tinycnn.from_keras(FOLDER / "sequential_keras_2.keras")  # whose hard sigmoid is another function
    assert [layer.scale for layer in (model.layers["rescaling_2"], older.layers["rescaling_2"])] == [1 / 6, 0.2]


# -------------------------------------------------------------------------------------------------- files made here


def h5_bytes(arrays):
    """An HDF5 file of ``arrays``, by their paths."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, array in arrays.items():
            file.create_dataset(path, data=array)
    return buffer.getvalue()


def keras_bytes(config, arrays=(), version="3.15.0", weights=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("model.weights.h5", h5_bytes(dict(arrays)) if weights is None else weights)
    return buffer.getvalue()


def layer(kind, /, inbound=None, name=None, module="keras.layers", **config):
    entry = {"module": module, "class_name": kind, "config": {"name": name or snake_case(kind)} | config}
    return entry | ({} if inbound is None else {"name": name, "inbound_nodes": inbound})


def sequential(*layers, shape=(4, 5, 3)):
    first = layer("InputLayer", batch_shape=[None, *shape])
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [first, *layers]}}


def imported(config, folder, arrays=(), **settings):
    path = folder / "made.keras"
    path.write_bytes(keras_bytes(config, arrays, **settings))
    return tinycnn.from_keras(path)


def variables(kind, *arrays):
    return {f"layers/{kind}/vars/{i}": array for i, array in enumerate(arrays)}


rng = np.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(np.float32)


CONV = {"filters": 2, "kernel_size": [3, 3], "strides": [1, 1], "padding": "valid", "data_format": "channels_last"}
ALONE = {  # one layer each: its config, its arrays, the shape of the input, and what is read
    "groups": (layer("Conv2D", **CONV | {"groups": 3, "filters": 6, "use_bias": False, "dilation_rate": [1, 2]}),
               [random(3, 3, 1, 6)], "dilation=(1, 2), groups=3, bias=False"),
    "LeakyReLU": (layer("LeakyReLU", negative_slope=0.1), [], [LeakyReLU]),
    "LeakyReLU of Keras 2": (layer("LeakyReLU", alpha=0.1), [], [LeakyReLU]),
    "ReLU": (layer("ReLU", max_value=None, negative_slope=0.0, threshold=0.0), [], [ReLU]),
    "ReLU with a limit": (layer("ReLU", max_value=6), [], [Clip]),
    "ReLU with a slope": (layer("ReLU", negative_slope=0.5), [], [LeakyReLU]),
    "ELU": (layer("ELU", alpha=0.5), [], [ELU]),
    "PReLU": (layer("PReLU", shared_axes=[1, 2]), [random(1, 1, 3)], [Add]),
    "Softmax": (layer("Softmax", axis=-1), [], [Softmax]),
    "LayerNormalization": (layer("LayerNormalization", axis=[3], epsilon=0.1, center=False), [random(3)], [LayerNorm]),
    "GroupNormalization": (layer("GroupNormalization", groups=-1, axis=-1), [random(3), random(3)], [GroupNorm]),
    "BatchNormalization": (
        layer("BatchNormalization", axis=3, scale=False), [random(3), random(3), random(3) ** 2], [BatchNorm]),
    "Normalization": (
        layer("Normalization", axis=[-1], mean=None, variance=None), [random(3), random(3) ** 2, np.int32(1)],
        [Normalization]),
    "Normalization by numbers": (layer("Normalization", axis=-1, mean=0.5, variance=4.0), [], [Normalization]),
    "Rescaling by channel": (layer("Rescaling", scale=[1.0, 2.0, -3.0], offset=1.0), [], [BatchNorm]),
    "Rescaling by channel, first": (layer("Rescaling", scale=[1.0, 2.0, 3.0], offset=1.0), [], [Normalization]),
    "Permute": (layer("Permute", dims=[2, 1, 3]), [], [Transpose2d]),
    "ZeroPadding2D": (layer("ZeroPadding2D", padding=[[1, 0], [2, 1]]), [], [Pad2d]),
    "Cropping2D": (layer("Cropping2D", cropping=1), [], [Crop2d]),
    "UpSampling2D": (layer("UpSampling2D", size=[2, 1], interpolation="nearest"), [], [Upsample]),
    "transposed, with gaps": (
        layer("Conv2DTranspose", filters=2, kernel_size=2, strides=[3, 2], padding="valid", use_bias=False),
        [random(2, 2, 2, 3)], [ConvTranspose2d]),
    "dense of pixels": (layer("Dense", units=2, activation="relu"), [random(3, 2), random(2)], [Conv2d, ReLU]),
    "Reshape": (layer("Reshape", target_shape=[-1]), [], [Reshape]),
    "PReLU of every number": (layer("PReLU", shared_axes=None), [random(4, 5, 3)], [Flatten, Add, Reshape]),
    "LayerNormalization of the image": (
        layer("LayerNormalization", axis=[1, 2, 3], scale=False), [random(4, 5, 3)], [Flatten, LayerNorm, Reshape]),
    "ReLU with slope and limit": (layer("ReLU", max_value=6, negative_slope=0.5), [], [LeakyReLU, Clip]),
    "CenterCrop": (layer("CenterCrop", height=2, width=2), [], [Crop2d]),
    "dropout of channels": (layer("Dropout", rate=0.2, noise_shape=[None, 1, 1, 1]), [], [Identity]),
    "transposed, with more rows": (
        layer("Conv2DTranspose", filters=2, kernel_size=3, strides=2, padding="valid", output_padding=[1, 0],
              use_bias=False), [random(3, 3, 2, 3)], "output_padding=(1, 0)"),
    "transposed, as long as the stride": (
        layer("Conv2DTranspose", filters=2, kernel_size=3, strides=2, padding="same", output_padding=1,
              use_bias=False), [random(3, 3, 2, 3)], "padding='same'"),
    "without effect": (layer("RandomFlip", mode="horizontal"), [], [Identity]),
    "float16": (layer("Dense", units=2, use_bias=False), [random(3, 2).astype(np.float16)], [Conv2d]),
}  # fmt: skip
for name, kind in {"gelu": GELU, "swish": SiLU, "hard_silu": HardSwish, "softplus": Softplus, "mish": Multiply}.items():
    ALONE[name] = layer("Activation", activation=name), [], [kind]
ALONE["a function"] = layer("Activation", activation={"class_name": "function", "config": "tanh"}), [], [Tanh]


@pytest.mark.parametrize("name", ALONE)
def test_single_layers(name, tmp_path):
    config, arrays, wanted = ALONE[name]
    before = [layer("Activation", activation="relu")] if "by channel" in name and "first" not in name else []
    model = imported(sequential(*before, config), tmp_path, variables(snake_case(config["class_name"]), *arrays))
    if isinstance(wanted, str):
        assert wanted in repr(model)
    else:
        assert kinds(model) == ([ReLU] if before else []) + wanted
    assert np.isfinite(model(random(2, 4, 5, 3)).numpy()).all()
    if name == "transposed, with gaps":  # Keras: 4 * 3 rows, although the windows paint only 11
        assert model.output_shape == (12, 10, 2)
    for array in (array for array in arrays if np.shape(array) and not name.startswith("Normalization")):
        held = [values.ravel() for values in model.state_dict().values()]
        assert any(np.array_equal(np.abs(values), np.abs(array).ravel().astype(np.float32)) for values in held)


def test_bfloat16(tmp_path):
    """Keras stores it as two bytes without a type, with an attribute."""
    buffer, weight = io.BytesIO(), random(3, 2).view(np.uint32) & 0xFFFF0000
    with h5py.File(buffer, "w") as file:
        data = file.create_dataset("layers/dense/vars/0", data=(weight >> 16).astype(np.uint16).view("V2"))
        data.attrs["dtype"] = "bfloat16"
    path = tmp_path / "half.keras"
    path.write_bytes(
        keras_bytes(sequential(layer("Dense", units=2, use_bias=False), shape=(3,)), weights=buffer.getvalue())
    )
    model = tinycnn.from_keras(path)
    np.testing.assert_array_equal(model.state_dict()["dense_1.weight"], weight.view(np.float32))


def test_float64_and_images_without_channels(tmp_path):
    flat = [layer("Rescaling", scale=2.0, offset=0.0), layer("Flatten"), layer("Dense", units=2, use_bias=False)]
    config = sequential(*flat, shape=(3, 2))
    config["config"]["layers"][0]["config"]["dtype"] = {"class_name": "DTypePolicy", "config": {"name": "float64"}}
    model = imported(config, tmp_path, variables("dense", random(6, 2).astype(np.float64)))
    assert (model.input_shape, model.dtype, kinds(model)) == ((3, 2, 1), np.float64, [Rescaling, Flatten, Dense])


def tensor(name, call=0):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, 0]}}


def functional(*layers, output, shape=(4, 5, 3)):
    first = layer("InputLayer", [], name="x", batch_shape=[None, *shape])
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [output, 0, 0]}
    return {"class_name": "Functional", "config": {"name": "f", "layers": [first, *layers], **ends}}


def call(*arguments, **keywords):
    return {"args": list(arguments), "kwargs": keywords}


def operation(kind, name, *arguments, **config):
    return layer(kind, [call(*arguments)], name=name, module="keras.src.ops.numpy", **config)


def test_arithmetic_and_shared_activations(tmp_path):
    config = functional(
        operation("TrueDivide", "a", tensor("x"), 4.0),
        operation("Subtract", "b", 1.0, tensor("a")),
        layer("ReLU", [call(tensor("a")), call(tensor("b"), training=False)], name="r"),
        operation("Gelu", "g", tensor("b"), approximate=True),
        operation("Subtract", "c", tensor("r", 0), tensor("g")),
        operation("Add", "d", tensor("c"), tensor("r", 1)),
        output="d",
    )
    model = imported(config, tmp_path)
    x = random(2, 4, 5, 3)
    a = x / 4
    gelu = tinycnn.ops.gelu(tinycnn.Tensor(1 - a), approximate=True).numpy()
    np.testing.assert_allclose(model(x).numpy(), np.maximum(a, 0) - gelu + np.maximum(1 - a, 0), atol=1e-6)


def cut(start=None, stop=None, step=None):
    return {"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}}


X = random(2, 4, 5, 3)
OPERATIONS = {  # of keras.ops, with the result for X
    "Mean": (operation("Mean", "a", tensor("x"), axis=[1, 2], keepdims=False), X.mean((1, 2))),
    "Max": (
        operation("Max", "a", tensor("x"), axis=[-3, -2], keepdims=True, initial=None),
        X.max((1, 2), keepdims=True),
    ),
    "Reshape": (operation("Reshape", "a", tensor("x"), newshape=[-1, 5, 4, 3]), X.reshape(2, 5, 4, 3)),
    "GetItem": (operation("GetItem", "a", tensor("x"), cut(), cut(1, -1), cut(stop=3)), X[:, 1:-1, :3]),
    "Concatenate": (operation("Concatenate", "a", [tensor("x"), tensor("x")], axis=-1), np.concatenate([X, X], -1)),
    "Maximum": (operation("Maximum", "a", tensor("x"), tensor("n")), abs(X)),
    "Minimum": (operation("Minimum", "a", tensor("n"), tensor("x")), -abs(X)),
    "Absolute": (operation("Absolute", "a", tensor("x")), abs(X)),
    "Softsign": (operation("Softsign", "a", tensor("x")), X / (1 + abs(X))),
    "Maximum, a layer": (layer("Maximum", [call([tensor("x"), tensor("n")])], name="a"), abs(X)),
    "augmentation": (layer("RandomFlip", [call(tensor("x"), training=True)], name="a"), X),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_functions_in_a_functional_network(name, tmp_path):
    """Also where the file does not state that they are functions, as ``.h5`` files."""
    entry, wanted = OPERATIONS[name]
    entries = [operation("Multiply", "n", tensor("x"), -1.0), entry]
    without = [{key: value for key, value in one.items() if key != "module"} for one in entries]
    for calls in [entries] if entry["module"] == "keras.layers" else [entries, without]:
        model = imported(functional(*calls, output="a"), tmp_path)
        np.testing.assert_allclose(model(X).numpy(), wanted, rtol=1e-6)


def test_single_layers_by_hand(tmp_path):
    """Those that are written with Flatten and Reshape, and a crop."""
    slope, beta = random(4, 5, 3), random(4, 5, 3)
    for config, arrays, wanted in (
        (layer("PReLU", shared_axes=None), [slope], np.where(X > 0, X, slope * X)),
        (layer("LayerNormalization", axis=[1, 2, 3], epsilon=0.25, scale=False), [beta],
         (X - X.mean((1, 2, 3), keepdims=True)) / np.sqrt(X.var((1, 2, 3), keepdims=True) + 0.25) + beta),
        (layer("CenterCrop", height=3, width=2), [], X[:, :3, 1:3]),
        (layer("ReLU", max_value=1.5, negative_slope=0.5), [], np.minimum(np.where(X > 0, X, X / 2), 1.5)),
        (layer("Activation", activation="log_sigmoid"), [], -np.log1p(np.exp(-X))),
    ):  # fmt: skip
        model = imported(sequential(config), tmp_path, variables(snake_case(config["class_name"]), *arrays))
        np.testing.assert_allclose(model(X).numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_the_order_in_the_file_need_not_be_that_of_the_calls(tmp_path):
    layers = [layer("ReLU", [call(tensor("p"))], name="q"), layer("Softmax", [call(tensor("x"))], name="p")]
    assert kinds(imported(functional(*layers, output="q"), tmp_path)) == [Softmax, ReLU]


def of_one(kind, arrays=(), /, **config):
    return sequential(layer(kind, **config)), variables(snake_case(kind), *arrays)


DENSE = {"units": 2, "use_bias": True}
REFUSED = {
    "Python code": (of_one("Lambda", function="gASV"), r"layer 'lambda' \(Lambda\): it contains Python code"),
    "a class of one's own": (
        (sequential(layer("Mine", module="my.code")), {}), r"layer 'mine' \(Mine\): Mine is a class of one's own"),
    "a network of one's own": (({"class_name": "Net", "config": {}}, {}), "the network is a 'Net'"),
    "an unknown layer": (of_one("LSTM", units=3), r"'lstm' \(LSTM\): tinycnn has layers for convol.*not for sequences"),
    "an unknown setting": (of_one("Flatten", order="F"), "does not know its setting 'order'"),
    "an unknown activation": (of_one("Activation", activation="cubed"), "the activation 'cubed'"),
    "channels first": (of_one("Conv2D", **CONV | {"data_format": "channels_first"}), "data_format='channels_first'"),
    "another axis": (of_one("Softmax", axis=1), "supports only the last axis"),
    "another padding": (of_one("Conv2D", **CONV | {"padding": "causal"}), "padding='causal'"),
    "another permutation": (of_one("Permute", dims=[3, 1, 2]), r"dims=\[3, 1, 2\]"),
    "arrays missing": (of_one("Dense", **DENSE), r"shapes \[\], expected \[\(3, 2\), \(2,\)\]"),
    "arrays of another shape": (of_one("Dense", [random(4, 2), random(2)], **DENSE), r"\[\(4, 2\), \(2,\)\], expected"),
    "too many arrays": (of_one("Dense", [random(3, 2), random(2), random(2)], **DENSE), "expected"),
    "arrays of integers": (of_one("Dense", [np.ones((3, 2), int), random(2)], **DENSE), "int64, expected floating"),
    "arrays of float64": (of_one("Dense", [np.ones((3, 2)), random(2)], **DENSE), "float64, the network is float32"),
    "gamma of another shape": (of_one("LayerNormalization", [random(2), random(3)]), "expected 2 of 3"),
    "a window that does not fit": (
        of_one("MaxPooling2D", pool_size=[9, 9], strides=None), r"'max_pooling2d' \(MaxPooling2D\): .*does not fit"),
    "no number": (of_one("Rescaling", scale="a"), "scale is 'a', expected a finite number"),
    "not finite": (of_one("Dropout", rate=float("nan")), "rate is nan"),
    "odd settings": (of_one("Dense", [random(3, 2)], units=[], use_bias=False), "'dense'"),
    "quadratic images": (
        (sequential(layer("Softmax"), shape=(4, 3)), {}), "supports only the last axis"),
    "a slope for every row": (of_one("PReLU", [random(4, 1, 3)], shared_axes=[2]), "tinycnn supports None and"),
    "another output padding": (
        of_one("Conv2DTranspose", [random(3, 3, 2, 3)], filters=2, kernel_size=3, strides=2, padding="same",
               output_padding=0, use_bias=False), r"output_padding=\(0, 0\); with 'same', tinycnn supports None"),
    "a crop that enlarges": (of_one("CenterCrop", height=9, width=2), "to a larger size than 4x5"),
    "attention": (of_one("MultiHeadAttention", num_heads=2), "not for sequences: no recurrent layers, no attention"),
    "one dimension": (
        (sequential(layer("Conv1D", filters=2), shape=(9, 3)), {}), r"the same layer for images \(L, 1, C\)"),
    "pixels joined by index": (
        (functional(operation("GetItem", "a", tensor("x"), 3), output="a"), {}), "of keras.ops only"),
    "every second row": (
        (functional(operation("GetItem", "a", tensor("x"), cut(), cut(step=2)), output="a"), {}), "of keras.ops only"),
    "a mean of channels": ((functional(operation("Mean", "a", tensor("x"), axis=[3]), output="a"), {}), "of keras.ops"),
    "no layers": (({"class_name": "Sequential", "config": {"layers": []}}, {}), "its layers are"),
    "an open input": ((sequential(layer("Flatten"), shape=(None, 3, 1)), {}), r"make the network with keras.Input\("),
    "an unknown class": (of_one("UnitNormalization"), "no layer for this class; docs/interoperation.md lists"),
    "no object": (([1], {}), "config.json: .*expected an object"),
    "two inputs": (
        ({"class_name": "Model", "config": functional(output="x")["config"] | {"input_layers": [["x", 0, 0]] * 2}}, {}),
        "2 inputs and 1 outputs"),
    "a circle": (
        (functional(layer("ReLU", [call(tensor("b"))], name="a"), layer("ReLU", [call(tensor("a"))], name="b"),
                    output="b"), {}),
        "form a circle"),
    "an unknown input": ((functional(layer("ReLU", [call(tensor("y"))], name="a"), output="a"), {}), "takes .*'y'"),
    "training mode": (
        (functional(layer("Dropout", [[["x", 0, 0, {"training": True}]]], name="a", rate=0.1), output="a"), {}),
        "'a' is called with 'training'=True"),  # of Keras 2, which keeps it in evaluation
    "a layer called twice": (
        (functional(layer("Dense", [call(tensor("x")), call(tensor("a"))], name="a", units=3), output="a"),
         variables("dense", random(3, 3), random(3))), "'a' is called 2 times"),
    "an unknown operation": ((functional(operation("Sort", "a", tensor("x")), output="a"), {}), "of keras.ops only"),
    "a quotient": ((functional(operation("Divide", "a", 1.0, tensor("x")), output="a"), {}), "divides a number"),
    "a division by 0": ((functional(operation("Divide", "a", tensor("x"), 0), output="a"), {}), "a factor is inf"),
    "rows joined with images": (
        (functional(layer("Flatten", [call(tensor("x"))], name="a"),
                    layer("Add", [call([tensor("x"), tensor("a")])], name="b"), output="b"), {}), "joins arrays"),
    "joined along rows": (
        (functional(layer("Concatenate", [call([tensor("x"), tensor("x")])], name="b", axis=1), output="b"), {}),
        "axis=1"),
    "a deep network": (
        ([c := sequential(layer("ReLU")), [c := {"class_name": "Sequential", "config": {"name": "s", "layers": [c]}}
          for _ in range(40)]][1][-1], {}), "more than 32 deep"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name, tmp_path):
    (config, arrays), words = REFUSED[name]
    with pytest.raises(FileFormatError, match=words) as caught:
        imported(config, tmp_path, arrays)
    assert str(tmp_path / "made.keras") in str(caught.value)


def test_every_layer_refuses_settings_of_another_type(tmp_path):
    """Each setting of each layer of the files, replaced by an odd value: an error that names the file, or a network."""
    path, refused, seen = tmp_path / "odd.keras", [], set()
    odds = None, -1, 2**40, "a", [], {}, [[]], True
    for name in ("sequential", "functional"):
        with zipfile.ZipFile(FOLDER / f"{name}.keras") as archive:
            config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
        for entry in config["config"]["layers"]:
            settings = entry["config"]
            for key in [key for key in settings if (entry["class_name"], key) not in seen]:
                if WITHOUT_EFFECT.fullmatch(key):
                    continue
                seen.add((entry["class_name"], key))
                right, settings[key] = settings[key], odds[len(seen) % len(odds)]
                path.write_bytes(keras_bytes(config, weights=weights))
                try:
                    tinycnn.from_keras(path)
                except TinyCNNError as error:
                    refused.append(str(error))
                settings[key] = right
    assert len(refused) > 50
    assert [error for error in refused if str(path) not in error] == []


# ------------------------------------------------------------------------------------------------------ spoilt files


def spoilt(write):
    """A file whose dense layer has an array that ``write`` makes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    config = sequential(layer("Dense", units=2, use_bias=False), shape=(3,))
    return keras_bytes(config, weights=buffer.getvalue())


def external(file):
    file.create_dataset("layers/dense/vars/0", (3, 2), np.float32, external=[("/etc/passwd", 0, 24)])


def virtual(file):
    layout = h5py.VirtualLayout((3, 2), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (3, 2))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def soft(file):
    file["a"] = random(3, 2)
    file.create_group("layers/dense/vars")["0"] = h5py.SoftLink("/a")


def outside(file):
    file.create_group("layers/dense")["vars"] = h5py.ExternalLink("/etc/passwd", "/a")


def packed(file):
    file.create_dataset("layers/dense/vars/0", data=np.zeros((3, 2), np.float32), chunks=(3, 2), compression="gzip")


SPOILT = {
    "in another file": (external, "lies in another file"),
    "virtual": (virtual, "lies in another file"),
    "a link": (soft, "is a link to another place"),
    "a link to another file": (outside, "is a link to another place"),
    "compressed": (packed, "is compressed"),
    "numbers missing": (
        lambda file: file.create_dataset("layers/dense/vars/0", (3, 2), np.float32),
        "of which the file holds only a part"),
    "a group": (lambda file: file.create_group("layers/dense/vars/0"), "missing, or no array"),
    "another name": (
        lambda file: file.create_dataset("layers/dense/vars/a", data=random(3, 2)), "missing, or no array"),
    "text": (lambda file: file.create_dataset("layers/dense/vars/0", data=np.full((3, 2), b"a")), "expected floating"),
    "many": (
        lambda file: [file.create_dataset(f"layers/dense/vars/{i}", data=1.0) for i in range(65)],
        "65 arrays, more than 64"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_arrays_that_are_refused(name, tmp_path):
    write, words = SPOILT[name]
    path = tmp_path / "spoilt.keras"
    path.write_bytes(spoilt(write))
    with pytest.raises(FileFormatError, match=words):
        tinycnn.from_keras(path)


def test_many_layers_of_the_same_array(tmp_path):
    """Hard links: 40 layers of 4 MiB in a file of little more."""
    count, buffer = 40, io.BytesIO()
    with h5py.File(buffer, "w") as file:
        data = file.create_dataset("layers/dense/vars/0", data=np.zeros((1024, 1024), np.float32))
        for i in range(1, count):
            file[f"layers/dense_{i}/vars/0"] = data
    config = sequential(
        *(layer("Dense", units=1024, use_bias=False, name=f"d{i}") for i in range(count)), shape=(1024,)
    )
    path = tmp_path / "shared.keras"
    path.write_bytes(keras_bytes(config, weights=buffer.getvalue()))
    with pytest.raises(FileFormatError, match="its layers share arrays"):
        tinycnn.from_keras(path)


def test_archives_that_are_refused(tmp_path):
    path = tmp_path / "a.keras"
    for members, words in (
        ({"model.json": "{}"}, "holds 'model.json'; expected config.json and model.weights.h5"),
        ({"a/data.pkl": ""}, "a file of torch.save"),
        ({"config.json": "{", "model.weights.h5": ""}, "not a readable file of Keras"),
        ({"config.json": '{"a": 1, "a": 2}', "model.weights.h5": ""}, "not a readable file of Keras"),
        ({"config.json": "[" * 100_000, "model.weights.h5": ""}, "not a readable file of Keras"),
        ({"config.json": " " * (40 << 20), "model.weights.h5": ""}, "config.json has 41,943,040 bytes, in the archive"),
        ({"config.json": "{}", "model.weights.h5": "\0" * (40 << 20)}, "model.weights.h5 has 41,943,040 bytes, in the"),
        ({"config.json": "{}", "model.weights.h5": "no HDF5"}, "not a readable file of Keras|cannot be read"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        with pytest.raises(FileFormatError, match=words):
            tinycnn.from_keras(path)
    path.write_bytes((FOLDER / "sequential.keras").read_bytes()[:-30])
    with pytest.raises(FileFormatError, match="not a readable file of Keras"):
        tinycnn.from_keras(path)
    for content, words in (
        (b"", "neither a .keras archive"),
        (b"PK\x03\x04", "not a readable"),
        (b"\x89HDF\r\n\x1a\n", "cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=words):
            tinycnn.from_keras(path)
    with pytest.raises(FileFormatError, match="no such file"):
        tinycnn.from_keras(tmp_path / "none")
    with pytest.raises(FileFormatError, match="cannot be read"):
        tinycnn.from_keras(tmp_path)


# ------------------------------------------------------------------------------------------------------ weights alone


def same_layers():
    """The network of ``keras_files.sequential``, with its own weights."""
    return Sequential(
        Rescaling(0.5, -0.25), Conv2d(4, 3, padding="same", bias=False), BatchNorm(), Rescaling(1 / 6, 0.5), Clip(0, 1),
        MaxPool2d(), Conv2d(4, 2, stride=2, groups=4), LeakyReLU(0.3), Dropout(0.25), Flatten(), Dense(5), Tanh(),
        Dense(3), Softmax(), input_shape=(9, 8, 2),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("name", ["sequential.weights.h5.gz", "sequential.keras", "sequential.h5.gz"])
def test_weights_alone(name, tmp_path):
    model, values = same_layers(), np.load(FOLDER / "sequential.npz")
    tinycnn.load_keras_weights(model, str(unpacked(name, tmp_path)))
    np.testing.assert_allclose(model(values["x"]).numpy(), values["y"], atol=1e-6)


def test_weights_of_other_layers(tmp_path):
    path = unpacked("sequential.weights.h5.gz", tmp_path)
    for model, kind, words in (
        (
            Sequential(Dense(3), input_shape=(5,)),
            FileFormatError,
            "has arrays of .* for which the network has no layer",
        ),
        (
            Sequential(*[Dense(3) for _ in range(3)], input_shape=(5,)),
            FileFormatError,
            "no more layers of the class dense, for dense_3",
        ),
        (
            Sequential(Conv2d(4), input_shape=(5, 5, 2)),
            FileFormatError,
            "a layer with 1 array of the class conv2d, for conv2d_1",
        ),
        (Sequential(LayerNorm(), input_shape=(5,)), FileFormatError, "no more layers of the class layer_normalization"),
    ):
        before = model.state_dict()
        with pytest.raises(kind, match=words):
            tinycnn.load_keras_weights(model, path)
        assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    new = [type(layer)(**layer.settings()) for layer in same_layers().layers.values()]
    wide = Sequential(*new, input_shape=(9, 8, 3))
    with pytest.raises(ShapeError, match=r"is it the same network\?"):
        tinycnn.load_keras_weights(wide, path)
    with pytest.raises(FileFormatError, match=r"holds weights alone.*load_keras_weights"):
        tinycnn.from_keras(path)
    path.write_bytes(h5_bytes({"conv/vars/0": random(2)}))
    with pytest.raises(FileFormatError, match="has no group of layers"):
        tinycnn.load_keras_weights(same_layers(), path)
    path.write_bytes(h5_bytes({"layers/sequential/layers/dense/vars/0": random(2)}))
    with pytest.raises(FileFormatError, match="a network within the network"):
        tinycnn.load_keras_weights(same_layers(), path)


def test_layers_are_counted_not_sorted_as_text(tmp_path):
    """``dense_10`` comes after ``dense_9``."""
    model = Sequential(*(Dense(2, bias=False) for _ in range(12)), input_shape=(2,))
    arrays = {f"layers/dense{f'_{i}' if i else ''}/vars/0": np.full((2, 2), i, np.float32) for i in range(12)}
    path = tmp_path / "many.weights.h5"
    path.write_bytes(h5_bytes(arrays))
    tinycnn.load_keras_weights(model, path)
    assert [array[0, 0] for array in model.state_dict().values()] == list(range(12))


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command(tmp_path, capsys):
    target = tmp_path / "model.safetensors"
    path = unpacked("sequential.keras", tmp_path)
    assert main(["import", str(path), "--model", str(target), "--class-names", "a", "b", "c"]) == 0
    printed = capsys.readouterr().out
    assert "the network takes pixels 0..1 (the network subtracts 0.5 from them)" in printed
    assert "every layer and every array of the file was read; Keras itself was not run" in printed
    values = np.load(FOLDER / "sequential.npz")
    np.testing.assert_allclose(tinycnn.load(target)(values["x"]).numpy(), values["y"], atol=1e-6)

    weights = unpacked("sequential.weights.h5.gz", tmp_path)
    assert main(["import", str(weights), "--model", str(target)]) == 2
    assert "holds weights alone" in capsys.readouterr().err
    own = tmp_path / "own.safetensors"
    tinycnn.save(same_layers(), own)
    assert main(["import", str(weights), "--model", str(target), "--into", str(own), "--pixels", "0..255"]) == 0
    assert f"{own} with the weights of {weights}" in capsys.readouterr().out
    loaded = tinycnn.load(target)
    np.testing.assert_allclose(loaded(values["x"]).numpy(), values["y"], atol=1e-6)
    assert loaded.pixels == "0..255"
    assert main(["import", str(weights), "--model", str(target), "--into", "lenet"]) == 2
    assert "is it the same network?" in capsys.readouterr().err
    assert main(["import", str(weights), "--model", str(target), "--into", str(own), "--scale", "2"]) == 2
    assert "--mean and --std, as --scale and --offset, add a layer" in capsys.readouterr().err
    assert main(["import", str(path), "--model", str(path)]) == 2
    assert "this is the file of Keras itself" in capsys.readouterr().err


def test_the_preparation_of_pixels():
    path = FOLDER / "sequential.keras"
    assert kinds(tinycnn.from_keras(path, scale=0.5, offset=1, pixels="0..1"))[:2] == [Rescaling, Rescaling]
    with pytest.raises(SettingError, match="`offset`: requires `scale`"):
        tinycnn.from_keras(path, offset=1)
    with pytest.raises(SettingError, match="`scale=inf`: expected a finite number"):
        tinycnn.from_keras(path, scale=float("inf"))


def test_the_page_lists_the_layers_that_are_read():
    page = (Path(__file__).parents[2] / "docs" / "interoperation.md").read_text("utf-8")
    listed = page.split("- **Layers of Keras**: ")[1].split(".")[0]
    wanted = {*LAYERS, "InputLayer", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"}
    assert {name.strip() for name in listed.replace("\n", " ").split(",")} == wanted


def test_global_means_keep_axes(tmp_path):
    model = imported(sequential(layer("GlobalAveragePooling2D", keepdims=True, data_format=None)), tmp_path)
    assert (kinds(model), model.output_shape) == ([GlobalAvgPool2d], (1, 1, 3))
