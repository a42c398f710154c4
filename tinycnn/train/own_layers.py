"""What to say about layers of one's own: a ``forward`` that ends the graph, a class that a model file cannot name."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from tinycnn.errors import AutogradError, SettingError
from tinycnn.layers import Layer, Sequential
from tinycnn.layers.interface.returned import IN_TENSORS
from tinycnn.optim import Optimizer

_noted: weakref.WeakSet[Sequential] = weakref.WeakSet()  # networks with a class that is not registered


def own_layers(model: Sequential) -> list[str]:
    """The names of the layers whose classes are not part of tinycnn."""
    return [name for name, layer in model.all_layers() if not type(layer).__module__.startswith("tinycnn.")]


def not_registered(model: Sequential) -> str:
    """A sentence, once for a network, about classes of layers that `save` would refuse; "" if there are none."""
    layers = {type(layer).__name__ for _, layer in model.all_layers() if type(layer) is not Sequential}
    missing = sorted(layers - set(Layer.registry))
    if not missing or model in _noted:
        return ""
    _noted.add(model)
    return (
        f"tinycnn.save will refuse {listed(missing)}: put @tinycnn.layers.register_layer above the class, so that load "
        "can build it"
    )


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
    """An error about a loss without a history becomes a SettingError that names the layers of one's own."""
    try:
        yield
    except AutogradError as error:
        own = own_layers(model)
        if own and "requires_grad=False" in str(error):
            raise SettingError(f"no parameter of the network has a gradient: {where(own)}") from error
        raise
