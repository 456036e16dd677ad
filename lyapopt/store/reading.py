"""Reading runs back, each as the record that was written, and series of many trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, LargeBinary, Row, Select, Subquery, Table, func, select

from lyapopt.store.encoding import from_row
from lyapopt.store.packing import Piece, unpack
from lyapopt.store.records import Decision, ExponentRecord, RunRecord, TrajectoryRecord
from lyapopt.store.tables import BLOCKS, DECISIONS, EXPONENTS, RUNS, TRAJECTORIES

_T = TRAJECTORIES.c
# The bytes of one piece, cut out by the database: blocks hold the pieces of other series as well.
_PIECE_BYTES: Final = func.substr(
    BLOCKS.c.data, _T.byte_offset + 1, _T.byte_length, type_=LargeBinary
)
_PIECE: Final = (
    *(_T.name, _T.part, _T.n_values, _T.dtype, _T.shape_json, _T.codec),
    _PIECE_BYTES.label("data"),
)
_SAME_BLOCK: Final = (BLOCKS.c.run == _T.run) & (BLOCKS.c.block == _T.block)
_ORDER: Final = (_T.position, _T.part, _T.chunk)


class Series(NamedTuple):
    """One series of one trial."""

    study_name: str
    trial_number: int
    record: TrajectoryRecord


def read_run(connection: Connection, run: str) -> RunRecord | None:
    """One run with all that belongs to it, as it was recorded; None if it is not stored."""
    header = connection.execute(select(RUNS).where(RUNS.c.run == run)).one_or_none()
    if header is None:
        return None

    def rows(table: Table) -> Sequence[Row[Any]]:
        return connection.execute(
            select(table).where(table.c.run == run).order_by(table.c.position)
        ).all()

    pieces: Select[Any] = select(*_PIECE).join(BLOCKS, _SAME_BLOCK).where(_T.run == run)
    series = connection.execute(pieces.order_by(*_ORDER))
    return from_row(
        RunRecord,
        RUNS,
        header,
        exponents=tuple(from_row(ExponentRecord, EXPONENTS, row) for row in rows(EXPONENTS)),
        trajectories=tuple(unpack(_piece(row) for row in series)),
        decisions=tuple(from_row(Decision, DECISIONS, row) for row in rows(DECISIONS)),
    )


def read_series(
    connection: Connection, trials: Subquery, names: Sequence[str] | None
) -> Iterator[Series]:
    """The series of these trials, one after the other.

    Args:
        connection: Connection to the database.
        trials: With columns `study_name`, `trial_number` and `run`.
        names: Names of the series to read; None for all.

    Yields:
        The series, ordered by study, trial and position in the run.
    """
    trial = (trials.c.study_name, trials.c.trial_number, trials.c.run)
    pieces: Select[Any] = (
        select(*trial, _T.position, *_PIECE)
        .join_from(trials, TRAJECTORIES, _T.run == trials.c.run)
        .join(BLOCKS, _SAME_BLOCK)
        .order_by(*trial, *_ORDER)
    )
    if names is not None:
        pieces = pieces.where(_T.name.in_(names))
    rows = connection.execute(pieces)
    for (study_name, trial_number, _, _), of_series in groupby(rows, lambda row: tuple(row[:4])):
        [record] = unpack(_piece(row) for row in of_series)
        yield Series(study_name, trial_number, record)


def names_of_series(connection: Connection, run: str) -> list[str]:
    """Names of the series of a run, in their order."""
    rows = connection.execute(
        select(_T.name, _T.position).where(_T.run == run).distinct().order_by(_T.position)
    )
    return [row.name for row in rows]


def _piece(row: Row[Any]) -> Piece:
    data = bytes(row.data or b"")  # SQLite cuts an empty text out of a blob
    return Piece(row.name, row.part, row.n_values, row.dtype, row.shape_json, row.codec, data)
