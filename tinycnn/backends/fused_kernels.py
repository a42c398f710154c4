"""The contract of the optional kernels: each computes several operations in one pass over memory.

A backend sets ``Backend.fused`` to the kernels that it has. Callers read an attribute, ``backend.fused.conv_forward``,
and run the plain operations where it is None. A kernel equals the operations that its docstring names, values and
gradients. Kernels around convolutions, batch norm and dense layers compute in float32 only; their long sums keep the
rule of ``base.py``.

``*_inference`` is what a backend may have besides a forward kernel, for less work where no gradient will be needed.

A forward kernel returns ``saved``, an object of the backend's own that only its backward kernel reads. ``need_grad_*``
names the gradients to compute; a backward kernel may return None or any array in place of the others. Gradients come in
the order of the forward kernel's arrays.

An operation from outside the package registers its kernels with ``tinycnn.register_kernel`` instead, see ``base.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

from tinycnn.backends.array_types import Array, Pair, Pool, RandomKey
from tinycnn.errors import BackendError

MAX_POOL_PIXELS = 254  # in a pool window: kernels store the winner, or that ReLU was off, in one byte

Saved = Any
Gradients = tuple[Array | None, ...]
Kernel = TypeVar("Kernel")


class ConvForward(Protocol):
    """``max_pool2d(relu(conv2d(x, weight, bias)))``, ReLU if ``relu``, max-pool unless ``pool`` is None."""

    def __call__(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        *,
        stride: Pair,
        padding: Pair,
        relu: bool,
        pool: Pool | None,
        need_grad_x: bool,
    ) -> tuple[Array, Saved]:
        """``x (N, H, W, C)``, ``weight (KH, KW, C, F)``, ``bias (F,)`` → ``y (N, OH, OW, F)``, ``saved``."""


class ConvInference(Protocol):
    """``ConvForward`` where no gradient will be needed."""

    def __call__(
        self, x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair, relu: bool, pool: Pool | None
    ) -> Array:
        """``x (N, H, W, C)``, ``weight (KH, KW, C, F)``, ``bias (F,)`` → ``y (N, OH, OW, F)``."""


class ConvBackward(Protocol):
    """The gradients of ``ConvForward``."""

    def __call__(self, saved: Saved, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → gradients of ``x``, ``weight``, ``bias``; the last two are needed together."""


class NormForward(Protocol):
    """``max_pool2d(batch_norm(x, gamma, beta))``; ``pool`` is ``((1, 1), (1, 1))`` if there is no max-pool."""

    def __call__(
        self, x: Array, gamma: Array, beta: Array, mean: Array | None, var: Array | None, *, eps: float, pool: Pool
    ) -> tuple[Array, Array, Array, Saved]:
        """``x (N, H, W, C)``, the rest ``(C,)`` → ``y (N, OH, OW, C)``, mean and variance used ``(C,)``, ``saved``.

        Normalises by the statistics of the batch where ``mean`` and ``var`` are None.
        """


class NormBackward(Protocol):
    """The gradients of ``NormForward``."""

    def __call__(
        self, saved: Saved, gamma: Array, grad_y: Array, *, need_grad_x: bool, need_grad_gamma: bool
    ) -> Gradients:
        """``grad_y (N, OH, OW, C)`` → gradients of ``x``, ``gamma``, ``beta``; the last two are needed together."""


class ConvNormForward(Protocol):
    """``max_pool2d(batch_norm(relu(conv2d(x, weight, bias)), gamma, beta))``, otherwise as ``NormForward``."""

    def __call__(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        gamma: Array,
        beta: Array,
        mean: Array | None,
        var: Array | None,
        *,
        stride: Pair,
        padding: Pair,
        eps: float,
        pool: Pool,
        need_grad_x: bool,
    ) -> tuple[Array, Array, Array, Saved]:
        """``x (N, H, W, C)``, ``weight (KH, KW, C, F)``, the rest ``(F,)`` → ``y (N, OH, OW, F)``, then as there."""


class ConvNormBackward(Protocol):
    """The gradients of ``ConvNormForward``."""

    def __call__(
        self,
        saved: Saved,
        gamma: Array,
        grad_y: Array,
        *,
        need_grad_x: bool,
        need_grad_weight: bool,
        need_grad_gamma: bool,
    ) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → gradients of ``x``, ``weight``, ``bias``, ``gamma`` and ``beta``."""


class DenseForward(Protocol):
    """``relu(dense(x, weight, bias))``, ReLU if ``relu``."""

    def __call__(self, x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
        """``x (N, in)``, ``weight (in, out)``, ``bias (out,)`` → ``y (N, out)``."""


class DenseInference(Protocol):
    """``DenseForward`` where no gradient will be needed; it may add in another order."""

    def __call__(self, x: Array, weight: Array, bias: Array, *, relu: bool) -> Array:
        """``x (N, in)``, ``weight (in, out)``, ``bias (out,)`` → ``y (N, out)``."""


class DenseBackward(Protocol):
    """The gradients of ``DenseForward``, from its inputs and its output."""

    def __call__(
        self,
        x: Array,
        weight: Array,
        y: Array,
        grad_y: Array,
        *,
        relu: bool,
        need_grad_x: bool,
        need_grad_weight: bool,
    ) -> Gradients:
        """``grad_y (N, out)`` → gradients of ``x``, ``weight``, ``bias``; the last two are needed together."""


class DepthwiseForward(Protocol):
    """``conv2d(x, weight, bias, groups=C)``: each filter sees one channel."""

    def __call__(self, x: Array, weight: Array, bias: Array, *, stride: Pair, padding: Pair) -> tuple[Array, Saved]:
        """``x (N, H, W, C)``, ``weight (KH, KW, 1, F)``, ``bias (F,)`` → ``y (N, OH, OW, F)``, ``saved``."""


class DepthwiseBackward(Protocol):
    """The gradients of ``DepthwiseForward``."""

    def __call__(self, saved: Saved, grad_y: Array, *, need_grad_x: bool, need_grad_weight: bool) -> Gradients:
        """``grad_y (N, OH, OW, F)`` → gradients of ``x``, ``weight``, ``bias``; the last two are needed together."""


class UpdateStatistics(Protocol):
    """The running statistics of batch norm after a batch."""

    def __call__(self, running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float) -> None:
        """``running += momentum * (batch - running)`` in place, for mean and variance, ``(C,)`` each."""


class Dropout(Protocol):
    """``x * dropout_mask(x.shape, p, x.dtype, key)`` without storing the mask."""

    def __call__(self, x: Array, p: float, key: RandomKey) -> Array:
        """``x`` or its gradient, of any shape → the same shape."""


class SoftmaxCrossEntropy(Protocol):
    """``softmax_cross_entropy(logits, labels)`` and its gradient."""

    def __call__(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """``logits (N, K)``, ``labels (N,)`` or ``(N, K)`` → mean loss ``()``, its gradient ``(N, K)``."""


class AdamAll(Protocol):
    """``Adam.update`` of all parameters."""

    def __call__(
        self,
        arrays: list[tuple[Array, Array, Array, Array]],
        rates: Sequence[Any],
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> None:
        """Change every parameter and its slots, ``(p, g, m, v)`` of one shape, in place.

        ``rates``: the step size, the factor of ``v``, and, for AdamW, the factor of ``p``; numbers, or arrays ``()``.
        """


class GradientNorm(Protocol):
    """``√(Σ g²)`` of all gradients."""

    def __call__(self, gradients: list[Array]) -> Array:
        """Arrays of any shapes and one type → their length as one vector, ``()``."""


class CountCorrect(Protocol):
    """``(logits.argmax(axis=1) == labels).sum()``"""

    def __call__(self, logits: Array, labels: Array) -> Array:
        """``logits (N, K)``, ``labels (N,)`` → the number of correct rows, ``()`` int64."""


class EndStep(Protocol):
    """The end of a recorded training step, see ``train/capture.py``."""

    def __call__(
        self,
        loss: Array,
        logits: Array,
        labels: Array,
        sums: tuple[Array, Array],
        row: Array,
        table: Array,
        here: Array,
    ) -> None:
        """Add ``N · loss`` and the number of correct answers to ``sums``, add 1 to ``row``, copy that row of ``table``.

        ``loss ()``, ``logits (N, K)``, ``labels (N,)``. Changed in place: ``sums`` of loss ``()`` float64 and answers
        ``()`` int64, ``row (1,)`` int64, and ``here (bytes,)``, which gets row ``row`` of ``table (rows, bytes)``, if
        there is one. The bytes of a row are a multiple of 8.
        """


@dataclass(frozen=True)
class FusedKernels:
    """The optional kernels of a backend; None for each that it does not have."""

    conv_forward: ConvForward | None = None
    conv_inference: ConvInference | None = None
    conv_backward: ConvBackward | None = None
    norm_forward: NormForward | None = None
    norm_backward: NormBackward | None = None
    conv_norm_forward: ConvNormForward | None = None
    conv_norm_backward: ConvNormBackward | None = None
    dense_forward: DenseForward | None = None
    dense_inference: DenseInference | None = None
    dense_backward: DenseBackward | None = None
    depthwise_forward: DepthwiseForward | None = None
    depthwise_backward: DepthwiseBackward | None = None
    update_statistics: UpdateStatistics | None = None
    dropout: Dropout | None = None
    softmax_cross_entropy: SoftmaxCrossEntropy | None = None
    adam_all: AdamAll | None = None
    gradient_norm: GradientNorm | None = None
    count_correct: CountCorrect | None = None
    end_step: EndStep | None = None

    def names(self) -> list[str]:
        """The names of the kernels that are there, in the order of the fields."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]

    def __bool__(self) -> bool:
        return bool(self.names())


def required(kernel: Kernel | None) -> Kernel:
    """The kernel itself; raises BackendError where the backend does not have it."""
    if kernel is None:
        raise BackendError("the active backend does not have this fused kernel: use the plain operations")
    return kernel
