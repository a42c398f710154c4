"""A network that classifies drawn digits, and a web server started as users start it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import tinycnn
from tinycnn import data
from tinycnn.data.drawing import normalise
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Softmax
from tinycnn.optim import Adam
from tinycnn.train.trainer import Trainer


def small_model(seed: int = 0) -> Sequential:
    """A small untrained network for 28x28 pixels, for fast predictions."""
    layers = [Conv2d(4), ReLU(), MaxPool2d(), Flatten(), Dense(10), Softmax()]
    return Sequential(*layers, input_shape=(28, 28, 1), seed=seed)


def reader() -> Sequential:
    """A network trained for five seconds on the bundled digits, prepared in the same way as drawings."""
    digits = data.load("digits")
    images = np.concatenate([normalise(image[:, :, 0] / 255) for image in digits.x_train])
    model = Sequential(
        *(Conv2d(16), ReLU(), MaxPool2d(), Conv2d(16), ReLU(), MaxPool2d()),
        *(Flatten(), Dense(10), Softmax()),
        input_shape=(28, 28, 1),
    )
    Trainer(model, Adam(model.parameters(), 3e-3), batch_size=32).fit(images, digits.y_train, epochs=5)
    return model


@contextmanager
def serving(model: Sequential, folder: Path, *options: str) -> Iterator[str]:
    """The address of ``python -m tinycnn serve`` on a free port; Ctrl-C ends it on exit."""
    path = folder / "model.safetensors"
    tinycnn.save(model, path)
    command = [sys.executable, "-m", "tinycnn", "serve", str(path), "--port", "0", "--backend", "numpy", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stderr
            line = server.stdout.readline()
            assert " at http://" in line, server.stderr.read()
            yield line.rpartition(" at ")[2].split(" ")[0]
        finally:
            server.send_signal(2)
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                raise
        assert server.returncode in (0, 130), server.stderr.read()
