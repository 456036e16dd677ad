"""Rows of Optuna's tables about the trials of a study, decoded one by one.

What cannot be decoded is left out and gathered: one damaged attribute must not hide a study. Rows
are taken as tuples: there are ten and more for every trial.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, String, cast, column, select, table

from lyapopt.store.aggregation import decodes_slowly, grouped_rows
from lyapopt.store.damage import UNREADABLE
from lyapopt.store.lookup import ATTRIBUTES, NOT_FINITE, SYSTEM_ATTRIBUTES, TRIALS, VALUES
from lyapopt.store.states import WORKER_ATTRIBUTE

__all__ = ["Unreadable", "attributes", "heads", "params", "run_by_workers", "values"]


# Moments have no type here: SQLAlchemy would convert them as it fetches them, and one that is
# damaged would end the query.
_HEADS = table(
    "trials",
    column("trial_id"),
    column("study_id"),
    column("number"),
    column("state"),
    column("datetime_start"),
    column("datetime_complete"),
)
_PARAMS = table(
    "trial_params",
    column("param_id"),
    column("trial_id"),
    column("param_name"),
    column("param_value"),
    column("distribution_json"),
)


class Unreadable(NamedTuple):
    """Something of a trial that cannot be read.

    Attributes:
        trial_id: Its number in the database.
        what: What it is.
        error: Why it cannot be read.
    """

    trial_id: int
    what: str
    error: Exception

    def in_words(self) -> str:
        """What cannot be read, and why."""
        text = " ".join(str(self.error).split()) or type(self.error).__name__
        return f"{self.what} cannot be read: {text[:200]}"


def heads(
    connection: Connection, study_id: int, unreadable: list[Unreadable]
) -> Iterator[tuple[int, int, str, datetime | None, datetime | None]]:
    """Each trial's number in the database, its number, state, and when it began and ended.

    A trial without a number is left out.
    """
    query = select(
        _HEADS.c.trial_id,
        _HEADS.c.number,
        _HEADS.c.state,
        _HEADS.c.datetime_start,
        _HEADS.c.datetime_complete,
    ).where(_HEADS.c.study_id == study_id)
    for trial_id, number, state, *moments in connection.execute(query.order_by(_HEADS.c.number)):
        if not isinstance(number, int):
            error = ValueError(f"{number!r} is not a whole number")
            unreadable.append(Unreadable(trial_id, "its number", error))
            continue
        read: list[datetime | None] = []
        for moment, what in zip(moments, ("when it began", "when it ended"), strict=True):
            try:
                read.append(_moment(moment))
            except UNREADABLE as error:
                unreadable.append(Unreadable(trial_id, what, error))
                read.append(None)
        yield trial_id, number, str(state), read[0], read[1]


def _moment(stored: Any) -> datetime | None:
    if stored is None or isinstance(stored, datetime):
        return stored
    return datetime.fromisoformat(stored)


def attributes(
    connection: Connection, study_id: int, unreadable: list[Unreadable]
) -> Iterator[tuple[int, str, Any]]:
    """User attributes of all trials: a trial's number in the database, key and value."""
    for trial_id, key, text in _attribute_rows(connection, study_id):
        try:
            value = json.loads(text)
        except UNREADABLE as error:
            unreadable.append(Unreadable(trial_id, f"attribute {key!r}", error))
        else:
            yield trial_id, str(key), value


def _attribute_rows(connection: Connection, study_id: int) -> Iterator[tuple[int, str, Any]]:
    owner, key, value = ATTRIBUTES.c.trial_id, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json
    join = ATTRIBUTES.join(TRIALS, TRIALS.c.trial_id == owner)
    of_study = TRIALS.c.study_id == study_id
    if not decodes_slowly(connection):
        query = select(owner, key, value).select_from(join).where(of_study)
        yield from (tuple(row) for row in connection.execute(query).all())
        return
    for trial_id, fields in grouped_rows(connection, join, of_study, owner, value, key):
        text, name = fields if len(fields) == 2 else (None, fields[-1])  # a null is left out
        yield trial_id, name, text


def run_by_workers(connection: Connection, study_id: int) -> set[int]:
    """Numbers in the database of the failed trials that a worker of ours ran."""
    rows = connection.scalars(
        select(SYSTEM_ATTRIBUTES.c.trial_id)
        .join(TRIALS, TRIALS.c.trial_id == SYSTEM_ATTRIBUTES.c.trial_id)
        .where(TRIALS.c.study_id == study_id, cast(TRIALS.c.state, String(16)) == "FAIL")
        .where(SYSTEM_ATTRIBUTES.c.key == WORKER_ATTRIBUTE)
    )
    return set(rows)


def values(
    connection: Connection, study_id: int, unreadable: list[Unreadable]
) -> Iterator[tuple[int, float]]:
    """Values of all trials, those of one trial in the order of the objectives.

    One that cannot be read is NaN, so that the others stay with their objectives.
    """
    query = (
        select(VALUES.c.trial_id, VALUES.c.value, VALUES.c.value_type)
        .join(TRIALS, TRIALS.c.trial_id == VALUES.c.trial_id)
        .where(TRIALS.c.study_id == study_id)
        .order_by(VALUES.c.objective)
    )
    for trial_id, number, value_type in connection.execute(query).all():
        try:
            yield trial_id, float(NOT_FINITE.get(value_type, number))
        except UNREADABLE as error:
            unreadable.append(Unreadable(trial_id, "a value", error))
            yield trial_id, math.nan


def params(
    connection: Connection, study_id: int, unreadable: list[Unreadable]
) -> Iterator[tuple[int, str, Any]]:
    """Parameters with their values, in the order in which they were suggested.

    The distribution is far longer than the number, and nearly always one for each parameter of a
    study: it is fetched once for all trials, and row by row only where a parameter has several
    that are read differently, or one that cannot be read.
    """
    of_study = _HEADS.c.study_id == study_id
    join = _PARAMS.join(_HEADS, _HEADS.c.trial_id == _PARAMS.c.trial_id)
    each = select(_PARAMS.c.param_name, _PARAMS.c.distribution_json).select_from(join)
    distributions = connection.execute(each.where(of_study).distinct()).all()
    readers = _only_readers(distributions)
    for trial_id, name, number, distribution in _param_rows(connection, study_id, readers):
        try:
            read = _reader(distribution) if readers is None else readers[name]
            value = read(number)
        except UNREADABLE as error:
            if readers is not None and name not in readers:
                continue  # it was suggested after the first query
            unreadable.append(Unreadable(trial_id, f"parameter {name!r}", error))
        else:
            yield trial_id, name, value


def _param_rows(
    connection: Connection, study_id: int, readers: dict[str, _Reader] | None
) -> Iterator[tuple[int, str, Any, Any]]:
    """Trial, name, stored number, and the distribution where there are no `readers` by name."""
    of_study = _HEADS.c.study_id == study_id
    join = _PARAMS.join(_HEADS, _HEADS.c.trial_id == _PARAMS.c.trial_id)
    if readers is not None and decodes_slowly(connection):
        fields = _PARAMS.c.param_id, _PARAMS.c.param_value, _PARAMS.c.param_name
        found = grouped_rows(connection, join, of_study, _PARAMS.c.trial_id, *fields)
        for trial_id, texts in sorted(found, key=lambda row: int(row[1][0])):
            yield trial_id, texts[-1], texts[1] if len(texts) == 3 else None, None
        return
    columns = [_PARAMS.c.trial_id, _PARAMS.c.param_name, _PARAMS.c.param_value]
    if readers is None:
        columns.append(_PARAMS.c.distribution_json)
    rows = select(*columns).select_from(join).where(of_study).order_by(_PARAMS.c.param_id)
    for trial_id, name, number, *distribution in connection.execute(rows).all():
        yield trial_id, name, number, distribution[0] if distribution else None


class _Reader(NamedTuple):
    """How a stored number is read: as the index of a choice, a whole number, or as it is."""

    reads: Literal["choice", "int", "float"]
    choices: tuple[Any, ...] = ()

    def __call__(self, stored: Any) -> Any:
        number = float(stored)
        match self.reads:
            case "choice":
                if not 0 <= number < len(self.choices):
                    raise IndexError(f"it has no choice {number:g}")
                return self.choices[int(number)]
            case "int":
                return int(number)
        return number


def _only_readers(distributions: Any) -> dict[str, _Reader] | None:
    """How each parameter is read, if each is read in one way only."""
    readers: dict[str, _Reader] = {}
    for name, distribution in distributions:
        try:
            reader = _reader(distribution)
        except UNREADABLE:
            return None
        if readers.setdefault(name, reader) != reader:
            return None
    return readers


@lru_cache(maxsize=1024)
def _reader(distribution_json: str) -> _Reader:
    distribution = json.loads(distribution_json)
    if distribution["name"] == "CategoricalDistribution":
        return _Reader("choice", tuple(distribution["attributes"]["choices"]))
    return _Reader("int" if distribution["name"].startswith("Int") else "float")
