"""Operations without a Numba kernel give the same bits on the Numba backend as on NumPy's.

The gradient tests and the matrix therefore do not repeat them on Numba: ``on_backends`` omits them.
"""

import numpy as np
import pytest

import tinycnn
from tests.support.backends import WITH_NUMBA_KERNELS, on_backends, usable_backend
from tinycnn import Tensor
from tinycnn.testing.gradient_cases import CASES, Case

LEFT_OUT = {case.function for case in CASES} - set(WITH_NUMBA_KERNELS)


def results(backend: str, case: Case, dtype: type) -> list[bytes]:
    """The bytes of the output and of each gradient."""
    with tinycnn.use_backend(backend):
        inputs = [Tensor(x.numpy().astype(dtype), requires_grad=True) for x in case.inputs()]
        y = case.call(*inputs)
        y.backward(np.random.default_rng(1).normal(size=y.shape).astype(dtype))
        return [y.data.tobytes(), *(x.grad.tobytes() for x in inputs)]


@pytest.mark.parametrize("function", sorted(LEFT_OUT, key=str), ids=lambda function: function.__name__)
def test_numba_gives_the_bits_of_numpy(function, request):
    usable_backend("numba", request.config)
    for case in CASES:
        for dtype in (np.float32, np.float64):
            if case.function is function:
                assert results("numba", case, dtype) == results("numpy", case, dtype), case


def test_all_cases_run_on_every_other_backend():
    run = [tuple(parameters.values) for parameters in on_backends(CASES)]
    assert {(name, str(case)) for name, batch in run for case in batch.cases} == {
        (name, str(case))
        for name in ("numpy", "numba", "cupy", "cupy-emulated")
        for case in CASES
        if name != "numba" or case.function not in LEFT_OUT
    }
