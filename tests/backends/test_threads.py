"""Worker threads of the Numba backend: the same bits for any number, errors, forked processes and user threads."""

import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import tinycnn
from tinycnn import models, optim
from tinycnn.backends import threads
from tinycnn.errors import SettingError
from tinycnn.train.evaluation import predict_logits
from tinycnn.train.trainer import Trainer

pytest.importorskip("numba", reason="the workers serve compiled kernels")


@pytest.fixture
def restored_threads():
    before = threads.get_threads()
    yield
    threads.set_threads(before)


def test_every_part_runs_once(restored_threads):
    for count in (1, 2, 5):
        threads.set_threads(count)
        seen = []
        threads.in_parallel(seen.append, 23)
        assert sorted(seen) == list(range(23))


def test_zero_parts_call_nothing(restored_threads):
    threads.set_threads(3)
    threads.in_parallel(lambda part: pytest.fail("nothing to do"), 0)
    assert threads.get_threads() == 3


def test_an_error_in_a_part_reaches_the_caller(restored_threads):
    threads.set_threads(3)

    def work(part):
        if part == 7:
            raise KeyError("part seven")

    with pytest.raises(KeyError, match="part seven"):
        threads.in_parallel(work, 9)
    done = []
    threads.in_parallel(done.append, 4)  # the workers are still alive
    assert len(done) == 4


def test_errstate_of_the_caller_applies_in_all_threads(restored_threads):
    threads.set_threads(3)
    seen, barrier = [], threading.Barrier(3, timeout=30)  # all three have a part

    def work(part):
        barrier.wait()
        seen.append(np.geterr()["over"])

    for wanted in ("ignore", "raise"):
        with np.errstate(over=wanted):
            threads.in_parallel(work, 3)
    assert seen == ["ignore"] * 3 + ["raise"] * 3


def test_all_workers_take_part_in_every_call(restored_threads):
    """Each part waits until every thread has one, so a worker that died would block the barrier."""
    threads.set_threads(3)
    for _ in range(200):
        barrier = threading.Barrier(3)
        threads.in_parallel(lambda part, barrier=barrier: barrier.wait(timeout=30), 3)
        assert barrier.n_waiting == 0


def test_each_thread_starts_in_its_own_range(restored_threads):
    threads.set_threads(2)
    first, both_began = {}, threading.Barrier(2, timeout=60)

    def work(part):
        if threading.get_ident() not in first:
            first[threading.get_ident()] = part
            both_began.wait()

    threads.in_parallel(work, 8)
    assert first.pop(threading.get_ident()) == 0
    assert list(first.values()) == [4]


def test_finished_work_is_released(restored_threads):
    """More jobs than the workers can start, each holding an object: none may stay in the queue."""

    class Kept:
        pass

    threads.set_threads(4)
    alive = []
    for _ in range(500):
        kept = Kept()
        alive.append(weakref.ref(kept))
        threads.in_parallel(lambda part, kept=kept: kept, 4)
        del kept
    deadline = time.monotonic() + 30
    while any(ref() is not None for ref in alive) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sum(ref() is not None for ref in alive) == 0


def test_too_many_threads_raise():
    with pytest.raises(SettingError, match=r"`threads=1000`: expected at most \d+, for \d+ cores"):
        threads.set_threads(1000)


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_an_invalid_thread_count_raises(count):
    with pytest.raises(SettingError, match="expected a positive integer"):
        threads.set_threads(count)


@pytest.mark.parametrize(("count", "parts"), [(10, 3), (2, 5), (0, 2), (128, 32)])
def test_ranges_cover_everything_once(count, parts):
    covered = [i for start, stop in threads.ranges(count, parts) for i in range(start, stop)]
    assert covered == list(range(count))


def trained_weights(count: int, name: str) -> bytes:
    """Return the weights after two steps with ``count`` threads."""
    threads.set_threads(count)
    rng = np.random.default_rng(0)
    with tinycnn.use_backend("numba"):
        model = models.create(name)
        images, labels = rng.integers(0, 256, (100, *model.input_shape), dtype=np.uint8), rng.integers(0, 10, 100)
        trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=50)
        trainer.fit(images, labels, epochs=1)
        return b"".join(array.tobytes() for array in model.state_dict().values())


@pytest.mark.parametrize("name", list(models.NETWORKS))
def test_results_do_not_depend_on_the_number_of_threads(restored_threads, name):
    first = trained_weights(1, name)
    assert trained_weights(2, name) == first
    assert trained_weights(7, name) == first


def test_user_threads_predict_concurrently(restored_threads):
    """As in a web server, several threads predict with one model, and each gets its own result."""
    threads.set_threads(2)
    images = np.random.default_rng(1).integers(0, 256, (6, 40, 28, 28, 1), dtype=np.uint8)
    with tinycnn.use_backend("numba"):
        model = models.create("lenet").eval()
        expected = [predict_logits(model, batch) for batch in images]
        results: dict[int, list[np.ndarray]] = {i: [] for i in range(len(images))}

        def serve(i: int) -> None:
            for _ in range(10):
                results[i].append(predict_logits(model, images[i]))

        users = [threading.Thread(target=serve, args=(i,)) for i in results]
        for user in users:
            user.start()
        for user in users:
            user.join(timeout=60)
    for i, given in results.items():
        assert len(given) == 10
        assert all(np.array_equal(result, expected[i]) for result in given)


FORK = """
import os, numpy as np, tinycnn
from tinycnn import models
from tinycnn.backends import threads
threads.set_threads(2)
tinycnn.use_backend("numba")
model = models.create("lenet")
x = tinycnn.Tensor(np.ones((64, 28, 28, 1), np.float32))
before = model(x).numpy()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(model(x).numpy(), before) else 1)
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_can_compute():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "child 0", done.stderr


FORK_WHILE_HELD = """
import os, threading, tinycnn
from numba.core.compiler_lock import global_compiler_lock
from tinycnn.backends.numba.kernels import jit
from tinycnn.data import picture_cost
from tinycnn.train import recorded_forward

locks = {"compiler": global_compiler_lock._lock, "pictures": picture_cost._redirecting}
free = {name: lambda lock=lock: lock.acquire(timeout=1) for name, lock in locks.items()}
free["forward"] = lambda: recorded_forward._in_use.acquire(blocking=False)
recorded_forward._in_use.acquire()
held = threading.Event()

def hold():
    for lock in locks.values():
        lock.acquire()
    held.set()
    threading.Event().wait(0.2)
    for lock in locks.values():
        lock.release()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(sum(1 << i for i, is_free in enumerate(free.values()) if not is_free()))
_, status = os.waitpid(child, 0)
thread.join()
print("held in the child:", [name for i, name in enumerate(free) if os.waitstatus_to_exitcode(status) >> i & 1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_another_thread_compiles_does_not_wait_for_it():
    """Otherwise it waits forever, or Numba reports a compiler that is re-entrant."""
    command = [sys.executable, "-W", "ignore", "-c", FORK_WHILE_HELD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "held in the child: []", done.stderr


def test_runs_without_a_writable_kernel_cache(tmp_path):
    """Numba raises where it finds no writable cache folder; kernels are then compiled in every process."""
    code = (
        "import numpy as np, tinycnn; from tinycnn.backends.numba.kernels import plain\n"
        "with tinycnn.use_backend('numba') as b: print(b.im2col(np.ones((1, 2, 2, 1)), (1, 1), (1, 1), (0, 0)).sum())"
    )
    environment = os.environ | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.stdout.strip() == "4.0", done.stderr


def test_blas_thread_count_is_restored():
    from threadpoolctl import threadpool_info

    def blas() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with tinycnn.use_backend("numpy"):
        before = blas()
        with tinycnn.use_backend("numba"):
            assert set(blas()) <= {1}
        assert blas() == before


def test_the_share_of_blas_holds_until_it_is_given_back():
    """It stands in for the default, which every switch to NumPy and back restores."""
    from threadpoolctl import threadpool_info

    def blas() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with tinycnn.use_backend("numpy"):
        before = blas()
        threads.share_blas(1)
        try:
            with tinycnn.use_backend("numpy"):
                assert blas() == {1}
            assert blas() == {1}
        finally:
            threads.share_blas(None)
        assert blas() == before
