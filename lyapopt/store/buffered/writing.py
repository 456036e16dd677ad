"""Writing trials to Optuna's tables in bulk, each as part of one transaction.

What is written may be written again: an attempt whose answer was lost is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from optuna.distributions import distribution_to_json as as_text
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table, bindparam, func, insert, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from lyapopt.store._optuna import (
    INTERMEDIATE_VALUES,
    PARAMS,
    STUDIES,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    VALUES,
    as_local,
    as_stored,
    distribution_of,
    new_trial,
    stored_intermediate_value,
    stored_value,
    with_fields,
)
from lyapopt.store.buffered.pending import End, Pending
from lyapopt.store.buffered.reading import pieces

Rows = list[dict[str, Any]]
Loss = Literal["deleted", "finished"]
"""Why a trial takes no writes: it is not there, or somebody else has finished it."""

_PRECISION: Final = timedelta(seconds=1)  # of a moment in MySQL's tables
_STATES: Final = (
    select(TRIALS.c.trial_id, TRIALS.c.state, TRIALS.c.datetime_complete)
    .where(TRIALS.c.trial_id.in_(bindparam("ids", expanding=True)))
    .order_by(TRIALS.c.trial_id)  # whoever locks several does it in the same order
    .with_for_update()
)
_END: Final = (
    update(TRIALS)
    .where(TRIALS.c.trial_id == bindparam("one"))
    .values(state=bindparam("new_state"), datetime_complete=bindparam("moment"))
)
_LOCK: Final = (
    select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study")).with_for_update()
)
_COUNT: Final = select(func.count(TRIALS.c.trial_id)).where(TRIALS.c.study_id == bindparam("study"))
_NUMBERS: Final = select(TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.datetime_start).where(
    TRIALS.c.trial_id.in_(bindparam("ids", expanding=True))
)


def write_pending(
    connection: Connection, pending: Mapping[int, Pending], again: bool
) -> dict[int, Loss]:
    """Write what trials were given, but for those that are not running any more.

    Args:
        connection: Connection in the transaction to write in.
        pending: Writes by the id of their trial.
        again: Whether an earlier attempt may have succeeded.

    Returns:
        The trials that took no writes, and why.
    """
    losses = _losses(connection, pending, again)
    taken = {trial_id: each for trial_id, each in pending.items() if trial_id not in losses}
    _write_contents(connection, taken)
    ends = {trial_id: each.end for trial_id, each in taken.items() if each.end is not None}
    _write_values(connection, {trial_id: end.values for trial_id, end in ends.items()})
    if ends:
        rows = [
            {"one": trial_id, "new_state": end.state, "moment": as_stored(end.moment)}
            for trial_id, end in ends.items()
        ]
        connection.execute(_END, rows)
    return losses


def create_trials(
    connection: Connection,
    study_id: int,
    templates: Sequence[FrozenTrial],
    earlier: list[int],
) -> list[tuple[int, int]]:
    """Add trials to a study; their numbers follow those that it has.

    Args:
        connection: Connection in the transaction to write in.
        study_id: Id of the study.
        templates: The trials, their attributes as JSON gives them back.
        earlier: Ids that earlier attempts gave them; those of this one are put in their place. They
            show whether an attempt succeeded, together with when the trials began: a server that
            crashed may give ids that were not committed to others.

    Returns:
        Id and number of each.

    Raises:
        KeyError: If there is no such study.
    """
    if connection.scalar(_LOCK, {"study": study_id}) is None:
        raise KeyError("Record does not exist.")
    if earlier and connection.dialect.name != "sqlite":
        found = {row.trial_id: row for row in connection.execute(_NUMBERS, {"ids": earlier})}
        exact = connection.dialect.name == "postgresql"
        if len(found) == len(templates) and all(
            _began(found[trial_id].datetime_start, each.datetime_start, exact)
            for trial_id, each in zip(earlier, templates, strict=True)
        ):
            return [(trial_id, found[trial_id].number) for trial_id in earlier]
    count = connection.scalar(_COUNT, {"study": study_id}) or 0
    earlier.clear()
    for number, each in enumerate(templates, start=count):
        row = {
            "number": number,
            "study_id": study_id,
            "state": each.state,
            "datetime_start": as_stored(each.datetime_start),
            "datetime_complete": as_stored(each.datetime_complete),
        }
        key = connection.execute(insert(TRIALS), row).inserted_primary_key
        assert key is not None
        earlier.append(key[0])
    new = dict(zip(earlier, templates, strict=True))
    _write_contents(connection, {trial_id: _contents(each) for trial_id, each in new.items()})
    _write_values(connection, {trial_id: each.values for trial_id, each in new.items()})
    return list(zip(earlier, range(count, count + len(templates)), strict=True))


def _began(stored: datetime | None, given: datetime | None, exact: bool) -> bool:
    """Whether a stored trial began when the given one did."""
    ours = as_stored(given)
    if stored is None or ours is None:
        return stored is ours
    return abs(stored - ours) <= (timedelta(0) if exact else _PRECISION)


def in_json(template: FrozenTrial | None) -> FrozenTrial:
    """The trial that a template stands for, as a database gives it back.

    Raises:
        TypeError: If an attribute has no JSON.
    """
    if template is None:
        return new_trial(-1, -1, TrialState.RUNNING, datetime_start=datetime.now())
    texts = {name: as_text(each) for name, each in template.distributions.items()}
    distributions = {name: distribution_of(texts[name]) for name in template.params}
    internal = {n: each.to_internal_repr(template.params[n]) for n, each in distributions.items()}
    reports = template.intermediate_values
    return with_fields(
        template,
        params={n: each.to_external_repr(internal[n]) for n, each in distributions.items()},
        distributions=distributions,
        user_attrs=json.loads(json.dumps(template.user_attrs)),
        system_attrs=json.loads(json.dumps(template.system_attrs)),
        intermediate_values={int(step): float(reports[step]) for step in reports},
        values=None if template.values is None else [float(value) for value in template.values],
        datetime_start=as_local(as_stored(template.datetime_start)),
        datetime_complete=as_local(as_stored(template.datetime_complete)),
    )


def _contents(trial: FrozenTrial) -> Pending:
    """All that a new trial begins with."""
    distributions = trial.distributions
    return Pending(
        {
            name: (distributions[name].to_internal_repr(value), as_text(distributions[name]))
            for name, value in trial.params.items()
        },
        {key: json.dumps(value) for key, value in trial.user_attrs.items()},
        {key: json.dumps(value) for key, value in trial.system_attrs.items()},
        trial.intermediate_values,
    )


def _losses(connection: Connection, pending: Mapping[int, Pending], again: bool) -> dict[int, Loss]:
    """Lock the rows of trials, and say which of them take no writes."""
    losses: dict[int, Loss] = dict.fromkeys(pending, "deleted")
    for ids in pieces(sorted(pending)):
        for trial_id, state, moment in connection.execute(_STATES, {"ids": ids}):
            if not state.is_finished() or (again and _is_end(pending[trial_id].end, state, moment)):
                del losses[trial_id]
            else:
                losses[trial_id] = "finished"
    return losses


def _is_end(end: End | None, state: TrialState, moment: datetime | None) -> bool:
    """Whether the end that a trial has is the one that an earlier attempt wrote."""
    ours = None if end is None else as_stored(end.moment)
    if end is None or ours is None or moment is None:
        return False
    return end.state == state and abs(moment - ours) <= _PRECISION


def _write_contents(connection: Connection, pending: Mapping[int, Pending]) -> None:
    params = [
        {"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": text}
        for trial_id, each in pending.items()
        for name, (value, text) in each.params.items()
    ]
    _insert(connection, PARAMS, params)
    for table, field in ((USER_ATTRIBUTES, "user_attrs"), (SYSTEM_ATTRIBUTES, "system_attrs")):
        attributes = [
            {"trial_id": trial_id, "key": key, "value_json": text}
            for trial_id, each in pending.items()
            for key, text in getattr(each, field).items()
        ]
        _insert(connection, table, attributes)
    reports = []
    for trial_id, each in pending.items():
        for step, report in each.intermediate_values.items():
            value, kind = stored_intermediate_value(report)
            row = {"intermediate_value": value, "intermediate_value_type": kind}
            reports.append({"trial_id": trial_id, "step": step, **row})
    _insert(connection, INTERMEDIATE_VALUES, reports)


def _write_values(connection: Connection, values: Mapping[int, Sequence[float] | None]) -> None:
    rows = []
    for trial_id, of_trial in values.items():
        for objective, number in enumerate(of_trial or ()):
            value, kind = stored_value(number)
            row = {"trial_id": trial_id, "objective": objective}
            rows.append({**row, "value": value, "value_type": kind})
    _insert(connection, VALUES, rows)


_KEYS: Final = {
    PARAMS: ("trial_id", "param_name"),
    USER_ATTRIBUTES: ("trial_id", "key"),
    SYSTEM_ATTRIBUTES: ("trial_id", "key"),
    INTERMEDIATE_VALUES: ("trial_id", "step"),
    VALUES: ("trial_id", "objective"),
}


def _insert(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows in the place of those with the same keys; of parameters, the first ones stay."""
    if rows:
        connection.execute(_statement(connection.dialect.name, table), rows)


@lru_cache
def _statement(dialect: str, table: Table) -> Any:
    keys = _KEYS[table]
    replaced = [column.name for column in table.columns if column.name not in keys]
    replaced = [] if table is PARAMS else replaced[1:]  # the first one is the primary key
    if dialect in ("mysql", "mariadb"):
        of_mysql = mysql.insert(table)
        new = {name: of_mysql.inserted[name] for name in replaced}
        return of_mysql.on_duplicate_key_update(new or {"trial_id": table.c.trial_id})
    plain = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    if not replaced:
        return plain.on_conflict_do_nothing(index_elements=keys)
    return plain.on_conflict_do_update(
        index_elements=keys, set_={name: plain.excluded[name] for name in replaced}
    )
