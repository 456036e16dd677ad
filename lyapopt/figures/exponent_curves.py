"""Mean exponents against the learning rate, a line an activation: of a sweep, not of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import log_axis, rounded, symlog, symlog_axis
from lyapopt.figures.text import name_of
from lyapopt.figures.theme import band, looks, styled

_TITLE = "Mean exponent against the learning rate, 95 % intervals"


@dataclass(frozen=True)
class ExponentCurve:
    """The numbers of one line.

    Attributes:
        name: Name of the activation.
        rates: Learning rates, ascending.
        mean: Mean exponent over networks, nats per step.
        low, high: Its 95 % interval.
    """

    name: str
    rates: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def collect_curves(
    trials: pd.DataFrame, rate: str = "params_lr", group: str = "params_activation"
) -> list[ExponentCurve]:
    """Means over networks at every rate; exponents that are not finite are left out.

    Args:
        trials: Columns `rate`, `group` and `exponent`, a row a network.
        rate: Column of the learning rate.
        group: Column that colours tell apart.
    """
    known = trials[np.isfinite(trials["exponent"].astype(float))]
    found = []
    for name, part in known.groupby(group, sort=True):
        grouped = part.groupby(rate)["exponent"]
        mean = grouped.mean()
        half = 1.96 * np.asarray(grouped.sem().fillna(0.0), dtype=np.float64)
        middle = np.asarray(mean, dtype=np.float64)
        rates = mean.index.to_numpy(dtype=np.float64)
        found.append(ExponentCurve(str(name), rates, middle, middle - half, middle + half))
    return found


def draw_curves(
    curves: Sequence[ExponentCurve], rate: str = "params_lr", title: str = _TITLE
) -> go.Figure:
    """One panel; the exponent is linear near zero and logarithmic beyond."""
    figure = go.Figure()
    shown = looks(curve.name for curve in curves)
    for curve in curves:
        look = shown[curve.name]
        figure.add_scatter(
            x=rounded([*curve.rates, *curve.rates[::-1]]),
            y=rounded([*symlog(curve.high), *symlog(curve.low)[::-1]]),
            mode="lines",
            fill="toself",
            fillcolor=band(look.colour, 0.2),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=curve.name,
        )
        figure.add_scatter(
            x=rounded(curve.rates),
            y=rounded(symlog(curve.mean)),
            customdata=rounded(curve.mean),
            hovertemplate="%{x:.3g}: %{customdata:.3g}",
            mode="lines+markers",
            name=curve.name,
            legendgroup=curve.name,
            line={"color": look.colour},
            marker={"symbol": look.symbol},
        )
    rates = np.concatenate([curve.rates for curve in curves]) if curves else np.ones(1)
    figure.update_xaxes(title=name_of(rate), **log_axis(rates))
    drawn = [end for curve in curves for end in (curve.low, curve.high)]
    figure.update_yaxes(title="exponent (nats per step)", **symlog_axis(*drawn))
    return styled(figure, title, height=460)


def exponent_curves(
    trials: pd.DataFrame, rate: str = "params_lr", group: str = "params_activation"
) -> go.Figure:
    """Mean exponent against the rate with 95 % intervals (Mitra 2024, Fig. 4).

    Args:
        trials: See `collect_curves`.
        rate: Column of the learning rate.
        group: Column that colours tell apart.

    Example:
        >>> measured = {"params_lr": [0.1, 0.1], "exponent": [0.01, 0.03]}
        >>> trials = pd.DataFrame({**measured, "params_activation": "relu"})
        >>> float(collect_curves(trials)[0].mean[0])
        0.02
    """
    return draw_curves(collect_curves(trials, rate, group), rate)
