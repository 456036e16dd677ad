"""How far trials have come that have not ended: their last report, and their heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, DateTime, column, func, inspect, literal_column, select, table

from lyapopt.store.damage import UNREADABLE
from lyapopt.store.lookup import NOT_FINITE

__all__ = ["Progress", "progress_of"]

_REPORTS = table(
    "trial_intermediate_values",
    column("trial_id"),
    column("step"),
    column("intermediate_value"),
    column("intermediate_value_type"),
)
_HEARTBEATS = table("trial_heartbeats", column("trial_id"), column("heartbeat", DateTime))
_AT_ONCE = 500  # trials that one query asks for; SQLite has a limit


class Progress(NamedTuple):
    """What is known of a trial that runs.

    Attributes:
        step: The step of its last report.
        value: What it reported then.
        silence: Seconds since its last heartbeat, by the clock of the database.
    """

    step: int | None = None
    value: float | None = None
    silence: float | None = None


def progress_of(connection: Connection, trial_ids: Sequence[int]) -> dict[int, Progress]:
    """The progress of trials by their number in the database; what is damaged is left out."""
    found: dict[int, Progress] = {}
    has_heartbeats = inspect(connection).has_table(_HEARTBEATS.name)
    for first in range(0, len(trial_ids), _AT_ONCE):
        some = trial_ids[first : first + _AT_ONCE]
        silences = _silences(connection, some) if has_heartbeats else {}
        reports = _last_reports(connection, some)
        for trial_id in some:
            step, value = reports.get(trial_id, (None, None))
            found[trial_id] = Progress(step, value, silences.get(trial_id))
    return found


def _last_reports(
    connection: Connection, trial_ids: Sequence[int]
) -> dict[int, tuple[int, float | None]]:
    columns = _REPORTS.c
    query = select(columns.trial_id, func.max(columns.step).label("step"))
    last = query.where(columns.trial_id.in_(trial_ids)).group_by(columns.trial_id).subquery()
    rows = connection.execute(
        select(
            columns.trial_id,
            columns.step,
            columns.intermediate_value,
            columns.intermediate_value_type,
        ).join(last, (last.c.trial_id == columns.trial_id) & (last.c.step == columns.step))
    )
    found: dict[int, tuple[int, float | None]] = {}
    for trial_id, step, value, value_type in rows:
        try:
            found[trial_id] = int(step), float(NOT_FINITE.get(value_type, value))
        except UNREADABLE:
            continue
    return found


def _silences(connection: Connection, trial_ids: Sequence[int]) -> dict[int, float]:
    """Seconds since the last heartbeat: by the clock that wrote it, whatever its time zone."""
    now = literal_column("CURRENT_TIMESTAMP", DateTime).label("now")
    query = select(_HEARTBEATS.c.trial_id, _HEARTBEATS.c.heartbeat, now)
    found: dict[int, float] = {}
    try:
        rows = connection.execute(query.where(_HEARTBEATS.c.trial_id.in_(trial_ids))).all()
    except UNREADABLE:  # a moment that is none
        return {}
    for trial_id, heartbeat, moment in rows:
        if heartbeat is not None and moment is not None:
            found[trial_id] = max(0.0, (_naive(moment) - _naive(heartbeat)).total_seconds())
    return found


def _naive(moment: Any) -> datetime:
    """A moment without its time zone: both are of the same clock."""
    read = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    return read.replace(tzinfo=None)
