"""Which trials of a large study have a picture within optuna-dashboard."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from lyapopt.figures.trial_table import thinned, trial_table
from lyapopt.study.analysis.data import StudyData

__all__ = ["BEST", "MOST_PICTURES", "without_picture"]

MOST_PICTURES: Final = 100
"""Trials of a study that have a picture: each slows every poll of a large study."""

BEST: Final = 20
"""The best trials, which have one in any case."""


def without_picture(data: StudyData, ended: Collection[int], there: Collection[int]) -> list[int]:
    """The trials that are to have a picture, and have none: the best, and others evenly spread.

    A study that grows has pictures of trials that were among the best earlier: those that are so
    now are drawn beside them, the others only as long as there is room.

    Args:
        data: The study.
        ended: Numbers of the trials that a picture can be made of.
        there: Those of them that have one.

    Returns:
        Numbers, ascending.
    """
    table = trial_table(data.trials)
    table = table[table["number"].isin(list(ended))]
    best = table.nsmallest(BEST, "score")["number"].tolist()
    if len(data.directions) > 1:
        front = [trial.number for trial in data.overview.best if trial.number in ended]
        best = front[:BEST]
    chosen = [number for number in best if number not in there]
    room = MOST_PICTURES - len(there) - len(chosen)
    others = table[~table["number"].isin([*there, *chosen])]
    if room > 0:
        chosen += thinned(others, room)["number"].tolist()
    return sorted(chosen)
