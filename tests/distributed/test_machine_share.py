"""The ranks of one machine share its cores and GPUs, whether the backend is selected before or after they start."""

import os
import subprocess
import sys
import types

import pytest

from tinycnn.backends.cupy.backend import use_gpu_of_rank
from tinycnn.distributed import launch
from tinycnn.distributed.communicator import SingleProcess
from tinycnn.errors import SettingError

JOIN = """
from tinycnn.distributed.communicator import SingleProcess, join
class Rank(SingleProcess):
    local_rank, cores = 0, CORES
join(Rank())
"""
CHOOSE = """
import tinycnn
tinycnn.use_backend("numpy")
"""
PRINT = """
import tinycnn
from threadpoolctl import threadpool_info
from tinycnn.backends.threads import get_threads
tinycnn.get_backend()
print(get_threads(), *(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"))
"""


def threads_after(*code, cores, **environment):
    """The threads of the kernels and of each BLAS library after running ``code`` on a rank with ``cores`` cores."""
    kept = {name: text for name, text in os.environ.items() if not name.endswith("_NUM_THREADS")}
    command = [sys.executable, "-c", "".join([*code, PRINT]).replace("CORES", str(cores))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=kept | environment, check=True)
    return {int(word) for word in done.stdout.split()}


@pytest.mark.parametrize(
    "code", [(JOIN,), (JOIN, CHOOSE), (CHOOSE, JOIN)], ids=["no backend", "backend after", "backend before"]
)
def test_a_rank_uses_its_cores_for_kernels_and_for_blas(code):
    assert threads_after(*code, cores=1) == {1}


def test_a_rank_uses_at_most_the_cores_of_its_process():
    assert threads_after(JOIN, cores=1000, OMP_NUM_THREADS="1") == {1}
    assert threads_after(JOIN, CHOOSE, cores=1000) == threads_after(CHOOSE, cores=None)


def test_a_single_process_uses_all_cores():
    assert threads_after(JOIN, CHOOSE, cores=None) == threads_after(CHOOSE, cores=None)


@pytest.mark.parametrize(("local_rank", "used"), [(0, [0]), (1, [1]), (4, [1]), (None, [])])
def test_a_rank_uses_one_gpu_of_its_machine(local_rank, used):
    taken = []
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 3)
    device = lambda number: types.SimpleNamespace(use=lambda: taken.append(number))  # noqa: E731
    cupy = types.SimpleNamespace(is_available=lambda: True, cuda=types.SimpleNamespace(Device=device, runtime=runtime))
    rank = SingleProcess()
    rank.local_rank = local_rank
    use_gpu_of_rank(cupy, rank)
    assert taken == used


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "ten", ""])
def test_a_time_limit_that_is_no_time_is_refused(seconds, monkeypatch):
    monkeypatch.setenv("TINYCNN_TIMEOUT_S", seconds)
    with pytest.raises(SettingError, match=f"TINYCNN_TIMEOUT_S={seconds}: expected a number of seconds above 0"):
        launch._timeout_s()
