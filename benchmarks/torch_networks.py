"""The five networks, and others of the same layers, in PyTorch with tinycnn's weights, for results and speed."""

import numpy as np
import torch
from torch import nn

import tinycnn
from tinycnn import layers


def twin(model: tinycnn.Sequential) -> nn.Sequential:
    """The same network with the same weights in PyTorch: images ``(N, C, H, W)`` → logits.

    A final Softmax or LogSoftmax is omitted, since ``nn.CrossEntropyLoss`` takes logits, as in ``Sequential.logits``.
    """
    network = _chain(model).to(torch.float64 if model.dtype == np.float64 else torch.float32)
    for ours, theirs in zip(model.parameters(), network.parameters(), strict=True):
        theirs.requires_grad_(ours.requires_grad)  # frozen layers
    return network


def _chain(model: tinycnn.Sequential) -> nn.Sequential:
    modules: list[nn.Module] = []
    shape: tuple[int, ...] = model.input_shape
    flattened: tuple[int, ...] | None = None
    for layer in model.layers.values():
        if isinstance(layer, layers.Softmax | layers.LogSoftmax):
            continue
        module = _module(layer, shape, flattened)
        if isinstance(layer, layers.Flatten | layers.Dense):
            flattened = shape if isinstance(layer, layers.Flatten) else None
        modules.append(module)
        shape = layer.output_shape
    return nn.Sequential(*modules)


def _module(layer: layers.Layer, shape: tuple[int, ...], flattened: tuple[int, ...] | None) -> nn.Module:
    match layer:
        case layers.Conv2d():
            settings = {"dilation": layer.dilation, "groups": layer.groups, "bias": layer.bias}
            module = nn.Conv2d(shape[2], layer.filters, layer.kernel_size, layer.stride, **settings)
            _copy(module.weight, layer, "weight", lambda w: w.transpose(3, 2, 0, 1))  # (KH, KW, C, F) → (F, C, KH, KW)
            if layer.bias:
                _copy(module.bias, layer, "bias")
            (top, bottom), (left, right) = layer.pads
            if (top, left) != (bottom, right):
                return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), module)
            module.padding = top, left
            return module
        case layers.Dense():
            linear = nn.Linear(shape[0], layer.units)
            _copy(linear.weight, layer, "weight", lambda w: _channels_first(w, flattened).T)  # (in, out) → (out, in)
            _copy(linear.bias, layer, "bias")
            return linear
        case layers.BatchNorm():
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(shape[-1], eps=layer.eps, momentum=layer.momentum)
        case layers.MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
        case layers.AvgPool2d():
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
        case layers.GlobalAvgPool2d():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case layers.ReLU():
            return nn.ReLU()
        case layers.Tanh():
            return nn.Tanh()
        case layers.Identity():
            return nn.Identity()
        case layers.Residual():
            return Sum(_branch(layer.body, shape), _branch(layer.shortcut, shape))
        case layers.Flatten():
            return nn.Flatten()
        case layers.Dropout():
            return nn.Dropout(layer.p)
        case layers.Rescaling():
            return Rescale(layer.scale, layer.offset)
    raise TypeError(f"no PyTorch twin for {layer!r}")


def _branch(layer: layers.Layer, shape: tuple[int, ...]) -> nn.Module:
    return _chain(layer) if isinstance(layer, tinycnn.Sequential) else _module(layer, shape, None)


class Sum(nn.Module):
    """``body(x) + shortcut(x)``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)


class Rescale(nn.Module):
    """``x * scale + offset``."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.offset


def _channels_first(weight: np.ndarray, flattened: tuple[int, ...] | None) -> np.ndarray:
    """Reorder the rows of a dense weight from ``(H, W, C)`` to ``(C, H, W)``."""
    if flattened is None or len(flattened) != 3:
        return weight
    return weight.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(weight.shape)  # (C*H*W, out)


def _copy(target: torch.Tensor, layer: layers.Layer, name: str, change=lambda w: w) -> None:  # type: ignore[no-untyped-def]
    source = torch.from_numpy(np.ascontiguousarray(change(layer.parameters_by_name[name].numpy())))
    target.data = source.clone()  # keeps float64
