"""The picture on the architecture page: ``python docs/picture_of_the_architecture.py`` draws it.

A row holds rooms of the same height: folders of the package, and modules at its root. Imports point down or sideways.
``tests/docs/test_documentation.py`` reads the package and compares rooms and imports with the rows.
"""

from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "pictures" / "architecture.svg"
INK, QUIET, FORWARD, BACKWARD, FONT = "#222222", "#555555", "#1f5fa6", "#b3311b", "system-ui, sans-serif"
WIDTH, ROW, GAP, LEFT, BOX = 1120, 58, 14, 20, 620
ROLE = LEFT + 14  # where the role of a row starts
ROOMS = LEFT + 124  # where its rooms start

ROWS: list[tuple[str, str, list[str], str]] = [  # role, colour, rooms, what they do
    ("programs", "#e9e2f3", ["examples", "commands"], "what is started: tinycnn train, predict, export …"),
    ("services", "#e9e2f3", ["run", "web", "sklearn"], "a training run with its options and folder; a web page"),
    ("results", "#f6e3ea", ["report", "plots"], "curves, tables and pictures of a finished run"),
    (
        "training",
        "#fbe9d7",
        ["train", "explain", "interchange", "exercises", "testing"],
        "steps, epochs, checkpoints; other formats; exercises; checks",
    ),
    ("networks", "#fdf3cf", ["models", "saving", "metrics"], "the published networks, model files, accuracy"),
    ("layers", "#e4f1d9", ["layers", "optim", "gradcheck"], "operations with parameters; the update of parameters"),
    ("mathematics", "#dcefe6", ["ops", "initializers"], "one file per operation: its equation and gradients"),
    ("engine", "#dceef3", ["tensor", "data"], "automatic differentiation; data sets as arrays"),
    ("machines", "#dfe7f5", ["backends"], "the kernels, on NumPy, Numba and CuPy; base.py is the contract"),
    ("ranks", "#dfe7f5", ["distributed"], "several processes that train one network"),
    (
        "foundation",
        "#e8e8ec",
        ["files", "errors", "other_names", "version", "starting"],
        "files, exceptions, names of other libraries, version; Ctrl-C at the start",
    ),
]
# The path of a batch: number, room, colour of the direction, what happens.
STEPS = [
    ("1", "train", FORWARD, "draw the order of the epoch, cut it into batches"),
    ("2", "data", FORWARD, "bytes become numbers (N, H, W, C)"),
    ("3", "layers", FORWARD, "Sequential.logits: layer after layer"),
    ("4", "ops", FORWARD, "forward: compute y, keep what backward needs"),
    ("5", "backends", FORWARD, "kernels: im2col, max_pool2d, fused blocks"),
    ("6", "tensor", BACKWARD, "loss.backward(): latest function first"),
    ("7", "ops", BACKWARD, "backward: grad_y → grad_x, grad_weight, grad_bias"),
    ("8", "distributed", BACKWARD, "all-reduce: sum the gradients of all ranks"),
    ("9", "optim", BACKWARD, "Optimizer.step: each parameter against its gradient"),
]


def rooms_of_package() -> dict[str, Path]:
    """The folders of the package and the modules at its root, by name; ``examples`` beside them."""
    package = ROOT / "tinycnn"
    folders = {path.parent.name: path.parent for path in package.glob("*/__init__.py")}
    modules = {path.stem: path for path in package.glob("*.py") if not path.stem.startswith("__")}
    return {**folders, **modules, "examples": ROOT / "examples"}


def text(x: float, y: float, words: str, size: int, colour: str = INK, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


def top_of(row: int) -> int:
    return GAP + row * (ROW + GAP)


def box(row: int) -> list[str]:
    """The role of a row, the names of its rooms (a folder ends in a slash), and one line about them."""
    role, colour, rooms, words = ROWS[row]
    found = rooms_of_package()
    names = "  ·  ".join(f"{room}/" if found[room].is_dir() else room for room in rooms)
    y = top_of(row)
    return [
        f'<rect x="{LEFT}" y="{y}" width="{BOX - LEFT}" height="{ROW}" rx="6" fill="{colour}" stroke="{INK}"/>',
        text(ROLE, y + ROW / 2 + 5, role, 14, QUIET),
        text(ROOMS, y + 25, names, 16, weight=600),
        text(ROOMS, y + 46, words, 13),
    ]


def steps(row: int) -> list[str]:
    """What happens to a batch in this row, in the order of time."""
    here = [step for step in STEPS if step[1] in ROWS[row][2]]
    parts = []
    for i, (number, _, colour, words) in enumerate(here):
        y = top_of(row) + ROW / 2 + (i - (len(here) - 1) / 2) * 28
        parts.append(f'<circle cx="{BOX + 34}" cy="{y}" r="11" fill="{colour}"/>')
        parts.append(text(BOX + 34, y + 4.5, number, 13, "white", "middle", 600))
        parts.append(text(BOX + 54, y + 5, words, 15, colour))
    return parts


def draw() -> str:
    """The whole picture as SVG; the same input gives the same bytes."""
    height = top_of(len(ROWS)) + 4
    middle = (LEFT + BOX) / 2
    arrows = [
        f'<line x1="{middle}" y1="{top_of(row) + ROW}" x2="{middle}" y2="{top_of(row + 1) - 1}" '
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
