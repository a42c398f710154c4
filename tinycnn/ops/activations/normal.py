"""The normal distribution: its density φ and its tail Φ(-a), to all digits of float64, from elementary arithmetic.

NumPy has no erf. The tail falls like ``e^{-a²/2}``; what remains without this factor is smooth:

    φ(a) = e^{-a²/2} / √(2π)          Φ(-a) = e^{-a²/2} P(a) / Q(a)          for 0 ≤ a ≤ 40

P and Q are the polynomials of degree 9 and 10 whose quotient is closest, by least squares of the relative error at 160
points; the largest is 7e-17. Their coefficients are positive, so that nothing cancels. Beyond 40, ``e^{-a²/2}`` is 0.

A rounding of ``a²`` would become an error of ``a²/2`` roundings in ``e^{-a²/2}``. So ``a`` is split into ``h``, its
multiple of 1/16 below, whose square is exact, and the rest: ``a² = h² + (a - h)(a + h)``.
"""

import math
from typing import Any

from tinycnn.backends.base import Array

P = (
    1.3643464673559678353e-6, 3.6788960777792201495e-5, 4.8541647227819873923e-4, 4.0554313417479454e-3,
    2.3465766990539843238e-2, 9.719501854698855104e-2, 2.8822651529679788329e-1, 5.9252170842392595816e-1,
    7.7384001893667861641e-1, 4.9999999999999998151e-1,
)  # fmt: skip
Q = (
    3.4199094314779195856e-6, 9.2216249277712307671e-5, 1.2201785640210884402e-3, 1.0257675104773766331e-2,
    6.0029874299568797287e-2, 2.5361279591313560327e-1, 7.7889762112145341912e-1, 1.7094506181853731743,
    2.556533196497621505, 2.3455645986762150405, 1.0,
)  # fmt: skip


def polynomial(coefficients: tuple[float, ...], a: Array) -> Array:
    """``Σ c_k aᵏ``, the coefficient of the highest power first."""
    first, *others = coefficients
    y = first * a + others[0]
    for coefficient in others[1:]:
        y = y * a + coefficient
    return y


def density_and_tail(xp: Any, a: Array) -> tuple[Array, Array]:
    """``φ(a)`` and ``Φ(-a)`` for ``0 ≤ a ≤ 40``, both of the shape of ``a``."""
    h = xp.floor(a * 16) / 16
    falling = xp.exp(h * h / -2) * xp.exp((a - h) * (a + h) / -2)  # e^{-a²/2}
    return falling / math.sqrt(2 * math.pi), falling * (polynomial(P, a) / polynomial(Q, a))
