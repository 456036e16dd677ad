"""The exponent against the learning rate, a colour an activation (Mitra 2024, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lyapopt.figures.axes import LossScale, log_axis, symlog, symlog_axis
from lyapopt.figures.bands import add_bands
from lyapopt.figures.points import add_trials
from lyapopt.figures.text import name_of
from lyapopt.figures.theme import Look, interval_bars, looks, notice, remark, styled
from lyapopt.figures.trial_table import (
    numbers,
    parameters,
    rate_column,
    require,
    shown_texts,
    trial_table,
)
from lyapopt.figures.trial_table import value_name as named_value

_TITLE = "Exponent and final loss against the learning rate"


def collect(
    trials: pd.DataFrame,
    rate: str | None = None,
    group: str | None = None,
    value: str | None = None,
) -> pd.DataFrame:
    """Numbers of the figure: trials that have a rate, and an exponent or a divergence, by rate.

    Args:
        trials, group, value: See `lyapopt.figures.trial_table.trial_table`.
        rate: Column of the learning rate; by default the one that is called so.

    Returns:
        The columns of `trial_table`, and `rate`; the index is the row in `trials`.
    """
    table = trial_table(trials, value=value, group=group)
    table["rate"] = numbers(trials, rate or rate_column(trials))
    measured = np.isfinite(table["exponent"]) | np.isinf(table["exponent"])
    is_shown = measured | (table["verdict"] == "diverged")
    shown: pd.DataFrame = table[is_shown & (table["rate"] > 0)]
    return shown.sort_values(["rate", "number"])


def draw(
    table: pd.DataFrame,
    texts: pd.Series[str],
    limits: Mapping[str, float] | None = None,
    *,
    rate: str = "learning rate",
    value: str = "final loss",
    title: str = _TITLE,
) -> go.Figure:
    """The exponent above with intervals and the verdicts' bands, the final loss below.

    Args:
        table: What `collect` gives.
        texts: Under the mouse, by the index of the table; other rows are left out.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        rate, value: What the axes are called.
        title: Title of the figure.
    """
    count, table = len(table), table.loc[texts.index]
    scale = LossScale.of(table["value"])
    has_values = bool(np.isfinite(table["value"]).any())
    rows = 2 if has_values else 1
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.05)
    axis = symlog_axis(table["exponent"], table["low"], table["high"])
    top = axis["range"][1] = axis["range"][1] + 0.35
    for name, look in looks(table["group"]).items():
        part = table[table["group"] == name]
        _add_exponents(figure, part, texts, look, name, top)
        if has_values:
            done = part[~np.isnan(part["value"])]
            add_trials(
                figure, done["number"], done["rate"], scale.clipped(done["value"]),
                texts[done.index], look, name=name, outside=scale.is_outside(done["value"]),
                place={"row": 2, "col": 1}, showlegend=False,
            )  # fmt: skip
    add_bands(figure, limits, span=(axis["range"][0], top), row=1, col=1)
    figure.update_yaxes(title_text="exponent (nats per step)", **axis, row=1, col=1)
    if has_values:
        figure.update_yaxes(**scale.axis(title_text=value), row=2, col=1)
    figure.update_xaxes(**log_axis(table["rate"]))
    figure.update_xaxes(title_text=rate, row=rows, col=1)
    if len(table) < count:
        remark(figure, f"{len(table):,} of {count:,} trials are shown")
    return styled(figure, title, height=560 if has_values else 400)


def exponent_against_rate(
    trials: pd.DataFrame,
    rate: str | None = None,
    group: str | None = None,
    value: str | None = None,
    *,
    limits: Mapping[str, float] | None = None,
    value_name: str | None = None,
    title: str = _TITLE,
) -> go.Figure:
    """Exponent against the learning rate by activation, the verdicts' bands, final loss below.

    Args:
        trials: A row a trial: the rate, `exponent` (nats per step), and where there are any
            `exponent_low`, `exponent_high`, the group, the value, `verdict`, `trial_number`.
        rate: Column of the learning rate; by default the one that is called so.
        group: Column that colours tell apart; by default the activation.
        value: Column of the final loss; by default `value`, `value_0` or `loss`.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        value_name: What the lower axis is called.
        title: Title of the figure.

    Example:
        >>> measured = {"params_lr": [0.1, 1.0], "exponent": [0.01, 0.4], "value": [0.2, 0.3]}
        >>> trials = pd.DataFrame({**measured, "params_activation": "relu"})
        >>> exponent_against_rate(trials).data[0].y
        (2.00432, 3.60217)
    """
    column = rate or rate_column(trials)
    if column is None:
        there = ", ".join(map(name_of, parameters(trials)[:12])) or "none"
        return notice(title, "No parameter is called a learning rate.", f"Parameters: {there}")
    require(trials, column)
    table = collect(trials, column, group, value)
    if table.empty:
        return notice(title, "No trial has a learning rate and an exponent.")
    texts = shown_texts(trials, table, panels=2)
    return draw(
        table,
        texts,
        limits,
        rate=name_of(column),
        value=value_name or named_value(trials),
        title=title,
    )


def _add_exponents(
    figure: go.Figure,
    part: pd.DataFrame,
    texts: pd.Series[str],
    look: Look,
    name: str,
    top: float,
) -> None:
    """Exponents with intervals, and at the top the trials that diverged before they had one."""
    measured = part[~np.isnan(part["exponent"])]
    centre, low, high = (symlog(measured[each]) for each in ("exponent", "low", "high"))
    bars = interval_bars(centre, low, high, look.colour)
    add_trials(
        figure, measured["number"], measured["rate"], centre, texts[measured.index], look,
        name=name, place={"row": 1, "col": 1}, error_y=bars,
    )  # fmt: skip
    diverged = part[np.isnan(part["exponent"])]
    if len(diverged):
        add_trials(
            figure, diverged["number"], diverged["rate"], [top - 0.2] * len(diverged),
            texts[diverged.index], look, name=name, symbol="x-thin-open",
            place={"row": 1, "col": 1}, showlegend=measured.empty, marker={"opacity": 0.6},
        )  # fmt: skip
