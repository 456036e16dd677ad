"""Methods compared: mean regret against the budget, and mean ranks with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.theme import COLOURS, band, styled

_SYMBOLS = ("circle", "diamond", "square", "triangle-up")  # a round of colours each
_DASHES = {"ours": "solid", "rival": "dash", "placebo": "dot", "control": "dashdot"}
_FAMILIES = tuple(_DASHES)
_FLOOR = 1e-4  # of regret, on a logarithmic axis


@dataclass(frozen=True)
class RegretSeries:
    """The numbers of one line.

    Attributes:
        method: Name of the method.
        family: `ours`, `rival`, `placebo` or `control`.
        budgets: In full trainings, ascending.
        mean: Regret, averaged over cases and seeds.
        error: Standard error of that over all runs.
    """

    method: str
    family: str
    budgets: NDArray[np.float64]
    mean: NDArray[np.float64]
    error: NDArray[np.float64]


def collect_regret(
    results: pd.DataFrame, methods: Sequence[str] | None = None
) -> list[RegretSeries]:
    """Numbers of the figure, best method first.

    Args:
        results: Columns `method`, `family`, `budget`, `regret`: a row a run and budget.
        methods: Those to draw; all by default.
    """
    found = []
    for name, part in results.groupby("method", sort=False):
        if methods is not None and name not in methods:
            continue
        by_budget = part.groupby("budget")["regret"]
        mean = by_budget.mean()
        found.append(
            RegretSeries(
                str(name),
                str(part["family"].iloc[0]),
                mean.index.to_numpy(dtype=np.float64),
                mean.to_numpy(dtype=np.float64),
                np.asarray(by_budget.sem().fillna(0.0), dtype=np.float64),
            )
        )
    return sorted(found, key=lambda series: float(series.mean.mean()))


def draw_regret(series: Sequence[RegretSeries]) -> go.Figure:
    """One panel, both axes logarithmic; a band is the standard error."""
    figure = go.Figure()
    for place, one in enumerate(series):
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(
            x=[*one.budgets, *one.budgets[::-1]],
            y=[
                *np.maximum(one.mean + one.error, _FLOOR),
                *np.maximum(one.mean - one.error, _FLOOR)[::-1],
            ],
            mode="lines",
            fill="toself",
            fillcolor=band(colour),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=one.method,
        )
        figure.add_scatter(
            x=one.budgets.tolist(),
            y=np.maximum(one.mean, _FLOOR).tolist(),
            name=one.method,
            legendgroup=one.method,
            mode="lines+markers",
            marker={"symbol": _SYMBOLS[place // len(COLOURS) % len(_SYMBOLS)], "size": 8},
            line={
                "color": colour,
                "dash": _DASHES.get(one.family, "solid"),
                "width": 3 if one.family == "ours" else 2,
            },
            hovertemplate="%{x:g} trainings: %{y:.3g}",
        )
    budgets = sorted({float(b) for one in series for b in one.budgets})
    figure.update_xaxes(
        type="log",
        title="budget, full trainings",
        tickvals=budgets,
        ticktext=[f"{b:g}" for b in budgets],
    )
    figure.update_yaxes(type="log", title="mean normalised regret")
    return styled(figure, height=560)


def regret_against_compute(
    results: pd.DataFrame, methods: Sequence[str] | None = None
) -> go.Figure:
    """Mean regret against the budget.

    Args:
        results: See `collect_regret`.
        methods: Those to draw; all by default.

    Example:
        >>> runs = {"method": "random", "family": "rival", "budget": [2.0, 5.0]}
        >>> len(regret_against_compute(pd.DataFrame({**runs, "regret": [0.4, 0.2]})).data)
        2
    """
    return draw_regret(collect_regret(results, methods))


def collect_ranks(summary: pd.DataFrame, column: str = "rank") -> pd.DataFrame:
    """Rows of the figure, best first: `method`, `family`, the column, its `low` and `high`.

    Args:
        summary: Columns `method`, `family`, and the column with `_low` and `_high`.
        column: What is shown.
    """
    names = ["method", "family", column, f"{column}_low", f"{column}_high"]
    known = summary[names].dropna(subset=[column]).sort_values(column, ignore_index=True)
    return known.rename(columns={f"{column}_low": "low", f"{column}_high": "high"})


def draw_ranks(rows: pd.DataFrame, column: str = "rank", title: str = "mean rank") -> go.Figure:
    """One point a method, families in colours."""
    figure = go.Figure()
    for family in [name for name in _FAMILIES if name in set(rows["family"])]:
        part = rows[rows["family"] == family]
        figure.add_scatter(
            x=part[column].tolist(),
            y=part["method"].tolist(),
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (part["high"] - part[column]).tolist(),
                "arrayminus": (part[column] - part["low"]).tolist(),
                "thickness": 1.5,
                "width": 0,
            },
            mode="markers",
            marker={"size": 9, "color": COLOURS[_FAMILIES.index(family)]},
            name=family,
        )
    figure.update_yaxes(
        categoryorder="array", categoryarray=rows["method"].tolist()[::-1], automargin=True
    )
    figure.update_xaxes(title=title)
    return styled(figure, height=120 + 22 * len(rows))


def mean_rank(
    summary: pd.DataFrame, column: str = "rank", title: str = "mean rank, 95 % interval"
) -> go.Figure:
    """Methods by a mean with its interval, best on top.

    Args:
        summary: See `collect_ranks`.
        column: What is shown.
        title: Title of the axis.

    Example:
        >>> one = {"method": ["a"], "family": "ours", "rank": 1.5, "rank_low": 1, "rank_high": 2}
        >>> len(mean_rank(pd.DataFrame(one)).data)
        1
    """
    return draw_ranks(collect_ranks(summary, column), column, title)
