"""Tensors: dtypes, arithmetic with its neighbours (numbers, NumPy arrays), and what backward() promises."""

import copy
import gc
import operator
import pickle
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinycnn
from tinycnn import Tensor, gradcheck, no_grad, ops, optim
from tinycnn.backends import get_backend
from tinycnn.errors import AutogradError, BackendError, DtypeError, ShapeError


def leaf(*values, shape=None, dtype=np.float64):
    return Tensor(np.array(values, dtype).reshape(shape or len(values)), requires_grad=True)


def host(array):
    return get_backend().to_host(array)


class TestDtypes:
    @pytest.mark.parametrize(
        "value",
        [1, 2.5, True, [1, 2], [[1.5]], (1.0, 2.0), np.arange(3), np.uint8([1]), np.array([True]), np.ones(2, "f4")],
        ids=repr,
    )
    def test_float32_is_the_default(self, value):
        assert Tensor(value).dtype == np.float32
        np.testing.assert_array_equal(Tensor(value).numpy(), np.asarray(value, np.float32))

    @pytest.mark.parametrize("value", [np.ones(2), np.float64(3.5)], ids=repr)
    def test_float64_stays(self, value):
        assert Tensor(value).dtype == np.float64

    @pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128, np.longdouble, "U3", object])
    def test_nothing_else(self, dtype):
        with pytest.raises(DtypeError, match=r"float32 and float64, got .*astype"):
            Tensor(np.zeros(2).astype(dtype))

    @pytest.mark.parametrize("value", ["text", [1j], None, ["a"]], ids=repr)
    def test_no_numbers(self, value):
        with pytest.raises(DtypeError, match="float32 and float64"):
            Tensor(value)

    @pytest.mark.parametrize("other", [Tensor(np.ones(2, "f4")), np.ones(2, "f4"), np.arange(2)], ids=repr)
    def test_precisions_do_not_mix(self, other):
        with pytest.raises(DtypeError, match=r"Add: inputs of float64 and float32 cannot be mixed.*astype"):
            Tensor(np.ones(2)) + other

    def test_precisions_do_not_mix_in_layers_and_products(self):
        x, weight = Tensor(np.ones((1, 2))), Tensor(np.ones((2, 3), "f4"))
        with pytest.raises(DtypeError, match="Dense: inputs of float64 and float32"):
            ops.dense(x, weight)
        with pytest.raises(DtypeError, match="matmul: inputs of float64 and float32"):
            x @ weight

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize(
        "arithmetic",
        [
            lambda x: x + 1, lambda x: 1.5 + x, lambda x: x - 1, lambda x: 1 - x, lambda x: 3 * x, lambda x: x / 3,
            lambda x: 1 / x, lambda x: x**2, lambda x: 2.0**x, lambda x: -x, lambda x: x + True,
        ],
    )  # fmt: skip
    def test_python_numbers_adopt_the_dtype(self, dtype, arithmetic):
        values = np.array([1, 2], dtype)
        y = arithmetic(Tensor(values))
        assert y.dtype == dtype
        np.testing.assert_allclose(y.numpy(), arithmetic(values), rtol=1e-6)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_gradients_have_the_dtype_of_their_tensor(self, backend, dtype):
        x = Tensor(np.ones((2, 3), dtype), requires_grad=True)
        ((x * 2).mean(axis=1).exp() / 3).sum().backward()
        assert x.grad.dtype == dtype
        assert backend.owns(x.grad)


class TestValues:
    def test_numpy_and_repr_and_len(self):
        x = Tensor([[1, 2, 3], [4, 5, 6]])
        assert isinstance(x.numpy(), np.ndarray)
        assert (x.shape, x.ndim, len(x)) == ((2, 3), 2, 2)
        assert repr(x).startswith("Tensor([[1. 2. 3.]")
        assert "shape=(2, 3), dtype=float32, requires_grad=False" in repr(x)

    @pytest.mark.parametrize("value", [3.5, [3.5], [[3.5]]], ids=repr)
    def test_float_of_a_single_number(self, value):
        assert float(Tensor(value)) == Tensor(value).item() == 3.5

    def test_float_of_several_numbers(self):
        with pytest.raises(ValueError, match="size 1"):
            float(Tensor([1, 2]))

    def test_tensor_of_a_tensor_is_a_new_leaf(self):
        x = leaf(1, 2) * 2
        y = Tensor(x)
        assert y.data is x.data
        assert (y.creator, y.requires_grad) == (None, False)

    def test_detach(self):
        x = leaf(1, 2)
        y = (x * 3).detach()
        assert not y.requires_grad
        (x * y).sum().backward()
        assert x.grad.tolist() == [3, 6]

    @pytest.mark.parametrize(
        ("arithmetic", "wanted"),
        [
            (lambda a, x: a + x, [11, 22]), (lambda a, x: a - x, [9, 18]), (lambda a, x: a * x, [10, 40]),
            (lambda a, x: a / x, [10, 10]), (lambda a, x: a**x, [10, 400]), (lambda a, x: a @ x, 50),
        ],
    )  # fmt: skip
    def test_numpy_array_on_the_left(self, arithmetic, wanted):
        x = leaf(1, 2)
        y = arithmetic(np.array([10.0, 20.0]), x)
        assert isinstance(y, Tensor)
        assert y.numpy().tolist() == wanted
        y.sum().backward()
        assert x.grad.shape == (2,)

    def test_numpy_number_on_the_left(self):
        y = np.float64(2) * leaf(1, 2)
        assert isinstance(y, Tensor)
        assert y.numpy().tolist() == [2, 4]

    @pytest.mark.parametrize("arithmetic", [lambda a, b: a + b, lambda a, b: a**b, lambda a, b: a / b])
    def test_shapes_that_do_not_broadcast(self, arithmetic):
        with pytest.raises(ShapeError, match=r"shapes \(2, 3\) and \(2,\) cannot be broadcast together"):
            arithmetic(Tensor(np.ones((2, 3))), Tensor(np.ones(2)))

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda x: x.reshape(4), r"6 elements of shape \(2, 3\) to \(4,\)"),
            (lambda x: x.reshape(-1, 4), "6 elements"),
            (lambda x: x.transpose(0), r"axes \(0,\) are not a permutation of the 2 axes"),
            (lambda x: x.transpose(0, 0), "are not a permutation"),
            (lambda x: x.sum(axis=2), r"axis 2 is out of range for shape \(2, 3\)"),
            (lambda x: x.max(axis=(0, -3)), "is out of range"),
            (lambda x: x.transpose(0, 1, 5), "are not a permutation"),
            (lambda x: x.transpose("ab"), "are not a permutation"),
            (lambda x: x.transpose(0.0, 1.0), "are not a permutation"),
            (lambda x: x.sum((0, 0)), r"axis \(0, 0\) names an axis of shape \(2, 3\) twice"),
            (lambda x: x.max((0, -2)), r"axis \(0, -2\) names an axis of shape \(2, 3\) twice"),
            (lambda x: x.sum([0, 1]), r"axis \[0, 1\] is out of range .*or a tuple of integers"),
            (lambda x: x.mean(1.0), "axis 1.0 is out of range"),
            (lambda x: x.sum(True), "axis True is out of range"),
            (lambda x: x.reshape("a"), "6 elements"),
            (lambda x: x.reshape(2.5), "6 elements"),
            (lambda x: x.reshape(10**30), "6 elements"),
            (lambda x: x.reshape(-1, -1), "6 elements"),
            (lambda x: x.item(), r"item\(\) takes a tensor of size 1, this one has shape \(2, 3\)"),
            (lambda x: len(x.sum()), "len.*has no axis"),
            (lambda x: list(x.sum()), "has no axis"),
            (lambda x: bool(x), r"bool\(\): a tensor of shape \(2, 3\) is neither true nor false"),
            (lambda x: x == np.ones(4), r"shapes \(2, 3\) and \(4,\) cannot be compared"),
            (lambda x: x @ x, r"\(2, 3\) @ \(2, 3\): .*axis -1 of the left"),
            (lambda x: x @ Tensor(1.0), "use \\* instead of @"),
        ],
    )
    def test_shape_errors(self, call, words):
        with pytest.raises(ShapeError, match=words):
            call(Tensor(np.ones((2, 3), np.float32)))

    @pytest.mark.parametrize("name", ["mean", "max"])
    def test_mean_and_maximum_of_no_elements(self, name):
        with pytest.raises(ShapeError, match=rf"{name}: an array of shape \(0, 3\) is empty"):
            getattr(Tensor(np.zeros((0, 3))), name)()

    def test_axes_of_a_vector_and_of_a_number_in_another_order(self):
        assert leaf(1, 2).transpose(-1).numpy().tolist() == [1, 2]
        assert Tensor(3.0).transpose().numpy() == 3

    @pytest.mark.parametrize("name", ["sum", "mean", "max"])
    @pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1, -1)], ids=str)
    @pytest.mark.parametrize("keepdims", [True, False])
    def test_reductions_equal_those_of_numpy(self, backend, name, axis, keepdims):
        x = np.random.default_rng(0).normal(size=(2, 3, 4))
        ours = getattr(Tensor(x), name)(axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(ours.numpy(), getattr(x, name)(axis=axis, keepdims=keepdims), rtol=1e-14)

    @pytest.mark.parametrize("name", ["sum", "mean", "max"])
    def test_reductions_drop_axes_by_default(self, name):
        reduce = getattr(Tensor(np.ones((2, 3))), name)
        assert reduce().shape == ()
        assert reduce(0).shape == (3,)

    def test_powers_where_a_factor_of_the_derivative_is_infinite(self):
        """d aᵇ/da = b aᵇ⁻¹ is 0 for b = 0, whatever a is; d aᵇ/db = aᵇ ln a counts as 0 for a = 0."""
        a, b = leaf(0, np.inf, 0, 3), leaf(0, 0, 2, 0)
        (a ** b.detach()).sum().backward()
        assert a.grad.tolist() == [0, 0, 0, 0]
        base, exponent = Tensor(np.array([0.0, 0.0, 1.0])), leaf(0, 2, 5)
        (base**exponent).sum().backward()
        assert exponent.grad.tolist() == [0, 0, 0]

    def test_max_of_nan_and_of_ties(self):
        assert np.isnan(Tensor([[1.0, np.nan, np.nan]]).max(axis=1).numpy()).all()
        x = leaf(3, 1, 3)
        x.max().backward()
        assert x.grad.tolist() == [1, 0, 0]

    def test_reshape_and_transpose_take_numbers_or_a_tuple(self):
        x = Tensor(np.arange(6.0).reshape(1, 2, 3))
        assert x.reshape(3, 2).shape == x.reshape((3, 2)).shape == x.reshape([3, -1]).shape == (3, 2)
        assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (3, 1, 2)
        assert x.T.shape == x.transpose().shape == (3, 2, 1)


class TestNeighbours:
    """What Python, NumPy and other libraries do with a tensor, and what a tensor is made of."""

    def test_comparisons_are_made_element_by_element(self, any_backend):
        x = Tensor(np.array([1.0, 2.0, np.nan]), requires_grad=True)
        for other in (Tensor(np.array([2.0, 2.0, np.nan])), [2.0, 2.0, np.nan], np.array([2.0, 2.0, np.nan])):
            found = [x == other, x != other, x < other, x <= other, x > other, x >= other]
            assert all(type(one) is np.ndarray for one in found)
            assert [one.tolist() for one in found] == [
                [False, True, False], [True, False, True], [True, False, False], [True, True, False],
                [False, False, False], [False, True, False],
            ]  # fmt: skip
        assert (Tensor([1.0]) == 1.0).tolist() == (np.float64(1) == Tensor([1.0])).tolist() == [True]
        assert (np.array([1.0, 2.0, 3.0]) >= x).tolist() == [True, True, False]
        assert (x == None) is False  # noqa: E711
        assert (x == "a") is False
        assert (2.0 in x, 3.0 in x) == (True, False)

    def test_hashes_and_lists_go_by_identity(self):
        x, y = leaf(1, 2), leaf(1, 2)
        assert {x: "x", y: "y"}[y] == "y"
        assert len({x, y}) == 2
        assert any(one is y for one in [x, y])

    def test_numbers(self):
        one = leaf(2.75) * 1
        assert (float(one), int(one), bool(one), f"{one:.1f}") == (2.75, 2, True, "2.8")
        assert bool(Tensor([0.0])) is False
        assert f"{one}" == str(one)
        assert bool(leaf(-1.0)) is True

    def test_numpy_sees_the_values(self, any_backend):
        values = np.array([[1.0, 7.0, 3.0], [9.0, 2.0, 4.0]])
        x = Tensor(values)
        for array in (
            np.array(x),
            np.asarray(x),
            x[:].numpy(),
            np.stack(list(x)),
            np.asarray(x, dtype=np.float64, copy=True),
        ):
            assert array.dtype == np.float64
            np.testing.assert_array_equal(array, values)
        assert np.asarray(x, np.float32).dtype == np.float32
        assert np.argmax(x) == 3
        assert np.argmax(x, axis=1).tolist() == [1, 0]
        assert (np.mean(x), np.sum(x, axis=0).tolist()) == (26 / 6, [10, 9, 7])
        assert np.concatenate([x, x]).shape == (4, 3)
        assert x[1, 0] == 9.0
        copied = np.array(x)
        copied[...] = 0
        np.testing.assert_array_equal(x.numpy(), values)

    def test_numpy_does_not_take_what_has_a_history(self):
        x = leaf(1, 2)
        calls = (np.array, np.asarray, np.argmax, np.prod, lambda x: np.stack([x, x]), lambda x: np.stack(list(x)))
        for tensor in (x, x * 2):
            for call in (*calls, lambda x: Tensor([x, x])):
                with pytest.raises(AutogradError, match=r"needs a gradient is not converted to a NumPy array.*detach"):
                    call(tensor)
        assert np.argmax((x * 2).detach()) == 1

    def test_arrays_of_other_libraries(self):
        pandas = pytest.importorskip("pandas")
        values = np.array([[1.0, 2.0], [3.0, 4.0]])
        table = pandas.DataFrame(values)
        for array in (table, np.asmatrix(values), np.ma.array(values, mask=False), [Tensor(row) for row in values]):
            x = Tensor(array)
            assert type(x.data) is np.ndarray
            assert (x * x).numpy().tolist() == [[1, 4], [9, 16]]  # no matrix product
        assert Tensor(table).dtype == np.float64
        assert Tensor(table[0]).numpy().tolist() == [1, 3]

    def test_what_is_no_array_of_numbers(self):
        sparse = pytest.importorskip("scipy.sparse")
        for value, kind, words in (
            ([[1.0, 2.0], [3.0]], ShapeError, "lists of unequal lengths do not form an array"),
            ({"a": 1}, DtypeError, "got dict with elements that are not numbers"),
            (object(), DtypeError, "got object with elements"),
            ([1.0, None], DtypeError, "got list with elements that are not numbers"),
            (np.array([1.0, None]), DtypeError, "got object"),
            (np.ma.array([1.0, 2.0], mask=[False, True]), DtypeError, r"masked array .*filled\(0\)"),
            (sparse.csr_matrix(np.eye(2)), DtypeError, r"csr_matrix is a sparse matrix: .*toarray\(\)"),
            (sparse.coo_array(np.eye(2)), DtypeError, r"coo_array is a sparse matrix"),
        ):
            with pytest.raises(kind, match=words):
                Tensor(value)

    def test_tensors_of_torch(self):
        torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'tinycnn[bench]'")
        theirs = torch.arange(4.0).reshape(2, 2)
        assert Tensor(theirs).numpy().tolist() == [[0, 1], [2, 3]]
        assert (Tensor(theirs.double()).dtype, Tensor(theirs.int()).dtype) == (np.float64, np.float32)
        with pytest.raises(BackendError, match=r"cannot use this Tensor \(.*detach"):
            Tensor(theirs.requires_grad_())
        with pytest.raises(BackendError, match="cannot use this Tensor"):
            Tensor(torch.ones(2, dtype=torch.bfloat16))

    def test_copies_and_pickles(self):
        x = leaf(1, 2)
        (x * 3).sum().backward()
        y = x * 2  # a graph that needs x
        for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
            assert (again.numpy().tolist(), again.grad.tolist(), again.requires_grad) == ([1, 2], [3, 3], True)
            again.data[...] = 5
        y.sum().backward()  # the copies have graphs of their own
        assert x.grad.tolist() == [5, 5]
        for call in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(AutogradError, match=r"only leaves can be copied or pickled.*detach"):
                call(x * 2)


class TestChangesInPlace:
    """backward() at values other than those of the forward pass is refused."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda w: operator.setitem(w.data, ..., 100), lambda w: operator.setitem(w.data, 0, 100),
            lambda w: operator.iadd(w.data, 1), lambda w: setattr(w, "data", w.data + 1),
            lambda w: np.add(w.data, 1, out=w.data), lambda w: operator.setitem(w.numpy(), 0, 7),
            lambda w: optim.SGD([w], lr=0.1).step(), lambda w: optim.Adam([w], lr=0.1).step(),
            lambda w: operator.setitem(np.from_dlpack(w.detach()), 0, 3),
        ],
    )  # fmt: skip
    def test_of_an_input(self, change):
        for name in ("w * x", "x * w", "(w * x).exp() * w"):
            w, x = leaf(2, 3), leaf(3, 4)
            w.grad = np.ones(2)
            y = {"w * x": w * x, "x * w": x * w, "(w * x).exp() * w": (w * x).exp() * w}[name]
            change(w)
            with pytest.raises(AutogradError, match=r"input \d was changed in place after the forward pass"):
                y.sum().backward()
            assert x.grad is None  # nothing was added to any leaf
            y = w * x  # a new forward pass sees the new values
            y.sum().backward()
            assert x.grad.tolist() == w.data.tolist()

    def test_of_an_output(self):
        x = leaf(1, 2)
        y = x.exp()
        y.data[0] = 5
        with pytest.raises(AutogradError, match="Exp: the output was changed in place"):
            y.sum().backward()

    def test_looking_is_allowed(self):
        w, x = leaf(2, np.nan), leaf(3, 4)
        y = w * x
        print(w.data, w.numpy(), y.data, y, w == x, copy.deepcopy(w), w.data.tolist())
        w.data[...] = w.data  # the same values
        z = w * 2
        w.data.sum()
        (y + z).sum().backward()
        assert x.grad[0] == 2

    def test_changes_after_backward_and_of_graphs_that_are_gone(self):
        w = leaf(2, 3)
        w.grad = np.ones(2)
        stale, descent = w * w, optim.SGD([w], lr=1)
        for _ in range(2):  # a graph that is never used, such as that of a validation loss, disturbs nothing
            y = w * w
            w.zero_grad()
            y.sum().backward()
            descent.step()
        with pytest.raises(AutogradError, match="input 0 was changed in place"):
            stale.sum().backward()

    def test_no_copy_is_made_unless_the_array_is_handed_out(self):
        w = leaf(2, 3)
        y = (w * w).sum()
        guards = [guard for function in (y.creator, y.creator.inputs[0].creator) for guard in function.guards]
        optim.SGD([w], lr=1)
        assert (w.shape, w.dtype, w.ndim, len(w), y.item()) == ((2,), np.float64, 1, 2, 13)
        assert not any(guard.in_doubt for guard in guards)
        assert y.item() == w.data @ w.data
        assert [guard.in_doubt for guard in guards] == [False, False, True, True, False]


class TestBackward:
    def test_a_tensor_used_twice_adds_both_gradients(self, backend):
        x = leaf(2, 3)
        (x * x + x).sum().backward()
        assert host(x.grad).tolist() == [5, 7]

    def test_paths_of_different_length(self):
        x = leaf(2)
        y = x * 3
        z = y.exp() * 0 + y + (y * y) * x  # 3x + 9x³
        z.sum().backward()
        assert x.grad.tolist() == [3 + 27 * 4]

    def test_two_calls_accumulate(self, backend):
        x = leaf(1, 2)
        for _ in range(2):
            (x * 3).sum().backward()
        assert host(x.grad).tolist() == [6, 6]
        x.zero_grad()
        assert x.grad is None

    def test_broadcasting_sums(self, backend):
        row, column = leaf(1, 2, 3), leaf(4, 5, shape=(2, 1))
        (row * column).sum().backward()
        assert host(row.grad).tolist() == [9, 9, 9]
        assert host(column.grad).tolist() == [[6], [6]]

    @pytest.mark.parametrize(
        "call",
        [
            lambda x, y: x + y,
            lambda x, y: (x + y).reshape(2, 1),
            lambda x, y: x.reshape(1, 2) + y.reshape(1, 2),
            lambda x, y: (x.T + y.T).transpose(),
            lambda x, y: x.sum(axis=()) + y,
        ],
    )
    def test_leaves_never_share_gradient_memory(self, backend, call):
        x, y = leaf(1, 2), leaf(3, 4)
        z = call(x, y)
        upstream = backend.asarray(np.ones(z.shape))  # no view: those are copied anyway
        z.backward(upstream)
        assert x.grad is not y.grad
        x.grad[...] = 100
        assert host(y.grad).tolist() == [1, 1]
        assert host(upstream).ravel().tolist() == [1, 1]
        assert host(x.data).tolist() == [1, 2]

    def test_the_second_gradient_does_not_change_the_first_in_place(self):
        x = leaf(1, 2)
        (x * 1).sum().backward()
        first = x.grad
        (x * 1).sum().backward()
        assert first.tolist() == [1, 1]

    def test_of_a_leaf(self):
        x, upstream = leaf(5), np.array([2.0])
        x.backward(upstream)
        upstream[0] = 7
        assert x.grad.tolist() == [2]

    def test_only_leaves_that_require_a_gradient_get_one(self):
        x, constant = leaf(1, 2), Tensor(np.ones(2))
        y = x * constant
        y.sum().backward()
        assert constant.grad is None
        assert y.grad is None
        assert not (constant * 2).requires_grad

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
    def test_starts_with_1_for_a_single_number(self, shape):
        x = leaf(2, shape=shape) if shape else Tensor(np.float64(2), requires_grad=True)
        (x * 3).backward()
        assert float(x.grad.item()) == 3
        assert x.grad.shape == shape

    @pytest.mark.parametrize("grad", [[2.0, 3.0], [2, 3], np.array([2.0, 3.0]), Tensor(np.array([2.0, 3.0]))], ids=repr)
    def test_takes_a_gradient_in_many_forms(self, grad):
        x = leaf(1, 1)
        (x * 10).backward(grad)
        assert x.grad.tolist() == [20, 30]

    def test_takes_numbers_in_the_dtype_of_the_result(self):
        x = leaf(1, 1)
        (x * 1).backward([0.1, 0.3])
        x.sum().backward(0.1)
        assert x.grad.tolist() == [0.1 + 0.1, 0.3 + 0.1]  # not rounded to float32

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
    def test_a_number_is_the_gradient_of_any_single_element(self, shape):
        x = Tensor(np.full(shape, 2.0), requires_grad=True)
        (x * 10).backward(3.0)
        assert x.grad.shape == shape
        assert x.grad.item() == 30

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda x: (x * 2).backward(), r"shape \(2,\) needs a gradient.*\.sum\(\)"),
            (lambda x: (x * 2).backward(np.ones(3)), r"grad is float64 \(3,\), the tensor is float64 \(2,\)"),
            (lambda x: (x * 2).backward(np.ones(2, np.float32)), "grad is float32"),
            (lambda x: (x * 2).backward(1.0), r"grad is float64 \(\)"),
            (lambda x: x.sum().backward(np.ones(1)), r"grad is float64 \(1,\), the tensor is float64 \(\)"),
            (lambda x: x.detach().sum().backward(), "requires_grad=False.*requires_grad=True"),
        ],
    )
    def test_errors(self, call, words):
        with pytest.raises(AutogradError, match=words):
            call(leaf(1, 2))

    def test_a_second_call_needs_a_second_forward_pass(self):
        y = leaf(1, 2)
        loss = (y * 2).sum()
        loss.backward()
        with pytest.raises(AutogradError, match=r"already used .*run the forward pass again"):
            loss.backward()

    def test_a_graph_that_shares_a_used_part(self):
        shared = leaf(1, 2) * 2
        shared.sum().backward()
        with pytest.raises(AutogradError, match="already used"):
            (shared * 3).sum().backward()


class TestMemory:
    def test_backward_frees_the_graph(self):
        x = leaf(*range(6), shape=(2, 3))
        hidden = ops.relu(x @ leaf(*range(6), shape=(3, 2)))
        loss = (hidden.exp() * hidden).sum()
        dying = [weakref.ref(hidden), weakref.ref(hidden.creator), weakref.ref(loss.creator.inputs[0])]
        loss.backward()
        del hidden
        assert [ref() for ref in dying] == [None, None, None]  # at once: there are no cycles to collect

    def test_a_graph_without_backward_is_freed_with_its_result(self):
        gc.collect()
        gc.disable()
        try:
            loss = (leaf(1, 2) * 2).exp().sum()
            creator = weakref.ref(loss.creator.inputs[0].creator)
            del loss
            assert creator() is None
        finally:
            gc.enable()

    def test_long_chain(self):
        x = leaf(1)
        y = x
        for _ in range(5_000):
            y = y + x
        y.sum().backward()
        assert x.grad.tolist() == [5_001]

    def test_very_long_chain_dropped_without_backward(self):
        y = leaf(1)
        for _ in range(100_000):
            y = y + 1.0
        assert y.item() == 100_001
        del y  # a recursive destructor would end the process here


class TestNoGrad:
    def test_records_nothing(self):
        x = leaf(1, 2)
        with no_grad():
            y = x * 2
        assert (y.requires_grad, y.creator) == (False, None)
        assert (x * 2).requires_grad

    def test_nests_and_ends_after_an_exception(self):
        x = leaf(1)
        with no_grad():
            with no_grad():
                pass
            assert not (x * 2).requires_grad
            with pytest.raises(KeyError), no_grad():
                raise KeyError
            assert not (x * 2).requires_grad
        assert (x * 2).requires_grad

    def test_inner_block_does_not_end_the_outer(self):
        x = leaf(1)
        with no_grad():
            with no_grad():
                inner = x * 2
            outer = x * 2
        assert (inner.requires_grad, outer.requires_grad) == (False, False)

    def test_other_threads_keep_recording(self):
        x, seen = leaf(1), []
        with no_grad():
            thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
            thread.start()
            thread.join(60)
            assert not (x * 2).requires_grad
        assert seen == [True]

    def test_inputs_of_functions_are_freed_at_once(self):
        x = leaf(1, 2)
        with no_grad():
            hidden = x * 2
            dying = weakref.ref(hidden)
            hidden = hidden.exp()
        assert dying() is None


# Random small graphs: whatever the ops are combined to, the chain rule must hold.
UNARY = {
    "exp": lambda x: (x * 0.3).exp(),
    "log": lambda x: (x * x + 1).log(),
    "relu": ops.relu,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "square": lambda x: x**2,
    "negative": lambda x: -x,
    "transposed twice": lambda x: (x.T * 2).T,
    "reshaped": lambda x: x.reshape(3, 2).reshape(2, 3),
    "centred": lambda x: x - x.mean(axis=1, keepdims=True),
    "scaled by max": lambda x: x / (1 + x.max(axis=0) ** 2),
    "pooled": lambda x: x + ops.max_pool2d(x.reshape(1, 2, 3, 1), kernel_size=2, stride=1).sum(),
}
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 1),
    "matmul": lambda a, b: a @ b.T @ b * 0.1,
    "dense": lambda a, b: ops.dense(a, b.T @ b),
    "sum of rows": lambda a, b: a + b.sum(axis=0),
}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6
    ),
    seed=st.integers(0, 1000),
)
def test_random_graphs(steps, seed):
    """Each step applies an op to one or two of the values so far, so values are used once, many times, or never."""

    def graph(*inputs):
        values = list(inputs)
        for name, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        return values[-1].mean(axis=1)

    rng = np.random.default_rng(seed)
    inputs = [Tensor(rng.uniform(-1, 1, (2, 3)), requires_grad=True) for _ in range(2)]
    assert gradcheck(graph, inputs)


def test_public_names_exist():
    assert all(hasattr(tinycnn, name) for name in tinycnn.__all__)
