"""Matrix products, which become dense layers."""

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.chain import CHANNELS_LAST, Chain, LayoutError
from tinycnn.interchange.onnx.file import Node
from tinycnn.layers import Conv2d, Dense


def gemm(chain: Chain, node: Node) -> None:
    """``alpha x weight + beta bias``, weight ``(in, out)`` or transposed → Dense."""
    settings = node.settings(alpha=1.0, beta=1.0, transA=0, transB=0)
    node.require(settings, transA=0)
    weight, bias = chain.required_weights(node, 1), chain.weights(node, 2)
    weight = weight.T if settings["transB"] else weight  # (in, out)
    bias = None if bias is None else np.broadcast_to(bias, (1, weight.shape[1]))[0]  # (out,)
    if bias is not None and settings["beta"] != 1:
        bias = bias * settings["beta"]
    dense(chain, node, weight if settings["alpha"] == 1 else weight * settings["alpha"], bias)


def matmul(chain: Chain, node: Node) -> None:
    """``x weight`` → Dense without bias; an Add after it becomes the bias. Of images, channels last → 1x1 Conv2d."""
    weight = chain.required_weights(node, 1)
    if chain.is_image and len(chain.axes) == 4 and weight.ndim == 2:
        pixelwise(chain, node, weight)
        return
    dense(chain, node, weight, None)


def pixelwise(chain: Chain, node: Node, weight: np.ndarray) -> None:
    """``weight (C, F)`` applied to every pixel of images, channels last → 1x1 Conv2d."""
    if chain.axes != ("N", *map(chain.letters, CHANNELS_LAST)) or len(weight) != chain.shape[-1]:
        raise LayoutError(f"{node}: weight {weight.shape} for images with the axes {chain.described()}")
    chain.plan(Conv2d, {"weight": weight[np.newaxis, np.newaxis]}, filters=weight.shape[1], kernel_size=(1, 1))
    chain.sizes |= {"C": weight.shape[1]}
    chain.axes = ("N", *map(chain.letters, CHANNELS_LAST))


def dense_of_pixels(chain: Chain, node: Node) -> None:
    """``x, weight, shape`` (``rewriting.py``) → 1x1 Conv2d; the shape must be that of the images."""
    weight, shape = chain.required_weights(node, 1), chain.constant(node, 2)
    if not chain.is_image or weight.ndim != 2:
        raise FileFormatError(f"{node}: weight {weight.shape} for an array with the axes {chain.described()}")
    pixelwise(chain, node, weight)
    sizes = chain.file_shape()[1:].tolist()
    if shape is None or shape.ravel().tolist()[1:] != sizes:
        raise FileFormatError(f"{node}: returns another shape than {sizes}; tinycnn has no layer for this")


def dense(chain: Chain, node: Node, weight: np.ndarray, bias: np.ndarray | None) -> None:
    """``weight (in, out)``, with its rows in the order of the file → Dense."""
    if chain.is_image or len(chain.axes) != 2:
        raise FileFormatError(f"{node}: multiplies an array with axes {chain.described()}; a Dense layer takes rows")
    if weight.ndim != 2 or len(weight) != chain.length(chain.row):
        raise FileFormatError(f"{node}: weight {weight.shape} for rows of {chain.length(chain.row)} numbers")
    arrays = {"weight": weight[chain.file_index()]} | ({} if bias is None else {"bias": bias})
    chain.plan(Dense, arrays, units=weight.shape[1])
    chain.become_row(weight.shape[1])
