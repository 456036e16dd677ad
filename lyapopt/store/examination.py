"""Which of Optuna's rows about a study Optuna cannot read: for when it has failed to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, text

from lyapopt.store.damage import UNREADABLE
from lyapopt.store.engine import make_engine, parse_url
from lyapopt.store.errors import explained
from lyapopt.store.trials import read_study

__all__ = ["damage_of_study"]

_TIMEOUT = 30.0  # seconds
_OF_STUDY = (
    "SELECT 'the study', o.{columns} FROM {table} o JOIN studies s ON s.study_id = o.study_id"
)
_OF_TRIALS = (
    "SELECT t.number, o.{columns} FROM {table} o JOIN trials t ON t.trial_id = o.trial_id "
    "JOIN studies s ON s.study_id = t.study_id"
)
_ATTRIBUTES = (
    ("study_user_attributes", _OF_STUDY),
    ("study_system_attributes", _OF_STUDY),
    ("trial_system_attributes", _OF_TRIALS),
)
_KINDS = (
    ("trial_values", "value_type", ("FINITE", "INF_POS", "INF_NEG")),
    (
        "trial_intermediate_values",
        "intermediate_value_type",
        ("FINITE", "INF_POS", "INF_NEG", "NAN"),
    ),
)


def damage_of_study(url: str, study_name: str) -> list[str]:
    """What of a study Optuna cannot read, a text for each thing; it is not changed.

    Args:
        url: URL of Optuna's database.
        study_name: Name of the study.

    Raises:
        StoreError: If nothing of it can be read; `RecordNotFoundError` if there is none.
    """
    parsed = parse_url(url)
    damage = list(read_study(url, study_name).damage)
    engine = make_engine(parsed, _TIMEOUT)
    try:
        with explained(parsed, "examine"), engine.connect() as connection:
            return damage + list(_attributes(connection, study_name))
    finally:
        engine.dispose()


def _attributes(connection: Connection, study_name: str) -> Iterator[str]:
    for table, query in _ATTRIBUTES:
        for owner, key, value in _rows(connection, query, table, "key, o.value_json", study_name):
            try:
                json.loads(value)
            except UNREADABLE as error:
                yield f"{_named(owner)}: attribute {key!r} cannot be read: {error}"
    for table, column, kinds in _KINDS:
        for owner, kind in _rows(connection, _OF_TRIALS, table, column, study_name):
            if kind not in kinds:
                yield f"{_named(owner)}: a value of it cannot be read: its kind is {kind!r}"


def _rows(
    connection: Connection, query: str, table: str, columns: str, study_name: str
) -> list[Any]:
    if connection.dialect.name in ("mysql", "mariadb"):
        columns = columns.replace("key,", "`key`,")
    statement = query.format(table=table, columns=columns) + " WHERE s.study_name = :name"
    return list(connection.execute(text(statement), {"name": study_name}))


def _named(owner: object) -> str:
    return owner if isinstance(owner, str) else f"trial {owner}"
