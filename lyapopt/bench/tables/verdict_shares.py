"""Shares of good configurations by verdict: what a verdict is worth, and what it was worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.bench import Progress, silent
from lyapopt.bench.tables.cache import table_of
from lyapopt.bench.tables.cases import cases_of
from lyapopt.bench.tables.measures import exponents, measurements
from lyapopt.bench.tables.table import HORIZONS, Table
from lyapopt.probe.verdicts import initial_scale, tail_length

GOOD = 1.5
"""A configuration is good whose final loss is within this factor of the best one's."""


def verdict_shares(
    names: Sequence[str], horizon: int = 10, neighbours: int = 1, progress: Progress = silent
) -> pd.DataFrame:
    """How many configurations of cases have each verdict, and how many of these are good.

    Columns: `case`, `rule` (`now` or `before`), `verdict` (`slow` beside those that are), `count`,
    `good`, `share`.

    Args:
        names: Cases, such as `digits-mlp/sgd/constant`; tables that are missing are recorded.
        horizon, neighbours: Of the probe.
        progress: Called with what is recorded.

    Example:
        verdict_shares(HELD_IN).groupby(["rule", "verdict"])[["count", "good"]].sum()
    """
    rows = []
    for case in cases_of(names):
        table = table_of(case, progress=progress)
        good = table.final <= GOOD * table.final.min()
        for rule, verdicts in (
            ("now", _now(table, horizon, neighbours)),
            ("before", _before(table, horizon)),
        ):
            for verdict in np.unique(verdicts):
                has = verdicts == verdict
                count, hits = int(has.sum()), int((has & good).sum())
                rows.append((case.name, rule, str(verdict), count, hits, hits / count))
    return pd.DataFrame(rows, columns=["case", "rule", "verdict", "count", "good", "share"])


def _now(table: Table, horizon: int, neighbours: int) -> NDArray[np.str_]:
    found = measurements(table, neighbours, horizon)
    return np.array([f"{one.verdict}, slow" if one.slow else str(one.verdict) for one in found])


def _before(table: Table, horizon: int) -> NDArray[np.str_]:
    """The rule of former versions, with one neighbour and without an interval: exponents of the
    whole horizon, `hot` above .3, `cool` within .001 of zero where the loss fell by less than 1 %
    from the first quarter to the last, and `edge` for everything else.
    """
    values = exponents(table, "weights", 1, horizon)
    at = int(np.abs(np.array(HORIZONS) - horizon).argmin())
    part = tail_length(horizon)
    found = []
    for row, exponent in enumerate(values):
        losses = table.losses[row, :horizon]
        is_finite = table.is_finite[row, at] and np.isfinite(losses).all()
        first, last = losses[:part].mean(), losses[-part:].mean()
        if not is_finite or np.isnan(exponent) or losses.max() > 1e3 * initial_scale(losses):
            found.append("diverged")
        elif table.is_still[row, at]:
            found.append("dead")
        elif exponent > 0.3:
            found.append("hot")
        elif abs(exponent) <= 1e-3 and first - last < 0.01 * abs(first):
            found.append("cool")
        else:
            found.append("edge")
    return np.array(found)
