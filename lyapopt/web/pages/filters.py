"""Choosing trials by their state, verdict and categorical parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from lyapopt.figures.text import worded
from lyapopt.figures.trial_table import column_of, parameters
from lyapopt.web.layouts import Filter

NONE: Final = "(none)"
"""The choice of trials that have no value."""

_MOST_CHOICES: Final = 30
_OWN: Final = ("state", "verdict")


def filters_of(trials: pd.DataFrame, wanted: Sequence[Filter] = ()) -> list[dict[str, Any]]:
    """What trials can be chosen by, with how many have which value.

    Args:
        trials: A row a trial, of the whole study.
        wanted: The filters of a dashboard; without any all that there are.

    Returns:
        For each `name`, `choices` (`value`, `count`), and `only`, the values that are on when the
        page opens.
    """
    chosen = wanted or [*map(Filter, categorical(trials)), *map(Filter, reversed(_OWN))]
    found = []
    for each in chosen:
        column = column_name(trials, each.name)
        if column is None:
            continue
        counts = pd.Series(values(trials, column), dtype=object).value_counts()
        if len(counts) > _MOST_CHOICES or (len(counts) == 1 and counts.index[0] == NONE):
            continue
        choices = [{"value": str(v), "count": int(n)} for v, n in sorted(counts.items(), key=_key)]
        there = {choice["value"] for choice in choices}
        only = [value for value in each.only if value in there]
        found.append({"name": each.name, "choices": choices, "only": only})
    return found


def chosen_trials(trials: pd.DataFrame, only: Mapping[str, Sequence[str]]) -> list[int] | None:
    """Numbers of the trials that have one of the values in each column; `None` for all trials.

    Args:
        trials: A row a trial.
        only: Values by the name of a filter; a name that the study lacks chooses nothing.

    Example:
        >>> made = pd.DataFrame({"trial_number": [0, 1], "state": ["complete", "pruned"]})
        >>> chosen_trials(made, {"state": ["pruned"]})
        [1]
    """
    kept = pd.Series(True, index=trials.index)
    narrowed = False
    for name, wanted in only.items():
        column = column_name(trials, name)
        if column is not None:
            kept &= pd.Series(values(trials, column), index=trials.index).isin(list(wanted))
            narrowed = True
    return [int(each) for each in trials.loc[kept, "trial_number"]] if narrowed else None


def categorical(trials: pd.DataFrame) -> list[str]:
    """Names of the parameters that hold texts or truth values, few different ones."""
    found = []
    for column in parameters(trials):
        known = [each for each in column_of(trials, column) if each is not None and each == each]
        is_chosen = all(isinstance(each, str | bool) for each in known)
        if is_chosen and 1 < len(set(known)) <= _MOST_CHOICES:
            found.append(column.removeprefix("params_"))
    return found


def column_name(trials: pd.DataFrame, name: str) -> str | None:
    """The column that a filter means, if it is there."""
    if name in _OWN:
        return name if name in trials else None
    return next((each for each in (f"params_{name}", name) if each in trials), None)


def values(trials: pd.DataFrame, column: str) -> list[str]:
    """A column as the texts that a filter shows."""
    return [worded(each) or NONE for each in column_of(trials, column)]


def _key(item: tuple[Any, Any]) -> tuple[bool, str]:
    return item[0] == NONE, str(item[0])
