"""Where a claim holds: settings as a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.theme import styled

_VALUES = {"fails": -1, "open": 0, "holds": 1}
_SCALE = [
    [0.0, "#d55e00"],
    [0.33, "#d55e00"],
    [0.33, "#bbbbbb"],
    [0.67, "#bbbbbb"],
    [0.67, "#009e73"],
    [1.0, "#009e73"],
]


@dataclass(frozen=True)
class ClaimMap:
    """The numbers of a map.

    Attributes:
        rows, columns: Labels.
        values: -1 where the claim fails, 0 where it is open, 1 where it holds, `None` where there
            is no such setting; `(rows, columns)`.
        texts: Estimate with interval and number of networks.
    """

    rows: list[str]
    columns: list[str]
    values: list[list[int | None]]
    texts: list[list[str]]


def collect(claims: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> ClaimMap:
    """The map of one claim.

    Args:
        claims: Columns `verdict` (`holds`, `fails` or `open`), `estimate`, `low`, `high`, `seeds`
            and those of the setting, a row a setting.
        rows: Columns of the setting that run down.
        columns: Those that run across.
    """
    down, across = _labels(claims, rows), _labels(claims, columns)
    names_down, names_across = list(dict.fromkeys(down)), list(dict.fromkeys(across))
    values: list[list[int | None]] = [[None] * len(names_across) for _ in names_down]
    texts = [[""] * len(names_across) for _ in names_down]
    records = claims.to_dict(orient="records")
    for found, one, other in zip(records, down, across, strict=True):
        i, j = names_down.index(one), names_across.index(other)
        values[i][j] = _VALUES[found["verdict"]]
        texts[i][j] = (
            f"{found['verdict']}: {found['estimate']:.3g} "
            f"[{found['low']:.3g}, {found['high']:.3g}], {found['seeds']} networks"
        )
    return ClaimMap(names_down, names_across, values, texts)


def draw(found: ClaimMap, title: str = "") -> go.Figure:
    """Green where it holds, red where it fails, grey where the interval allows both."""
    figure = go.Figure(
        go.Heatmap(
            z=found.values,
            x=found.columns,
            y=found.rows,
            text=found.texts,
            hovertemplate="%{y}<br>%{x}<br>%{text}<extra></extra>",
            colorscale=_SCALE,
            zmin=-1,
            zmax=1,
            xgap=2,
            ygap=2,
            colorbar={"tickvals": [-0.67, 0, 0.67], "ticktext": ["fails", "open", "holds"]},
        )
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(automargin=True)
    return styled(figure, height=180 + 22 * len(found.rows), title=title)


def claim_map(
    claims: pd.DataFrame, rows: Sequence[str], columns: Sequence[str], title: str = ""
) -> go.Figure:
    """Where a claim holds.

    Args:
        claims: See `collect`.
        rows: Columns of the setting that run down.
        columns: Those that run across.
        title: Title of the figure.

    Example:
        >>> found = {"verdict": ["holds"], "estimate": 0.5, "low": 0.2, "high": 0.8, "seeds": 32}
        >>> one = pd.DataFrame({**found, "width": 8, "lr": 0.1})
        >>> collect(one, ["width"], ["lr"]).values
        [[1]]
    """
    return draw(collect(claims, rows, columns), title)


def _labels(claims: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [
        ", ".join(f"{name} {_text(value)}" for name, value in zip(names, values, strict=True))
        for values in claims[list(names)].itertuples(index=False, name=None)
    ]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
