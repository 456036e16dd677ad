"""Records as rows of their tables and back, and how single values are kept in columns.

A field of a record is kept in the column of its name; `NAME_json` holds the field `NAME` as JSON,
and `NAME_kind` says which number that is not finite a NULL in `NAME` stands for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Row, Table, Text, type_coerce
from sqlalchemy.types import NullType, TypeEngine

from lyapopt.store.tables import UtcDateTime

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")
_NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TAG: Final = "$float"


class _Columns(NamedTuple):
    """The fields of a record that a table has columns for, by how they are kept."""

    plain: dict[str, Callable[[Any], Any]]  # and how numbers of numpy become what drivers take
    readers: dict[str, Callable[[Any], Any]]  # of the plain ones: what is stored as what it means
    json: list[tuple[str, str, Callable[[Any], Any]]]  # name of the column, and how it is read
    split: list[tuple[str, str]]  # and the name of the column for what is not finite


def to_row(record: DataclassInstance, table: Table, **others: Any) -> dict[str, Any]:
    """The row of a record.

    Args:
        record: A run, an exponent or a decision; fields without a column are left out.
        table: The table that it is written to.
        others: Values of the columns that are not fields.
    """
    row, columns = others, _columns(type(record), table)
    for name, convert in columns.plain.items():
        value = getattr(record, name)
        row[name] = None if value is None else convert(value)
    for name, column, _ in columns.json:
        value = getattr(record, name)
        row[column] = None if value is None else to_json(value)
    for name, word in columns.split:
        row[name], row[word] = split_float(getattr(record, name))
    return row


def from_row(record: type[_T], table: Table, row: Row[Any], **others: Any) -> _T:
    """The record of a row; what was written as a tuple is one again.

    Args:
        record: Type of the record.
        table: The table that the row was read from.
        row: Has at least the columns of the record's fields, as they are stored (`as_stored`).
        others: Values of the fields that have no column.

    Raises:
        ValueError: If a column holds what it cannot hold, or the values are none of a record.
    """
    values, columns = others, _columns(record, table)
    for name, read in columns.readers.items():
        value = getattr(row, name)
        values[name] = None if value is None else read(value)
    for name, column, read in columns.json:
        text = getattr(row, column)
        values[name] = None if text is None else read(from_json(_text(text)))
    for name, word in columns.split:
        number = getattr(row, name)
        values[name] = join_float(None if number is None else _float(number), getattr(row, word))
    return record(**values)


def as_stored(table: Table) -> list[ColumnElement[Any]]:
    """The columns of a table as the driver gives them.

    SQLAlchemy converts a row as it fetches it, and one damaged moment would end the query.
    """
    return [type_coerce(column, NullType()).label(column.name) for column in table.c]


@lru_cache
def _columns(record: type[DataclassInstance], table: Table) -> _Columns:
    columns = _Columns({}, {}, [], [])
    for field in fields(record):
        name = field.name
        if (column := f"{name}_json") in table.c:
            columns.json.append((name, column, _json_reader(str(field.type))))
        elif (word := f"{name}_kind") in table.c:
            columns.split.append((name, word))
        elif name in table.c:
            columns.plain[name] = _converter(table.c[name].type)
            columns.readers[name] = _reader(table.c[name].type)
    return columns


def _converter(type_: TypeEngine[Any]) -> Callable[[Any], Any]:
    if isinstance(type_, Text):
        return to_text
    found = type_.python_type
    return found if found in (bool, int, float) else _same


def _same(value: Any) -> Any:
    return value


def _reader(type_: TypeEngine[Any]) -> Callable[[Any], Any]:
    if isinstance(type_, UtcDateTime):
        return _moment
    return {bool: _bool, int: _int, float: _float}.get(type_.python_type, _text)


def _json_reader(annotation: str) -> Callable[[Any], Any]:
    """How the value of a field with this annotation comes out of JSON, which has no tuples."""
    if annotation.startswith("tuple[float"):
        return lambda value: tuple(map(_float, _of_type(value, list)))
    if annotation.startswith("tuple["):
        return lambda value: tuple(map(_text, _of_type(value, list)))
    return lambda value: _of_type(value, dict)


def _of_type(value: Any, type_: type[Any]) -> Any:
    if not isinstance(value, type_):
        raise ValueError(f"{value!r} is not a {type_.__name__}")
    return value


def _bool(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{value!r} is neither true nor false")
    return bool(value)


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _float(value: Any) -> float:
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _moment(value: Any) -> datetime:
    """A moment of UTC, which SQLite keeps as text."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise ValueError(f"{value!r} is not a moment")
    return moment.replace(tzinfo=UTC)


def split_float(value: float | None) -> tuple[float | None, str | None]:
    """A number as the columns `NAME` and `NAME_kind`.

    MySQL's DOUBLE takes neither NaN nor infinities, so these are NULL and a word. A finite number
    has no word, and a missing one neither number nor word.

    Example:
        >>> split_float(0.5), split_float(float("-inf")), split_float(None)
        ((0.5, None), (None, '-inf'), (None, None))
    """
    if value is None:
        return None, None
    number = float(value)
    if math.isfinite(number):
        return number, None
    return None, "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"


def join_float(value: float | None, word: str | None) -> float | None:
    """The number that `split_float` was given."""
    return value if word is None else _NOT_FINITE[word]


def to_json(value: Any) -> str:
    """JSON text that every database's JSON functions can read: `NaN` is not JSON.

    Example:
        >>> to_json({"a": float("inf"), "b": np.float32(0.5)})
        '{"a": {"$float": "inf"}, "b": 0.5}'
    """
    return json.dumps(_plain(value), allow_nan=False)


def from_json(text: str) -> Any:
    """The value that `to_json` was given, tuples as lists."""
    return json.loads(text, object_hook=_untag)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: split_float(value)[1]}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)  # paths, dtypes, enumerations: settings are kept to be read by people


def _untag(item: dict[str, Any]) -> Any:
    return _NOT_FINITE[item[_TAG]] if item.keys() == {_TAG} else item


def to_text(text: str) -> str:
    """Text that every database takes: no NUL (PostgreSQL), no lone surrogates (all of them)."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
