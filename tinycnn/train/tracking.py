"""A network while it is recorded: its arrays, which a recorder replaces, and the layer that prevents recording."""

import copy
from collections.abc import Callable
from typing import Any

from tinycnn.backends.array_types import Array
from tinycnn.backends.recording import as_it_is
from tinycnn.layers import Layer, Sequential
from tinycnn.tensor import Function
from tinycnn.train.step import layer_and_inner

Track = Callable[[Array], Array]  # an array → the same memory, as a recorder wants it


def with_tracked_arrays(model: Sequential, optimizer: Any, average: Any, track: Track) -> tuple[Sequential, Any, Any]:
    """A copy of the three whose arrays are ``track(array)``; themselves if nothing is recorded.

    The arrays are parameters, buffers, slots, and the averages of the weights. A copy, because other threads may use
    the network meanwhile. ``optimizer`` and ``average`` may be None.
    """
    if track is as_it_is:
        return model, optimizer, average
    twin, twin_optimizer, twin_average = copy.deepcopy((model, optimizer, average))  # together: parameters are shared
    for parameter, tracked in zip(model.parameters(), twin.parameters(), strict=True):
        tracked._array = track(parameter._array)
    for layer, twin_layer in zip(layer_and_inner(model), layer_and_inner(twin), strict=True):
        twin_layer.buffers_by_name.update({name: track(array) for name, array in layer.buffers_by_name.items()})
    if optimizer is not None:
        for slots, twin_slots in zip(optimizer.slots, twin_optimizer.slots, strict=True):
            twin_slots.update({name: track(array) for name, array in slots.items()})
    if average is not None:
        twin_average.arrays = [track(array) for array in average.arrays]
    return twin, twin_optimizer, twin_average


def place_of(error: BaseException) -> str:
    """The layer in which an error was raised, by its full name, ``"residual_1.body.gelu_2 (GELU): "``.

    For an error in a backward pass, it is the layer whose parameters the function received; the name of the function
    if it received none. "" for an error raised elsewhere.
    """
    trace = (error.__cause__ or error).__traceback__
    names: dict[int, str] = {}  # of the layers of the network
    owners: dict[int, Layer] = {}  # of its parameters
    layer: Layer | None = None
    function: Function | None = None
    while trace:
        here = trace.tb_frame.f_locals
        for one in [*here.values(), getattr(here.get("self"), "model", None)]:
            if isinstance(one, Sequential) and not names:  # the outermost one is the network
                names = {id(inner): name for name, inner in one.all_layers()}
                owners = {id(p): inner for _, inner in one.all_layers() for p in inner.parameters_by_name.values()}
        one = here.get("self")
        if isinstance(one, Function):
            function = one
        elif isinstance(one, Layer) and not isinstance(one, Sequential):
            layer = one
        elif not isinstance(one, Layer):  # a fused step holds its layers
            layer = next((one for one in here.values() if isinstance(one, Layer) and id(one) in names), layer)
        trace = trace.tb_next
    if layer is None and function is not None:
        layer = next((owners[id(x)] for x in function.inputs if id(x) in owners), None)
    if layer is None:
        return f"{function.name}: " if function else ""
    kind = type(layer).__name__
    return f"{names[id(layer)]} ({kind}): " if id(layer) in names else f"{kind}: "
