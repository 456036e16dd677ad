"""The exponent against the learning rate, a colour an activation, beside the final loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
_INK, _GRID = "#7f8c9a", "rgba(128,128,128,.25)"  # readable on white and on black alike


@dataclass(frozen=True)
class RateSeries:
    """The numbers of one colour.

    Attributes:
        name: Value of the grouping column.
        trials: Its trials, sorted by learning rate, those without an exponent left out.
    """

    name: str
    trials: pd.DataFrame


def collect(
    trials: pd.DataFrame, rate: str = "params_lr", group: str = "params_activation"
) -> list[RateSeries]:
    """Numbers of the figure: trials by group, sorted by learning rate.

    Args:
        trials: Columns `rate`, `group`, `exponent`, and where there are any `exponent_low`,
            `exponent_high` (nats per step) and `value`.
        rate: Column of the learning rate.
        group: Column that colours tell apart.
    """
    known = trials.dropna(subset=["exponent", rate])
    return [
        RateSeries(str(name), part.sort_values(rate).reset_index(drop=True))
        for name, part in known.groupby(group, sort=True)
    ]


def draw(series: list[RateSeries], rate: str = "params_lr", value: str = "final loss") -> go.Figure:
    """Two panels over a logarithmic learning rate: the exponent above, the value below."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for position, one in enumerate(series):
        colour = _COLOURS[position % len(_COLOURS)]
        marker = {"color": colour, "size": 8, "opacity": 0.85}
        common = {"mode": "markers", "name": one.name, "legendgroup": one.name, "marker": marker}
        trials = one.trials
        figure.add_scatter(
            x=trials[rate],
            y=squashed(trials["exponent"]),
            error_y=_intervals(trials),
            customdata=trials["exponent"],
            hovertemplate="%{x:.3g}: %{customdata:.3g}",
            **common,
            row=1,
            col=1,
        )
        if "value" in trials:
            done = trials.dropna(subset=["value"])
            figure.add_scatter(
                x=done[rate], y=done["value"], showlegend=False, **common, row=2, col=1
            )
    figure.update_xaxes(type="log", gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_INK)
    figure.update_xaxes(title_text="learning rate", row=2, col=1)
    ticks = np.array([-1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10])
    figure.update_yaxes(
        title_text="exponent, nats per step",
        tickvals=squashed(ticks),
        ticktext=[f"{tick:g}" for tick in ticks],
        row=1,
        col=1,
    )
    figure.update_yaxes(title_text=value, type="log", exponentformat="power", row=2, col=1)
    figure.update_layout(
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _INK},
        legend={"orientation": "h", "y": 1.06},
        margin={"l": 70, "r": 20, "t": 40, "b": 55},
        uirevision="keep",
    )
    return figure


def exponent_against_rate(
    trials: pd.DataFrame,
    rate: str = "params_lr",
    group: str = "params_activation",
    value: str = "final loss",
) -> go.Figure:
    """The exponent against the learning rate, with intervals, and the final loss below it.

    Args:
        trials: See `collect`.
        rate: Column of the learning rate.
        group: Column that colours tell apart.
        value: Title of the lower panel.

    Example:
        >>> measured = {"params_lr": [0.1, 1.0], "exponent": [0.01, 0.4], "value": [0.2, 0.3]}
        >>> trials = pd.DataFrame({**measured, "params_activation": "relu"})
        >>> len(exponent_against_rate(trials).data)
        2
    """
    return draw(collect(trials, rate, group), rate, value)


def squashed(exponents: Any) -> Any:
    """Linear within +-0.001 nats per step and logarithmic beyond: the edge lies where it turns.

    Example:
        >>> float(squashed(0.0)), round(float(squashed(0.1) - squashed(0.01)), 2)
        (0.0, 2.3)
    """
    return np.arcsinh(np.asarray(exponents, dtype=float) / 1e-3)


def _intervals(trials: pd.DataFrame) -> dict[str, object] | None:
    if not {"exponent_low", "exponent_high"} <= set(trials):
        return None
    centre = squashed(trials["exponent"])
    return {
        "type": "data",
        "symmetric": False,
        "array": squashed(trials["exponent_high"]) - centre,
        "arrayminus": centre - squashed(trials["exponent_low"]),
        "thickness": 1,
        "width": 0,
    }
