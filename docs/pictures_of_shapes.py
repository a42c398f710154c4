"""Pictures of circles, squares and triangles, and a small network trained on them: for the picture of a page."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import tinycnn
from tinycnn import data
from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Softmax

NAMES, SIDE, COUNT = ["circle", "square", "triangle"], 32, 4500


def draw(kind: int, rng: np.random.Generator, side: int = 256) -> Image.Image:
    """One shape of the class ``kind`` on a speckled ground: place, size, angle and both colours by chance."""
    ground, ink = rng.integers(0, 110, 3), rng.integers(140, 256, 3)
    if rng.random() < 0.5:
        ground, ink = ink, ground
    speckled = np.clip(ground + rng.normal(0, 14, (side, side, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(speckled)
    radius, turn = side * rng.uniform(0.22, 0.34), rng.uniform(0, 2 * np.pi)
    middle = rng.uniform(radius, side - radius, 2)
    corners = (64, 4, 3)[kind]
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    outline = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (corners, 2)
    ImageDraw.Draw(image).polygon([tuple(point) for point in outline.tolist()], fill=tuple(ink.tolist()))
    return image


def write_network(path: Path) -> None:
    """Train the network on shapes, and write its file; a quarter of a minute of one core."""
    rng = np.random.default_rng(0)
    model = Sequential(
        *(Conv2d(12, 5, stride=2), ReLU(), MaxPool2d(), Conv2d(24), ReLU()),
        *(Flatten(), Dense(48), ReLU(), Dense(len(NAMES)), Softmax()),
        input_shape=(SIDE, SIDE, 3),
        seed=1,
    )
    model.class_names, model.pictures = NAMES, "whole"
    labels = np.arange(COUNT) % len(NAMES)
    images = np.concatenate([data.load_picture(draw(int(kind), rng, side=96), model) for kind in labels])
    trainer = tinycnn.train.Trainer(model, tinycnn.optim.Adam(model.parameters(), 2e-3), batch_size=32)
    for result in trainer.fit(images, labels, epochs=15):
        print(f"shapes, epoch {result.epoch}: accuracy {result.train_accuracy:.3f}")
    tinycnn.save(model, path)
