"""``tinycnn doctor``: what it finds on this machine, and what it prints on simulated ones."""

import errno
import json
import os
import shutil
import subprocess
import sys

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
    """With a clock in which each call takes one second, the speeds follow from the sizes alone."""
    ticks = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    finding = doctor.speed_finding("cpu", "numpy", copy_bytes=5 * 10**8, size=1000)
    assert finding.found == "copy 1 GB/s, product of 1000 x 1000 float32 matrices 2 GFLOP/s"


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
