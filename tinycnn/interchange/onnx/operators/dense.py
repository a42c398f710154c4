"""Matrix products, which become dense layers."""

import numpy as np

from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.chain import Chain
from tinycnn.interchange.onnx.file import Node
from tinycnn.layers import Dense


def gemm(chain: Chain, node: Node) -> None:
    """``alpha x weight + beta bias``, weight ``(in, out)`` or transposed → Dense."""
    settings = node.settings(alpha=1.0, beta=1.0, transA=0, transB=0)
    node.require(settings, transA=0)
    weight, bias = chain.required_weights(node, 1), chain.weights(node, 2)
    weight = weight.T if settings["transB"] else weight  # (in, out)
    dense(chain, node, weight if settings["alpha"] == 1 else weight * settings["alpha"])
    if bias is not None:
        full_bias = np.broadcast_to(bias, (1, weight.shape[1]))[0]  # (out,)
        chain.planned[-1].arrays["bias"] = full_bias if settings["beta"] == 1 else full_bias * settings["beta"]


def matmul(chain: Chain, node: Node) -> None:
    """``x weight`` → Dense without bias; an Add after it becomes the bias."""
    dense(chain, node, chain.required_weights(node, 1))


def dense(chain: Chain, node: Node, weight: np.ndarray) -> None:
    """``weight (in, out)``, with its rows in the order of the file → Dense."""
    if chain.is_image or len(chain.axes) != 2:
        raise FileFormatError(f"{node}: multiplies an array with axes {chain.described()}; a Dense layer takes rows")
    if weight.ndim != 2 or len(weight) != chain.length(chain.row):
        raise FileFormatError(f"{node}: weight {weight.shape} for rows of {chain.length(chain.row)} numbers")
    chain.plan(Dense, {"weight": weight[chain.file_index()]}, units=weight.shape[1])
    chain.sizes = {"H": 1, "W": 1, "C": weight.shape[1]}
    chain.axes = ("N", chain.letters("C"))
