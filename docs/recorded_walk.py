"""Writes the walk that docs/backprop.md shows, ``_static/walk.html``, from the network and the picture in docs/walk/.

``python docs/recorded_walk.py`` trains the network again (it needs MNIST, see ``tinycnn doctor``).
"""

from pathlib import Path

from sphinx.application import Sphinx

import tinycnn
from tinycnn.data.drawing import read_drawing
from tinycnn.web.walk import walk_html

FOLDER = Path(__file__).resolve().parent / "walk"
LABEL = 3  # the network reads it as an 8


def html() -> str:
    """The walk as the text of an HTML file."""
    with tinycnn.use_backend("numpy"):
        model = tinycnn.load(FOLDER / "model.safetensors")
        return walk_html(model, read_drawing(FOLDER / "three.png")[0], LABEL, chapters="../path/*.html")


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the file into the finished pages."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "_static" / "walk.html").write_text(html(), encoding="utf-8")


def train() -> None:
    """Train the network: two epochs on 20,000 images, so that it still makes mistakes."""
    from tinycnn import data
    from tinycnn.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential, Softmax

    tinycnn.use_backend("numpy")
    layers = [*(Conv2d(4), ReLU(), MaxPool2d(), Conv2d(6), ReLU(), MaxPool2d()), Flatten()]
    layers += [Dense(16), ReLU(), Dense(10), Softmax()]
    model = Sequential(*layers, input_shape=(28, 28, 1), seed=1)
    mnist = data.load("mnist")
    trainer = tinycnn.train.Trainer(model, tinycnn.optim.Adam(model.parameters(), 3e-3), batch_size=64)
    for result in trainer.fit(mnist.x_train[:20_000], mnist.y_train[:20_000], epochs=2):
        print(result)
    tinycnn.save(model, FOLDER / "model.safetensors")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the walk when the pages are built."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    train()
