"""The notebook runs from top to bottom, on the small digits, without a network, and is stored with its outputs."""

import re

import pytest

pytest.importorskip("nbformat", reason="the notebook is run with: pip install nbclient ipykernel")
pytest.importorskip("nbclient", reason="the notebook is run with: pip install nbclient ipykernel")
pytest.importorskip("ipykernel", reason="the notebook is run with: pip install nbclient ipykernel")

import nbclient
import nbformat

from tests.support.notebook import NOTEBOOK, ROOT, as_shown, code_cells, notebook, run

SETTINGS = 'MODEL, DATASET, EPOCHS = "keras_cnn", "auto", 3'
PICTURES = 8


def text_of(book):
    return "".join(output.get("text", "") for cell in code_cells(book) for output in cell.outputs)


def test_it_is_stored_with_its_outputs():
    """Those of MNIST, from a run of all cells in order, and nothing of the machine that ran it."""
    book = notebook()
    outputs = [output for cell in code_cells(book) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PICTURES
    assert [cell.execution_count for cell in code_cells(book)] == list(range(1, len(code_cells(book)) + 1))
    assert "mnist: 60,000 training and 10,000 test images" in text_of(book)
    assert re.findall(r"epoch (\d)/3: 100%.*validation loss 0", text_of(book)) == ["1", "2", "3"]
    assert float(re.findall(r"test images: (.+) %", text_of(book))[0]) > 98
    assert not re.search(r"/(work|root|home|tmp)/", NOTEBOOK.read_text(encoding="utf-8"))
    assert "stderr" not in {output.get("name") for output in outputs}
    assert NOTEBOOK.stat().st_size < 1_000_000


def test_where_it_is_installed_from_is_a_setting():
    installs = [line for cell in code_cells(notebook()) for line in cell.source.splitlines() if "pip" in line]
    assert [line.strip() for line in installs] == ['%pip install -q "$SOURCE"']  # and no second CuPy
    (setting,) = [cell.source for cell in code_cells(notebook()) if cell.source.startswith("SOURCE")]
    assert setting.startswith('SOURCE = ""')


@pytest.mark.filterwarnings("default")  # Jupyter and its event loop cause warnings
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = notebook()
    for cell in code_cells(book):
        cell.outputs = []
    (settings,) = [cell for cell in code_cells(book) if cell.source == SETTINGS]
    settings.source = 'MODEL, DATASET, EPOCHS = "lenet", "digits", 2'
    run(book, tmp_path)
    outputs = [output for cell in code_cells(book) for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == PICTURES
    assert "saved, loaded, and the same" in outputs[-1]["text"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    (bars,) = [cell for cell in code_cells(book) if "progress=True" in cell.source]
    assert re.search(r"epoch 1/2: +\d+%", "".join(output.text for output in bars.outputs))  # within an epoch
    (shown,) = as_shown(bars.outputs)
    assert re.fullmatch(r"(epoch \d/2: 100%.*validation loss .*\n){2}", shown.text)


@pytest.mark.filterwarnings("default")
def test_without_a_source_it_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    book = notebook()
    book.cells = [cell for cell in book.cells if cell.cell_type == "code"][:2]
    book.cells[1].source = book.cells[1].source.replace("import tinycnn", "import tinycnn_gone", 1)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="set SOURCE in the cell above"):
        run(book, tmp_path)


@pytest.mark.filterwarnings("default")
def test_a_failing_cell_is_an_error(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import tinycnn_gone")])
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        run(book, tmp_path)
