"""A file is not written under the ending of another format."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import tinycnn
from tinycnn import plots
from tinycnn.errors import SettingError
from tinycnn.explain import trace_step
from tinycnn.layers import Dense, Flatten, Sequential
from tinycnn.saving import trace_file
from tinycnn.saving.endings import CSV, PNG, check_ending


@pytest.fixture(scope="module")
def model():
    return Sequential(Flatten(), Dense(2), input_shape=(2, 2, 1))


WRITERS = {
    "save": lambda model, path: tinycnn.save(model, path),
    "export_onnx": lambda model, path: tinycnn.export_onnx(model, path),
    "plots.save": lambda model, path: plots.save(Figure(), path),
    "trace": lambda model, path: trace_step(model, np.zeros((2, 2, 1), np.uint8), 0).save(path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_refuses_the_ending_of_another_format_and_what_is_no_path(writer, model, tmp_path):
    path = tmp_path / "file.CSV"
    path.write_text("kept")
    with pytest.raises(
        SettingError, match=r"is written, and \.CSV is the ending of another format; name it .*file\.\w+$"
    ):
        WRITERS[writer](model, path)
    assert path.read_text() == "kept"
    with pytest.raises(SettingError, match="`path` is 5: expected the name of a file"):
        WRITERS[writer](model, 5)


@pytest.mark.parametrize("reader", [tinycnn.load, tinycnn.from_onnx, tinycnn.from_keras, trace_file.load])
def test_a_reader_refuses_what_is_no_path(reader):
    """``open(5)`` would read from whatever has this number in the process."""
    with pytest.raises(SettingError, match="`path` is 5: expected the name of a file"):
        reader(5)


@pytest.mark.parametrize("name", ["curves.png", "curves.PNG", "curves", "curves.v2", "a.pdf/curves"])
def test_other_names_are_accepted(name):
    check_ending(name, PNG)
    check_ending("history.txt", CSV, "--csv")
