"""What a training step computes besides its layers: targets, loss, scores, dropout, the sums of an epoch."""

import numpy as np

from .jit import exact_kernel, kernel
from .plain import random_words

BLOCKS = 64  # of four random words, computed at a time


@kernel
def one_hot(labels, target):
    """``labels (N,)`` → ``target (N, K)``: 1 for the class of each row, else 0."""
    for n in range(labels.size):
        for k in range(target.shape[1]):
            target[n, k] = 0
        target[n, labels[n]] = 1


@exact_kernel
def mean_of(numbers, mean):
    """``numbers (N,)`` float64 → their mean ``()``."""
    total = 0.0
    for n in range(numbers.size):
        total += numbers[n]
    mean[()] = total / numbers.size


@exact_kernel
def dropout(x, seed, step, more, threshold, kept, y, start, stop):
    """Elements ``[4 start, 4 stop)`` of a flat ``y = x · mask``, as `dropout_mask`; the step is ``step[()] + more``.

    The random words of some blocks are computed first, in a loop without conditions, which takes half of the time.
    """
    number = step[()] + more
    words = np.empty(4 * BLOCKS, np.uint64)
    for first in range(start, stop, BLOCKS):
        for b in range(BLOCKS):
            words[4 * b], words[4 * b + 1], words[4 * b + 2], words[4 * b + 3] = random_words(seed, number, first + b)
        for i in range(min(4 * min(BLOCKS, stop - first), x.size - 4 * first)):
            y[4 * first + i] = x[4 * first + i] * (kept if words[i] >= threshold else x.dtype.type(0))


@kernel
def sum_of_squares(numbers, start, stop, total):
    """``total (1,)`` = the sum of the squares of ``numbers[start:stop]``, in float64."""
    a = b = c = d = 0.0
    fours = stop - (stop - start) % 4
    for i in range(start, fours, 4):
        a += np.float64(numbers[i]) * numbers[i]
        b += np.float64(numbers[i + 1]) * numbers[i + 1]
        c += np.float64(numbers[i + 2]) * numbers[i + 2]
        d += np.float64(numbers[i + 3]) * numbers[i + 3]
    for i in range(fours, stop):
        a += np.float64(numbers[i]) * numbers[i]
    total[0] = (a + b) + (c + d)


@exact_kernel
def root_of_sum(numbers, root):
    """``root ()`` = the square root of the sum of float64 ``numbers (n,)``."""
    total = 0.0
    for i in range(numbers.size):
        total += numbers[i]
    root[()] = np.sqrt(total)


@kernel
def count_correct(logits, labels, correct):
    """The rows of ``logits (N, K)`` whose first maximum, or first NaN, is at ``labels (N,)`` → ``correct ()``."""
    correct[()] = 0
    for n in range(labels.size):
        top = 0
        for k in range(1, logits.shape[1]):
            value, best = logits[n, k], logits[n, top]
            if value > best or (value != value and best == best):
                top = k
        correct[()] += top == labels[n]


@exact_kernel
def end_step(loss, correct, images, loss_sum, correct_sum, row, table, current):
    """Add the mean ``loss ()`` of some images and the correct answers to the sums; then the next row of the table.

    ``row (1,)`` is its number, and ``table (rows, bytes)`` → ``current (bytes,)``.
    """
    loss_sum[()] += np.float64(loss[()]) * images
    correct_sum[()] += correct[()]
    row[0] += 1
    if row[0] < table.shape[0]:
        for i in range(current.size):
            current[i] = table[row[0], i]
