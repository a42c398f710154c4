"""ONNX's own tests of single operators, for every operator that tinycnn reads.

``python -m tests.interchange.node_cases`` prints how many are read, refused and wrong, and the reasons; with ``-v`` for
each case. In these tests, weights are inputs of the graph; tinycnn reads files with one input, so all inputs but the
first become constants.
"""

import importlib
import pkgutil
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tinycnn import Tensor, no_grad
from tinycnn.errors import FileFormatError
from tinycnn.interchange.onnx.importer import Imported, import_onnx, to_file_layout
from tinycnn.interchange.onnx.merging import JOINING
from tinycnn.interchange.onnx.operators import STEPS

TOLERANCE = 1e-4  # of the largest output, or of 1


def cases(without: tuple[str, ...] = ()) -> Iterator[Any]:
    """The cases of all supported operators. Only the modules of these are imported: all would take 20 seconds.

    ``without``: modules that are left out, too.
    """
    import onnx.backend.test.case.node as package

    wanted = {operator.lower() for operator in (*STEPS, *JOINING)}
    for found in pkgutil.iter_modules(package.__path__):
        name = found.name.replace("_", "")
        if name not in without and any(operator.startswith(name) for operator in wanted):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of computations with infinities
                importlib.import_module(f"{package.__name__}.{found.name}")
    for case in package._NodeTestCases:
        if re.sub("_expanded.*", "", case.name) == case.name and case.model.graph.node[0].op_type in (*STEPS, *JOINING):
            yield case


def as_file(case: Any) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray] | None:
    """The model of ``case`` with one input, and the values of input and output; None if they are no arrays."""
    inputs, outputs = case.data_sets[0]
    if not all(isinstance(array, np.ndarray) for array in (*inputs, *outputs)) or not inputs:
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [one.name for one in model.graph.input]
    for name, array in list(zip(names, inputs, strict=False))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    del model.graph.input[1:]
    return model, inputs[0], outputs[0]


def outcome(case: Any, folder: Path) -> str:
    """``read``, ``refused: …`` or ``wrong: …``."""
    file = as_file(case)
    if file is None:
        return "refused: no arrays"
    model, x, y = file
    path = folder / "case.onnx"
    path.write_bytes(model.SerializeToString())
    try:
        imported = import_onnx(path)
    except FileFormatError as error:
        return f"refused: {str(error).removeprefix(f'{path}: ')}"
    found = result(imported, x, y.shape)
    if found.shape != y.shape:
        return f"wrong: shape {found.shape}, expected {y.shape}"
    with np.errstate(all="ignore"):
        error = np.abs(found - y.astype(np.float64)).max(initial=0) / max(
            1.0, np.abs(y.astype(np.float64)).max(initial=0)
        )
    half = y.dtype.itemsize < 4
    return "read" if error <= (0.02 if half else TOLERANCE) else f"wrong: differs by {error:.2g}"


def result(imported: Imported, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The output of the network for ``x``, both in the layout of the file."""
    model, order = imported.model, imported.input_order
    images = x.astype(model.dtype)
    if len(model.input_shape) == 3:
        order += "".join(axis for axis in "HWC" if axis not in order)
        sizes = dict(zip("HWC", model.input_shape, strict=True))
        images = images.reshape(len(x), *(sizes[axis] for axis in order))
        images = images.transpose(0, *(1 + order.index(axis) for axis in "HWC"))
    with no_grad():
        ours = model(Tensor(np.ascontiguousarray(images))).numpy()  # an array of such numbers is refused
    if ours.size != np.prod(shape):
        return ours
    return to_file_layout(ours, imported.output_order, shape[1:]).astype(np.float64)


def main() -> None:
    counts, reasons = Counter[str](), Counter[str]()
    with TemporaryDirectory() as folder:
        for case in cases():
            found = outcome(case, Path(folder))
            kind, _, reason = found.partition(":")
            counts[kind] += 1
            reasons[reason[:100]] += kind == "refused"
            if kind == "wrong" or "-v" in sys.argv:
                print(case.name, found)
    print(dict(counts))
    for reason, count in reasons.most_common(0 if "-v" in sys.argv else 40):
        print(count, reason)


if __name__ == "__main__":
    main()
