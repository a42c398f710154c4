"""Which layers get rows whose elements are in another order in PyTorch, because an image was flattened before.

tinycnn flattens images in the order height, width, channels; PyTorch in the order channels, height, width. A dense
layer that is fed with such a row, directly or behind layers that keep it a row, has its weights in another order there.
"""

import numpy as np

from tinycnn.errors import SettingError
from tinycnn.layers import Add, Concatenate, Dense, Flatten, Layer, Multiply, Reshape, Residual, Sequential, Shape

Order = np.ndarray | None  # element i of the row is element order[i] in PyTorch; None: the same


def row_orders(model: Sequential) -> dict[Layer, Order]:
    """The order of the row that each layer of the network gets, inner layers included."""
    orders: dict[Layer, Order] = {}
    _follow(model, "", None, orders)
    return orders


def _follow(layer: Layer, name: str, order: Order, orders: dict[Layer, Order]) -> Order:
    """Enter ``layer`` and those inside it, which get a row in this ``order``; returns the order of its result."""
    orders[layer] = order
    inner = layer.sublayers()
    if isinstance(layer, Sequential):
        for own, one in inner.items():
            order = _follow(one, f"{name}{own}.", order, orders)
        return order
    if isinstance(layer, Residual | Add | Multiply | Concatenate):
        found = [_follow(one, f"{name}{own}.", order, orders) for own, one in inner.items()]
        lengths = [one.output_shape for one in inner.values()]
        return _concatenated(found, lengths) if isinstance(layer, Concatenate) else _same(name, found)
    if inner:
        for own, one in inner.items():
            _follow(one, f"{name}{own}.", _order_within(layer, one, f"{name}{own}", order), orders)
        return None
    if isinstance(layer, Flatten) and len(layer.input_shape) == 3:
        return channels_first_index(layer.input_shape)
    if isinstance(layer, Reshape) and len(layer.input_shape) == 1 and len(layer.output_shape) == 3:
        H, W, C = layer.output_shape
        if C > 1 and H * W > 1 and not (order is not None and np.array_equal(order, channels_first_index((H, W, C)))):
            raise SettingError(
                f"{name.removesuffix('.')}: turns a row into images; PyTorch puts its numbers into another order, and "
                "the weights before it cannot be converted; an ONNX file of the network can be imported"
            )
    return None if isinstance(layer, Dense) or len(layer.output_shape) != 1 else order


def channels_first_index(shape: Shape) -> np.ndarray:
    """The index of each feature of a flattened image ``(H, W, C)`` in the same image flattened channels first."""
    H, W, C = shape
    return np.arange(C * H * W).reshape(C, H, W).transpose(1, 2, 0).ravel()  # (H*W*C,)


def _concatenated(orders: list[Order], shapes: list[Shape]) -> Order:
    """The order of rows that stand one behind the other."""
    if all(order is None for order in orders):
        return None
    lengths = [shape[-1] for shape in shapes]
    starts = np.cumsum([0, *lengths[:-1]])
    each = zip(orders, lengths, starts, strict=True)
    return np.concatenate([start + (np.arange(length) if order is None else order) for order, length, start in each])


def _same(name: str, orders: list[Order]) -> Order:
    """The order that the results of several branches have in common; raises SettingError if they differ."""
    first, *others = orders
    if not all(_equal(first, other) for other in others):
        raise SettingError(
            f"{name.removesuffix('.')}: joins a flattened image and a row that was none; PyTorch has another order of "
            "their elements, and the weights cannot be converted"
        )
    return first


def _equal(first: Order, second: Order) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


def _order_within(outer: Layer, layer: Layer, name: str, order: Order) -> Order:
    """The order of the row that ``layer`` gets in a layer of one's own, whose ``forward`` calls it.

    It follows from the layer that returns rows of this length. Raises SettingError for a dense layer if there is none:
    ``forward`` has then flattened an image itself.
    """
    if len(layer.input_shape) != 1:
        return None
    sources = [one for one in outer.sublayers().values() if one is not layer and one.output_shape == layer.input_shape]
    flattened = [one for one in sources if isinstance(one, Flatten) and len(one.input_shape) == 3]
    if flattened:
        return channels_first_index(flattened[0].input_shape)
    if outer.input_shape == layer.input_shape:
        return order
    if not sources and isinstance(layer, Dense):
        raise SettingError(
            f"{name}: gets rows of {layer.input_shape[0]} numbers, which no layer beside it returns, so the order of "
            "their elements in PyTorch is unknown; flatten images with a Flatten layer in `__init__`"
        )
    return None
