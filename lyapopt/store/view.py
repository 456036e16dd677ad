"""The view `lyapopt_trials`: trials of Optuna with what we know of them, for plain SQL.

One row for each trial that names a stored run, with its first exponent. The view lives only where
Optuna's tables are. A database refuses changes to columns that a view uses (PostgreSQL) or to
rename tables while a view points to a missing one (SQLite), so whoever migrates tables of Optuna
or of ours drops the view first; opening the store puts it back.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from sqlalchemy import Connection, TableClause, exc, inspect, select

from lyapopt.store.models import Exponent, Run
from lyapopt.store.optuna_tables import (
    ATTRIBUTE_RUN,
    ATTRIBUTES,
    IS_RUN_ATTRIBUTE,
    STUDIES,
    TRIALS,
    VALUES,
)

VIEW_NAME: Final = "lyapopt_trials"

_logger = logging.getLogger(__name__)

_DEFINITION = (
    select(
        STUDIES.c.study_name,
        TRIALS.c.trial_id,
        TRIALS.c.number.label("trial_number"),
        TRIALS.c.state.label("trial_state"),
        VALUES.c.value,
        VALUES.c.value_type,
        Run.run,
        Run.state.label("run_state"),
        Run.verdict,
        Run.reason,
        Exponent.name.label("exponent_name"),
        Exponent.value.label("exponent"),
        Exponent.value_kind.label("exponent_kind"),
        Exponent.low.label("exponent_low"),
        Exponent.high.label("exponent_high"),
        Exponent.unit,
        Exponent.per,
        Exponent.horizon,
        Run.steps,
        Run.gradient_evaluations,
        Run.examples,
        Run.seed,
        Run.started_at,
        Run.finished_at,
    )
    .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
    .join(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
    .join(Run, Run.run == ATTRIBUTE_RUN)
    .outerjoin(VALUES, (VALUES.c.trial_id == TRIALS.c.trial_id) & (VALUES.c.objective == 0))
    .outerjoin(Exponent, (Exponent.run == Run.run) & (Exponent.position == 0))
)


def is_possible(connection: Connection) -> bool:
    """Whether Optuna's tables are here, with all columns that the view reads."""
    inspector = inspect(connection)

    def has(table: TableClause) -> bool:
        if not inspector.has_table(table.name):
            return False
        present = {column["name"] for column in inspector.get_columns(table.name)}
        return {column.name for column in table.columns} <= present

    return all(has(table) for table in (STUDIES, TRIALS, ATTRIBUTES, VALUES))


def exists(connection: Connection) -> bool:
    """Whether the view is in the database."""
    return inspect(connection).has_table(VIEW_NAME)


def drop(connection: Connection) -> None:
    """Remove the view, if it is there."""
    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {VIEW_NAME}")


def create(connection: Connection) -> None:
    """Create the view where Optuna's tables are.

    Not to be allowed to create views is no reason to store nothing: it is logged.
    """
    if not is_possible(connection):
        return
    text = _DEFINITION.compile(connection, compile_kwargs={"literal_binds": True})
    try:
        with _shielded(connection):
            connection.exec_driver_sql(f"CREATE VIEW {VIEW_NAME} AS {text}")
    except exc.DBAPIError as error:
        _logger.warning("The view %s could not be created: %s", VIEW_NAME, error.orig)


def _shielded(connection: Connection) -> AbstractContextManager[object]:
    """On PostgreSQL an error spoils the transaction; on MySQL creating a view ends savepoints."""
    postgresql = connection.dialect.name == "postgresql"
    return connection.begin_nested() if postgresql else nullcontext()
