"""Where training is contracting, at the edge and hot: two hyperparameters against the exponent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import Floats, log_axis, rounded, symlog
from lyapopt.figures.points import add_trials, plain
from lyapopt.figures.text import escaped, name_of, worded
from lyapopt.figures.theme import DIVERGING, INK, VERDICTS, Look, notice, remark, styled
from lyapopt.figures.trial_table import (
    column_of,
    is_seed,
    numbers,
    parameters,
    rate_column,
    require,
    shown_texts,
    trial_table,
)

_TITLE = "Trainability: the exponent over two hyperparameters"
_CELLS = 40
_MOST_CHOICES = 20
_REACH = 2.5  # widths of the kernel: where all trials weigh less than one there, nothing is said
_TICKS = (-1.0, -0.1, -0.01, -0.001, 0.0, 0.001, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class MapAxis:
    """One hyperparameter as an axis.

    Attributes:
        column: In the table of trials.
        choices: Of a categorical one, in their order; empty for a number.
        is_log: Whether decades are equally long.
        places: Of each trial, between 0 and 1; of a categorical one, the position of its choice.
        drawn: The same as the axis has it.
        cells: Middles of the cells, as `places`.
        drawn_cells: Middles of the cells, as the axis has them.
    """

    column: str
    choices: tuple[str, ...]
    is_log: bool
    places: Floats
    drawn: Floats | list[str]
    cells: Floats
    drawn_cells: Floats | list[str]


@dataclass(frozen=True)
class TrainabilityMap:
    """The numbers of the figure.

    Attributes:
        x, y: The axes.
        table: As `trial_table` gives it, of the trials that have both hyperparameters, and an
            exponent or a divergence.
        exponents: Smoothed exponent in each cell, nats per step, `(y cells, x cells)`; NaN where no
            trial is near.
    """

    x: MapAxis
    y: MapAxis
    table: pd.DataFrame
    exponents: Floats


def collect(trials: pd.DataFrame, x: str | None = None, y: str | None = None) -> (
    TrainabilityMap | None
):  # fmt: skip
    """Exponents of the trials, smoothed over the plane; `None` without two hyperparameters.

    The map is a mean over trials with Gaussian weights, taken of the exponents on their symlog
    axis; the width of the Gaussian shrinks with the number of trials (Scott's rule). Choices of a
    categorical hyperparameter are not mixed.

    Args:
        trials: A row a trial: `exponent` (nats per step) and `params_NAME` for each parameter.
        x: Column that runs across; by default the learning rate, or else the first number.
        y: Column that runs up; by default the number whose rank correlation with the exponent is
            the largest, or else a categorical one. Seeds are no choice.

    Source: Nadaraya 1964, Watson 1964; Scott 1992.
    """
    table = trial_table(trials)
    for name in (x, y):
        if name is not None:
            require(trials, name)
    is_known = np.isfinite(table["exponent"]) | (table["verdict"] == "diverged")
    x = x or rate_column(trials) or next(iter(_numeric(trials)), None)
    y = y or _second(trials, table, x)
    if x is None or y is None:
        return None
    for name in (x, y):
        is_known &= np.array([bool(worded(each)) for each in column_of(trials, name)], dtype=bool)
    table = table[is_known]
    if not np.isfinite(table["exponent"]).any():
        return None
    rows = trials.iloc[table.index]
    across, up = _axis(rows, x), _axis(rows, y)
    return TrainabilityMap(across, up, table, _smoothed(across, up, table))


def draw(found: TrainabilityMap, texts: pd.Series[str], title: str = _TITLE) -> go.Figure:
    """The map, blue below zero and vermilion above, with the trials on top.

    Args:
        found: What `collect` gives.
        texts: Under the mouse, by the index of the table; other trials are not drawn.
        title: Title of the figure.
    """
    shade = symlog(found.exponents)
    largest = max(float(np.nanmax(np.abs(shade))), float(symlog(0.01)))
    ticks = [tick for tick in _TICKS if abs(symlog(tick)) <= largest]
    scale = [list(stop) for stop in DIVERGING]
    figure = go.Figure(
        go.Heatmap(
            x=plain(found.x.drawn_cells),
            y=plain(found.y.drawn_cells),
            z=[rounded(row, 4) for row in shade],
            customdata=[rounded(row, 3) for row in found.exponents],
            hovertemplate="smoothed exponent %{customdata:.3g}<extra></extra>",
            colorscale=scale,
            zmin=-largest,
            zmax=largest,
            zmid=0,
            opacity=0.85,
            colorbar={
                "title": {"text": "exponent<br>(nats per step)"},
                "tickvals": symlog(ticks).round(4).tolist(),
                "ticktext": [f"{tick:g}".replace("-", "−") for tick in ticks],
                "outlinewidth": 0,
            },
        )
    )
    at = pd.Series(range(len(found.table)), index=found.table.index)[texts.index].to_numpy()
    table = found.table.loc[texts.index]
    measured = np.isfinite(table["exponent"].to_numpy())
    shown = symlog(table["exponent"])
    for name, rows, marker, symbol in (
        ("trials", measured, _coloured(shown[measured], scale, largest), "circle"),
        ("diverged", ~measured, {"color": VERDICTS["diverged"], "size": 8}, "x"),
    ):
        if rows.any():
            add_trials(
                figure, table["number"][rows], _at(found.x.drawn, at[rows]),
                _at(found.y.drawn, at[rows]), texts[rows], Look(INK, symbol), name=name,
                marker=marker,
            )  # fmt: skip
    figure.update_xaxes(**_settings(found.x))
    figure.update_yaxes(**_settings(found.y))
    if len(table) < len(found.table):
        remark(figure, f"{len(table):,} of {len(found.table):,} trials are shown")
    return styled(figure, title, height=480)


def trainability_map(
    trials: pd.DataFrame, x: str | None = None, y: str | None = None, *, title: str = _TITLE
) -> go.Figure:
    """The exponent over two hyperparameters, zero in the middle of the colours, trials on top.

    Args:
        trials, x, y: See `collect`.
        title: Title of the figure.

    Example:
        >>> grid = {"params_lr": [0.1, 1.0], "params_width": [8, 8], "exponent": [0.01, 0.01]}
        >>> found = collect(pd.DataFrame(grid))
        >>> found.x.column, found.y.column, np.nanmax(found.exponents).round(6)
        ('params_lr', 'params_width', np.float64(0.01))
    """
    found = collect(trials, x, y)
    if found is None:
        there = ", ".join(name_of(name) for name in parameters(trials)[:12]) or "none"
        return notice(
            title, "A map needs exponents and two hyperparameters that are no seeds.",
            f"Hyperparameters: {there}",
        )  # fmt: skip
    return draw(found, shown_texts(trials, found.table), title)


def _numeric(trials: pd.DataFrame) -> list[str]:
    """Parameters that are numbers and vary."""
    found = []
    for name in parameters(trials):
        values = numbers(trials, name)
        known = values[np.isfinite(values)]
        if len(known) and np.ptp(known) > 0 and not is_seed(name):
            found.append(name)
    return found


def _second(trials: pd.DataFrame, table: pd.DataFrame, x: str | None) -> str | None:
    """The number that tells most of the exponent, or else what can be told apart."""
    candidates = [name for name in _numeric(trials) if name != x]
    exponent = table["exponent"].reset_index(drop=True)
    strength: dict[str, float] = {}
    for name in candidates:
        ranks = pd.Series(numbers(trials, name)).rank()
        found = ranks.where(exponent.notna()).corr(exponent.rank())
        strength[name] = 0.0 if np.isnan(found) else abs(float(found))
    if strength:
        return max(strength, key=lambda name: strength[name])
    others = [n for n in parameters(trials) if n != x and not is_seed(n) and n not in candidates]
    return next((n for n in others if 0 < _choices(trials, n) <= _MOST_CHOICES), None)


def _choices(trials: pd.DataFrame, name: str) -> int:
    return len({worded(each) for each in column_of(trials, name)} - {""})


def _axis(rows: pd.DataFrame, column: str) -> MapAxis:
    values = numbers(rows, column)
    if np.isnan(values).any():
        texts = [escaped(each, 40) for each in column_of(rows, column)]
        choices = tuple(sorted(set(texts)))
        places = np.array([choices.index(each) for each in texts], dtype=np.float64)
        cells = np.arange(len(choices), dtype=np.float64)
        return MapAxis(column, choices, False, places, texts, cells, list(choices))
    low, high = float(values.min()), float(values.max())
    is_log = low > 0 and high / low >= 30
    scaled = np.log10(values) if is_log else values
    start, width = float(scaled.min()), float(np.ptp(scaled))
    if width == 0:
        start, width = start - 0.5, 1.0
    edge = 0.5 / _CELLS
    cells = np.linspace(edge, 1 - edge, _CELLS)
    drawn = start + width * cells
    places = (scaled - start) / width
    return MapAxis(column, (), is_log, places, values, cells, 10**drawn if is_log else drawn)


def _smoothed(x: MapAxis, y: MapAxis, table: pd.DataFrame) -> Floats:
    known = np.isfinite(table["exponent"].to_numpy())
    values = symlog(table["exponent"].to_numpy()[known])
    dimensions = 2 - sum(bool(axis.choices) for axis in (x, y))
    width = max(0.02, 0.25 * len(values) ** (-1 / (dimensions + 4)))
    across, up = (np.exp(-_squares(axis, known, width) / 2) for axis in (x, y))  # (cells, trials)
    total = up @ across.T
    with np.errstate(invalid="ignore"):
        smooth = (up * values) @ across.T / total
    smooth[total < math.exp(-(_REACH**2) / 2)] = np.nan
    exponents: Floats = np.sign(smooth) * 1e-4 * (10 ** np.abs(smooth) - 1)
    return exponents


def _squares(axis: MapAxis, known: NDArray[np.bool_], width: float) -> Floats:
    """Squared distances of each cell to each trial, in widths; infinite to other choices."""
    distances: Floats = axis.cells[:, None] - axis.places[known][None, :]
    if axis.choices:
        return np.where(distances == 0, 0.0, np.inf)
    return (distances / width) ** 2


def _settings(axis: MapAxis) -> dict[str, object]:
    title = name_of(axis.column)
    if axis.choices:
        order = {"categoryorder": "array", "categoryarray": list(axis.choices)}
        return {"title": title, "type": "category", "showgrid": False, **order}
    if not axis.is_log:
        return {"title": title, "showgrid": False, "zeroline": False}
    log = {
        name: value
        for name, value in log_axis(np.asarray(axis.drawn_cells, dtype=np.float64)).items()
        if name != "range"
    }
    return {"title": title, "showgrid": False, **log}


def _coloured(values: Floats, scale: list[list[object]], largest: float) -> dict[str, object]:
    return {
        "color": rounded(values, 4),
        "colorscale": scale,
        "cmin": -largest,
        "cmax": largest,
        "size": 8,
        "opacity": 1,
        "line": {"width": 1.2, "color": "#3c434d"},
    }


def _at(drawn: Floats | list[str], rows: Sequence[int]) -> list[object]:
    return [drawn[row] for row in rows]
