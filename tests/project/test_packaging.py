"""Installations: reproducible archives that hold every file, a wheel that trains, sentences for missing packages.

An environment is a folder of links into the site-packages of the running Python: exactly the packages that a case
allows. ``python -I -S`` sees nothing else.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ("numpy", "numpy.libs", "threadpoolctl.py", "safetensors")  # what `import tinycnn` and training need
MISSING = {  # package for pip: the names in site-packages that are hidden
    "numba": ("numba", "llvmlite"),
    "matplotlib": ("matplotlib", "mpl_toolkits"),
    "scikit-learn": ("sklearn",),
    "pooch": ("pooch",),
    "requests": ("requests",),
    "urllib3": ("urllib3",),
    "pillow": ("PIL",),
    "tqdm": ("tqdm",),
    "h5py": ("h5py",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime",),
    "starlette": ("starlette",),
    "uvicorn": ("uvicorn",),
    "mpi4py": ("mpi4py",),
}
TRAIN = ["train", "--dataset", "digits", "--limit", "128", "--epochs", "1", "--backend", "numpy", "--output", "out"]


# ------------------------------------------------------------------------------------------------------- environments


def site_folders():
    return [Path(entry) for entry in sys.path if entry.endswith("site-packages") and Path(entry).is_dir()]


def environment(folder, chosen):
    """Link the package ``tinycnn``, and what ``chosen(name)`` accepts in site-packages, to ``folder``."""
    folder.mkdir()
    (folder / "tinycnn").symlink_to(ROOT / "tinycnn")
    for site in site_folders():
        for entry in site.iterdir():
            if "tinycnn" not in entry.name and chosen(entry.name) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


def python(folder, code, *, cwd, **more):
    """Run ``code`` in a Python that sees the standard library and the packages in ``folder`` alone."""
    start = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TINYCNN_", "PYTHON"))}
    kept |= {"XDG_CACHE_HOME": str(cwd / "cache"), "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", "")} | more
    kept = {key: value for key, value in kept.items() if value}
    command = [sys.executable, "-I", "-S", "-c", start + code]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An environment with NumPy, threadpoolctl and safetensors."""
    return environment(tmp_path_factory.mktemp("engine") / "site", ENGINE.__contains__)


@pytest.fixture
def without(tmp_path):
    """``without(package)``: an environment with every package but this one."""

    def build(package):
        hidden = MISSING[package]
        return environment(tmp_path / "site", lambda name: name.split(".")[0].partition("-")[0] not in hidden)

    return build


USE_THE_ENGINE = """
import numpy as np, tinycnn
assert tinycnn.available_backends() == ["numpy"], tinycnn.available_backends()
assert tinycnn.use_backend("auto").backend.name == "numpy"
model = tinycnn.models.create("lenet")
images, labels = np.zeros((8, *model.input_shape), np.uint8), np.arange(8)
trainer = tinycnn.train.Trainer(model, tinycnn.optim.Adam(model.parameters()), batch_size=4)
(result,) = trainer.fit(images, labels, epochs=1)
tinycnn.save(model, "model.safetensors")
print(tinycnn.load("model.safetensors").parameter_count(), result.train_loss > 0)
"""


def test_three_packages_are_enough_to_train_and_to_save(engine, tmp_path):
    done = python(engine, USE_THE_ENGINE, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout.split()[-1] == "True"


ON_A_TERMINAL = "sys.stderr.isatty = lambda: True\n"
A_FILE = "from pathlib import Path; Path('a.h5').write_bytes(bytes([0x89]) + b'HDF\\r\\n\\x1a\\n'); "  # of HDF5
SENTENCES = [
    ("numba", "import tinycnn; tinycnn.use_backend('numba')", "pip install numba"),
    ("matplotlib", "from tinycnn import plots", "drawing pictures needs matplotlib (No module named 'matplotlib')"),
    ("matplotlib", "from tinycnn import report", "`pip install matplotlib`"),
    ("scikit-learn", "from tinycnn import data; data.load('digits')", "pip install scikit-learn"),
    ("scikit-learn", "import tinycnn.sklearn", "TinyCNNClassifier needs scikit-learn"),
    ("pooch", "from tinycnn import data; data.load('mnist')", "pip install pooch"),
    ("requests", "from tinycnn import data; data.load('mnist')", "pip install pooch"),
    ("urllib3", "from tinycnn import data; data.load('mnist')", "pip install pooch"),
    ("pillow", "from tinycnn.data import drawing; drawing.read_drawing(b'')", "`pip install pillow`"),
    (
        "pillow",
        "import numpy; from tinycnn.data.drawing import normalise; normalise(numpy.eye(9))",
        "pip install pillow",
    ),
    ("pillow", "from tinycnn.data.picture import read_picture; read_picture(b'', (8, 8, 1))", "`pip install pillow`"),
    ("tqdm", ON_A_TERMINAL + "from tinycnn.run import progress; progress.progress_display()", "`pip install tqdm`"),
    (
        "tqdm",
        ON_A_TERMINAL + "from tinycnn.data.progress_bar import progress_bar; progress_bar('a')",
        "pip install tqdm",
    ),
    ("h5py", A_FILE + "import tinycnn; tinycnn.from_keras('a.h5')", "pip install 'tinycnn[keras]'"),
    ("onnx", A_FILE + "import tinycnn; tinycnn.from_onnx('a.h5')", "this is a file of Keras"),
    ("onnx", "open('a.onnx', 'wb'); import tinycnn; tinycnn.from_onnx('a.onnx')", "pip install 'tinycnn[onnx]'"),
    ("onnx", "from tinycnn.interchange.onnx.exporter import to_onnx; to_onnx(None)", "pip install 'tinycnn[onnx]'"),
    (
        "onnxruntime",
        "from tinycnn.interchange.onnx.exporter import largest_difference; largest_difference(None, b'')",
        "pip install 'tinycnn[onnx]'",
    ),
    ("starlette", "from tinycnn.commands import main; sys.exit(main(['serve', 'a']))", "pip install 'tinycnn[web]'"),
    ("uvicorn", "from tinycnn.commands import main; sys.exit(main(['serve', 'a']))", "pip install 'tinycnn[web]'"),
    ("mpi4py", "from tinycnn import distributed; distributed.start()", "`pip install 'tinycnn[mpi]'`"),
]


@pytest.mark.parametrize(
    ("package", "code", "sentence"), SENTENCES, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(SENTENCES)]
)
def test_a_missing_package_is_named_in_one_sentence(package, code, sentence, without, tmp_path):
    done = python(without(package), code, cwd=tmp_path)
    assert sentence in done.stdout + done.stderr
    assert ImportError.__name__ not in done.stderr.replace("tinycnn.errors.MissingPackageError", "")
    assert "ModuleNotFoundError" not in done.stderr


def test_auto_names_the_reason_why_it_is_not_numba(without, tmp_path):
    code = "import tinycnn; from tinycnn import backends\n"
    code += "name = tinycnn.use_backend('auto').backend.name; print(name, backends.passed_over(name))"
    done = python(without("numba"), code, cwd=tmp_path)
    assert done.stdout.startswith("numpy "), done.stderr
    assert "pip install numba" in done.stdout


# ------------------------------------------------------------------------------------------------- wheel, sdist, clone


def files_of_the_repository():
    """The files under version control; in an unpacked sdist, all files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not is_ignored(path.relative_to(ROOT))]
    return sorted(name for name in listed if (ROOT / name).is_file() and name != "PKG-INFO")


def is_ignored(path):
    """Whether ``.gitignore`` leaves out the folder of this path, which tools and tests fill."""
    patterns = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split() if line.endswith("/")]
    return any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in patterns)


TOP = {"tinycnn", "examples", "benchmarks", "tests", "docs", "scripts", "pyproject.toml", "README.md", "LICENSE"}
TOP |= {"CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"}


def strangers(names):
    """Files and folders of the top level that are not expected; names with a leading dot belong to tools."""
    return sorted({top for top in (name.split("/")[0] for name in names) if top not in TOP and not top.startswith(".")})


def test_the_top_level_contains_only_what_is_expected():
    tracked = files_of_the_repository()
    assert {name.split("/")[0] for name in tracked} >= TOP
    assert strangers(tracked) == []
    assert strangers([*tracked, "model.safetensors", "run/notes.txt"]) == ["model.safetensors", "run"]


def clone(folder):
    for name in files_of_the_repository():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)  # with new times
    return folder


def build(root, target, *kinds):
    pytest.importorskip("hatchling", reason="the build backend: pip install hatchling")
    options = [word for kind in kinds for word in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *options]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=120, check=True)
    return {path.suffix: path for path in target.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The archives by suffix, ``.whl`` and ``.gz``, of a clone called tinycnn, and the folder above this clone."""
    folder = tmp_path_factory.mktemp("built")
    root = clone(folder / "tinycnn")
    return build(root, folder / "dist", "sdist", "wheel"), folder


def test_archives_built_twice_have_the_same_bytes(built, tmp_path):
    first, _ = built
    second = build(clone(tmp_path / "another name"), tmp_path / "dist", "sdist", "wheel")
    assert set(first) == set(second) == {".gz", ".whl"}
    for suffix in first:
        assert first[suffix].name == second[suffix].name
        assert first[suffix].read_bytes() == second[suffix].read_bytes()


def test_the_sdist_holds_the_repository(built):
    with tarfile.open(built[0][".gz"]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held == {*files_of_the_repository(), "PKG-INFO"}
    assert {"tests/conftest.py", "tests/support/backends.py", "pyproject.toml", "docs/conf.py"} <= held


def test_the_wheel_holds_the_package(built):
    with zipfile.ZipFile(built[0][".whl"]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        scripts = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert held == {name for name in files_of_the_repository() if name.startswith("tinycnn/")}
    assert {"tinycnn/py.typed", "tinycnn/backends/cuda/conv2d.cu", "tinycnn/web/static/index.html"} <= held
    assert "tinycnn = tinycnn.commands:main" in scripts


def test_a_wheel_is_built_from_the_sdist(built, tmp_path):
    with tarfile.open(built[0][".gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    assert build(root, tmp_path / "dist", "wheel")[".whl"].read_bytes() == built[0][".whl"].read_bytes()


def test_an_installed_wheel_trains(built, tmp_path):
    """In an environment without the repository, far from it, by the console script."""
    pytest.importorskip("pip")
    target = tmp_path / "site"
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(target), str(built[0][".whl"])]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *options], capture_output=True, timeout=120, check=True
    )
    script = (target / "bin" / "tinycnn").read_text(encoding="utf-8")
    assert "from tinycnn.commands import main" in script
    every_package = environment(tmp_path / "packages", lambda name: True)
    (every_package / "tinycnn").unlink()
    code = f"sys.path.insert(1, {str(target)!r})\nsys.argv = ['tinycnn', *{TRAIN!r}]\n"
    code += "import runpy, tinycnn\nprint(tinycnn.__file__, flush=True)\n"
    code += f"runpy.run_path({str(target / 'bin' / 'tinycnn')!r}, run_name='__main__')"
    done = python(every_package, code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(target / "tinycnn" / "__init__.py")
    assert "test      accuracy" in done.stdout
    assert {"model.safetensors", "report.html", "metrics.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_an_editable_installation_is_found_from_one_folder_above(built, tmp_path):
    """Where a folder called tinycnn, the clone, lies in the current folder, and is no package."""
    _, above = built
    wheel = build(above / "tinycnn", tmp_path / "dist", "wheel:editable")[".whl"]
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    find = "import importlib.util, site; FOLDER; print(importlib.util.find_spec('tinycnn').origin)"
    found = {}
    for name, added in {"installed": f"site.addsitedir({str(site)!r})", "not installed": "pass"}.items():
        command = [sys.executable, "-S", "-c", find.replace("FOLDER", added)]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(command, cwd=above, env=kept, capture_output=True, text=True, timeout=60, check=True)
        found[name] = done.stdout.strip()
    assert found == {"installed": str(above / "tinycnn" / "tinycnn" / "__init__.py"), "not installed": "None"}
