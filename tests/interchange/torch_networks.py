"""Networks as people write them with PyTorch, which are exported and imported: how many are read, refused, or wrong.

``python -m tests.interchange.torch_networks`` tries every network with both exporters of PyTorch and several opsets
(PyTorch and onnxscript are needed). With names as arguments, only those. A network is read if its outputs agree with
PyTorch's; whatever is read must agree.
"""

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import tinycnn
from tinycnn import no_grad
from tinycnn.errors import TinyCNNError

TOLERANCE = 1e-5  # of the largest output
HALF_TOLERANCE = 0.02  # the file computes in float16 or bfloat16, tinycnn in float32
OPSETS = {False: (9, 11, 13, 17, 20), True: (18, 20, 23)}  # of the older exporter, and of the one by torch.export


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Networks by name, each with the shape of one image, channels first."""
    import torch
    from torch import nn
    from torch.nn import functional

    def seq(*layers: Any) -> Any:
        return nn.Sequential(*layers)

    def head(channels: int, classes: int = 5) -> tuple[Any, ...]:
        return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)

    class Module(nn.Module):
        """A module whose forward is a function of its layers and the input."""

        def __init__(self, function: Any, **layers: Any) -> None:
            super().__init__()
            self.function = function
            for name, layer in layers.items():
                setattr(self, name, layer)

        def forward(self, x: Any) -> Any:
            return self.function(self, x)

    def residual(body: Any, shortcut: Any = None, last: Any = None) -> Any:
        return Module(
            lambda m, x: m.last(m.body(x) + m.shortcut(x)),
            body=body,
            shortcut=shortcut or nn.Identity(),
            last=last or nn.ReLU(),
        )

    def basic(C: int, F: int, stride: int = 1) -> Any:
        body = seq(
            nn.Conv2d(C, F, 3, stride, 1, bias=False), nn.BatchNorm2d(F), nn.ReLU(),
            nn.Conv2d(F, F, 3, 1, 1, bias=False), nn.BatchNorm2d(F),
        )  # fmt: skip
        shortcut = seq(nn.Conv2d(C, F, 1, stride, bias=False), nn.BatchNorm2d(F)) if C != F or stride > 1 else None
        return residual(body, shortcut)

    def bottleneck(C: int, F: int) -> Any:
        body = seq(
            nn.Conv2d(C, F, 1), nn.BatchNorm2d(F), nn.ReLU(), nn.Conv2d(F, F, 3, padding=1), nn.BatchNorm2d(F),
            nn.ReLU(), nn.Conv2d(F, C, 1), nn.BatchNorm2d(C),
        )  # fmt: skip
        return residual(body)

    def dense_block(C: int, growth: int, count: int) -> Any:
        def forward(m: Any, x: Any) -> Any:
            features = [x]
            for layer in m.layers:
                features.append(layer(torch.cat(features, 1)))
            return torch.cat(features, 1)

        layers = nn.ModuleList(
            seq(nn.BatchNorm2d(C + i * growth), nn.ReLU(), nn.Conv2d(C + i * growth, growth, 3, padding=1))
            for i in range(count)
        )
        return Module(forward, layers=layers)

    def squeeze_excite(C: int, r: int = 2, gate: Any = None) -> Any:
        gates = seq(nn.AdaptiveAvgPool2d(1), nn.Conv2d(C, C // r, 1), nn.ReLU(), nn.Conv2d(C // r, C, 1))
        return Module(lambda m, x: x * m.gate(m.gates(x)), gates=gates, gate=gate or nn.Sigmoid())

    def squeeze_excite_rows(C: int) -> Any:
        def forward(m: Any, x: Any) -> Any:
            s = torch.sigmoid(m.second(functional.relu(m.first(x.mean((2, 3))))))
            return x * s[:, :, None, None]

        return Module(forward, first=nn.Linear(C, 3), second=nn.Linear(3, C))

    def squeeze_excite_view(C: int) -> Any:
        def forward(m: Any, x: Any) -> Any:
            y = m.pool(x).view(x.size(0), -1)
            return x * m.gates(y).view(x.size(0), -1, 1, 1)

        gates = seq(nn.Linear(C, 3), nn.ReLU(), nn.Linear(3, C), nn.Sigmoid())
        return Module(forward, pool=nn.AdaptiveAvgPool2d(1), gates=gates)

    def inverted(C: int, wide: int, activation: Any) -> Any:
        body = seq(
            nn.Conv2d(C, wide, 1, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, C, 1, bias=False), nn.BatchNorm2d(C),
        )  # fmt: skip
        return residual(body, last=nn.Identity())

    def with_activation(activation: Any) -> Any:
        return seq(nn.Conv2d(3, 4, 3), activation, nn.Flatten(), nn.Linear(4 * 36, 8), activation, nn.Linear(8, 5))

    def channels_last_norm(C: int) -> Any:
        return Module(lambda m, x: m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=nn.LayerNorm(C))

    def lenet(activation: Any, pool: Any) -> Any:
        return seq(
            nn.Conv2d(1, 6, 5, padding=2), activation(), pool(2), nn.Conv2d(6, 16, 5), activation(), pool(2),
            nn.Flatten(), nn.Linear(400, 20), activation(), nn.Linear(20, 10),
        )  # fmt: skip

    def lenet_functional(m: Any, x: Any) -> Any:
        x = functional.max_pool2d(functional.relu(m.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(m.conv2(x)), (2, 2))
        x = x.view(x.size(0), -1)
        x = functional.dropout(functional.relu(m.fc1(x)), training=m.training)
        return functional.log_softmax(m.fc2(x), dim=1)

    def lenet_layers() -> dict[str, Any]:
        layers = {"conv1": nn.Conv2d(1, 10, 5), "conv2": nn.Conv2d(10, 20, 5), "drop": nn.Dropout2d()}
        return layers | {"fc1": nn.Linear(320, 16), "fc2": nn.Linear(16, 10)}

    def reshaped(how: Any) -> Any:
        def forward(m: Any, x: Any) -> Any:
            return m.fc(how(m.conv(x)))

        return Module(forward, conv=nn.Conv2d(3, 4, 3, stride=2), fc=nn.Linear(36, 5))

    def inception(m: Any, x: Any) -> Any:
        return torch.cat([m.one(x), m.three(x), m.five(x), m.pooled(x)], dim=1)

    def unet(m: Any, x: Any) -> Any:
        first = m.down1(x)
        second = m.down2(m.pool(first))
        up = m.up(second)
        return m.out(m.join(torch.cat([up, first], 1)))

    def convnext(C: int) -> Any:
        body = seq(
            nn.Conv2d(C, C, 7, padding=3, groups=C), channels_last_norm(C), nn.Conv2d(C, 2 * C, 1), nn.GELU(),
            nn.Conv2d(2 * C, C, 1),
        )  # fmt: skip
        return residual(body, last=nn.Identity())

    class LayerScale(nn.Module):
        def __init__(self, C: int) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.rand(C, 1, 1))

        def forward(self, x: Any) -> Any:
            return self.gamma * x

    rgb, grey = (3, 8, 8), (1, 28, 28)
    five = {
        "one": nn.Conv2d(3, 2, 1), "three": seq(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3, padding=1)),
        "five": nn.Conv2d(3, 2, 5, padding=2), "pooled": seq(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 2, 1)),
    }  # fmt: skip
    return {
        "lenet": (lenet(nn.ReLU, nn.MaxPool2d), grey),
        "lenet_1998": (lenet(nn.Tanh, nn.AvgPool2d), grey),
        "lenet_sigmoid": (lenet(nn.Sigmoid, nn.AvgPool2d), grey),
        "lenet_functional": (Module(lenet_functional, **lenet_layers()), grey),
        "mlp": (seq(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10)), grey),
        "mlp_batchnorm": (seq(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5)), rgb),
        "mlp_layernorm": (seq(nn.Flatten(), nn.Linear(192, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 5)), rgb),
        "rows": (seq(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)), (12,)),
        "vgg_block": (
            seq(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1),
                nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2), *head(8)), rgb),
        "all_convolutional": (
            seq(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1),
                nn.Flatten(), nn.LogSoftmax(dim=1)), rgb),
        "resnet_basic": (seq(nn.Conv2d(3, 8, 3, padding=1), basic(8, 8), basic(8, 12, 2), *head(12)), rgb),
        "resnet_8": (
            seq(nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), basic(4, 4), basic(4, 8, 2),
                basic(8, 16, 2), *head(16)), rgb),
        "resnet_bottleneck": (seq(nn.Conv2d(3, 8, 1), bottleneck(8, 4), bottleneck(8, 4), *head(8)), rgb),
        "resnet_preactivation": (
            seq(nn.Conv2d(3, 6, 3, padding=1),
                residual(seq(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)), last=nn.Identity()),
                nn.BatchNorm2d(6), nn.ReLU(), *head(6)), rgb),
        "resnext": (
            seq(nn.Conv2d(3, 8, 1), residual(seq(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.ReLU())), *head(8)), rgb),
        "wide_stem": (
            seq(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *head(8)), (3, 17, 17)),
        "dense_block": (seq(dense_block(3, 4, 3), nn.BatchNorm2d(15), nn.ReLU(), *head(15)), rgb),
        "densenet": (
            seq(dense_block(3, 4, 2), nn.Conv2d(11, 6, 1), nn.AvgPool2d(2), dense_block(6, 4, 2), *head(14)), rgb),
        "inception": (seq(Module(inception, **five), nn.ReLU(), *head(10)), rgb),
        "two_heads_joined": (
            Module(lambda m, x: m.fc(torch.cat([m.a(x), m.b(x)], 1)), a=seq(nn.Conv2d(3, 2, 3), nn.Flatten()),
                   b=seq(nn.AvgPool2d(2), nn.Flatten()), fc=nn.Linear(72 + 48, 5)), rgb),
        "squeeze_excite": (seq(nn.Conv2d(3, 4, 3), squeeze_excite(4), *head(4)), rgb),
        "squeeze_excite_hard": (seq(nn.Conv2d(3, 4, 3), squeeze_excite(4, gate=nn.Hardsigmoid()), *head(4)), rgb),
        "squeeze_excite_rows": (seq(nn.Conv2d(3, 4, 3), squeeze_excite_rows(4), *head(4)), rgb),
        "squeeze_excite_view": (seq(nn.Conv2d(3, 4, 3), squeeze_excite_view(4), *head(4)), rgb),
        "depthwise_separable": (
            seq(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, 8, 1), nn.ReLU6(), *head(8)), rgb),
        "depthwise_multiplier": (seq(nn.Conv2d(3, 6, 3, stride=2, groups=3), nn.ReLU(), *head(6)), rgb),
        "mobilenet_v2_block": (seq(nn.Conv2d(3, 4, 3, 2, 1), inverted(4, 12, nn.ReLU6), *head(4)), rgb),
        "mobilenet_v3_block": (seq(nn.Conv2d(3, 4, 3, 2, 1), inverted(4, 12, nn.Hardswish), *head(4)), rgb),
        "efficientnet_block": (
            seq(nn.Conv2d(3, 4, 3), residual(seq(nn.Conv2d(4, 8, 1), nn.SiLU(), squeeze_excite(8), nn.Conv2d(8, 4, 1)),
                last=nn.Identity()), *head(4)), rgb),
        "convnext_block": (seq(nn.Conv2d(3, 4, 2, 2), channels_last_norm(4), convnext(4), *head(4)), rgb),
        "layer_scale": (
            seq(nn.Conv2d(3, 4, 3, padding=1), residual(seq(nn.Conv2d(4, 4, 1), LayerScale(4))), *head(4)), rgb),
        "group_norm": (seq(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), *head(8)), rgb),
        "group_norm_of_one": (seq(nn.Conv2d(3, 8, 3), nn.GroupNorm(1, 8), nn.ReLU(), *head(8)), rgb),
        "instance_norm": (seq(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), *head(8)), rgb),
        "layer_norm_channels": (seq(nn.Conv2d(3, 8, 3), channels_last_norm(8), nn.ReLU(), *head(8)), rgb),
        "dilated": (seq(nn.Conv2d(3, 4, 3, dilation=2), nn.ReLU(), nn.Conv2d(4, 4, 2, dilation=(1, 2)), *head(4)), rgb),
        "strided_uneven": (seq(nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(0, 2)), nn.ReLU(), *head(4)), rgb),
        "same_padding": (
            seq(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 4, 4, padding="same"), *head(4)), rgb),
        "zero_pad": (seq(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), *head(4)), rgb),
        "pad_before_pool": (seq(nn.Conv2d(3, 4, 3), nn.ZeroPad2d(1), nn.AvgPool2d(2), *head(4)), rgb),
        "ceil_mode": (seq(nn.Conv2d(3, 4, 2), nn.MaxPool2d(2, ceil_mode=True), *head(4)), rgb),
        "average_ceil": (
            seq(nn.Conv2d(3, 4, 2), nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False), *head(4)), rgb),
        "average_padding": (seq(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, 2, 1), *head(4)), rgb),
        "average_no_padding": (
            seq(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, 2, 1, count_include_pad=False), *head(4)), rgb),
        "adaptive_max": (seq(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)), rgb),
        "adaptive_divisible": (
            seq(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5)), rgb),
        "mean_of_pixels": (Module(lambda m, x: m.fc(m.conv(x).mean([2, 3])), conv=nn.Conv2d(3, 4, 3),
                                  fc=nn.Linear(4, 5)), rgb),
        "maximum_of_pixels": (Module(lambda m, x: m.fc(m.conv(x).amax((-2, -1))), conv=nn.Conv2d(3, 4, 3),
                                     fc=nn.Linear(4, 5)), rgb),
        "upsample_decoder": (
            seq(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 3, padding=1),
                nn.Sigmoid()), rgb),
        "autoencoder_rows": (
            seq(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, 32), nn.ReLU(), nn.Unflatten(1, (2, 4, 4)),
                nn.Upsample(scale_factor=2), nn.Conv2d(2, 3, 3, padding=1)), rgb),
        "unet": (
            Module(unet, down1=seq(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), pool=nn.MaxPool2d(2),
                   down2=seq(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()), up=nn.Upsample(scale_factor=2),
                   join=seq(nn.Conv2d(12, 4, 3, padding=1), nn.ReLU()), out=nn.Conv2d(4, 2, 1)), rgb),
        "tanh": (with_activation(nn.Tanh()), rgb),
        "sigmoid": (with_activation(nn.Sigmoid()), rgb),
        "leaky_relu": (with_activation(nn.LeakyReLU(0.2)), rgb),
        "prelu": (with_activation(nn.PReLU()), rgb),
        "prelu_channels": (seq(nn.Conv2d(3, 4, 3), nn.PReLU(4), *head(4)), rgb),
        "elu": (with_activation(nn.ELU()), rgb),
        "selu": (with_activation(nn.SELU()), rgb),
        "celu": (with_activation(nn.CELU(0.5)), rgb),
        "gelu": (with_activation(nn.GELU()), rgb),
        "gelu_tanh": (with_activation(nn.GELU(approximate="tanh")), rgb),
        "silu": (with_activation(nn.SiLU()), rgb),
        "mish": (with_activation(nn.Mish()), rgb),
        "hardswish": (with_activation(nn.Hardswish()), rgb),
        "hardsigmoid": (with_activation(nn.Hardsigmoid()), rgb),
        "hardtanh": (with_activation(nn.Hardtanh()), rgb),
        "relu6": (with_activation(nn.ReLU6()), rgb),
        "softsign": (with_activation(nn.Softsign()), rgb),
        "maximum": (Module(lambda m, x: m.fc(torch.maximum(m.a(x), m.b(x)).abs().flatten(1)), a=nn.Conv2d(3, 2, 3),
                           b=nn.Conv2d(3, 2, 3), fc=nn.Linear(72, 5)), rgb),
        "softplus": (with_activation(nn.Softplus()), rgb),
        "square": (Module(lambda m, x: m.fc(m.conv(x).square().flatten(1)), conv=nn.Conv2d(3, 2, 3),
                          fc=nn.Linear(72, 5)), rgb),
        "dropout_2d": (seq(nn.Conv2d(3, 4, 3), nn.Dropout2d(0.3), nn.ReLU(), *head(4)), rgb),
        "flatten_reshape": (reshaped(lambda x: x.reshape(x.shape[0], -1)), rgb),
        "flatten_view": (reshaped(lambda x: x.view(-1, 36)), rgb),
        "flatten_torch": (reshaped(lambda x: torch.flatten(x, 1)), rgb),
        "normalised_input": (
            Module(lambda m, x: m.fc(((x - m.mean) / m.std).flatten(1)), fc=nn.Linear(192, 5),
                   mean=nn.Parameter(torch.rand(3, 1, 1)), std=nn.Parameter(1 + torch.rand(3, 1, 1))), rgb),
        "scaled_input": (Module(lambda m, x: m.net(x / 255 - 0.5), net=seq(nn.Conv2d(3, 4, 3), *head(4))), rgb),
        "log_softmax": (seq(nn.Conv2d(3, 4, 3), *head(4), nn.LogSoftmax(dim=-1)), rgb),
        "softmax_pixels": (seq(nn.Conv2d(3, 4, 3), nn.Softmax(dim=1)), rgb),
        "float64": (seq(nn.Conv2d(3, 4, 3), nn.ReLU(), *head(4)).double(), rgb),
        "float16": (seq(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head(4)).half(), rgb),
        "bfloat16": (seq(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *head(4)).bfloat16(), rgb),
        "transposed": (seq(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 2, 2)), rgb),
        "pixel_shuffle": (seq(nn.Conv2d(3, 4, 3), nn.PixelShuffle(2)), rgb),
        "attention": (Module(lambda m, x: m.attend(*[x.flatten(2).transpose(1, 2)] * 3)[0],
                             attend=nn.MultiheadAttention(3, 1, batch_first=True)), rgb),
    }  # fmt: skip


def exported(module: Any, shape: tuple[int, ...], path: Path, *, dynamo: bool, opset: int) -> None:
    """Write ``module`` to ``path``, for any number of images."""
    import torch

    x = torch.rand(2, *shape).to(next(module.parameters()).dtype)
    varying: dict[str, Any] = {"dynamic_axes": {"x": {0: "N"}}, "input_names": ["x"]}
    if dynamo:
        varying = {"dynamic_shapes": ({0: torch.export.Dim("N")},), "external_data": False, "verbose": False}
        if type(module).__name__ == "Module":  # its forward has an argument of this name
            varying["dynamic_shapes"] = {"x": {0: torch.export.Dim("N")}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about its two exporters
        torch.onnx.export(module, (x,), str(path), dynamo=dynamo, opset_version=opset, **varying)


def outcome(module: Any, shape: tuple[int, ...], path: Path) -> str:
    """``read``, ``refused: …`` or ``WRONG: …`` for the file of ``module``."""
    import torch

    dtype = next(module.parameters()).dtype
    try:
        model = tinycnn.from_onnx(path)
    except TinyCNNError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')}"
    x = torch.rand(3, *shape).to(dtype)
    with torch.no_grad():
        theirs = module(x).double().numpy()
    images = x.double().numpy().astype(model.dtype)
    with no_grad():
        ours = model(images.transpose(0, 2, 3, 1) if images.ndim == 4 else images).numpy()
    ours = ours.transpose(0, 3, 1, 2) if ours.ndim == 4 else ours
    error = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)
    allowed = HALF_TOLERANCE if dtype in (torch.float16, torch.bfloat16) else TOLERANCE
    return "read" if error <= allowed else f"WRONG: differs by {error:.1e}"


def prepared(module: Any, shape: tuple[int, ...]) -> Any:
    """``module`` in evaluation mode, with statistics and biases unlike those of a new one."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return module.eval()


def main() -> None:
    import torch

    counts: dict[str, Counter[str]] = {}
    torch.manual_seed(0)
    chosen = {name: entry for name, entry in networks().items() if name in sys.argv[1:] or not sys.argv[1:]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        for name, (module, shape) in chosen.items():
            module = prepared(module, shape)
            for dynamo, opsets in OPSETS.items():
                for opset in opsets:
                    label = f"{'torch.export' if dynamo else 'TorchScript'} {opset}"
                    try:
                        exported(module, shape, path, dynamo=dynamo, opset=opset)
                    except Exception as error:  # its exceptions have no common base
                        found = f"not exported: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
                    else:
                        found = outcome(module, shape, path)
                    counts.setdefault(label, Counter())[found.partition(":")[0]] += 1
                    if found != "read":
                        print(f"{name}, {label}: {found[:300]}", flush=True)
    for label, found in counts.items():
        print(label, dict(found))


if __name__ == "__main__":
    main()
