"""The way of the weights of one trial, and of its neighbours, in the plane in which it bends."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from lyapopt.figures.axes import Floats, rounded
from lyapopt.figures.series import named, one_trial, pivoted, thinned_line
from lyapopt.figures.theme import COLOURS, band, notice, remark, styled

_TITLE = "Weights in the plane of two principal components"
_MOST_POINTS = 400
_MOST_NEIGHBOURS = 16
_MOST_OF_NEIGHBOURS = 3000  # points of all of them together
_VISIBLE = 0.15  # of the extent of the reference, that neighbours are magnified to


@dataclass(frozen=True)
class WeightPath:
    """The numbers of the figure.

    Attributes:
        trial: Its number; `None` where there is none.
        steps: Of the reference, `(T,)`.
        plane: Coordinates of the reference, `(T, 2)`.
        shares: Share of the variance that each component explains, `(2,)`.
        neighbours: Coordinates of each neighbour less those of the reference, `(T', 2)` each.
        neighbour_steps: `(T',)`.
        magnification: What these differences are drawn larger by.
        separation_steps: Steps of the relative separations, `(S,)`.
        separations: Distance of each neighbour in the weights over the norm of the reference's
            weights, `(S, neighbours)`.
    """

    trial: int | None
    steps: NDArray[np.int64]
    plane: Floats
    shares: Floats
    neighbours: tuple[Floats, ...] = ()
    neighbour_steps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    magnification: float = 1.0
    separation_steps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    separations: Floats = field(default_factory=lambda: np.empty((0, 0)))


def collect(trajectories: pd.DataFrame, *, trial: int | None = None) -> WeightPath | None:
    """The path of one trial; `None` where its weights are not known at two steps at least.

    Args:
        trajectories: Series in the long form (`step`, `component`, `value`, and where there are
            several `name`, `trial_number`): `weights` of the reference; and where they were
            recorded `neighbours`, the differences of the neighbours' weights to it, one neighbour
            after the other at each step, and `separation`, the logarithms of their distances.
        trial: Number of the trial; by default the first that has weights.
    """
    number, rows = one_trial(trajectories, "weights", trial)
    steps, weights = pivoted(rows)
    is_known = np.isfinite(weights).all(1)
    steps, weights = steps[is_known], weights[is_known]
    if len(steps) < 2:
        return None
    centred = weights - weights.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = _two(axes)
    variance = np.append(sizes**2, 0.0)[:2]
    shares = variance / max(float((sizes**2).sum()), math.ulp(0.0))
    plane = centred @ axes.T
    path = {"trial": number, "steps": steps, "plane": plane, "shares": shares}
    if "name" not in trajectories:
        return WeightPath(**path)
    at, offsets = _offsets(trajectories, number, weights.shape[1])
    when, logs = pivoted(one_trial(trajectories, "separation", number)[1])
    offsets = _as_if_never_rescaled(offsets, at, when, logs)
    differences = tuple(offset @ axes.T for offset in offsets[:_MOST_NEIGHBOURS])
    distances = np.exp(np.where(np.isposinf(logs), np.nan, logs)) if len(when) else logs
    if not len(when) and len(offsets):
        when, distances = at, np.stack([np.linalg.norm(each, axis=1) for each in offsets], 1)
    norms = np.interp(when, steps, np.linalg.norm(weights, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):  # weights that are all zero
        relative = distances / norms[:, None]
    magnification = _magnification(plane, differences)
    return WeightPath(
        **path,
        neighbours=differences,
        neighbour_steps=at,
        magnification=magnification,
        separation_steps=when,
        separations=relative,
    )


def draw(path: WeightPath, title: str = _TITLE) -> go.Figure:
    """The plane, and where they are known the relative separations below it.

    Args:
        path: What `collect` gives.
        title: Title of the figure; the trial is added.
    """
    has_separations = bool(np.isfinite(path.separations).any())
    rows = 2 if has_separations else 1
    heights = [0.68, 0.32] if has_separations else [1.0]
    figure = make_subplots(rows=rows, cols=1, vertical_spacing=0.16, row_heights=heights)
    _add_neighbours(figure, path)
    _add_reference(figure, path)
    for axis, name, share in zip("xy", ("first", "second"), path.shares, strict=True):
        label = f"{name} component ({share:.0%} of the variance)"
        figure.update_layout({f"{axis}axis": {"title": {"text": label}, "zeroline": False}})
    if has_separations:
        _add_separations(figure, path)
    if not path.neighbours:
        remark(figure, "neighbours are drawn where a study file has record: {neighbours: 4}")
    elif path.magnification > 1:
        remark(figure, f"neighbours are drawn {path.magnification:,.0f} times as far away")
    named_title = title if path.trial is None else f"{title}: trial {path.trial}"
    return styled(figure, named_title, height=640 if has_separations else 480)


def weight_trajectories(
    trajectories: pd.DataFrame, *, trial: int | None = None, title: str = _TITLE
) -> go.Figure:
    """Weights and neighbours in the plane of two principal components, relative separation below.

    Args:
        trajectories, trial: See `collect`.
        title: Title of the figure; the trial is added.

    Example:
        >>> line = {"step": [0, 0, 1, 1, 2, 2], "component": [0, 1] * 3}
        >>> path = collect(pd.DataFrame({**line, "value": [0, 0, 3, 4, 6, 8]}))
        >>> path.plane[:, 0].round(6).tolist(), path.shares.round(6).tolist()
        ([-5.0, 0.0, 5.0], [1.0, 0.0])
    """
    path = collect(trajectories, trial=trial)
    if path is None:
        of_trial = "" if trial is None else f" of trial {trial}"
        return notice(
            title,
            f"No weights{of_trial} were recorded at two steps or more.",
            "A study file records them with record: {weights: projection}.",
        )
    return draw(path, title)


def _offsets(
    trajectories: pd.DataFrame, trial: int | None, dim: int
) -> tuple[NDArray[np.int64], Floats]:
    """Steps, and the differences of each neighbour to the reference, `(neighbours, T, dim)`."""
    rows = named(trajectories, "neighbours")
    if "trial_number" in rows:
        rows = rows[rows["trial_number"] == trial]
    steps, values = pivoted(rows)
    if not len(steps) or values.shape[1] % dim:
        return np.empty(0, np.int64), np.empty((0, 0, dim))
    return steps, values.reshape(len(steps), -1, dim).transpose(1, 0, 2)


def _as_if_never_rescaled(
    offsets: Floats, at: NDArray[np.int64], when: NDArray[np.int64], logs: Floats
) -> Floats:
    """Differences with the lengths that the separations have grown to, where both are known.

    Neighbours are brought back to their radius after each segment: their directions are kept, and
    the separations say how far they would be by then.
    """
    if not len(offsets) or not len(when) or not np.isin(at, when).all():
        return offsets
    few = min(len(offsets), logs.shape[1])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what has diverged
        lengths = np.exp(logs[np.searchsorted(when, at), :few]).T
        norms = np.linalg.norm(offsets[:few], axis=2)
        scaled: Floats = offsets[:few] * (lengths / norms)[:, :, None]
    return np.where(np.isfinite(scaled), scaled, np.nan)


def _two(axes: Floats) -> Floats:
    """Two components with a sign that does not depend on rounding: the largest entry positive."""
    found = np.zeros((2, axes.shape[1]))
    for place, axis in enumerate(axes[:2]):
        found[place] = axis * (np.sign(axis[np.abs(axis).argmax()]) or 1.0)
    return found


def _magnification(plane: Floats, differences: tuple[Floats, ...]) -> float:
    """A power of ten that makes the largest difference visible, 1 if it is."""
    sizes = [np.linalg.norm(each, axis=1) for each in differences]
    finite = np.concatenate([*sizes, [0.0]])
    largest = float(np.max(finite[np.isfinite(finite)]))
    extent = float(np.ptp(plane, axis=0).max())
    if largest <= 0 or extent <= 0 or largest > 0.02 * extent:
        return 1.0
    return float(10.0 ** math.floor(math.log10(_VISIBLE * extent / largest)))


def _add_neighbours(figure: go.Figure, path: WeightPath) -> None:
    if not path.neighbours:
        return
    at = np.stack([np.interp(path.neighbour_steps, path.steps, c) for c in path.plane.T], 1)
    far = 2 * float(np.ptp(path.plane, axis=0).max())  # what has diverged would hide the rest
    for place, difference in enumerate(path.neighbours):
        offset = path.magnification * difference
        is_near = np.linalg.norm(offset, axis=1, keepdims=True) <= far
        every = max(1, math.ceil(len(at) * len(path.neighbours) / _MOST_OF_NEIGHBOURS))
        drawn = (at + np.where(is_near, offset, np.nan))[::every]
        figure.add_scatter(
            x=rounded(drawn[:, 0]),
            y=rounded(drawn[:, 1]),
            mode="lines",
            line={"color": band(COLOURS[1], 0.5), "width": 1},
            name="a neighbour",
            legendgroup="neighbours",
            showlegend=place == 0,
            hoverinfo="skip",
            row=1,
            col=1,
        )


def _add_reference(figure: go.Figure, path: WeightPath) -> None:
    every = max(1, math.ceil(len(path.steps) / _MOST_POINTS))
    kept = np.unique(np.append(np.arange(0, len(path.steps), every), len(path.steps) - 1))
    x, y = path.plane[kept].T
    figure.add_scatter(
        x=rounded(x),
        y=rounded(y),
        customdata=path.steps[kept].tolist(),
        hovertemplate="step %{customdata}<extra></extra>",
        mode="lines+markers",
        line={"color": band(COLOURS[0], 0.6), "width": 1.5},
        marker={"size": 5, "color": COLOURS[0]},
        name="the trial",
        row=1,
        col=1,
    )
    for name, place, symbol in (("start", 0, "circle-open"), ("end", -1, "square")):
        figure.add_scatter(
            x=rounded(x[[place]]),
            y=rounded(y[[place]]),
            text=[name],
            textposition="top center",
            mode="markers+text",
            marker={"size": 11, "symbol": symbol, "color": COLOURS[0], "line": {"width": 2}},
            hovertemplate=f"{name}: step {path.steps[kept][place]}<extra></extra>",
            showlegend=False,
            row=1,
            col=1,
        )


def _add_separations(figure: go.Figure, path: WeightPath) -> None:
    place = {"row": 2, "col": 1}
    values = np.where(path.separations > 0, path.separations, np.nan)
    for column in range(min(values.shape[1], _MOST_NEIGHBOURS)):
        kept = thinned_line(np.log(values[:, column]), _MOST_POINTS // 4)
        figure.add_scatter(
            x=path.separation_steps[kept].tolist(),
            y=rounded(values[kept, column]),
            mode="lines",
            line={"color": band(COLOURS[1], 0.6), "width": 1.2},
            name="relative separation",
            legendgroup="separations",
            showlegend=False,
            hovertemplate="step %{x}: %{y:.3g}<extra></extra>",
            **place,
        )
    title = "separation /<br>norm of weights"
    figure.update_yaxes(type="log", tickformat=".3~e", title_text=title, nticks=4, **place)
    figure.update_xaxes(title_text="step", **place)
