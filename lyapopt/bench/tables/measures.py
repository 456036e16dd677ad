"""Exponents and measurements of all configurations of a table, at any cost that it has."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lyapopt.bench import Numbers
from lyapopt.bench.tables.table import FORWARD_COST, HORIZONS, Table
from lyapopt.probe import Measurement, Verdict, VerdictRule
from lyapopt.probe.settled import settled_of, unmeasured
from lyapopt.probe.verdicts import relative_fall

Distance = Literal["weights", "outputs", "tangent"]

_LEVEL = 0.95


def log_separations(table: Table, neighbours: int, horizon: int) -> Numbers:
    """Log separations of the first neighbours, `(N, horizon + 1, neighbours)`.

    Raises:
        ValueError: If the table has no such neighbours over such a horizon.
    """
    for series in (table.separations, table.many):
        if neighbours <= series.shape[2] and horizon < series.shape[1]:
            return series[:, : horizon + 1, :neighbours]
    raise ValueError(f"no {neighbours} neighbours over {horizon} steps were recorded")


def increments(table: Table, distance: Distance, neighbours: int, horizon: int) -> Numbers:
    """Log growth in every step, averaged over neighbours as the probe does, `(N, horizon)`.

    NaN from a divergence on.
    """
    if distance == "tangent":
        return np.diff(table.tangent[:, : horizon + 1], axis=1)
    if distance == "outputs":
        of_each = _growth_in_outputs(table, neighbours, horizon)
    else:
        of_each = _growth(table, neighbours, horizon)
    growth = _mean_of_those_apart(of_each)
    lost = np.cumsum(np.isnan(growth) | np.isposinf(growth), axis=1) > 0
    return np.where(lost, np.nan, growth)


def _growth(table: Table, neighbours: int, horizon: int) -> Numbers:
    """Log growth of every neighbour in every step, `(N, horizon, neighbours)`."""
    with np.errstate(all="ignore"):
        growth: Numbers = np.diff(log_separations(table, neighbours, horizon), axis=1)
    return growth


def _growth_in_outputs(table: Table, neighbours: int, horizon: int) -> Numbers:
    """The same of distances in outputs: taking back a rescaling moves both ends of a step alike."""
    with np.errstate(all="ignore"):
        growth: Numbers = np.diff(table.outputs[:, : horizon + 1, :neighbours], axis=1)
    return growth


def _mean_of_those_apart(of_each: Numbers) -> Numbers:
    """Mean over the neighbours that did not meet their reference in a step; -inf if all did."""
    is_apart = ~np.isneginf(of_each)
    with np.errstate(all="ignore"):
        mean = np.where(is_apart, of_each, 0.0).sum(-1) / is_apart.sum(-1)
    return np.where(is_apart.any(-1), mean, -np.inf)


def exponents(table: Table, distance: Distance, neighbours: int, horizon: int) -> Numbers:
    """Nats per step, `(N,)`: over the steps before a divergence, NaN without any."""
    growth = increments(table, distance, neighbours, horizon)
    count = (~np.isnan(growth)).sum(1)
    with np.errstate(all="ignore"):
        return np.where(count > 0, np.nansum(growth, axis=1) / count, np.nan)


def settled_exponents(table: Table, neighbours: int, horizon: int) -> Numbers:
    """As the probe measures them: growth over the second half of the horizon, `(N,)`."""
    return np.array([one.exponent for one in measurements(table, neighbours, horizon)])


def cost_of(table: Table, distance: Distance, neighbours: int, horizon: int) -> float:
    """Gradient evaluations of a measurement that trains from the start."""
    if distance == "tangent":
        return 3.0 * horizon  # a tangent step counts as 2, and the reference as 1
    forward = FORWARD_COST * (neighbours + 1) * (2 * horizon + 1) if distance == "outputs" else 0.0
    return (neighbours + 1) * horizon + forward


@lru_cache(maxsize=32)
def _measured(key: int, neighbours: int, horizon: int) -> list[Measurement]:
    table = _TABLES[key]
    rule = VerdictRule()
    series = log_separations(table, neighbours, horizon)
    whole = exponents(table, "weights", neighbours, horizon)
    at = _nearest_horizon(horizon)
    cost = cost_of(table, "weights", neighbours, horizon)
    found = []
    for row, log in enumerate(series):
        # Without any increment before a divergence there is nothing to measure.
        known = settled_of(log) if np.isfinite(whole[row]) else unmeasured(float(whole[row]))
        losses = table.losses[row, :horizon]
        fall = relative_fall(losses)
        verdict: Verdict = rule.judge(
            known.value,
            known.low,
            known.high,
            losses,
            is_finite=bool(table.is_finite[row, at]),
            stands_still=bool(table.is_still[row, at]),
        )
        found.append(
            Measurement(
                exponent=known.value,
                low=known.low,
                high=known.high,
                level=_LEVEL,
                estimand=known.estimand,
                verdict=verdict,
                flags=(),
                losses=losses,
                log_separations=log,
                gradient_evaluations=cost,
                examples=int(cost) * table.facts.batch_size,
                loss_fall=fall,
                slow=rule.is_slow(fall),
            )
        )
    return found


_TABLES: dict[int, Table] = {}


def measurements(table: Table, neighbours: int, horizon: int) -> list[Measurement]:
    """What `Probe(horizon, neighbours)` measures of every configuration, `N` of them."""
    _TABLES[id(table)] = table
    return _measured(id(table), neighbours, horizon)


def _nearest_horizon(horizon: int) -> int:
    distances: NDArray[np.int64] = np.abs(np.array(HORIZONS) - horizon)
    return int(distances.argmin())
