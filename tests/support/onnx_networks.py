"""Networks for the tests of ONNX files: every kind of layer, with values that do not hide mistakes."""

import numpy as np

from tinycnn.layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Rescaling,
    Sequential,
    Softmax,
)

LAYERS = {
    "convolution": [Conv2d(4, (3, 2), stride=(2, 1), padding=(2, 1))],
    "without bias": [Conv2d(4, 1, bias=False), Flatten(), Dense(3, bias=False)],
    "max-pool": [MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1))],
    "average pool, padding counts": [AvgPool2d(3, stride=2, padding=1)],
    "average pool, padding does not count": [AvgPool2d((3, 2), stride=(2, 1), padding=1, count_include_pad=False)],
    "global mean": [Conv2d(3), GlobalAvgPool2d(), Dense(2)],
    "global maximum": [Conv2d(3), GlobalMaxPool2d(keepdims=True)],
    "batch norm of images": [Conv2d(3), BatchNorm(eps=0.1), ReLU()],
    "batch norm of rows": [Flatten(), Dense(5), BatchNorm(), Flatten()],
    "rescaling": [Rescaling(0.25, -3.0), Flatten(), Dropout(0.5), Dense(4), LogSoftmax()],
    "softmax over channels": [Conv2d(3), Softmax()],
    "a network within": [Sequential(Conv2d(3), ReLU(), input_shape=(7, 6, 2)), Flatten(), Dense(2)],
}


def unlike_fresh(model):
    """Return ``model`` with random statistics and biases, since the initial values 0 and 1 hide mistakes."""
    rng = np.random.default_rng(0)
    state = model.state_dict()
    for name, values in state.items():
        if not name.endswith("weight"):
            state[name] = rng.uniform(0.5, 1.5, values.shape).astype(values.dtype)
    model.load_state_dict(state)
    return model.eval()
