"""Networks as people write them with Keras, which are exported and imported: how many are read, refused, or wrong.

``KERAS_BACKEND=torch python -m tests.interchange.keras_networks`` (or ``tensorflow``, with tf2onnx) writes every
network with ``model.export(format="onnx")``, and imports the file. With names as arguments, only those.
"""

import contextlib
import io
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tinycnn
from tinycnn import no_grad
from tinycnn.errors import TinyCNNError

TOLERANCE = 1e-5  # of the largest output


def networks() -> dict[str, Any]:
    """Functions that make a network, by name."""
    import keras
    from keras import layers as L

    def seq(*layers: Any, shape: tuple[int, ...] = (12, 12, 3)) -> Any:
        return lambda: keras.Sequential([keras.Input(shape), *(layer() for layer in layers)])

    def of(kind: Any, *settings: Any, **more: Any) -> Any:
        return lambda: kind(*settings, **more)

    def conv(filters: int = 8, size: int = 3, **more: Any) -> Any:
        return of(L.Conv2D, filters, size, **({"activation": "relu"} | more))

    flat, dense, gap = of(L.Flatten), of(L.Dense, 4), of(L.GlobalAveragePooling2D)

    def functional(forward: Any, shape: tuple[int, ...] = (12, 12, 3)) -> Any:
        def make() -> Any:
            x = keras.Input(shape)
            return keras.Model(x, forward(x))

        return make

    def resnet(x: Any) -> Any:
        x = y = L.Conv2D(8, 3, padding="same", activation="relu")(x)
        y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", use_bias=False)(y))
        x = L.ReLU()(L.Add()([x, y]))
        y = L.BatchNormalization()(L.Conv2D(12, 3, strides=2, padding="same")(x))
        x = L.Activation("relu")(y + L.Conv2D(12, 1, strides=2)(x))
        return L.Dense(4)(L.GlobalAveragePooling2D()(x))

    def squeeze_excite(x: Any) -> Any:
        x = L.Conv2D(8, 3, padding="same")(x)
        gate = L.GlobalAveragePooling2D()(x)
        gate = L.Dense(8, activation="sigmoid")(L.Dense(4, activation="relu")(gate))
        x = L.Multiply()([x, L.Reshape((1, 1, 8))(gate)])
        return L.Dense(4)(L.GlobalAveragePooling2D()(x))

    def densenet(x: Any) -> Any:
        for _ in range(3):
            y = L.Conv2D(4, 3, padding="same")(L.ReLU()(L.BatchNormalization()(x)))
            x = L.Concatenate()([x, y])
        return L.Dense(4)(L.GlobalAveragePooling2D()(x))

    def inception(x: Any) -> Any:
        branches = [
            L.Conv2D(4, 1, activation="relu")(x), L.Conv2D(4, 3, padding="same")(x),
            L.Conv2D(4, 1)(L.MaxPooling2D(3, strides=1, padding="same")(x)),
        ]  # fmt: skip
        return L.Dense(4)(L.Flatten()(L.concatenate(branches)))

    def unet(x: Any) -> Any:
        a = L.Conv2D(4, 3, padding="same", activation="relu")(x)
        b = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPooling2D()(a))
        c = L.Conv2D(4, 3, padding="same", activation="relu")(L.Concatenate()([L.UpSampling2D()(b), a]))
        return L.Conv2D(1, 1, activation="sigmoid")(c)

    def activation(name: str) -> Any:
        return seq(conv(activation=name), flat, of(L.Dense, 8, activation=name), dense)

    return {
        "mnist_convnet": seq(
            conv(32), of(L.MaxPooling2D), conv(64), of(L.MaxPooling2D), flat, of(L.Dropout, 0.5),
            of(L.Dense, 10, activation="softmax"), shape=(28, 28, 1)),
        "cifar_tutorial": seq(
            conv(), of(L.MaxPooling2D), conv(), of(L.MaxPooling2D), conv(), flat, of(L.Dense, 16, activation="relu"),
            of(L.Dense, 10), shape=(32, 32, 3)),
        "mlp": seq(flat, of(L.Dense, 32, activation="relu"), of(L.Dropout, 0.2), of(L.Dense, 10), shape=(28, 28)),
        "mlp_batchnorm": seq(flat, of(L.Dense, 16), of(L.BatchNormalization), of(L.ReLU), dense),
        "rows": seq(of(L.Dense, 8, activation="tanh"), of(L.Dense, 3, activation="softmax"), shape=(12,)),
        "rescaling": seq(of(L.Rescaling, 1 / 255), conv(), of(L.MaxPooling2D), flat, dense),
        "rescaling_offset": seq(of(L.Rescaling, 1 / 127.5, offset=-1), conv(), gap, dense),
        "normalization": seq(
            of(L.Normalization, mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06]), conv(), flat, dense),
        "all_convolutional": seq(conv(strides=2), conv(4, 1, activation=None), gap, of(L.Softmax)),
        "strided_same": seq(conv(strides=2, padding="same"), conv(strides=2, padding="same"), flat, dense),
        "same_even_kernel": seq(conv(size=4, padding="same"), conv(size=2, strides=2, padding="same"), gap, dense),
        "same_odd_image": seq(conv(strides=2, padding="same"), gap, dense, shape=(15, 13, 3)),
        "dilated": seq(conv(dilation_rate=2), conv(dilation_rate=2, padding="same"), gap, dense),
        "grouped": seq(conv(6), of(L.Conv2D, 9, 3, groups=3), gap, dense),
        "depthwise": seq(of(L.DepthwiseConv2D, 3, padding="same"), conv(8, 1), gap, dense),
        "depthwise_multiplier": seq(of(L.DepthwiseConv2D, 3, depth_multiplier=2), of(L.ReLU, 6.0), gap, dense),
        "separable": seq(of(L.SeparableConv2D, 8, 3, padding="same", activation="relu"), gap, dense),
        "maxpool_same": seq(conv(), of(L.MaxPooling2D, 3, strides=2, padding="same"), flat, dense, shape=(15, 15, 3)),
        "avgpool_same": seq(conv(), of(L.AveragePooling2D, 2, padding="same"), flat, dense, shape=(13, 13, 3)),
        "avgpool_same_3": seq(conv(), of(L.AveragePooling2D, 3, strides=2, padding="same"), flat, dense),
        "global_max": seq(conv(), of(L.GlobalMaxPooling2D), dense),
        "global_keepdims": seq(conv(), of(L.GlobalAveragePooling2D, keepdims=True), conv(4, 1), flat),
        "zero_padding": seq(of(L.ZeroPadding2D, ((1, 0), (2, 1))), conv(), flat, dense),
        "cropping": seq(of(L.Cropping2D, 1), conv(), flat, dense),
        "upsampling": seq(conv(), of(L.UpSampling2D, 2), conv(3, padding="same", activation="sigmoid")),
        "upsampling_uneven": seq(conv(), of(L.UpSampling2D, (1, 3)), gap, dense),
        "batchnorm_first": seq(of(L.BatchNormalization), conv(), gap, dense),
        "batchnorm": seq(conv(activation=None, use_bias=False), of(L.BatchNormalization), of(L.ReLU), flat, dense),
        "batchnorm_rows": seq(flat, of(L.Dense, 8, activation="relu"), of(L.BatchNormalization), dense),
        "layernorm": seq(conv(), of(L.LayerNormalization), gap, dense),
        "layernorm_rows": seq(flat, of(L.Dense, 8), of(L.LayerNormalization), dense),
        "groupnorm": seq(conv(), of(L.GroupNormalization, 4), gap, dense),
        "spatial_dropout": seq(conv(), of(L.SpatialDropout2D, 0.3), of(L.GaussianNoise, 0.1), gap, dense),
        "reshape_decoder": seq(
            flat, of(L.Dense, 36, activation="relu"), of(L.Reshape, (3, 3, 4)), of(L.UpSampling2D),
            conv(2, padding="same")),
        "permute": seq(of(L.Permute, (2, 1, 3)), conv(), gap, dense, shape=(12, 10, 3)),
        "leaky_relu": seq(conv(activation=None), of(L.LeakyReLU), flat, dense),
        "prelu": seq(conv(activation=None), of(L.PReLU, shared_axes=[1, 2]), gap, dense),
        "relu6": seq(conv(activation="relu6"), of(L.ReLU, max_value=6), gap, dense),
        "relu_slope": seq(conv(activation=None), of(L.ReLU, negative_slope=0.1), gap, dense),
        "elu_layer": seq(conv(activation=None), of(L.ELU, 0.5), gap, dense),
        "sigmoid_binary": seq(conv(), flat, of(L.Dense, 1, activation="sigmoid")),
        "dense_of_pixels": seq(conv(), of(L.Dense, 6, activation="relu"), gap, dense),
        **{name: activation(name) for name in (
            "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "softplus", "softsign", "hard_sigmoid", "hard_silu",
            "mish", "exponential")},
        "resnet": functional(resnet),
        "squeeze_excite": functional(squeeze_excite),
        "densenet": functional(densenet),
        "inception": functional(inception),
        "unet": functional(unet),
        "subtract": functional(lambda x: L.Flatten()(L.Subtract()([L.Conv2D(3, 3, padding="same")(x), x]))),
        "average_of_two": functional(lambda x: L.Flatten()(L.Average()([L.Conv2D(3, 3, padding="same")(x), x]))),
        "maximum": functional(lambda x: L.Flatten()(L.Maximum()([L.Conv2D(3, 3, padding="same")(x), x]))),
        "gelu_tanh": functional(lambda x: L.Dense(4)(L.Flatten()(keras.ops.gelu(L.Conv2D(4, 3)(x), approximate=True)))),
        "arithmetic": functional(lambda x: L.Dense(4)(L.Flatten()(L.Conv2D(4, 3)(x / 255.0 - 0.5) * 2.0))),
        "transposed": seq(of(L.Conv2DTranspose, 4, 2, strides=2), gap, dense),
        "locally": seq(of(L.Conv1D, 4, 3), flat, dense, shape=(12, 3)),
    }  # fmt: skip


def unlike_fresh(model: Any) -> Any:
    """``model`` with biases and statistics unlike those of a new one, which hide mistakes."""
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, w.shape).astype(w.dtype) if w.ndim == 1 else w for w in model.get_weights()]
    if not any(type(layer).__name__ == "Normalization" for layer in model.layers):
        model.set_weights(weights)
    return model


def outcome(read: Any, path: Path, x: np.ndarray, y: np.ndarray) -> str:
    """``read``, ``refused: …`` or ``WRONG: …`` for the file at ``path``."""
    try:
        model = read(path)
    except TinyCNNError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')}"
    with no_grad():
        ours = model(x.reshape(len(x), *model.input_shape)).numpy()
    if ours.size != y.size:
        return f"WRONG: shape {ours.shape}, Keras {y.shape}"
    error = np.abs(ours.reshape(y.shape) - y).max() / max(np.abs(y).max(), 1e-30)
    return "read" if error <= TOLERANCE else f"WRONG: differs by {error:.1e}"


def main() -> None:
    import keras

    counts: dict[str, Counter[str]] = {"ONNX": Counter(), "file": Counter()}
    chosen = {name: make for name, make in networks().items() if name in sys.argv[1:] or not sys.argv[1:]}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in chosen.items():
            keras.utils.set_random_seed(0)
            model = unlike_fresh(make())
            x = np.random.default_rng(1).random((2, *model.input_shape[1:])).astype(np.float32)
            y = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))
            for kind, suffix, read in (("ONNX", "onnx", tinycnn.from_onnx), ("file", "keras", tinycnn.from_keras)):
                path = Path(folder) / f"{name}.{suffix}"
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        model.export(path, format="onnx", verbose=False) if kind == "ONNX" else model.save(path)
                except Exception as error:  # its exceptions have no common base
                    found = f"not written: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
                else:
                    found = outcome(read, path, x, y)
                counts[kind][found.partition(":")[0]] += 1
                if found != "read":
                    print(f"{name}, {kind}: {found[:300]}", flush=True)
    for label, found in counts.items():
        print(keras.backend.backend(), label, dict(found))


if __name__ == "__main__":
    main()
