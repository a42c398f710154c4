"""Memory stays bounded by the batch, not by the data set."""

import subprocess
import sys

import pytest

CODE = """
from pathlib import Path
import numpy as np, tinycnn
from tinycnn import models, optim
from tinycnn.train import Trainer, evaluate

def held(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))

images = np.zeros((60_000, 28, 28, 1), np.uint8) + np.arange(28, dtype=np.uint8)[:, None]
labels = np.arange(60_000) % 10
before = held("VmRSS")
tinycnn.use_backend("numpy")
model = models.create("keras_cnn")
trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=128)
list(trainer.fit(images[:640], labels[:640], epochs=1))
if TRAIN_ONLY: images, labels = images[:640], labels[:640]
evaluate(model, images, labels)
print(held("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("train_only", [True, False], ids=["training", "evaluating 60,000 images"])
def test_numpy_needs_less_than_400_mib_above_the_data(train_only: bool) -> None:
    code = CODE.replace("TRAIN_ONLY", str(train_only))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert 10 < float(done.stdout) < 400
