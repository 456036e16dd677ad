"""Series in the long form: of one trial as an array, and lines that are thinned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.figures.axes import Floats


def named(trajectories: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of one series; all rows of a table that names none."""
    return trajectories[trajectories["name"] == name] if "name" in trajectories else trajectories


def one_trial(
    trajectories: pd.DataFrame, name: str, trial: int | None = None
) -> tuple[int | None, pd.DataFrame]:
    """The rows of a series of one trial, and its number.

    Args:
        trajectories: Series in the long form; without the columns `name` and `trial_number` all
            rows are of that series, and of one trial that has no number.
        name: Name of the series.
        trial: Number of the trial; by default the first that has it.
    """
    rows = named(trajectories, name)
    if "trial_number" not in rows:
        return trial, rows
    if trial is None and len(rows):
        trial = int(rows["trial_number"].iloc[0])
    return trial, rows[rows["trial_number"] == trial]


def pivoted(rows: pd.DataFrame) -> tuple[NDArray[np.int64], Floats]:
    """A series of one trial as an array.

    Args:
        rows: `step`, `value`, and `component` where a step has several numbers.

    Returns:
        Steps `(T,)`, ascending, and values `(T, components)`, NaN where there is none.

    Example:
        >>> rows = pd.DataFrame({"step": [0, 0, 5], "component": [0, 1, 0], "value": [1, 2, 3]})
        >>> pivoted(rows)[1].tolist()
        [[1.0, 2.0], [3.0, nan]]
    """
    if rows.empty:
        return np.empty(0, np.int64), np.empty((0, 0))
    steps, row = np.unique(rows["step"].to_numpy(dtype=np.int64), return_inverse=True)
    column = np.zeros(len(rows), np.int64)
    if "component" in rows:
        column = rows["component"].to_numpy(dtype=np.int64)
    values = np.full((len(steps), int(column.max()) + 1), np.nan)
    values[row, column] = rows["value"].to_numpy(dtype=np.float64)
    return steps, values


def thinned_line(y: Sequence[float] | Floats, most: int) -> NDArray[np.int64]:
    """Places of the points that a line of at most so many points keeps: its peaks among them.

    Of every stretch the lowest and the highest point are kept; so are both ends.

    Example:
        >>> spike = np.zeros(1000)
        >>> spike[500] = 9.0
        >>> kept = thinned_line(spike, 100)
        >>> len(kept) <= 100, 500 in kept
        (True, True)
    """
    values = np.asarray(y, dtype=np.float64)
    count = len(values)
    if count <= most:
        return np.arange(count)
    kept = {0, count - 1}
    for part in np.array_split(np.arange(1, count - 1), max(1, (most - 2) // 2)):
        known = part[~np.isnan(values[part])]
        if len(known):
            kept |= {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
    return np.array(sorted(kept), dtype=np.int64)


def medians(
    steps: NDArray[np.int64], values: Floats, most: int
) -> tuple[NDArray[np.int64], Floats]:
    """A line of at most so many points: medians of stretches of equally many steps.

    NaN where all of a stretch is; both ends of the line keep their steps.

    Example:
        >>> medians(np.arange(6), np.array([1.0, 9.0, 2.0, 3.0, 3.0, 4.0]), 2)
        (array([0, 5]), array([2., 3.]))
    """
    every = math.ceil(len(values) / most) if most else 1
    if every <= 1:
        return steps, values
    starts = range(0, len(values), every)
    parts = [values[start : start + every] for start in starts]
    known = [part[~np.isnan(part)] for part in parts]
    middles = np.array([np.median(part) if len(part) else np.nan for part in known])
    places = [min(start + every // 2, len(values) - 1) for start in starts]
    places[0], places[-1] = 0, len(values) - 1
    return steps[places], middles
