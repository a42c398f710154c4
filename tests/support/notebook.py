"""Runs the notebook and stores it with its outputs: ``python -m tests.support.notebook``, MNIST in TINYCNN_DATA."""

import tempfile
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "tinycnn_mnist.ipynb"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook():
    """The notebook as it is stored."""
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def run(book, folder, timeout=300):
    """Run all cells of ``book`` in ``folder``; their outputs are then in it."""
    place = {"metadata": {"path": folder}}
    nbclient.NotebookClient(book, timeout=timeout, kernel_name="python3", resources=place).execute()


def as_shown(outputs):
    """``outputs`` with texts that follow each other joined, and of a line that was drawn again only its last state."""
    joined = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream" and output.name == joined[-1].name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    for output in joined:
        if output.output_type == "stream":
            output.text = "\n".join(line.rstrip("\r").split("\r")[-1] for line in output.text.split("\n"))
    return joined


def store(book):
    """Write ``book`` without times and settings of this machine."""
    book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in book.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = as_shown(cell.outputs)
    nbformat.write(book, NOTEBOOK)


if __name__ == "__main__":
    book = notebook()
    with tempfile.TemporaryDirectory() as folder:
        run(book, folder, timeout=1800)
    store(book)
