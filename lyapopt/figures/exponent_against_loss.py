"""Exponent against final loss, with gate, regression, r and p (Mitra 2024, Fig. 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import LossScale, rounded, symlog, symlog_axis
from lyapopt.figures.bands import add_bands
from lyapopt.figures.points import add_trials
from lyapopt.figures.theme import COLOURS, INK, Look, looks, notice, remark, styled
from lyapopt.figures.trial_table import NOBODY, numbers, shown_texts, thinned, trial_table
from lyapopt.figures.trial_table import value_name as named_value

_TITLE = "Exponent against final loss"
_FEWEST = 3
_LINE = 60  # points of the regression line, which is a curve on these axes


@dataclass(frozen=True)
class Gated:
    """The numbers of the figure.

    Attributes:
        table: As `trial_table` gives it, of the networks that have an exponent and a final loss,
            and `is_inside`: whether the initial loss lies within the gate.
        gate: The inter-quartile range of initial losses; NaN where none is known, and then all
            networks are inside.
        slope, intercept: Regression of the final loss on the exponent, inside the gate.
        r, p: Pearson's correlation and its two-sided p value; NaN with fewer than three networks.
        rank: Spearman's correlation.
    """

    table: pd.DataFrame
    gate: tuple[float, float]
    slope: float = math.nan
    intercept: float = math.nan
    r: float = math.nan
    p: float = math.nan
    rank: float = math.nan

    @property
    def inside(self) -> pd.DataFrame:
        """Networks inside the gate."""
        return self.table[self.table["is_inside"]]

    @property
    def outside(self) -> pd.DataFrame:
        """The others."""
        return self.table[~self.table["is_inside"]]


def collect(
    trials: pd.DataFrame,
    value: str | None = None,
    group: str | None = None,
    trajectories: pd.DataFrame | None = None,
) -> Gated:
    """Gate and regression.

    Args:
        trials: A row a network: `exponent`, the final loss, and `initial_loss` where it is known.
        value: Column of the final loss; by default `value`, `value_0` or `loss`.
        group: Column that colours tell apart; by default the activation.
        trajectories: Series in the long form; the first number of `loss` is the initial loss of
            networks that have no other.
    """
    table = trial_table(trials, value=value, group=group)
    if trajectories is not None:
        first = initial_losses(trajectories)
        table["initial_loss"] = table["initial_loss"].fillna(table["number"].map(first))
    table = table[np.isfinite(table["exponent"]) & np.isfinite(table["value"])].copy()
    known = table.loc[np.isfinite(table["initial_loss"]), "initial_loss"]
    low, high = (float(q) for q in known.quantile([0.25, 0.75])) if len(known) else (math.nan,) * 2
    gated = table["initial_loss"].between(low, high)
    table["is_inside"] = gated if len(known) else np.ones(len(table), bool)
    inside = table[table["is_inside"]]
    x: NDArray[np.float64] = inside["exponent"].to_numpy(dtype=np.float64)
    y: NDArray[np.float64] = inside["value"].to_numpy(dtype=np.float64)
    if len(x) < _FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Gated(table, (low, high))
    # Imported here: 1 s that few other figures need.
    from scipy.stats import linregress, spearmanr

    fit = linregress(x, y)
    rank = float(spearmanr(x, y).statistic)
    slope, intercept, r, p = (float(each) for each in fit[:4])
    return Gated(table, (low, high), slope, intercept, r, p, rank)


def initial_losses(trajectories: pd.DataFrame) -> dict[int, float]:
    """The first loss of each trial."""
    if trajectories.empty:
        return {}
    losses = trajectories[trajectories["name"] == "loss"].sort_values("step", kind="stable")
    first = losses.groupby("trial_number", sort=False)["value"].first()
    return dict(zip(first.index.astype(int).tolist(), first.astype(float).tolist(), strict=True))


def draw(
    gated: Gated,
    texts: pd.Series[str],
    limits: Mapping[str, float] | None = None,
    *,
    value: str = "final loss",
    title: str = _TITLE,
) -> go.Figure:
    """Points inside the gate and, hollow, outside; the line through those inside.

    Args:
        gated: What `collect` gives.
        texts: Under the mouse, by the index of the table; other rows are left out.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        value: What the axis of the loss is called.
        title: Title of the figure.
    """
    figure, table = go.Figure(), gated.table.loc[texts.index]
    scale, axis = LossScale.of(table["value"]), symlog_axis(table["exponent"])
    low, high = gated.gate
    is_known = not math.isnan(low)
    shown = looks(table["group"])
    for name, look in shown.items():
        drawn = look if len(shown) > 1 or name != NOBODY else Look(COLOURS[0], "circle")
        for is_inside in (True, False):
            part = table[(table["group"] == name) & (table["is_inside"] == is_inside)]
            if part.empty:
                continue
            add_trials(
                figure, part["number"], symlog(part["exponent"]), scale.clipped(part["value"]),
                texts[part.index], drawn, name=name,
                symbol=None if is_inside else f"{drawn.symbol}-open",
                outside=scale.is_outside(part["value"]) if is_inside else None,
                showlegend=is_inside or not (table["is_inside"] & (table["group"] == name)).any(),
                marker={"size": 8 if is_inside else 6, "opacity": 0.9 if is_inside else 0.5},
            )  # fmt: skip
    if not math.isnan(gated.r):
        _add_line(figure, gated, scale)
    gate = f"filled: initial loss {low:.3g} to {high:.3g}" if is_known else "no initial losses"
    count = f"{len(gated.inside):,} of {len(gated.table):,} networks"
    rank = "" if math.isnan(gated.rank) else f"; rank correlation {gated.rank:.2f}"
    few = f"; {len(table):,} are shown" if len(table) < len(gated.table) else ""
    remark(figure, f"{gate} ({count}){rank}{few}")
    add_bands(figure, limits, axis="x", span=tuple(axis["range"]))
    figure.update_xaxes(title="exponent (nats per step)", **axis)
    figure.update_yaxes(**scale.axis(title=value))
    return styled(figure, title, height=460)


def exponent_against_loss(
    trials: pd.DataFrame,
    title: str = _TITLE,
    *,
    trajectories: pd.DataFrame | None = None,
    value: str | None = None,
    group: str | None = None,
    limits: Mapping[str, float] | None = None,
    value_name: str | None = None,
) -> go.Figure:
    """Exponent against final loss, with the gate of initial losses, regression, r and p.

    Args:
        trials: A row a network: `exponent` (nats per step), the final loss, and where they are
            known `initial_loss`, the group, `verdict`, `trial_number`.
        title: Title of the figure.
        trajectories: Series in the long form, for initial losses that `trials` does not have.
        value: Column of the final loss; by default `value`, `value_0` or `loss`.
        group: Column that colours tell apart; by default the activation.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        value_name: What the axis of the loss is called.

    Example:
        >>> start = [1.0, 2.0, 2.0, 2.0, 3.0]
        >>> made = {"exponent": [0.0, 1.0, 2.0, 3.0, 9.0], "loss": [9, 1, 2, 3, 0]}
        >>> round(collect(pd.DataFrame({**made, "initial_loss": start})).r, 6)
        1.0
    """
    gated = collect(trials, value, group, trajectories)
    if gated.table.empty:
        return notice(title, "No trial has both an exponent and a final loss.")
    texts = shown_texts(trials, gated.table)
    return draw(gated, texts, limits, value=value_name or named_value(trials), title=title)


def without_initial_loss(trials: pd.DataFrame) -> list[int]:
    """Numbers of the trials whose trajectory is needed: those in the figure without `initial_loss`.

    Args:
        trials: See `exponent_against_loss`.
    """
    table = trial_table(trials)
    known = np.isfinite(table["exponent"]) & np.isfinite(table["value"])
    missing = table[known & np.isnan(numbers(trials, "initial_loss"))]
    return [int(number) for number in thinned(missing)["number"]]


def _add_line(figure: go.Figure, gated: Gated, scale: LossScale) -> None:
    """The regression, straight in exponent and loss and so a curve on their axes."""
    ends = symlog(gated.inside["exponent"])
    at = np.linspace(ends.min(), ends.max(), _LINE)
    exponents = np.sign(at) * 1e-4 * (10 ** np.abs(at) - 1)
    line = gated.intercept + gated.slope * exponents
    is_seen = (line >= scale.low) & (line <= scale.high)
    figure.add_scatter(
        x=rounded(at),
        y=rounded(np.where(is_seen, line, np.nan)),
        mode="lines",
        name=f"regression: r = {gated.r:.2f}, p = {gated.p:.2g}",
        line={"color": INK, "width": 2},
        hoverinfo="skip",
    )
