"""Workers that are killed at random moments, again and again: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import worker_study as shared

from lyapopt.study.file import load_study_file
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.runner import run_study

_WORKERS = 4
_MANY = 100_000


def _kill(workers: list[BaseProcess], which: int) -> None:
    worker = workers.pop(which)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def _killed_again_and_again(path: Path, kills: int, longest: float) -> int:
    """Keep some workers at work and kill them, one after the other; how many trials have begun."""
    choose = random.Random(7)
    workers = [shared.start(path)]
    shared.wait_for_running(path)  # from here on, a worker is at work within a moment
    for _ in range(kills):
        while len(workers) < _WORKERS:
            workers.append(shared.start(path))
        time.sleep(choose.uniform(0.0, longest))
        assert all(worker.exitcode is None for worker in workers), "a worker ended by itself"
        _kill(workers, choose.randrange(len(workers)))
    while workers:
        _kill(workers, 0)
    return Ledger.read(shared.trials(path)).next_number


@pytest.mark.parametrize(
    ("kills", "longest"),
    [
        pytest.param(8, 0.8, id="short"),
        pytest.param(100, 0.8, id="long", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_killed_workers_lose_nothing_and_count_nothing_twice(
    backend: str, kills: int, longest: float, memory: Path, request: pytest.FixtureRequest
) -> None:
    if backend == "sqlite":
        url = f"sqlite:///{memory}/study.db"
    else:
        url = request.getfixturevalue("postgresql_url")
    path = shared.write(memory, url, n_trials=_MANY)
    # So many kills may hit one trial again and again, which is no fault of its own.
    path.write_text(path.read_text() + "on_failure: {max_deaths: null}\n")
    begun = _killed_again_and_again(path, kills, longest)
    assert begun > 0
    ended = {
        trial.number: (trial.state, trial.values, trial.params)
        for trial in shared.trials(path)
        if trial.state.name in ("COMPLETE", "PRUNED")
    }
    run_study(load_study_file(path), total=begun, settings=shared.QUICK)
    shared.check(path, begun)
    after = {t.number: (t.state, t.values, t.params) for t in shared.trials(path)}
    assert {number: after[number] for number in ended} == ended
