"""The notebook runs from top to bottom, on the small digits, without a network, and is stored without its output."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook is run with: pip install nbclient ipykernel")
nbclient = pytest.importorskip("nbclient", reason="the notebook is run with: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="the notebook is run with: pip install nbclient ipykernel")

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "tinycnn_mnist.ipynb"
SETTINGS = 'MODEL, DATASET, EPOCHS = "keras_cnn", "auto", 3'
PICTURES = 8


def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def run(book, folder):
    place = {"metadata": {"path": folder}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", resources=place).execute()


def test_it_is_stored_without_output():
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook()))


def test_no_second_cupy_is_installed():
    installs = [line for cell in code_cells(notebook()) for line in cell.source.splitlines() if "pip" in line]
    assert len(installs) == 1
    assert "cupy" not in installs[0]
    assert "cuda" not in installs[0]


@pytest.mark.filterwarnings("default")  # Jupyter and its event loop cause warnings
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = notebook()
    (settings,) = [cell for cell in code_cells(book) if cell.source == SETTINGS]
    settings.source = 'MODEL, DATASET, EPOCHS = "lenet", "digits", 2'
    run(book, tmp_path)
    outputs = [output for cell in code_cells(book) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PICTURES
    assert "saved, loaded, and the same" in outputs[-1]["text"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


@pytest.mark.filterwarnings("default")
def test_a_failing_cell_is_an_error(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import tinycnn_gone")])
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        run(book, tmp_path)
