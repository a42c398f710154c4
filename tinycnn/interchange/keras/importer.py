"""Import a network from a file of Keras: ``tinycnn.from_keras("model.keras")``.

``file.py`` reads the file, ``layers.py`` converts each layer. This module follows the layers from the input to the
output, one after the other in a Sequential, along the calls in a functional network. Where branches are joined, the
branches are the layers after the last step that they have in common, as for ONNX files.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from tinycnn.errors import FileFormatError, TinyCNNError, printable, shortened
from tinycnn.interchange.keras.file import SavedNetwork, Variable, as_mapping, opened
from tinycnn.interchange.keras.layers import LAYERS, Layers, Source, as_number, rescaling
from tinycnn.interchange.keras.operations import FUNCTIONS, OPERATIONS, READ, operation_as_layer
from tinycnn.interchange.onnx.building import built, created
from tinycnn.interchange.planned import (
    MAX_DEPTH,
    MAX_LAYERS,
    OF_SCOPE,
    PlannedLayer,
    Step,
    branches_between,
    checked_branches,
    common_step,
    layers_between,
    place,
)
from tinycnn.interchange.preparation import NOTHING, Numbers, Preparation
from tinycnn.layers import GELU, Add, Concatenate, Identity, Maximum, Minimum, Multiply, Rescaling, Sequential
from tinycnn.layers.base import Layer
from tinycnn.layers.initial_values import arrays_without_memory
from tinycnn.layers.interface.likely_pixels import likely_pixels
from tinycnn.saving.endings import check_path
from tinycnn.saving.safetensors_file import DAMAGED

__all__ = ["from_keras"]
MAX_NUMBERS = 1 << 26  # per image between two layers
NETWORKS = "Sequential", "Functional", "Model"
JOINS = "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"
CONTAINERS = {"Concatenate": Concatenate, "Multiply": Multiply, "Maximum": Maximum, "Minimum": Minimum}
INSTEAD = {  # refused layers that people meet → what to do
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "Bidirectional", "Embedding", "TimeDistributed"), OF_SCOPE),
    **dict.fromkeys(("MultiHeadAttention", "Attention", "GroupedQueryAttention", "AdditiveAttention"), OF_SCOPE),
    **dict.fromkeys(
        ("Conv1D", "MaxPooling1D", "AveragePooling1D", "SeparableConv1D", "DepthwiseConv1D"),
        "for rows of numbers (L, C): the same layer for images (L, 1, C), with windows (k, 1), is read",
    ),
    "Resizing": "tinycnn does not enlarge or shrink images in the network: resize them before, and save it without",
}
NEGATIVE = rescaling(-1.0)
HARMLESS = "training", "mask", "name", "_keras_mask"  # arguments of calls; Keras 3 replaces training=True in evaluation


@dataclass(frozen=True)
class Value:
    """An array between two layers: its shape in Keras, without N, and the step that computes it; None is the input."""

    shape: tuple[int, ...]
    last: Step | None

    @property
    def own_shape(self) -> tuple[int, ...]:
        """Its shape in tinycnn, where images have three axes."""
        return (*self.shape, 1) if len(self.shape) == 2 else self.shape


def from_keras(
    path: str | os.PathLike[str],
    *,
    scale: float | None = None,
    offset: float = 0.0,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    pixels: str | None = None,
) -> Sequential:
    """The network in the file ``path`` that Keras saved (``.keras`` or ``.h5``), in evaluation mode.

    ``scale``, ``offset``, ``mean``, ``std`` and ``pixels`` as in ``from_onnx``. Needs the package ``h5py``. Raises
    FileFormatError, which names the layer, for layers that tinycnn does not have, for a file of weights alone, and for
    a damaged file.
    """
    return import_keras(path, Preparation(scale, offset, mean, std), pixels=pixels)[0]


def import_keras(
    path: str | os.PathLike[str], preparation: Preparation = NOTHING, *, pixels: str | None = None
) -> tuple[Sequential, str]:
    """Like ``from_keras``, but also returns why ``model.pixels`` has its value."""
    check_path(path)
    first = preparation.layers()
    with opened(path) as saved:
        if not isinstance(saved, SavedNetwork):
            raise FileFormatError(
                "holds weights alone; a network with the same layers can take them: "
                "tinycnn.load_keras_weights(model, path)"
            )
        model = Conversion(saved, first).network()
    if pixels is not None:
        model.pixels, reason = pixels, "as given"
    elif first:
        model.pixels, reason = preparation.pixels()
    else:
        model.pixels, reason = likely_pixels(model)
    return model, reason


class Conversion:
    """One network, from the description of Keras."""

    def __init__(self, saved: SavedNetwork, first: list[PlannedLayer]) -> None:
        self.saved, self.first = saved, first
        self.shape: tuple[int, ...] = ()  # of the input, without N
        self.dtype: np.dtype = np.dtype(np.float32)

    def network(self) -> Sequential:
        """The network, in evaluation mode; raises FileFormatError, which names the layer."""
        kind, config = kind_of(self.saved.config), config_of(self.saved.config)
        if kind not in NETWORKS:
            raise FileFormatError(
                f"the network is a {shortened(kind)}, a class of its own, whose computation is not in the file; export "
                'it with model.export(path, format="onnx")'
            )
        layers = entries(config)
        dtype = next((name for entry in layers if (name := dtype_name(config_of(entry)))), "float32")
        self.dtype = np.dtype(np.float64 if dtype == "float64" else np.float32)
        self.shape = input_shape(kind, config, layers)
        value = Value(self.shape, None)
        for layer in self.first:
            value = Value(value.shape, Step(layer, value.last))
        value = self.inner_network(kind, config, (), value, 0)
        if len(value.shape) not in (1, 3):
            raise FileFormatError(f"its output has the shape {value.shape}; tinycnn returns rows and images (H, W, C)")
        planned = layers_between(None, value.last) or (PlannedLayer(Identity),)
        try:
            return built(planned, input_shape=Value(self.shape, None).own_shape, dtype=self.dtype).eval()
        except TinyCNNError as error:
            raise FileFormatError(shortened(error)) from None

    def inner_network(
        self, kind: str, config: dict[str, Any], path: tuple[str, ...], value: Value, depth: int
    ) -> Value:
        """The output of a network, also within another, for the input ``value``."""
        if depth > MAX_DEPTH:
            raise FileFormatError(f"networks within networks, more than {MAX_DEPTH} deep")
        paths = group_names(entries(config), path)
        if kind == "Sequential":
            for entry, own in zip(entries(config), paths, strict=True):
                value = self.layer(entry, own, [value], depth)
            return value
        return self.functional(config, paths, value, depth)

    def functional(self, config: dict[str, Any], paths: list[tuple[str, ...]], value: Value, depth: int) -> Value:
        """The output of a functional network, whose layers list the calls that they take their inputs from."""
        by_name = {name_of(entry): (entry, own) for entry, own in zip(entries(config), paths, strict=True)}
        if len(by_name) < len(paths):
            raise FileFormatError("two layers have the same name")
        inputs, outputs = ends(config.get("input_layers")), ends(config.get("output_layers"))
        if len(inputs) != 1 or len(outputs) != 1:
            raise FileFormatError(
                f"{len(inputs)} inputs and {len(outputs)} outputs; tinycnn supports one of each: save one part, "
                "keras.Model(model.inputs, model.outputs[0])"
            )
        calls: dict[tuple[str, int], list[Any]] = {}
        for name, (entry, _) in by_name.items():
            nodes = entry.get("inbound_nodes") or []
            for number, node in enumerate(nodes):
                calls[name, number] = [self.key(argument, by_name) for argument in arguments(name, node)]
            if len(nodes) > 1 and (kind_of(entry) in NETWORKS or self.saved.variables.of(by_name[name][1], name)):
                raise FileFormatError(
                    f"layer {shortened(name)} is called {len(nodes)} times; the layers of tinycnn are called once"
                )
        values = {(inputs[0], 0): value}
        graph = {key: [one for one in call if isinstance(one, tuple)] for key, call in calls.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError:
            raise FileFormatError("its layers form a circle") from None
        for key in order:
            if key in values:
                continue
            if key not in calls:
                raise FileFormatError(f"no layer computes call {key[1]} of {shortened(key[0])}")
            entry, own = by_name[key[0]]
            taken = [values[one] if isinstance(one, tuple) else one for one in calls[key]]
            values[key] = self.layer(entry, own, taken, depth)
        found = values.get((outputs[0], 0))
        if found is None:
            raise FileFormatError(f"no layer computes its output {shortened(outputs[0])}")
        return found

    def key(self, argument: Any, by_name: dict[str, Any]) -> Any:
        """The call that an argument stands for, ``(name, number)``; a number is itself."""
        if not isinstance(argument, list):
            return argument
        name, number, which = argument[:3]
        if not isinstance(name, str) or name not in by_name or type(number) is not int or which != 0:
            raise FileFormatError(f"a call takes {shortened(argument)}, which is not the output of a layer")
        several = len(by_name[name][0].get("inbound_nodes") or []) > 1
        return name, number if several else 0

    def layer(self, entry: dict[str, Any], path: tuple[str, ...], inputs: list[Any], depth: int) -> Value:
        """The output of one layer, or of a network within this one; raises FileFormatError, which names the layer."""
        name, kind = name_of(entry), kind_of(entry)
        try:
            check_origin(entry, kind)
            if kind == "InputLayer":
                return inputs[0]
            values = [one for one in inputs if isinstance(one, Value)]
            if kind in NETWORKS and len(values) == len(inputs) == 1:
                return self.inner_network(kind, config_of(entry), path, values[0], depth + 1)
            if is_operation(entry):
                return self.operation(entry, kind, inputs)
            if kind in JOINS and len(values) == len(inputs) > 1:
                return self.joined(kind, config_of(entry), values)
            if kind not in LAYERS or len(values) != 1 or len(inputs) != 1:
                raise FileFormatError(refusal(kind, len(inputs)))
            variables = self.saved.variables.of(path, name)
            return self.appended(values[0], self.converted(kind, config_of(entry), values[0], name, variables))
        except (TinyCNNError, *DAMAGED) as error:
            if isinstance(error, FileFormatError) and str(error).startswith("layer "):
                raise
            raise FileFormatError(f"layer {shortened(name)} ({printable(kind)[:60]}): {shorter(error)}") from None

    def converted(
        self, kind: str, config: dict[str, Any], value: Value, name: str = "", variables: Sequence[Variable] = ()
    ) -> Layers:
        """The planned layers of one layer of Keras."""
        source = Source(kind, name, config, value.shape, self.saved.version, self.dtype, list(variables))
        layers = LAYERS[kind](source)
        source.check_all_used()
        return layers

    def operation(self, entry: dict[str, Any], kind: str, inputs: list[Any]) -> Value:
        """``+ - * /`` of a functional network, with an array and a number, or two arrays; an activation."""
        values = [one for one in inputs if isinstance(one, Value)]
        kind = OPERATIONS.get(kind, kind)
        if len(inputs) == len(values) == 2 and kind in JOINS:
            return self.joined(kind, {}, values)
        settings = {key: value for key, value in config_of(entry).items() if key != "name" and value is not None}
        if len(inputs) == len(values) == 1 and (kind == "Gelu" or (kind in FUNCTIONS and not settings)):
            approximate = {"approximate": True} if settings.get("approximate", kind == "Gelu") else {}
            return self.appended(values[0], [PlannedLayer(GELU, approximate)] if kind == "Gelu" else FUNCTIONS[kind]())
        if kind == "Concatenate" and len(inputs) == len(values) > 1:
            return self.joined(kind, config_of(entry), values)
        if len(values) == 1 and inputs[0] is values[0]:
            as_layer = operation_as_layer(kind, config_of(entry), values[0].shape, inputs[1:])
            if as_layer is not None:
                return self.appended(values[0], self.converted(*as_layer, values[0]))
        if kind not in OPERATIONS.values() or len(inputs) != 2 or len(values) != 1:
            raise FileFormatError(f"tinycnn reads of keras.ops only {', '.join(READ)}")
        first, second = (one if isinstance(one, Value) else as_number("a constant", one) for one in inputs)
        if isinstance(first, Value) and isinstance(second, float):
            scale, offset = {
                "Add": (1.0, second), "Subtract": (1.0, -second), "Multiply": (second, 0.0),
                "Divide": (1 / second if second else math.inf, 0.0),
            }[kind]  # fmt: skip
        elif isinstance(first, float) and kind != "Divide":
            scale, offset = {"Add": (1.0, first), "Subtract": (-1.0, first), "Multiply": (first, 0.0)}[kind]
        else:
            raise FileFormatError("divides a number by an array; tinycnn has no layer for this")
        return self.appended(values[0], [rescaling(as_number("a factor", scale), offset)])

    def appended(self, value: Value, layers: Layers) -> Value:
        """``value`` after ``layers``; their arrays must have the shapes that the layers require."""
        shape, last = value.shape, value.last
        if layers:
            shape = shape_after(layers, value.own_shape, self.dtype)
            kept = all(layer.kind is Rescaling for layer in layers) and len(value.shape) == 2
            if len(value.shape) == 2 and not kept and len(shape) == 3 and layers[0].kind.__name__ != "Reshape":
                raise FileFormatError(f"of an array {value.shape}, which is no image (H, W, C)")
            shape = value.shape if kept else shape
        for layer in layers:
            if place(last) >= MAX_LAYERS:
                raise FileFormatError(f"more than {MAX_LAYERS:,} layers one after the other")
            last = Step(layer, last)
        if math.prod(shape) > MAX_NUMBERS:
            raise FileFormatError(f"{shape} for each image, more than {MAX_NUMBERS:,} numbers")
        return Value(shape, last)

    def joined(self, kind: str, config: dict[str, Any], values: list[Value]) -> Value:
        """Several arrays as one."""
        steps, shapes = [value.last for value in values], [value.shape for value in values]
        if len({len(shape) for shape in shapes} - {1, 3}) or len({len(shape) for shape in shapes}) > 1:
            raise FileFormatError(f"joins arrays of the shapes {shortened(shapes)}")
        common = common_step(steps)
        branches = branches_between(kind, common, steps)
        if kind == "Concatenate":
            if config.get("axis", -1) not in (-1, len(shapes[0])) or len({shape[:-1] for shape in shapes}) > 1:
                axis = config.get("axis", -1)
                raise FileFormatError(f"axis={shortened(axis)} of {shortened(shapes)}; tinycnn joins channels only")
            shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
        else:
            shape = np.broadcast_shapes(*shapes)
        if kind == "Subtract":
            branches = branches[0], (*branches[1], NEGATIVE)
        checked_branches(kind, branches)
        last = Step(PlannedLayer(CONTAINERS.get(kind, Add), branches=branches), common)
        if kind == "Average":
            last = Step(rescaling(1 / len(values)), last)
        return self.appended(Value(shape, last), [])


def refusal(kind: str, count: int) -> str:
    """Why tinycnn does not read a layer."""
    if kind in ("Lambda", "TFOpLambda"):
        return "it contains Python code, which tinycnn does not run"
    if kind in LAYERS:
        return f"takes {count} arrays, expected one"
    return INSTEAD.get(kind, "tinycnn has no layer for this class; docs/interoperation.md lists those that are read")


def shorter(error: Exception) -> str:
    """The words of an error of ours; those of another one, shortened."""
    return str(error) if isinstance(error, TinyCNNError) else f"its settings cannot be read ({shortened(error)})"


def shape_after(layers: Layers, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """The output shape of ``layers``; raises FileFormatError unless their arrays have the shapes that they require."""
    made: dict[Layer, PlannedLayer] = {}
    with arrays_without_memory():
        network = Sequential(*(created(layer, made) for layer in layers), input_shape=shape, dtype=dtype)
    for layer, planned in made.items():
        arrays = {name: parameter.data for name, parameter in layer.parameters_by_name.items()} | layer.buffers_by_name
        expected = {name: array.shape for name, array in arrays.items()}
        if (found := {name: array.shape for name, array in planned.arrays.items()}) != expected:
            raise FileFormatError(f"its arrays have the shapes {shortened(found)}, expected {shortened(expected)}")
    return network.output_shape


def kind_of(entry: dict[str, Any]) -> str:
    """The class of a layer or network."""
    kind = entry.get("class_name")
    if not isinstance(kind, str):
        raise FileFormatError(f"a layer of the class {shortened(kind)}, expected a name")
    return kind


def config_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The settings of a layer or network; a Sequential of TensorFlow 1 was a list of layers."""
    config = entry.get("config")
    return {"layers": config} if isinstance(config, list) else as_mapping(config, "config")


def name_of(entry: dict[str, Any]) -> str:
    """The name of a layer."""
    name = entry.get("name") or config_of(entry).get("name") or ""
    if not isinstance(name, str):
        raise FileFormatError(f"a layer with the name {shortened(name)}, expected text")
    return name


def entries(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a network."""
    layers = config.get("layers")
    if not isinstance(layers, list) or not layers or len(layers) > MAX_LAYERS:
        raise FileFormatError(f"its layers are {shortened(layers)}, expected a list of at most {MAX_LAYERS:,}")
    return [as_mapping(entry, "a layer") for entry in layers]


def check_origin(entry: dict[str, Any], kind: str) -> None:
    """Raise FileFormatError for a class that is not Keras' own: what it computes is not in the file."""
    module = entry.get("module", "keras")
    if not isinstance(module, str) or module.split(".")[0] not in ("keras", "keras_core", "tf_keras"):
        raise FileFormatError(f"{printable(kind)[:60]} is a class of one's own, whose computation is not in the file")


def is_operation(entry: dict[str, Any]) -> bool:
    """Whether this is a function of ``keras.ops``, not a layer; ``.h5`` files do not state the module.

    Layers have settings that a function does not have.
    """
    if "module" not in entry and kind_of(entry) not in NETWORKS:
        return not {"trainable", "dtype", "batch_shape", "batch_input_shape"} & config_of(entry).keys()
    return str(entry.get("module", "")).startswith(("keras.src.ops", "keras.ops"))


def group_names(layers: list[dict[str, Any]], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The path of the arrays of each layer in a ``.weights.h5`` file: its class in small letters, and a number."""
    seen = Counter[str]()
    found = []
    for entry in layers:
        name = snake_case(kind_of(entry))
        found.append((*path, "layers", f"{name}_{seen[name]}" if seen[name] else name))
        seen[name] += not is_operation(entry)
    return found


def snake_case(kind: str) -> str:
    """``BatchNormalization`` → ``batch_normalization``, as Keras does it."""
    name = re.sub(r"\W+", "", kind[:200])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def dtype_name(config: dict[str, Any]) -> str:
    """The dtype of a layer: a name, or a policy."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        dtype = as_mapping(dtype.get("config", {}), "dtype").get("name")
    return dtype if isinstance(dtype, str) and "float" in dtype else ""


def input_shape(kind: str, config: dict[str, Any], layers: list[dict[str, Any]]) -> tuple[int, ...]:
    """The shape of the input, without N, which the first layer states, or the network."""
    entry = layers[0]
    if kind != "Sequential":
        (name,) = ends(config.get("input_layers"))[:1] or [""]
        entry = next((one for one in layers if name_of(one) == name), entry)
    while kind_of(entry) in NETWORKS:
        config = config_of(entry)
        entry = entries(config)[0]
    own = config_of(entry)
    built_with = entry.get("build_config")
    shape = own.get("batch_shape") or own.get("batch_input_shape") or config.get("build_input_shape")
    shape = shape or (as_mapping(built_with, "build_config").get("input_shape") if built_with else None)
    if not isinstance(shape, list) or not 2 <= len(shape) <= 4 or not all(type(n) is int and n > 0 for n in shape[1:]):
        raise FileFormatError(
            f"its input has the shape {shortened(shape)}; expected (N, H, W, C) or (N, in), all but N: make the "
            "network with keras.Input((H, W, C)), take over the weights, and save it again"
        )
    return tuple(shape[1:])


def ends(listed: Any) -> list[str]:
    """The names of inputs or outputs, ``["dense", 0, 0]`` or a list of these."""
    if isinstance(listed, dict):
        listed = list(listed.values())
    if isinstance(listed, list) and len(listed) == 3 and isinstance(listed[0], str):
        listed = [listed]
    if not isinstance(listed, list) or not all(
        isinstance(one, list) and one and isinstance(one[0], str) for one in listed
    ):
        raise FileFormatError(f"its inputs or outputs are {shortened(listed)}, expected names of layers")
    return [one[0] for one in listed]


def arguments(name: str, node: Any) -> list[Any]:
    """What one call of a layer takes: ``[name, number, 0]`` for an array, numbers, in the order of the call."""
    if isinstance(node, list):  # until Keras 3: [[name, number, 0, {further arguments}], …]
        arrays = [one for one in node if isinstance(one, list)]
        further = [as_mapping(one[3], "a call") for one in arrays if len(one) > 3]
        found: list[Any] = arrays
    else:
        call = as_mapping(node, f"a call of {shortened(name)}")
        further, found = [as_mapping(call.get("kwargs", {}), "a call")], leaves(call.get("args", []), 0)
        further = [{key: value for key, value in further[0].items() if key != "training"}]
    for key, value in ((key, value) for each in further for key, value in each.items()):
        if value is not None and not (key in HARMLESS and value is False) and key != "mask":
            raise FileFormatError(f"layer {shortened(name)} is called with {shortened(key)}={shortened(value)}")
    return found


def leaves(value: Any, depth: int) -> list[Any]:
    """The arrays and numbers in the arguments of a call, which may be lists."""
    if isinstance(value, list | tuple) and depth < 4:
        return [leaf for one in value for leaf in leaves(one, depth + 1)]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        history = as_mapping(value.get("config"), "an array").get("keras_history")
        return [history if isinstance(history, list) and len(history) == 3 else [None, 0, 0]]
    return [value]
