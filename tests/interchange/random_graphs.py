"""Random ONNX files, which compare the importer with ONNX's reference evaluator.

``python -m tests.interchange.random_graphs SECONDS SEED`` tries as many as it can.
A file is a graph of the operators that tinycnn knows, with random attributes, constants on either side, of any shape
and dtype, shapes computed from other nodes, and branches that part and join anywhere. Most are valid, some are not. An
import either returns a network with the numbers and the shape of the reference, or raises FileFormatError.
"""

import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.support import onnx_runtime
from tinycnn import no_grad
from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.importer import Imported, import_onnx, to_file_layout

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
ROUNDED = 1e-7  # in float64 with attributes such as 0.1: ONNX stores them in float32, tinycnn takes them for 0.1
WITH_ATTRIBUTES = "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish"
WITH_ATTRIBUTES += "LayerNormalization", "InstanceNormalization"


class RandomGraph:
    """A random file: ``proto()`` is the model, ``x`` a batch of its input, ``value`` the reference's output for it."""

    def __init__(self, seed: int, dtype: str | None = None) -> None:
        self.rng, self.seed = np.random.default_rng(seed), seed
        self.nodes, self.constants, self.count = [], [], 0
        self.opset = self.pick(17, 17, 17, 13, 18, 20, 21, 7, 9, 11, 12)
        chosen = self.pick("float32", "float32", "float32", "float64")
        self.dtype = np.dtype(dtype or chosen)
        self.batch = self.pick("N", "N", "N", 1, 2)
        shape = self.pick(
            (3, 5, 6), (1, 6, 6), (6, 6, 1), (5, 6, 3), (2, 4, 1), (4, 1, 3), (1, 1, 1), (6,), (1,), (5, 4)
        )
        count = 2 if self.batch == "N" else self.batch
        self.shape, self.x = shape, self.normal(count, *shape)
        self.last, self.arrays = "x", {"x": self.x}  # the results so far
        self.unknown = False  # whether the reference cannot say what the file computes
        for _ in range(self.rng.integers(1, 9)):
            if self.chance(0.15) and not self.unknown:
                self.branch()
            else:
                self.step()
        if self.value.ndim > 1 and self.chance(0.5):
            self.step("flatten")
            self.step("gemm")

    @property
    def value(self) -> np.ndarray:
        return self.arrays.get(self.last, self.x)

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def normal(self, *shape):
        return self.rng.normal(size=shape).astype(self.dtype)

    # ------------------------------------------------------------------------------------------------------ the file

    def constant(self, array, direct=False) -> str:
        """The name of a constant: an initializer, a node, or folded from another."""
        array = np.asarray(array)
        self.count += 1
        name = f"c{self.count}"
        if not direct and self.chance(0.1):
            tensor = numpy_helper.from_array(array)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        if not direct and array.dtype == np.float32 and array.ndim == 0 and self.opset >= 12 and self.chance(0.2):
            self.nodes.append(helper.make_node("Constant", [], [name], value_float=float(array)))
            return name
        if (
            not direct
            and array.dtype == np.int64
            and array.ndim == 1
            and array.size
            and self.opset >= 12
            and self.chance(0.1)
        ):
            self.nodes.append(helper.make_node("Constant", [], [name], value_ints=array.tolist()))
            return name
        if not direct and array.ndim > 1 and self.chance(0.1):
            inner = self.constant(np.ascontiguousarray(array.T), direct=True)
            self.nodes.append(helper.make_node("Transpose", [inner], [name]))
            return name
        self.constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def model(self, nodes, inputs, output, used):
        """A file with these ``nodes``, ``inputs`` (arrays by name), and the constants that are ``used``."""
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            nodes,
            "random",
            [
                helper.make_tensor_value_info(name, kind, [self.batch, *array.shape[1:]])
                for name, array in inputs.items()
            ],
            [helper.make_tensor_value_info(output, kind, None)],
            [constant for constant in self.constants if constant.name in used],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def proto(self):
        return self.model(self.nodes, {"x": self.x}, self.last, {constant.name for constant in self.constants})

    def step(self, name=None) -> None:
        """Add one operator; one that the reference refuses is mostly left out again."""
        before = len(self.nodes), len(self.constants)
        images, rows = self.value.ndim == 4, self.value.ndim == 2
        names = ["arithmetic"] * 3 + ["relu", "dropout", "softmax", "transpose", "flatten", "reshape"]
        names += ["squeeze", "unsqueeze", "cast", "identity", "viewed", "mean", "activation", "activation", "joined"]
        names += ["clip", "power", "gated", "prelu", "reduced"] + ["layer_norm"] * (self.opset >= 17)
        names += ["padded", "resized", "group_norm", "instance_norm", "conv_transpose", "moments"] * images
        names += ["sliced"]
        names += ["batch_norm"] if self.opset >= 14 else []  # the reference takes older ones to be in training mode
        names += ["conv", "conv", "pool", "pool", "global_pool"] * images + ["gemm", "matmul"] * (3 if rows else 0)
        names += ["gemm", "matmul", "conv", "pool"] * self.chance(0.05)
        operator, inputs, attributes = getattr(self, name or self.pick(*names))()
        result = f"r{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [result], **attributes)
        self.nodes.append(node)
        value = None if self.unknown else self.evaluated(result, self.nodes[before[0] :])
        if value is None and not self.chance(0.05):
            del self.nodes[before[0] :], self.constants[before[1] :]
            return
        self.unknown, self.last = value is None, result
        if value is not None:
            self.arrays[result] = value

    def branch(self) -> None:
        """A few operators after an array of before, and a node that joins their result with the current one."""
        other, self.last = self.last, self.pick(*self.arrays)
        for _ in range(self.rng.integers(0, 4)):
            self.step()
            if self.unknown:
                return
        self.other = other
        self.step("joined")

    def evaluated(self, result, nodes):
        """The reference's value of ``result``; None where it refuses the ``nodes``, or where it is not an array."""
        used = {name for node in nodes for name in node.input}
        known = {name: array for name, array in self.arrays.items() if name in used}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # for example of a mean of nothing
                value = ReferenceEvaluator(self.model(nodes, known, result, used)).run(None, known)[0]
        except Exception:  # the reference raises anything
            return None
        same = isinstance(value, np.ndarray) and value.dtype == self.dtype and value.ndim
        return value if same and np.isfinite(value).all() and np.abs(value).max(initial=0) < 1e5 else None

    # ----------------------------------------------------------------------------------------------------- operators

    def around(self):
        """A shape that broadcasts with the current array, mostly."""
        shape, rank = self.value.shape, self.value.ndim
        channels = shape[1] if rank == 4 else shape[-1]
        match self.rng.integers(9):
            case 0:
                return ()
            case 1:
                return (1,) * self.rng.integers(1, rank + 2)
            case 2:
                return (channels,)
            case 3:
                return (channels, 1, 1)
            case 4:
                return (1, channels, 1, 1)
            case 5:
                return shape[1:]
            case 6:
                return tuple(size if self.chance(0.5) else 1 for size in shape)
            case 7:
                return (*(1 for _ in range(rank)), self.pick(1, channels))
            case _:
                return (1, channels)

    def arithmetic(self):
        operator = self.pick("Add", "Sub", "Mul", "Div")
        array = self.rng.uniform(0.5, 2, self.around())
        array = array.astype(self.dtype if self.chance(0.95) else self.pick("float32", "float64", "int64"))
        inputs = [self.last, self.constant(array)]
        return operator, inputs if self.chance(0.95 if operator == "Div" else 0.5) else inputs[::-1], {}

    other = None  # the array that joined() takes; None: any

    def joined(self):
        other, self.other = self.other or self.pick(*self.arrays), None
        inputs = [self.last, other] if self.chance(0.5) else [other, self.last]
        operator = self.pick("Add", "Add", "Mul", "Sub", "Div", "Concat", "Concat", "Sum", "Max", "Min")
        if operator == "Concat":
            inputs += [self.pick(*self.arrays)] * self.chance(0.2)
            return operator, inputs, {"axis": self.pick(1, 1, 1, -1, self.value.ndim - 1, 0)}
        return operator, inputs, {}

    def activation(self):
        plain = ["Sigmoid", "Tanh", "Neg", "Erf", "Softplus", "Softsign", "Abs"] + ["HardSwish"] * (self.opset >= 14)
        alpha = {"LeakyRelu": 0.3, "Elu": 0.5, "Selu": 1.2, "HardSigmoid": 0.3} | (
            {"Celu": 2.0} if self.opset > 11 else {}
        )
        operator = self.pick(*plain, *alpha, *["Gelu"] * (2 * (self.opset >= 20)))
        if operator == "Gelu":
            return operator, [self.last], {"approximate": self.pick("none", "tanh")} if self.chance(0.5) else {}
        given = {"alpha": alpha[operator]} if operator in alpha and self.chance(0.6) else {}
        return operator, [self.last], given

    def gated(self):
        """The input times a function of it."""
        match self.rng.integers(4):
            case 0:
                gate = self.add("Sigmoid", [self.last])
            case 1:
                gate = self.add("HardSigmoid", [self.last], alpha=1 / 6, beta=0.5)
            case 2:
                scaled = self.add("Mul", [self.last, self.constant(np.array(0.5**0.5, self.dtype))])
                gate = self.add("Add", [self.add("Erf", [scaled]), self.constant(np.array(1, self.dtype))])
            case _:
                axes = {"axes": [2, 3]} if self.opset < 18 else {}
                inputs = [self.last] if axes else [self.last, self.constant(np.array([2, 3], np.int64))]
                gate = self.add("Sigmoid", [self.add("ReduceMean", inputs, keepdims=1, **axes)])
        return "Mul", [self.last, gate] if self.chance(0.5) else [gate, self.last], {}

    def clip(self):
        low, high = sorted(self.rng.uniform(-1, 2, 2).round(2).tolist())
        if self.chance(0.3):
            return self.pick("Max", "Min"), [self.last, self.constant(np.array(low, self.dtype))], {}
        if self.opset < 11:
            return "Clip", [self.last], self.pick({"min": low, "max": high}, {"min": 0.0}, {"max": high}, {})
        bounds = [self.constant(np.array(each, self.dtype), direct=True) for each in (low, high)]
        return "Clip", [self.last, *self.pick(bounds, bounds[:1], ["", bounds[1]], [])], {}

    def power(self):
        return "Pow", [self.last, self.constant(np.array(self.pick(2, 3, 1, 2.5), self.dtype))], {}

    def prelu(self):
        return "PRelu", [self.last, self.constant(self.rng.uniform(0.1, 0.5, self.around()).astype(self.dtype))], {}

    def reduced(self):
        axes = (
            [2, 3]
            if self.value.ndim == 4 and self.chance(0.8)
            else [int(self.rng.integers(-1, max(self.value.ndim, 2)))]
        )
        operator = self.pick("ReduceMax", "ReduceSum", "GlobalMaxPool") if self.value.ndim == 4 else "ReduceMax"
        attributes = {"keepdims": self.pick(0, 1)}
        if operator == "GlobalMaxPool":
            return operator, [self.last], {}
        return self.with_axes(operator, axes, attributes, since=13 if operator == "ReduceSum" else 18)

    def layer_norm(self):
        axis = self.pick(-1, -1, -1, 1)
        size = self.value.shape[axis:]
        inputs = [self.last, self.constant(self.normal(*size))] + [self.constant(self.normal(*size))] * self.chance(0.6)
        return "LayerNormalization", inputs, {"axis": axis} | ({"epsilon": 0.1} if self.chance(0.5) else {})

    def instance_norm(self):
        size = self.value.shape[1]
        return (
            "InstanceNormalization",
            [self.last, self.constant(self.normal(size)), self.constant(self.normal(size))],
            {},
        )

    def group_norm(self):
        """As PyTorch writes it; with wrong numbers of groups, too."""
        shape, groups = self.value.shape, self.pick(1, 2, self.value.shape[1])
        x = self.add("Reshape", [self.last, self.constant(np.array([0, groups, -1], np.int64))])
        one, zero = self.constant(np.ones(groups, self.dtype)), self.constant(np.zeros(groups, self.dtype))
        x = self.add("InstanceNormalization", [x, one, zero], epsilon=0.01)
        return "Reshape", [x, self.constant(np.array([-1, *shape[1:]], np.int64))], {}

    def moments(self):
        """A norm with a common factor, as TensorFlow writes it; over wrong axes, too."""
        axes, x = self.pick([1], [1], [1], [3], [1, 2, 3], [2, 3]), self.last
        channels = (1, self.value.shape[1], 1, 1) if self.chance(0.8) else (1, 1, 1, self.value.shape[3])
        mean = self.mean_of(x, axes)
        centred = self.add("Sub", [x, mean])
        variance = self.mean_of(self.add("Mul", [centred, centred]), axes)
        root = self.add("Sqrt", [self.add("Add", [variance, self.constant(np.array(0.1, self.dtype))])])
        w = self.add("Mul", [self.add("Reciprocal", [root]), self.constant(self.normal(*channels))])
        shift = self.add("Mul", [self.add("Neg", [mean]), w])
        shift = self.add("Add", [shift, self.constant(self.normal(*channels))]) if self.chance(0.7) else shift
        return "Add", [self.add("Mul", [x, w]), shift], {}

    def mean_of(self, name, axes):
        if self.opset < 18:
            return self.add("ReduceMean", [name], axes=axes, keepdims=1)
        return self.add("ReduceMean", [name, self.constant(np.array(axes, np.int64))], keepdims=1)

    def sliced(self):
        count = self.pick(1, 1, 2)
        axes = self.rng.choice(self.value.ndim, min(count, self.value.ndim), replace=False).tolist()
        starts = [self.pick(0, 0, 1, -2) for _ in axes]
        ends = [self.pick(2**31 - 1, 2**40, -1, 3, self.value.shape[axis]) for axis in axes]
        if self.opset < 10:
            return "Slice", [self.last], {"starts": starts, "ends": ends, "axes": axes}
        lists = [starts, ends, axes] + [[self.pick(1, 1, 2, -1) for _ in axes]] * self.chance(0.2)
        return "Slice", [self.last, *(self.constant(np.array(one, np.int64), direct=True) for one in lists)], {}

    def conv_transpose(self):
        K, F = (self.pick(1, 2, 3), self.pick(1, 2, 3)), self.pick(1, 2, 4)
        inputs = [self.last, self.constant(self.normal(self.value.shape[1], F, *K))]
        inputs += [self.constant(self.normal(F))] * self.chance(0.5)
        strides = [self.pick(1, 2, 3), self.pick(1, 2)]
        attributes = {"strides": strides} | ({"kernel_shape": list(K)} if self.chance(0.5) else {})
        match self.rng.integers(4):
            case 0:
                attributes |= {"pads": self.rng.integers(0, 2, 4).tolist()}
            case 1:
                attributes |= {"output_padding": [size - 1 for size in strides]}
            case 2:
                attributes |= {"auto_pad": self.pick("SAME_UPPER", "SAME_LOWER", "VALID")}
        return "ConvTranspose", inputs, attributes | ({"group": 2} if self.chance(0.05) else {})

    def padded(self):
        pads = self.rng.integers(0, 2, 4).tolist()
        pads = [0, 0, *pads[:2], 0, 0, *pads[2:]] if self.chance(0.8) else [0, *pads[:2], 0, 0, *pads[2:], 0]
        mode = {"mode": self.pick("constant", "edge", "reflect")} if self.chance(0.3) else {}
        if self.opset < 11:
            return "Pad", [self.last], mode | {"pads": pads}
        return "Pad", [self.last, self.constant(np.array(pads, np.int64))], mode

    def resized(self):
        scales = np.array([1, 1, self.pick(1, 2, 3), self.pick(1, 2, 3)], np.float32)
        if self.opset < 11:
            operator = "Upsample" if self.opset == 9 else "Resize"
            return operator, [self.last, self.constant(scales, direct=True)], {"mode": "nearest"}
        modes = {"coordinate_transformation_mode": self.pick("asymmetric", "half_pixel", "align_corners")}
        modes |= {"nearest_mode": self.pick("floor", "round_prefer_floor", "ceil")}
        if self.chance(0.3):
            sizes = (scales * np.array(self.value.shape)).astype(np.int64)
            return "Resize", [self.last, "", "", self.constant(sizes, direct=True)], {"mode": "nearest"} | modes
        return "Resize", [self.last, "", self.constant(scales, direct=True)], {"mode": "nearest"} | modes

    def relu(self):
        return "Relu", [self.last], {}

    def identity(self):
        return "Identity", [self.last], {}

    def cast(self):
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        return "Cast", [self.last], {"to": kind if self.chance(0.8) else self.pick(1, 7, 10, 11)}

    def dropout(self):
        if self.opset < 12:
            return "Dropout", [self.last], {"ratio": 0.25} if self.chance(0.5) else {}
        inputs = [self.last]
        if self.chance(0.6):
            inputs.append(self.constant(np.float32(0.3)) if self.chance(0.8) else "")
            if self.chance(0.6):
                inputs.append(self.constant(np.array(self.chance(0.1))))
        return "Dropout", inputs, {"seed": 3} if self.chance(0.1) else {}

    def softmax(self):
        rank = self.value.ndim
        axis = {"axis": self.pick(1, -1, rank - 1, int(self.rng.integers(-rank, rank)))} if self.chance(0.8) else {}
        return self.pick("Softmax", "LogSoftmax"), [self.last], axis

    def batch_norm(self):
        channels = self.value.shape[1] if self.value.ndim > 1 else 1
        arrays = [self.constant(self.rng.uniform(0.5, 2, channels).astype(self.dtype)) for _ in range(4)]
        attributes = {"epsilon": self.pick(1e-5, 0.25)} if self.chance(0.5) else {}
        attributes |= {"momentum": self.pick(0.9, 0.99)} if self.chance(0.3) else {}
        attributes |= {"training_mode": self.pick(0, 0, 1)} if self.opset >= 14 and self.chance(0.2) else {}
        return "BatchNormalization", [self.last, *arrays], attributes

    def window(self, size):
        attributes = {"kernel_shape": size}
        if self.chance(0.5):
            attributes["strides"] = self.rng.integers(1, 4, 2).tolist()
        match self.rng.integers(6):
            case 0:
                attributes["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
            case 1 | 2:
                pads = self.rng.integers(0, 3, 2).tolist()
                attributes["pads"] = pads * 2
            case 3:
                attributes["pads"] = self.rng.integers(0, 2, 4).tolist()
        if self.chance(0.15):
            attributes["dilations"] = self.rng.integers(1, 3, 2).tolist()
        return attributes

    def conv(self):
        channels, filters, group = max((*self.value.shape[1:2], 1)), int(self.rng.integers(1, 5)), 1
        if self.chance(0.2):
            group, filters = channels, channels * self.pick(1, 2)
        size = self.rng.integers(1, 4, 2).tolist()
        attributes = self.window(size) | ({"group": group} if group > 1 or self.chance(0.2) else {})
        if self.chance(0.3):
            del attributes["kernel_shape"]
        inputs = [self.last, self.constant(self.normal(filters, channels // group, *size))]
        inputs += [self.constant(self.normal(filters))] if self.chance(0.5) else []
        return "Conv", inputs, attributes

    def pool(self):
        operator = self.pick("MaxPool", "AveragePool", "AveragePool")
        attributes = self.window(self.rng.integers(1, 4, 2).tolist())
        if self.opset < {"MaxPool": 10, "AveragePool": 19}[operator]:
            attributes.pop("dilations", None)
        if operator == "AveragePool" and self.chance(0.6):
            attributes["count_include_pad"] = self.pick(0, 1)
        if self.opset >= 10 and self.chance(0.2):
            attributes["ceil_mode"] = self.pick(0, 1)
        return operator, [self.last], attributes

    def global_pool(self):
        return "GlobalAveragePool", [self.last], {}

    def mean(self):
        rank = self.value.ndim
        axes = (
            [2, 3] if rank == 4 and self.chance(0.5) else self.rng.integers(-rank, rank, self.rng.integers(3)).tolist()
        )
        attributes = {"keepdims": self.pick(0, 1)} if self.chance(0.7) else {}
        return self.with_axes("ReduceMean", axes, attributes, since=18)

    def with_axes(self, operator, axes, attributes, since):
        if self.opset < since:
            return operator, [self.last], attributes | ({"axes": axes} if axes else {})
        return operator, [self.last, self.constant(np.array(axes, np.int64))], attributes

    def gemm(self):
        inputs, outputs = self.value.shape[-1], int(self.rng.integers(1, 5))
        attributes, weight = {}, self.normal(inputs, outputs)
        if self.chance(0.5):
            attributes["transB"], weight = 1, weight.T
        for name in ("alpha", "beta"):
            attributes |= {name: self.pick(0.5, 0.1, 2.0)} if self.chance(0.3) else {}
        attributes |= {"transA": 1} if self.chance(0.05) else {}
        names = [self.last, self.constant(weight)]
        if self.chance(0.7) or self.opset < 11:
            shape = self.pick((outputs,), (1, outputs), (), (1,), (1, 1), (len(self.value), 1))
            names.append(self.constant(self.normal(*shape)))
        return "Gemm", names, attributes

    def matmul(self):
        outputs = int(self.rng.integers(1, 5))
        if self.chance(0.1):
            return "MatMul", [self.constant(self.normal(outputs, len(self.value))), self.last], {}
        shape = (self.value.shape[-1], outputs) if self.chance(0.9) else (self.value.shape[-1],)
        return "MatMul", [self.last, self.constant(self.normal(*shape))], {}

    def transpose(self):
        rank = self.value.ndim
        if self.chance(0.03):
            return "Transpose", [self.last], {}
        if rank == 4 and self.chance(0.7):
            return "Transpose", [self.last], {"perm": self.pick([0, 2, 3, 1], [0, 3, 1, 2])}
        rest = self.rng.permutation(np.arange(1, rank)).tolist()
        return "Transpose", [self.last], {"perm": [0, *rest]}

    def flatten(self):
        return "Flatten", [self.last], {"axis": self.pick(1, 1, 1, 1, 1, -1, 2)} if self.chance(0.3) else {}

    def new_shape(self):
        """A shape with as many elements for each image, mostly."""
        size, shape = int(np.prod(self.value.shape[1:])), list(self.value.shape[1:])
        match self.rng.integers(7):
            case 0 | 1:
                return [size] if self.chance(0.5) else [-1]
            case 2 if len(shape) > 1:
                return [shape[0], -1]
            case 3 if len(shape) == 3:
                return [shape[2], shape[0], shape[1]]
            case 4:
                return [1, *shape]
            case 5:
                return [0, *shape[1:]]
            case _:
                return [*shape[:-1], 1, *shape[-1:]]

    def reshape(self):
        rest = self.new_shape()
        first = self.pick(-1, 0, len(self.value), 1)
        attributes = {"allowzero": 1} if self.opset >= 14 and self.chance(0.1) else {}
        return "Reshape", [self.last, self.constant(np.array([first, *rest], np.int64))], attributes

    def viewed(self):
        """``x.reshape(y.shape[i], …)`` as PyTorch traces it, for any array y so far and mostly its first axis."""
        part = {}
        if self.opset >= 15 and self.chance(0.3):
            part = self.pick({"start": 0, "end": 1}, {"start": 1}, {"end": 2}, {"start": -2})
        shape = self.add("Shape", [self.pick(*self.arrays)], **part)
        axis = np.array(self.pick(0, 0, 0, 1, -1), np.int64)
        one = self.add("Gather", [shape, self.constant(axis)], axis=0)
        if self.opset < 13:
            one = self.add("Unsqueeze", [one], axes=[0])
        else:
            one = self.add("Unsqueeze", [one, self.constant(np.array([0], np.int64))])
        if self.chance(0.2):
            one = self.add("Cast", [self.add("Cast", [one], to=TensorProto.INT32)], to=TensorProto.INT64)
        rest = self.constant(np.array(self.new_shape(), np.int64))
        parts = [one, rest] if self.chance(0.9) else [rest, one]
        joined = self.add("Concat", parts, axis=0)
        return "Reshape", [self.last, joined], {"allowzero": 1} if self.opset >= 14 and self.chance(0.3) else {}

    def add(self, operator, inputs, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [f"s{len(self.nodes)}"], **attributes))
        return f"s{len(self.nodes) - 1}"

    def squeeze(self):
        ones = [axis for axis, size in enumerate(self.value.shape) if size == 1]
        axes = [axis for axis in ones if self.chance(0.7)] if self.chance(0.95) else [int(self.rng.integers(-4, 4))]
        if not axes:
            return ("Squeeze", [self.last], {}) if self.chance(0.05) else self.identity()
        return self.with_axes("Squeeze", axes, {}, since=13)

    def unsqueeze(self):
        rank = self.value.ndim + 1
        axis = int(self.rng.integers(1, rank)) - self.pick(0, rank)
        return self.with_axes("Unsqueeze", [axis if self.chance(0.95) else 0], {}, since=13)


def outcome(graph: RandomGraph, folder: Path) -> str:
    """``same``, ``refused: …``, ``invalid`` (read, but the reference refuses the file), or what is wrong."""
    path = folder / "random.onnx"
    path.write_bytes(graph.proto().SerializeToString())
    try:
        imported = import_onnx(path)
    except FileFormatError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')}"
    found = "invalid" if graph.unknown else difference(imported, graph, graph.value)
    if found != "same" and (theirs := runtime(graph)) is not None:  # the reference is wrong about some pads
        return difference(imported, graph, theirs)
    if found != "same" and graph.dtype == np.float64:  # ONNX Runtime lacks many operators for float64
        return outcome(RandomGraph(graph.seed, "float32"), folder)
    return found


def runtime(graph: RandomGraph) -> np.ndarray | None:
    """ONNX Runtime's output; None where it cannot run the file."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        return onnx_runtime.outputs(graph.proto().SerializeToString(), {"x": graph.x})[0]
    except Exception:  # its exceptions have no common base
        return None


def difference(imported: Imported, graph: RandomGraph, theirs: np.ndarray) -> str:
    """``same``, or how the network's output differs from ``theirs``."""
    model, shape = imported.model, imported.model.input_shape
    order = imported.input_order + "".join(axis for axis in "HWC" if axis not in imported.input_order)
    if len(shape) == 3:
        sizes = dict(zip("HWC", shape, strict=True))
        x = graph.x.reshape(len(graph.x), *(sizes[axis] for axis in order))
        x = x.transpose(0, *(1 + order.index(axis) for axis in "HWC"))
    else:
        x = graph.x
    if not np.array_equal(to_file_layout(x, imported.input_order, imported.input_shape), graph.x):
        return "wrong: the input is not the file's"
    with no_grad():
        ours = model(np.ascontiguousarray(x)).numpy()
    if ours.size != theirs.size or len(ours) != len(theirs):
        return f"wrong: shape {ours.shape}, the reference {theirs.shape}"
    if ours.ndim == 2 and ours.shape != theirs.shape:
        return f"wrong: shape {ours.shape}, the reference {theirs.shape}"
    if ours.ndim == 4 and sorted(s for s in ours.shape[1:] if s > 1) != sorted(s for s in theirs.shape[1:] if s > 1):
        return f"wrong: shape {ours.shape}, the reference {theirs.shape}"
    laid_out = to_file_layout(ours, imported.output_order, theirs.shape[1:])
    error = np.abs(laid_out - theirs).max(initial=0) / max(1, np.abs(theirs).max(initial=0))
    allowed = TOLERANCE[str(graph.dtype)]
    if any(node.op_type in WITH_ATTRIBUTES for node in graph.nodes):
        allowed = max(allowed, ROUNDED)
    return "same" if error <= allowed else f"wrong: differs by {error:.2g}"


def main() -> None:
    seconds, seed = int(sys.argv[1]), int(sys.argv[2])
    counts, reasons, end = Counter(), Counter(), time.monotonic() + seconds
    with TemporaryDirectory() as folder:
        while time.monotonic() < end:
            graph = RandomGraph(seed)
            found = outcome(graph, Path(folder))
            kind, _, reason = found.partition(":")
            counts[kind] += 1
            if kind == "refused":
                reasons[reason[:140]] += 1
            if kind in ("wrong", "invalid"):
                print(seed, found, graph.dtype, graph.opset, graph.batch, graph.x.shape)
                print(onnx.printer.to_text(graph.proto().graph))
            seed += 1
    print(dict(counts), "next seed", seed)
    for reason, count in reasons.most_common(400 if "-v" in sys.argv else 0):
        print(count, reason)


if __name__ == "__main__":
    main()
