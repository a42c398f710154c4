"""Right answers that differ from tinycnn's own source, as students may write them from the task alone, are accepted."""

import ast
import textwrap
from pathlib import Path

import pytest

from tinycnn.exercises import EXERCISES, check_file
from tinycnn.exercises.cutting import YOUR_TURN

ANSWERS: dict[str, dict[str, str]] = {
    "01": {
        "unbroadcast": """
            while grad.ndim > len(shape):
                grad = grad.sum(axis=0)
            for axis, size in enumerate(shape):
                if size == 1:
                    grad = grad.sum(axis=axis, keepdims=True)
            return grad""",
        "Multiply.backward": "return self.unbroadcast(grad_y * self.b, grad_y * self.a)",
        "Divide.backward": "return self.unbroadcast(grad_y / self.b, -grad_y * self.a / self.b**2)",
        "MatMul.backward": """
            grad_a, grad_b = grad_y @ self.b.swapaxes(-1, -2), self.a.swapaxes(-1, -2) @ grad_y
            return unbroadcast(grad_a, self.a.shape), unbroadcast(grad_b, self.b.shape)""",
    },
    "02": {
        "backward": """
            for function in functions:
                grads = function.input_gradients(grad_of_output.pop(function))
                for x, grad in zip(function.inputs, grads):
                    if grad is None or not x.requires_grad:
                        continue
                    if x.creator is None:
                        _add_to_leaf(x, grad)
                    else:
                        grad_of_output[x.creator] = grad_of_output.get(x.creator, 0) + grad
                function.free()""",
        "_in_reverse_order": """
            seen, order, to_visit = set(), [], [(last, False)]  # depth first, without recursion and without _order
            while to_visit:
                function, is_done = to_visit.pop()
                if is_done:
                    order.append(function)
                elif function not in seen:
                    if not function.inputs:
                        raise AutogradError("used already")
                    seen.add(function)
                    to_visit.append((function, True))
                    to_visit += [(x.creator, False) for x in function.inputs if x.creator is not None]
            return order[::-1]""",
    },
    "03": {
        "DenseFunction.backward": """
            grads = grad_y @ self.weight.T, self.x.T @ grad_y, grad_y.sum(0)
            return grads[: len(self.inputs)]"""
    },
    "04": {
        "ReLUFunction.backward": """
            grad_x = grad_y.copy()
            grad_x[self.y <= 0] = 0
            return grad_x"""
    },
    "05": {
        "SoftmaxCrossEntropyFunction.backward": """
            import numpy as np

            return grad_loss * (np.exp(self.log_p) - self.target) / self.target.shape[0]""",
        "NLLLossFunction.backward": "return -grad_loss * self.target / len(self.target)",
    },
    "06": {
        "NumpyBackend.im2col": """
            parts = [x[slices] for _, slices in window_positions(kernel_size, stride, (OH, OW))]
            return np.stack(parts, axis=3).reshape(N * OH * OW, -1)""",
        "NumpyBackend.col2im": """
            x = np.zeros((N, H + 2 * PH, W + 2 * PW, C), dtype=cols.dtype)
            cols = cols.reshape(N, OH, OW, KH * KW, C)
            for number, slices in window_positions(kernel_size, stride, (OH, OW)):
                x[slices] += cols[:, :, :, number]
            return x[:, PH : PH + H, PW : PW + W].copy()""",
    },
    "07": {
        "Conv2dFunction.backward": """
            KH, KW, _, F = self.weight.shape
            grad_y = grad_y.reshape(-1, F)
            grad_cols = grad_y @ self.weight.reshape(-1, F).T
            grad_x = self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)
            grads = grad_x, (self.cols.T @ grad_y).reshape(self.weight.shape), grad_y.sum(axis=0)
            return grads[: len(self.inputs)]"""
    },
    "08": {
        "NumpyBackend.max_pool2d": """
            winner = np.full(y.shape, -1)
            for number, slices in windows:
                wins = ~(x[slices] <= y) & ~np.isnan(y)
                winner[wins] = number
                y[wins] = x[slices][wins]
            return y, winner""",
        "NumpyBackend.max_pool2d_backward": """
            grad_x = np.zeros((N, H + 2 * PH, W + 2 * PW, C), dtype=grad_y.dtype)
            for number, slices in window_positions(kernel_size, stride, grid):
                grad_x[slices] += np.where(winner == number, grad_y, 0)
            return grad_x[:, PH : PH + H, PW : PW + W]""",
    },
    "09": {
        "BatchNormFunction.backward": """
            grad_gamma, grad_beta = (grad_y * self.x_hat).sum(axis=self.axes), grad_y.sum(axis=self.axes)
            if not self.needs_grad[0]:
                return None, grad_gamma, grad_beta
            return self.grad_x(grad_y, grad_gamma, grad_beta), grad_gamma, grad_beta""",
        "BatchNormFunction.grad_x": """
            s, grad_x_hat = self.inverse_std, grad_y * self.gamma
            grad_var = (grad_x_hat * (-self.x_hat * s**2 / 2)).sum(axis=self.axes)
            grad_mean = (-s * grad_x_hat).sum(axis=self.axes)
            return grad_x_hat * s + grad_mean / self.M + grad_var * 2 * (self.x_hat / s) / self.M""",
    },
    "10": {
        "DropoutFunction.forward": """
            self.factors = self.backend.dropout_mask(x.shape, self.p, x.dtype, self.key)
            return x * self.factors""",
        "DropoutFunction.backward": "return self.factors * grad_y",
    },
    "11": {
        "SGD.update": """
            g = g + self.weight_decay * p
            velocity[...] = self.momentum * velocity + g
            p -= lr * (g + self.momentum * velocity) if self.nesterov else lr * velocity""",
        "Adam.adam_update": """
            m[:] = self.beta1 * m + (1 - self.beta1) * g
            v[:] = self.beta2 * v + (1 - self.beta2) * g**2
            p -= step_size * m / (backend.xp.sqrt(v * v_scale) + self.eps)""",
    },
    "12": {
        "_Check.__init__": "self.upstream = self.rng.uniform(-1, 1, size=self.y.shape)",
        "_Check._slopes": """
            below, above = self._moved(i, -eps * direction), self._moved(i, eps * direction)
            return self.upstream * (self.y - below) / eps, self.upstream * (above - self.y) / eps""",
        "_Check.compare": """
            for factor in CLOSER:
                left, right = self._slopes(i, direction, self.eps * factor)
                numeric = ((left + right) / 2).sum()
                if abs(analytic - numeric) <= self.atol + self.rtol * abs(numeric):
                    self._note_error(abs(analytic - numeric), numeric)
                    return
            if self._is_subgradient(analytic, left, right):
                self.result.kinks.append(place)
            else:
                raise GradientError(f"input {i} at {index}: {analytic} instead of {numeric}")""",
    },
    "13": {
        "LeakyReLUFunction.forward": """
            self.x = x
            return self.backend.xp.where(x > 0, x, x * self.slope)""",
        "LeakyReLUFunction.backward": "return self.backend.xp.where(self.x > 0, grad_y, self.slope * grad_y)",
        "gradient_is_right": """
            x = Tensor(np.array([[-1.0, 2.0], [3.0, -0.5]]), requires_grad=True)
            return bool(gradcheck(leaky_relu, x, raise_exception=False))""",
    },
}


def filled(text: str, place: str, answer: str) -> str:
    """``text`` with ``answer`` in the place of the comment "Your turn" and of the line that raises, for ``place``."""
    lines = text.splitlines()
    last = next(i for i, line in enumerate(lines) if line.strip() == f'raise NotImplementedError("{place}")')
    first = max(i for i, line in enumerate(lines[:last]) if f"# {YOUR_TURN.strip()}" in line)
    margin = lines[last][: len(lines[last]) - len(lines[last].lstrip())]
    return "\n".join([*lines[:first], textwrap.indent(textwrap.dedent(answer), margin), *lines[last + 1 :]]) + "\n"


@pytest.mark.parametrize("number", ANSWERS)
def test_another_right_answer_is_accepted(number: str, tmp_path: Path) -> None:
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name.startswith(number))
    assert set(ANSWERS[number]) == {hole.place for hole in exercise.holes}
    text = exercise.text()
    for place, answer in ANSWERS[number].items():
        text = filled(text, place, answer)
    assert ast.unparse(ast.parse(text)) != ast.unparse(ast.parse(exercise.solution()))
    path = tmp_path / exercise.file_name
    path.write_text(text, encoding="utf-8")
    outcome = check_file(exercise, path)
    assert outcome.state == "right", outcome.message


def test_every_exercise_has_one_and_a_head_that_fits() -> None:
    assert sorted(ANSWERS) == [exercise.name[:2] for exercise in EXERCISES]
    for exercise in EXERCISES:
        head = ast.get_docstring(ast.parse(exercise.text())) or ""
        assert all(len(line) <= 120 for line in head.splitlines()), exercise.name
        assert f"--only {int(exercise.name[:2])}`" in head
