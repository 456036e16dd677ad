"""How fast the neighbours of one trial separate from it, step by step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from lyapopt.figures.axes import Floats, rounded, symlog, symlog_axis
from lyapopt.figures.bands import add_bands
from lyapopt.figures.series import one_trial, pivoted, thinned_line
from lyapopt.figures.text import shown_interval
from lyapopt.figures.theme import COLOURS, GRID, band, notice, remark, styled

_TITLE = "Separation of the neighbours"
_MOST_NEIGHBOURS = 32
_MOST_RESCALINGS = 60
_MOST_POINTS = 3000  # of all neighbours together


@dataclass(frozen=True)
class Separations:
    """The numbers of the figure.

    Attributes:
        trial: Its number; `None` where there is none.
        steps: `(T + 1,)`.
        logs: Natural logarithm of the separations as if they had never been rescaled,
            `(T + 1, neighbours)`; NaN where a neighbour or its reference was no longer finite.
        mean: Mean over neighbours, `(T + 1,)`; NaN from where one of them is.
        segment: Steps between two rescalings.
        rescalings: Steps at which neighbours were rescaled.
        ends: Steps at which the segments end.
        growth: Mean growth over each segment, nats per step.
        exponent, low, high: What was measured, nats per step; NaN where it is not known.
        since: Step from which on the exponent is the growth.
    """

    trial: int | None
    steps: NDArray[np.int64]
    logs: Floats
    mean: Floats
    segment: int
    rescalings: NDArray[np.int64]
    ends: NDArray[np.int64]
    growth: Floats
    exponent: float = math.nan
    low: float = math.nan
    high: float = math.nan
    since: int = 0


def collect(
    trajectories: pd.DataFrame,
    exponents: pd.DataFrame | None = None,
    *,
    trial: int | None = None,
    segment: int | None = None,
) -> Separations | None:
    """The separations of one trial; `None` where there are none.

    Args:
        trajectories: Series in the long form (`step`, `component`, `value`, and where there are
            several series or trials `name`, `trial_number`); those called `separation` are read.
        exponents: A row an exponent, as `StudyData.exponents` has them: for the segment, and for
            the value and the interval of the first exponent of the trial.
        trial: Number of the trial; by default the first that has separations.
        segment: Steps between two rescalings; by default what `exponents` says, or 1.
    """
    number, rows = one_trial(trajectories, "separation", trial)
    if rows.empty:
        return None
    steps, logs = pivoted(rows)
    logs = np.where(np.isposinf(logs), np.nan, logs)
    measured = _measured(exponents, number)
    segment = segment or _whole(measured.get("segment")) or 1
    inner = np.arange(segment, len(steps), segment)
    bounds = np.unique([0, *inner, len(steps) - 1])
    with np.errstate(invalid="ignore"):  # a separation that became zero has no growth after it
        mean = logs.mean(1)
        growth = np.diff(mean[bounds]) / np.maximum(np.diff(steps[bounds]), 1)
    ends = steps[bounds[1:]]
    numbers = {name: _number(measured.get(key)) for name, key in _KEYS.items()}
    rescalings = steps[inner[inner < len(steps) - 1]]
    since = _since(measured, steps)
    return Separations(
        number, steps, logs, mean, segment, rescalings, ends, growth, **numbers, since=since
    )


_KEYS: Mapping[str, str] = {"exponent": "value", "low": "low", "high": "high"}


def draw(
    found: Separations, limits: Mapping[str, float] | None = None, title: str = _TITLE
) -> go.Figure:
    """Log separations above, growth of each segment below.

    Args:
        found: What `collect` gives.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        title: Title of the figure; the trial is added.
    """
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.6, 0.4]
    )
    _add_separations(figure, found)
    _add_rescalings(figure, found)
    edges = np.concatenate([found.steps[:1], found.ends])
    growth = np.append(found.growth, found.growth[-1:])
    kept = thinned_line(growth, _MOST_POINTS // 4)
    figure.add_scatter(
        x=edges[kept].tolist(),
        y=rounded(symlog(growth[kept])),
        customdata=rounded(growth[kept]),
        hovertemplate="from step %{x}: %{customdata:.3g} nats per step<extra></extra>",
        mode="lines",
        line={"shape": "hv", "color": COLOURS[0], "width": 2},
        name="growth of a segment",
        showlegend=False,
        row=2,
        col=1,
    )
    axis = symlog_axis(found.growth, [found.low, found.high])
    add_bands(figure, limits, span=tuple(axis["range"]), pixels=140, row=2, col=1)
    figure.update_yaxes(title_text="ln separation (nats)", row=1, col=1)
    figure.update_yaxes(title_text="growth (nats per step)", **axis, row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    named = title if found.trial is None else f"{title}: trial {found.trial}"
    return styled(figure, named, height=540)


def separations(
    trajectories: pd.DataFrame,
    exponents: pd.DataFrame | None = None,
    *,
    trial: int | None = None,
    segment: int | None = None,
    limits: Mapping[str, float] | None = None,
    title: str = _TITLE,
) -> go.Figure:
    """Log separation of each neighbour against the step, with segments, rescalings and slope.

    Args:
        trajectories, exponents, trial, segment: See `collect`.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        title: Title of the figure; the trial is added.

    Example:
        >>> doubling = {"step": [0, 1, 2], "value": [-13.8, -13.1, -12.4]}
        >>> collect(pd.DataFrame(doubling)).growth.round(2).tolist()
        [0.7, 0.7]
        >>> separations(pd.DataFrame(doubling)).data[0].name
        'the neighbour'
    """
    found = collect(trajectories, exponents, trial=trial, segment=segment)
    if found is None:
        of_trial = "" if trial is None else f" of trial {trial}"
        return notice(title, f"No separations{of_trial} were recorded.")
    return draw(found, limits, title)


def _add_separations(figure: go.Figure, found: Separations) -> None:
    place = {"row": 1, "col": 1}
    neighbours = found.logs.shape[1]
    shown = min(neighbours, _MOST_NEIGHBOURS) if neighbours > 1 else 0
    for column in range(shown):
        kept = thinned_line(found.logs[:, column], _MOST_POINTS // shown)
        figure.add_scatter(
            x=found.steps[kept].tolist(),
            y=rounded(found.logs[kept, column]),
            mode="lines",
            line={"color": band(COLOURS[0], 0.45), "width": 1},
            name="a neighbour",
            legendgroup="neighbours",
            showlegend=column == 0,
            hoverinfo="skip",
            **place,
        )
    kept = thinned_line(found.mean, _MOST_POINTS // 4)
    text = "mean of " + (f"{neighbours} neighbours" if neighbours > 1 else "one neighbour")
    figure.add_scatter(
        x=found.steps[kept].tolist(),
        y=rounded(found.mean[kept]),
        mode="lines+markers" if len(kept) < 100 else "lines",
        marker={"size": 4},
        line={"color": COLOURS[0], "width": 2.5},
        name=text if neighbours > 1 else "the neighbour",
        hovertemplate="step %{x}: ln separation %{y:.4g}<extra></extra>",
        **place,
    )
    start = int(np.searchsorted(found.steps, found.since))
    if math.isfinite(found.exponent) and math.isfinite(found.mean[start]):
        value = shown_interval(found.exponent, found.low, found.high)
        figure.add_scatter(
            x=found.steps[[start, -1]].tolist(),
            y=rounded(
                found.mean[start] + found.exponent * (found.steps[[start, -1]] - found.steps[start])
            ),
            mode="lines",
            line={"color": COLOURS[1], "dash": "dash", "width": 1.5},
            name=f"exponent {value} nats per step",
            hoverinfo="skip",
            **place,
        )


def _add_rescalings(figure: go.Figure, found: Separations) -> None:
    """Where neighbours were brought back to their radius: a line each, or words if it is always."""
    known = found.mean[np.isfinite(found.mean)]
    if not len(known) or not len(found.rescalings):
        return
    if found.segment == 1 or len(found.rescalings) > _MOST_RESCALINGS:
        every = "every step" if found.segment == 1 else f"every {found.segment} steps"
        remark(figure, f"neighbours are rescaled after {every}, and drawn as if they never were")
        return
    ends = [float(known.min()), float(known.max())]
    figure.add_scatter(
        x=[x for step in found.rescalings.tolist() for x in (step, step, None)],
        y=rounded([*ends, math.nan]) * len(found.rescalings),
        mode="lines",
        line={"color": GRID, "dash": "dot", "width": 1.5},
        name=f"rescaled (every {found.segment} steps)",
        hoverinfo="skip",
        row=1,
        col=1,
    )


def _measured(exponents: pd.DataFrame | None, trial: int | None) -> Mapping[str, object]:
    """The first exponent of a trial: its own."""
    if exponents is None or exponents.empty:
        return {}
    of_trial = exponents
    if trial is not None and "trial_number" in exponents:
        of_trial = exponents[exponents["trial_number"] == trial]
    return {} if of_trial.empty else {str(name): each for name, each in of_trial.iloc[0].items()}


def _since(measured: Mapping[str, object], steps: NDArray[np.int64]) -> int:
    """The step before the first over which the exponent was averaged, as its estimand says."""
    said = re.search(r"over steps (\d+) to (\d+)", str(measured.get("estimand", "")))
    first = int(said[1]) - 1 if said else (_whole(measured.get("burn_in")) or 0)
    return first if steps[0] <= first < steps[-1] else int(steps[0])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _whole(value: object) -> int | None:
    try:
        found = int(value)  # type: ignore[call-overload]  # what is no number raises
    except (TypeError, ValueError):
        return None
    return found if found > 0 else None
