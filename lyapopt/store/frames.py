"""What is stored, as DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, Subquery, select

from lyapopt.store.completion import endings
from lyapopt.store.damage import decoding
from lyapopt.store.encoding import as_stored, from_row
from lyapopt.store.errors import DamagedDataError
from lyapopt.store.reading import Series, missing_positions
from lyapopt.store.records import Decision, ExponentRecord, RunRecord
from lyapopt.store.tables import DECISIONS, EXPONENTS, RUNS

_INT = "Int64"  # with missing values
_OBJECT = "object"
_TEXT = "str"
_TRIAL: Final = {"study_name": _TEXT, "trial_number": "int64", "run": _TEXT}

RUN_COLUMNS: Final[Mapping[str, str]] = _TRIAL | {
    "state": _TEXT,
    "trial_state": _TEXT,
    "logical_number": _INT,
    "value": "float64",
    "values": _OBJECT,
    "verdict": _TEXT,
    "reason": _TEXT,
    "steps": "int64",
    "gradient_evaluations": "float64",
    "examples": "int64",
    "seed": "int64",
    "started_at": "datetime64[us, UTC]",
    "finished_at": "datetime64[us, UTC]",
    "versions": _OBJECT,
    "settings": _OBJECT,
}
EXPONENT_COLUMNS: Final[Mapping[str, str]] = _TRIAL | {
    "verdict": _TEXT,
    "name": _TEXT,
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "level": "float64",
    "estimand": _TEXT,
    "unit": _TEXT,
    "per": _TEXT,
    "horizon": _INT,
    "neighbours": _INT,
    "radius": "float64",
    "segment": _INT,
    "burn_in": "int64",
    "distance": _TEXT,
    "estimator": _TEXT,
    "flags": _OBJECT,
    "details": _OBJECT,
}
DECISION_COLUMNS: Final[Mapping[str, str]] = _TRIAL | {
    "step": "int64",
    "rule": _TEXT,
    "pruned": "bool",
    "reason": _TEXT,
    "numbers": _OBJECT,
}


def _frame(columns: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    series = {
        name: pd.Series(list(column), dtype=dtype)
        for (name, dtype), column in zip(columns.items(), cells, strict=True)
    }
    return pd.DataFrame(series)


def _cells(
    rows: Iterable[Any], cells: Callable[[Any], Sequence[Any]], what: str, damage: list[str]
) -> Iterator[Sequence[Any]]:
    """The cells of each row of a trial; rows that cannot be read are said and left out."""
    for row in rows:
        try:
            with decoding(what):
                yield cells(row)
        except DamagedDataError as error:
            damage.append(f"trial {row.trial_number} of study {row.study_name!r}: {error}")


def _say_missing(rows: Sequence[Any], what: str, damage: list[str]) -> None:
    """Say which rows lack among those of each run, which are ordered by `position`."""
    for (name, number, _), of_run in groupby(rows, lambda row: tuple(row[:3])):
        missing = missing_positions(what, [row.position for row in of_run])
        damage += [f"trial {number} of study {name!r}: {text}" for text in missing]


def runs_frame(connection: Connection, trials: Subquery, damage: list[str]) -> pd.DataFrame:
    """One row for each of these trials that is stored; see `RUN_COLUMNS`."""
    trial = (trials.c.study_name, trials.c.trial_number, trials.c.run, trials.c.trial_state)
    header = [column for column in as_stored(RUNS) if column.name not in _TRIAL]
    rows = connection.execute(
        select(*trial, *header)
        .join_from(trials, RUNS, RUNS.c.run == trials.c.run)
        .order_by(trials.c.study_name, trials.c.trial_number, trials.c.run)
    ).all()
    ended = endings(connection, trials)

    def cells(row: Any) -> Sequence[Any]:
        run = from_row(RunRecord, RUNS, row)
        state, values = ended.get(run.run, (run.state, run.values))
        return (
            *(run.study_name, run.trial_number, run.run, state, row.trial_state),
            *(run.logical_number, values[0] if values else None, values),
            *(run.verdict, run.reason, run.steps, run.gradient_evaluations, run.examples),
            *(run.seed, run.started_at, run.finished_at, run.versions, run.settings),
        )

    return _frame(RUN_COLUMNS, _cells(rows, cells, "its header", damage))


def exponents_frame(connection: Connection, trials: Subquery, damage: list[str]) -> pd.DataFrame:
    """One row for each exponent of each of these trials; see `EXPONENT_COLUMNS`."""
    run, position = EXPONENTS.c.run, EXPONENTS.c.position
    trial = (trials.c.study_name, trials.c.trial_number, trials.c.run, RUNS.c.verdict)
    rows = connection.execute(
        select(*trial, *as_stored(EXPONENTS)[1:])
        .join_from(trials, RUNS, RUNS.c.run == trials.c.run)
        .join(EXPONENTS, run == RUNS.c.run)
        .order_by(trials.c.study_name, trials.c.trial_number, run, position)
    ).all()
    _say_missing(rows, "exponent", damage)
    fields = list(EXPONENT_COLUMNS)[len(_TRIAL) + 1 :]

    def cells(row: Any) -> Sequence[Any]:
        record = from_row(ExponentRecord, EXPONENTS, row)
        return (*row[:4], *(getattr(record, name) for name in fields))

    return _frame(EXPONENT_COLUMNS, _cells(rows, cells, "an exponent", damage))


def decisions_frame(connection: Connection, trials: Subquery, damage: list[str]) -> pd.DataFrame:
    """One row for each decision about each of these trials; see `DECISION_COLUMNS`."""
    trial = (trials.c.study_name, trials.c.trial_number, trials.c.run)
    rows = connection.execute(
        select(*trial, *as_stored(DECISIONS)[1:])
        .join_from(trials, DECISIONS, DECISIONS.c.run == trials.c.run)
        .order_by(*trial, DECISIONS.c.position)
    ).all()
    _say_missing(rows, "decision", damage)
    fields = list(DECISION_COLUMNS)[len(_TRIAL) :]

    def cells(row: Any) -> Sequence[Any]:
        record = from_row(Decision, DECISIONS, row)
        return (*row[:3], *(getattr(record, name) for name in fields))

    return _frame(DECISION_COLUMNS, _cells(rows, cells, "a decision", damage))


def trajectories_frame(series: Iterable[Series]) -> pd.DataFrame:
    """Series in the long form: a row for each number.

    Args:
        series: The series, any number of them and of any shapes.

    Returns:
        Columns `study_name`, `trial_number`, `name`, `step`, `component` and `value`. A series of
        shape `(T, ...)` has `T` rows for each component, counted in the order of the array;
        `component` is 0 where there is but one. `value` has the widest dtype of the series.
    """
    parts = list(series)
    sizes = np.array([each.record.values.size for each in parts], np.int64)
    return pd.DataFrame(
        {
            "study_name": _repeated([each.study_name for each in parts], sizes),
            "trial_number": np.repeat(
                np.array([each.trial_number for each in parts], np.int64), sizes
            ),
            "name": _repeated([each.record.name for each in parts], sizes),
            "step": _joined([_steps(each) for each in parts], np.int64),
            "component": _joined([_components(each) for each in parts], np.int64),
            "value": _joined([each.record.values.reshape(-1) for each in parts], np.float64),
        }
    )


def _repeated(labels: Sequence[str], sizes: NDArray[np.int64]) -> pd.Categorical[str]:
    """A column of labels that takes a byte or two a row instead of a text."""
    categories = list(dict.fromkeys(labels))
    code = {label: number for number, label in enumerate(categories)}
    codes = np.array([code[label] for label in labels], np.int32)
    return pd.Categorical.from_codes(np.repeat(codes, sizes), pd.Index(categories, dtype=_TEXT))


def _joined(arrays: Sequence[NDArray[np.generic]], empty: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate(arrays) if arrays else np.empty(0, empty)


def _width(values: NDArray[np.generic]) -> int:
    return values.size // len(values) if len(values) else 0


def _steps(series: Series) -> NDArray[np.int64]:
    values, steps = series.record.values, series.record.steps
    if steps is None:
        steps = np.arange(len(values), dtype=np.int64)
    return np.repeat(steps, _width(values))


def _components(series: Series) -> NDArray[np.int64]:
    values = series.record.values
    return np.tile(np.arange(_width(values), dtype=np.int64), len(values))
