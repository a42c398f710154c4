"""The picture at the top of the README, from a training run: ``python docs/picture_of_a_run.py [FOLDER_OF_MNIST]``.

Trains as ``examples/speedrun.py`` does (seed 0), and draws the loss of every step, test digits with the class that the
network reads, and the gradient of that class at each pixel. Writes ``docs/_static/run_light.png`` and ``run_dark.png``,
and the figures of the run to ``run.json``.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

import tinycnn
from tinycnn import data, explain, models, optim
from tinycnn.train import Trainer, evaluate
from tinycnn.train.warm_up import warm_up

FOLDER = Path(__file__).parent / "_static"
EPOCHS, BATCH_SIZE, PEAK_LR, WARMUP = 2, 128, 3e-3, 0.3  # examples/speedrun.py
THEMES = {  # ink, muted ink, paper, less, more
    "light": ("#1f2328", "#59636e", "#ffffff", "#1f6fb4", "#c23b22"),
    "dark": ("#f0f6fc", "#9198a1", "#0d1117", "#58a6ff", "#ff7b72"),
}
Digit = tuple[np.ndarray, np.ndarray, int]  # image, gradient, class
SHOWN = 2, 7, 4, 5, 3, 8


def train(folder: str | None) -> tuple[dict[str, float], np.ndarray, list[Digit]]:
    """The figures of the run, the loss of each step, and the digits to draw."""
    mnist = data.load("mnist", data_dir=folder)
    model = models.create("keras_cnn", seed=0)
    steps = EPOCHS * -(-len(mnist.y_train) // BATCH_SIZE)
    adam = optim.Adam(model.parameters(), PEAK_LR, schedule=optim.one_cycle(steps, warmup=WARMUP))
    trainer, losses = Trainer(model, adam, batch_size=BATCH_SIZE, seed=0), []
    warm_up(trainer, mnist.x_train, mnist.y_train)
    step = trainer.step

    def recorded(*arguments: object) -> tuple[object, object]:
        loss, right = step(*arguments)
        losses.append(float(loss))
        return loss, right

    vars(trainer)["step"] = recorded
    trainer.fit(mnist.x_train, mnist.y_train, epochs=EPOCHS)
    accuracy = evaluate(model, mnist.x_test, mnist.y_test).accuracy
    figures = {"epochs": EPOCHS, "steps": steps, "accuracy": accuracy, "test_images": len(mnist.y_test)}
    shown = [int(np.flatnonzero(mnist.y_test == label)[0]) for label in SHOWN]
    return figures, np.array(losses), [looked_at(model, mnist.x_test[i]) for i in shown]


def looked_at(model: tinycnn.Sequential, image: np.ndarray) -> Digit:
    """One image, the gradient of its class at each pixel, and the class."""
    logits = model.logits(explain.as_input(model, image[np.newaxis])).numpy()[0]
    return image[..., 0], explain.saliency(model, image)[..., 0], int(logits.argmax())


def draw(theme: str, figures: dict[str, float], losses: np.ndarray, digits: list[Digit]) -> plt.Figure:
    """The picture in the colours of ``theme``."""
    ink, muted, paper, line, more = THEMES[theme]
    style = {"text.color": ink, "axes.edgecolor": muted, "xtick.color": muted, "ytick.color": muted, "font.size": 10}
    with mpl.rc_context(style):
        figure = plt.figure(figsize=(10, 3.3), facecolor=paper)
        curve = figure.add_axes((0.06, 0.17, 0.36, 0.63), facecolor=paper)
        smooth = np.convolve(losses, np.ones(25) / 25, mode="valid")
        curve.plot(np.arange(1, len(losses) + 1), losses, color=line, alpha=0.3, linewidth=0.7)
        curve.plot(np.arange(25, len(losses) + 1), smooth, color=line, linewidth=1.8)
        curve.set(yscale="log", ylim=(0.005, 3), xlim=(0, len(losses)))
        curve.set(yticks=[0.01, 0.1, 1], yticklabels=["0.01", "0.1", "1"])
        curve.minorticks_off()
        curve.spines[["top", "right"]].set_visible(False)
        curve.set_xlabel("training steps", color=muted)
        told = f"{figures['accuracy']:.1%} of {figures['test_images']:,} are read correctly".replace("%", " %")
        for left, title, below in (
            (
                0.06,
                "the loss of each step",
                f"{figures['steps']} steps: {figures['epochs']} times through 60,000 digits",
            ),
            (0.47, "digits it has never seen", told),
        ):
            figure.text(left, 0.93, title, fontsize=12, weight="bold", va="center")
            figure.text(left, 0.855, below, color=muted, va="center")
        ink_map = LinearSegmentedColormap.from_list("ink", [paper, ink])
        change_map = LinearSegmentedColormap.from_list("change", [line, paper, more])
        width = 0.53 / len(digits)
        for i, (image, gradient, label) in enumerate(digits):
            left, limit = 0.47 + i * width, abs(gradient).max()
            for bottom, values, colours, low in (
                (0.47, image / 255, ink_map, 0),
                (0.15, gradient / limit, change_map, -1),
            ):
                axes = figure.add_axes((left, bottom, width * 0.9, 0.27))
                axes.imshow(values, cmap=colours, vmin=low, vmax=1)
                axes.axis("off")
            figure.text(left + width * 0.45, 0.775, f"{label}", ha="center", va="center", weight="bold")
        told = "lower row: the gradient of the answer at every pixel, by backpropagation"
        figure.text(0.47, 0.06, told, color=muted, va="center")
    return figure


def main(folder: str | None = None) -> None:
    """Train once, draw twice."""
    figures, losses, digits = train(folder)
    for theme in THEMES:
        draw(theme, figures, losses, digits).savefig(FOLDER / f"run_{theme}.png", dpi=160)
    (FOLDER / "run.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
