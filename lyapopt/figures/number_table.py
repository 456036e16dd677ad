"""A table of numbers as a figure, so that it stands beside others on a page."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures._style import styled


def collect(rows: pd.DataFrame) -> list[list[str]]:
    """Texts of the cells, column by column; three significant digits, empty where missing."""
    return [[_text(value) for value in rows[column]] for column in rows.columns]


def draw(names: list[str], cells: list[list[str]]) -> go.Figure:
    """A table as high as its rows."""
    columns = list(zip(names, cells, strict=True))
    clear = "rgba(128,128,128,.12)"
    figure = go.Figure(
        go.Table(
            columnwidth=[max(map(len, [name, *column, "1.23"])) for name, column in columns],
            header={"values": names, "align": "left", "fill": {"color": clear}},
            cells={"values": cells, "align": "left", "fill": {"color": "rgba(0,0,0,0)"}},
        )
    )
    count = max((len(column) for column in cells), default=0)
    return styled(figure, height=90 + 24 * count, margin={"l": 10, "r": 10, "t": 10, "b": 10})


def number_table(rows: pd.DataFrame) -> go.Figure:
    """A table of numbers and texts.

    Example:
        >>> number_table(pd.DataFrame({"method": ["random"], "regret": [0.12345]})).data[0].type
        'table'
    """
    return draw([str(name) for name in rows.columns], collect(rows))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)
