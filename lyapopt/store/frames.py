"""What is stored, as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection, Subquery, select

from lyapopt.store.encoding import from_json, from_row
from lyapopt.store.reading import Series
from lyapopt.store.records import ExponentRecord
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


def runs_frame(connection: Connection, trials: Subquery) -> pd.DataFrame:
    """One row for each of these trials that is stored; see `RUN_COLUMNS`."""
    rows = connection.execute(
        select(trials.c.study_name, trials.c.trial_number, trials.c.trial_state, RUNS)
        .join_from(trials, RUNS, RUNS.c.run == trials.c.run)
        .order_by(trials.c.study_name, trials.c.trial_number, trials.c.run)
    )

    def cells(row: Any) -> Sequence[Any]:
        values = None if row.values_json is None else tuple(from_json(row.values_json))
        return (
            *(row[0], row[1], row.run, row.state, row.trial_state, row.logical_number),
            *(values[0] if values else None, values, row.verdict, row.reason),
            *(row.steps, row.gradient_evaluations, row.examples, row.seed),
            *(row.started_at, row.finished_at),
            *(from_json(row.versions_json), from_json(row.settings_json)),
        )

    return _frame(RUN_COLUMNS, map(cells, rows))


def exponents_frame(connection: Connection, trials: Subquery) -> pd.DataFrame:
    """One row for each exponent of each of these trials; see `EXPONENT_COLUMNS`."""
    run, position = EXPONENTS.c.run, EXPONENTS.c.position
    rows = connection.execute(
        select(trials.c.study_name, trials.c.trial_number, RUNS.c.verdict, EXPONENTS)
        .join_from(trials, RUNS, RUNS.c.run == trials.c.run)
        .join(EXPONENTS, run == RUNS.c.run)
        .order_by(trials.c.study_name, trials.c.trial_number, run, position)
    )
    fields = list(EXPONENT_COLUMNS)[len(_TRIAL) + 1 :]

    def cells(row: Any) -> Sequence[Any]:
        record = from_row(ExponentRecord, EXPONENTS, row)
        return (*row[:2], row.run, row.verdict, *(getattr(record, name) for name in fields))

    return _frame(EXPONENT_COLUMNS, map(cells, rows))


def decisions_frame(connection: Connection, trials: Subquery) -> pd.DataFrame:
    """One row for each decision about each of these trials; see `DECISION_COLUMNS`."""
    decision = DECISIONS.c
    rows = connection.execute(
        select(
            *(trials.c.study_name, trials.c.trial_number, trials.c.run),
            *(decision.step, decision.rule, decision.pruned, decision.reason),
            decision.numbers_json,
        )
        .join_from(trials, DECISIONS, decision.run == trials.c.run)
        .order_by(trials.c.study_name, trials.c.trial_number, trials.c.run, decision.position)
    )
    return _frame(DECISION_COLUMNS, ((*row[:-1], from_json(row[-1])) for row in rows))


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
