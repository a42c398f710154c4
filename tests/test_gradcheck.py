"""The gradient checker must catch wrong gradients, and must not cry wolf: bugs are planted here, one per Function."""

import re

import numpy as np
import pytest

from tinycnn import Function, Tensor, gradcheck, no_grad, ops
from tinycnn.errors import DtypeError, GradientError, SettingError
from tinycnn.ops.avg_pool2d import AvgPool2dFunction
from tinycnn.ops.batch_norm import BatchNormFunction
from tinycnn.ops.conv2d import Conv2dFunction
from tinycnn.ops.dense import DenseFunction
from tinycnn.ops.dropout import DropoutFunction
from tinycnn.ops.max_pool2d import MaxPool2dFunction
from tinycnn.ops.relu import ReLUFunction
from tinycnn.ops.softmax import LogSoftmaxFunction, SoftmaxFunction
from tinycnn.ops.softmax_cross_entropy import SoftmaxCrossEntropyFunction
from tinycnn.tensor import Add, Exp, Log, MatMul, Max, Subtract, Sum, Transpose

WRONG = re.compile(r"gradient of input \d at (index \(.*\)|a random direction) is wrong: analytic \S+, numeric \S+$")
BUGS = []


def planted(call, *shapes, naive_passes=False):
    """Class decorator: ``call(Bug, *tensors)`` has the bug; ``naive_passes``: an all-ones upstream does not see it."""

    def remember(bug):
        BUGS.append(pytest.param(bug, call, shapes, naive_passes, id=bug.__name__))
        return bug

    return remember


def once(bug, *x):
    return bug()(*x)


def convolve(bug, x, weight):
    return bug((1, 1), (1, 1))(x, weight)


CONV = ((2, 5, 5, 2), (3, 3, 2, 3))


@planted(lambda bug, *x: bug((1, 1), (0, 0))(*x), (1, 5, 5, 1), (3, 3, 1, 2), naive_passes=True)
class UpstreamFlipped(Conv2dFunction):
    def backward(self, grad_y):
        return super().backward(np.ascontiguousarray(grad_y[:, ::-1, ::-1]))


@planted(lambda bug, *x: bug((1, 1), (0, 0))(*x), (1, 4, 4, 1), (2, 2, 1, 2), naive_passes=True)
class UpstreamAxesSwapped(Conv2dFunction):
    def backward(self, grad_y):
        return super().backward(np.ascontiguousarray(grad_y.transpose(0, 2, 1, 3)))


@planted(convolve, *CONV)
class WeightAxesSwapped(Conv2dFunction):
    def backward(self, grad_y):
        grad_x, grad_weight = super().backward(grad_y)
        return grad_x, grad_weight.transpose(1, 0, 2, 3)


@planted(convolve, *CONV)
class WrongOnlyAtTheBorder(Conv2dFunction):
    def backward(self, grad_y):
        grad_x, grad_weight = super().backward(grad_y)
        grad_x[:, -1] = 0
        return grad_x, grad_weight


@planted(convolve, *CONV)
class WrongInOneElement(Conv2dFunction):
    def backward(self, grad_y):
        grad_x, grad_weight = super().backward(grad_y)
        grad_weight[-1, -1, -1, -1] *= 1.01
        return grad_x, grad_weight


@planted(once, (4, 3), (3, 2), (2,))
class BiasMeanInsteadOfSum(DenseFunction):
    def backward(self, grad_y):
        return (*super().backward(grad_y)[:2], grad_y.mean(axis=0))


@planted(once, (3, 3), (3, 3))
class ForgottenTranspose(MatMul):
    def backward(self, grad_y):
        return grad_y @ self.b, self.a @ grad_y


@planted(once, (3, 4))
class MissingFactor(Function):
    def forward(self, x):
        self.x = x
        return x * x

    def backward(self, grad_y):
        return grad_y * self.x


@planted(once, (3, 4))
class OnlyTheSecondUse(Function):
    def forward(self, x):
        self.x = x
        return x + x**3

    def backward(self, grad_y):
        return grad_y * 3 * self.x**2


@planted(once, (3, 4))
class ThousandTimesTooLarge(ReLUFunction):
    def backward(self, grad_y):
        return 1000 * super().backward(grad_y)


@planted(once, (3, 4))
class OnePercentTooSmall(Exp):
    def backward(self, grad_y):
        return 0.99 * super().backward(grad_y)


@planted(once, (3, 4))
class MaskInverted(ReLUFunction):
    def backward(self, grad_y):
        return grad_y * (self.y <= 0)


@planted(once, (3, 4), naive_passes=True)
class UpstreamIgnored(ReLUFunction):
    def backward(self, grad_y):
        return super().backward(np.ones_like(grad_y))


@planted(once, (3, 4), naive_passes=True)
class SoftmaxWithoutGradient(SoftmaxFunction):
    def backward(self, grad_p):
        return np.zeros_like(grad_p)


@planted(once, (3, 4))
class LogSoftmaxWithoutTheSum(LogSoftmaxFunction):
    def backward(self, grad_log_p):
        return grad_log_p - np.exp(self.log_p)


@planted(lambda bug, x: bug(np.array([0, 2, 1]))(x), (3, 4))
class LossNotAMean(SoftmaxCrossEntropyFunction):
    def backward(self, grad_loss):
        return super().backward(grad_loss) * len(self.target)


@planted(lambda bug, x: bug((2, 2), (2, 2), (0, 0))(x), (1, 4, 4, 2))
class AveragePoolWithoutTheMean(AvgPool2dFunction):
    def backward(self, grad_y):
        return 4 * super().backward(grad_y)


@planted(lambda bug, x: bug((3, 3), (1, 1), (0, 0))(x), (1, 5, 5, 1))
class OverlapOverwrittenNotAdded(MaxPool2dFunction):
    def backward(self, grad_y):
        grad_x = np.zeros(self.x_shape)
        for n, oh, ow, c in np.ndindex(grad_y.shape):
            kh, kw = divmod(int(self.winner[n, oh, ow, c]), 3)
            grad_x[n, oh + kh, ow + kw, c] = grad_y[n, oh, ow, c]
        return grad_x


@planted(lambda bug, x: bug((2, 2), (2, 2), (0, 0))(x), (1, 4, 4, 2))
class MaxPoolToTheCorner(MaxPool2dFunction):
    def backward(self, grad_y):
        self.winner = np.zeros_like(self.winner)
        return super().backward(grad_y)


@planted(lambda bug, x: bug(1, False)(x), (3, 4))
class MaxSharedByAll(Max):
    def backward(self, grad_y):
        return np.broadcast_to(grad_y[:, None] / 4, (3, 4))


@planted(lambda bug, *x: bug(1e-3)(*x), (6, 2), (2,), (2,), naive_passes=True)
class BatchNormWithoutTheVariancePath(BatchNormFunction):
    def backward(self, grad_y):
        grad_x = self.gamma * self.inverse_std * (grad_y - grad_y.mean(axis=0))
        return grad_x, *super().backward(grad_y)[1:]


@planted(lambda bug, *x: bug(1e-3)(*x), (6, 2), (2,), (2,))
class BatchNormWithFixedStatistics(BatchNormFunction):
    def backward(self, grad_y):
        return self.gamma * self.inverse_std * grad_y, *super().backward(grad_y)[1:]


@planted(lambda bug, x: bug(0.5, (1, 2))(x), (5, 5))
class AnotherDropoutMask(DropoutFunction):
    def backward(self, grad_y):
        return grad_y * self.backend.dropout_mask(grad_y.shape, self.p, grad_y.dtype, (1, 3))


@planted(once, (2, 3), (3,))
class BroadcastAveraged(Add):
    def backward(self, grad_y):
        return grad_y, grad_y.mean(axis=0)


@planted(once, (2, 3), (2, 3))
class WrongSign(Subtract):
    def backward(self, grad_y):
        return grad_y, grad_y


@planted(once, (2, 3), (2, 3))
class SecondInputForgotten(Subtract):
    def backward(self, grad_y):
        return grad_y, np.zeros_like(grad_y)


@planted(lambda bug, x: bug((1, 2, 0))(x), (3, 3, 3), naive_passes=True)
class TransposedTheSameWayTwice(Transpose):
    def backward(self, grad_y):
        return grad_y.transpose(self.axes)


@planted(lambda bug, x: bug(0, False)(x), (3, 3), naive_passes=True)
class SumOverTheWrongAxis(Sum):
    def backward(self, grad_y):
        return np.repeat(grad_y[:, None], 3, axis=1)


@planted(lambda bug, x: bug()(x * x + 1), (2, 3))
class NotANumber(Log):
    def backward(self, grad_y):
        return super().backward(grad_y) * np.nan


def leaves(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [Tensor(rng.normal(size=shape), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("fast_mode", [False, True], ids=["every element", "a direction"])
@pytest.mark.parametrize(("bug", "call", "shapes", "naive_passes"), BUGS)
def test_catches_planted_bug(bug, call, shapes, naive_passes, fast_mode):
    with pytest.raises(GradientError, match=WRONG):
        gradcheck(lambda *x: call(bug, *x), leaves(*shapes), fast_mode=fast_mode)


@pytest.mark.parametrize("fast_mode", [False, True], ids=["every element", "a direction"])
@pytest.mark.parametrize(("bug", "call", "shapes", "naive_passes"), BUGS)
def test_passes_the_function_without_the_bug(bug, call, shapes, naive_passes, fast_mode):
    """So it is the bug that was caught above, not the settings or the inputs."""
    if bug.__base__ is Function:
        right = {MissingFactor: lambda x: x * x, OnlyTheSecondUse: lambda x: x + x**3}[bug]
        assert gradcheck(right, leaves(*shapes), fast_mode=fast_mode)
    else:
        assert gradcheck(lambda *x: call(bug.__base__, *x), leaves(*shapes), fast_mode=fast_mode)


def all_ones_checker(fn, inputs, eps=1e-6):
    """The usual checker: compares the gradient of ``fn(...).sum()`` with finite differences."""
    fn(*inputs).sum().backward()
    with no_grad():
        for x in inputs:
            values = x.data
            for index in np.ndindex(x.shape):
                sums = []
                for sign in (1, -1):
                    x.data = values.copy()
                    x.data[index] += sign * eps
                    sums.append(fn(*inputs).sum().item())
                x.data = values
                if x.grad is None or not abs(x.grad[index] - (sums[0] - sums[1]) / (2 * eps)) < 1e-5:
                    return False
    return True


@pytest.mark.parametrize(("bug", "call", "shapes", "naive_passes"), BUGS)
def test_an_all_ones_upstream_misses_planted_bugs(bug, call, shapes, naive_passes):
    assert all_ones_checker(lambda *x: call(bug, *x), leaves(*shapes)) == naive_passes


def test_enough_bugs():
    assert len(BUGS) >= 25
    assert sum(bug.values[3] for bug in BUGS) >= 5


class NotDeterministic(Exp):
    noise = np.random.default_rng(0)

    def backward(self, grad_y):
        return super().backward(grad_y) + self.noise.uniform(0, 1e-9, size=grad_y.shape)


def test_two_backward_passes_must_have_the_same_bits():
    def noisy(x):
        return NotDeterministic()(x)

    with pytest.raises(GradientError, match=r"two backward passes differ by .* of input 0") as caught:
        gradcheck(noisy, leaves((3,)))
    assert 0 < float(re.search(r"by (\S+) in", str(caught.value))[1]) < 1e-9
    assert gradcheck(noisy, leaves((3,)), nondet_tol=1e-6)


class ChangesInputInForward(ReLUFunction):
    def forward(self, x):
        y = super().forward(x)
        np.maximum(x, 0, out=x)
        return y


class ChangesInputInBackward(Exp):
    def forward(self, x):
        self.x = x
        return super().forward(x)

    def backward(self, grad_y):
        self.x += 1
        return super().backward(grad_y)


@pytest.mark.parametrize("function", [ChangesInputInForward, ChangesInputInBackward])
def test_inputs_must_stay_unchanged(function):
    result = gradcheck(lambda x: function()(x), leaves((4,)), raise_exception=False)
    assert not result


def test_in_place_change_is_named():
    with pytest.raises(GradientError, match="changed its input 1 in place"):
        gradcheck(lambda x, constant: x * ChangesInputInForward()(constant), [*leaves((4,)), Tensor(-np.ones(4))])


def test_message_names_input_index_and_both_numbers():
    class WrongAtOnePlace(Function):
        def forward(self, a, b):
            return a + 2 * b

        def backward(self, grad_y):
            grad_b = 2 * grad_y
            grad_b[1, 2] *= 10
            return grad_y, grad_b

    result = gradcheck(lambda a, b: WrongAtOnePlace()(a, b), leaves((2, 3), (2, 3)), raise_exception=False)
    found = re.search(r"input 1 at index \(1, 2\) is wrong: analytic (\S+), numeric (\S+)$", result.failure)
    assert float(found[1]) == pytest.approx(10 * float(found[2]), rel=1e-5)


def test_no_exception_on_request():
    result = gradcheck(lambda x: MissingFactor()(x), leaves((2,)), raise_exception=False)
    assert not result
    assert WRONG.search(result.failure)


def test_a_right_gradient_gives_a_true_result():
    result = gradcheck(lambda x: x.exp(), leaves((2, 3)))
    assert result
    assert result.checked == 6
    assert result.worst_error < 1e-6
    assert (result.kinks, result.failure) == ([], None)


class Steep(Function):
    """A slope, and what its gradient claims that it is."""

    def __init__(self, slope, claimed):
        self.slope, self.claimed = slope, claimed

    def forward(self, x):
        return x * self.slope

    def backward(self, grad_y):
        return grad_y * self.claimed


def test_the_worst_error_is_relative_with_a_floor():
    """|analytic - numeric| / (|numeric| + atol/rtol): with slopes of 2 and 0.1, each a little too large."""
    slopes = np.array([2, 0.1])
    result = gradcheck(lambda x: Steep(slopes, claimed=slopes * 1.0005)(x), leaves((2,)), atol=1e-3, rtol=1e-2)
    numeric = np.abs(np.random.default_rng(0).normal(size=2) * slopes)  # the upstream gradient is that of seed 0
    assert result.worst_error == pytest.approx((0.0005 * numeric / (numeric + 0.1)).max(), rel=1e-4)


def test_float32_is_refused():
    with pytest.raises(DtypeError, match="input 1 is float32; finite differences need float64"):
        gradcheck(lambda a, b: a, [*leaves((2,)), Tensor(np.ones(2, np.float32), requires_grad=True)])


def test_without_an_input_to_check():
    with pytest.raises(SettingError, match="no input requires a gradient"):
        gradcheck(lambda x: x, Tensor(np.ones(2)))


def test_only_inputs_that_require_a_gradient_are_checked():
    assert gradcheck(lambda a, b: a * b, [*leaves((3,)), Tensor(np.ones(3))]).checked == 3


def test_an_output_that_does_not_depend_on_the_input():
    assert gradcheck(lambda x: Tensor(np.ones(2)), leaves((3,))).checked == 3


def test_inputs_are_left_as_they_were():
    (x,) = leaves((3,))
    before = x.data
    gradcheck(lambda x: x.exp(), x)
    assert x.data is before


@pytest.mark.parametrize("fast_mode", [False, True], ids=["every element", "a direction"])
@pytest.mark.parametrize(
    ("correct", "shape"),
    [
        (ops.relu, (3, 3)),
        (ops.max_pool2d, (1, 4, 2, 1)),
        (lambda x: ops.max_pool2d(x, kernel_size=2, stride=1, padding=1), (1, 2, 3, 1)),
        (lambda x: x.max(axis=1), (3, 3)),
        (lambda x: ops.max_pool2d(ops.relu(x), kernel_size=2, stride=1), (1, 3, 3, 1)),
    ],
    ids=["relu", "max_pool2d", "overlapping", "max", "relu-then-pool"],
)
def test_no_false_alarm_on_many_seeds(correct, shape, fast_mode):
    """Every other seed draws rounded values, full of ties and zeros; the rest may come close to a kink by chance."""
    for seed in range(200):  # 1,000 passed once; they take five times as long
        rng = np.random.default_rng(seed)
        x = rng.normal(size=shape) if seed % 2 else rng.integers(-1, 2, size=shape).astype(np.float64)
        result = gradcheck(correct, Tensor(x, requires_grad=True), fast_mode=fast_mode, raise_exception=False)
        assert result, f"seed {seed}: {result.failure}"


@pytest.mark.parametrize("gap", [1e-5, 1e-6, 3e-7, 1e-8])
def test_kinks_nearby_are_not_mistaken_for_errors(gap):
    assert gradcheck(ops.relu, Tensor(np.array([gap, -gap, 1.0]), requires_grad=True))


@pytest.mark.parametrize(("gap", "offset"), [(1.5e-6, 2.0**21), (2e-7, 2.0**18), (2e-8, 0)], ids=str)
def test_each_step_decides_where_a_wider_one_meets_the_kink_and_a_closer_one_rounding(gap, offset):
    result = gradcheck(lambda x: ops.relu(x) + offset, Tensor(np.array([gap, -gap]), requires_grad=True))
    assert result
    assert result.kinks == []


def test_kinks_are_listed():
    """Many of them: some outputs get a positive upstream gradient, some a negative one."""
    result = gradcheck(ops.relu, Tensor(np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, -1.0]), requires_grad=True))
    assert result
    assert result.kinks == [(0, (i,)) for i in range(1, 9)]


def test_outputs_without_a_kink_keep_their_slope_where_another_has_one():
    result = gradcheck(lambda x: ops.relu(x + Tensor(np.array([0.0, 5, 7]))), Tensor(np.zeros(1), requires_grad=True))
    assert result
    assert result.kinks == [(0, (0,))]


def test_a_kink_between_opposite_slopes():
    class Absolute(Function):
        def forward(self, x):
            self.x = x
            return abs(x)

        def backward(self, grad_y):
            return grad_y * np.where(self.x < 0, -1.0, 1.0)

    result = gradcheck(lambda x: Absolute()(x), Tensor(np.zeros(1), requires_grad=True))
    assert result
    assert result.kinks == [(0, (0,))]


def test_curvature_is_not_a_kink():
    """Slopes to the left and right that differ a little in each of many outputs, and a gradient wrong by 0.4 %."""

    class Squares(Function):
        def forward(self, x):
            self.x = x
            return np.repeat(x * x, 400)

        def backward(self, grad_y):
            return 1.004 * 2 * self.x * grad_y.sum(keepdims=True)

    with pytest.raises(GradientError, match=WRONG):
        gradcheck(lambda x: Squares()(x), Tensor(np.ones(1), requires_grad=True), eps=0.05)


def test_tolerances_of_0_require_equality():
    """Multiplying by 2 and steps of powers of 2 round nothing."""
    x = Tensor(np.array([1.0, 0.5]), requires_grad=True)
    result = gradcheck(lambda x: x * 2, x, eps=2.0**-20, atol=0, rtol=0)
    assert result
    assert result.worst_error == 0
    assert gradcheck(lambda x: x * 0, x, eps=2.0**-20, atol=0)
    assert not gradcheck(lambda x: OnePercentTooSmall()(x), x, atol=0, rtol=0, raise_exception=False)


def test_without_a_relative_tolerance_the_worst_error_is_absolute():
    x = Tensor(np.ones(1), requires_grad=True)
    result = gradcheck(lambda x: Steep(4, claimed=4.5)(x), x, atol=1, rtol=0)
    upstream = abs(np.random.default_rng(0).normal())
    assert result.worst_error == pytest.approx(0.5 * upstream, rel=1e-6)


def test_nan_in_a_constant_input_is_not_a_change():
    assert gradcheck(lambda x, unused: x * 2, [*leaves((2,)), Tensor(np.array([np.nan]))])


def test_a_kink_excuses_only_subgradients():
    class SlopeTwo(ReLUFunction):
        def backward(self, grad_y):
            return grad_y * np.where(self.y == 0, 2.0, 1.0)

    with pytest.raises(GradientError, match=WRONG):
        gradcheck(lambda x: SlopeTwo()(x), Tensor(np.array([1.0, 0.0]), requires_grad=True))


def test_gradient_to_every_tied_winner_is_caught_along_a_direction():
    """Element by element each of the two is a subgradient; only together they are too much."""

    class ToEveryWinner(Max):
        def forward(self, x):
            self.x = x
            return super().forward(x)

        def backward(self, grad_y):
            return (self.x == self.x.max()) * grad_y

    tied = Tensor(np.ones(6), requires_grad=True)
    with pytest.raises(GradientError, match=WRONG):
        gradcheck(lambda x: ToEveryWinner(None, False)(x), tied, fast_mode=True)
