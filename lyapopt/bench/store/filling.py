"""Fills a database with a study of many trials, as many as a long search leaves behind."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import optuna
import sqlalchemy
from numpy.typing import NDArray
from sqlalchemy import Connection, MetaData, Table

from lyapopt.store import (
    RUN_ATTRIBUTE,
    ExponentRecord,
    RunRecord,
    TrajectoryRecord,
    new_run_id,
)

STEPS: Final = 600
TRAJECTORIES: Final = 17
_TABLES: Final = ("trials", "trial_params", "trial_values", "trial_user_attributes")


def loss_curve(rng: np.random.Generator) -> NDArray[np.float32]:
    """A loss curve with minibatch noise, `(STEPS,)`."""
    decay = np.exp(-np.arange(STEPS) / rng.uniform(50, 200))
    curve = 0.25 + decay * (1 + 0.1 * rng.standard_normal(STEPS))
    return curve.astype(np.float32)


def run_of(study_name: str, number: int, rng: np.random.Generator) -> RunRecord:
    """A run of 17 trajectories over 600 steps, each a series of its own, float32."""
    names = ["loss", *(f"loss_{i}" for i in range(1, TRAJECTORIES))]
    growth = ExponentRecord("neighbours@20", 0.01, low=0.0, high=0.02, level=0.95, horizon=20)
    return RunRecord(
        new_run_id(),
        study_name,
        number,
        "complete",
        logical_number=number,
        values=(float(rng.random()),),
        verdict="edge",
        steps=STEPS,
        gradient_evaluations=STEPS + 20.0 * (TRAJECTORIES - 1),
        exponents=(growth,),
        trajectories=tuple(TrajectoryRecord(name, loss_curve(rng)) for name in names),
    )


def add_trials(engine: sqlalchemy.Engine, study: optuna.Study, runs: list[str], seed: int) -> None:
    """Add finished trials that name these runs, as Optuna writes them, in a few statements.

    Args:
        engine: Engine of the database.
        study: An empty study in it.
        runs: Ids of runs, one for each trial.
        seed: What the made-up values follow from.
    """
    with engine.begin() as connection:
        metadata = MetaData()
        metadata.reflect(connection, only=[*_TABLES, "studies"])
        tables = metadata.tables
        studies = tables["studies"]
        where = studies.c.study_name == study.study_name
        study_id = connection.scalar(sqlalchemy.select(studies.c.study_id).where(where))
        first = connection.scalar(sqlalchemy.func.max(tables["trials"].c.trial_id).select()) or 0
        rows = _rows(study_id, first + 1, runs, np.random.default_rng(seed))
        for name in _TABLES:
            _insert(connection, tables[name], rows[name])


def _rows(
    study_id: Any, first: int, runs: list[str], rng: np.random.Generator
) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _TABLES}
    began = datetime(2026, 1, 1)
    lr = optuna.distributions.distribution_to_json(
        optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)
    )
    for number, run in enumerate(runs):
        trial_id = first + number
        pruned = rng.random() < 0.3
        rows["trials"].append(
            {
                "trial_id": trial_id,
                "number": number,
                "study_id": study_id,
                "state": "PRUNED" if pruned else "COMPLETE",
                "datetime_start": began + timedelta(seconds=number),
                "datetime_complete": began + timedelta(seconds=number + 1),
            }
        )
        for name in ("lr", "momentum", "weight_decay"):
            value = float(10 ** rng.uniform(-4, 0))
            row = {"trial_id": trial_id, "param_name": name, "param_value": value}
            rows["trial_params"].append({**row, "distribution_json": lr})
        value_row = {"trial_id": trial_id, "objective": 0, "value": float(rng.random())}
        rows["trial_values"].append({**value_row, "value_type": "FINITE"})
        attributes = {
            RUN_ATTRIBUTE: f'"{run}"',
            "exponent": "0.0123",
            "exponent_low": "0.01",
            "exponent_high": "0.02",
            "verdict": '"edge"',
            "gradient_evaluations": "920.0",
        }
        for key, text in attributes.items():
            row = {"trial_id": trial_id, "key": key, "value_json": text}
            rows["trial_user_attributes"].append(row)
    return rows


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for first in range(0, len(rows), 5000):
        connection.execute(sqlalchemy.insert(table), rows[first : first + 5000])
