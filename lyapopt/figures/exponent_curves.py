"""Mean exponent against the learning rate, a line an activation (Mitra 2024, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures._style import COLOURS, band, styled
from lyapopt.figures.exponent_against_rate import squashed

_TICKS = np.array([-1, -0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1, 10])


@dataclass(frozen=True)
class ExponentCurve:
    """The numbers of one line.

    Attributes:
        name: Of the activation.
        rates: Ascending.
        mean: Of the exponents over networks, nats per step.
        low, high: Its 95 % interval.
    """

    name: str
    rates: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def collect(
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


def draw(curves: Sequence[ExponentCurve], rate: str = "params_lr") -> go.Figure:
    """One panel; the exponent is linear near zero and logarithmic beyond."""
    figure = go.Figure()
    for place, curve in enumerate(curves):
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(
            x=[*curve.rates, *curve.rates[::-1]],
            y=[*squashed(curve.high), *squashed(curve.low)[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=band(colour, 0.2),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=curve.name,
        )
        figure.add_scatter(
            x=curve.rates.tolist(),
            y=squashed(curve.mean).tolist(),
            customdata=curve.mean.tolist(),
            hovertemplate="%{x:.3g}: %{customdata:.3g}",
            mode="lines+markers",
            name=curve.name,
            legendgroup=curve.name,
            line={"color": colour},
        )
    figure.update_xaxes(
        type="log", title="learning rate" if rate.removeprefix("params_") == "lr" else rate
    )
    figure.update_yaxes(
        title="exponent, nats per step",
        tickvals=squashed(_TICKS).tolist(),
        ticktext=[f"{tick:g}" for tick in _TICKS],
    )
    return styled(figure, height=460)


def exponent_curves(
    trials: pd.DataFrame, rate: str = "params_lr", group: str = "params_activation"
) -> go.Figure:
    """Mean exponent against the rate with 95 % intervals.

    Args:
        trials: See `collect`.
        rate: Column of the learning rate.
        group: Column that colours tell apart.

    Example:
        >>> measured = {"params_lr": [0.1, 0.1], "exponent": [0.01, 0.03]}
        >>> trials = pd.DataFrame({**measured, "params_activation": "relu"})
        >>> float(collect(trials)[0].mean[0])
        0.02
    """
    return draw(collect(trials, rate, group), rate)
