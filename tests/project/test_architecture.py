"""The shape of the package: imports only point down, the mathematics names no backend, nothing heavy loads unasked.

The checker below works on any folder, and the last tests show that it finds what it should in one made for that.
"""

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the bottom to the top. A module may import what stands in a line above its own, and its neighbours in the line.
LAYERS = [
    ["tinycnn.errors", "tinycnn.version", "tinycnn.files"],
    ["tinycnn.distributed.communicator", "tinycnn.distributed.sharding", "tinycnn.distributed.agreement"],
    ["tinycnn.backends"],
    ["tinycnn.tensor"],
    ["tinycnn.ops", "tinycnn.initializers"],
    ["tinycnn.layers", "tinycnn.optim", "tinycnn.gradcheck", "tinycnn.data"],
    ["tinycnn.models", "tinycnn.saving", "tinycnn.metrics", "tinycnn.distributed"],
    ["tinycnn.interchange"],
    ["tinycnn.exercises"],
    ["tinycnn.train", "tinycnn.explain"],
    ["tinycnn.sklearn"],
    ["tinycnn"],
    ["tinycnn.plots", "tinycnn.testing"],
    ["tinycnn.report"],
    ["tinycnn.web", "tinycnn.run"],
    ["tinycnn.commands"],
    ["tinycnn.__main__"],
    ["examples"],
]
# Within a line: who may know whom (directions that the lines above leave open).
NEIGHBOURS = {
    "tinycnn.data": [],  # data sets know nothing of networks
    "tinycnn.optim": [],
    "tinycnn.gradcheck": [],
    "tinycnn.initializers": [],
}
# The bottom of the bottom: what the contract and the data readers may use of the package.
EXACT = {
    "tinycnn.backends.base": [],
    "tinycnn.backends.philox": [],
    "tinycnn.data": ["tinycnn.errors", "tinycnn.files", "tinycnn.data", "tinycnn.backends.base"],
    "tinycnn.errors": [],
    "tinycnn.distributed.communicator": ["tinycnn.errors"],
    "tinycnn.files": [],
    "tinycnn.version": [],
}
# Third-party modules that are large or optional, and the only places that may import them.
HEAVY = {
    "numba": ["tinycnn.backends", "examples.add_your_own_op"],  # the example brings its own kernel
    "llvmlite": ["tinycnn.backends"],
    "cupy": ["tinycnn.backends", "tinycnn.distributed.nccl"],
    "mpi4py": ["tinycnn.distributed.launch"],
    "threadpoolctl": ["tinycnn.backends"],
    "sklearn": ["tinycnn.data", "tinycnn.sklearn"],
    "pooch": ["tinycnn.data"],
    "requests": ["tinycnn.data"],
    "urllib3": ["tinycnn.data"],
    "safetensors": ["tinycnn.saving"],
    "PIL": ["tinycnn.data.drawing", "tinycnn.data.picture"],
    "starlette": ["tinycnn.web"],
    "uvicorn": ["tinycnn.web"],
    "tqdm": ["tinycnn.run", "tinycnn.data"],
    "matplotlib": ["tinycnn.plots"],
    "onnx": ["tinycnn.interchange.onnx"],
    "onnxruntime": ["tinycnn.interchange.onnx"],
    "google": ["tinycnn.interchange.onnx"],  # protobuf, which onnx is made of
    "scipy": [],
    "torch": [],
}
UNASKED = ["numba", "cupy", "matplotlib", "sklearn", "pooch", "tqdm", "torch", "scipy", "requests", "llvmlite"]
UNASKED += ["PIL", "starlette", "uvicorn", "onnx", "google.protobuf", "mpi4py"]


# --------------------------------------------------------------------------------------------------------- the checker


class Package:
    """The modules below some folders of ``root``, and what each imports."""

    def __init__(self, root, *folders):
        self.trees = {}
        for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
            self.trees[name].is_package = parts[-1] == "__init__"
        self.folders = {name.rpartition(".")[0] for name in self.trees}

    def imports(self, module, *, when_loaded=False):
        """The full names that ``module`` imports; only those outside functions if ``when_loaded``."""
        tree = self.trees[module]
        nodes = outside_functions(tree) if when_loaded else ast.walk(tree)
        return {name for node in nodes for name in self._names(module, node)}

    def _names(self, module, node):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = self._base(module, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in self.trees or full in self.folders else base

    def _base(self, module, node):
        if not node.level:
            return node.module
        parts = module.split(".") if self.trees[module].is_package else module.split(".")[:-1]
        parts = parts[: len(parts) - node.level + 1]
        return ".".join([*parts, node.module] if node.module else parts)


def outside_functions(tree):
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def is_in(module, place):
    return module == place or module.startswith(f"{place}.")


def group_of(module):
    """The longest entry of LAYERS that ``module`` belongs to, and the number of its line; None for strangers."""
    fitting = [(place, i) for i, line in enumerate(LAYERS) for place in line if is_in(module, place)]
    fitting = [(place, i) for place, i in fitting if place != "tinycnn" or module == "tinycnn"]
    return max(fitting, key=lambda found: len(found[0]), default=None)


def upward_imports(package):
    """Every import that points up, and every module that has no place yet."""
    wrong = [f"{module} has no place in LAYERS" for module in package.trees if group_of(module) is None]
    for module in package.trees.keys() - {"tinycnn"}:  # which hands out what is in all rooms
        for target in package.imports(module):
            if target.partition(".")[0] in ("tinycnn", "examples") and not allowed(module, target):
                wrong.append(f"{module} must not import {target}")
    return wrong


def allowed(module, target):
    for place, targets in EXACT.items():
        if is_in(module, place):
            return any(is_in(target, one) for one in targets)
    (place, line), (target_place, target_line) = group_of(module) or ("", -1), group_of(target) or ("", 99)
    if place == target_place or target_line < line:
        return True
    return target_line == line and target_place in NEIGHBOURS.get(place, LAYERS[line])


def cycles(package):
    """A cycle among the imports that run when modules load, or None."""
    graph = {}
    for module in package.trees:
        targets = package.imports(module, when_loaded=True) & package.trees.keys()
        graph[module] = targets - {module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def heavy_imports(package):
    """Every import of a large or optional module outside its places."""
    return [
        f"{module} must not import {target}"
        for module in package.trees
        for target in package.imports(module)
        for heavy, places in HEAVY.items()
        if is_in(target, heavy) and not any(is_in(module, place) for place in places)
    ]


def without_docstring(package):
    """Public functions and classes of the package without a docstring, and modules without one.

    Not asked of methods, of nodes in ``ops`` (the docstring of their module is theirs) and of compiled kernels.
    """
    missing = [module for module, tree in package.trees.items() if ast.get_docstring(tree) is None]
    for module, tree in package.trees.items():
        for node in tree.body if is_in(module, "tinycnn") else []:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{module}.{node.name}")
    return [name for name in missing if not excused(name)]


def excused(name):
    is_node = is_in(name, "tinycnn.ops") and name.endswith("Function")
    return is_node or is_in(name, "tinycnn.backends.numba.kernels")


def backend_names(root):
    """Lines of ``ops`` that name a backend, comments and docstrings included."""
    return [
        f"{path.name}:{number}"
        for path in sorted((root / "tinycnn" / "ops").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(word in line.lower() for word in ("numba", "cupy", "cuda", "numpy_backend"))
    ]


# --------------------------------------------------------------------------------------------------- the real package


@pytest.fixture(scope="module")
def package():
    return Package(ROOT, "tinycnn", "examples")


def test_imports_only_point_down(package):
    assert upward_imports(package) == []


def test_no_cycles(package):
    assert cycles(package) is None


def test_large_libraries_stay_in_their_places(package):
    assert heavy_imports(package) == []


def test_the_mathematics_names_no_backend():
    assert backend_names(ROOT) == []


def test_the_mathematics_uses_numpy_only_to_look_at_labels(package):
    users = {name for name in package.trees if is_in(name, "tinycnn.ops") and "numpy" in package.imports(name)}
    assert users == {"tinycnn.ops.softmax_cross_entropy"}


def test_whatever_is_public_says_what_it_is(package):
    assert without_docstring(package) == []


def test_every_place_is_taken(package):
    places = {place for line in LAYERS for place in line}
    assert {group_of(module)[0] for module in package.trees} == places


def modules_loaded_by(statement):
    command = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return set(json.loads(process.stdout))


def test_import_tinycnn_loads_nothing_heavy():
    loaded = modules_loaded_by("import tinycnn")
    assert {"numpy", "tinycnn.tensor", "tinycnn.layers"} <= loaded
    assert [name for name in UNASKED if name in loaded] == []


def test_what_loads_it_can_be_seen():
    assert "sklearn" in modules_loaded_by("from tinycnn.data import load; load('digits')")


def test_training_on_numpy_loads_no_other_backend():
    loaded = modules_loaded_by("import tinycnn, tinycnn.train, tinycnn.run.progress; tinycnn.use_backend('numpy')")
    assert [name for name in UNASKED if name in loaded] == []


# ------------------------------------------------------------------------------------- and that the checker can fail


def planted(folder, **sources):
    """A package in ``folder`` with one violation; the names of files have ``__`` where paths have ``/``."""
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return Package(folder, "tinycnn", "examples")


@pytest.mark.parametrize(
    ("module", "line", "target"),
    [
        ("tensor", "from tinycnn import layers", "tinycnn.layers"),
        ("tensor", "import tinycnn.layers.base", "tinycnn.layers.base"),
        ("tensor", "def f():\n    from tinycnn.optim import SGD", "tinycnn.optim"),
        ("ops__relu", "from ..layers import base", "tinycnn.layers.base"),
        ("ops__relu", "from .. import models", "tinycnn.models"),
        ("ops__relu", "import tinycnn", "tinycnn"),
        ("backends__base", "from tinycnn.errors import ShapeError", "tinycnn.errors"),
        ("data__idx", "from tinycnn.tensor import Tensor", "tinycnn.tensor"),
        ("optim", "from tinycnn.layers import Layer", "tinycnn.layers"),
        ("models", "if True:\n    from tinycnn.train import Trainer", "tinycnn.train"),
        ("train", "from examples import minimal", "examples.minimal"),
    ],
)
def test_an_upward_import_is_found(module, line, target, tmp_path):
    files = dict.fromkeys(("layers__base", "models", "optim", "train", "ops__relu"), "")
    sources = {f"tinycnn__{name}": source for name, source in (files | {module: line}).items()}
    package = planted(tmp_path, **sources, examples__minimal="")
    name = f"tinycnn.{module.replace('__', '.')}"
    assert upward_imports(package) == [f"{name} must not import {target}"]


def test_a_module_without_a_place_is_found(tmp_path):
    assert upward_imports(planted(tmp_path, tinycnn__plumbing="")) == ["tinycnn.plumbing has no place in LAYERS"]


def test_a_cycle_is_found(tmp_path):
    package = planted(tmp_path, tinycnn__ops__a="from tinycnn.ops.b import f", tinycnn__ops__b="from .a import g")
    assert upward_imports(package) == []
    assert set(cycles(package)) == {"tinycnn.ops.a", "tinycnn.ops.b"}


def test_an_import_inside_a_function_closes_no_cycle(tmp_path):
    late = "def f():\n    from tinycnn.ops.b import g"
    assert cycles(planted(tmp_path, tinycnn__ops__a=late, tinycnn__ops__b="from .a import f")) is None


def test_a_heavy_import_is_found(tmp_path):
    late = "def f():\n    import sklearn.datasets"
    package = planted(tmp_path, tinycnn__layers=late, tinycnn__saving="import safetensors")
    assert heavy_imports(package) == ["tinycnn.layers must not import sklearn.datasets"]


def test_the_name_of_a_backend_is_found(tmp_path):
    planted(tmp_path, tinycnn__ops__relu="def relu(x):\n    # faster with Numba\n    return x")
    assert backend_names(tmp_path) == ["relu.py:2"]


def test_a_missing_docstring_is_found(tmp_path):
    source = '"""A module."""\nclass A: pass\ndef f(): pass\ndef g():\n    """Fine."""\ndef _h(): pass\n'
    package = planted(tmp_path, tinycnn__a=source, tinycnn__b="x = 1")
    assert without_docstring(package) == ["tinycnn.b", "tinycnn.a.A", "tinycnn.a.f"]
