"""The lines and equations that the walk shows are those of the source, as it is now."""

from pathlib import Path

import numpy as np
import pytest

from tinycnn import explain, models
from tinycnn.errors import SettingError
from tinycnn.explain.sources import equations_in, source_of

ROOT = Path(__file__).resolve().parents[2]
LOSS = "tinycnn.ops.softmax_cross_entropy.SoftmaxCrossEntropyFunction"


def calls():
    found = {LOSS}
    for name in models.NETWORKS:
        model = models.create(name)
        image = np.zeros(model.input_shape, np.uint8)
        for training in (False, True):
            trace = explain.trace_step(model, image, 0, training=training)
            found |= {call for layer in trace.layers for call in layer.calls}
    return sorted(found)


def test_the_lines_are_those_of_the_file():
    assert len(calls()) >= 9
    for call in calls():
        source = source_of(call)
        lines = (ROOT / source.file).read_text(encoding="utf-8").splitlines()
        assert lines[source.start - 1 : source.start - 1 + len(source.lines)] == list(source.lines), call
        assert source.lines[0].startswith(f"class {call.rpartition('.')[2]}(")
        for quantity, numbers in source.marks.items():
            assert all(source.start < number < source.start + len(source.lines) for number in numbers), (call, quantity)
        assert source.marks["y"], call
        assert source.marks["grad_x"], call


def marked(call, quantity):
    source = source_of(call)
    return [source.lines[number - source.start].strip() for number in source.marks[quantity]]


def test_the_marked_lines_compute_what_they_are_marked_for():
    conv, norm = "tinycnn.ops.conv2d.Conv2dFunction", "tinycnn.ops.batch_norm.BatchNormFunction"
    assert [line.split(" = ")[0] for line in marked(conv, "grad_weight")] == ["grad_weight"]
    assert [line.split(" = ")[0] for line in marked(conv, "grad_x")] == ["grad_cols", "grad_x"]
    assert marked(norm, "grad_x")[-1].startswith("return self.gamma * self.inverse_std")
    assert marked("tinycnn.ops.dense.DenseFunction", "other")[0].startswith("return grad_x, grad_weight, self.backend")
    assert "(p - self.target)" in marked(LOSS, "grad_x")[-1]
    assert marked("tinycnn.ops.relu.ReLUFunction", "grad_x") == ["return grad_y * (self.y > 0)"]


def test_equations_are_cut_out_of_docstrings():
    text = (
        "A title: y = max(x, 0).\n\n    mean = Σ x / M      var = Σ (x - mean)²\n"
        "    grad_W    = colsᵀ grad_Y      every patch that was multiplied by a filter counts\n"
        "    grad_x    = f(g) every one of them is a sum\n\nSo ``s = 1/2`` is, and a == b is none.\n"
    )
    assert list(equations_in(text)) == [
        ("y", "y = max(x, 0)"),
        ("mean", "mean = Σ x / M"),
        ("var", "var = Σ (x - mean)²"),
        ("grad_W", "grad_W = colsᵀ grad_Y"),
        ("grad_x", "grad_x = f(g)"),
        ("s", "s = 1/2"),
    ]


def test_a_condition_behind_an_equation_is_part_of_it():
    """Without it, the equation would be false: the gradient of ReLU is not ``grad_y`` everywhere."""
    relu = source_of("tinycnn.ops.relu.ReLUFunction")
    assert relu.equations["grad_x"] == 'grad_x = grad_y " where the output is positive, and 0 elsewhere"'
    text = "Title.\n\nSo ``a = b`` if\n``b`` is odd; ``c = d`` then.\n"
    assert list(equations_in(text)) == [("a", 'a = b " if b is odd"'), ("c", "c = d")]


def test_the_kernels_that_a_function_calls_are_shown():
    pool = source_of("tinycnn.ops.max_pool2d.MaxPool2dFunction")
    assert set(pool.called) == {"max_pool2d", "max_pool2d_backward"}
    assert set(source_of(LOSS).called) >= {"log_softmax_rows", "mean_cross_entropy"}
    for call in calls():
        for name, kernel in source_of(call).called.items():
            lines = (ROOT / kernel.file).read_text(encoding="utf-8").splitlines()
            assert lines[kernel.start - 1 : kernel.start - 1 + len(kernel.lines)] == list(kernel.lines), call
            assert kernel.lines[0].strip().startswith(f"def {name}("), call
    kernel = pool.called["max_pool2d_backward"]
    marked = [kernel.lines[number - kernel.start].strip() for number in kernel.marks]
    assert marked == ["grad_x[window] += grad_y * (winner == position)"]


@pytest.mark.parametrize(
    "call", ["tinycnn.ops.conv2d.Nothing", "os.path.join", "nowhere.Class", "tinycnn.errors.DataError"]
)
def test_other_names_are_refused(call):
    with pytest.raises(SettingError, match="source_of"):
        source_of(call)
