"""What is read of Optuna's tables: which trial of which study names which run. Never written.

The way from a trial to its run goes through the user attribute `RUN_ATTRIBUTE`, whose value is
the uuid as a JSON string. Ids of trials change with a rename and are reused by SQLite; attributes
are copied with the trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Subquery, column, func, inspect, null, select, table

from lyapopt.store.states import RUN_ATTRIBUTE
from lyapopt.store.tables import RUNS

STUDIES: Final = table("studies", column("study_id"), column("study_name"))
TRIALS: Final = table(
    "trials", column("trial_id"), column("study_id"), column("number"), column("state")
)
ATTRIBUTES: Final = table(
    "trial_user_attributes", column("trial_id"), column("key"), column("value_json")
)
VALUES: Final = table(
    "trial_values", column("trial_id"), column("objective"), column("value"), column("value_type")
)

_VERSION: Final = table("alembic_version", column("version_num"))

# Unquoted on the side of the attributes, so that the primary key of our table serves the join.
ATTRIBUTE_RUN: Final = func.replace(ATTRIBUTES.c.value_json, '"', "")
IS_RUN_ATTRIBUTE: Final = ATTRIBUTES.c.key == RUN_ATTRIBUTE


def are_present(connection: Connection) -> bool:
    """Whether this database has Optuna's tables."""
    inspector = inspect(connection)
    needed = (STUDIES, TRIALS, ATTRIBUTES)
    return all(inspector.has_table(each.name) for each in needed)


def is_initialised(connection: Connection) -> bool:
    """Whether Optuna has finished to set up its tables here: the version comes last."""
    if not inspect(connection).has_table(_VERSION.name):
        return False
    return connection.scalar(select(_VERSION.c.version_num)) is not None


def trials_with_runs(
    study_name: str | None = None, trial_numbers: Sequence[int] | None = None
) -> Subquery:
    """Trials that name a run: `study_name`, `trial_number`, `trial_state`, `run`.

    Args:
        study_name: Only those of this study; None for all.
        trial_numbers: Only these; None for all.
    """
    trials = (
        select(
            STUDIES.c.study_name,
            TRIALS.c.number.label("trial_number"),
            TRIALS.c.state.label("trial_state"),
            ATTRIBUTE_RUN.label("run"),
        )
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .join(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
    )
    if study_name is not None:
        trials = trials.where(STUDIES.c.study_name == study_name)
    if trial_numbers is not None:
        trials = trials.where(TRIALS.c.number.in_(trial_numbers))
    return trials.subquery("found")


def recorded_trials(
    study_name: str | None = None, trial_numbers: Sequence[int] | None = None
) -> Subquery:
    """The same where Optuna's tables are elsewhere: what the headers of runs say of their trials.

    The state of the trial is not known here, and NULL.
    """
    trials = select(
        RUNS.c.study_name, RUNS.c.trial_number, null().label("trial_state"), RUNS.c.run.label("run")
    )
    if study_name is not None:
        trials = trials.where(RUNS.c.study_name == study_name)
    if trial_numbers is not None:
        trials = trials.where(RUNS.c.trial_number.in_(trial_numbers))
    return trials.subquery("found")
