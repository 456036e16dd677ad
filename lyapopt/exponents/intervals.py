"""Confidence intervals of mean growth rates.

Increments of a growth rate are correlated from step to step, and often negatively: where a
trajectory has just been stretched it is likely to be compressed next. On the logistic map at r = 4
the increments are a constant plus the difference of a function at two neighbouring points, so that
their sum over n steps has a variance that does not grow with n at all. An interval that takes
increments as independent is 20 times too wide there, batch means and the moving-block bootstrap are
still 5 times too wide, and all of them are too narrow where the correlation is positive.
"""

from __future__ import annotations

import math

import torch
from scipy.special import stdtrit
from torch import Tensor

FEWEST_SEGMENTS = 20
_LENGTHS = 8  # window lengths that the curve of variances is fitted at
_SMALLEST_VARIANCE = 0.25  # of the prediction, in terms of the variance of the longest windows
_ROUNDS = 4  # of reweighting


def has_interval_over_time(segments: int) -> bool:
    """Whether there are enough segments to estimate their spread and correlation."""
    return segments >= FEWEST_SEGMENTS


def mean_interval_over_time(
    increments: Tensor, steps: Tensor, level: float
) -> tuple[Tensor, Tensor]:
    """Interval of the mean growth per step of a stationary, serially correlated series.

    The variance of a sum over m steps is, beyond the correlation time, a straight line in m:

        V(m) = a + s m.

    Independent increments have a = 0, positively correlated ones a < 0 and a larger s, and those
    that cancel each other exactly s = 0. V is measured in overlapping windows of lengths between
    about `sqrt(n) / 2` and `n / 4`, both numbers are fitted (weights from the relative error of
    V(m), which is about `sqrt(4 m / 3 n)`; s not negative), and the line is read at m = n. The
    error of the fit is allowed for by Student's t with `n / (8 shortest window)` degrees of
    freedom, between 3 and 30.

    Args:
        increments: `(segments, ...)`; NaN from a divergence on.
        steps: Steps of every segment, `(segments,)`.
        level: Confidence level.

    Returns:
        Low and high, `(...)`, per step; NaN with fewer than 20 segments, or where an increment is
        not finite. Correlations longer than about a tenth of the series cannot be seen by any
        method; the interval is too narrow then.

    Source: the variance of window sums is the overlapping batch means of Meketon & Schmeiser 1984
        (Proc. Winter Simulation Conf., 227); the line in m is that of Bartlett 1946 and of the
        variance-time plot of Cox & Lewis 1966.
    """
    segments = len(increments)
    total = increments.sum(0)
    centre = total / steps.sum()
    if not has_interval_over_time(segments):
        absent = torch.full_like(centre, torch.nan)
        return absent, absent
    residuals = increments - centre * steps.view(-1, *(1,) * centre.dim())
    shortest = max(1, int(math.sqrt(segments) / 2))
    variance = _variance_of_sum(residuals.reshape(segments, -1), shortest)
    freedom = min(max(segments / shortest / 8, 3.0), 30.0)
    quantile = float(stdtrit(freedom, (1 + level) / 2))
    half = quantile * variance.sqrt().view(centre.shape) / steps.sum()
    return centre - half, centre + half


def _variance_of_sum(residuals: Tensor, shortest: int) -> Tensor:
    """Variance of the sum of `n` residuals, `(n, series)` to `(series,)`, by the line V(m)."""
    n = len(residuals)
    lengths = _window_lengths(n, shortest)
    sums = torch.cat([torch.zeros_like(residuals[:1]), residuals.cumsum(0)])
    measured = torch.stack([(sums[m:] - sums[:-m]).square().mean(0) for m in lengths])
    m = residuals.new_tensor(lengths).unsqueeze(1)
    x = m * (1 - m / n)  # subtracting the mean takes away m / n of the variance
    tiny = torch.finfo(residuals.dtype).tiny
    a, s, fitted = measured[0], measured[0], measured
    for _ in range(_ROUNDS):
        # Relative weights: scaled by the largest variance so that squares do not underflow.
        relative = fitted / fitted.amax(0).clamp(min=tiny)
        weights = (n / m) / relative.square().clamp(min=tiny)
        a, s = _line(weights, x, measured)
        fitted = torch.maximum(a + s * x, 0.1 * measured)
    return torch.maximum(a + s * n, _SMALLEST_VARIANCE * measured[-1])


def _window_lengths(n: int, shortest: int) -> list[int]:
    longest = max(shortest + 1, n // 4)
    ratio = (longest / shortest) ** (1 / (_LENGTHS - 1))
    return sorted({round(shortest * ratio**i) for i in range(_LENGTHS)})


def _line(weights: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares of `y = a + s x` with `s >= 0`, down the first axis."""
    w = weights.sum(0)
    mean_x, mean_y = (weights * x).sum(0) / w, (weights * y).sum(0) / w
    away = x - mean_x
    slope = ((weights * away * (y - mean_y)).sum(0) / (weights * away.square()).sum(0)).clamp(min=0)
    return mean_y - slope * mean_x, slope


def mean_interval_over_replicas(values: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Student's t interval of the mean of independent values.

    Args:
        values: `(..., replicas)`.
        level: Confidence level.

    Returns:
        Low and high, `(...)`; NaN with fewer than two replicas.
    """
    replicas = values.shape[-1]
    mean = values.mean(-1)
    if replicas < 2:
        return torch.full_like(mean, torch.nan), torch.full_like(mean, torch.nan)
    quantile = float(stdtrit(replicas - 1, (1 + level) / 2))
    half = quantile * values.std(-1) / math.sqrt(replicas)
    return mean - half, mean + half
