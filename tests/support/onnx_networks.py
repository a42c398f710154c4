"""Networks for the tests of ONNX files: every kind of layer, with values that do not hide mistakes."""

import numpy as np

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
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    HardSwish,
    Identity,
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

LAYERS = {
    "convolution": [Conv2d(4, (3, 2), stride=(2, 1), padding=(2, 1))],
    "convolution in groups": [Conv2d(4, 3, groups=2), Conv2d(8, 2, groups=4, bias=False)],
    "convolution with gaps": [Conv2d(4, 2, dilation=(3, 2), stride=2)],
    "convolution, uneven padding": [Conv2d(4, 3, stride=2, padding="same"), Conv2d(2, 3, padding=((0, 2), (1, 0)))],
    "transposed convolution": [
        ConvTranspose2d(3, (3, 2), stride=(2, 1), padding=((0, 2), (1, 0)), output_padding=(1, 0))
    ],
    "transposed convolution, same": [
        ConvTranspose2d(3, 4, stride=2, padding="same"),
        ConvTranspose2d(2, 2, stride=3, padding="same", bias=False),
    ],
    "without bias": [Conv2d(4, 1, bias=False), Flatten(), Dense(3, bias=False)],
    "max-pool": [MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1))],
    "max-pool, uneven padding": [MaxPool2d(2, padding="same"), MaxPool2d(3, stride=1, padding=((1, 0), (0, 1)))],
    "max-pool, rounded up": [MaxPool2d((2, 4), stride=(2, 3), ceil_mode=True)],
    "average pool, padding counts": [AvgPool2d(3, stride=2, padding=1)],
    "average pool, padding does not count": [AvgPool2d((3, 2), stride=(2, 1), padding=1, count_include_pad=False)],
    "average pool, uneven padding": [AvgPool2d(2, padding="same"), AvgPool2d(3, 1, padding=((1, 0), (0, 1)))],
    "average pool, rounded up": [AvgPool2d((2, 4), stride=(2, 3), ceil_mode=True, count_include_pad=False)],
    "global mean": [Conv2d(3), GlobalAvgPool2d(), Dense(2)],
    "global maximum": [Conv2d(3), GlobalMaxPool2d(keepdims=True)],
    "batch norm of images": [Conv2d(3), BatchNorm(eps=0.1), ReLU()],
    "batch norm of rows": [Flatten(), Dense(5), BatchNorm(), Flatten()],
    "layer norm of images": [Conv2d(3), LayerNorm(eps=0.1), ReLU()],
    "layer norm of rows": [Flatten(), Dense(5), LayerNorm()],
    "group norm": [Conv2d(6), GroupNorm(3, eps=0.1), ReLU(), GroupNorm(1), GroupNorm(6)],
    "rescaling": [Rescaling(0.25, -3.0), Flatten(), Dropout(0.5), Dense(4), LogSoftmax()],
    "normalization": [Normalization((0.5, -0.2), (0.3, 2.0)), Conv2d(3), Identity(), Normalization(0.5, 2.0)],
    "softmax over channels": [Conv2d(3), Softmax()],
    "tanh, sigmoid": [Tanh(), Conv2d(3), Sigmoid()],
    "leaky ReLU, ELU": [LeakyReLU(0.3), Conv2d(3), ELU(0.7)],
    "GELU, SiLU": [GELU(), Conv2d(3), SiLU(), GELU(approximate=True)],
    "hard swish, clip": [HardSwish(), Conv2d(3), Clip(-0.5, 1.5)],
    "upsampling": [Conv2d(3), Upsample(2)],
    "softplus": [Softplus(), Conv2d(3), Softplus()],
    "softsign, absolute value": [Softsign(), Conv2d(3), Abs(), Conv2d(2, 1), Softsign()],
    "extremes of branches": [Maximum(Identity(), Conv2d(2, 1), Tanh()), Minimum(Conv2d(3), [Conv2d(3), Tanh()])],
    "edges cut off": [Crop2d(((1, 0), (2, 1))), Conv2d(2), Crop2d((1, 0))],
    "rows as columns": [Conv2d(3), Transpose2d(), Conv2d(2, (1, 2)), Transpose2d(), ReLU()],
    "rows as columns at the end": [Conv2d(3), Transpose2d()],
    "rows as columns, flattened": [Conv2d(3), Transpose2d(), Flatten(), Dense(2)],
    "zeros around the image": [Pad2d(((1, 0), (2, 3))), ReLU()],
    "a row as an image": [Flatten(), Dense(24), Reshape((2, 3, 4)), Conv2d(2, 2), Reshape((4,))],
    "a network within": [Sequential(Conv2d(3), ReLU(), input_shape=(7, 6, 2)), Flatten(), Dense(2)],
    "residual": [Residual(Conv2d(4, padding=1), ReLU(), Conv2d(2, padding=1)), Flatten(), Dense(2)],
    "residual of another shape": [Residual(Conv2d(3, padding=1, stride=2), shortcut=Conv2d(3, 1, stride=2))],
    "sum and product of branches": [Add(Conv2d(3), [Conv2d(3), Tanh()], Conv2d(3)), Multiply(Identity(), Sigmoid())],
    "concatenated channels": [
        Concatenate(Identity(), [ReLU(), Conv2d(3, padding=1)]),
        Concatenate(Conv2d(2), Conv2d(1)),
    ],
    "concatenated rows": [Concatenate(Flatten(), [Conv2d(2), Flatten()]), Dense(3)],
    "squeeze and excite": [Multiply(Identity(), [GlobalAvgPool2d(keepdims=True), Conv2d(2, 1), Sigmoid()])],
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


def in_float64(model):
    """The same network with the same weights in float64, in evaluation mode."""
    layers = [type(layer).from_settings(layer.settings()) for layer in model.layers.values()]
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    return Sequential(*layers, input_shape=model.input_shape, dtype=np.float64, state=state).eval()
