"""The same values as ONNX's reference evaluator, which is written in NumPy and shares no line with this package.

It works channels first. Gradients are not its business: those are held to finite differences and to PyTorch.
"""

import itertools
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.batches import Batch, batches
from tinycnn import Tensor, ops
from tinycnn.backends.base import Backend
from tinycnn.testing.gradient_cases import window_settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the packages below it
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: `pip install onnx`")
    from onnx.reference import ReferenceEvaluator

OPSET = 17
IMAGE = (2, 5, 6, 2)  # N, H, W, C
DTYPES = [np.float32, np.float64]
KERNELS = [(1, 1), (2, 2), (3, 3), (4, 2)]
WINDOWS = list(window_settings(KERNELS, [(1, 1), (2, 2), (1, 3), (3, 2)], [(0, 0), (1, 1), (2, 0)], IMAGE[1:3]))
# The evaluator itself fails where padding is half of the window, which we allow.
POOLS = [s for s in WINDOWS if all(2 * pad < size for pad, size in zip(s["padding"], s["kernel_size"], strict=True))]
EPS = 2**-10  # ONNX keeps it in float32: a number that is exact there
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0, 2.0])


def evaluate(kind: str, inputs: dict[str, np.ndarray], **attributes: object) -> np.ndarray:
    """The first output of one ONNX operator."""
    kinds = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.float64): onnx.TensorProto.DOUBLE}
    kinds[np.dtype(np.int64)] = onnx.TensorProto.INT64
    infos = [onnx.helper.make_tensor_value_info(n, kinds[a.dtype], a.shape) for n, a in inputs.items()]
    output = onnx.helper.make_tensor_value_info("y", kinds[next(iter(inputs.values())).dtype], None)
    node = onnx.helper.make_node(kind, list(inputs), ["y"], **attributes)
    graph = onnx.helper.make_graph([node], kind, infos, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    with np.errstate(all="ignore"):
        return np.asarray(ReferenceEvaluator(model).run(None, inputs)[0])


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def normal(*shape: int, dtype: type, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_close(ours: Tensor, wanted: np.ndarray) -> None:
    tolerance = 2e-5 if ours.dtype == np.float32 else 1e-12
    assert ours.shape == wanted.shape
    np.testing.assert_allclose(ours.numpy(), wanted, rtol=tolerance, atol=tolerance)


def window_attributes(settings: dict) -> dict[str, list[int]]:
    return {
        "kernel_shape": [*settings["kernel_size"]],
        "strides": [*settings["stride"]],
        "pads": [*settings["padding"], *settings["padding"]],
    }


def in_batches(windows: list[dict]) -> list[Batch]:
    return batches(itertools.product(windows, DTYPES), lambda case: case[1])


@pytest.mark.parametrize("batch", in_batches(WINDOWS), ids=str)
def test_conv2d(backend: Backend, batch: Batch) -> None:
    batch.check(check_conv2d)


def check_conv2d(case: tuple[dict, type]) -> None:
    settings, dtype = case
    x, weight = normal(*IMAGE, dtype=dtype), normal(*settings["kernel_size"], 2, 4, dtype=dtype, seed=1)
    bias = normal(4, dtype=dtype, seed=2)
    inputs = {"x": channels_first(x), "w": np.ascontiguousarray(weight.transpose(3, 2, 0, 1)), "b": bias}
    wanted = channels_last(evaluate("Conv", inputs, **window_attributes(settings)))
    windows = {name: settings[name] for name in ("stride", "padding")}
    assert_close(ops.conv2d(Tensor(x), Tensor(weight), Tensor(bias), **windows), wanted)


@pytest.mark.parametrize("batch", in_batches(POOLS), ids=str)
def test_pools(backend: Backend, batch: Batch) -> None:
    batch.check(check_pools)


def check_pools(case: tuple[dict, type]) -> None:
    settings, dtype = case
    x, attributes = normal(*IMAGE, dtype=dtype), window_attributes(settings)
    largest = evaluate("MaxPool", {"x": channels_first(x)}, **attributes)
    assert_close(ops.max_pool2d(Tensor(x), **settings), channels_last(largest))
    mean = evaluate("AveragePool", {"x": channels_first(x)}, **attributes, count_include_pad=1)
    assert_close(ops.avg_pool2d(Tensor(x), **settings), channels_last(mean))


ROWS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "relu": (ops.relu, "Relu"),
    "softmax": (ops.softmax, "Softmax"),
    "log_softmax": (ops.log_softmax, "LogSoftmax"),
    "exp": (Tensor.exp, "Exp"),
    "flatten": (ops.flatten, "Flatten"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 3, 4), (2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_rows(backend: Backend, name: str, shape: tuple[int, ...], dtype: type) -> None:
    ours, kind = ROWS[name]
    x = 3 * normal(*shape, dtype=dtype)
    assert_close(ours(Tensor(x)), evaluate(kind, {"x": x}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "flatten"])
def test_special_values(backend: Backend, name: str, dtype: type) -> None:
    x = np.random.default_rng(0).choice(SPECIAL, (4, 3, 2, 2)).astype(dtype)
    ours, kind = ROWS[name]
    assert_close(ours(Tensor(x)), evaluate(kind, {"x": x}))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "both"), [("Add", lambda a, b: a + b), ("Sub", lambda a, b: a - b),
    ("Mul", lambda a, b: a * b), ("Div", lambda a, b: a / b), ("MatMul", lambda a, b: a @ b.T)])  # fmt: skip
def test_two_inputs(backend: Backend, kind: str, both: Callable[[Tensor, Tensor], Tensor], dtype: type) -> None:
    a, b = normal(2, 3, 4, dtype=dtype), normal(3, 4, dtype=dtype, seed=1)
    wanted = evaluate(kind, {"a": a, "b": np.ascontiguousarray(b.T) if kind == "MatMul" else b})
    assert_close(both(Tensor(a), Tensor(b)), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("N", [1, 5])
def test_dense(backend: Backend, N: int, dtype: type) -> None:
    x, weight, bias = normal(N, 4, dtype=dtype), normal(4, 3, dtype=dtype, seed=1), normal(3, dtype=dtype, seed=2)
    wanted = evaluate("Gemm", {"x": x, "w": weight, "b": bias})
    assert_close(ops.dense(Tensor(x), Tensor(weight), Tensor(bias)), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 5, 3)], ids=str)
def test_batch_norm(backend: Backend, shape: tuple[int, ...], dtype: type) -> None:
    x, gamma, beta = normal(*shape, dtype=dtype), normal(3, dtype=dtype, seed=1), normal(3, dtype=dtype, seed=2)
    mean, var = np.linspace(-1, 1, 3).astype(dtype), np.linspace(0.5, 2, 3).astype(dtype)
    inputs = {"x": channels_first(x), "gamma": gamma, "beta": beta, "mean": mean, "var": var}
    wanted = channels_last(evaluate("BatchNormalization", inputs, epsilon=EPS))
    statistics = dict(zip(("running_mean", "running_var"), map(backend.asarray, (mean, var)), strict=True))
    assert_close(ops.batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), **statistics, training=False, eps=EPS), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (6, 10)], ids=str)
def test_losses(backend: Backend, shape: tuple[int, int], dtype: type) -> None:
    x, labels = 3 * normal(*shape, dtype=dtype), np.random.default_rng(1).integers(0, shape[1], shape[0])
    wanted = evaluate("SoftmaxCrossEntropyLoss", {"x": x, "labels": labels})
    assert_close(ops.softmax_cross_entropy(Tensor(x), labels), wanted)
    log_p = evaluate("LogSoftmax", {"x": x}, axis=1)
    assert_close(
        ops.nll_loss(Tensor(log_p), labels), evaluate("NegativeLogLikelihoodLoss", {"x": log_p, "labels": labels})
    )


def test_a_convolution_that_flips_its_kernel_is_detected() -> None:
    """A comparison with symmetric numbers would not detect the flipped kernel of a mathematical convolution."""
    x, weight = normal(*IMAGE, dtype=np.float64), normal(3, 3, 2, 4, dtype=np.float64, seed=1)
    wanted = evaluate("Conv", {"x": channels_first(x), "w": np.ascontiguousarray(weight.transpose(3, 2, 0, 1))})
    assert_close(ops.conv2d(Tensor(x), Tensor(weight)), channels_last(wanted))
    with pytest.raises(AssertionError):
        assert_close(ops.conv2d(Tensor(x), Tensor(weight[::-1, ::-1])), channels_last(wanted))
