"""Tables of numbers as figures, so that they stand beside others on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures._style import CLEAR, styled

_GREY = "rgba(128,128,128,.12)"


def collect_cells(rows: pd.DataFrame) -> list[list[str]]:
    """Texts of the cells, column by column; three significant digits, empty where missing."""
    return [[_text(value) for value in rows[column]] for column in rows.columns]


def draw_table(names: list[str], cells: list[list[str]]) -> go.Figure:
    """A table as high as its rows."""
    columns = list(zip(names, cells, strict=True))
    figure = go.Figure(
        go.Table(
            columnwidth=[max(map(len, [name, *column, "1.23"])) for name, column in columns],
            header={"values": names, "align": "left", "fill": {"color": _GREY}},
            cells={"values": cells, "align": "left", "fill": {"color": CLEAR}},
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
    return draw_table([str(name) for name in rows.columns], collect_cells(rows))


def collect_activations(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str = "params_activation",
) -> pd.DataFrame:
    """Rows of the table: means over networks with 95 % intervals.

    Args:
        trials: Columns `group`, `exponent` and `loss`, a row a network.
        published: Exponent and loss of each activation as somebody else has them.
        group: Column of the activation.
    """
    rows = []
    known = trials.replace([np.inf, -np.inf], np.nan).dropna(subset=["exponent", "loss"])
    for name, part in known.groupby(group, sort=False):
        row: dict[str, object] = {"activation": name, "networks": len(part)}
        for column in ("exponent", "loss"):
            values = part[column].to_numpy(dtype=np.float64)
            mean = float(values.mean())
            half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
            row |= {column: mean, f"{column} low": mean - half, f"{column} high": mean + half}
        if published is not None:
            exponent, loss = published.get(str(name), (np.nan, np.nan))
            row |= {"published exponent": exponent, "published loss": loss}
        rows.append(row)
    return pd.DataFrame(rows)


def activation_table(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str = "params_activation",
) -> go.Figure:
    """Exponent and final loss of each activation, beside what was published (Mitra 2024, Table 1).

    Args:
        trials, published, group: See `collect_activations`.

    Example:
        >>> made = {"params_activation": "relu", "exponent": [0.1, 0.3], "loss": [1.0, 2.0]}
        >>> float(collect_activations(pd.DataFrame(made))["loss"].iloc[0])
        1.5
    """
    return number_table(collect_activations(trials, published, group))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    return str(value)
