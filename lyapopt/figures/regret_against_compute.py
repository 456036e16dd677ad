"""Mean regret against the budget, a line a method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures._style import COLOURS, band, styled

_SYMBOLS = ("circle", "diamond", "square", "triangle-up")  # a round of colours each
_DASHES = {"ours": "solid", "rival": "dash", "placebo": "dot", "control": "dashdot"}


@dataclass(frozen=True)
class RegretSeries:
    """The numbers of one line.

    Attributes:
        method: Its name.
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


def collect(results: pd.DataFrame, methods: Sequence[str] | None = None) -> list[RegretSeries]:
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


def draw(series: Sequence[RegretSeries]) -> go.Figure:
    """One panel, both axes logarithmic; a band is the standard error."""
    figure = go.Figure()
    for place, one in enumerate(series):
        colour = COLOURS[place % len(COLOURS)]
        floor = 1e-4
        figure.add_scatter(
            x=[*one.budgets, *one.budgets[::-1]],
            y=[
                *np.maximum(one.mean + one.error, floor),
                *np.maximum(one.mean - one.error, floor)[::-1],
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
            y=np.maximum(one.mean, floor).tolist(),
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
        results: See `collect`.
        methods: Those to draw; all by default.

    Example:
        >>> runs = {"method": "random", "family": "rival", "budget": [2.0, 5.0]}
        >>> len(regret_against_compute(pd.DataFrame({**runs, "regret": [0.4, 0.2]})).data)
        2
    """
    return draw(collect(results, methods))
