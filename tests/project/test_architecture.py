"""The shape of the package, read from its folders: imports only point down, and nothing heavy loads unasked.

A room is a package below ``tinycnn/``, or a module beside the packages. The checkers work on any folder; the last tests
plant one violation per rule and show that it is found.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tinycnn.commands import make_parser

ROOT = Path(__file__).resolve().parents[2]

MOST_ROOT_FILES = 14
PACKAGES = {
    "ops", "layers", "other_names", "optim", "backends", "train", "run", "saving", "data", "distributed",
    "interchange", "report", "plots", "commands", "exercises", "explain", "testing", "web",
}  # fmt: skip
# Only these may name an option of the command; the last writes the command into the files of the exercises.
COMMAND_LINE = ("tinycnn.run", "tinycnn.commands", "tinycnn.__main__", "tinycnn.exercises.cutting")

# Their errors name attributes of files, and the variables of the environment.
FOREIGN = ("tinycnn.interchange", "tinycnn.distributed", "tinycnn.exercises", "tinycnn.run", "tinycnn.commands")

# What these places may import of the package, besides themselves. All other rooms are only kept free of circles.
ONLY = {
    "tinycnn.errors": [],
    "tinycnn.files": [],
    "tinycnn.version": [],
    "tinycnn.other_names": ["tinycnn.errors"],
    "tinycnn.backends.array_types": [],
    "tinycnn.backends.fused_kernels": ["tinycnn.backends.array_types", "tinycnn.errors"],
    "tinycnn.backends.base": ["tinycnn.backends.array_types", "tinycnn.backends.fused_kernels"],
    "tinycnn.backends.philox": [],
    "tinycnn.distributed": ["tinycnn.errors"],
    "tinycnn.distributed.communicator": ["tinycnn.errors"],
    # data sets know no networks
    "tinycnn.data": ["tinycnn.errors", "tinycnn.other_names", "tinycnn.files", "tinycnn.backends.base"],
    "tinycnn.initializers": ["tinycnn.errors", "tinycnn.other_names"],
    "tinycnn.optim": ["tinycnn.tensor", "tinycnn.backends", "tinycnn.errors", "tinycnn.other_names"],
    "tinycnn.gradcheck": ["tinycnn.tensor", "tinycnn.backends", "tinycnn.errors"],
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
    "PIL": ["tinycnn.data"],
    "starlette": ["tinycnn.web"],
    "uvicorn": ["tinycnn.web"],
    "tqdm": ["tinycnn.train.callbacks", "tinycnn.data"],
    "tensorboardX": ["tinycnn.train.callbacks"],
    "matplotlib": ["tinycnn.plots"],
    "h5py": ["tinycnn.interchange"],
    "onnx": ["tinycnn.interchange"],
    "onnxruntime": ["tinycnn.interchange"],
    "google": ["tinycnn.interchange"],  # protobuf, which onnx needs
    "scipy": [],
    "torch": [],
}
UNASKED = ["numba", "cupy", "matplotlib", "sklearn", "pooch", "tqdm", "torch", "scipy", "requests", "llvmlite"]
UNASKED += ["PIL", "starlette", "uvicorn", "h5py", "onnx", "google.protobuf", "mpi4py", "tensorboardX"]


# -------------------------------------------------------------------------------------------------------- the checkers


class Package:
    """The modules below some folders of ``root``, and what each imports."""

    def __init__(self, root: Path, *folders: str) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.initializers: set[str] = set()
        for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
            if parts[-1] == "__init__":
                self.initializers.add(name)
        self.packages = {name.rpartition(".")[0] for name in self.trees}

    @cached_property
    def nodes(self) -> dict[str, list[ast.AST]]:
        """All nodes of each module."""
        return {module: list(ast.walk(tree)) for module, tree in self.trees.items()}

    def imports(self, module: str) -> set[str]:
        """The full names that ``module`` imports anywhere: inside functions and under ``TYPE_CHECKING``, too."""
        return self._imports[module]

    @cached_property
    def _imports(self) -> dict[str, set[str]]:
        return {
            module: {name for node in nodes for name in self._names(module, node)}
            for module, nodes in self.nodes.items()
        }

    def own_imports(self, module: str) -> set[str]:
        """Those of them that are modules of this package."""
        return {name for name in self.imports(module) if is_in(name, "tinycnn")} - {module}

    def _names(self, module: str, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(names=names):
                base = self._base(module, node)
                for alias in names:
                    full = f"{base}.{alias.name}"
                    yield full if full in self.trees or full in self.packages else base
            case ast.Call(
                ast.Name("import_module") | ast.Attribute(attr="import_module"), [ast.Constant(str(name)), *_]
            ):
                yield name

    def _base(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + (module in self.initializers)]
        return ".".join([*parts, node.module] if node.module else parts)


def is_in(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def room(module: str) -> str:
    """``tinycnn.data`` of ``tinycnn.data.idx``."""
    return ".".join(module.split(".")[:2])


def strange_rooms(folder: Path) -> list[str]:
    """Packages that are not expected or missing, and root files beyond the limit."""
    packages = {path.parent.name for path in folder.glob("*/*.py")}
    files = sorted(path.name for path in folder.glob("*.py"))
    wrong = [f"{name} is not an expected package" for name in sorted(packages - PACKAGES)]
    wrong += [f"{name} is missing" for name in sorted(PACKAGES - packages)]
    return wrong + [f"{len(files)} files: {files}"] * (len(files) > MOST_ROOT_FILES)


def without_layer(folder: Path) -> list[str]:
    """Modules of a folder of layers in which no layer is registered."""
    modules = (path for path in folder.glob("*.py") if path.name != "__init__.py")
    return sorted(path.name for path in modules if "@register_layer\n" not in path.read_text(encoding="utf-8"))


def circle_of_modules(package: Package) -> list[str]:
    """Modules that import each other in a circle; empty if there are none."""
    return circle({module: package.own_imports(module) & package.trees.keys() for module in package.trees})


def circle_of_rooms(package: Package) -> list[str]:
    """Rooms that import each other in a circle; empty if there are none."""
    graph: dict[str, set[str]] = {}
    for module in package.trees:
        targets = {room(target) for target in package.own_imports(module)}
        graph.setdefault(room(module), set()).update(targets - {room(module)})
    return circle(graph)


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def facade_imports(package: Package) -> list[str]:
    """Modules of the package that import ``tinycnn`` itself, which imports them."""
    return [module for module in package.trees if is_in(module, "tinycnn") and "tinycnn" in package.imports(module)]


def outside_imports(package: Package) -> list[str]:
    """Imports of what is not installed with the package."""
    outside = ("examples", "benchmarks", "tests")
    return [
        f"{module} must not import {target}"
        for module in package.trees
        for target in package.imports(module)
        if is_in(module, "tinycnn") and target.partition(".")[0] in outside
    ]


def forbidden_imports(package: Package) -> list[str]:
    """Imports that a line of ONLY does not list."""
    return [
        f"{module} must not import {target}"
        for place, allowed in ONLY.items()
        for module in package.trees
        for target in sorted(package.own_imports(module))
        if is_in(module, place) and not any(is_in(target, one) for one in (place, *allowed))
    ]


def heavy_imports(package: Package) -> list[str]:
    """Imports of a large or optional module outside its places."""
    return [
        f"{module} must not import {target}"
        for module in package.trees
        for target in package.imports(module)
        for heavy, places in HEAVY.items()
        if is_in(target, heavy) and not any(is_in(module, place) for place in places)
    ]


def hidden_classes(package: Package) -> list[str]:
    """Aliases of ``Any`` that have the name of a class of the package: they hide an import that would point up."""
    nodes = [(module, node) for module, nodes in package.nodes.items() for node in nodes]
    classes = {node.name for _, node in nodes if isinstance(node, ast.ClassDef)}
    return [f"{module}.{name}" for module, node in nodes for name in aliases_of_any(node) if name in classes]


def aliases_of_any(node: ast.AST) -> list[str]:
    match node:
        case ast.Assign(targets, ast.Name("Any") | ast.Attribute(attr="Any")):
            return [ast.unparse(target) for target in targets]
        case ast.AnnAssign(target, value=ast.Name("Any") | ast.Attribute(attr="Any")):
            return [ast.unparse(target)]
    return []


def options_named(package: Package) -> list[str]:
    """Strings and docstrings of the library that name an option of tinycnn: a library speaks of arguments."""
    option = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
    options = {name for command in make_parser()[1].values() for name in command._option_string_actions}
    return [
        f"{module}:{node.lineno}: {found}"
        for module, nodes in package.nodes.items()
        if is_in(module, "tinycnn") and not any(is_in(module, place) for place in COMMAND_LINE)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for found in option.findall(node.value)
        if found in options
    ]


def arguments_without_backticks(package: Package) -> list[str]:
    """Errors of the library with ``name=value`` outside of backticks and of calls: they name arguments as `name=value`.

    Those of files and of other libraries' settings have none, which these modules read.
    """
    rest = re.compile(r"`[^`]*`|[\w{}]+\([^()]*\)")  # what is left out
    assigned = re.compile(r"(?<![\w.'\"\[{])(?:[a-z]\w*|\{\})=\{\}")
    modules = [name for name in package.trees if is_in(name, "tinycnn") and not any(is_in(name, p) for p in FOREIGN)]
    return [
        f"{module}:{node.lineno}: {found}"
        for module in modules
        for node in package.nodes[module]
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for argument in node.exc.args
        for found in assigned.findall(rest.sub("", as_text(argument)))
    ]


def as_text(node: ast.AST) -> str:
    """A string or f-string as it is written, with ``{}`` in the place of values; "" for other expressions."""
    match node:
        case ast.Constant(str() as text):
            return text
        case ast.JoinedStr(parts):
            return "".join(map(as_text, parts))
        case ast.FormattedValue():
            return "{}"
    return ""


def without_docstring(package: Package) -> list[str]:
    """Modules, and public functions and classes of the package, without a docstring.

    Methods need none, nor do nodes in ``ops`` (the module's docstring is theirs) and compiled kernels.
    """
    missing = [module for module, tree in package.trees.items() if ast.get_docstring(tree) is None]
    for module, tree in package.trees.items():
        for node in tree.body if is_in(module, "tinycnn") else []:
            is_definition = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_") and not ast.get_docstring(node):
                missing.append(f"{module}.{node.name}")
    return [name for name in missing if not needs_no_docstring(name)]


def needs_no_docstring(name: str) -> bool:
    is_node = is_in(name, "tinycnn.ops") and name.endswith("Function")
    return is_node or is_in(name, "tinycnn.backends.numba.kernels")


def backend_names(root: Path) -> list[str]:
    """Lines of ``ops`` that name a backend, comments and docstrings included."""
    return [
        f"{path.name}:{number}"
        for path in sorted((root / "tinycnn" / "ops").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(word in line.lower() for word in ("numba", "cupy", "cuda", "numpy_backend"))
    ]


# --------------------------------------------------------------------------------------------------- the real package


@pytest.fixture(scope="module")
def package() -> Package:
    return Package(ROOT, "tinycnn", "examples")


def test_the_folders_are_the_rooms():
    assert strange_rooms(ROOT / "tinycnn") == []


@pytest.mark.parametrize("find_circle", [circle_of_rooms, circle_of_modules])
def test_imports_only_point_down(find_circle, package):
    assert find_circle(package) == []


@pytest.mark.parametrize(
    "find",
    [
        forbidden_imports,
        outside_imports,
        facade_imports,
        hidden_classes,
        heavy_imports,
        options_named,
        arguments_without_backticks,
        without_docstring,
    ],
)
def test_no_violation_of_a_fixed_rule(find, package):
    assert find(package) == []


def test_the_rules_name_places_that_exist(package):
    places = {*ONLY, *COMMAND_LINE, *(place for places in (*ONLY.values(), *HEAVY.values()) for place in places)}
    assert places <= package.trees.keys()


def test_the_folder_of_further_layers_has_only_layers():
    assert without_layer(ROOT / "tinycnn" / "layers" / "further") == []


def test_the_mathematics_names_no_backend():
    assert backend_names(ROOT) == []


def test_the_mathematics_uses_numpy_only_to_look_at_labels(package):
    users = {name for name in package.trees if is_in(name, "tinycnn.ops") and "numpy" in package.imports(name)}
    assert users == {"tinycnn.ops.losses.labels"}


def modules_loaded_by(statement: str) -> set[str]:
    command = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return set(json.loads(process.stdout))


def test_import_tinycnn_loads_nothing_heavy():
    loaded = modules_loaded_by("import tinycnn")
    assert {"numpy", "tinycnn.tensor", "tinycnn.layers"} <= loaded
    assert [name for name in UNASKED if name in loaded] == []


def test_the_step_loads_nothing_of_a_run():
    loaded = modules_loaded_by("import tinycnn.train.step")
    places = ("tinycnn.train.checkpoint", "tinycnn.distributed.launch", "tinycnn.run", "tinycnn.commands")
    assert [name for name in loaded for place in places if is_in(name, place)] == []


def test_what_is_loaded_is_seen():
    loaded = modules_loaded_by("import tinycnn.run.job, tinycnn.sklearn")
    assert {"sklearn", "tinycnn.train.checkpoint", "tinycnn.run"} <= loaded


def test_training_on_numpy_loads_no_other_backend():
    loaded = modules_loaded_by("import tinycnn, tinycnn.train, tinycnn.run.progress; tinycnn.use_backend('numpy')")
    assert [name for name in UNASKED if name in loaded] == []


# -------------------------------------------------------------------------------------------- each checker can fail


def planted(folder: Path, **sources: str) -> Package:
    """A package in ``folder``: ``ops__relu="..."`` is ``ops/relu.py``, and ``ops__init`` is ``ops/__init__.py``."""
    for name, source in sources.items():
        path = folder / f"{name.replace('__', '/').replace('/init', '/__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return Package(folder, "tinycnn", "examples")


LATE = "def f():\n    from tinycnn.{} import g"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tinycnn.{} import g"


@pytest.mark.parametrize("upward", ["from tinycnn.{} import g", "import tinycnn.{}", LATE, FOR_TYPES])
def test_a_circle_of_rooms_is_found(upward, tmp_path):
    package = planted(
        tmp_path,
        tinycnn__tensor=upward.format("layers.base"),
        tinycnn__layers__base="from ..ops import relu",
        tinycnn__ops__relu="from tinycnn.tensor import Tensor",
    )
    assert set(circle_of_rooms(package)) == {"tinycnn.tensor", "tinycnn.layers", "tinycnn.ops"}
    assert set(circle_of_modules(package)) == {"tinycnn.tensor", "tinycnn.layers.base", "tinycnn.ops.relu"}


def test_a_circle_of_rooms_that_is_none_of_modules_is_found(tmp_path):
    package = planted(
        tmp_path,
        tinycnn__ops__relu="from tinycnn.layers.base import f",
        tinycnn__layers__base="",
        tinycnn__layers__kinds="from tinycnn import ops",
        tinycnn__ops__init="",
    )
    assert set(circle_of_rooms(package)) == {"tinycnn.ops", "tinycnn.layers"}
    assert circle_of_modules(package) == []


@pytest.mark.parametrize("upward", ["from .b import f", "from . import b", LATE.format("ops.b")])
def test_a_circle_of_modules_in_one_room_is_found(upward, tmp_path):
    package = planted(tmp_path, tinycnn__ops__a=upward, tinycnn__ops__b="from .a import g")
    assert circle_of_rooms(package) == []
    assert set(circle_of_modules(package)) == {"tinycnn.ops.a", "tinycnn.ops.b"}


def test_an_import_by_name_is_an_import(tmp_path):
    by_name = "import importlib\ndef f():\n    return importlib.import_module('tinycnn.models')"
    package = planted(tmp_path, tinycnn__layers=by_name, tinycnn__models="from tinycnn import layers")
    assert set(circle_of_rooms(package)) == {"tinycnn.layers", "tinycnn.models"}


@pytest.mark.parametrize(
    ("module", "line", "target"),
    [
        ("backends__base", "from tinycnn.errors import ShapeError", "tinycnn.errors"),
        ("data__idx", "from tinycnn.tensor import Tensor", "tinycnn.tensor"),
        ("data__idx", "from tinycnn.backends import get_backend", "tinycnn.backends"),
        ("optim", "from tinycnn.layers import Layer", "tinycnn.layers"),
        ("distributed__mpi", "def f():\n    from ..backends import base", "tinycnn.backends.base"),
        ("distributed__communicator", "from tinycnn.distributed.mpi import Mpi", "tinycnn.distributed.mpi"),
    ],
)
def test_an_import_that_a_fixed_rule_forbids_is_found(module, line, target, tmp_path):
    sources = {f"tinycnn__{name}": "" for name in ("backends__base", "layers__init", "tensor", "distributed__mpi")}
    package = planted(tmp_path, **sources | {f"tinycnn__{module}": line})
    name = f"tinycnn.{module.replace('__', '.')}"
    assert set(forbidden_imports(package)) == {f"{name} must not import {target}"}


@pytest.mark.parametrize(
    "line", ["import tinycnn", "from tinycnn import Tensor", "from .. import no_grad", "def f():\n    import tinycnn"]
)
def test_an_import_of_the_facade_is_found(line, tmp_path):
    package = planted(tmp_path, tinycnn__plots__a=line, tinycnn__plots__b="from tinycnn import plots", examples__c=line)
    assert facade_imports(package) == ["tinycnn.plots.a"]


def test_an_import_of_what_is_not_installed_is_found(tmp_path):
    package = planted(tmp_path, tinycnn__train="from examples import minimal", examples__minimal="import tests")
    assert outside_imports(package) == ["tinycnn.train must not import examples.minimal"]


def test_a_heavy_import_is_found(tmp_path):
    late = "def f():\n    import sklearn.datasets"
    package = planted(tmp_path, tinycnn__layers=late, tinycnn__saving="import safetensors")
    assert heavy_imports(package) == ["tinycnn.layers must not import sklearn.datasets"]


@pytest.mark.parametrize("alias", ["Trainer = Any", "Trainer: TypeAlias = Any", "Trainer = typing.Any"])
def test_a_hidden_class_is_found(alias, tmp_path):
    package = planted(tmp_path, tinycnn__train__a="class Trainer: pass", tinycnn__train__b=f"{alias}\nArray = Any")
    assert hidden_classes(package) == ["tinycnn.train.b.Trainer"]


@pytest.mark.parametrize("source", ["'try --lr 0.1'", "f'{1}, or --lr'", '"""Like --lr."""', "f(x, '--lr')"])
def test_the_name_of_an_option_is_found(source, tmp_path):
    plain = "# --lr\nx = '<!-- --> --- a--b -- 1 pip --upgrade'"
    package = planted(tmp_path, tinycnn__optim=source, tinycnn__data=plain, tinycnn__run__options=source)
    assert options_named(package) == ["tinycnn.optim:1: --lr"]


@pytest.mark.parametrize("message", ["f'op: p={p}, expected 1'", "f'{n}={v!r}: odd'", "f'x' f'a, p={p}'"])
def test_an_argument_without_backticks_is_found(message, tmp_path):
    right = "f'op: `p={p}`, expected 1; Conv2d(n={n}) and {f}({n}={v}); N={n}, x == {n}'"
    package = planted(
        tmp_path,
        tinycnn__ops=f"raise ValueError({message})",
        tinycnn__data=f"raise ValueError({right})\nx = {message}",
        tinycnn__interchange=f"raise ValueError({message})",
    )
    (found,) = arguments_without_backticks(package)
    assert found.startswith("tinycnn.ops:1: ")


def test_the_name_of_a_backend_is_found(tmp_path):
    planted(tmp_path, tinycnn__ops__relu="def relu(x):\n    # faster with Numba\n    return x")
    assert backend_names(tmp_path) == ["relu.py:2"]


def test_a_missing_docstring_is_found(tmp_path):
    source = '"""A module."""\nclass A: pass\ndef f(): pass\ndef g():\n    """Fine."""\ndef _h(): pass\n'
    package = planted(tmp_path, tinycnn__a=source, tinycnn__b="x = 1")
    assert without_docstring(package) == ["tinycnn.b", "tinycnn.a.A", "tinycnn.a.f"]


def test_a_module_without_a_layer_is_found(tmp_path):
    sources = {"a": "@register_layer\nclass A(Layer): ...", "b": "def find(layer): ...", "__init__": ""}
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    assert without_layer(tmp_path) == ["b.py"]


def test_strange_rooms_are_found(tmp_path):
    sources = {f"tinycnn__{name}__init": "" for name in PACKAGES - {"ops"}}
    planted(tmp_path, **sources, tinycnn__plumbing__pipe="", **{f"tinycnn__m{i}": "" for i in range(15)})
    strange = strange_rooms(tmp_path / "tinycnn")
    assert strange[:2] == ["plumbing is not an expected package", "ops is missing"]
    assert strange[2].startswith("15 files: ['m0.py', ")
