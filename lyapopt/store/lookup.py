"""Which trials are meant by the name of a study and the number of a trial, and which do not exist.

In Optuna's database its tables say; elsewhere the headers of the runs do.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from sqlalchemy import Connection, Subquery, select

from lyapopt.store.errors import RecordNotFoundError, masked
from lyapopt.store.optuna_tables import STUDIES, are_present, recorded_trials, trials_with_runs
from lyapopt.store.reading import names_of_series
from lyapopt.store.tables import RUNS

Numbers = int | Sequence[int] | None


def find_trials(connection: Connection, study_name: str | None, numbers: Numbers) -> Subquery:
    """The trials that are asked for, each with its run.

    Args:
        connection: To read from.
        study_name: Of one study; None for all.
        numbers: One or several trials; None for all.

    Returns:
        With columns `study_name`, `trial_number`, `trial_state` and `run`.

    Raises:
        RecordNotFoundError: If Optuna's tables are here and have no such study.
    """
    several = [int(numbers)] if isinstance(numbers, int | np.integer) else numbers
    if not are_present(connection):
        return recorded_trials(study_name, several)
    check_study(connection, study_name)
    return trials_with_runs(study_name, several)


def check_study(connection: Connection, study_name: str | None) -> None:
    """Refuse the name of a study that Optuna does not have, and suggest the nearest.

    Raises:
        RecordNotFoundError: If there is no such study.
    """
    if study_name is None:
        return
    is_it = STUDIES.c.study_name == study_name
    if connection.scalar(select(STUDIES.c.study_id).where(is_it)) is not None:
        return
    names = list(connection.scalars(select(STUDIES.c.study_name)))
    near = difflib.get_close_matches(study_name, names, n=1)
    advice = f" Did you mean {near[0]!r}?" if near else ""
    where = masked(connection.engine.url)
    raise RecordNotFoundError(f"{where} has no study {study_name!r}.{advice}")


def missing_series(
    connection: Connection, trials: Subquery, name: str, trial: str
) -> RecordNotFoundError:
    """The error that says which series a trial has instead of the one that was asked for.

    Args:
        connection: To read from.
        trials: Where the trial was looked for.
        name: Of the series.
        trial: The trial, in words.
    """
    run = connection.scalar(select(RUNS.c.run).join(trials, RUNS.c.run == trials.c.run))
    if run is None:
        where = masked(connection.engine.url)
        return RecordNotFoundError(f"{where} has stored nothing of {trial}")
    there = ", ".join(names_of_series(connection, run)) or "none at all"
    return RecordNotFoundError(f"{trial} has no series {name!r}; it has: {there}")
