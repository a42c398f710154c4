"""Muon: momentum that is made orthogonal, for weights that are matrices.

A gradient ``G = U S Vᵀ`` (its singular value decomposition) is usually dominated by a few large singular values: a step
along it changes few directions. Muon replaces all of them by about 1 and moves along ``U Vᵀ``, so that rare directions
learn as fast as frequent ones. No decomposition is needed for that. A polynomial of odd powers of X changes only its
singular values, because ``X Xᵀ = U S² Uᵀ``:

    a X + b (X Xᵀ) X + c (X Xᵀ)² X = U (a S + b S³ + c S⁵) Vᵀ

With (a, b, c) = (3.4445, -4.7750, 2.0315), the curve ``a s + b s³ + c s⁵`` is steep at 0, and five rounds bring all
singular values from 0.01 to 1 into the range from 0.68 to 1.14 (Newton-Schulz iteration). Before them, X is divided by
its Frobenius norm, which is at least its largest singular value.

The filters of a convolution are the matrix ``(KH·KW·C, F)`` that multiplies its ``im2col`` rows. Biases, and gamma and
beta of batch norm, are not matrices: AdamW trains them. Source: Jordan et al., "Muon: an optimizer for hidden layers in
neural networks", 2024.

Behind a convolution and ReLU, batch norm divides by the size of their outputs, so multiplying filters and bias by the
same number has no effect; only the direction of the filters has. Steps of a constant length make filters grow, and turn
large filters less than small ones. `FilterMuon` gives the filters of each layer the same size before each step, so that
the learning rate is the angle by which they turn. Source: Jordan, "airbench", 2024; why in detail: docs/records.md.
"""

from collections.abc import Iterable
from typing import Any

from tinycnn.backends.base import Array, Backend
from tinycnn.errors import SettingError, checked_bool, in_range, shortened, whole_number
from tinycnn.optim.groups import ParameterGroups
from tinycnn.optim.optimizer import Optimizer, Rate, Schedule, checked_parameters
from tinycnn.optim.sgd_and_adam import AdamW
from tinycnn.tensor import Tensor

A, B, C = 3.4445, -4.7750, 2.0315
SMALLEST_NORM = 1e-7  # of a gradient that is divided by its norm; smaller ones stay small


def orthogonal(backend: Backend, g: Array, rounds: int = 5) -> Array:
    """About ``U Vᵀ`` of a matrix ``U S Vᵀ``: ``(n, m)`` → ``(n, m)`` with singular values near 1."""
    wide = g if g.shape[0] <= g.shape[1] else backend.xp.ascontiguousarray(g.T)  # X Xᵀ is the smaller product
    x = wide / backend.xp.maximum(backend.xp.sqrt(backend.sum(wide * wide)), SMALLEST_NORM)
    for _ in range(rounds):
        s2 = backend.gram(x)  # X Xᵀ = U S² Uᵀ, (n, n)
        x = A * x + (B * s2 + C * (s2 @ s2)) @ x
    return x if wide is g else x.T


class MatrixMuon(Optimizer):
    """The update of Muon for matrices ``(in, out)`` and filters ``(KH, KW, C, F)``, with momentum as in SGD:

    v ← momentum·v + g      p ← (1 - lr·weight_decay) p - lr · √max(1, out/in) · orthogonal(g + momentum·v)

    The root keeps the change of an output independent of the shape. Without ``nesterov``, v is made orthogonal.
    """

    slot_names = ("v",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        rounds: int = 5,
        schedule: Schedule | None = None,
    ) -> None:
        self.momentum = in_range("momentum", momentum, at_least=0, below=1)
        self.nesterov = checked_bool("nesterov", nesterov)
        self.weight_decay = in_range("weight_decay", weight_decay, at_least=0)
        self.rounds = whole_number("rounds", rounds, at_least=1)
        super().__init__(parameters, lr, schedule)
        flat = next((p.shape for p in self.parameters if p.ndim < 2), None)
        if flat is not None:
            raise SettingError(f"MatrixMuon trains matrices and filters, got a parameter of shape {flat}: use Muon")

    def rates(self, step: int, missed: int = 0) -> tuple[float, ...]:
        """The learning rate, and the factor ``1 - lr·weight_decay`` by which weights shrink."""
        return self.rate(step), 1 - self.rate(step) * self.weight_decay

    def update(self, backend: Backend, p: Array, g: Array, lr: Rate, shrink: Rate, *, v: Array) -> None:
        v *= self.momentum
        v += g
        matrix = (g + self.momentum * v if self.nesterov else v).reshape(-1, p.shape[-1])  # (in, out)
        direction = orthogonal(backend, matrix, self.rounds)
        p *= shrink
        p -= lr * (max(1, matrix.shape[1] / matrix.shape[0]) ** 0.5 * direction.reshape(p.shape))


class UnitMuon(MatrixMuon):
    """MatrixMuon for matrices of constant size: before each update, ``p ← p · √out / ‖p‖``, with the Frobenius norm.

    This gives the columns of p, the filters, a root mean square length of 1.
    """

    def update(self, backend: Backend, p: Array, g: Array, lr: Rate, shrink: Rate, *, v: Array) -> None:
        p *= p.shape[-1] ** 0.5 / backend.xp.maximum(backend.xp.sqrt(backend.sum(p * p)), SMALLEST_NORM)
        super().update(backend, p, g, lr, shrink, v=v)


class Muon(ParameterGroups):
    """Muon for all weights of two and more axes, and AdamW for biases, gamma and beta: one optimizer for a network.

    ``others``: matrices that AdamW trains, too; the authors of Muon recommend this for the output layer. ``others_lr``:
    the learning rate of AdamW; ``schedule`` and ``weight_decay`` are for both. `MatrixMuon` states the formula.
    """

    matrix_optimizer: type[MatrixMuon] = MatrixMuon

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        rounds: int = 5,
        others: Iterable[Tensor] = (),
        others_lr: float = 1e-3,
        schedule: Schedule | None = None,
    ) -> None:
        lr, others_lr = in_range("lr", lr, above=0), in_range("others_lr", others_lr, above=0)
        given = checked_parameters(parameters)
        if isinstance(others, Tensor) or not isinstance(others, Iterable):
            raise SettingError(f"`others` is {shortened(others)}: expected a list of parameters")
        excluded = list(others)
        if not all(any(one is p for p in given) for one in excluded):
            raise SettingError("`others` contains something that is not among the parameters")
        trained = [p for p in given if p.requires_grad] or given  # all frozen: the optimizer below refuses them
        without = set(excluded)
        matrices = [p for p in trained if p.ndim > 1 and p not in without]
        rest = [p for p in trained if p.ndim < 2 or p in without]
        settings: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "rounds": rounds}
        groups: list[Optimizer] = []
        if matrices:
            groups.append(self.matrix_optimizer(matrices, lr, weight_decay=weight_decay, schedule=schedule, **settings))
        if rest:
            groups.append(AdamW(rest, others_lr, weight_decay=weight_decay, schedule=schedule))
        super().__init__(*groups)


class FilterMuon(Muon):
    """`UnitMuon` for the filters of convolutions, and AdamW, with the rate ``others_lr``, for everything else.

    For networks with batch norm after every convolution, not frozen: elsewhere the scaling changes what the network
    computes. Filters are parameters of three and more axes; without any, this is `Muon`. ``lr`` is about the angle, in
    radians, by which a step turns the filters. ``weight_decay`` changes their size until the next step only.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.2,
        *,
        momentum: float = 0.6,
        weight_decay: float = 0.0,
        others_lr: float = 0.01,
        schedule: Schedule | None = None,
    ) -> None:
        given = checked_parameters(parameters)
        has_filters = any(p.ndim > 2 for p in given)
        self.matrix_optimizer = UnitMuon if has_filters else MatrixMuon
        others = [p for p in given if p.ndim == 2 and has_filters]
        rates: dict[str, Any] = {"others": others, "others_lr": others_lr, "schedule": schedule}
        super().__init__(given, lr, momentum=momentum, weight_decay=weight_decay, **rates)
