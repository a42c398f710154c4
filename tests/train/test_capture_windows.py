"""Recorded steps of a network with every kind of window: nothing in them needs the host."""

import pytest

from tests.support.backends import activated
from tests.train.test_capture import counted_steps, everything, pictures
from tinycnn.layers import AvgPool2d, Conv2d, Dense, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d, Multiply, Sequential
from tinycnn.optim import SGD
from tinycnn.train.trainer import Trainer


@pytest.fixture(params=["cupy", "cupy-emulated"])
def gpu(request):
    """A backend that captures steps."""
    yield from activated(request)


def trained(capture):
    """The state after six steps."""
    pools = AvgPool2d(3, 1, 1, count_include_pad=False), AvgPool2d(2, padding=((0, 1), (1, 0)), ceil_mode=True)
    layers = (
        Conv2d(4, stride=2, padding="same"),
        Conv2d(4, groups=4, padding="same"),
        Conv2d(4, 2, dilation=2, groups=2),
    )
    ends = Multiply([GlobalAvgPool2d(), Dense(3)], [GlobalMaxPool2d(), Dense(3)])
    model = Sequential(*layers, *pools, MaxPool2d(2, 1, "same"), ends, input_shape=(12, 12, 1))
    trainer = Trainer(model, SGD(model.parameters(), 0.1), batch_size=4, capture=capture)
    images, labels = pictures(12)
    trainer.fit(images.repeat(2, axis=1)[:, 2:14].repeat(2, axis=2)[:, :, 2:14], labels, epochs=2)
    return everything(trainer)


def test_recorded_steps_have_the_same_bits(gpu, monkeypatch):
    taken = counted_steps(monkeypatch)
    recorded, in_python = trained(capture=True), len(taken)
    assert in_python < 6
    assert trained(capture=False) == recorded
    assert len(taken) == in_python + 6
