"""The picture on the architecture page: ``python docs/picture_of_the_architecture.py`` draws it.

Rows are the layers of the package, top to bottom as imports point; the arrows are the way of a batch through them.
``tests/docs/test_documentation.py`` compares both with the source.
"""

from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).parent / "pictures" / "architecture.svg"
INK, FORWARD, BACKWARD, PALE, FONT = "#333333", "#1f6fb4", "#c23b22", "#e8eef5", "system-ui, sans-serif"
WIDTH, ROW, GAP, LEFT, BOX = 980, 62, 16, 20, 450

ROWS: list[tuple[list[str], str]] = [  # modules of one height, and what they are
    (["examples", "tinycnn.commands", "tinycnn.run"], "programs: train_mnist, minimal, python -m tinycnn"),
    (["tinycnn.train"], "batches, the step, epochs, evaluation"),
    (
        ["tinycnn.models", "tinycnn.saving", "tinycnn.metrics"],
        "five networks, files, weights from elsewhere",
    ),
    (["tinycnn.layers", "tinycnn.optim", "tinycnn.data"], "operations with parameters; how they move; data sets"),
    (["tinycnn.ops"], "the mathematics: one file, one derivative"),
    (["tinycnn.tensor"], "the autograd engine and + - * / ** @ sum max"),
    (["tinycnn.backends"], "the machines: base.py is the contract"),
]
# The way of a batch: number, row, which direction, what happens.
STEPS = [
    ("1", 1, FORWARD, "draw the order of the epoch, gather bytes as numbers (N, H, W, C)"),
    ("2", 3, FORWARD, "Sequential.logits: layer after layer"),
    ("3", 4, FORWARD, "forward: compute y, keep what backward needs"),
    ("4", 6, FORWARD, "kernels: im2col, max_pool2d, fused blocks"),
    ("5", 5, BACKWARD, "loss.backward(): latest function first, gradients add up"),
    ("6", 4, BACKWARD, "backward: grad_y → grad_x, grad_weight, grad_bias"),
    ("7", 3, BACKWARD, "Optimizer.step: every parameter along its gradient"),
]


def text(x: float, y: float, words: str, size: int, colour: str = INK, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def top_of(row: int) -> int:
    return GAP + row * (ROW + GAP)


def box(row: int) -> list[str]:
    """A layer: the names of its modules, and one line about them."""
    modules, words = ROWS[row]
    names = " · ".join(module.removeprefix("tinycnn.") for module in modules)
    y = top_of(row)
    return [
        f'<rect x="{LEFT}" y="{y}" width="{BOX - LEFT}" height="{ROW}" rx="6" fill="{PALE}" stroke="{INK}"/>',
        text(LEFT + 14, y + 26, names, 16, weight=600),
        text(LEFT + 14, y + 47, words, 13),
    ]


def steps(row: int) -> list[str]:
    """What happens to a batch at this height, in the order of time."""
    here = [step for step in STEPS if step[1] == row]
    parts = []
    for i, (number, _, colour, words) in enumerate(here):
        y = top_of(row) + ROW / 2 + (i - (len(here) - 1) / 2) * 26
        parts.append(f'<circle cx="{BOX + 28}" cy="{y}" r="10" fill="{colour}"/>')
        parts.append(text(BOX + 28, y + 4, number, 12, "white", "middle", 600))
        parts.append(text(BOX + 46, y + 5, words, 13, colour))
    return parts


def draw() -> str:
    """The whole picture as SVG; the same input gives the same bytes."""
    height = top_of(len(ROWS)) + 8
    arrows = [
        f'<line x1="{LEFT + 215}" y1="{top_of(row) + ROW}" x2="{LEFT + 215}" y2="{top_of(row + 1) - 3}" '
        f'stroke="{INK}" marker-end="url(#tip)"/>'
        for row in range(len(ROWS) - 1)
    ]
    parts = [part for row in range(len(ROWS)) for part in (*box(row), *steps(row))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FONT}">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *arrows,
            *parts,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
