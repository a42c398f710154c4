"""Layers that exporters write as many nodes, replaced by one node before the conversion.

TensorFlow and Keras compute a layer norm and a group norm with a common factor, ``w = gamma / sqrt(variance + eps)``:

    y = x w + (beta - mean w)

and a dense layer of pixels as ``Reshape(MatMul(Reshape(x), weight))``, where the shapes are computed from N. PyTorch
replaces a softplus of more than 20 by its input, which is the same to nine digits. Only the structure is compared here;
``operators/`` checks the shapes. A node that is replaced keeps its name and its result, and the nodes before it that
nothing else needs are left out.
"""

from typing import Any

import numpy as np

from tinycnn.errors import shortened
from tinycnn.interchange.onnx.file import ELEMENT_TYPES, Graph, Node

MOMENTS, DENSE_OF_PIXELS = "Add of a norm", "Reshape of a dense layer"
DEPTH = 8  # nodes that compute a shape
NEARLY_LINEAR = 17.0  # log(1 + eˣ) is x in float32


class Structure(Node):
    """A node in the place of several; ``operator`` is none of ONNX's."""

    def __str__(self) -> str:
        return f"node {shortened(self.name)} ({self.operator})"


def rewritten(graph: Graph) -> list[Node]:
    """The nodes of ``graph``, in which the last node of each structure that is known takes the place of all."""
    structures = Structures(graph)
    return [structures.found(node) or node for node in graph.nodes]


class Structures:
    """The nodes by their results, and the structures that end at a node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.by_result = {node.outputs[0]: node for node in graph.nodes if len(node.outputs) == 1}

    def found(self, node: Node) -> Node | None:
        """The node that replaces ``node``; None: it ends no known structure."""
        if len(node.outputs) != 1:
            return None
        return {"Add": self.norm, "Reshape": self.dense_of_pixels, "Where": self.softplus}.get(
            node.operator, lambda node: None
        )(node)

    def origin(self, name: str) -> Node | None:
        """The node that computes ``name``, in front of conversions to float32."""
        node = self.by_result.get(name)
        for _ in range(len(self.by_result)):
            if node is None or node.operator != "Cast" or ELEMENT_TYPES.get(node.attributes.get("to", 0)) != np.float32:
                break
            node = self.by_result.get(node.inputs[0]) if node.inputs else None
        return node

    def inputs(self, name: str, operator: str, count: int = 2) -> list[str]:
        """The inputs of the node that computes ``name``; none unless it has this operator and so many inputs."""
        node = self.origin(name)
        return node.inputs if node and node.operator == operator and len(node.inputs) == count else []

    def either(self, name: str, operator: str) -> list[tuple[str, str]]:
        """Both orders of the two inputs of the node that computes ``name``, if it has this operator."""
        inputs = self.inputs(name, operator)
        return [(inputs[0], inputs[1]), (inputs[1], inputs[0])] if inputs else []

    def value(self, name: str) -> np.ndarray | None:
        """The constant ``name``, if it is stored in the file."""
        node = self.by_result.get(name)
        value = node.attributes.get("value") if node and node.operator == "Constant" else self.graph.constants.get(name)
        return value if isinstance(value, np.ndarray) else None

    def number(self, name: str) -> float | None:
        """The constant ``name``, if it is one number."""
        value = self.value(name)
        return float(value.ravel()[0]) if value is not None and value.size == 1 else None

    # -------------------------------------------------------------------------------------------------------- a norm

    def norm(self, node: Node) -> Structure | None:
        """``x w + (beta - mean w)``, also without beta or gamma."""
        for scaled, shifted in self.either(node.outputs[0], "Add"):
            for x, w in self.either(scaled, "Mul"):
                settings = self.factor(x, w)
                if settings is None:
                    continue
                for difference, beta in [*self.either(shifted, "Add"), (shifted, "")]:
                    if any(self.is_negative_mean(first, x, settings) for first, second in self.either(difference, "Mul")
                           if second == w):  # fmt: skip
                        names = [x, settings.pop("gamma"), beta, *settings.pop("reshaped")]
                        return Structure(MOMENTS, node.name, names, node.outputs, settings)
        return None

    def is_negative_mean(self, name: str, x: str, settings: dict[str, Any]) -> bool:
        """Whether ``name`` is ``-mean(x)`` over the same axes."""
        negative = self.inputs(name, "Neg", 1)
        return bool(negative) and self.mean_axes(negative[0], x) == settings["axes"]

    def factor(self, x: str, w: str) -> dict[str, Any] | None:
        """The axes, ``eps`` and gamma of the factor ``w`` by which ``x`` is multiplied."""
        for root, gamma in [*self.either(w, "Mul"), (w, "")]:
            denominator = self.inputs(root, "Reciprocal", 1)
            quotient = self.inputs(root, "Div")
            if quotient and self.number(quotient[0]) == 1:
                denominator = quotient[1:]
            inside = self.inputs(denominator[0], "Sqrt", 1) if denominator else []
            for variance, eps in self.either(inside[0], "Add") if inside else []:
                number, axes = self.number(eps), self.variance_axes(variance, x)
                if number is not None and axes is not None:
                    return {"axes": axes[0], "reshaped": axes[1], "epsilon": number, "gamma": gamma}
        return None

    def variance_axes(self, name: str, x: str) -> tuple[tuple[int, ...], list[str]] | None:
        """The axes over which ``name`` is the variance of ``x``: ``mean((x - mean)²)`` or ``mean(x²) - mean²``.

        Also the shapes to which the mean was reshaped.
        """
        square = self.reduced(name)
        for difference in self.squared(square) if square else []:
            parts = self.inputs(difference, "Sub")
            if parts and parts[0] == x:
                mean = self.inputs(parts[1], "Reshape") or [parts[1]]
                if self.mean_axes(mean[0], x) == self.axes(name):
                    return self.axes(name), mean[1:]
        parts = self.inputs(name, "Sub")
        if parts and x in self.squared(self.reduced(parts[0])):
            axes = self.axes(parts[0])
            if any(self.mean_axes(mean, x) == axes for mean in self.squared(parts[1])):
                return axes, []
        return None

    def squared(self, name: str) -> list[str]:
        """What ``name`` is the square of: one name, or none."""
        product, power = self.inputs(name, "Mul"), self.inputs(name, "Pow")
        if product and product[0] == product[1]:
            return product[:1]
        return power[:1] if power and self.number(power[1]) == 2 else []

    def reduced(self, name: str) -> str:
        """The input of the mean ``name``, whose axes are kept; "" if it is none."""
        node = self.origin(name)
        kept = node is not None and node.operator == "ReduceMean" and node.attributes.get("keepdims", 1) == 1
        return node.inputs[0] if node and kept and node.inputs and self.axes(name) else ""

    def axes(self, name: str) -> tuple[int, ...]:
        """The axes of a mean: an attribute, or a constant."""
        node = self.origin(name)
        value = self.value(node.inputs[1]) if node and len(node.inputs) == 2 else None
        if value is not None:
            return tuple(value.ravel().tolist()) if value.dtype.kind == "i" and value.size < 8 else ()
        listed = node.attributes.get("axes", ()) if node else ()
        return listed if isinstance(listed, tuple) else ()

    def mean_axes(self, name: str, x: str) -> tuple[int, ...]:
        """The axes over which ``name`` is the mean of ``x``; none if it is not."""
        return self.axes(name) if self.reduced(name) == x else ()

    # ------------------------------------------------------------------------------------------------- two other ones

    def softplus(self, node: Node) -> Node | None:
        """``Where(x > 20, x, Softplus(x))``."""
        if len(node.inputs) != 3:
            return None
        condition, x, y = node.inputs
        compared = self.inputs(condition, "Greater")
        limit = self.number(compared[1]) if compared and compared[0] == x else None
        if limit is None or not limit >= NEARLY_LINEAR or self.inputs(y, "Softplus", 1) != [x]:
            return None
        return Node("Softplus", node.name, [x], node.outputs, {})

    def dense_of_pixels(self, node: Node) -> Structure | None:
        """``Reshape(MatMul(Reshape(x), weight))``: the rows of the last axis are multiplied."""
        product = self.inputs(node.inputs[0], "MatMul") if len(node.inputs) == 2 else []
        inner = self.inputs(product[0], "Reshape") if product else []
        if not inner or not self.is_product_of_sizes(inner[1], DEPTH):
            return None
        return Structure(DENSE_OF_PIXELS, node.name, [inner[0], product[1], node.inputs[1]], node.outputs, {})

    def is_product_of_sizes(self, name: str, depth: int) -> bool:
        """Whether the shape ``name`` is computed with ReduceProd, as TensorFlow joins all axes but the last."""
        node = self.by_result.get(name)
        if node is None or depth == 0 or node.operator not in ("Cast", "Concat", "Unsqueeze", "ReduceProd"):
            return False
        return node.operator == "ReduceProd" or any(self.is_product_of_sizes(one, depth - 1) for one in node.inputs[:2])
