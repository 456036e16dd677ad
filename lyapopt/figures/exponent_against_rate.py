"""The exponent against the learning rate, a colour an activation: of every trial, and of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from lyapopt.figures._style import COLOURS, band, styled

_TICKS = np.array([-1, -0.1, -0.01, -0.001, 0, 0.001, 0.01, 0.1, 1, 10])


@dataclass(frozen=True)
class RateSeries:
    """The numbers of one colour.

    Attributes:
        name: Value of the grouping column.
        trials: Its trials, sorted by learning rate, those without an exponent left out.
    """

    name: str
    trials: pd.DataFrame


def collect_trials(
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


def draw_trials(
    series: list[RateSeries], rate: str = "params_lr", value: str = "final loss"
) -> go.Figure:
    """Two panels over a logarithmic learning rate: the exponent above, the value below."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for position, one in enumerate(series):
        colour = COLOURS[position % len(COLOURS)]
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
    figure.update_xaxes(type="log", zeroline=False)
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
    return styled(figure, legend={"orientation": "h", "y": 1.06})


def exponent_against_rate(
    trials: pd.DataFrame,
    rate: str = "params_lr",
    group: str = "params_activation",
    value: str = "final loss",
) -> go.Figure:
    """The exponent against the learning rate, with intervals, and the final loss below it.

    Args:
        trials: See `collect_trials`.
        rate: Column of the learning rate.
        group: Column that colours tell apart.
        value: Title of the lower panel.

    Example:
        >>> measured = {"params_lr": [0.1, 1.0], "exponent": [0.01, 0.4], "value": [0.2, 0.3]}
        >>> trials = pd.DataFrame({**measured, "params_activation": "relu"})
        >>> len(exponent_against_rate(trials).data)
        2
    """
    return draw_trials(collect_trials(trials, rate, group), rate, value)


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


def draw_curves(curves: Sequence[ExponentCurve], rate: str = "params_lr") -> go.Figure:
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


def squashed(exponents: ArrayLike) -> NDArray[np.float64]:
    """Linear within +-0.001 nats per step and logarithmic beyond: the edge lies where it turns.

    Example:
        >>> float(squashed(0.0)), round(float(squashed(0.1) - squashed(0.01)), 2)
        (0.0, 2.3)
    """
    return np.arcsinh(np.asarray(exponents, dtype=np.float64) / 1e-3)
