"""A table of trials, whoever made it, with the columns that figures count on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.figures.text import escaped, shown_interval, worded

NOBODY: Final = "all trials"
"""The group of trials that nothing tells apart."""

MOST_POINTS: Final = 800
"""Trials that one figure shows one by one."""

_NUMBERS: Final = ("trial_number", "trial", "number")
_VALUES: Final = ("value", "value_0", "loss")
_RATES: Final = ("params_lr", "params_learning_rate", "params_rate", "lr", "learning_rate")
_GROUPS: Final = ("params_activation", "params_act", "params_nonlinearity", "activation")
_MOST_GROUPS: Final = 8
_HOVER_BUDGET: Final = 100_000  # bytes of all hover texts of a figure, as JSON
_LONGEST: Final = 900  # of one
_MOST_LINES: Final = 15  # of parameters in one


def trial_table(
    trials: pd.DataFrame, *, value: str | None = None, group: str | None = None
) -> pd.DataFrame:
    """The trials with known columns, a row a trial, whatever else there is.

    Args:
        trials: A row a trial; every column may be missing, or hold what is no number.
        value: Column of the final loss; by default `value`, `value_0` or `loss`, the first that
            there is.
        group: Column that colours tell apart; by default the activation, if there is one.

    Returns:
        `number`, `state`, `verdict`, `group`, `exponent`, `low`, `high` (nats per step), `value`,
        `score` (the value, or where it is maximised its negative: lower is better),
        `initial_loss` and `cost` (gradient evaluations). Numbers that are missing are NaN, texts
        are empty, and trials that no group tells apart are all of the group `NOBODY`.

    Raises:
        KeyError: If a column is named that is not there; the message says which there are.

    Example:
        >>> found = trial_table(pd.DataFrame({"exponent": [0.1, "?"], "value": [1.0, None]}))
        >>> found["exponent"].tolist(), found["group"].tolist()
        ([0.1, nan], ['all trials', 'all trials'])
    """
    for name in (value, group):
        if name is not None:
            require(trials, name)
    count = len(trials)
    number = numbers(trials, first_of(trials, _NUMBERS))
    is_number = (number >= 0) & (number < 2**31)
    values = numbers(trials, value or first_of(trials, _VALUES))
    return pd.DataFrame(
        {
            "number": np.where(is_number, number, np.arange(count)).astype(np.int64),
            "state": texts(trials, "state"),
            "verdict": texts(trials, "verdict"),
            "group": groups(trials, group),
            "exponent": numbers(trials, "exponent"),
            "low": numbers(trials, "exponent_low"),
            "high": numbers(trials, "exponent_high"),
            "value": values,
            "score": -values if is_maximised(trials) else values,
            "initial_loss": numbers(trials, "initial_loss"),
            "cost": numbers(trials, "gradient_evaluations"),
        }
    )


def is_maximised(trials: pd.DataFrame) -> bool:
    """Whether the first objective is maximised: `attrs["directions"]` of the table says so."""
    return bool(list(trials.attrs.get("directions", ()))[:1] == ["maximize"])


def value_name(trials: pd.DataFrame) -> str:
    """What the axis of the first objective is called."""
    if "value" not in trials and "value_0" in trials:
        return "first objective" + (" (maximised)" if is_maximised(trials) else "")
    return "value (maximised)" if is_maximised(trials) else "final loss"


def best_trial(trials: pd.DataFrame) -> int | None:
    """Number of the best trial; without a finite value of any, of the first that ended.

    Example:
        >>> best_trial(pd.DataFrame({"trial_number": [4, 7], "value": [0.5, 0.1]}))
        7
    """
    table = trial_table(trials)
    known = table[np.isfinite(table["score"])]
    if len(known):
        return int(known.loc[known["score"].idxmin(), "number"])
    ended = table[~table["state"].isin(["running", "waiting"])]
    return int(ended["number"].iloc[0]) if len(ended) else None


def require(trials: pd.DataFrame, name: str) -> None:
    """Refuse a column that is not there.

    Raises:
        KeyError: With the columns that there are.
    """
    if name not in trials:
        there = ", ".join(map(str, trials.columns))
        raise KeyError(f"the table has no column {name!r}; it has: {there}")


def rate_column(trials: pd.DataFrame) -> str | None:
    """The column of the learning rate, if there is one with numbers in it."""
    named = [name for name in _RATES if name in trials]
    return next((name for name in named if np.isfinite(numbers(trials, name)).any()), None)


def numbers(trials: pd.DataFrame, name: str | None) -> NDArray[np.float64]:
    """A column as numbers, NaN where there are none, and where there is no such column."""
    if name is None or name not in trials:
        return np.full(len(trials), np.nan)
    column = column_of(trials, name)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        return np.array([_number(each) for each in column], dtype=np.float64)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _number(value: object) -> float:
    """A number, or a text that is one; everything else is NaN."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):  # a word; an integer beyond all floats
        return math.nan


def column_of(trials: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column; of several of one name the first."""
    found = trials.loc[:, name]
    return found.iloc[:, 0] if isinstance(found, pd.DataFrame) else found


def texts(trials: pd.DataFrame, name: str) -> list[str]:
    """A column as texts, empty where there are none."""
    if name not in trials:
        return [""] * len(trials)
    return [each if isinstance(each, str) else "" for each in column_of(trials, name)]


def groups(trials: pd.DataFrame, name: str | None = None) -> list[str]:
    """The group of each trial; with many groups, the small ones are one."""
    name = name or first_of(trials, _GROUPS)
    if name is None:
        return [NOBODY] * len(trials)
    found = [escaped(each, 40) or "none" for each in column_of(trials, name)]
    counts = pd.Series(found, dtype=object).value_counts(sort=True)
    if len(counts) > _MOST_GROUPS:
        kept = set(counts.index[: _MOST_GROUPS - 1])
        found = [each if each in kept else "others" for each in found]
    return found


def first_of(trials: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The first of these columns that there is."""
    return next((name for name in names if name in trials), None)


def parameters(trials: pd.DataFrame) -> list[str]:
    """The columns of parameters."""
    names = [name for name in trials.columns if isinstance(name, str)]
    return list(dict.fromkeys(name for name in names if name.startswith("params_")))


def is_seed(column: str) -> bool:
    """Whether a parameter is a seed by its name: a number that means nothing."""
    return "seed" in column.removeprefix("params_").lower()


def thinned(table: pd.DataFrame, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most so many rows: the best hundredth, the extreme exponents, and others evenly spread.

    Args:
        table: As `trial_table` gives it.
        most: Rows.

    Example:
        >>> table = trial_table(pd.DataFrame({"value": range(100, 0, -1)}))
        >>> kept = thinned(table, 10)
        >>> len(kept), float(kept["value"].min())
        (10, 1.0)
    """
    count = len(table)
    if count <= most:
        return table
    few = max(1, most // 100)
    kept = {*table["score"].nsmallest(few).index, *table["exponent"].nsmallest(few).index}
    kept |= {*table["exponent"].nlargest(few).index}
    others = [row for row in table.index if row not in kept]
    places = np.linspace(0, len(others) - 1, max(0, most - len(kept))).round().astype(int)
    kept |= {others[place] for place in places}
    return table.loc[sorted(kept)]


def shown_texts(trials: pd.DataFrame, table: pd.DataFrame, panels: int = 1) -> pd.Series[str]:
    """The hover texts of those rows of a table that a figure shows; the index says which.

    Args:
        trials: The table that `trial_table` was given.
        table: What it gave, or some rows of it.
        panels: In how many panels each trial is drawn: the more, the fewer are shown.
    """
    kept = thinned(table, int(MOST_POINTS / panels**0.6))
    texts = hover_texts(trials, kept, _HOVER_BUDGET // panels)
    return pd.Series(texts, index=kept.index, dtype=object)


def hover_texts(trials: pd.DataFrame, table: pd.DataFrame, size: int = _HOVER_BUDGET) -> list[str]:
    """What is said of each trial under the mouse: number, state, verdict, numbers, parameters.

    Args:
        trials: The table that `trial_table` was given.
        table: What it gave, or some rows of it; the index says which.
        size: Bytes of all of them together.

    Returns:
        A text a row. The more rows there are the shorter each is, so that a figure stays small.
    """
    budget = min(_LONGEST, size // max(1, len(table)))
    names = sorted(parameters(trials), key=is_seed)
    rows = trials.iloc[table.index]
    values = {name: column_of(rows, name).tolist() for name in names}
    found = []
    each_row: Iterable[Any] = table.itertuples(index=False)
    for place, row in enumerate(each_row):
        head = f"<b>trial {row.number}</b>"
        head += "".join(f", {escaped(each, 20)}" for each in (row.state, row.verdict) if each)
        lines = [head]
        if not np.isnan(row.exponent):
            lines.append(f"exponent {shown_interval(row.exponent, row.low, row.high)}")
        if not np.isnan(row.value):
            lines.append(f"value {row.value:.4g}")
        left = budget - sum(map(_size, lines))
        found.append("<br>".join([*lines, *_parameters(values, place, left)]))
    return found


def _parameters(values: dict[str, list[object]], place: int, left: int) -> list[str]:
    """As many parameters as there is room for, and how many more there are."""
    there = {name: column[place] for name, column in values.items()}
    known = {name: value for name, value in there.items() if worded(value)}
    lines: list[str] = []
    for count, (name, value) in enumerate(known.items()):
        line = f"{escaped(name.removeprefix('params_'), 24)} {escaped(value, 30)}"
        left -= _size(line)
        if left < 0 or count >= _MOST_LINES:
            return [*lines, f"and {len(known) - count} more parameters"] if lines else lines
        lines.append(line)
    return lines


def _size(line: str) -> int:
    """Bytes of a line and its break as JSON, where letters of other alphabets take six."""
    return len(json.dumps(line)) + 2
