"""Quantiles of Student's t distribution, without SciPy: it takes longer to import than a probe."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_MOST_STEPS = 100


@lru_cache(maxsize=1024)
def student_quantile(freedom: float, probability: float) -> float:
    """The value that a Student t variable stays below with a probability.

    With `t = sqrt(freedom) tan(angle)` the density of the angle is proportional to
    `cos(angle) ** (freedom - 1)`. Its integral from 0 is smooth, so that Gauss-Legendre points give
    it to rounding; Newton's method, kept within a bracket, inverts it.

    Args:
        freedom: Degrees of freedom, at least 1; any real number.
        probability: Between 0 and 1, both excluded.

    Returns:
        The quantile, to 10 digits or more.

    Example:
        >>> round(student_quantile(3, 0.975), 4)
        3.1824
    """
    wanted = abs(probability - 0.5)
    log_scale = _log_gamma_of_next_half(freedom / 2) - math.log(math.pi) / 2
    low, high = 0.0, math.pi / 2
    angle = min(math.pi / 4, 1 / math.sqrt(freedom))
    for _ in range(_MOST_STEPS):
        excess = _mass(angle, freedom, log_scale) - wanted
        low, high = (low, angle) if excess > 0 else (angle, high)
        density = math.exp(log_scale + (freedom - 1) * math.log(math.cos(angle)))
        following = angle - excess / density if density else high  # which bisects
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - angle) <= 1e-15 * angle:
            break
        angle = following
    return math.copysign(math.sqrt(freedom) * math.tan(angle), probability - 0.5)


def _mass(angle: float, freedom: float, log_scale: float) -> float:
    """The probability of an angle between 0 and `angle`."""
    points = angle * (_POINTS + 1) / 2
    density = np.exp(log_scale + (freedom - 1) * np.log(np.cos(points)))
    return float(angle / 2 * (_WEIGHTS * density).sum())


def _log_gamma_of_next_half(x: float) -> float:
    """`log(gamma(x + 1/2) / gamma(x))`; by its series where the difference would lose digits."""
    if x < 20:
        return math.lgamma(x + 0.5) - math.lgamma(x)
    r = 1 / (x * x)
    return math.log(x) / 2 - (1 / 8 - r * (1 / 192 - r * (1 / 640 - r * 17 / 14336))) / x
