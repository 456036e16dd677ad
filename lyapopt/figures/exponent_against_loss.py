"""Exponent against final loss, with gate, regression, r and p (Mitra 2024, Fig. 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures._style import COLOURS, INK, styled

_FEWEST = 3


@dataclass(frozen=True)
class Gated:
    """The numbers of the figure.

    Attributes:
        inside: Networks whose initial loss lies within the inter-quartile range.
        outside: The others.
        gate: That range.
        slope, intercept: Regression of the final loss on the exponent, inside the gate.
        r, p: Pearson's correlation and its two-sided p value; NaN with fewer than three networks.
    """

    inside: pd.DataFrame
    outside: pd.DataFrame
    gate: tuple[float, float]
    slope: float
    intercept: float
    r: float
    p: float


def collect(trials: pd.DataFrame) -> Gated:
    """Gate and regression.

    Args:
        trials: Columns `exponent`, `loss` (final) and `initial_loss`, a row a network.
    """
    columns = ["exponent", "loss", "initial_loss"]
    known = trials[columns].replace([np.inf, -np.inf], np.nan).dropna()
    low, high = (float(q) for q in known["initial_loss"].quantile([0.25, 0.75]))
    is_inside = known["initial_loss"].between(low, high)
    inside, outside = known[is_inside], known[~is_inside]
    x: NDArray[np.float64] = inside["exponent"].to_numpy(dtype=np.float64)
    y: NDArray[np.float64] = inside["loss"].to_numpy(dtype=np.float64)
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Gated(inside, outside, (low, high), math.nan, math.nan, math.nan, math.nan)
    # Imported here: 1 s that no other figure needs.
    from scipy.stats import linregress

    fit = linregress(x, y)
    return Gated(
        inside,
        outside,
        (low, high),
        float(fit.slope),
        float(fit.intercept),
        float(fit.rvalue),
        float(fit.pvalue),
    )


def draw(gated: Gated, title: str = "") -> go.Figure:
    """Points inside and outside the gate, and the line through those inside."""
    figure = go.Figure()
    low, high = gated.gate
    for name, part, colour, symbol in (
        (f"initial loss {low:.3g} to {high:.3g}", gated.inside, COLOURS[0], "circle"),
        ("outside the gate", gated.outside, INK, "circle-open"),
    ):
        figure.add_scatter(
            x=part["exponent"].tolist(),
            y=part["loss"].tolist(),
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 7},
        )
    if not math.isnan(gated.r):
        ends = np.array([gated.inside["exponent"].min(), gated.inside["exponent"].max()])
        figure.add_scatter(
            x=ends.tolist(),
            y=(gated.intercept + gated.slope * ends).tolist(),
            mode="lines",
            name=f"r = {gated.r:.2f}, p = {gated.p:.2g}",
            line={"color": COLOURS[1]},
        )
    figure.update_xaxes(title="exponent, nats per step", exponentformat="power")
    figure.update_yaxes(title="final loss")
    return styled(figure, height=460, title=title)


def exponent_against_loss(trials: pd.DataFrame, title: str = "") -> go.Figure:
    """Exponent against final loss.

    Args:
        trials: See `collect`.
        title: Title of the figure.

    Example:
        >>> start = [1.0, 2.0, 2.0, 2.0, 3.0]
        >>> made = {"exponent": [0.0, 1.0, 2.0, 3.0, 9.0], "loss": [9, 1, 2, 3, 0]}
        >>> round(collect(pd.DataFrame({**made, "initial_loss": start})).r, 6)
        1.0
    """
    return draw(collect(trials), title)
