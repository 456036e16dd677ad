"""Confidence intervals of mean growth rates, and what each is an interval for.

Increments of a growth rate are correlated from step to step, and often negatively: where a
trajectory has just been stretched it is likely to be compressed next. On the logistic map at r = 4
the increments are a constant plus the difference of a function at two neighbouring points, so that
their sum over n steps has a variance that does not grow with n at all. An interval that takes
increments as independent is 20 times too wide there, batch means and the moving-block bootstrap are
still 5 times too wide, and all of them are too narrow where the correlation is positive.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from lyapopt.errors import UserError
from lyapopt.exponents.checks import no_type_check
from lyapopt.exponents.quantities import Quantity
from lyapopt.exponents.student import student_quantile

Over = Literal["time", "neighbours", "replicas"]
"""What an interval averages over."""

FEWEST_SEGMENTS = 40
"""Segments that an interval over time takes: with fewer, a drift would not show."""
_FEWEST_OF_A_HALF = 20
_LENGTHS = 8  # window lengths that the curve of variances is fitted at
_SMALLEST_VARIANCE = 0.25  # of the prediction, in terms of the variance of the longest windows
_ROUNDS = 4  # of reweighting
_DRIFT_LEVEL = 0.997  # three standard errors, with the few degrees of freedom allowed for
_DRIFT_RELATIVE = 0.01

_GONE_ON = "the mean growth rate of this run, had it gone on in the same way"
_NOT_OVER_TIME: dict[str, str] = {
    "neighbours": "of this run, averaged over directions of perturbation",
    "replicas": "of this configuration, averaged over its seeds",
}


def estimand_of(quantity: Quantity, over: Over) -> str:
    """What an interval over `over` for a growth rate is an interval for, in words.

    Fresh directions never turn, so that a long run of isotropic growth tends to its own mean and
    not to the asymptotic exponent.

    Example:
        >>> estimand_of(Quantity.ISOTROPIC_GROWTH, "replicas")
        'isotropic growth of this configuration, averaged over its seeds'
    """
    if over != "time":
        return f"{quantity} {_NOT_OVER_TIME[over]}"
    is_isotropic = quantity is Quantity.ISOTROPIC_GROWTH
    return f"{quantity if is_isotropic else Quantity.ASYMPTOTIC_EXPONENT}: {_GONE_ON}"


class _Ends(NamedTuple):
    low: Tensor
    high: Tensor


class Interval(_Ends):
    """A confidence interval: unpacks to `(low, high)`, and says what it covers.

    Attributes:
        low, high: The ends; NaN where there is no interval (a flag says why).
        level: Confidence level.
        over: What was averaged over: `time`, `neighbours` or `replicas`.
        estimand: The quantity that the interval covers, in words.
        unit, per: Unit of the ends.
    """

    level: float
    over: Over
    estimand: str
    unit: str
    per: str

    @classmethod
    def of(
        cls,
        low: Tensor,
        high: Tensor,
        *,
        level: float,
        over: Over,
        quantity: Quantity,
        unit: str,
        per: str,
    ) -> Interval:
        """An interval with its description."""
        interval = cls(low, high)
        interval.level, interval.over = level, over
        interval.estimand = estimand_of(quantity, over)
        interval.unit, interval.per = unit, per
        return interval

    def __repr__(self) -> str:
        return (
            f"Interval(low={self.low}, high={self.high}, level={self.level}, "
            f"unit='{self.unit} per {self.per}', estimand={self.estimand!r})"
        )


def has_interval_over_time(segments: int) -> bool:
    """Whether there are enough segments to estimate their spread and correlation, and to see a
    drift (see `drifts`). Fewer cover a transient: at horizons of 20 to 38 an interval held the
    asymptotic exponent of gradient descent and of the heavy ball in 24 to 63 % of the cases.
    """
    return segments >= FEWEST_SEGMENTS


def mean_interval_over_time(
    increments: Float[Tensor, " segments *series"], steps: Num[Tensor, " segments"], level: float
) -> tuple[Float[Tensor, "*series"], Float[Tensor, "*series"]]:
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
        increments: Log growth in every segment, `(segments, ...)`; NaN from a divergence on.
        steps: Steps of every segment, `(segments,)`.
        level: Confidence level, between 0 and 1.

    Returns:
        Low and high, `(...)`, per step; NaN with fewer than 40 segments, or where an increment is
        not finite. Correlations longer than about a tenth of the series cannot be seen by any
        method; the interval is too narrow then.

    Source: the variance of window sums is the overlapping batch means of Meketon & Schmeiser 1984
        (Proc. Winter Simulation Conf., 227); the line in m is that of Bartlett 1946 and of the
        variance-time plot of Cox & Lewis 1966.
    """
    segments = len(increments)
    total = increments.sum(0)
    centre = total / steps.sum()
    if segments < _FEWEST_OF_A_HALF:
        absent = torch.full_like(centre, torch.nan)
        return absent, absent
    residuals = increments - centre * steps.view(-1, *(1,) * centre.dim())
    shortest = max(1, int(math.sqrt(segments) / 2))
    variance = _variance_of_sum(residuals.reshape(segments, -1), shortest)
    freedom = min(max(segments / shortest / 8, 3.0), 30.0)
    quantile = student_quantile(freedom, (1 + level) / 2)
    half = quantile * variance.sqrt().view(centre.shape) / steps.sum()
    return centre - half, centre + half


def _variance_of_sum(
    residuals: Float[Tensor, "n series"], shortest: int
) -> Float[Tensor, " series"]:
    """Variance of the sum of `n` residuals, by the line V(m) from the window `shortest` on."""
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
        a, s = _fit_line(weights, x, measured)
        fitted = torch.maximum(a + s * x, 0.1 * measured)
    return torch.maximum(a + s * n, _SMALLEST_VARIANCE * measured[-1])


def _window_lengths(n: int, shortest: int) -> list[int]:
    longest = max(shortest + 1, n // 4)
    ratio = (longest / shortest) ** (1 / (_LENGTHS - 1))
    return sorted({round(shortest * ratio**i) for i in range(_LENGTHS)})


def _fit_line(
    weights: Float[Tensor, "points series"],
    x: Float[Tensor, "points 1"],
    y: Float[Tensor, "points series"],
) -> tuple[Float[Tensor, " series"], Float[Tensor, " series"]]:
    """Weighted least squares of `y = a + s x` with `s >= 0`, down the first axis."""
    w = weights.sum(0)
    mean_x, mean_y = (weights * x).sum(0) / w, (weights * y).sum(0) / w
    away = x - mean_x
    slope = ((weights * away * (y - mean_y)).sum(0) / (weights * away.square()).sum(0)).clamp(min=0)
    return mean_y - slope * mean_x, slope


def mean_interval_over_replicas(
    values: Float[Tensor, "*series replicas"], level: float
) -> tuple[Float[Tensor, "*series"], Float[Tensor, "*series"]]:
    """Student's t interval of the mean of independent values.

    Args:
        values: Growth rates, `(..., replicas)`.
        level: Confidence level, between 0 and 1.

    Returns:
        Low and high, `(...)`; NaN with fewer than two replicas.
    """
    replicas = values.shape[-1]
    mean = values.mean(-1)
    if replicas < 2:
        return torch.full_like(mean, torch.nan), torch.full_like(mean, torch.nan)
    quantile = student_quantile(replicas - 1, (1 + level) / 2)
    half = quantile * values.std(-1) / math.sqrt(replicas)
    return mean - half, mean + half


@no_type_check
def interval_over_blocks(
    values: Float[Tensor, " systems *exponents"], replicas: int | None, level: float
) -> tuple[Float[Tensor, " blocks *exponents"], Float[Tensor, " blocks *exponents"]]:
    """Intervals of the means over blocks of consecutive systems.

    Args:
        values: Growth rates, `(M, ...)`.
        replicas: How many consecutive systems are a block; `None` is all of them.
        level: Confidence level, between 0 and 1.

    Returns:
        Low and high, `(M / replicas, ...)`; NaN with blocks of one.

    Raises:
        UserError: If `replicas` does not divide the number of systems.
    """
    systems = len(values)
    count = systems if replicas is None else replicas
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or systems % count:
        raise UserError(f"replicas must divide the {systems} systems, not {replicas!r}")
    blocks = values.view(systems // count, count, *values.shape[1:]).movedim(1, -1)
    return mean_interval_over_replicas(blocks, level)


def half_means(
    increments: Float[Tensor, " segments *series"], steps: Num[Tensor, " segments"]
) -> tuple[Float[Tensor, "*series"], Float[Tensor, "*series"]]:
    """Mean growth per step over the first and the second half of the segments, each `(...)`."""
    middle = len(increments) // 2
    return (
        increments[:middle].sum(0) / steps[:middle].sum(),
        increments[middle:].sum(0) / steps[middle:].sum(),
    )


def drifts(
    increments: Float[Tensor, " segments *series"], steps: Num[Tensor, " segments"]
) -> Bool[Tensor, "*series"]:
    """Whether the growth rate still drifts: its two halves differ by more than chance and 1 %.

    The error is estimated on the second half alone, because a transient in the first one would
    hide itself by adding to its spread.

    Args:
        increments: Log growth in every segment, `(segments, ...)`.
        steps: Steps of every segment, `(segments,)`.

    Returns:
        Booleans, `(...)`; false where the halves are too short to tell.

    Source: after Geweke 1992, Bayesian Statistics 4, 169.
    """
    middle = len(increments) // 2
    first, second = half_means(increments, steps)
    if len(increments) - middle < _FEWEST_OF_A_HALF:
        return torch.zeros_like(first, dtype=torch.bool)
    low, high = mean_interval_over_time(increments[middle:], steps[middle:], _DRIFT_LEVEL)
    chance = (high - low) / 2 * 2**0.5
    rounding = 64 * torch.finfo(increments.dtype).eps
    negligible = _DRIFT_RELATIVE * torch.maximum(first.abs(), second.abs()) + rounding
    return (first - second).abs() > chance + negligible
