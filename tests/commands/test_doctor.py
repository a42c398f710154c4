"""``tinycnn doctor``: what it finds on this machine, and what it prints on simulated ones."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tinycnn import backends
from tinycnn.backends import cuda_driver
from tinycnn.backends.cuda_driver import GPU, Driver, card_is_plugged_in, cupy_package, find_driver
from tinycnn.commands import doctor, main, make_parser
from tinycnn.errors import BackendError

NEW = Driver((13, 0), [GPU("NVIDIA H200", "9.0", 141 << 30)])
OLD = Driver((12, 4), [GPU("Tesla T4", "7.5", 15 << 30)])
ANCIENT = Driver((11, 8), [GPU("Tesla V100", "7.0", 16 << 30)])
ROOT = Path(__file__).resolve().parents[2]
INSTALL = "`pip install 'cupy-cuda13x[ctk]'` (CUDA 13 driver) or `pip install 'cupy-cuda12x[ctk]'` (CUDA 12)"
ROUTES = {
    "no card, no driver": (None, [], None, ""),
    "a card without a GPU driver's package": (NEW, [], False, "pip install 'cupy-cuda13x[ctk]'"),
    "the same with an older driver": (OLD, [], False, "pip install 'cupy-cuda12x[ctk]'"),
    "CuPy without a GPU": (None, ["cupy-cuda13x 14.2.0"], None, ""),
    "a driver that shows no GPU": (Driver((13, 0), []), ["cupy-cuda13x 14.2.0"], None, ""),
    "two CuPys": (
        *(NEW, ["cupy-cuda12x 14.2.0", "cupy-cuda13x 14.2.0"], False),
        "pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install 'cupy-cuda13x[ctk]'",
    ),
    "a CuPy too new for the driver": (
        *(OLD, ["cupy-cuda13x 14.2.0"], False),
        "pip uninstall -y cupy-cuda13x && pip install 'cupy-cuda12x[ctk]'",
    ),
}


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine where CuPy is missing or cannot be used."""

    def refuse():
        raise BackendError("backend 'cupy' has no headers: `pip install 'cupy-cuda13x[ctk]'`")

    monkeypatch.setitem(backends._LOADERS, "cupy", refuse)
    monkeypatch.delitem(backends._loaded, "cupy", raising=False)


def report(capsys, *options):
    code = main(["doctor", *options])
    return code, capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- the report


def test_doctor_reports_that_this_machine_trains(capsys):
    code, text = report(capsys, "--no-speed")
    assert code == 0
    assert f"tinycnn {tinycnn.__version__}" in text
    assert f"{np.__version__}" in text
    assert "train numpy        ok" in text
    assert "data digits        ok     1,437 + 360 images" in text
    assert text.splitlines()[-1].startswith("Training works here with --backend ")
    assert "Traceback" not in text


def test_the_report_as_json(capsys):
    code, text = report(capsys, "--no-speed", "--json")
    content = json.loads(text)
    assert code == 0
    assert "numpy" in content["backends"]
    by_name = {finding["name"]: finding for finding in content["findings"]}
    assert {"python", "numpy", "numba", "gpu", "cupy", "data mnist", "data digits", "train numpy"} <= by_name.keys()
    assert all(finding["works"] in (True, False, None) and finding["found"] for finding in by_name.values())
    assert by_name["train numpy"]["works"] is True


def test_without_a_backend_that_trains_the_exit_code_is_1(capsys, monkeypatch):
    def broken(name):
        raise OSError("the BLAS library is gone")

    monkeypatch.setattr(doctor, "tiny_losses", broken)
    code, text = report(capsys, "--no-speed")
    assert code == 1
    assert "train numpy        fails  the BLAS library is gone" in text
    assert "to repair: pip install --upgrade numpy" in text
    assert text.splitlines()[-1].startswith("No backend trains here")


@pytest.mark.usefixtures("no_cupy")
def test_a_wrong_result_is_a_failure(monkeypatch):
    right = doctor.tiny_losses("numpy")
    monkeypatch.setattr(doctor, "tiny_losses", lambda name: right if name == "numpy" else [right[0], right[1] * 1.1])
    assert doctor.training_finding("numpy").works
    assert doctor.training_finding("numba").works is False


def test_damaged_data_is_reported_and_not_fatal(tmp_path, monkeypatch, capsys):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"nothing of the kind")
    monkeypatch.setenv("TINYCNN_DATA", str(tmp_path))
    code, text = report(capsys, "--no-speed")
    assert code == 0
    assert "data mnist         fails" in text
    assert str(tmp_path) in text


def test_speeds_follow_from_sizes_and_times(monkeypatch):
    """With a clock in which each call takes an eighth of a second, the speeds follow from the sizes alone."""
    ticks = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks) / 8)
    finding = doctor.speed_finding("cpu", "numpy", copy_bytes=10**9 // 16, size=500)
    assert finding.found == "copy 1 GB/s, product of 500 x 500 float32 matrices 2 GFLOP/s"


def test_timed_kernels_give_correct_results():
    backend = backends.load_backend("numpy")
    results = []
    doctor.median_seconds(backend, lambda: results.append(np.ones((2, 2))) or results[-1])
    assert len(results) == 1 + doctor.TRIES
    assert doctor.copy_seconds(backend, 10_000) > 0
    assert doctor.product_seconds(backend, 10) > 0


# ---------------------------------------------------------------------------------------------- the advice, followed


@pytest.fixture
def no_room(tmp_path, monkeypatch):
    """No folder has room for compiled kernels, except those in ``tmp_path / "room"``."""
    pytest.importorskip("numba")
    (tmp_path / "room").mkdir()

    def write(path, content):
        if tmp_path / "room" not in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_bytes(content)

    monkeypatch.setattr(doctor, "write_atomically", write)
    return tmp_path / "room"


def test_a_full_disk_under_the_compiled_kernels(no_room, monkeypatch):
    monkeypatch.setenv("HOME", str(no_room))
    finding = doctor.numba_finding()
    assert finding.works
    assert "compiled kernels are not cached (" in finding.found
    assert ": No space left on device)" in finding.found
    assert finding.repair == f"export NUMBA_CACHE_DIR={no_room / '.numba'}"
    assert f"to improve: {finding.repair}" in doctor.line(finding)
    assert doctor.why_no_room(no_room) is None
    assert list(no_room.iterdir()) == []


def test_without_room_at_home_neither_the_disks_are_shown(no_room, monkeypatch):
    monkeypatch.setenv("HOME", str(no_room.parent))
    assert doctor.numba_finding().repair == "df -h"


def test_no_folder_at_all_for_compiled_kernels(no_room, monkeypatch):
    from tinycnn.backends.numba.kernels import cache, plain

    monkeypatch.setattr(plain.im2col, "_cache", cache.NullCache())
    monkeypatch.setattr(cache, "failures", {cache.UNWRITABLE: "no locator available"})
    assert "compiled kernels are not cached (no locator available)" in doctor.numba_finding().found


@pytest.mark.parametrize("refusal", ["backend 'numba' is off: `unset NUMBA_DISABLE_JIT`, or use `backend=\"numpy\"`"])
@pytest.mark.usefixtures("no_cupy")
def test_auto_and_doctor_agree_on_a_backend_that_cannot_be_loaded(refusal, monkeypatch, capsys):
    def refuse():
        raise BackendError(refusal)

    monkeypatch.setitem(backends._LOADERS, "numba", refuse)
    monkeypatch.delitem(backends._loaded, "numba", raising=False)
    code, text = report(capsys, "--no-speed")
    assert code == 0
    assert text.count("to repair: unset NUMBA_DISABLE_JIT\n") == 2
    assert text.splitlines()[-1] == "Training works here with --backend numpy; --backend auto selects numpy."
    assert backends.load_backend("auto").name == "numpy"


def test_doctor_reports_an_automatic_backend_that_fails():
    expected = "Training works here with --backend numpy; --backend auto selects numba, which fails."
    assert doctor.verdict(["numpy"], "numba") == expected


def test_a_wrong_result_is_examined_with_a_command_that_every_installation_has(monkeypatch):
    monkeypatch.setattr(doctor, "tiny_losses", lambda name: [1.0, {"numpy": 0.5, "mine": 0.7}[name]])
    advice = doctor.training_finding("mine").repair
    assert advice == "tinycnn gradcheck --backend mine --kernels"
    options = make_parser()[0].parse_args(advice.replace("mine", "numba").split()[1:])
    assert (options.backend, options.kernels) == ("numba", True)


class Machine:
    """A simulated machine: its packages, its driver, its environment. Commands that doctor advises change it."""

    diagnostic = ("nvidia-smi", "df -h", "tinycnn gradcheck")  # these show more and repair nothing

    def __init__(self, monkeypatch, packages=(), driver=NEW, **environment):
        self.monkeypatch, self.packages, self.driver, self.loaded = monkeypatch, list(packages), driver, []
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))

    def follow(self, advice):
        """What a shell would do."""
        for command in advice.split(" && "):
            words = shlex.split(command)
            if words[0] == "unset":
                self.monkeypatch.delenv(words[1])
            elif words[0] == "export":
                self.monkeypatch.setenv(*words[1].split("=", 1))
            elif words[:2] == ["pip", "install"]:
                self.packages += [word for word in words[2:] if not word.startswith("--")]
            elif words[:3] == ["pip", "uninstall", "-y"]:
                self.packages = [name for name in self.packages if name.partition("[")[0] not in words[3:]]
            elif words[0] == "sudo":
                self.driver = NEW
            elif words[:2] == ["python", "-c"]:
                self.monkeypatch.setattr(tinycnn.data, "load", self.loaded.append)
                exec(words[2], {})
            else:
                assert command.startswith(self.diagnostic), command

    def finds_cupy(self):
        """What doctor finds; a kernel runs if there are headers, and one CuPy that fits the driver."""

        def load(name):
            if [cupy_package(self.driver)] != self.packages:
                raise BackendError(f"no headers: {INSTALL}")

        self.monkeypatch.setattr(doctor, "load_backend", load)
        return doctor.cupy_finding(self.driver, [f"{name.partition('[')[0]} 14.2.0" for name in self.packages])


@pytest.mark.parametrize(
    ("packages", "driver"),
    [
        ([], NEW),
        ([], OLD),
        (["cupy-cuda12x[ctk]", "cupy-cuda13x[ctk]"], NEW),
        (["cupy-cuda12x[ctk]", "cupy-cuda13x[ctk]"], OLD),
        (["cupy-cuda13x[ctk]"], OLD),
        (["cupy"], NEW),
        (["cupy"], OLD),
    ],
)
def test_the_advice_for_cupy_repairs_it(packages, driver, monkeypatch):
    """Whatever is installed: the command that is printed leads to one CuPy, with headers, for this driver."""
    machine = Machine(monkeypatch, packages, driver)
    found = machine.finds_cupy()
    assert found.works is False
    machine.follow(found.repair)
    assert machine.finds_cupy().works, (found.repair, machine.packages)


def test_a_cupy_that_does_not_train_is_upgraded_and_not_installed_twice(monkeypatch):
    monkeypatch.setitem(backends._LOADERS, "cupy", backends._load_numpy)
    monkeypatch.setattr(doctor, "installed_cupy", lambda: ["cupy-cuda12x 14.2.0"])
    monkeypatch.setattr(doctor, "data_findings", lambda: [])

    def broken(name):
        raise OSError("a library is missing")

    monkeypatch.setattr(doctor, "training_finding", broken)
    try:
        found = {finding.name: finding for finding in doctor.examine(OLD, speed=False)}
    finally:
        backends._loaded.pop("cupy", None)
    assert found["cupy"].works
    assert found["train cupy"].repair == "pip install --upgrade 'cupy-cuda12x[ctk]'"
    assert found["train numpy"].repair == "pip install --upgrade numpy"


def test_missing_headers_are_installed_for_the_driver_of_this_machine(monkeypatch):
    """The error names the packages for both CUDA versions; the wrong one would be a second CuPy."""
    for driver, package in ((OLD, "cupy-cuda12x"), (NEW, "cupy-cuda13x")):
        machine = Machine(monkeypatch, [package], driver)
        found = machine.finds_cupy()
        assert "no headers" in found.found
        assert found.repair == f"pip install '{package}[ctk]'"


@pytest.mark.parametrize(
    ("tool", "command"), [("ubuntu-drivers", "ubuntu-drivers install"), ("apt", "apt install"), ("dnf", "dnf install")]
)
def test_a_driver_that_is_missing_or_too_old_is_installed(tool, command, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name == tool else None)
    monkeypatch.setattr(doctor, "card_is_plugged_in", lambda: True)
    for driver in (None, ANCIENT):
        machine = Machine(monkeypatch, driver=driver)
        found = doctor.gpu_finding(machine.driver)
        assert found.works is False
        assert command in found.repair
        machine.follow(found.repair)
        assert doctor.gpu_finding(machine.driver).works
    assert doctor.cupy_finding(ANCIENT, ["cupy-cuda12x 14.2.0"]).repair == doctor.install_driver()
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.gpu_finding(None).repair == ""
    assert "https://www.nvidia.com/drivers" in doctor.gpu_finding(None).found


def test_gpus_that_a_variable_hides_are_shown_again(monkeypatch):
    machine = Machine(monkeypatch, CUDA_VISIBLE_DEVICES="")

    def driver():
        return Driver(NEW.cuda, [] if "CUDA_VISIBLE_DEVICES" in os.environ else NEW.gpus)

    machine.follow(doctor.gpu_finding(driver()).repair)
    assert doctor.gpu_finding(driver()).works


@pytest.mark.usefixtures("no_cupy")
def test_compilation_that_is_switched_off_is_switched_on(monkeypatch):
    numba = pytest.importorskip("numba")
    from tinycnn.backends.numba import _import_numba

    def load():
        _import_numba()
        return backends.load_backend("numpy")

    monkeypatch.setitem(backends._LOADERS, "numba", load)
    monkeypatch.delitem(backends._loaded, "numba", raising=False)
    machine = Machine(monkeypatch, NUMBA_DISABLE_JIT="1")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    found = doctor.checked("train numba", lambda: doctor.training_finding("numba"), "pip install --upgrade numba")
    assert (found.works, found.repair) == (False, "unset NUMBA_DISABLE_JIT")
    machine.follow(found.repair)
    monkeypatch.setattr(
        numba.config, "DISABLE_JIT", int(os.environ.get("NUMBA_DISABLE_JIT", "0"))
    )  # as the next process
    assert doctor.checked("train numba", lambda: doctor.training_finding("numba")).works
    backends._loaded.pop("numba", None)


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_kernels_are_cached_in_the_folder_that_is_advised(reason, tmp_path, monkeypatch):
    """No write access, a read-only file system, a full disk, a quota: the home folder is tried, and then used."""
    pytest.importorskip("numba")
    from numba.core import config

    from tinycnn.backends.numba.kernels import plain
    from tinycnn.backends.numba.kernels.cache import KernelCache

    def write(path, content):
        if tmp_path not in path.parents:
            raise OSError(reason, os.strerror(reason), str(path))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(doctor, "write_atomically", write)
    machine = Machine(monkeypatch, HOME=tmp_path)
    found = doctor.numba_finding()
    assert os.strerror(reason) in found.found
    machine.follow(found.repair)
    monkeypatch.setattr(config, "CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])  # as the next process reads it
    folder = KernelCache(plain.im2col.py_func).cache_path
    assert tmp_path in Path(folder).parents
    assert doctor.why_no_room(folder) is None


def test_a_damaged_kernel_in_the_cache_needs_no_advice(tmp_path, caplog, monkeypatch):
    """It is compiled again, which is reported in a sentence, and its file is replaced."""
    pytest.importorskip("numba")
    from tinycnn.backends.numba.kernels import cache

    files = cache.KernelFiles(tmp_path, "kernel", "1")
    files.save("float32", "machine code")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        files.load("float32")
    monkeypatch.setattr(cache, "failures", {})
    cache.report(cache.UNREADABLE, ValueError(f"{path} is damaged"))
    assert "is compiled again" in caplog.text
    files.save("float32", "machine code")
    assert files.load("float32") == "machine code"
    assert doctor.numba_finding().works


def test_data_that_is_damaged_or_missing_can_be_had_again(tmp_path, monkeypatch):
    """In the folder that the user named: it is left aside. In the cache: one command loads it anew."""
    named, cached = tmp_path / "named", tmp_path / "cached"
    for folder in (named, cached):
        folder.mkdir()
        (folder / "train-images-idx3-ubyte").write_bytes(b"nothing of the kind")
    monkeypatch.setattr("tinycnn.data.loading.cache_folder", lambda name: cached)
    machine = Machine(monkeypatch, TINYCNN_DATA=named)
    found = doctor.data_finding("mnist")
    assert (found.works, found.repair) == (False, "unset TINYCNN_DATA")
    machine.follow(found.repair)
    found = doctor.data_finding("mnist")
    assert found.works is None
    assert found.found.startswith("damaged, and replaced at first use (")
    assert f"to download: {found.repair}" in doctor.line(found)
    (cached / "train-images-idx3-ubyte").unlink()
    assert doctor.data_finding("mnist").found == "not here yet; it is downloaded at first use"
    machine.follow(found.repair)
    assert machine.loaded == ["mnist"]


def test_packages_that_are_advised_are_those_of_the_project():
    """A typing mistake in a command would install another package, or none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    listed = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    known = {re.split(r"[\[<>=; ]", name)[0] for name in listed} | {"cupy", "llvmlite"}
    source = (ROOT / "tinycnn" / "commands" / "doctor.py").read_text("utf-8")
    advised = re.findall(r"pip install (?:--[\w-]+ )*([\w -]+)", source)
    assert len(advised) >= 3
    assert {name for names in advised for name in names.split() if not name.startswith("-")} <= known


# ------------------------------------------------------------------------------------------------------- CuPy and GPUs


@pytest.mark.parametrize("route", ROUTES)
def test_each_missing_cupy_package_has_its_install_command(route):
    driver, packages, works, repair = ROUTES[route]
    finding = doctor.cupy_finding(driver, packages)
    assert (finding.works, finding.repair) == (works, repair)


@pytest.mark.usefixtures("no_cupy")
def test_a_failing_kernel_is_reported_with_the_error_of_the_backend():
    finding = doctor.cupy_finding(NEW, ["cupy-cuda13x 14.2.0"])
    assert finding.works is False
    assert "has no headers" in finding.found
    assert finding.repair == "pip install 'cupy-cuda13x[ctk]'"
    assert "to repair: pip install 'cupy-cuda13x[ctk]'" in doctor.line(finding)


def test_a_usable_cupy_is_trained_and_timed(monkeypatch):
    monkeypatch.setitem(backends._LOADERS, "cupy", backends._load_numpy)
    monkeypatch.setattr(doctor, "GPU_COPY_BYTES", 1000)
    monkeypatch.setattr(doctor, "GPU_MATRIX", 10)
    monkeypatch.setattr(doctor, "CPU_COPY_BYTES", 1000)
    monkeypatch.setattr(doctor, "CPU_MATRIX", 10)
    monkeypatch.setattr(doctor, "installed_cupy", lambda: ["cupy-cuda13x 14.2.0"])
    try:
        names = [finding.name for finding in doctor.examine(NEW, speed=True) if finding.works]
    finally:
        backends._loaded.pop("cupy", None)
    assert {"gpu", "cupy", "train cupy", "speed gpu"} <= set(names)


def test_the_report_names_the_gpu():
    finding = doctor.gpu_finding(NEW)
    assert finding.found == "NVIDIA H200, compute capability 9.0, 141 GiB; driver for CUDA 13.0"


@pytest.mark.parametrize(
    ("driver", "repair"),
    [(Driver((13, 0), []), "unset CUDA_VISIBLE_DEVICES"), (Driver((13, 0), [], error=999), "nvidia-smi")],
)
def test_a_driver_that_does_not_work_is_reported_with_a_remedy(driver, repair, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    finding = doctor.gpu_finding(driver)
    assert (finding.works, finding.repair) == (False, repair)


def test_a_variable_that_is_not_set_is_not_to_be_unset(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert doctor.gpu_finding(Driver((13, 0), [])).repair == "nvidia-smi"


@pytest.mark.parametrize(("plugged_in", "works"), [(True, False), (False, None)])
def test_a_missing_driver_is_reported(plugged_in, works, monkeypatch):
    monkeypatch.setattr(doctor, "card_is_plugged_in", lambda: plugged_in)
    assert doctor.gpu_finding(None).works is works


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x1002", "0x030000", False)],
)
def test_a_graphics_card_is_detected_by_its_pci_ids(vendor, kind, expected, tmp_path):
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    assert card_is_plugged_in(tmp_path) is expected
    assert card_is_plugged_in(tmp_path / "nowhere") is False


def test_the_wheel_matches_the_driver():
    assert [cupy_package(driver) for driver in (None, NEW, OLD)] == [f"cupy-cuda{n}x[ctk]" for n in (13, 13, 12)]


DRIVER = r"""
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strcpy(name, device ? "second" : "first"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device + 3) << 32; return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) { *value = which == 75 ? 8 : 6; return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build a stand-in for the driver")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="builds a Linux library")
@pytest.mark.parametrize("error", [0, 100])
def test_the_driver_version_is_read_through_its_library(error, tmp_path, monkeypatch):
    (tmp_path / "cuda.c").write_text(DRIVER.replace("INIT", str(error)))
    library = tmp_path / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True, timeout=120)
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(library))
    gpus = [] if error else [GPU("first", "8.6", 3 << 32), GPU("second", "8.6", 4 << 32)]
    assert find_driver() == Driver((12, 4), gpus, error)


def test_without_the_library_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libcuda-that-is-not-there.so.1")
    assert find_driver() is None


# ---------------------------------------------------------------------------------------------------------------- auto


@pytest.mark.usefixtures("no_cupy")
def test_auto_gives_its_reasons(monkeypatch):
    monkeypatch.setattr(cuda_driver, "find_driver", lambda: None)
    monkeypatch.setattr(cuda_driver, "card_is_plugged_in", lambda: False)
    assert backends.passed_over("numba") == ["no NVIDIA GPU was found"]
    monkeypatch.setattr(cuda_driver, "card_is_plugged_in", lambda: True)
    assert backends.passed_over("numba") == ["backend 'cupy' has no headers: `pip install 'cupy-cuda13x[ctk]'`"]
    assert backends.passed_over("cupy") == backends.passed_over("a backend of one's own") == []
    assert backends.why_not("numpy") is None


def test_a_numba_that_cannot_be_imported_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycnn.backends.numba.backend", None)
    with pytest.raises(BackendError, match=r"'numba' cannot be loaded .*`pip install --upgrade numba`"):
        backends._load_numba()
