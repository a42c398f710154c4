"""Every derivative of the package against finite differences, on every backend."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np
import pytest

import tinycnn
from tests.support.backends import on_backends
from tests.support.batches import Batch, batches
from tinycnn import Function, Tensor, gradcheck, models, no_grad, ops
from tinycnn.backends import get_backend
from tinycnn.backends.fused_kernels import FusedKernels
from tinycnn.layers import Dropout, pixel_scale
from tinycnn.ops.batch_norm import ShardedBatchNormFunction
from tinycnn.ops.convolutions.depthwise import DepthwiseConv2dFunction
from tinycnn.ops.convolutions.fused import FusedDepthwiseConv2dFunction, FusedGroupedConv2dFunction
from tinycnn.ops.convolutions.grouped import GroupedConv2dFunction
from tinycnn.ops.dropout import DropoutFunction, ShardedDropoutFunction
from tinycnn.ops.fused import (
    FusedConvFunction,
    FusedConvNormFunction,
    FusedDenseFunction,
    FusedDropoutFunction,
    FusedNormFunction,
    FusedSoftmaxCrossEntropyFunction,
)
from tinycnn.ops.softmax_cross_entropy import SoftmaxCrossEntropyFunction
from tinycnn.testing.gradient_cases import CASES, Case, rounded

SHARDED = {ShardedBatchNormFunction, ShardedDropoutFunction}  # compared with one process in distributed/test_ranks.py
EVERY_SEVENTH = CASES[::7]  # a sample for the slow loops; 7 shares no factor with how the settings repeat


def functions_in(y: Tensor) -> set[type[Function]]:
    """The Functions that ``y`` was computed by."""
    found, to_visit = set(), [y]
    while to_visit:
        creator = to_visit.pop().creator
        if creator is not None:
            found.add(type(creator))
            to_visit += creator.inputs
    return found


def functions_of_package() -> set[type[Function]]:
    """All Functions that tinycnn defines, without the abstract ones between (their names start with ``_``)."""
    found, to_visit = set(), [Function]
    while to_visit:
        below = to_visit.pop().__subclasses__()
        to_visit += below
        found |= {cls for cls in below if cls.__module__.startswith("tinycnn.") and not cls.__name__.startswith("_")}
    return {cls for cls in found if not cls.__module__.startswith("tinycnn.exercises.")}  # wrong on purpose


def test_every_function_has_a_case():
    with_case = {case.function for case in CASES} | {fused.function for fused in FUSED}
    with_case |= SHARDED
    assert functions_of_package() - with_case == set(), "a new op adds its cases to tinycnn/testing/gradient_cases.py"
    assert with_case <= functions_of_package()


def test_labels_of_cases_are_unique():
    assert len({str(case) for case in CASES}) == len(CASES)


def test_every_case_runs_the_function_it_is_for():
    wrong = [str(case) for case in CASES if case.function not in functions_in(case.call(*case.inputs()))]
    assert wrong == []


@pytest.mark.parametrize(("backend", "batch"), on_backends(CASES), indirect=["backend"])
def test_every_element(backend, batch: Batch):
    batch.check(partial(check_every_element, backend))


def check_every_element(backend, case: Case) -> None:
    """On the emulated GPU, which is slow, one random direction per input; test_kernels.py compares its kernels, too."""
    inputs, emulated = case.inputs(), backend.name == "cupy-emulated"
    result = gradcheck(case.call, inputs, fast_mode=emulated)
    assert result.checked == (len(inputs) if emulated else sum(x.data.size for x in inputs))
    assert result.worst_error < 1e-3
    if case.draw is not rounded:
        assert result.kinks == []


@pytest.mark.parametrize(
    ("backend", "batch"), on_backends(case for case in CASES if case.draw is rounded), indirect=["backend"]
)
def test_ties_along_random_directions(backend, batch: Batch):
    batch.check(check_ties)


def check_ties(case: Case) -> None:
    """A tie whose gradient goes to all winners looks right element by element, but not along a direction."""
    for seed in range(3):
        assert gradcheck(case.call, case.inputs(seed), fast_mode=True)


@pytest.mark.parametrize("batch", batches(EVERY_SEVENTH, attrgetter("function")), ids=str)
def test_gradients_on_the_loop_oracle(batch: Batch):
    with tinycnn.use_backend("loops"):
        batch.check(lambda case: gradcheck(case.call, case.inputs(seed=1), fast_mode=True))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", models.MODELS)
def test_real_networks(backend, name, training):
    """The loss of each network at its real size, along a random direction of every parameter and of the images."""
    if backend.name == "cupy-emulated" and not training and name != "batchnorm_cnn":
        pytest.skip("the same kernels as in training, but for batch norm's statistics and dropout; 2 s each")
    model = models.create(name, dtype=np.float64)
    model.train(training)
    images = 1 if backend.name == "cupy-emulated" else 3  # an emulated GPU takes a second per image
    rng = np.random.default_rng(0 if images == 3 else 1)  # seeds without a kink of three_conv nearby
    x = Tensor(rng.uniform(size=(images, 28, 28, 1)) / pixel_scale(model) / 255, requires_grad=True)

    def loss(x: Tensor, *parameters: Tensor) -> Tensor:
        for layer in model.layers.values():
            if isinstance(layer, Dropout):
                layer.step = 0  # the same mask on every call
        return ops.softmax_cross_entropy(model.logits(x), [1, 9, 4][:images])

    inputs = [x, *model.parameters()]
    result = gradcheck(loss, inputs, fast_mode=True)
    assert result.checked == len(inputs)
    assert all(np.abs(get_backend().to_host(tensor.grad)).max() > 0 for tensor in inputs)


# Fused functions compute in float32, too coarse for finite differences: they must equal the ops that they stand for.
# Here is one case per function; their settings, and how layers become fused functions, are tried in test_fusion.py.


@dataclass(frozen=True)
class Fused:
    """A fused function, the kernel it needs, its settings, and the plain ops it equals."""

    function: type[Function]
    kernel: Callable[[FusedKernels], object]
    settings: tuple
    plain: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]


POOL, LABELS = ((2, 2), (2, 2)), np.array([3, 0, 1, 2, 2])
FUSED = [
    Fused(
        FusedConvFunction,
        lambda fused: fused.conv_forward,
        ((1, 1), (0, 0), True, POOL),
        lambda x, weight, bias: ops.max_pool2d(ops.relu(ops.conv2d(x, weight, bias))),
        ((2, 10, 11, 1), (3, 3, 1, 6), (6,)),
    ),
    Fused(
        FusedNormFunction,
        lambda fused: fused.norm_forward,
        (None, None, 1e-3, POOL),
        lambda x, gamma, beta: ops.max_pool2d(ops.batch_norm(x, gamma, beta)),
        ((3, 6, 7, 8), (8,), (8,)),
    ),
    Fused(
        FusedConvNormFunction,
        lambda fused: fused.conv_norm_forward,
        ((1, 1), (0, 0), None, None, 1e-3, POOL),
        lambda x, weight, bias, *affine: ops.max_pool2d(ops.batch_norm(ops.relu(ops.conv2d(x, weight, bias)), *affine)),
        ((2, 10, 11, 1), (3, 3, 1, 6), (6,), (6,), (6,)),
    ),
    Fused(
        FusedDenseFunction,
        lambda fused: fused.dense_forward,
        (True,),
        lambda x, weight, bias: ops.relu(ops.dense(x, weight, bias)),
        ((5, 7), (7, 6), (6,)),
    ),
    Fused(
        FusedDepthwiseConv2dFunction,
        lambda fused: fused.depthwise_forward,
        ((2, 1), (1, 0)),
        lambda x, weight, bias: DepthwiseConv2dFunction((2, 1), (1, 0))(x, weight, bias),
        ((2, 6, 7, 3), (3, 3, 1, 6), (6,)),
    ),
    Fused(
        FusedGroupedConv2dFunction,
        lambda fused: fused.conv_forward,
        ((2, 1), (1, 0), 3),
        lambda x, weight, bias: GroupedConv2dFunction((2, 1), (1, 0), 3)(x, weight, bias),
        ((2, 6, 7, 6), (3, 3, 2, 9), (9,)),
    ),
    Fused(
        FusedDropoutFunction, lambda fused: fused.dropout, (0.4, (1, 2)),
        lambda x: DropoutFunction(0.4, (1, 2))(x), ((6, 5, 4),),
    ),
    Fused(
        FusedSoftmaxCrossEntropyFunction, lambda fused: fused.softmax_cross_entropy, (LABELS,),
        lambda logits: SoftmaxCrossEntropyFunction(LABELS)(logits), ((5, 4),),
    ),
]  # fmt: skip


def value_and_gradients(call, arrays, upstream):
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    y = call(*tensors)
    y.backward(upstream)
    return [get_backend().to_host(array) for array in (y.data, *(tensor.grad for tensor in tensors))]


@pytest.mark.parametrize("fused", FUSED, ids=lambda fused: fused.function.__name__)
def test_fused_functions_equal_their_plain_ops(backend, fused: Fused):
    if fused.kernel(backend.fused) is None:
        pytest.skip(f"backend {backend.name!r} has no kernel for {fused.function.__name__}")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in fused.shapes]
    with no_grad():
        upstream = rng.normal(size=fused.plain(*(Tensor(array) for array in arrays)).shape)
    got = value_and_gradients(lambda *x: fused.function(*fused.settings)(*x), arrays, upstream.astype(np.float32))
    exact = value_and_gradients(fused.plain, [array.astype(np.float64) for array in arrays], upstream)
    for ours, wanted in zip(got, exact, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
