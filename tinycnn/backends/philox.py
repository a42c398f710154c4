"""Random bits from a counter: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

Element ``i`` of a dropout mask depends only on ``(seed, step, i)``. So a GPU thread, a Numba loop and NumPy draw the
same mask without sharing a state, a resumed run continues with the right one, and backward could even recompute it.
"""

import numpy as np

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
LOW_WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox4x32(counter: tuple[np.ndarray, ...], key: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Four arrays of 32-bit counter words (held in uint64) and two key words → four arrays of 32 random bits each."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        left, right = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c2 = (right >> HALF) ^ c1 ^ np.uint64(k0), (left >> HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = right & LOW_WORD, left & LOW_WORD
        k0, k1 = (k0 + KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + KEY_STEPS[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def random_bits(count: int, seed: int, step: int) -> np.ndarray:
    """Random 32-bit words, ``(count,)`` uint32: word ``i`` is lane ``i % 4`` of counter ``(i // 4, step)``."""
    block = np.arange((count + 3) // 4, dtype=np.uint64)
    words = (block & LOW_WORD, block >> HALF, np.full_like(block, step & 0xFFFFFFFF), np.full_like(block, step >> 32))
    lanes = philox4x32(words, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF))
    return np.stack(lanes, axis=1).reshape(-1)[:count].astype(np.uint32)  # (count,)


def keep_threshold(p: float) -> int:
    """A word at or above this is kept: ``p`` of all 2**32 words lie below it."""
    return min(round(p * 2**32), 2**32 - 1)
