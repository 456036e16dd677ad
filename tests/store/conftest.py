"""Stores, and runs to put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from lyapopt.store import (
    RUN_ATTRIBUTE,
    Decision,
    ExponentRecord,
    RunRecord,
    TrajectoryRecord,
    TrajectoryStore,
    new_run_id,
)


@pytest.fixture
def store(database_url: str) -> Iterator[TrajectoryStore]:
    """An empty store in a database of its own."""
    with TrajectoryStore(database_url) as opened:
        opened.create_tables()
        yield opened


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with Optuna's tables and ours; copying it is faster than creating them."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    TrajectoryStore(f"sqlite:///{path}").close()
    storage.scoped_session.remove()
    storage.engine.dispose()
    return path


@pytest.fixture
def optuna_storage(database_url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Optuna's storage in the same database, and its tables."""
    storage = optuna.storages.RDBStorage(database_url)
    yield storage
    storage.scoped_session.remove()
    storage.engine.dispose()


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    """Runs with some of everything; keywords replace fields."""

    def make(study_name: str = "study", trial_number: int = 0, **fields: Any) -> RunRecord:
        rng = np.random.default_rng(trial_number)
        started = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
        defaults: dict[str, Any] = {
            "state": "complete",
            "logical_number": trial_number,
            "values": (0.25 + trial_number,),
            "verdict": "edge",
            "reason": "trained to the end",
            "steps": 40,
            "gradient_evaluations": 360.5,
            "examples": 1440,
            "seed": 2**40 + trial_number,
            "started_at": started,
            "finished_at": started + timedelta(seconds=2.5),
            "versions": {"lyapopt": "0.1.0", "torch": "2.13.0"},
            "settings": {"probe": {"horizon": 20, "radius": 1e-6}, "record": {"every": 1}},
            "exponents": (
                ExponentRecord(
                    "neighbours@20",
                    0.0125,
                    low=0.01,
                    high=0.015,
                    level=0.95,
                    estimand="neighbours",
                    horizon=20,
                    neighbours=16,
                    radius=1e-6,
                    segment=1,
                    distance="weights",
                    estimator="neighbours",
                    flags=("unaligned",),
                    details={"unaligned_step": 3, "alignment": 0.5, "note": "short"},
                ),
            ),
            "trajectories": (
                TrajectoryRecord("loss", rng.random(40, np.float32)),
                TrajectoryRecord("validation_loss", rng.random(4), np.arange(0, 40, 10)),
                TrajectoryRecord("separation", rng.standard_normal((21, 16))),
            ),
            "decisions": (
                Decision(20, "LyapunovPruner", False, "below hot", {"exponent": 0.0125}),
            ),
        }
        return RunRecord(new_run_id(), study_name, trial_number, **(defaults | fields))

    return make


@pytest.fixture
def finish_trial(make_run: Callable[..., RunRecord]) -> Callable[..., RunRecord]:
    """Does what a runner does for one trial: attribute, our rows, then Optuna's `tell`."""

    def finish(study: optuna.Study, store: TrajectoryStore, **fields: Any) -> RunRecord:
        trial = study.ask()
        trial.suggest_float("lr", 1e-3, 1.0, log=True)
        run = make_run(study.study_name, trial.number, **fields)
        trial.set_user_attr(RUN_ATTRIBUTE, run.run)
        store.record(run)
        study.tell(trial, run.values)
        return run

    return finish
