"""Signatures of the optional kernels: every backend follows the Protocols, mypy checks them, both checks can fail."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from tests.support.backends import BACKENDS, usable_backend
from tinycnn.backends import load_backend
from tinycnn.backends.fused_kernels import FusedKernels, required
from tinycnn.errors import BackendError

ROOT = Path(__file__).resolve().parents[2]
PROTOCOLS = {name: get_args(hint)[0] for name, hint in get_type_hints(FusedKernels).items()}


def parameters(function):
    """Name, kind and default of each parameter, without ``self``."""
    found = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature(function)]
    return [parameter for parameter in found if parameter.name != "self"]


def signature(function):
    return inspect.signature(function).parameters.values()


def differences(fused):
    """The names of the kernels whose parameters differ from their Protocol's."""
    kernels = {name: getattr(fused, name) for name in fused.names()}
    return [name for name, kernel in kernels.items() if parameters(kernel) != parameters(PROTOCOLS[name].__call__)]


def without_partner(fused):
    """Forward kernels without a backward kernel, and the reverse."""
    halves = {name.rpartition("_")[0]: 0 for name in PROTOCOLS if name.endswith("ward")}
    for name in fused.names():
        if name.endswith("ward"):
            halves[name.rpartition("_")[0]] += 1
    return [name for name, count in halves.items() if count == 1]


@pytest.mark.parametrize("name", BACKENDS)
def test_each_backend_has_the_protocol_signatures(name, request):
    fused = usable_backend(name, request.config).fused
    assert differences(fused) == without_partner(fused) == []


def test_only_numpy_has_no_fused_kernels():
    assert not load_backend("numpy").fused
    assert load_backend("numpy").fused.names() == []
    assert load_backend("numba").fused


def test_every_kernel_has_its_own_protocol():
    assert len(set(PROTOCOLS.values())) == len(dataclasses.fields(FusedKernels))
    for protocol in PROTOCOLS.values():
        assert protocol._is_protocol
        assert protocol.__doc__
        assert protocol.__call__.__doc__


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, weight, bias: x,  # without the setting
        lambda x, weight, bias, relu: x,  # positional
        lambda x, weight, bias, *, relu=True: x,  # with a default
        lambda weight, x, bias, *, relu: x,  # in another order
    ],
)
def test_a_wrong_signature_is_detected(wrong):
    assert differences(FusedKernels(dense_forward=wrong)) == ["dense_forward"]
    assert without_partner(FusedKernels(dense_forward=wrong)) == ["dense"]


def test_a_missing_kernel_raises_where_it_is_required():
    with pytest.raises(BackendError, match="does not have this fused kernel: use the plain operations"):
        required(FusedKernels().dense_forward)


WRONG = """
from tinycnn.backends.fused_kernels import Array, FusedKernels

def dense_forward(x: Array, weight: Array, bias: Array, *, relu: bool) -> Array: ...
def without_relu(x: Array, weight: Array, bias: Array) -> Array: ...

FusedKernels(dense_forward=dense_forward)
FusedKernels(dense_forward=without_relu)
"""


def test_mypy_reports_a_wrong_signature(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "wrong.py"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert process.stdout.count("error:") == 1
    assert 'wrong.py:8: error: Argument "dense_forward" to "FusedKernels" has incompatible type' in process.stdout
