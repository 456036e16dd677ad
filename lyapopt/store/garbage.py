"""Runs that no trial names any more, and how far trials and runs agree."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, String, cast, select

from lyapopt.store.optuna_tables import (
    ATTRIBUTE_RUN,
    ATTRIBUTES,
    IS_RUN_ATTRIBUTE,
    STUDIES,
    TRIALS,
    are_present,
)
from lyapopt.store.tables import RUNS

_RUNNING: Final = "RUNNING"


class TrialState(NamedTuple):
    """What Optuna and the store say of one trial; None where one of them knows nothing."""

    study_name: str
    trial_number: int
    trial_state: str
    run: str | None
    run_state: str | None


def trial_states(connection: Connection, study_name: str | None) -> list[TrialState]:
    """Every trial of a study, or of all, with the state of its run."""
    trials = (
        select(
            STUDIES.c.study_name,
            TRIALS.c.number,
            TRIALS.c.state,
            ATTRIBUTE_RUN.label("run"),
            RUNS.c.state.label("run_state"),
        )
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .outerjoin(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
        .outerjoin(RUNS, RUNS.c.run == ATTRIBUTE_RUN)
        .order_by(STUDIES.c.study_name, TRIALS.c.number)
    )
    if study_name is not None:
        trials = trials.where(STUDIES.c.study_name == study_name)
    return [TrialState(*row) for row in connection.execute(trials)]


def named_runs(connection: Connection) -> set[str]:
    """The runs that trials in this database name."""
    return set(connection.scalars(select(ATTRIBUTE_RUN).where(IS_RUN_ATTRIBUTE)))


def orphans(connection: Connection, named: Collection[str], grace: float) -> list[str]:
    """Runs that are not named by a trial and are not about to be.

    Args:
        connection: To read from.
        named: Runs that trials name.
        grace: Seconds for which a run is kept after it was recorded, whoever names it.

    Returns:
        Their identifiers. The run of a trial that is running is never among them.
    """
    until = datetime.now(UTC) - timedelta(seconds=grace)
    old = connection.execute(
        select(RUNS.c.run, RUNS.c.study_name, RUNS.c.trial_number).where(
            RUNS.c.recorded_at <= until
        )
    ).all()
    unnamed = [row for row in old if row.run not in named]
    if not unnamed:
        return []
    running = _running_trials(connection)
    return [row.run for row in unnamed if (row.study_name, row.trial_number) not in running]


def _running_trials(connection: Connection) -> set[tuple[Any, ...]]:
    # A run may be written before the attribute of its trial.
    if not are_present(connection):
        return set()
    rows = connection.execute(
        select(STUDIES.c.study_name, TRIALS.c.number)
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .where(cast(TRIALS.c.state, String(16)) == _RUNNING)
    )
    return {tuple(row) for row in rows}
