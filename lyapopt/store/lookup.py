"""Which trials name which runs: what is read of Optuna's tables, and never written.

The way from a trial to its run goes through the user attribute `RUN_ATTRIBUTE`, whose value is
the uuid as a JSON string. Ids of trials change with a rename and are reused by SQLite; attributes
are copied with the trial. In a database without Optuna's tables, the headers of the runs say which
study and trial they belong to.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
from sqlalchemy import (
    Connection,
    Inspector,
    Select,
    String,
    Subquery,
    cast,
    column,
    func,
    inspect,
    null,
    select,
    table,
)

from lyapopt.store.damage import decoding
from lyapopt.store.errors import RecordNotFoundError, masked
from lyapopt.store.states import RUN_ATTRIBUTE, WORKER_ATTRIBUTE
from lyapopt.store.tables import RUNS

Numbers = int | Sequence[int] | None
"""Numbers of trials: of one, of several, or None for all."""

STUDIES: Final = table("studies", column("study_id"), column("study_name"))
STUDY_ATTRIBUTES: Final = table("study_system_attributes", column("study_id"), column("key"))
TRIALS: Final = table(
    "trials", column("trial_id"), column("study_id"), column("number"), column("state")
)
ATTRIBUTES: Final = table(
    "trial_user_attributes", column("trial_id"), column("key"), column("value_json")
)
SYSTEM_ATTRIBUTES: Final = table("trial_system_attributes", column("trial_id"), column("key"))
VALUES: Final = table(
    "trial_values", column("trial_id"), column("objective"), column("value"), column("value_type")
)
_VERSION: Final = table("alembic_version", column("version_num"))
_VERSION_INFO: Final = table("version_info", column("version_info_id"))
_OF_OPTUNA: Final = re.compile(r"v\d+\.\d+\.\d+\.[a-z]")  # such as v3.2.0.a

NOT_FINITE: Final = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""How Optuna writes values that a database has no number for."""

Presence = Literal["none", "unfinished", "whole", "foreign"]
"""Whether Optuna's tables are in a database. `foreign`: another application is in their place."""

# Unquoted on the side of the attributes, so that the primary key of our table serves the join.
ATTRIBUTE_RUN: Final = func.replace(ATTRIBUTES.c.value_json, '"', "")
IS_RUN_ATTRIBUTE: Final = ATTRIBUTES.c.key == RUN_ATTRIBUTE
_IS_NUMBER: Final = TRIALS.c.number.between(0, 2**31 - 1)


def has_optuna(connection: Connection) -> bool:
    """Whether this database has Optuna's tables."""
    inspector = inspect(connection)
    return all(inspector.has_table(each.name) for each in (STUDIES, TRIALS, ATTRIBUTES))


def presence_of_optuna(connection: Connection) -> Presence:
    """Whether Optuna's tables are in this database; it is not changed.

    Optuna writes its version last, into `alembic_version`. Every application that migrates its
    tables with Alembic has a table of that name, so that a database holds one of them only.
    """
    inspector = inspect(connection)
    versions: list[str] = []
    if inspector.has_table(_VERSION.name):
        versions = [str(each) for each in connection.scalars(select(_VERSION.c.version_num))]
    if not all(map(_OF_OPTUNA.fullmatch, versions)) or _is_of_others(inspector):
        return "foreign"
    if not has_optuna(connection):
        return "unfinished" if versions else "none"
    has_info = (
        inspector.has_table(_VERSION_INFO.name)
        and connection.scalar(select(_VERSION_INFO.c.version_info_id)) is not None
    )
    return "whole" if versions and has_info else "unfinished"


def _is_of_others(inspector: Inspector) -> bool:
    """Whether tables are called like Optuna's and have none of their columns."""
    return any(
        inspector.has_table(each.name)
        and not keys <= {column["name"] for column in inspector.get_columns(each.name)}
        for each, keys in (
            (STUDIES, {"study_id", "study_name"}),
            (TRIALS, {"trial_id", "study_id"}),
        )
    )


def find_trials(
    connection: Connection, study_name: str | None = None, numbers: Numbers = None
) -> Subquery:
    """Trials with their runs.

    Args:
        connection: Connection to the database.
        study_name: Name of the study; None for all studies.
        numbers: Numbers of the trials.

    Returns:
        With columns `study_name`, `trial_number`, `trial_state` and `run`. Without Optuna's
        tables, the state of a trial is not known, and NULL.

    Raises:
        RecordNotFoundError: If Optuna's tables are here and have no such study.
    """
    if has_optuna(connection):
        check_study(connection, study_name)
        trials = _named_runs()
        name, number = STUDIES.c.study_name, TRIALS.c.number
    else:
        name, number = RUNS.c.study_name, RUNS.c.trial_number
        trials = select(name, number, null().label("trial_state"), RUNS.c.run)
    if study_name is not None:
        trials = trials.where(name == study_name)
    if numbers is not None:
        several = [int(numbers)] if isinstance(numbers, int | np.integer) else numbers
        trials = trials.where(number.in_(several))
    return trials.subquery("found")


def _named_runs() -> Select[tuple[str, int, str, str]]:
    return (
        select(
            STUDIES.c.study_name,
            TRIALS.c.number.label("trial_number"),
            TRIALS.c.state.label("trial_state"),
            ATTRIBUTE_RUN.label("run"),
        )
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .join(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
        .where(_IS_NUMBER)
    )


def trials_without_number(connection: Connection, study_name: str | None = None) -> list[str]:
    """A text for each study with trials that name a run, and whose number cannot be read.

    Args:
        connection: Connection to the database.
        study_name: Name of the study; None for all studies.
    """
    if not has_optuna(connection):
        return []
    damaged = (
        select(STUDIES.c.study_name, func.count())
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .join(ATTRIBUTES, (ATTRIBUTES.c.trial_id == TRIALS.c.trial_id) & IS_RUN_ATTRIBUTE)
        .where(TRIALS.c.number.is_(None) | ~_IS_NUMBER)
        .group_by(STUDIES.c.study_name)
    )
    if study_name is not None:
        damaged = damaged.where(STUDIES.c.study_name == study_name)
    return [
        f"study {name!r}: the number of {count} of its trials cannot be read"
        for name, count in connection.execute(damaged)
    ]


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


def runs_of_trials(connection: Connection) -> set[str]:
    """Identifiers of the runs that trials in this database name."""
    return set(connection.scalars(select(ATTRIBUTE_RUN).where(IS_RUN_ATTRIBUTE)))


def check_runs_of_trials(connection: Connection) -> None:
    """Refuse to say which runs no trial names while it cannot be read which one some trial names.

    Raises:
        DamagedDataError: If the attribute of a trial that names its run is damaged.
    """
    raw = select(ATTRIBUTES.c.trial_id, ATTRIBUTES.c.value_json).where(IS_RUN_ATTRIBUTE)
    workers = select(SYSTEM_ATTRIBUTES.c.trial_id).where(
        SYSTEM_ATTRIBUTES.c.key == WORKER_ATTRIBUTE
    )
    ours = set(connection.scalars(workers))  # others may mean something else by the attribute
    for trial_id, text in connection.execute(raw):
        with decoding(f"attribute {RUN_ATTRIBUTE!r} of the trial with trial_id {trial_id}"):
            is_name = isinstance(json.loads(text), str)
            if not is_name and trial_id in ours:
                raise ValueError(f"{text!r:.80} is not the name of a run")


def orphans(connection: Connection, named: Collection[str], grace: float) -> list[str]:
    """Runs that are not named by a trial and are not about to be.

    Args:
        connection: Connection to the database.
        named: Identifiers of the runs that trials name.
        grace: Seconds for which a run is kept after it was recorded, whoever names it.

    Returns:
        Their identifiers. The run of a trial that is running is never among them.
    """
    recorded = select(RUNS.c.run, RUNS.c.study_name, RUNS.c.trial_number)
    until = datetime.now(UTC) - timedelta(seconds=grace)
    old = connection.execute(recorded.where(RUNS.c.recorded_at <= until)).all()
    unnamed = [row for row in old if row.run not in named]
    if not unnamed:
        return []
    running = _running_trials(connection)
    return [row.run for row in unnamed if (row.study_name, row.trial_number) not in running]


def _running_trials(connection: Connection) -> set[tuple[str, int]]:
    # A run may be written before the attribute of its trial.
    if not has_optuna(connection):
        return set()
    rows = connection.execute(
        select(STUDIES.c.study_name, TRIALS.c.number)
        .join_from(STUDIES, TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
        .where(cast(TRIALS.c.state, String(16)) == "RUNNING")
    )
    return {(row.study_name, row.number) for row in rows}
