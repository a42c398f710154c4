"""The moving average of the weights over the steps of a run, which often scores better than the last weights.

    a_t = Σ_k d^(t-k) p_k / Σ_k d^(t-k),   k = 1 … t,      so      a ← a + (1 - d) / (1 - dᵗ) · (p - a)

with weights p_k after step k and decay d: the weights of the last 1 / (1 - d) steps count most. At the learning rate of
a run the weights jump around a minimum, and their mean lies nearer to it. The sum of the factors is a geometric series,
``(1 - dᵗ) / (1 - d)``; dividing by it, as Adam does, makes the first average p_1, and not a mixture with the random
weights before the first step. Running statistics are averaged in the same way, because they belong to the weights.
Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tinycnn.backends import get_backend
from tinycnn.backends.base import Array
from tinycnn.errors import SettingError, ShapeError, in_range, shortened, whole_number
from tinycnn.optim.optimizer import Rate
from tinycnn.tensor import Tensor


class HasWeights(Protocol):
    """A network, or a layer."""

    def parameters(self) -> list[Tensor]:
        """All parameters."""

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """The arrays that are saved but not trained."""


class WeightAverage:
    """The average of parameters and buffers of ``model``, to which each call of ``update()`` adds the present ones.

    ``with average.applied():`` the network has the averages, and afterwards its own weights again, bit for bit.
    """

    def __init__(self, model: HasWeights, decay: float = 0.999) -> None:
        if not hasattr(model, "named_buffers"):
            raise SettingError(f"`model` is {shortened(model)}: expected a network, such as Sequential(...)")
        self.model, self.decay = model, in_range("decay", decay, at_least=0, below=1)
        self.count = 0  # of updates
        self.in_network = False  # whether the network has the averages, and `arrays` its own weights
        self.arrays = [array.copy() for array in self._weights()]

    def _weights(self) -> list[Array]:
        parameters = [parameter.data_to_change() for parameter in self.model.parameters()]
        return parameters + [buffer for _, buffer in self.model.named_buffers()]

    def update(self) -> None:
        """Add the weights after a step to the average, ``a ← a + (1 - d) / (1 - dᵗ) · (p - a)``."""
        self.take_out()
        self.count += 1
        self.move(self.share(self.count))

    def share(self, count: int) -> float:
        """The factor of the weights of update number ``count`` in the average, ``(1 - d) / (1 - dᵗ)``."""
        return (1 - self.decay) / (1 - self.decay**count)

    def move(self, share: Rate) -> None:
        """``a ← a + share · (p - a)``, without counting an update; ``share``: a number or an array ``()``."""
        for average, weights in zip(self.arrays, self._weights(), strict=True):
            average += share * (weights - average)

    def put_in(self) -> None:
        """Give the network the averages, until ``take_out``; before the first update, there are none to give."""
        if self.count and not self.in_network:
            self._exchange()

    def take_out(self) -> None:
        """Give the network its own weights again."""
        if self.in_network:
            self._exchange()

    def _exchange(self) -> None:
        for average, weights in zip(self.arrays, self._weights(), strict=True):
            own = weights.copy()
            weights[...] = average
            average[...] = own
        self.in_network = not self.in_network

    @contextmanager
    def applied(self, yes: bool = True) -> Iterator[None]:
        """In the block, the network has the averages, or with ``applied(False)`` its own weights."""
        before = self.in_network
        self.put_in() if yes else self.take_out()
        try:
            yield
        finally:
            self.put_in() if before else self.take_out()

    def state_dict(self) -> dict[str, Any]:
        """The number of updates, and copies of the averages on the host."""
        with self.applied(False):
            return {"count": self.count, "arrays": [get_backend().to_host(array).copy() for array in self.arrays]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict()`` was called; raises ShapeError for the state of another network."""
        try:
            count, arrays = whole_number("count", state["count"]), list(state["arrays"])
            fits = [(a.shape, a.dtype) for a in self.arrays] == [(a.shape, a.dtype) for a in arrays]
        except (LookupError, TypeError, AttributeError):
            raise SettingError("expected the state of an average, as state_dict() returns it") from None
        if not fits:
            raise ShapeError("this average belongs to another network")
        with self.applied(False):
            self.count = count
            for average, values in zip(self.arrays, arrays, strict=True):
                average[...] = get_backend().asarray(values)
