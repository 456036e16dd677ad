"""Reading runs back, each as the record that was written, and series of many trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import (
    Connection,
    Row,
    Select,
    String,
    Subquery,
    Table,
    and_,
    cast,
    func,
    select,
)
from sqlalchemy.types import NullType

from lyapopt.store.damage import decoding, in_words
from lyapopt.store.encoding import as_stored, from_row
from lyapopt.store.errors import DamagedDataError
from lyapopt.store.packing import Piece, by_series, join_parts
from lyapopt.store.records import Decision, ExponentRecord, RunRecord, TrajectoryRecord
from lyapopt.store.tables import BLOCKS, CHILDREN, DECISIONS, EXPONENTS, RUNS, TRAJECTORIES

_R = TypeVar("_R", ExponentRecord, Decision)
_T = TRAJECTORIES.c
# The bytes of one piece, cut out by the database: blocks hold the pieces of other series as well.
_PIECE_BYTES: Final = func.substr(
    BLOCKS.c.data, _T.byte_offset + 1, _T.byte_length, type_=NullType()
)
_PIECE: Final = (
    *(_T.name, _T.part, _T.n_values, _T.dtype, _T.shape_json, _T.codec),
    BLOCKS.c.block.label("found_block"),
    _PIECE_BYTES.label("data"),
)
# Pieces are joined to their blocks from outside, so that those without one are seen.
_SAME_BLOCK: Final = and_(BLOCKS.c.run == _T.run, BLOCKS.c.block == _T.block)
_ORDER: Final = (_T.position, _T.part, _T.chunk)


class Series(NamedTuple):
    """One series of one trial."""

    study_name: str
    trial_number: int
    record: TrajectoryRecord


def read_run(connection: Connection, run: str) -> RunRecord | None:
    """One run with all that belongs to it, as it was recorded; None if it is not stored.

    Raises:
        DamagedDataError: If anything of it is missing or cannot be read.
    """
    record, damage = examine_run(connection, run)
    if damage:
        raise DamagedDataError(f"run {run}: {in_words(damage)}")
    return record


def examine_run(connection: Connection, run: str) -> tuple[RunRecord | None, list[str]]:
    """One run as far as it can be read, and what of it is missing or cannot be read.

    Returns:
        The run, None if its header is missing or damaged; and a text for each thing that is wrong
        with what belongs to it. An unknown run has neither.
    """
    damage: list[str] = []
    exponents = _records(connection, ExponentRecord, EXPONENTS, run, damage)
    decisions = _records(connection, Decision, DECISIONS, run, damage)
    trajectories = _trajectories(connection, run, damage)
    header = connection.execute(select(*as_stored(RUNS)).where(RUNS.c.run == run)).one_or_none()
    if header is None:
        return None, [*damage, *_children_without_header(connection, run)]
    record = None
    try:
        with decoding("its header"):
            record = from_row(
                RunRecord,
                RUNS,
                header,
                exponents=tuple(exponents),
                trajectories=tuple(trajectories),
                decisions=tuple(decisions),
            )
    except DamagedDataError as error:
        damage.append(str(error))
    return record, damage


def _records(
    connection: Connection, record: type[_R], table: Table, run: str, damage: list[str]
) -> list[_R]:
    """The rows of a run in a table; what is missing or cannot be read is added to `damage`."""
    what = table.name.removeprefix("lyapopt_")
    rows = connection.execute(
        select(*as_stored(table)).where(table.c.run == run).order_by(table.c.position)
    ).all()
    damage += missing_positions(what, [row.position for row in rows])
    found = []
    for row in rows:
        try:
            with decoding(f"{what} {row.position}"):
                found.append(from_row(record, table, row))
        except DamagedDataError as error:
            damage.append(str(error))
    return found


def missing_positions(what: str, positions: Sequence[Any]) -> list[str]:
    """A text for each row that lacks among those of one run: they are numbered from 0 on."""
    whole = [position for position in positions if isinstance(position, int)]
    absent = sorted(set(range(max(whole, default=-1) + 1)) - set(whole))
    return [f"{what} {position} is missing" for position in absent]


def _trajectories(connection: Connection, run: str, damage: list[str]) -> list[TrajectoryRecord]:
    pieces: Select[Any] = (
        select(_T.position, *_PIECE)
        .outerjoin_from(TRAJECTORIES, BLOCKS, _SAME_BLOCK)
        .where(_T.run == run)
    )
    rows = connection.execute(pieces.order_by(*_ORDER)).all()
    found = []
    for name, parts in by_series(map(_piece, rows)).items():
        try:
            found.append(join_parts(name, parts))
        except DamagedDataError as error:
            damage.append(str(error))
    damage += missing_positions("series", [row.position for row in rows])
    damage += [text for _, text in missing_pieces(connection, [run])]
    return found


def missing_pieces(
    connection: Connection, runs: Sequence[str] | Select[Any]
) -> list[tuple[str, str]]:
    """Runs of which rows of `TRAJECTORIES` are missing, each with a text.

    Pieces fill their blocks without gaps, so that what no piece claims is of one that is gone:
    even of a whole series, or of the steps of one, which nothing else tells.

    Args:
        connection: Connection to the database.
        runs: Identifiers of the runs, or a query for them.
    """
    claimed = select(_T.run, _T.block, func.sum(_T.byte_length)).where(_T.run.in_(runs))
    lengths = {
        (run, block): int(length)
        for run, block, length in connection.execute(claimed.group_by(_T.run, _T.block))
    }
    stored = select(BLOCKS.c.run, BLOCKS.c.block, func.length(BLOCKS.c.data))
    return [
        (run, f"pieces of series in block {block} are missing")
        for run, block, length in connection.execute(stored.where(BLOCKS.c.run.in_(runs)))
        if lengths.get((run, block), 0) < (length or 0)
    ]


def trials_with_missing_pieces(connection: Connection, trials: Subquery) -> list[str]:
    """A text for each of these trials of which pieces of series are missing."""
    missing = dict(missing_pieces(connection, select(trials.c.run)))
    if not missing:
        return []
    rows = connection.execute(select(trials.c.study_name, trials.c.trial_number, trials.c.run))
    return [
        f"trial {number} of study {name!r}: {missing[run]}"
        for name, number, run in rows
        if run in missing
    ]


def trials_without_run(connection: Connection, trials: Subquery) -> list[str]:
    """A text for the studies with trials that have ended and of which nothing is stored."""
    ended = cast(trials.c.trial_state, String(16)).in_(("COMPLETE", "PRUNED"))
    is_stored = select(RUNS.c.run).where(RUNS.c.run == trials.c.run).exists()
    rows = connection.execute(
        select(trials.c.study_name, trials.c.trial_number).where(ended, ~is_stored)
    )
    numbers: dict[str, list[int]] = {}
    for name, number in rows:
        numbers.setdefault(name, []).append(number)
    return [f"study {name!r}: {nothing_stored(some)}" for name, some in numbers.items()]


def nothing_stored(trials: Sequence[int]) -> str:
    """What is said of finished trials without a run."""
    return f"nothing is stored of {len(trials)} finished trials ({numbered(trials)})"


def numbered(trials: Sequence[int]) -> str:
    """The first few of these numbers of trials."""
    return ", ".join(map(str, trials[:5])) + (", ..." if len(trials) > 5 else "")


def _children_without_header(connection: Connection, run: str) -> list[str]:
    return [
        f"rows of {table.name} without a header"
        for table in CHILDREN
        if connection.scalar(select(table.c.run).where(table.c.run == run).limit(1)) is not None
    ]


def runs_without_header(connection: Connection) -> list[str]:
    """Runs of which rows are stored, but not that of `RUNS`."""
    found: set[str] = set()
    for table in CHILDREN:
        found |= set(
            connection.scalars(
                select(table.c.run).distinct().where(table.c.run.not_in(select(RUNS.c.run)))
            )
        )
    return sorted(found)


def read_series(
    connection: Connection,
    trials: Subquery,
    names: Sequence[str] | None,
    damage: list[str] | None = None,
) -> Iterator[Series]:
    """The series of these trials, one after the other.

    Args:
        connection: Connection to the database.
        trials: With columns `study_name`, `trial_number` and `run`.
        names: Names of the series to read; None for all.
        damage: What cannot be read is left out, and said in a text that is added here.

    Yields:
        The series, ordered by study, trial and position in the run.

    Raises:
        DamagedDataError: If a series cannot be read, and `damage` is None.
    """
    trial = (trials.c.study_name, trials.c.trial_number, trials.c.run)
    pieces: Select[Any] = (
        select(*trial, _T.position, *_PIECE)
        .join_from(trials, TRAJECTORIES, _T.run == trials.c.run)
        .outerjoin(BLOCKS, _SAME_BLOCK)
        .order_by(*trial, *_ORDER)
    )
    if names is not None:
        pieces = pieces.where(_T.name.in_(names))
    rows = connection.execute(pieces)
    for (study_name, trial_number, _, _), of_series in groupby(rows, lambda row: tuple(row[:4])):
        for name, parts in by_series(map(_piece, of_series)).items():
            try:
                record = join_parts(name, parts)
            except DamagedDataError as error:
                text = f"trial {trial_number} of study {study_name!r}: {error}"
                if damage is None:
                    raise DamagedDataError(text) from error
                damage.append(text)
            else:
                yield Series(study_name, trial_number, record)


def names_of_series(connection: Connection, run: str) -> list[str]:
    """Names of the series of a run, in their order."""
    rows = connection.execute(
        select(_T.name, _T.position).where(_T.run == run).distinct().order_by(_T.position)
    )
    return [row.name for row in rows]


def _piece(row: Row[Any]) -> Piece:
    data = None if row.found_block is None else (row.data or b"")
    return Piece(row.name, row.part, row.n_values, row.dtype, row.shape_json, row.codec, data)
