"""Methods by mean rank, with intervals."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures._style import COLOURS, styled

_FAMILIES = ("ours", "rival", "placebo", "control")


def collect(summary: pd.DataFrame, column: str = "rank") -> pd.DataFrame:
    """Rows of the figure, best first: `method`, `family`, the column, its `low` and `high`.

    Args:
        summary: Columns `method`, `family`, and the column with `_low` and `_high`.
        column: What is shown.
    """
    names = ["method", "family", column, f"{column}_low", f"{column}_high"]
    known = summary[names].dropna(subset=[column]).sort_values(column, ignore_index=True)
    return known.rename(columns={f"{column}_low": "low", f"{column}_high": "high"})


def draw(rows: pd.DataFrame, column: str = "rank", title: str = "mean rank") -> go.Figure:
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
        summary: See `collect`.
        column: What is shown.
        title: Of the axis.

    Example:
        >>> one = {"method": ["a"], "family": "ours", "rank": 1.5, "rank_low": 1, "rank_high": 2}
        >>> len(mean_rank(pd.DataFrame(one)).data)
        1
    """
    return draw(collect(summary, column), column, title)
