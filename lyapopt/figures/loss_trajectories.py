"""Losses of many trials, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import Floats, LossScale, rounded
from lyapopt.figures.series import medians, named
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import INK, VERDICTS, Look, band, looks, notice, remark, styled
from lyapopt.figures.trial_table import hover_texts, trial_table

MOST_LINES = 40
_MOST_POINTS = 120
_NAMES = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "metric": "metric",
}


@dataclass(frozen=True)
class LossLine:
    """The numbers of one line.

    Attributes:
        number: Of the trial.
        group: What its colour tells.
        state: How it ended; "" where it is not known.
        is_best: Whether it is the best of those that are drawn.
        steps: Ascending.
        losses: NaN where there is no number, infinite ones kept.
        text: Under the mouse.
    """

    number: int
    group: str
    state: str
    is_best: bool
    steps: NDArray[np.int64]
    losses: Floats
    text: str


def chosen(trials: pd.DataFrame, most: int = MOST_LINES) -> list[int]:
    """Numbers of the trials whose trajectories are drawn: the best half, others evenly spread.

    Args:
        trials: See `loss_trajectories`.
        most: How many.

    Example:
        >>> chosen(pd.DataFrame({"trial_number": [5, 6, 7], "value": [3.0, 1.0, 2.0]}), 2)
        [5, 6]
    """
    table = trial_table(trials)
    started = table[~table["state"].isin(["waiting", "running"])]
    best = started["score"].nsmallest(max(1, most // 2)).index
    others = started.index.difference(best)
    places = np.linspace(0, len(others) - 1, min(len(others), most - len(best))).round()
    kept = [*best, *(others[int(place)] for place in places)]
    return sorted(int(number) for number in table.loc[kept, "number"])


def collect(
    trajectories: pd.DataFrame,
    trials: pd.DataFrame | None = None,
    *,
    series: str = "loss",
    group: str | None = None,
) -> list[LossLine]:
    """One line a trial, by number; the best one last, so that it lies on top.

    Args:
        trajectories: Series in the long form.
        trials: A row a trial, for colours, states and texts; without it there are none.
        series: Name of the series that is drawn.
        group: Column of `trials` that colours tell apart; by default the activation.
    """
    rows = named(trajectories, series)
    if rows.empty:
        return []
    if "trial_number" not in rows:
        rows = rows.assign(trial_number=0)
    numbers = [int(number) for number in rows["trial_number"].unique()][:MOST_LINES]
    empty = pd.DataFrame({"trial_number": numbers})
    known = empty if trials is None or trials.empty else trials.reset_index(drop=True)
    table = trial_table(known, group=group)
    table = table[table["number"].isin(numbers)]
    texts = dict(zip(table["number"], hover_texts(known, table), strict=True))
    groups = dict(zip(table["number"], table["group"], strict=True))
    states = dict(zip(table["number"], table["state"], strict=True))
    done = table.dropna(subset=["score"]).sort_values("score", kind="stable")["number"]
    best = int(done.iloc[0]) if len(done) else None
    lines = []
    for trial in sorted(numbers):
        ordered = rows[rows["trial_number"] == trial].sort_values("step", kind="stable")
        lines.append(
            LossLine(
                trial, groups.get(trial, ""), states.get(trial, ""), trial == best,
                ordered["step"].to_numpy(dtype=np.int64),
                ordered["value"].to_numpy(dtype=np.float64),
                texts.get(trial, f"<b>trial {trial}</b>"),
            )
        )  # fmt: skip
    return sorted(lines, key=lambda line: line.is_best)


def draw(lines: list[LossLine], loss: str = "training loss", title: str = "") -> go.Figure:
    """A line a trial with its end marked: a cross where it was pruned or failed.

    Args:
        lines: What `collect` gives.
        loss: What the axis is called.
        title: Title of the figure.
    """
    figure = go.Figure()
    scale = LossScale.of(np.concatenate([line.losses for line in lines]))
    shown = looks(line.group for line in lines)
    named_already: set[str] = set()
    for line in lines:
        colour = shown[line.group].colour
        steps, losses = medians(line.steps, line.losses, _MOST_POINTS)
        figure.add_scatter(
            x=steps.tolist(),
            y=rounded(scale.clipped(losses)),
            customdata=[line.number] * len(steps),
            hovertext=line.text,
            hovertemplate=f"%{{hovertext}}<br>step %{{x}}: {loss} %{{y:.4g}}<extra></extra>",
            mode="lines",
            name=line.group or "trials",
            legendgroup=line.group,
            showlegend=line.group not in named_already,
            line={
                "color": colour if line.is_best else band(colour, 0.55),
                "width": 3 if line.is_best else 1.2,
            },
        )
        named_already.add(line.group)
    _add_ends(figure, lines, scale, shown)
    longest = max(len(line.steps) for line in lines)
    if longest > _MOST_POINTS:
        remark(figure, f"medians of {math.ceil(longest / _MOST_POINTS)} steps")
    figure.update_xaxes(title="step")
    figure.update_yaxes(**scale.axis(title=loss))
    return styled(figure, title, height=480)


def loss_trajectories(
    trajectories: pd.DataFrame,
    trials: pd.DataFrame | None = None,
    *,
    series: str = "loss",
    group: str | None = None,
    title: str | None = None,
) -> go.Figure:
    """Losses against the step, a line a trial; crosses end those that were pruned.

    Args:
        trajectories: Series in the long form: `trial_number`, `name`, `step`, `value`.
        trials: A row a trial, for colours, states and texts under the mouse.
        series: Name of the series that is drawn: `loss`, `validation_loss` or `metric`.
        group: Column of `trials` that colours tell apart; by default the activation.
        title: Title of the figure.

    Example:
        >>> falling = {"trial_number": 3, "name": "loss", "step": [0, 1], "value": [1.0, 0.5]}
        >>> loss_trajectories(pd.DataFrame(falling)).data[0].y
        (1.0, 0.5)
    """
    loss = _NAMES.get(series) or escaped(series, 40).replace("%{", "%&#123;")
    named_title = (
        f"{loss[:1].upper()}{loss[1:]} of trials, step by step" if title is None else title
    )
    lines = collect(trajectories, trials, series=series, group=group)
    if not lines:
        return notice(named_title, f"No {loss} was recorded step by step.")
    figure = draw(lines, loss, named_title)
    if trials is not None and len(lines) < len(trials):
        remark(
            figure, f"{len(lines)} of {len(trials):,} trials: the best, and others evenly spread"
        )
    return figure


def _add_ends(
    figure: go.Figure, lines: list[LossLine], scale: LossScale, shown: Mapping[str, Look]
) -> None:
    """The last number of each trial: its group's symbol, or a cross where it was cut short."""
    x: list[int] = []
    y: list[float] = []
    drawn: list[LossLine] = []
    for line in lines:
        steps, losses = medians(line.steps, line.losses, _MOST_POINTS)
        known = np.flatnonzero(~np.isnan(losses))
        if len(known):
            drawn.append(line)
            x.append(int(steps[known[-1]]))
            y.append(float(losses[known[-1]]))
    if not drawn:
        return
    ends = [
        _end(line, outside, shown) for line, outside in zip(drawn, scale.is_outside(y), strict=True)
    ]
    figure.add_scatter(
        x=x,
        y=rounded(scale.clipped(y)),
        customdata=[line.number for line in drawn],
        hovertext=[f"{line.text}<br>last {loss:.4g}" for line, loss in zip(drawn, y, strict=True)],
        hoverinfo="text",
        mode="markers",
        marker={
            "color": [look.colour for look in ends],
            "symbol": [look.symbol for look in ends],
            "size": 8,
            "line": {"width": 1.2, "color": INK},
        },
        showlegend=False,
    )


def _end(line: LossLine, outside: int, shown: Mapping[str, Look]) -> Look:
    if outside > 0:
        return Look(VERDICTS["diverged"], "triangle-up-open")
    look = shown[line.group]
    return Look(look.colour, "x" if line.state in ("pruned", "failed") else look.symbol)
