"""A network while it is recorded: its arrays, which a recorder replaces, and the layer that prevents recording."""

import copy
from collections.abc import Callable
from typing import Any

from tinycnn.backends.array_types import Array
from tinycnn.backends.recording import as_it_is
from tinycnn.layers import Layer, Sequential
from tinycnn.tensor import Function
from tinycnn.train.step import all_layers

Track = Callable[[Array], Array]  # an array → the same memory, as a recorder wants it


def with_tracked_arrays(model: Sequential, optimizer: Any, track: Track) -> tuple[Sequential, Any]:
    """A copy of both whose parameters, buffers and slots are ``track(array)``; themselves if nothing is recorded.

    A copy, because other threads may use the network meanwhile. ``optimizer`` may be None.
    """
    if track is as_it_is:
        return model, optimizer
    twin, twin_optimizer = copy.deepcopy((model, optimizer))  # together, because they share parameters
    for parameter, tracked in zip(model.parameters(), twin.parameters(), strict=True):
        tracked._array = track(parameter._array)
    for layer, twin_layer in zip(all_layers(model), all_layers(twin), strict=True):
        twin_layer.buffers_by_name.update({name: track(array) for name, array in layer.buffers_by_name.items()})
    if optimizer is not None:
        for slots, twin_slots in zip(optimizer.slots, twin_optimizer.slots, strict=True):
            twin_slots.update({name: track(array) for name, array in slots.items()})
    return twin, twin_optimizer


def place_of(error: BaseException) -> str:
    """The layer or function in which an error was raised, ``"GELU: "``; "" for an error raised elsewhere."""
    trace = (error.__cause__ or error).__traceback__
    layer = function = ""
    while trace:
        one = trace.tb_frame.f_locals.get("self")
        if isinstance(one, Function):
            function = one.name
        elif isinstance(one, Layer) and not isinstance(one, Sequential):
            layer = type(one).__name__
        trace = trace.tb_next
    return f"{layer or function}: " if layer or function else ""
