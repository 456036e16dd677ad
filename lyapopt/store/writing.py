"""Writing and deleting runs, each as part of one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select

from lyapopt.store.encoding import split_float, to_json, to_text
from lyapopt.store.models import CHILDREN, Base, Block, Decision, Exponent, Run, Trajectory
from lyapopt.store.packing import Row, pack
from lyapopt.store.records import DecisionRecord, ExponentRecord, RunRecord

_RUNS_AT_ONCE: Final = 200


def table_of(model: type[Base]) -> Table:
    """The table of a model, for statements that need no objects."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


def write_run(connection: Connection, record: RunRecord) -> None:
    """Write a run with all that belongs to it, in place of what is stored under its uuid.

    Args:
        connection: In the transaction to write in.
        record: The run.
    """
    # A DELETE of what is not there would lock the gap in MySQL's index, and two workers that
    # write at the same time would then wait for each other.
    if connection.scalar(select(Run.run).where(Run.run == record.run)) is not None:
        delete_runs(connection, [record.run])
    trajectories, blocks = pack(record.run, record.trajectories)
    rows: dict[type[Base], list[Row]] = {
        Run: [_header(record)],
        Exponent: [_exponent(record.run, i, each) for i, each in enumerate(record.exponents)],
        Decision: [_decision(record.run, i, each) for i, each in enumerate(record.decisions)],
        Trajectory: trajectories,
        Block: blocks,
    }
    for model, of_model in rows.items():
        if of_model:
            connection.execute(insert(table_of(model)), of_model)


def delete_runs(connection: Connection, runs: Sequence[str]) -> None:
    """Delete runs with all that belongs to them.

    Every table is named, since SQLite cascades only where it was asked to for the connection.

    Args:
        connection: In the transaction to delete in.
        runs: Their identifiers; unknown ones are passed over.
    """
    for first in range(0, len(runs), _RUNS_AT_ONCE):
        some = runs[first : first + _RUNS_AT_ONCE]
        for table in (*(table_of(model) for model in reversed(CHILDREN)), table_of(Run)):
            connection.execute(delete(table).where(table.c.run.in_(some)))


def _header(record: RunRecord) -> Row:
    return {
        "run": record.run,
        "study_name": record.study_name,
        "trial_number": int(record.trial_number),
        "logical_number": None if record.logical_number is None else int(record.logical_number),
        "state": record.state,
        "values_json": None if record.values is None else to_json(record.values),
        "verdict": record.verdict,
        "reason": None if record.reason is None else to_text(record.reason),
        "steps": int(record.steps),
        "gradient_evaluations": float(record.gradient_evaluations),
        "examples": int(record.examples),
        "seed": int(record.seed),
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "recorded_at": datetime.now(UTC),
        "versions_json": to_json(record.versions),
        "settings_json": to_json(record.settings),
    }


def _exponent(run: str, position: int, record: ExponentRecord) -> Row:
    row: dict[str, Any] = {
        "run": run,
        "position": position,
        "name": record.name,
        "level": _float(record.level),
        "estimand": record.estimand,
        "unit": record.unit,
        "per": record.per,
        "horizon": _int(record.horizon),
        "neighbours": _int(record.neighbours),
        "radius": _float(record.radius),
        "segment": _int(record.segment),
        "burn_in": int(record.burn_in),
        "distance": record.distance,
        "estimator": record.estimator,
        "flags_json": to_json(record.flags),
        "details_json": to_json(record.details),
    }
    for name in ("value", "low", "high"):
        row[name], row[f"{name}_kind"] = split_float(getattr(record, name))
    return row


def _decision(run: str, position: int, record: DecisionRecord) -> Row:
    return {
        "run": run,
        "position": position,
        "step": int(record.step),
        "rule": record.rule,
        "pruned": bool(record.pruned),
        "reason": to_text(record.reason),
        "numbers_json": to_json(record.numbers),
    }


def _int(value: int | None) -> int | None:
    return None if value is None else int(value)


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
