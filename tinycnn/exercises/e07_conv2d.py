"""Exercise 7: convolution."""

from types import ModuleType

from tinycnn.exercises.checking import check_gradients, normal, situation
from tinycnn.exercises.cutting import Exercise, Hole

TASK = """
With cols = im2col(x) (N*OH*OW, KH*KW*C) and W = weight.reshape(KH*KW*C, F), convolution is a dense layer whose rows are
windows instead of images:

    Y = cols W + bias                                                  Y (N*OH*OW, F)

So its gradients are those of a dense layer. Two reshapes bring grad_y and grad_W into their shapes. The gradient of the
windows, grad_cols, becomes the gradient of the pixels by

    self.backend.col2im(grad_cols, self.x_shape, (KH, KW), self.stride, self.padding)

Over which axes is the gradient of the bias a sum, and why? The bias is optional: without it, backward returns two
gradients.
"""


def check(student: ModuleType) -> None:
    """With stride and padding, and without a bias."""
    inputs = {"x": normal(2, 5, 4, 2), "weight": normal(3, 2, 2, 3, seed=1), "bias": normal(3, seed=2)}
    check_gradients(lambda *tensors: student.Conv2dFunction((1, 1), (0, 0))(*tensors), inputs)
    with situation("with stride (2, 1) and padding (1, 1)"):
        check_gradients(lambda *tensors: student.Conv2dFunction((2, 1), (1, 1))(*tensors), inputs)
    with situation("without a bias"):
        without = {name: inputs[name] for name in ("x", "weight")}
        check_gradients(lambda *tensors: student.Conv2dFunction((1, 1), (0, 0))(*tensors), without)


EXERCISE = Exercise(
    name="07_conv2d",
    title="Convolution.",
    source="tinycnn.ops.conv2d",
    chapter="docs/path/05_convolution.md",
    task=TASK,
    hint="it is the dense layer of exercise 3 on cols: grad_W from cols and grad_Y, grad_cols from grad_Y and W, the "
    "bias summed over all rows, that is, over all images and all pixels.",
    formulas={
        "x": "grad_cols = grad_Y Wᵀ: (N*OH*OW, F) (F, KH*KW*C); grad_x = col2im(grad_cols, x_shape, (KH, KW), stride, "
        "padding)",
        "weight": "grad_W = colsᵀ grad_Y: (KH*KW*C, N*OH*OW) (N*OH*OW, F), reshaped to (KH, KW, C, F)",
        "bias": "grad_b[f] = Σ grad_y[n, oh, ow, f] over images and pixels: the sum of grad_Y over axis 0",
        "Conv2dFunction.backward": "with grad_Y = grad_y as (N*OH*OW, F): grad_W = colsᵀ grad_Y, grad_cols = grad_Y "
        "Wᵀ, grad_b = the sum of grad_Y over axis 0; return (grad_x, grad_W) if len(self.inputs) is 2, else (grad_x, "
        "grad_W, grad_b)",
    },
    holes=(Hole("Conv2dFunction.backward", "grad_y (N, OH, OW, F) → the gradients of x (N, H, W, C), weight\n"
                "(KH, KW, C, F), and of bias (F,) if len(self.inputs) is 3."),),
    check=check,
    keeps=("Conv2dFunction",),
)  # fmt: skip
