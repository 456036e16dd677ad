"""Workers on a real Dask cluster of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import worker_study as shared

from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.cluster import run_on_dask
from lyapopt.study.run.events import StudyListener

distributed = pytest.importorskip("distributed", reason="pip install 'lyapopt[dask]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
    ) as running:
        yield running


def test_a_study_runs_on_the_workers_of_a_cluster(cluster: Any, memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db")
    finished: list[int] = []

    class Finished(StudyListener):
        def finished(self, trial: optuna.trial.FrozenTrial, reason: str | None) -> None:
            finished.append(trial.number)

    file = load_study_file(path)
    result = run_on_dask(file, cluster.scheduler_address, Finished(), settings=shared.QUICK)
    assert result.new == 12
    assert sorted(finished) == list(range(12))
    shared.check(path, 12)
    again = run_on_dask(file, cluster.scheduler_address, extra=2, settings=shared.QUICK)
    assert again.new == 2
    shared.check(path, 14)


def test_an_error_of_every_worker_is_shown(cluster: Any, memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db")
    file = load_study_file(path, ["callbacks=['no_such_module:f']"])
    with pytest.raises(UserError, match="no_such_module"):
        run_on_dask(file, cluster.scheduler_address, settings=shared.QUICK)


def test_a_cluster_that_does_not_answer_is_said(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db")
    with pytest.raises(UserError, match="no Dask scheduler answers"):
        run_on_dask(load_study_file(path), "tcp://127.0.0.1:1", settings=shared.QUICK)
