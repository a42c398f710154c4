"""Memory stays bounded by the batch, not by the data set."""

import pytest

from tests.support.memory_held import linux_only, output_of

CODE = """
import numpy as np, tinycnn
from tests.support.memory_held import held
from tinycnn import models, optim
from tinycnn.layers import Dense, Flatten, ReLU, Sequential
from tinycnn.train import Trainer, evaluate

images = np.zeros((60_000, 28, 28, 1), np.uint8) + np.arange(28, dtype=np.uint8)[:, None]
labels = np.arange(60_000) % 10
before = held("VmRSS")
tinycnn.use_backend("numpy")
model = models.create("keras_cnn")
trainer = Trainer(model, optim.Adam(model.parameters()), batch_size=128)
trainer.fit(images[:640], labels[:640], epochs=1)
if TRAIN_ONLY: images, labels = images[:640], labels[:640]
wide = Sequential(Flatten(), Dense(1000), ReLU(), Dense(10), input_shape=(28, 28, 1))
evaluate(wide, images, labels)  # fast, and over 400 MiB if the 60,000 images were one batch
print(held("VmHWM") - before)
"""


@linux_only
@pytest.mark.parametrize("train_only", [True, False], ids=["training", "evaluating 60,000 images"])
def test_numpy_needs_less_than_400_mib_above_the_data(train_only: bool) -> None:
    assert 10 < float(output_of(CODE.replace("TRAIN_ONLY", str(train_only)))) < 400
