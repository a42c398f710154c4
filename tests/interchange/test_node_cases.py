"""ONNX's own tests of single operators: what is read computes the expected result, all else is refused.

Pooling is left out here, because ONNX computes the expected results of its pools for two seconds;
``python -m tests.interchange.node_cases`` includes it.
"""

from collections import Counter

import pytest

pytest.importorskip("onnx", reason="ONNX files need: pip install 'tinycnn[onnx]'")
from tests.interchange import node_cases


def test_every_case_is_read_right_or_refused(tmp_path):
    found, wrong = Counter(), []
    for case in node_cases.cases(without=("averagepool", "maxpool")):
        outcome = node_cases.outcome(case, tmp_path)
        found[outcome.partition(":")[0]] += 1
        wrong += [(case.name, outcome)] if outcome.startswith("wrong") else []
    assert wrong == []
    assert found["read"] >= 50
    assert found["refused"] > found["read"]


def test_a_wrong_result_is_noticed(tmp_path, monkeypatch):
    case = next(one for one in node_cases.cases(without=("averagepool", "maxpool")) if one.name == "test_sigmoid")
    assert node_cases.outcome(case, tmp_path) == "read"
    monkeypatch.setattr("tinycnn.layers.Sigmoid.forward", lambda self, x: x)
    assert node_cases.outcome(case, tmp_path).startswith("wrong: differs by")
