"""Backpropagation by hand: every gradient of a small network, derived, computed with NumPy, and by the engine.

The network: convolution 3x3 → ReLU → max-pool 2x2 → dense → softmax and cross-entropy. `backward` has one step for each
step of `forward`, in the opposite order, and uses the intermediate results that `forward` returns. grad_t is
d loss / d t, an array of the shape of t.

    N images, H = W = 6 pixels, C = 1 channel, F = 2 filters, K = 3 classes
"""

from typing import Any

import numpy as np

import tinycnn
from tinycnn import Tensor, ops

Arrays = dict[str, Any]


def example(seed: int = 0) -> tuple[Arrays, np.ndarray]:
    """Random inputs and weights in float64, and the labels."""
    rng = np.random.default_rng(seed)
    shapes = {
        "x": (4, 6, 6, 1),  # (N, H, W, C)
        "conv_weight": (3, 3, 1, 2),  # (KH, KW, C, F)
        "conv_bias": (2,),  # (F,)
        "dense_weight": (8, 3),  # (2*2*F, K)
        "dense_bias": (3,),  # (K,)
    }
    return {name: rng.normal(scale=0.5, size=shape) for name, shape in shapes.items()}, np.array([0, 2, 1, 2])


def forward(x: Any, conv_weight: Any, conv_bias: Any, dense_weight: Any, dense_bias: Any, labels: Any) -> Arrays:
    """All intermediate results, by name."""
    N, F = len(x), len(conv_bias)

    conv = np.zeros((N, 4, 4, F))
    for n, oh, ow in np.ndindex(N, 4, 4):
        window = x[n, oh : oh + 3, ow : ow + 3]  # (3, 3, C): the pixels under the filter
        conv[n, oh, ow] = (window[..., None] * conv_weight).sum(axis=(0, 1, 2)) + conv_bias  # (F,)

    relu = np.maximum(conv, 0)  # (N, 4, 4, F)

    pool = np.zeros((N, 2, 2, F))
    winner = np.zeros((N, 2, 2, F), dtype=int)
    for n, oh, ow, f in np.ndindex(N, 2, 2, F):
        window = relu[n, 2 * oh : 2 * oh + 2, 2 * ow : 2 * ow + 2, f]  # (2, 2)
        winner[n, oh, ow, f] = window.argmax()  # its index, row by row; the first of equal ones
        pool[n, oh, ow, f] = window.max()

    flat = pool.reshape(N, -1)  # (N, 8)
    logits = flat @ dense_weight + dense_bias  # (N, K)

    # The same number subtracted from all logits of a row changes no p, and without large powers nothing overflows.
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = exps / exps.sum(axis=1, keepdims=True)  # (N, K)
    loss = -np.log(p[np.arange(N), labels]).mean()
    return {"conv": conv, "relu": relu, "pool": pool, "winner": winner, "logits": logits, "p": p, "loss": loss}


def backward(x: Any, conv_weight: Any, dense_weight: Any, labels: Any, seen: Arrays) -> Arrays:
    """The gradient of the loss with respect to every array, by name; ``seen`` is the result of ``forward``."""
    N, F = len(x), conv_weight.shape[3]

    # loss = mean of -log p[label]. From p[i] = e^logit[i] / Σ_j e^logit[j] follows
    #     log p[i] = logit[i] - log Σ_j e^logit[j].
    #   d logit[i] / d logit[k] is 1 if i == k, else 0.
    #   d log Σ_j e^logit[j] / d logit[k] is e^logit[k] / Σ_j e^logit[j], which is p[k].
    # So d log p[i] / d logit[k] = (1 if i == k else 0) - p[k]. One image contributes p[k] - target[k], where target is
    # 1 at the label and 0 elsewhere; the mean divides by N.
    target = np.eye(3)[labels]  # (N, K)
    grad_logits = (seen["p"] - target) / N  # (N, K)

    # logits[n, k] = Σ_i flat[n, i] W[i, k] + b[k].
    #   W[i, k] was used once per image, times flat[n, i]: sum over n.
    #   b[k] was used once per image, times 1: sum over n.
    #   flat[n, i] was used once per class, times W[i, k]: sum over k.
    flat = seen["pool"].reshape(N, -1)  # (N, 8)
    grad_dense_weight = flat.T @ grad_logits  # (8, K)
    grad_dense_bias = grad_logits.sum(axis=0)  # (K,)
    grad_pool = (grad_logits @ dense_weight.T).reshape(seen["pool"].shape)  # (N, 2, 2, F)

    # pool is the largest of four values. Its gradient goes to that one; the other three have gradient 0.
    grad_relu = np.zeros(seen["relu"].shape)  # (N, 4, 4, F)
    for n, oh, ow, f in np.ndindex(grad_pool.shape):
        kh, kw = divmod(seen["winner"][n, oh, ow, f], 2)
        grad_relu[n, 2 * oh + kh, 2 * ow + kw, f] += grad_pool[n, oh, ow, f]

    # relu = max(conv, 0) has slope 1 where conv > 0, else 0.
    grad_conv = grad_relu * (seen["conv"] > 0)  # (N, 4, 4, F)

    # conv[n, oh, ow, f] = Σ_{kh, kw, c} x[n, oh+kh, ow+kw, c] weight[kh, kw, c, f] + bias[f].
    #   A weight was used in every window of every image, times the pixel under it: sum over n, oh, ow.
    #   A bias likewise, times 1.
    #   A pixel was used in every window that covers it, by every filter, times the weight that lay on it: sum over f,
    #   and every window adds its share to the place that it was cut out of.
    grad_conv_weight = np.zeros(conv_weight.shape)  # (3, 3, C, F)
    grad_conv_bias = np.zeros(F)  # (F,)
    grad_x = np.zeros(x.shape)  # (N, H, W, C)
    for n, oh, ow in np.ndindex(N, 4, 4):
        g = grad_conv[n, oh, ow]  # (F,)
        grad_conv_weight += x[n, oh : oh + 3, ow : ow + 3, :, None] * g
        grad_conv_bias += g
        grad_x[n, oh : oh + 3, ow : ow + 3] += conv_weight @ g  # (3, 3, C, F) @ (F,) → (3, 3, C)

    return {
        "logits": grad_logits,
        "dense_weight": grad_dense_weight,
        "dense_bias": grad_dense_bias,
        "pool": grad_pool,
        "relu": grad_relu,
        "conv": grad_conv,
        "conv_weight": grad_conv_weight,
        "conv_bias": grad_conv_bias,
        "x": grad_x,
    }


def by_the_engine(arrays: Arrays, labels: np.ndarray) -> tuple[float, Arrays]:
    """The same loss and gradients, computed by tinycnn.

    The engine keeps the gradients of leaves only. A leaf of zeros is added to each intermediate result, because the
    gradient of a sum is the gradient of both of its terms: the leaf then has the gradient of the intermediate result.
    """
    leaves = {name: Tensor(array, requires_grad=True) for name, array in arrays.items()}

    def watched(name: str, tensor: Tensor) -> Tensor:
        leaves[name] = Tensor(np.zeros(tensor.shape), requires_grad=True)
        return tensor + leaves[name]

    conv = watched("conv", ops.conv2d(leaves["x"], leaves["conv_weight"], leaves["conv_bias"]))
    relu = watched("relu", ops.relu(conv))
    pool = watched("pool", ops.max_pool2d(relu, kernel_size=2))
    logits = watched("logits", ops.dense(ops.flatten(pool), leaves["dense_weight"], leaves["dense_bias"]))
    loss = ops.softmax_cross_entropy(logits, labels)
    loss.backward()
    return loss.item(), {name: leaf.grad for name, leaf in leaves.items()}


def main() -> None:
    tinycnn.use_backend("numpy")
    arrays, labels = example()
    seen = forward(**arrays, labels=labels)
    ours = backward(arrays["x"], arrays["conv_weight"], arrays["dense_weight"], labels, seen)
    loss, engines = by_the_engine(arrays, labels)

    print(f"loss by hand {seen['loss']:.15f}\n  the engine {loss:.15f}\n")
    print("The largest element of each gradient, and the largest difference of all its elements:\n")
    print(f"{'gradient of':<24} {'by hand':>20} {'the engine':>20} {'difference':>12}")
    for name, grad in ours.items():
        place = tuple(int(i) for i in np.unravel_index(np.abs(grad).argmax(), grad.shape))
        difference = np.abs(grad - engines[name]).max()
        element = f"{name}{list(place)}"
        print(f"{element:<24} {grad[place]:>20.15f} {engines[name][place]:>20.15f} {difference:>12.1e}")
    worst = max(np.abs(grad - engines[name]).max() for name, grad in ours.items())
    if not worst < 1e-12:
        raise SystemExit("they differ: one of the two is wrong")
    print(f"\nNo element differs by more than {worst:.1e}, which is rounding.")


if __name__ == "__main__":
    main()
