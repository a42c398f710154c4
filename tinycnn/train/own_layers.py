"""What to say about a layer of one's own whose ``forward`` returns no tensor, or one without a history."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tinycnn.backends import get_backend
from tinycnn.errors import AutogradError, SettingError, shortened
from tinycnn.layers import Sequential
from tinycnn.optim import Optimizer
from tinycnn.tensor import Tensor, no_grad

IN_TENSORS = "compute it with tinycnn.ops and the operators of Tensor, not with NumPy"


def own_layers(model: Sequential) -> list[str]:
    """The names of the layers whose classes are not part of tinycnn."""
    return [name for name, layer in model.all_layers() if not type(layer).__module__.startswith("tinycnn.")]


def without_gradient(model: Sequential, optimizer: Optimizer) -> str:
    """A sentence about the parameters to be trained that the step before has given no gradient; "" if there are none.

    Only a layer of one's own can end the graph.
    """
    own = own_layers(model)
    trained = {id(one) for one in optimizer.parameters} if own else set()
    named = [(name, one) for name, one in model.named_parameters() if id(one) in trained and one.requires_grad]
    without = [name for name, one in named if one.grad is None]
    if not without:
        return ""
    return f"no gradient reached {listed(without)} in the first step: {where(own)}"


def where(own: list[str]) -> str:
    """The layers that may have ended the graph, and what to do."""
    return f"if the forward of {listed(own)} ends the graph, {IN_TENSORS}"


def listed(names: list[str]) -> str:
    """The first names, and how many there are besides."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def explaining_own_layers(model: Sequential) -> Iterator[None]:
    """Errors of a step become SettingErrors that name the layer of one's own that caused them, where it is known."""
    try:
        yield
    except Exception as error:
        own = own_layers(model)
        words = returns_no_tensor(model) if own else ""
        if own and isinstance(error, AutogradError) and "requires_grad=False" in str(error):
            words = words or f"no parameter of the network has a gradient: {where(own)}"
        if words:
            raise SettingError(words) from error
        raise


def returns_no_tensor(model: Sequential) -> str:
    """A sentence about the first layer of one's own that returns something else for zeros; "" if there is none."""
    x = Tensor(get_backend().asarray(np.zeros((1, *model.input_shape), model.dtype)))
    training = model.training
    try:
        with no_grad(), np.errstate(all="ignore"):
            model.eval()
            for name, layer in model.layers.items():
                y = layer(x)
                if not isinstance(y, Tensor):
                    kind = type(layer).__name__
                    return f"{name}: {kind}.forward returned {shortened(y, 40)}, expected a Tensor: {IN_TENSORS}"
                x = y
    except Exception:  # that of the step says what is wrong
        return ""
    finally:
        model.train(training)
    return ""
