"""Records as rows of their tables and back, and how single values are kept in columns.

A field of a record is kept in the column of its name; `NAME_json` holds the field `NAME` as JSON,
and `NAME_kind` says which number that is not finite a NULL in `NAME` stands for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np
from sqlalchemy import Row, Table, Text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")
_NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_TAG: Final = "$float"
_PLAIN: Final[Mapping[type, Callable[[Any], Any]]] = {bool: bool, int: int, float: float}
"""How numbers of numpy become what drivers take, by the type of the column."""


class _Field(NamedTuple):
    """How a field of a record is written to its columns, and read from them."""

    name: str
    columns: tuple[str, ...]
    write: Callable[[Any], tuple[Any, ...]]
    read: Callable[..., Any]


def to_row(record: DataclassInstance, table: Table, **others: Any) -> dict[str, Any]:
    """The row of a record.

    Args:
        record: A run, an exponent or a decision; fields without a column are left out.
        table: The table that it is written to.
        others: Values of the columns that are not fields.
    """
    row = others
    for field in _fields(type(record), table):
        row.update(zip(field.columns, field.write(getattr(record, field.name)), strict=True))
    return row


def from_row(record: type[_T], table: Table, row: Row[Any], **others: Any) -> _T:
    """The record of a row.

    Args:
        record: Type of the record.
        table: The table that the row was read from.
        row: Has at least the columns of the record's fields.
        others: Values of the fields that have no column.
    """
    found = {
        field.name: field.read(*(getattr(row, column) for column in field.columns))
        for field in _fields(record, table)
    }
    return record(**found, **others)


@lru_cache
def _fields(record: type[DataclassInstance], table: Table) -> tuple[_Field, ...]:
    names = [field.name for field in fields(record)]
    found = (_field(name, table) for name in names)
    return tuple(field for field in found if field is not None)


def _field(name: str, table: Table) -> _Field | None:
    if f"{name}_json" in table.c:
        return _Field(name, (f"{name}_json",), _to_json_column, _from_json_column)
    if f"{name}_kind" in table.c:
        return _Field(name, (name, f"{name}_kind"), split_float, join_float)
    if name not in table.c:
        return None
    type_ = table.c[name].type
    plain = to_text if isinstance(type_, Text) else _PLAIN.get(type_.python_type, _same)
    return _Field(name, (name,), lambda value: (None if value is None else plain(value),), _same)


def _same(value: Any) -> Any:
    return value


def _to_json_column(value: Any) -> tuple[str | None]:
    return (None if value is None else to_json(value),)


def _from_json_column(text: str | None) -> Any:
    value = None if text is None else from_json(text)
    return tuple(value) if isinstance(value, list) else value


def split_float(value: float | None) -> tuple[float | None, str | None]:
    """A number as the pair of columns `(value, kind)`.

    MySQL's DOUBLE takes neither NaN nor infinities, so these are NULL and their kind. A finite
    number has no kind, and a missing one neither value nor kind.

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


def join_float(value: float | None, kind: str | None) -> float | None:
    """The number that `split_float` was given."""
    return value if kind is None else _NOT_FINITE[kind]


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
