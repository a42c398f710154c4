"""Graphs for the tests of the ONNX import, built node by node."""

import numpy as np
import onnx

from tinycnn.interchange.onnx.importer import import_onnx, largest_difference

FLOAT = onnx.TensorProto.FLOAT
rng = np.random.default_rng(0)


def random(*shape):
    return rng.normal(size=shape).astype(np.float32)


class Drawn:
    """A graph that is built node by node: ``g("Relu", x)`` adds one and returns the name of its result."""

    def __init__(self, *shape, opset=17, batch="N"):
        self.nodes, self.constants, self.opset = [], [], opset
        self.input = onnx.helper.make_tensor_value_info("x", FLOAT, [batch, *shape])
        self.last = "x"

    def __call__(self, operator, *inputs, name=None, **attributes):
        inputs = [self.constant(one) if isinstance(one, np.ndarray | np.generic) else one for one in inputs]
        self.last = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operator, inputs, [self.last], name=self.last, **attributes))
        return self.last

    def more(self, operator, results, *inputs, **attributes):
        """Add a node with more results than one; returns the name of the first."""
        name = self(operator, *inputs, **attributes)
        self.nodes[-1].output.extend(f"{name}_{number}" for number in range(1, results))
        return name

    def constant(self, array):
        self.constants.append(onnx.numpy_helper.from_array(np.array(array, order="C"), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def proto(self):
        output = onnx.helper.make_tensor_value_info(self.last, FLOAT, None)
        graph = onnx.helper.make_graph(self.nodes, "drawn", [self.input], [output], self.constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self.opset)], ir_version=8)

    def save(self, folder):
        path = folder / "drawn.onnx"
        path.write_bytes(self.proto().SerializeToString())
        return path


def ints(*numbers):
    return np.array(numbers, np.int64)


def imported(graph, folder):
    """The imported network, after a comparison with ONNX Runtime."""
    path = graph.save(folder)
    found = import_onnx(path)
    assert largest_difference(found, path) < 1e-5
    return found.model


def kinds(model):
    return [type(layer) for layer in model.layers.values()]


def drawn(draw, shape=(2, 7, 6), **settings):
    g = Drawn(*shape, **settings)
    draw(g)
    return g
