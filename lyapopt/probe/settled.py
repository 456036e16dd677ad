"""The settled exponent: growth after the perturbation has turned into the growing direction.

A random perturbation has little of itself in the direction of fastest growth, and the less the more
weights there are: over a short horizon its mean growth is up to `ln(P) / (2 horizon)` too low, P
being the number of weights. Neighbours turn while the reference trains on, which costs nothing; so
the first part of the horizon is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lyapopt.exponents import Exponent
from lyapopt.exponents.intervals import (
    has_interval_over_time,
    mean_interval_over_replicas,
    mean_interval_over_time,
)

FEWEST_DIRECTIONS = 4
"""Neighbours that an interval over directions takes: with fewer it is too wide to decide by."""


class Settled(NamedTuple):
    """A settled exponent.

    Attributes:
        value: Nats per step; `-inf` where all neighbours met the reference, NaN where there is no
            step to measure.
        low, high: Ends of its interval; `None` where there is none.
        estimand: What value and interval are for, in words.
    """

    value: float
    low: float | None
    high: float | None
    estimand: str


def first_settled_step(horizon: int, settle: float) -> int:
    """After how many steps the measurement begins: one step at least is left.

    Example:
        >>> first_settled_step(20, 0.5), first_settled_step(5, 0.5), first_settled_step(1, 0.5)
        (10, 2, 0)
    """
    return min(int(settle * horizon), horizon - 1)


def settled_growth(log_separations: NDArray[np.float64], settle: float) -> NDArray[np.float64]:
    """Log growth of every neighbour in every step that counts, `(steps, neighbours)`.

    NaN in steps without a number: after a divergence, or where rounding swallowed a separation.
    Where no later step has one, all steps count.

    Args:
        log_separations: As if never rescaled, `(horizon + 1, neighbours)`.
        settle: Share of the horizon that is left out.
    """
    known = log_separations.copy()
    for t in range(1, len(known)):  # a step without a number begins where the last number was
        known[t] = np.where(np.isnan(known[t]), known[t - 1], known[t])
    with np.errstate(invalid="ignore"):
        growth = log_separations[1:] - known[:-1]
    growth = np.where(np.isfinite(growth), growth, np.nan)
    start = first_settled_step(len(growth), settle)
    return growth[start:] if np.isfinite(growth[start:]).any() else growth


def settled_exponent(log_separations: NDArray[np.float64], settle: float = 0.5) -> float:
    """Mean log growth per step over the steps and neighbours that count, nats per step.

    Args:
        log_separations: As if never rescaled, `(horizon + 1, neighbours)`.
        settle: Share of the horizon that the neighbours have to turn in.

    Returns:
        `-inf` if all neighbours have met the reference, NaN without any number.

    Example:
        >>> round(settled_exponent(np.array([[0.0], [-1.0], [-2.0], [-1.9], [-1.8]])), 6)
        0.1
    """
    of_each = _of_each(log_separations, settle)
    apart = of_each[np.isfinite(of_each)]
    if len(apart):
        return float(apart.mean())
    return -math.inf if np.isneginf(log_separations[-1]).all() else math.nan


def _of_each(log_separations: NDArray[np.float64], settle: float) -> NDArray[np.float64]:
    """Mean growth of every neighbour, `(neighbours,)`; NaN of one that has met the reference."""
    growth = settled_growth(log_separations, settle)
    known = np.isfinite(growth)
    total, count = np.where(known, growth, 0.0).sum(0), known.sum(0)
    has_met = np.isneginf(log_separations[-1])
    return np.where((count > 0) & ~has_met, total / np.maximum(count, 1), np.nan)


def settled(exponent: Exponent, row: int, settle: float, level: float) -> Settled:
    """The settled exponent of one of the systems that an `Exponent` is of; see `settled_of`."""
    value = float(exponent.value[row])
    if not math.isfinite(value):
        return unmeasured(value)
    return settled_of(exponent.log_separations[:, row].double().cpu().numpy(), settle, level)


def unmeasured(value: float) -> Settled:
    """What there is to say without a number: `-inf` or NaN."""
    return Settled(value, None, None, "growth rate of this run, which no number was measured of")


def settled_of(
    log_separations: NDArray[np.float64], settle: float = 0.5, level: float = 0.95
) -> Settled:
    """The settled exponent of one system, with an interval where there is something to average.

    Over directions with four neighbours or more; else over time, where so many steps are settled
    that a drift of their growth rate would show (see `lyapopt.exponents.intervals`). A horizon of
    10 to 40 steps is a transient: its steps are no sample of one growth rate, so that an interval
    over them would cover nothing that has a name.

    Args:
        log_separations: As if never rescaled, `(horizon + 1, neighbours)`.
        settle: Share of the horizon that the neighbours have to turn in.
        level: Confidence level of the interval.

    Example:
        >>> log = np.arange(21.0)[:, None] * np.array([0.1, 0.1, 0.2, 0.2])
        >>> known = settled_of(log)
        >>> round(known.value, 6), round(known.low, 3), round(known.high, 3)
        (0.15, 0.058, 0.242)
        >>> known.estimand
        'growth rate over steps 11 to 20 of this run, averaged over directions of perturbation'
    """
    horizon = len(log_separations) - 1
    value = settled_exponent(log_separations, settle)
    if not math.isfinite(value):
        return unmeasured(value)
    first = first_settled_step(horizon, settle) + 1
    what = f"growth rate over steps {first} to {horizon} of this run"
    of_each = _of_each(log_separations, settle)
    if np.isfinite(of_each).all() and len(of_each) >= FEWEST_DIRECTIONS:
        low, high = mean_interval_over_replicas(torch.as_tensor(of_each), level)
        over = f"{what}, averaged over directions of perturbation"
        return Settled(value, float(low), float(high), over)
    growth = settled_growth(log_separations, settle)
    if np.isfinite(growth).all() and has_interval_over_time(len(growth)):
        series = torch.as_tensor(growth.mean(1))
        low, high = mean_interval_over_time(series, torch.ones_like(series), level)
        return Settled(value, float(low), float(high), f"{what}, had it gone on in the same way")
    return Settled(value, None, None, f"{what}, without an interval")
