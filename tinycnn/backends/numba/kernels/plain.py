"""The backend contract as compiled loops, float32 and float64, each over the images ``[start, stop)``.

The loops are those of the definition. The innermost loop runs over channels, which are contiguous in memory, so that
the compiler can use SIMD registers.
"""

import numpy as np

from .jit import inlined, kernel


@kernel
def im2col(x, kernel_size, stride, padding, cols, start, stop):
    """``x (N, H, W, C)`` → ``cols (N, OH, OW, KH, KW, C)``; pixels outside the image are zero."""
    _, H, W, C = x.shape
    _, OH, OW, KH, KW, _ = cols.shape
    for n in range(start, stop):
        for oh in range(OH):
            for ow in range(OW):
                for kh in range(KH):
                    h = oh * stride[0] + kh - padding[0]
                    for kw in range(KW):
                        w = ow * stride[1] + kw - padding[1]
                        if 0 <= h < H and 0 <= w < W:
                            for c in range(C):
                                cols[n, oh, ow, kh, kw, c] = x[n, h, w, c]
                        else:
                            for c in range(C):
                                cols[n, oh, ow, kh, kw, c] = 0


@kernel
def col2im(cols, kernel_size, stride, padding, x, start, stop):
    """``cols (N, OH, OW, KH, KW, C)`` → ``x (N, H, W, C)``, overwritten: each pixel is the sum of its copies."""
    _, H, W, C = x.shape
    _, OH, OW, KH, KW, _ = cols.shape
    for n in range(start, stop):
        x[n] = 0
        for oh in range(OH):
            for ow in range(OW):
                for kh in range(KH):
                    h = oh * stride[0] + kh - padding[0]
                    for kw in range(KW):
                        w = ow * stride[1] + kw - padding[1]
                        if 0 <= h < H and 0 <= w < W:
                            for c in range(C):
                                x[n, h, w, c] += cols[n, oh, ow, kh, kw, c]


@kernel
def max_pool2d(x, kernel_size, stride, padding, y, winner, start, stop):
    """``x (N, H, W, C)`` → ``y`` and ``winner``, both ``(N, OH, OW, C)``: first maximum, or first NaN."""
    _, H, W, C = x.shape
    _, OH, OW, _ = y.shape
    for n in range(start, stop):
        for oh in range(OH):
            for ow in range(OW):
                for c in range(C):
                    y[n, oh, ow, c] = -np.inf
                    winner[n, oh, ow, c] = 0
                first = True
                for kh in range(kernel_size[0]):
                    h = oh * stride[0] + kh - padding[0]
                    for kw in range(kernel_size[1]):
                        w = ow * stride[1] + kw - padding[1]
                        if 0 <= h < H and 0 <= w < W:
                            place = kh * kernel_size[1] + kw
                            for c in range(C):
                                value, best = x[n, h, w, c], y[n, oh, ow, c]
                                if first or value > best or (value != value and best == best):
                                    y[n, oh, ow, c] = value
                                    winner[n, oh, ow, c] = place
                            first = False


@kernel
def max_pool2d_backward(grad_y, winner, kernel_size, stride, padding, grad_x, start, stop):
    """``grad_y (N, OH, OW, C)`` → ``grad_x (N, H, W, C)``, overwritten: each gradient goes to its winner."""
    _, OH, OW, C = grad_y.shape
    for n in range(start, stop):
        grad_x[n] = 0
        for oh in range(OH):
            for ow in range(OW):
                for c in range(C):
                    place = np.intp(winner[n, oh, ow, c])
                    h = oh * stride[0] + place // kernel_size[1] - padding[0]
                    w = ow * stride[1] + place % kernel_size[1] - padding[1]
                    grad_x[n, h, w, c] += grad_y[n, oh, ow, c]


@kernel
def gather_images(images, indices, scale, x, start, stop):
    """``x[n] = scale * images[indices[n]]``; images ``(M, pixels)`` bytes, ``x (N, pixels)``."""
    for n in range(start, stop):
        image = indices[n]
        for i in range(x.shape[1]):
            x[n, i] = np.float32(images[image, i]) * scale


@inlined
def pixel(image, h, w, c):
    """The pixel, or zero outside the image."""
    return np.float32(image[h, w, c]) if 0 <= h < image.shape[0] and 0 <= w < image.shape[1] else np.float32(0)


@inlined
def reflected(place, last):
    """A position along an axis with the pixels 0 to ``last``: one outside is mirrored at 0 and at ``last``."""
    if 0 <= place <= last:
        return place
    return last - np.abs(np.abs(place) % (last + last) - last) if last > 0 else last


@kernel
def gather_warped(images, indices, maps, terms, scale, reflect, x, start, stop):
    """``x[n] = scale * images[indices[n]]``, sampled bilinearly at the positions that ``maps[n] (2, T)`` gives.

    Outside the image, all is zero, or with ``reflect`` the reflection of the image.
    """
    _, H, W, C = x.shape
    one = maps.dtype.type(1)
    last_h, last_w = maps.dtype.type(H - 1), maps.dtype.type(W - 1)
    centre_h, centre_w = last_h / 2, last_w / 2
    for n in range(start, stop):
        image, m = images[indices[n]], maps[n]
        for h in range(H):
            for w in range(W):
                place_h = m[0, 0] * (h - centre_h) + m[0, 1] * (w - centre_w) + m[0, 2] + centre_h
                place_w = m[1, 0] * (h - centre_h) + m[1, 1] * (w - centre_w) + m[1, 2] + centre_w
                for t in range(3, terms.shape[0]):
                    place_h += m[0, t] * terms[t, h, w]
                    place_w += m[1, t] * terms[t, h, w]
                if reflect:
                    place_h, place_w = reflected(place_h, last_h), reflected(place_w, last_w)
                top, left = int(np.floor(place_h)), int(np.floor(place_w))
                below, right = place_h - top, place_w - left
                for c in range(C):
                    upper = pixel(image, top, left, c) * (one - right) + pixel(image, top, left + 1, c) * right
                    lower = pixel(image, top + 1, left, c) * (one - right) + pixel(image, top + 1, left + 1, c) * right
                    x[n, h, w, c] = (upper * (one - below) + lower * below) * scale


@kernel
def relu_backward(grad_y, y, grad_x):
    """``grad_x = grad_y where y > 0, else 0``, all flat."""
    for i in range(grad_x.size):
        grad_x[i] = grad_y[i] if y[i] > 0 else np.float32(0)


@kernel
def add_bias_relu(product, bias, relu, y):
    """``y (N, F) = product (N, F) + bias (F,)``, then ReLU if ``relu``."""
    for n in range(product.shape[0]):
        for f in range(bias.size):
            value = product[n, f] + bias[f]
            y[n, f] = np.float32(0) if relu and value <= 0 else value


@kernel
def adam(p, g, m, v, step_size, v_scale, left, beta1, beta2, eps, weight_decay):
    """One Adam step over flat arrays: one pass instead of five. The rates, up to ``left``, are arrays ``()``.

    The loop starts at 0, not at a ``start`` argument: then Numba knows that no index is negative.
    """
    number = p.dtype.type  # for float32 parameters all arithmetic is float32
    step_size, v_scale, left, eps = step_size[()], v_scale[()], left[()], number(eps)
    beta1, rest1, beta2, rest2 = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    weight_decay = number(weight_decay)
    for i in range(p.size):
        slope = g[i] + weight_decay * p[i]
        m[i] = beta1 * m[i] + rest1 * slope
        v[i] = beta2 * v[i] + rest2 * (slope * slope)
        p[i] = left * p[i] - step_size * m[i] / (np.sqrt(v[i] * v_scale) + eps)


@kernel
def softmax_cross_entropy(logits, target, losses, grad):
    """The loss of each row, ``losses (N,)`` float64, and ``grad (N, K) = (softmax - target) / N``."""
    N, K = logits.shape
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    for n in range(N):
        top, exact_total = logits[n, 0], 0.0
        for k in range(1, K):
            top = logits[n, k] if logits[n, k] > top or logits[n, k] != logits[n, k] else top
        for k in range(K):
            grad[n, k] = np.exp(logits[n, k] - top)
            exact_total += grad[n, k]
        total = logits.dtype.type(exact_total)
        log_total = np.log(total)
        losses[n] = 0
        for k in range(K):
            if target[n, k] != zero:  # a class with target 0 may have log p = -inf
                losses[n] -= target[n, k] * (logits[n, k] - top - log_total)
            grad[n, k] = (grad[n, k] / total - target[n, k]) * (one / logits.dtype.type(N))


@inlined
def random_words(seed, step, block):
    """Philox4x32-10, as in ``philox.py``: the four random words of a block, 32 bits each."""
    low = np.uint64(0xFFFFFFFF)
    k0, k1 = seed & low, seed >> np.uint64(32)
    c0, c1 = np.uint64(block) & low, np.uint64(block) >> np.uint64(32)
    c2, c3 = step & low, step >> np.uint64(32)
    for _ in range(10):
        left, right = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c2 = (right >> np.uint64(32)) ^ c1 ^ k0, (left >> np.uint64(32)) ^ c3 ^ k1
        c1, c3 = right & low, left & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@kernel
def dropout_mask(seed, step, threshold, kept, mask, start, stop):
    """Elements ``[4 start, 4 stop)`` of a flat mask; a block holds four words."""
    for block in range(start, stop):
        words = random_words(seed, step, block)
        for lane in range(4):
            i = 4 * block + lane
            if i < mask.size:
                mask[i] = kept if words[lane] >= threshold else 0
