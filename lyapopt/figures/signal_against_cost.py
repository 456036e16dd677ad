"""What a signal is worth against what it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.axes import log_axis, rounded
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import COLOURS, SYMBOLS, interval_bars, styled


@dataclass(frozen=True)
class SignalSeries:
    """The numbers of one signal.

    Attributes:
        name: Its name.
        points: Columns `cost`, `score`, `low`, `high`, ascending in cost.
    """

    name: str
    points: pd.DataFrame


def collect(signals: pd.DataFrame, score: str) -> list[SignalSeries]:
    """Numbers of the figure: means over cases of every signal at every cost.

    Args:
        signals: Columns `signal`, `cost` and the score, and where there are any `<score>_low` and
            `<score>_high`; a row a case.
        score: Column.
    """
    ends = {f"{score}_{end}": end for end in ("low", "high") if f"{score}_{end}" in signals}
    found = []
    for name, part in signals.dropna(subset=[score]).groupby("signal", sort=False):
        columns = {score: "mean", "cost": "mean", **dict.fromkeys(ends, "mean")}
        points = part.groupby("order", as_index=False).agg(columns)
        points = points.rename(columns={score: "score", **ends}).sort_values("cost")
        found.append(SignalSeries(str(name), points.reset_index(drop=True)))
    return found


def draw(series: list[SignalSeries], score: str, title: str = "") -> go.Figure:
    """One panel, cost on a logarithmic axis.

    Args:
        series: What `collect` gives.
        score: What the axis of the score is called.
        title: Title of the figure.
    """
    figure = go.Figure()
    for place, one in enumerate(series):
        look = place % len(COLOURS)
        bars = None
        if {"low", "high"} <= set(one.points):
            score_of, low, high = (one.points[each].tolist() for each in ("score", "low", "high"))
            bars = interval_bars(score_of, low, high, COLOURS[look])
        figure.add_scatter(
            x=rounded(one.points["cost"].clip(lower=1.0)),
            y=rounded(one.points["score"]),
            error_y=bars,
            mode="lines+markers",
            name=escaped(one.name),
            hovertemplate="%{x:,.0f} gradient evaluations: %{y:.2f}",
            line={
                "color": COLOURS[look],
                "dash": "dot" if one.name.startswith("placebo") else "solid",
            },
            marker={"symbol": SYMBOLS[look], "size": 7},
        )
    title_of_cost = "cost of the signal<br>(gradient evaluations a trial; 1 where it is free)"
    costs = [float(cost) for one in series for cost in one.points["cost"]]
    figure.update_xaxes(title=title_of_cost, **log_axis(np.clip(costs, 1.0, None)))
    figure.update_yaxes(title=score)
    return styled(figure, title, height=520)


def signal_against_cost(signals: pd.DataFrame, score: str, title: str) -> go.Figure:
    """A score of every signal against its cost.

    Args:
        signals: See `collect`; `order` tells the points of one signal apart.
        score: Column.
        title: Title of the axis.

    Example:
        >>> measured = {"signal": "exponent", "order": [5, 10], "cost": [10, 20]}
        >>> frame = pd.DataFrame({**measured, "auc": [0.8, 0.9]})
        >>> len(signal_against_cost(frame, "auc", "AUC").data)
        1
    """
    return draw(collect(signals, score), title)
