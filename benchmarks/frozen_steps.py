"""Time saved by freezing layers: milliseconds per training step with no layers, the feature layers, or the body frozen.

Run it with ``python benchmarks/frozen_steps.py``.
"""

import statistics
import time

import numpy as np

import tinycnn
from tinycnn import models, optim
from tinycnn.layers import Sequential
from tinycnn.train.trainer import Trainer

BATCH, STEPS, WARM_UP = 128, 40, 5


def step_ms(model: Sequential) -> float:
    """The median milliseconds per step on random images."""
    backend, rng = tinycnn.get_backend(), np.random.default_rng(0)
    images = backend.asarray(rng.integers(0, 256, (BATCH, *model.input_shape), dtype=np.uint8))
    labels, chosen = backend.asarray(rng.integers(0, 10, BATCH)), backend.asarray(np.arange(BATCH))
    trainer, times = Trainer(model.train(), optim.Adam(model.parameters()), batch_size=BATCH), []
    for _ in range(STEPS):
        start = time.perf_counter()
        float(trainer.step(images, labels, chosen)[0])  # waits for a GPU
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def main() -> None:
    tinycnn.use_backend("auto")
    for name in ("lenet", "keras_cnn", "batchnorm_cnn"):
        model = models.create(name)
        features = [layer for layer, _ in model.layers.items() if layer.startswith(("conv2d", "batchnorm"))]
        body = [layer for layer, _ in model.layers.items() if layer != model.head()]
        frozen = {"nothing": [], "features": features, "all but the head": body}
        times = {what: step_ms(model.freeze_only(*names)) for what, names in frozen.items()}
        print(f"{name:<14}", ", ".join(f"{what} frozen: {ms:.1f} ms" for what, ms in times.items()), flush=True)


if __name__ == "__main__":
    main()
