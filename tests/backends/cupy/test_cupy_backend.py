"""The GPU backend on the stand-in for CuPy: its launches, its reads by the host, and the errors of an unusable GPU."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tinycnn
from tests.support import cuda_emulator, fake_cupy
from tinycnn import backends, models
from tinycnn.backends.cupy.backend import CupyBackend
from tinycnn.errors import BackendError
from tinycnn.train.trainer import Trainer

pytestmark = pytest.mark.skipif(cuda_emulator.COMPILER is None, reason="no g++: apt install g++")
PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"


@pytest.fixture
def emulated():
    with tinycnn.use_backend("cupy-emulated") as backend:
        yield backend


def trainer_of(name, batch_size):
    model = models.create(name)
    return Trainer(model, tinycnn.optim.Adam(model.parameters()), batch_size=batch_size, capture=False)


def test_docs_list_the_number_of_launches(emulated):
    written = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    counted = {}
    for name in models.MODELS:
        trainer, data = trainer_of(name, 4), (np.zeros((4, 28, 28, 1), np.uint8), np.zeros(4, np.int64), np.arange(4))
        arrays = [emulated.asarray(array) for array in data]
        fake_cupy.launches.clear()
        trainer.step(*arrays)
        eager = len(fake_cupy.launches)
        trainer.capture.enabled = True
        trainer.train_epoch(*arrays[:2], epoch=1)
        counted[name] = eager, len(trainer.capture.steps.replays[4].graph.nodes)
    assert counted == {name: (int(eager), int(recorded)) for name, eager, recorded in written}


def test_an_epoch_reads_three_numbers_from_the_gpu(emulated):
    """Loss, correct predictions and the check for finite values; in longer epochs again every CHECK_EVERY steps."""
    trainer = trainer_of("lenet", 8)
    images, labels = emulated.asarray(np.zeros((20, 28, 28, 1), np.uint8)), emulated.asarray(np.zeros(20, np.int64))
    before = fake_cupy.host_reads
    trainer.train_epoch(images, labels, 1)
    assert fake_cupy.host_reads - before == 3


def test_a_0d_array_keeps_its_shape(emulated):
    """CuPy's ``ascontiguousarray`` adds an axis, as NumPy's does."""
    number = emulated.asarray(np.float32(3))
    assert fake_cupy.ascontiguousarray(number).shape == (1,)
    assert emulated.launch.contiguous(number).shape == emulated.fused.dropout(number, 0.5, (0, 0)).shape == ()


class TestDetection:
    """Each failure has its own message with the command that fixes it."""

    def broken(self, **changes):
        return types.SimpleNamespace(**{**vars(fake_cupy), **changes})

    def refusal(self, cupy):
        with pytest.raises(BackendError, match='`backend="numba"`') as caught:
            CupyBackend(cupy)
        return str(caught.value)

    def test_no_gpu_raises(self):
        assert "finds no NVIDIA GPU with a driver" in self.refusal(self.broken(is_available=lambda: False))

    def test_a_kernel_that_does_not_compile_raises(self):
        def module(**_):
            raise RuntimeError("cannot open libnvrtc.so.13\nand a long story")

        words = self.refusal(self.broken(RawModule=module))
        assert "(RuntimeError: cannot open libnvrtc.so.13): install CuPy" in words
        assert "pip install 'cupy-cuda13x[ctk]'" in words

    def test_a_kernel_with_a_wrong_result_raises(self):
        module = types.SimpleNamespace(get_function=lambda name: lambda *_: None)
        assert "computes 0.0 where 42 is right" in self.refusal(self.broken(RawModule=lambda **_: module))

    def test_cupy_that_does_not_import_raises(self, monkeypatch):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: name == "cupy" or find_spec(name, *a))
        monkeypatch.setitem(sys.modules, "cupy", None)
        with pytest.raises(BackendError, match=r"is installed, but does not load .*`pip uninstall`"):
            backends._load_cupy()
