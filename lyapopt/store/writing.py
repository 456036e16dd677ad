"""Writing, copying and deleting runs, each as part of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Table, delete, insert, select

from lyapopt.store.damage import decoding
from lyapopt.store.encoding import to_row
from lyapopt.store.packing import Row, pack
from lyapopt.store.records import RunRecord
from lyapopt.store.tables import BLOCKS, CHILDREN, DECISIONS, EXPONENTS, RUNS, TRAJECTORIES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_RUNS_AT_ONCE: Final = 200
_WRITTEN_AT_ONCE: Final = 50  # runs whose series are compressed before they are written


def write_runs(connection: Connection, records: Iterable[RunRecord]) -> None:
    """Write runs with all that belongs to them, in place of what is stored under their uuids.

    Args:
        connection: Connection in the transaction to write in.
        records: The runs.
    """
    waiting = iter(records)
    while some := list(islice(waiting, _WRITTEN_AT_ONCE)):
        _write(connection, {record.run: record for record in some})


def _write(connection: Connection, records: Mapping[str, RunRecord]) -> None:
    # A DELETE of what is not there would lock the gap in MySQL's index, and two workers that
    # write at the same time would then wait for each other.
    stored = connection.scalars(select(RUNS.c.run).where(RUNS.c.run.in_(records))).all()
    delete_runs(connection, stored)
    now = datetime.now(UTC)
    rows: dict[Table, list[Row]] = {table: [] for table in (RUNS, *CHILDREN)}
    for run, record in records.items():
        pieces, blocks = pack(run, record.trajectories)
        rows[RUNS].append(to_row(record, RUNS, recorded_at=now))
        rows[EXPONENTS] += _numbered(run, EXPONENTS, record.exponents)
        rows[DECISIONS] += _numbered(run, DECISIONS, record.decisions)
        rows[TRAJECTORIES] += pieces
        rows[BLOCKS] += blocks
    for table, own in rows.items():
        _insert(connection, table, own)


def delete_runs(connection: Connection, runs: Sequence[str]) -> None:
    """Delete runs with all that belongs to them.

    Every table is named, since SQLite cascades only where it was asked to for the connection.

    Args:
        connection: Connection in the transaction to delete in.
        runs: Identifiers of the runs; unknown ones are passed over.
    """
    for first in range(0, len(runs), _RUNS_AT_ONCE):
        some = runs[first : first + _RUNS_AT_ONCE]
        for table in (*reversed(CHILDREN), RUNS):
            connection.execute(delete(table).where(table.c.run.in_(some)))


def copy_runs(
    source: Connection, target: Connection, runs: Mapping[str, Row], *, trajectories: bool
) -> None:
    """Copy runs, in place of what the target has under the same uuid.

    Args:
        source: Connection to read from.
        target: Connection in the transaction to write in.
        runs: The runs, by uuid, each with the columns of its header that are not copied as they
            are stored: the copy has no tables of Optuna to look names and endings up in.
        trajectories: Whether the series are copied as well.
    """
    tables = [each for each in CHILDREN if trajectories or each not in (TRAJECTORIES, BLOCKS)]
    every = list(runs)
    for first in range(0, len(every), _RUNS_AT_ONCE):
        some = every[first : first + _RUNS_AT_ONCE]
        delete_runs(target, some)
        headers = _rows(source, RUNS, some)
        _insert(target, RUNS, [header | runs[header["run"]] for header in headers])
        for table in tables:
            _insert(target, table, _rows(source, table, some))


def _numbered(run: str, table: Table, records: Sequence[DataclassInstance]) -> list[Row]:
    return [to_row(each, table, run=run, position=i) for i, each in enumerate(records)]


def _rows(connection: Connection, table: Table, runs: Sequence[str]) -> list[Row]:
    found = connection.execute(select(table).where(table.c.run.in_(runs)))
    with decoding(f"rows of {table.name}"):
        return [dict(row._mapping) for row in found]


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(insert(table), rows)
