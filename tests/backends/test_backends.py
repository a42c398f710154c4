"""Selecting a backend by name, temporarily or automatically, and the errors for unavailable backends."""

import importlib.util
import threading

import numpy as np
import pytest

import tinycnn
from tests.support.backends import usable_backend
from tinycnn import Tensor, available_backends, backends, get_backend, ops, register_backend, use_backend
from tinycnn.backends import load_backend
from tinycnn.backends.base import Backend, window_grid
from tinycnn.backends.numpy_backend import NumpyBackend
from tinycnn.errors import BackendError, SettingError
from tinycnn.testing.loop_backend import LoopBackend


@pytest.fixture
def fresh(monkeypatch):
    """No backend is loaded or selected, as in a new process; restored afterwards."""
    active = get_backend()
    monkeypatch.setattr(backends, "_LOADERS", dict(backends._LOADERS))
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(backends, "_of_process", None)
    yield monkeypatch
    active.activate()


@pytest.fixture
def without_packages(fresh):
    """A machine on which neither Numba nor CuPy is installed."""
    find_spec = importlib.util.find_spec
    fresh.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("numba", "cupy") else find_spec(name, *a)
    )


class OtherArray(np.ndarray):
    """Stands for the arrays of another device."""


class OtherBackend(LoopBackend):
    """A backend with its own array type, like CuPy's."""

    name = "other"

    def owns(self, array):
        return isinstance(array, OtherArray)

    def asarray(self, array):
        return np.asarray(array).view(OtherArray)

    def to_host(self, array):
        return array.view(np.ndarray)


class StrictNumpyBackend(NumpyBackend):
    """The NumPy backend, except that it does not own ``OtherArray``."""

    def owns(self, array):
        return type(array) is np.ndarray


@pytest.fixture
def two_kinds_of_arrays(fresh):
    register_backend("other", OtherBackend)
    register_backend("numpy", StrictNumpyBackend)


class NamedNumpyBackend(NumpyBackend):
    def __init__(self, name):
        self.name = name


def in_thread(work):
    """``work()`` in another thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(60)
    return results[0]


class TestChoosing:
    def test_a_fresh_process_uses_the_first_usable_one(self, fresh):
        class Counted(LoopBackend):
            activated = 0

            def activate(self):
                Counted.activated += 1

        def not_here():
            raise BackendError("there is no GPU")

        register_backend("cupy", not_here)
        register_backend("numba", Counted)
        assert backends._loaded == {}  # nothing is loaded before it is used
        Tensor([1.0])
        assert type(get_backend()) is Counted
        assert list(backends._loaded) == ["numba"]
        assert Counted.activated == 1

    def test_as_a_function(self, fresh):
        use_backend("loops")
        assert get_backend().name == "loops"
        use_backend("numpy")
        assert get_backend().name == "numpy"

    def test_an_unknown_setting_changes_nothing(self, fresh):
        use_backend("numpy")
        with pytest.raises(
            SettingError, match=r"unknown setting 'threads'.*tinycnn\.backends\.threads\.set_threads\(1\)"
        ):
            use_backend("loops", threads=1)
        assert get_backend().name == "numpy"

    def test_as_a_context_manager(self, fresh):
        use_backend("numpy")
        with use_backend("loops") as backend:
            assert get_backend() is backend
            assert backend.name == "loops"
            with use_backend("numpy"):
                assert get_backend().name == "numpy"
            assert get_backend().name == "loops"
        assert get_backend().name == "numpy"

    def test_restores_after_an_exception(self, fresh):
        use_backend("numpy")
        with pytest.raises(KeyError), use_backend("loops"):
            raise KeyError
        assert get_backend().name == "numpy"

    def test_restores_even_when_nothing_was_chosen_before(self, fresh):
        register_backend("numba", LoopBackend)
        with use_backend("numpy"):
            pass
        assert get_backend() is load_backend("auto")

    def test_the_choice_of_the_main_thread_applies_to_all_threads(self, fresh):
        with use_backend("loops"):
            assert in_thread(lambda: get_backend().name) == "loops"

    def test_the_choice_of_another_thread_is_its_own(self, fresh):
        """Two threads compute in turns on two backends, and a third follows the main thread."""
        use_backend("numpy")
        turn = threading.Barrier(3, timeout=60)

        def compute(name, seen):
            def work():
                x = Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
                turn.wait()
                if name:
                    with use_backend(name):
                        turn.wait()
                        function = ops.max_pool2d(x, kernel_size=2).creator
                        seen.append((get_backend().name, function.backend.name))
                        turn.wait()
                else:
                    turn.wait()
                    seen.append((get_backend().name, ops.max_pool2d(x, kernel_size=2).creator.backend.name))
                    turn.wait()
                seen.append((get_backend().name,))

            return threading.Thread(target=work)

        seen = {"loops": [], "numba": [], "": []}
        register_backend("numba", lambda: NamedNumpyBackend("numba"))
        threads = [compute(name, found) for name, found in seen.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert seen == {
            "loops": [("loops", "loops"), ("numpy",)], "numba": [("numba", "numba"), ("numpy",)],
            "": [("numpy", "numpy"), ("numpy",)],
        }  # fmt: skip
        assert get_backend().name == "numpy"

    def test_a_thread_may_choose_at_once(self, fresh):
        use_backend("numpy")

        def choose():
            use_backend("loops")
            return get_backend().name

        assert in_thread(choose) == "loops"
        assert get_backend().name == "numpy"

    def test_an_unknown_name_raises(self, fresh):
        use_backend("loops")
        with pytest.raises(BackendError, match=r"unknown backend 'gpu': choose one of auto, numpy, numba, cupy"):
            use_backend("gpu")
        assert get_backend().name == "loops"

    def test_a_backend_is_loaded_once(self, fresh):
        with use_backend("numpy") as first, use_backend("numpy") as second:
            assert first is second

    def test_activate_is_called_on_the_way_in_and_out(self, fresh):
        calls = []

        class Noisy(LoopBackend):
            def __init__(self, name):
                super().__init__()
                self.name = name

            def activate(self):
                calls.append(self.name)

        register_backend("a", lambda: Noisy("a"))
        register_backend("b", lambda: Noisy("b"))
        with use_backend("a"), use_backend("b"):
            pass
        assert calls == ["a", "b", "a"]


class TestAvailable:
    def test_numpy_is_always_available(self):
        assert available_backends()[0] == "numpy"
        assert backends.is_available("numpy")
        assert not backends.is_available("gpu")

    def test_only_numpy_is_available_without_packages(self, without_packages):
        assert {"numba", "cupy"}.isdisjoint(available_backends())
        assert "numpy" in available_backends()

    @pytest.mark.parametrize(
        ("name", "command"),
        [("numba", "pip install numba"), ("cupy", r"pip install 'cupy-cuda13x\[ctk\]'.* 'cupy-cuda12x\[ctk\]'")],
    )
    def test_a_missing_package_error_contains_the_install_command(self, without_packages, name, command):
        with pytest.raises(BackendError, match=rf"backend '{name}' is not installed: `{command}.*`backend=\"numpy\"`"):
            use_backend(name)
        assert get_backend().name == "numpy"

    def test_a_backend_that_became_usable_is_found(self, fresh):
        def loader():
            if broken:
                raise BackendError("not today")
            return LoopBackend()

        broken = [True]
        register_backend("mine", loader)
        assert "mine" not in available_backends()
        broken.clear()
        assert "mine" in available_backends()


class TestAuto:
    def test_is_numpy_without_other_packages(self, without_packages):
        with use_backend("auto") as backend:
            assert backend.name == "numpy"

    def test_prefers_the_fastest(self, fresh):
        for name in ("cupy", "numba"):
            register_backend(name, lambda name=name: named(name))
        with use_backend("auto") as backend:
            assert backend.name == "cupy"

    def test_skips_unusable_backends(self, fresh):
        def broken():
            raise BackendError("no GPU")

        register_backend("cupy", broken)
        register_backend("numba", lambda: named("numba"))
        with use_backend("auto") as backend:
            assert backend.name == "numba"

    def test_selects_a_usable_backend(self):
        with use_backend("auto") as backend:
            assert backend.name in available_backends()


def named(name):
    backend = LoopBackend()
    backend.name = name
    return backend


class TestRegister:
    def test_the_loader_runs_at_first_use_only(self, fresh):
        loaded = []
        register_backend("mine", lambda: loaded.append(1) or LoopBackend())
        assert loaded == []
        for _ in range(2):
            with use_backend("mine"):
                pass
        assert loaded == [1]

    def test_an_incomplete_backend_cannot_be_instantiated(self):
        class Incomplete(Backend):
            name = "incomplete"

        with pytest.raises(TypeError, match="abstract"):
            Incomplete()

    def test_a_network_trains_on_a_registered_backend(self, fresh):
        register_backend("mine", LoopBackend)
        losses = {}
        for name in ("numpy", "mine"):
            with use_backend(name):
                losses[name] = train_a_little()
        assert losses["mine"] == pytest.approx(losses["numpy"], rel=1e-9)
        assert losses["mine"][-1] < losses["mine"][0]


def train_a_little():
    """Train a small network with dropout in float64, and return the losses of three steps."""
    shape, kinds = (6, 6, 1), tinycnn.layers
    network = [kinds.Conv2d(2), kinds.ReLU(), kinds.MaxPool2d(), kinds.Flatten(), kinds.Dropout(0.2), kinds.Dense(3)]
    model = tinycnn.Sequential(*network, input_shape=shape, dtype=np.float64)
    optimizer = tinycnn.optim.Adam(model.parameters(), lr=0.05)
    x, losses = np.random.default_rng(0).normal(size=(6, *shape)), []
    for _ in range(3):
        loss = ops.softmax_cross_entropy(model.logits(Tensor(x)), [0, 1, 2, 0, 1, 2])
        model.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class TestMixing:
    """Tensors stay on the backend that created them."""

    @pytest.mark.parametrize(("first", "then"), [("other", "numpy"), ("numpy", "other")])
    @pytest.mark.parametrize(
        ("call", "name"),
        [(ops.relu, "ReLU"), (lambda x: x * 2, "Multiply"), (lambda x: x @ x, "MatMul"), (lambda x: x.sum(), "Sum")],
    )
    def test_a_tensor_of_another_backend_raises(self, two_kinds_of_arrays, call, name, first, then):
        with use_backend(first):
            x = Tensor(np.ones((2, 2)))
        words = rf"{name}: .*the active backend is '{then}'; create tensors and models after use_backend"
        with use_backend(then), pytest.raises(BackendError, match=words):
            call(x)

    def test_a_model_of_another_backend_raises(self, two_kinds_of_arrays):
        with use_backend("other"):
            model = tinycnn.models.create("lenet")
        with use_backend("numpy"), pytest.raises(BackendError, match=r"Conv2d: .*use_backend\('numpy'\)"):
            model(np.zeros((1, 28, 28, 1), np.float32))

    def test_every_backend_accepts_numpy_arrays(self, two_kinds_of_arrays):
        with use_backend("other") as backend:
            y = Tensor(np.ones(2)) * np.array([2.0, 3.0])
            assert backend.owns(y.data)
            assert type(y.numpy()) is np.ndarray

    def test_a_tensor_works_after_switching_back(self, two_kinds_of_arrays):
        with use_backend("numpy"):
            x = Tensor(np.ones(2), requires_grad=True)
            with use_backend("other"):
                pass
            ops.relu(x).sum().backward()
        assert x.grad.tolist() == [1, 1]


def test_backend_name_is_its_registered_name(any_backend):
    assert tinycnn.get_backend() is any_backend
    assert any_backend is backends.load_backend(any_backend.name)


def test_arrays_survive_the_round_trip(any_backend):
    for dtype in (np.float32, np.float64, np.uint8, np.int64):
        array = np.arange(6, dtype=dtype).reshape(2, 3)
        ours = any_backend.asarray(array)
        assert any_backend.owns(ours)
        assert ours.dtype == dtype
        np.testing.assert_array_equal(any_backend.to_host(ours), array)
    assert not any_backend.owns([1.0])


def test_window_grid_matches_values_worked_out_by_hand():
    """A 7x5 image, one row of padding above and below, 3x2 windows: from row -1, 1, 3, 5 and column 0, 1, 2, 3."""
    assert window_grid((1, 7, 5, 1), (3, 2), (2, 1), (1, 0)) == (4, 4)


class Options:
    """Stands for pytest's configuration with or without ``--require-…``."""

    def __init__(self, required):
        self.required = required

    def getoption(self, name, default):
        return self.required


@pytest.mark.parametrize("name", ["numba", "cupy"])
def test_a_missing_backend_skips_its_tests_and_a_required_one_fails_them(without_packages, name):
    with pytest.raises(pytest.skip.Exception, match=f"backend '{name}' is not installed"):
        usable_backend(name, Options(required=False))
    with pytest.raises(pytest.fail.Exception, match=f"required, but not usable: backend '{name}' is not installed"):
        usable_backend(name, Options(required=True))
