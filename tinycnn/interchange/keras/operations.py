"""Functions of ``keras.ops`` in a functional network: those that are layers of tinycnn, or of Keras."""

from typing import Any

from tinycnn.interchange.keras.layers import ACTIVATIONS
from tinycnn.interchange.planned import PlannedLayer
from tinycnn.layers import Abs

OPERATIONS = {"Add": "Add", "Subtract": "Subtract", "Multiply": "Multiply", "TrueDivide": "Divide", "Divide": "Divide"}
FUNCTIONS = {
    name: ACTIVATIONS[snake]
    for name, snake in (
        ("Relu", "relu"), ("Relu6", "relu6"), ("Sigmoid", "sigmoid"), ("Tanh", "tanh"), ("Silu", "silu"),
        ("Softplus", "softplus"), ("HardSigmoid", "hard_sigmoid"), ("HardSilu", "hard_silu"), ("Selu", "selu"),
        ("Softsign", "softsign"),
    )
} | dict.fromkeys(("Abs", "Absolute"), lambda: [PlannedLayer(Abs)])  # fmt: skip
POOLS = {"Mean": "GlobalAveragePooling2D", "Max": "GlobalMaxPooling2D"}
READ = *OPERATIONS, "Concatenate", "Maximum", "Minimum", "Mean", "Max", "Reshape", "GetItem", "Gelu", *FUNCTIONS


def operation_as_layer(
    kind: str, config: dict[str, Any], shape: tuple[int, ...], further: list[Any]
) -> tuple[str, dict[str, Any]] | None:
    """The layer that does the same as a function of ``keras.ops``, with its settings; None if there is none."""
    axes = config.get("axis")
    if kind in POOLS and not further and axes in ([1, 2], [-3, -2]) and config.get("initial") is None:
        return POOLS[kind], {"keepdims": config.get("keepdims", False)}
    target = config.get("newshape")
    if kind == "Reshape" and not further and isinstance(target, list) and target[:1] in ([-1], [None]):
        return kind, {"target_shape": target[1:]}
    if kind == "GetItem" and len(shape) == 3 and 1 < len(further) < 5:
        slices = [found for one in further if (found := as_slice(one)) is not None]
        images, rows, columns, channels = [*slices, *[slice(None)] * (4 - len(slices))]
        plain = images == channels == slice(None) and {rows.step, columns.step} <= {None, 1}
        if plain and len(slices) == len(further):
            ends = [part.indices(size)[:2] for part, size in ((rows, shape[0]), (columns, shape[1]))]
            return "Cropping2D", {"cropping": [[a, size - b] for (a, b), size in zip(ends, shape[:2], strict=True)]}
    return None


def as_slice(index: Any) -> slice | None:
    """A slice of the file; None for another index."""
    config = index.get("config") if isinstance(index, dict) and index.get("class_name") == "__slice__" else None
    ends = [config.get(key) for key in ("start", "stop", "step")] if isinstance(config, dict) else [""]
    return slice(*ends) if all(end is None or type(end) is int for end in ends) else None
