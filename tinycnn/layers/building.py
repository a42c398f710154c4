"""How the layers inside a layer are built: each receives the shape of its input, and returns that of its output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinycnn.errors import SettingError, ShapeError
from tinycnn.layers.initial_values import check_all_used, pop_by_layer
from tinycnn.layers.interface.built import built_shape
from tinycnn.layers.interface.channel_habits import hint_if_channels_first, log_if_channels_first
from tinycnn.layers.interface.returned import as_output
from tinycnn.tensor import Tensor, no_grad

Shape = tuple[int, ...]
_build_at_call: ContextVar[Callable[[Any, Shape], None] | None] = ContextVar("build_at_call", default=None)


@contextmanager
def building(outer: Any, rng: np.random.Generator, dtype: np.dtype) -> Iterator[Callable[[Any, Shape], Shape]]:
    """Build the layers inside ``outer``; for its ``build`` method.

    Inside ``with building(self, rng, dtype) as build_inner``, ``build_inner(layer, input_shape)`` builds one of them
    and returns its output shape. A layer of another network keeps its weights. Raises ShapeError, naming the layer, if
    it does not fit, and after the block for initial values that no layer has used.
    """
    names = {layer: name for name, layer in outer.sublayers().items()}
    given = None if outer.initial_values is None else pop_by_layer(outer.initial_values)

    def build(layer: Any, input_shape: Shape) -> Shape:
        name = names[layer]
        layer.initial_values = None if given is None else given.pop(name, {})
        try:
            if given is None and _keeps_weights(layer, input_shape, dtype):
                return layer.output_shape
            layer.input_shape = input_shape
            layer.output_shape = built_shape(layer, layer.build(input_shape, rng, dtype))
            check_all_used(layer.initial_values)
            log_if_channels_first(layer, input_shape[-1])
        except ShapeError as error:
            needs_channels = len(input_shape) == 2 and "(N, H, W, C)" in str(error)
            hint = f"; pass grey images as `input_shape={(*input_shape, 1)}`" if needs_channels else ""
            hint = hint_if_channels_first(layer, input_shape[-1]) if "window does not fit" in str(error) else hint
            raise ShapeError(f"layer {name} does not fit: {error}{hint}") from None
        layer.initial_values = None
        return layer.output_shape

    yield build
    check_all_used(given)


def _keeps_weights(layer: Any, input_shape: Shape, dtype: np.dtype) -> bool:
    """Whether the layer has weights from another network, which both networks then share, as in Keras and PyTorch.

    Raises ShapeError if they are for another input: creating new ones would destroy those of the other network.
    """
    parameters = layer.parameters() if "output_shape" in vars(layer) else []
    if not parameters:
        return False
    if (layer.input_shape, parameters[0].dtype) != (input_shape, dtype):
        raise ShapeError(
            f"it has weights for {parameters[0].dtype} {layer.input_shape}, from an earlier network, and receives "
            f"{dtype} {input_shape}: create a new layer"
        )
    return True


def build_by_a_run(outer: Any, input_shape: Shape, rng: np.random.Generator, dtype: np.dtype) -> Shape:
    """Build each layer inside ``outer`` at its first call in ``outer.forward``; returns the output shape of ``outer``.

    ``forward`` gets one image of zeros, in evaluation mode. Raises SettingError for a layer that it does not call.
    """
    training, not_built = outer.training, {layer: name for name, layer in outer.sublayers().items()}
    with building(outer, rng, dtype) as build_inner, no_grad(), np.errstate(all="ignore"):

        def build_at_call(layer: Any, shape: Shape) -> None:
            if layer in not_built:
                del not_built[layer]
                build_inner(layer, shape)

        token = _build_at_call.set(build_at_call)
        try:
            x = Tensor(np.zeros((1, *input_shape), dtype))
            y = as_output(outer, x, outer.eval().forward(x))
            if not_built:  # perhaps called in training only; the inner layers stay in evaluation mode
                vars(outer)["training"] = True
                outer.forward(x)
        finally:
            _build_at_call.reset(token)
            outer.train(training)
    for name in not_built.values():
        raise SettingError(
            f"{type(outer).__name__}: forward does not call its layer {name}, so the shape of its input is unknown: "
            "define build, or remove the layer"
        )
    return y.shape[1:]


def build_at_first_call(layer: Any, input_shape: Shape) -> None:
    """Build ``layer`` if it is called for the first time during ``build_by_a_run``; otherwise do nothing."""
    if build := _build_at_call.get():
        build(layer, input_shape)
