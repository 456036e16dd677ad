"""Reading runs back: which ones, and each as the record that was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, LargeBinary, Row, Subquery, func, select

from lyapopt.store.encoding import from_json, join_float
from lyapopt.store.models import Block, Decision, Exponent, Run, Trajectory
from lyapopt.store.packing import Piece, unpack
from lyapopt.store.records import (
    DecisionRecord,
    ExponentRecord,
    RunRecord,
    State,
    TrajectoryRecord,
)
from lyapopt.store.writing import table_of

# The bytes of one piece, cut out by the database: blocks hold the pieces of other series as well.
_PIECE_BYTES = func.substr(
    Block.data, Trajectory.byte_offset + 1, Trajectory.byte_length, type_=LargeBinary
)
_PIECE = (
    Trajectory.name,
    Trajectory.part,
    Trajectory.n_values,
    Trajectory.dtype,
    Trajectory.shape_json,
    Trajectory.codec,
    _PIECE_BYTES.label("data"),
)
_SAME_BLOCK = (Block.run == Trajectory.run) & (Block.block == Trajectory.block)


class Series(NamedTuple):
    """One series of one trial."""

    study_name: str
    trial_number: int
    record: TrajectoryRecord


def read_run(connection: Connection, run: str) -> RunRecord | None:
    """One run with all that belongs to it, as it was recorded; None if it is not stored."""
    header = connection.execute(select(table_of(Run)).where(Run.run == run)).one_or_none()
    if header is None:
        return None
    of_run = select(_PIECE[0], *_PIECE[1:]).join(Block, _SAME_BLOCK).where(Trajectory.run == run)
    pieces = connection.execute(
        of_run.order_by(Trajectory.position, Trajectory.part, Trajectory.chunk)
    )
    exponents = connection.execute(
        select(table_of(Exponent)).where(Exponent.run == run).order_by(Exponent.position)
    )
    decisions = connection.execute(
        select(table_of(Decision)).where(Decision.run == run).order_by(Decision.position)
    )
    values = None if header.values_json is None else tuple(from_json(header.values_json))
    same = {name: getattr(header, name) for name in _SAME_IN_RUN}
    return RunRecord(
        **same,
        state=cast(State, header.state),
        values=values,
        versions=from_json(header.versions_json),
        settings=from_json(header.settings_json),
        exponents=tuple(to_exponent(row) for row in exponents),
        trajectories=tuple(unpack(_piece(row) for row in pieces)),
        decisions=tuple(_decision(row) for row in decisions),
    )


def read_series(
    connection: Connection, trials: Subquery, names: Sequence[str] | None
) -> Iterator[Series]:
    """The series of these trials, one after the other.

    Args:
        connection: To read from.
        trials: With columns `study_name`, `trial_number` and `run`.
        names: Which series; None for all.

    Yields:
        The series, ordered by study, trial and position in the run.
    """
    pieces = (
        select(
            trials.c.study_name, trials.c.trial_number, trials.c.run, Trajectory.position, *_PIECE
        )
        .join_from(trials, Trajectory, Trajectory.run == trials.c.run)
        .join(Block, _SAME_BLOCK)
        .order_by(
            trials.c.study_name,
            trials.c.trial_number,
            trials.c.run,
            Trajectory.position,
            Trajectory.part,
            Trajectory.chunk,
        )
    )
    if names is not None:
        pieces = pieces.where(Trajectory.name.in_(names))
    rows = connection.execute(pieces)
    for (study_name, trial_number, _, _), of_series in groupby(rows, lambda row: tuple(row[:4])):
        [record] = unpack(_piece(row) for row in of_series)
        yield Series(study_name, trial_number, record)


def names_of_series(connection: Connection, run: str) -> list[str]:
    """Names of the series of a run, in their order."""
    rows = connection.execute(
        select(Trajectory.name, Trajectory.position)
        .where(Trajectory.run == run)
        .distinct()
        .order_by(Trajectory.position)
    )
    return [row.name for row in rows]


def to_exponent(row: Row[Any]) -> ExponentRecord:
    """The record of one row of `lyapopt_exponent`."""
    return ExponentRecord(
        **{name: getattr(row, name) for name in _SAME_IN_EXPONENT},
        value=join_float(row.value, row.value_kind),
        low=join_float(row.low, row.low_kind),
        high=join_float(row.high, row.high_kind),
        flags=tuple(from_json(row.flags_json)),
        details=from_json(row.details_json),
    )


def _decision(row: Row[Any]) -> DecisionRecord:
    numbers = from_json(row.numbers_json)
    return DecisionRecord(row.step, row.rule, row.pruned, row.reason, numbers)


def _piece(row: Row[Any]) -> Piece:
    data = bytes(row.data or b"")  # SQLite cuts an empty text out of a blob
    return Piece(row.name, row.part, row.n_values, row.dtype, row.shape_json, row.codec, data)


_SAME_IN_RUN = sorted(
    {each.name for each in fields(RunRecord)} & set(table_of(Run).columns.keys()) - {"state"}
)
_SAME_IN_EXPONENT = sorted(
    {each.name for each in fields(ExponentRecord)}
    & set(table_of(Exponent).columns.keys()) - {"value", "low", "high"}
)
