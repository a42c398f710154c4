"""Writes the files of Keras that the tests read: ``python -m tests.interchange.keras_files`` (TensorFlow, tf_keras).

``tests/interchange/keras_files/`` holds small untrained networks of Keras 3.15 and of tf_keras 2.21, which is Keras 2,
with an input ``x`` and Keras' output ``y`` in an ``.npz`` file each. The files were compressed afterwards,
because HDF5 consists mostly of zeros.
"""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "keras_files"


def sequential(keras: Any) -> Any:
    """A network of ordinary layers, one after the other."""
    L = keras.layers
    return keras.Sequential([
        keras.Input((9, 8, 2)), L.Rescaling(0.5, offset=-0.25), L.Conv2D(4, 3, padding="same", use_bias=False),
        L.BatchNormalization(), L.Activation("hard_sigmoid"), L.MaxPooling2D(), L.DepthwiseConv2D(2, strides=2),
        L.LeakyReLU(), L.Dropout(0.25), L.Flatten(), L.Dense(5, activation="tanh"), L.Dense(3, activation="softmax"),
    ])  # fmt: skip


def functional(keras: Any) -> Any:
    """Branches of every kind, and a network within."""
    L = keras.layers
    x = keras.Input((8, 7, 3))
    y = L.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    y = L.Add()([y, L.Conv2D(4, 1)(y)])
    gate = L.Reshape((1, 1, 4))(L.Dense(4, activation="sigmoid")(L.GlobalAveragePooling2D()(y)))
    y = L.Multiply()([y, gate])
    inner = keras.Sequential([keras.Input((8, 7, 4)), L.Conv2D(2, 3, padding="same"), L.LayerNormalization()])
    y = L.Concatenate()([y, inner(y), L.Average()([L.ZeroPadding2D(1)(L.Conv2D(2, 3)(y)), L.Conv2D(2, 1)(y)])])
    y = L.Conv2DTranspose(3, 3, strides=2, padding="same")(L.AveragePooling2D(2, padding="same")(y))
    y = L.UpSampling2D((1, 2))(L.Cropping2D(((1, 0), (2, 1)))(y))
    return keras.Model(x, L.Dense(2)(L.GlobalMaxPooling2D()(y)))


def prepared(model: Any) -> Any:
    """``model`` with biases and statistics unlike those of a new one."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(-1, 1, w.shape) if w.ndim > 1 else rng.uniform(0.5, 1.5, w.shape)
                       for w in model.get_weights()])  # fmt: skip
    return model


def write(keras: Any, name: str, make: Any, suffixes: tuple[str, ...]) -> None:
    model = prepared(make(keras))
    x = np.random.default_rng(1).random((2, *model.input_shape[1:])).astype(np.float32)
    np.savez_compressed(FOLDER / f"{name}.npz", x=x, y=np.asarray(model(x, training=False)))
    for suffix in suffixes:
        path = FOLDER / f"{name}{suffix}"
        model.save_weights(path) if suffix == ".weights.h5" else model.save(path)
        if suffix == ".keras":
            compress(path)
        else:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            path.unlink()


def compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def main() -> None:
    import keras
    import tf_keras

    FOLDER.mkdir(exist_ok=True)
    write(keras, "sequential", sequential, (".keras", ".h5", ".weights.h5"))
    write(keras, "functional", functional, (".keras",))
    write(tf_keras, "sequential_keras_2", sequential, (".keras", ".h5"))
    write(tf_keras, "functional_keras_2", functional, (".keras",))


if __name__ == "__main__":
    main()
