"""Functions of one's own: what the documentation promises, and one sentence for each way to get them wrong."""

import numpy as np
import pytest

from tests.support.planted import InPlaceReLU
from tinycnn import Function, Tensor, gradcheck, no_grad
from tinycnn.errors import AutogradError, GradientError


class ScaledSquare(Function):
    """y = scale · x² · weight, the example of the class documentation: settings, forward, backward."""

    def __init__(self, scale):
        self.scale = scale

    def forward(self, x, weight):
        self.x, self.weight = x, weight
        return self.scale * x * x * weight

    def backward(self, grad_y):
        return 2 * self.scale * self.x * self.weight * grad_y, self.scale * self.x * self.x * grad_y


def pair(dtype=np.float64):
    return [Tensor(np.array(values, dtype), requires_grad=True) for values in ([1, -2, 3], [0.5, 2, -1])]


def test_a_custom_function(any_backend):
    x, weight = pair()
    y = ScaledSquare(3)(x, weight)
    assert y.numpy().tolist() == [1.5, 24, -27]
    assert gradcheck(lambda x, weight: ScaledSquare(3)(x, weight), [x, weight])


def test_a_single_gradient_may_come_without_a_tuple():
    class Double(Function):
        def forward(self, x):
            return 2 * x

        def backward(self, grad_y):
            return 2 * grad_y

    assert gradcheck(lambda x: Double()(x), pair()[0])


def test_numbers_and_arrays_count_as_constants():
    x, _ = pair()
    y = ScaledSquare(1)(x, 2)
    assert y.numpy().tolist() == [2, 8, 18]
    y = ScaledSquare(1)(x, np.array([0.0, 1.0, 2.0]))
    y.sum().backward()
    assert x.grad.tolist() == [0, -4, 12]


def test_knows_its_backend(any_backend):
    class Root(Function):
        def forward(self, x):
            assert self.backend is any_backend
            self.y = self.backend.xp.sqrt(x)
            return self.y

        def backward(self, grad_y):
            assert self.backend is any_backend
            return grad_y / (2 * self.y)

    assert gradcheck(lambda x: Root()(x), Tensor(np.array([1.0, 4.0]), requires_grad=True))


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)], ids=str)
def test_needs_grad_is_known_in_both_passes(wanted):
    class Remember(ScaledSquare):
        def forward(self, x, weight):
            seen.append(self.needs_grad)
            return super().forward(x, weight)

        def backward(self, grad_y):
            seen.append(self.needs_grad)
            return super().backward(grad_y)

    seen, tensors = [], pair()
    for tensor, flag in zip(tensors, wanted, strict=True):
        tensor.requires_grad = flag
    Remember(1)(*tensors).sum().backward()
    assert seen == [wanted, wanted]
    assert tuple(tensor.grad is not None for tensor in tensors) == wanted


def test_needs_grad_without_recording():
    function = ScaledSquare(1)
    with no_grad():
        y = function(*pair())
    assert function.needs_grad == (False, False)
    assert y.creator is None


def test_runs_once():
    function, tensors = ScaledSquare(1), pair()
    function(*tensors)
    with pytest.raises(AutogradError, match=r"ScaledSquare: call a Function only once; create a new one"):
        function(*tensors)


def test_runs_once_even_after_backward():
    function, tensors = ScaledSquare(1), pair()
    function(*tensors).sum().backward()
    with pytest.raises(AutogradError, match="call a Function only once"):
        function(*tensors)


def test_missing_forward_and_backward_are_named():
    class OnlyForward(Function):
        def forward(self, x):
            return 2 * x

    x, _ = pair()
    with pytest.raises(NotImplementedError, match="Function must define forward"):
        Function()(x)
    with pytest.raises(NotImplementedError, match="OnlyForward must define backward"):
        OnlyForward()(x).sum().backward()


def test_forward_keeps_the_precision():
    class Rounds(Function):
        def forward(self, x):
            return x.astype(np.float32)

    with pytest.raises(AutogradError, match=r"Rounds\.forward returned float32 for inputs of float64"):
        Rounds()(pair()[0])


WRONG_GRADIENTS = {
    "too few": (lambda g: g, "returned 1 gradients for 2 inputs"),
    "too many": (lambda g: (g, g, g), "returned 3 gradients for 2 inputs"),
    "shape of the first": (lambda g: (g[:2], g), r"input 0 is float64 \(2,\), but the input is float64 \(3,\)"),
    "shape of the second": (lambda g: (g, g.sum()), r"input 1 is float64 \(\), but the input is float64 \(3,\)"),
    "shape that broadcasts": (lambda g: (g[None], g), r"input 0 is float64 \(1, 3\), but"),
    "dtype": (lambda g: (g, g.astype(np.float32)), r"input 1 is float32 \(3,\), but the input is float64"),
    "whole numbers": (lambda g: (np.ones(3, int), g), "input 0 is int64"),
}


@pytest.mark.parametrize(("gradient", "words"), WRONG_GRADIENTS.values(), ids=WRONG_GRADIENTS)
def test_wrong_gradients_are_refused_by_name(gradient, words):
    class WrongFunction(ScaledSquare):
        def backward(self, grad_y):
            return gradient(grad_y)

    with pytest.raises(AutogradError, match=rf"Wrong\.backward.*{words}"):
        WrongFunction(1)(*pair()).sum().backward()


@pytest.mark.parametrize("keeps", ["one array twice", "its input", "what forward kept"])
def test_leaves_share_no_memory_whatever_backward_returns(any_backend, keeps):
    class Sharing(Function):
        def forward(self, a, b):
            self.kept = a * 1
            return a + b

        def backward(self, grad_y):
            same = {"one array twice": grad_y * 1, "its input": self.inputs[0].data, "what forward kept": self.kept}
            return same[keeps], same[keeps]

    a, b = pair()
    sharing = Sharing()
    y, kept = sharing(a, b), sharing.kept
    y.backward(np.array([1.0, -2.0, 3.0]))
    before = a.numpy().copy()
    a.grad[...] = 100
    assert any_backend.to_host(b.grad).tolist() == [1, -2, 3]
    assert np.array_equal(a.numpy(), before)
    assert any_backend.to_host(kept).tolist() == [1, -2, 3]


def test_none_means_no_gradient_and_is_refused_where_one_is_needed():
    class OnlyTheFirst(ScaledSquare):
        def backward(self, grad_y):
            return super().backward(grad_y)[0], None

    x, weight = pair()
    OnlyTheFirst(1)(x, weight.detach()).sum().backward()
    assert x.grad.tolist() == [1, -8, -6]
    for second in (weight, weight * 2):  # a leaf, and a result: it was a KeyError
        with pytest.raises(AutogradError, match=r"OnlyTheFirst\.backward returned None for input 1, whose gradient is"):
            OnlyTheFirst(1)(x, second).sum().backward()


class ZeroesUpstream(ScaledSquare):
    """A gradient of 0, and an upstream gradient that agrees with it."""

    def backward(self, grad_y):
        grad_y[...] = 0
        return super().backward(grad_y)


class ChangesItsInput(ScaledSquare):
    def backward(self, grad_y):
        grads = super().backward(grad_y)
        self.x[...] = 0
        return grads


class ForwardInPlace(InPlaceReLU):
    def forward(self, x):
        y = super().forward(x)
        x *= self.mask
        return y

    def backward(self, grad_y):
        return grad_y * self.mask


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, w: InPlaceReLU()(x), r"InPlaceReLU\.backward changed grad_y in place"),
        (lambda x, w: InPlaceReLU()(x) * 2 + x, r"InPlaceReLU\.backward changed grad_y in place"),  # within
        (lambda x, w: ZeroesUpstream(1)(x, w), r"ZeroesUpstream\.backward changed grad_y in place"),
        (lambda x, w: ChangesItsInput(1)(x, w), r"ChangesItsInput\.backward changed its input 0 in place"),
        (lambda x, w: ForwardInPlace()(x), r"the function changed its input 0 in place"),
    ],
)
def test_gradcheck_watches_the_arrays(call, words):
    with pytest.raises(GradientError, match=words):
        gradcheck(call, pair())


def test_a_backward_that_changes_grad_y_harms_no_other():
    """Two users of one gradient, and the array of the caller: each has its own memory."""
    a, b = pair()
    up = np.array([1.0, 2.0, 3.0])
    (InPlaceReLU()(a) + InPlaceReLU()(b)).backward(up)
    assert a.grad.tolist() == [1, 0, 3]
    assert b.grad.tolist() == [1, 2, 0]
    assert up.tolist() == [1, 2, 3]
    a, b = pair()
    (InPlaceReLU()(a).reshape(3, 1) + InPlaceReLU()(b).reshape(3, 1)).backward(up.reshape(3, 1))  # through views
    assert (a.grad.tolist(), b.grad.tolist(), up.tolist()) == ([1, 0, 3], [1, 2, 0], [1, 2, 3])


def test_a_backward_that_changes_a_gradient_that_is_no_array_of_its_own():
    a, _ = pair()
    with pytest.raises(AutogradError, match=r"InPlaceReLU\.backward changes grad_y or a view of it: use a new array"):
        InPlaceReLU()(a).sum().backward()  # each element of this grad_y is the same number in memory


def test_the_upstream_gradient_has_the_shape_and_dtype_of_the_result():
    class Look(Function):
        def forward(self, x):
            return x.sum(axis=0)

        def backward(self, grad_y):
            seen.append((grad_y.shape, grad_y.dtype))
            return np.broadcast_to(grad_y, (2, 3))

    seen = []
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    (Look()(x) * 2).sum().backward()
    assert seen == [((3,), np.float32)]
    assert x.grad.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_arrays_stored_by_forward_are_freed_after_backward():
    function = ScaledSquare(1)
    function(*pair()).sum().backward()
    assert not {"x", "weight", "scale", "backend", "inputs"} & set(vars(function))


def test_an_error_in_backward_comes_through_unchanged():
    class Fails(ScaledSquare):
        def backward(self, grad_y):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        Fails(1)(*pair()).sum().backward()
