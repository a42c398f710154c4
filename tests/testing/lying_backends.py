"""Backends with one planted bug each; ``LIES`` names the kernel that must be found wrong."""

import numpy as np

from tinycnn.backends.numpy_backend import NumpyBackend


def as_if_contiguous(array):
    """The elements in the order of memory: wrong for every array that is not C-contiguous."""
    return array.ravel(order="K").reshape(array.shape)


# ------------------------------------------------------------------------------------------------------------ transfer


class SinglePrecisionOnly(NumpyBackend):
    def asarray(self, array):
        return np.asarray(array, np.float32 if np.asarray(array).dtype == np.float64 else None)


class MemoryOrderKept(NumpyBackend):
    def to_host(self, array):
        return as_if_contiguous(array)


class OwnsNothing(NumpyBackend):
    def owns(self, array):
        return False


# ------------------------------------------------------------------------------------------------------------- windows


class NoPadding(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        cols = super().im2col(x, kernel_size, stride, padding)
        cols[cols == 0] = x.flat[0]  # the border repeats a pixel
        return cols


class AxesSwapped(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        KH, KW = kernel_size
        cols = super().im2col(x, kernel_size, stride, padding).reshape(-1, KH, KW, x.shape[3])
        return cols.transpose(0, 2, 1, 3).reshape(len(cols), -1)


class NotContiguous(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        return np.asfortranarray(super().im2col(x, kernel_size, stride, padding))


class Upcast(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        return super().im2col(x, kernel_size, stride, padding).astype(np.float64)


class LostAccumulation(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        ones = np.ones_like(cols)
        counts = super().col2im(ones, x_shape, kernel_size, stride, padding)
        return super().col2im(cols, x_shape, kernel_size, stride, padding) / np.maximum(counts, 1)


class BorderForgotten(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        x = super().col2im(cols, x_shape, kernel_size, stride, padding)
        x[:, -1, -1] = 0
        return x


class LastTieWins(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        KH, KW = kernel_size
        y, winner = super().max_pool2d(x[:, ::-1, ::-1], kernel_size, stride, padding)
        return np.ascontiguousarray(y[:, ::-1, ::-1]), np.ascontiguousarray(KH * KW - 1 - winner[:, ::-1, ::-1])


class ZeroPadding(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        PH, PW = padding
        padded = np.pad(x, ((0, 0), (PH, PH), (PW, PW), (0, 0)))
        return super().max_pool2d(padded, kernel_size, stride, (0, 0))


class NanLoses(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        return super().max_pool2d(np.where(np.isnan(x), -np.inf, x), kernel_size, stride, padding)


class GradientToTheFirst(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, *settings):
        return super().max_pool2d_backward(grad_y, np.zeros_like(winner), *settings)


class ChangesItsInput(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, *settings):
        grad_x = super().max_pool2d_backward(grad_y, winner, *settings)
        grad_y *= 2
        return grad_x


class StridesSwapped(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        cols = super().im2col(x, kernel_size, stride[::-1], padding)
        return np.resize(cols, super().im2col(x, kernel_size, stride, padding).shape)


class ContiguousAssumed(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        return super().im2col(as_if_contiguous(x), kernel_size, stride, padding)


class ClearsItsInput(NumpyBackend):
    def im2col(self, x, kernel_size, stride, padding):
        cols = super().im2col(x, kernel_size, stride, padding)
        if x.flags.writeable:
            x[...] = 0
        return cols


class ContiguousColumnsAssumed(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        return super().col2im(as_if_contiguous(cols), x_shape, kernel_size, stride, padding)


class SumsInDoublePrecision(NumpyBackend):
    def col2im(self, cols, x_shape, kernel_size, stride, padding):
        return super().col2im(cols.astype(np.float64), x_shape, kernel_size, stride, padding)


class RaggedEdgeCounts(NumpyBackend):
    """Pads below and to the right until the last window is whole."""

    def max_pool2d(self, x, kernel_size, stride, padding):
        y, winner = super().max_pool2d(x, kernel_size, stride, padding)
        if (x.shape[1] + 2 * padding[0] - kernel_size[0]) % stride[0]:
            y[:, -1:] = np.maximum(y[:, -1:], x[:, -1:, : y.shape[2]])
        return y, winner


class WinnerInOneByte(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        y, winner = super().max_pool2d(x, kernel_size, stride, padding)
        return y, winner.astype(np.uint8)


class ContiguousImagesAssumed(NumpyBackend):
    def max_pool2d(self, x, kernel_size, stride, padding):
        return super().max_pool2d(as_if_contiguous(x), kernel_size, stride, padding)


class ContiguousGradientsAssumed(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, *settings):
        return super().max_pool2d_backward(as_if_contiguous(grad_y), winner, *settings)


class LastWindowOnly(NumpyBackend):
    """Where windows overlap, the last gradient replaces those before it."""

    def max_pool2d_backward(self, grad_y, winner, x_shape, kernel_size, stride, padding):
        grad_x = np.zeros(x_shape, grad_y.dtype)
        for n, oh, ow, c in np.ndindex(grad_y.shape):
            kh, kw = divmod(int(winner[n, oh, ow, c]), kernel_size[1])
            h, w = oh * stride[0] - padding[0] + kh, ow * stride[1] - padding[1] + kw
            grad_x[n, h, w, c] = grad_y[n, oh, ow, c]
        return grad_x


class OutOfRange(NumpyBackend):
    def max_pool2d_backward(self, grad_y, winner, x_shape, *settings):
        return super().max_pool2d_backward(grad_y, winner, x_shape, *settings)[[len(grad_y)]]


# -------------------------------------------------------------------------------------------------------------- images


class NextImage(NumpyBackend):
    def gather_images(self, images, indices, scale, dtype):
        return super().gather_images(images, (indices + 1) % len(images), scale, dtype)


class ScaleForgotten(NumpyBackend):
    def gather_images(self, images, indices, scale, dtype):
        return super().gather_images(images, indices, 1.0, dtype)


class ContiguousBytesAssumed(NumpyBackend):
    def gather_images(self, images, indices, scale, dtype):
        return super().gather_images(as_if_contiguous(images), indices, scale, dtype)


class SortsItsIndices(NumpyBackend):
    def gather_images(self, images, indices, scale, dtype):
        x = super().gather_images(images, indices, scale, dtype)
        indices[::-1].sort()
        return x


class NearestPixel(NumpyBackend):
    def gather_warped(self, images, indices, maps, scale, dtype, reflect=False):
        return super().gather_warped(images, indices, np.round(maps), scale, dtype, reflect)


class EdgeRepeated(NumpyBackend):
    def gather_warped(self, images, indices, maps, scale, dtype, reflect=False):
        x = super().gather_warped(images, indices, maps, scale, dtype, reflect)
        return np.where(x == 0, images[indices].astype(dtype) * dtype.type(scale), x)


class WavesIgnored(NumpyBackend):
    def gather_warped(self, images, indices, maps, scale, dtype, reflect=False):
        return super().gather_warped(images, indices, maps[:, :, :3], scale, dtype, reflect)


class NeverReflects(NumpyBackend):
    def gather_warped(self, images, indices, maps, scale, dtype, reflect=False):
        return super().gather_warped(images, indices, maps, scale, dtype)


# ------------------------------------------------------------------------------------------------------------- dropout


class NotScaledUp(NumpyBackend):
    def dropout_mask(self, shape, p, dtype, key):
        return super().dropout_mask(shape, p, dtype, key) * dtype.type(1 - p)


class StepIgnored(NumpyBackend):
    def dropout_mask(self, shape, p, dtype, key):
        return super().dropout_mask(shape, p, dtype, (key[0], 0))


class ShortStep(NumpyBackend):
    def dropout_mask(self, shape, p, dtype, key):
        return super().dropout_mask(shape, p, dtype, (key[0], key[1] % 2**32))


class NotRepeatable(NumpyBackend):
    calls = 0

    def dropout_mask(self, shape, p, dtype, key):
        self.calls += 1
        return super().dropout_mask(shape, p, dtype, (key[0], key[1] + self.calls - 1))


def one_by_one(x):
    """The sum over the first axis as a float32 loop adds it."""
    return np.cumsum(x, axis=0, dtype=np.float32)[-1]


class SumsOneByOne(NumpyBackend):
    def sum(self, x, axis=None, keepdims=False):
        if x.dtype == np.float32 and axis == 0:
            return one_by_one(x)
        return super().sum(x, axis, keepdims)


class MeansOneByOne(NumpyBackend):
    def mean(self, x, axis=None, keepdims=False):
        if x.dtype == np.float32 and axis == 0:
            return one_by_one(x) / np.float32(len(x))
        return super().mean(x, axis, keepdims)


class MeanInDoublePrecision(NumpyBackend):
    def mean(self, x, axis=None, keepdims=False):
        return super().mean(x, axis, keepdims).astype(np.float64)


LIES = [
    (SumsOneByOne, "sum", "long sums, (20000, 3), axis 0"),
    (MeansOneByOne, "mean", "long sums, (20000, 3), axis 0"),
    (MeanInDoublePrecision, "mean", "mean is float64"),
    (SinglePrecisionOnly, "asarray", "came back as float32"),
    (MemoryOrderKept, "asarray", "came back with other values"),
    (OwnsNothing, "asarray", "`backend.owns` is false"),
    (NoPadding, "im2col", "expected 0.0"),
    (AxesSwapped, "im2col", "elements differ"),
    (NotContiguous, "im2col", "expected a C-contiguous one"),
    (Upcast, "im2col", "cols has dtype float64, expected float32"),
    (StridesSwapped, "im2col", "stride 1x2"),
    (ContiguousAssumed, "im2col", "Fortran layout"),
    (ContiguousAssumed, "im2col", "transposed view"),
    (ClearsItsInput, "im2col", "inputs was changed"),
    (LostAccumulation, "col2im", "elements differ"),
    (BorderForgotten, "col2im", "elements differ"),
    (ContiguousColumnsAssumed, "col2im", "transposed view"),
    (SumsInDoublePrecision, "col2im", "x has dtype float64, expected float32"),
    (LastTieWins, "max_pool2d", "winner[0, 0, 0, "),
    (ZeroPadding, "max_pool2d", "padding 1x1"),
    (NanLoses, "max_pool2d", "expected nan"),
    (RaggedEdgeCounts, "max_pool2d", "elements differ"),
    (WinnerInOneByte, "max_pool2d", "kernel 1x257"),
    (ContiguousImagesAssumed, "max_pool2d", "channels first layout"),
    (GradientToTheFirst, "max_pool2d_backward", "elements differ"),
    (ChangesItsInput, "max_pool2d_backward", "array 0 of its inputs was changed"),
    (ContiguousGradientsAssumed, "max_pool2d_backward", "transposed view"),
    (LastWindowOnly, "max_pool2d_backward", "stride 1x1"),
    (OutOfRange, "max_pool2d_backward", "raised IndexError"),
    (NextImage, "gather_images", "elements differ"),
    (ScaleForgotten, "gather_images", "scale 0.00392"),
    (ContiguousBytesAssumed, "gather_images", "Fortran layout"),
    (SortsItsIndices, "gather_images", "array 1 of its inputs was changed"),
    (NearestPixel, "gather_warped", "shift by half a pixel"),
    (EdgeRepeated, "gather_warped", "far below"),
    (WavesIgnored, "gather_warped", "bent by waves"),
    (NeverReflects, "gather_warped", "whole pixels, reflected"),
    (NotScaledUp, "dropout_mask", "p=0.3"),
    (StepIgnored, "dropout_mask", "key (0, 1)"),
    (ShortStep, "dropout_mask", "8589934599"),
    (NotRepeatable, "dropout_mask", "two runs with the same input differ"),
]  # class, kernel, words of the report


# ------------------------------------------------------------------------------------------------------- fused kernels


def forget_bias(honest):
    return lambda x, weight, bias, **settings: honest(x, weight, np.zeros_like(bias), **settings)


def forget_relu(honest):
    return lambda *arrays, relu, **settings: honest(*arrays, relu=False, **settings)


def swap_stride(honest):
    def conv_forward(x, weight, bias, *, stride, **settings):
        y, saved = honest(x, weight, bias, stride=stride, **settings)
        if stride[0] != stride[1]:
            y = np.ascontiguousarray(y[:, ::-1])
        return y, saved

    return conv_forward


def double_precision(honest):
    def conv_forward(*arrays, **settings):
        y, saved = honest(*arrays, **settings)
        return y.astype(np.float64), saved

    return conv_forward


def assume_contiguous(honest):
    return lambda x, *arrays, **settings: honest(as_if_contiguous(x), *arrays, **settings)


def assume_contiguous_gradient(honest):
    return lambda saved, grad_y, **needs: honest(saved, as_if_contiguous(grad_y), **needs)


def clear_gradient(honest):
    def conv_backward(saved, grad_y, **needs):
        gradients = honest(saved, grad_y.copy(), **needs)
        if grad_y.flags.writeable:
            grad_y[...] = 0
        return gradients

    return conv_backward


def scale_gradient(number):
    """The gradient of that number is 0.1 % too large."""

    def plant(honest):
        def backward(*arrays, **needs):
            gradients = list(honest(*arrays, **needs))
            if gradients[number] is not None:
                gradients[number] = gradients[number] * np.float32(1.001)
            return tuple(gradients)

        return backward

    return plant


def never_the_batch(honest):
    """Computes by fixed statistics where those of the batch are needed."""

    def norm_forward(x, gamma, beta, mean, var, **settings):
        if mean is None:
            mean, var = np.zeros_like(gamma), np.ones_like(gamma)
        return honest(x, gamma, beta, mean, var, **settings)

    return norm_forward


def unbiased_variance(honest):
    def norm_forward(x, *arrays, **settings):
        y, mean, var, saved = honest(x, *arrays, **settings)
        count = x.size // x.shape[3]
        return y, mean, var * np.float32(count / (count - 1)), saved

    return norm_forward


def positive_gamma(honest):
    return lambda x, weight, bias, gamma, *rest, **settings: honest(x, weight, bias, abs(gamma), *rest, **settings)


def nothing(honest):
    return lambda *arrays, **needs: (None,) * 3


def sum_of_losses(honest):
    def softmax_cross_entropy(logits, labels):
        loss, grad = honest(logits, labels)
        return loss * len(logits), grad

    return softmax_cross_entropy


def hard_labels(honest):
    return lambda logits, labels: honest(logits, labels if labels.ndim == 1 else labels.argmax(axis=1))


def no_decay(honest):
    return lambda arrays, rates, beta1, beta2, eps, decay: honest(arrays, rates, beta1, beta2, eps, 0.0)


def first_parameter_only(honest):
    return lambda arrays, *settings: honest(arrays[:1], *settings)


def two_rates(honest):
    return lambda arrays, rates, *settings: honest(arrays, rates[:2], *settings)


def unscaled_dropout(honest):
    return lambda x, p, key: honest(x, p, key) * x.dtype.type(1 - p)


def ignored_step(honest):
    return lambda x, p, key: honest(x, p, (key[0], 0))


def reversed_momentum(honest):
    return lambda mean, var, new_mean, new_var, momentum: honest(mean, var, new_mean, new_var, 1 - momentum)


def last_maximum(honest):
    def count_correct(logits, labels):
        return honest(logits[:, ::-1], logits.shape[1] - 1 - labels)

    return count_correct


def same_row(honest):
    def end_step(loss, logits, labels, sums, row, table, here):
        row -= 1
        honest(loss, logits, labels, sums, row, table, here)
        row += 1

    return end_step


def loss_of_one_image(honest):
    def end_step(loss, logits, *rest):
        honest(loss / len(logits), logits, *rest)

    return end_step


def mean_one_by_one(honest):
    def norm_forward(x, gamma, beta, mean, var, **settings):
        y, _, used_var, saved = honest(x, gamma, beta, mean, var, **settings)
        rows = x.reshape(-1, x.shape[3])
        return y, one_by_one(rows) / np.float32(len(rows)) if mean is None else mean, used_var, saved

    return norm_forward


def variance_one_by_one(honest):
    def norm_forward(x, gamma, beta, mean, var, **settings):
        y, used_mean, _, saved = honest(x, gamma, beta, mean, var, **settings)
        rows = (x - used_mean).reshape(-1, x.shape[3])
        return y, used_mean, one_by_one(rows**2) / np.float32(len(rows)) if var is None else var, saved

    return norm_forward


def beta_one_by_one(honest):
    def norm_backward(saved, gamma, grad_y, **needs):
        grad_x, grad_gamma, _ = honest(saved, gamma, grad_y, **needs)
        return grad_x, grad_gamma, one_by_one(grad_y.reshape(-1, len(gamma)))

    return norm_backward


def bias_one_by_one(honest):
    def backward(*arrays, **settings):
        *others, grad_bias = honest(*arrays, **settings)
        grad_y = arrays[-1]
        plain = grad_bias is not None and len(grad_y) > 30 and (grad_y > 0).all()  # all has passed ReLU
        return *others, one_by_one(grad_y.reshape(-1, grad_y.shape[-1])) if plain else grad_bias

    return backward


def classes_one_by_one(honest):
    def softmax_cross_entropy(logits, labels):
        loss, grad = honest(logits, labels)
        if logits.shape[1] > 100:
            top = logits.max(axis=1)
            totals = one_by_one(np.exp(logits - top[:, None]).T)
            loss = (np.log(totals) + top - logits[np.arange(len(labels)), labels]).mean()
        return loss, grad

    return softmax_cross_entropy


def sums_in_single_precision(honest):
    def end_step(loss, logits, labels, sums, *rest):
        honest(loss.astype(np.float32), logits, labels, sums, *rest)
        sums[0][...] = np.float32(sums[0])

    return end_step


FUSED_LIES = [
    ("norm_forward", mean_one_by_one, "long sums, no pool): mean["),
    ("norm_forward", variance_one_by_one, "long sums, no pool): var["),
    ("norm_backward", beta_one_by_one, "long sums, no pool): grad_beta["),
    ("conv_backward", bias_one_by_one, "no pool): grad_bias["),
    ("dense_backward", bias_one_by_one, "long sums, 20000 images): grad_bias["),
    ("softmax_cross_entropy", classes_one_by_one, "long sums, (2, 20000)): loss"),
    ("end_step", sums_in_single_precision, "array 3"),
    ("conv_forward", forget_bias, "elements differ"),
    ("conv_forward", forget_relu, "ReLU"),
    ("conv_forward", swap_stride, "stride 2x1"),
    ("conv_forward", double_precision, "y has dtype float64, expected float32"),
    ("conv_forward", assume_contiguous, "channels first layout"),
    ("conv_forward", assume_contiguous, "transposed view"),
    ("conv_backward", assume_contiguous_gradient, "transposed view"),
    ("conv_backward", clear_gradient, "inputs was changed"),
    ("conv_backward", scale_gradient(0), "grad_x"),
    ("conv_backward", scale_gradient(1), "grad_weight"),
    ("conv_backward", scale_gradient(2), "grad_bias"),
    ("conv_backward", nothing, "returned NoneType"),
    ("norm_forward", never_the_batch, "statistics of the batch"),
    ("norm_forward", unbiased_variance, "var["),
    ("norm_backward", scale_gradient(0), "grad_x"),
    ("norm_backward", scale_gradient(1), "grad_gamma"),
    ("norm_backward", scale_gradient(2), "grad_beta"),
    ("conv_norm_forward", positive_gamma, "elements differ"),
    ("conv_norm_backward", scale_gradient(0), "grad_x"),
    ("conv_norm_backward", scale_gradient(1), "grad_weight"),
    ("conv_norm_backward", scale_gradient(2), "grad_bias"),
    ("conv_norm_backward", scale_gradient(4), "grad_beta"),
    ("depthwise_forward", forget_bias, "elements differ"),
    ("depthwise_forward", assume_contiguous, "transposed view"),
    ("depthwise_backward", scale_gradient(0), "grad_x"),
    ("depthwise_backward", scale_gradient(1), "grad_weight"),
    ("depthwise_backward", bias_one_by_one, "long sums, (40, 12, 13, 5)): grad_bias["),
    ("dense_forward", forget_relu, "ReLU"),
    ("dense_forward", assume_contiguous, "Fortran layout"),
    ("dense_backward", forget_relu, "ReLU"),
    ("conv_inference", forget_bias, "elements differ"),
    ("dense_inference", forget_relu, "ReLU"),
    ("dense_backward", scale_gradient(1), "grad_weight"),
    ("softmax_cross_entropy", sum_of_losses, "loss["),
    ("softmax_cross_entropy", hard_labels, "probabilities"),
    ("adam_all", no_decay, "decay 0.3"),
    ("adam_all", first_parameter_only, "array 4"),
    ("adam_all", two_rates, "0.9)"),
    ("dropout", unscaled_dropout, "elements differ"),
    ("dropout", ignored_step, "key (4611686018427387904, 8589934592)"),
    ("update_statistics", reversed_momentum, "momentum 0.1"),
    ("count_correct", last_maximum, "with_ties"),
    ("end_step", same_row, "array 7"),
    ("end_step", loss_of_one_image, "array 3"),
]  # kernel, what plants the bug, words of the report
