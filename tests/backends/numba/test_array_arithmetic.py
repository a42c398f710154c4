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


def test_arrays_in_any_order_of_axes_share_a_kernel(request):
    """A kernel of its own for each order would take half a second to compile."""
    backend = usable_backend("numba", request.config)
    from tinycnn.backends.numba.kernels import plain

    kernels = plain.im2col, plain.max_pool2d, plain.max_pool2d_backward
    x, settings = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32), ((2, 2), (2, 2), (0, 0))

    def run(order):
        cols, (y, winner) = backend.im2col(order(x), *settings), backend.max_pool2d(order(x), *settings)
        return [cols, y, winner, backend.max_pool2d_backward(order(y), order(winner), x.shape, *settings)]

    expected = run(np.ascontiguousarray)
    compiled = [len(kernel.signatures) for kernel in kernels]
    for order in (np.asfortranarray, lambda array: np.repeat(array, 2, axis=1)[:, ::2]):
        assert [one.tobytes() for one in run(order)] == [one.tobytes() for one in expected]
    assert [len(kernel.signatures) for kernel in kernels] == compiled
