"""The exponent that steering goes by: growth after the neighbours have turned.

A random perturbation has little of itself in the direction of fastest growth, and the less the
more weights there are, so that the first steps of a measurement tell of the number of weights.
Steering leaves the first half of the horizon out: the neighbours turn while the reference trains
on, which costs nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lyapopt.probe import Measurement
from lyapopt.search.steering.search_line import Axis, Point

_CORNER = 1.0  # nats
_BLOW_UP = 3.0


def settled_exponent(measurement: Measurement, settle: float = 0.5) -> float:
    """Mean growth over the steps after the first `settle` of the horizon, nats per step.

    A step in which a separation grows by more than a factor e beyond its median step is left out:
    there a neighbour and its reference have come to lie on two sides of a corner of the loss (a
    ReLU's), and their difference is no longer a small one.

    Args:
        measurement: What was measured of one system.
        settle: Share of the horizon that the neighbours have to turn in.

    Returns:
        NaN if the separations are not finite, minus infinity if a neighbour met its reference.

    Example:
        >>> from types import SimpleNamespace
        >>> log_separations = np.array([[0.0], [-1.0], [-2.0], [-1.9], [-1.8]])
        >>> round(settled_exponent(SimpleNamespace(log_separations=log_separations)), 6)
        0.1
    """
    growth = _settled_growth(measurement, settle)
    return math.nan if growth is None else float(growth.mean())


def _settled_growth(measurement: Measurement, settle: float) -> NDArray[np.float64] | None:
    """Mean growth of every neighbour, `(neighbours,)`."""
    log: NDArray[np.float64] = measurement.log_separations
    if np.isnan(log).any() or np.isposinf(log).any():
        return None
    if np.isneginf(log).any():
        # Neighbours met their reference (lr h = 1 on a quadratic): nothing could be colder.
        return np.where(np.isneginf(log).any(axis=0), -np.inf, 0.0)
    skipped = min(int(settle * (len(log) - 1)), len(log) - 2)
    increments = np.diff(log[skipped:], axis=0)
    is_corner = increments > np.median(increments, axis=0) + _CORNER
    growth: NDArray[np.float64] = np.nanmean(np.where(is_corner, np.nan, increments), axis=0)
    return growth


def has_blown_up(measurement: Measurement) -> bool:
    """Whether the loss blew up during the probe: too hot, even if it then stands still."""
    losses = np.abs(measurement.losses)
    return bool(not np.isfinite(losses).all() or losses.max() > _BLOW_UP * losses[0])


def point_of(
    axis: Axis, value: int | float, measurement: Measurement, settle: float = 0.5
) -> Point:
    """A probed rate as a point of its search line.

    Args:
        axis: The axis of the steered parameter.
        value: The rate.
        measurement: What the probe found there.
        settle: As for `settled_exponent`.
    """
    exponent = settled_exponent(measurement, settle)
    blown_up = has_blown_up(measurement)
    return Point(value, axis.coordinate(value), exponent, measurement.verdict, blown_up)
