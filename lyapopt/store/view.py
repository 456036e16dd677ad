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

from lyapopt.display import one_line
from lyapopt.store.completion import completed_state
from lyapopt.store.lookup import (
    ATTRIBUTE_RUN,
    ATTRIBUTES,
    IS_RUN_ATTRIBUTE,
    STUDIES,
    TRIALS,
    VALUES,
)
from lyapopt.store.tables import EXPONENTS, RUNS

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
        RUNS.c.run,
        completed_state(TRIALS.c.state).label("run_state"),
        RUNS.c.verdict,
        RUNS.c.reason,
        EXPONENTS.c.name.label("exponent_name"),
        EXPONENTS.c.value.label("exponent"),
        EXPONENTS.c.value_kind.label("exponent_kind"),
        EXPONENTS.c.low.label("exponent_low"),
        EXPONENTS.c.high.label("exponent_high"),
        EXPONENTS.c.unit,
        EXPONENTS.c.per,
        EXPONENTS.c.horizon,
        RUNS.c.steps,
        RUNS.c.gradient_evaluations,
        RUNS.c.examples,
        RUNS.c.seed,
        RUNS.c.started_at,
        RUNS.c.finished_at,
    )
    .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
    .join(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
    .join(RUNS, RUNS.c.run == ATTRIBUTE_RUN)
    .outerjoin(VALUES, (VALUES.c.trial_id == TRIALS.c.trial_id) & (VALUES.c.objective == 0))
    .outerjoin(EXPONENTS, (EXPONENTS.c.run == RUNS.c.run) & (EXPONENTS.c.position == 0))
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
        _logger.warning("The view %s could not be created: %s", VIEW_NAME, one_line(error.orig))


def _shielded(connection: Connection) -> AbstractContextManager[object]:
    """On PostgreSQL an error spoils the transaction; on MySQL creating a view ends savepoints."""
    postgresql = connection.dialect.name == "postgresql"
    return connection.begin_nested() if postgresql else nullcontext()
