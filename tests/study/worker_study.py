"""A small study for several processes, what must be true of it afterwards, and its workers."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.errors import UserError
from lyapopt.search._optuna import logical_number
from lyapopt.store import RUN_ATTRIBUTE, TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.worker_table import WorkerSettings

TEXT = """
version: 1
study_name: shared
storage: "{url}"
seed: 1
task: {{name: xor, hidden: 3, steps: 20}}
search_space:
  lr: {{type: float, low: 0.01, high: 3.0, log: true}}
  init_seed: {{type: seed}}
probe: {{horizon: 6, neighbours: 1}}
sampler: {{name: random}}
pruner: {{name: median, n_startup_trials: 5}}
n_trials: {n_trials}
trials_at_once: 2
"""
QUICK = WorkerSettings(heartbeat=1.0, grace=5.0, poll=0.05, retry_seconds=30.0)
PRELOADED = ["lyapopt.study.run.runner", "torch._dynamo", "sklearn", "alembic", "worker_study"]


def write(folder: Path, url: str, n_trials: int = 12) -> Path:
    path = folder / "shared.yaml"
    path.write_text(TEXT.format(url=url, n_trials=n_trials))
    return path


def work(path: Path, settings: WorkerSettings = QUICK) -> None:
    """What a worker process does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_study(load_study_file(path), settings=settings)


def start(path: Path, settings: WorkerSettings = QUICK) -> BaseProcess:
    """A worker in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=(path, settings))
    process.start()
    return process


def trials(path: Path) -> list[FrozenTrial]:
    file = load_study_file(path)
    storage = open_storage(file.storage, create=False)
    return optuna.load_study(study_name=file.study_name, storage=storage).trials


def wait_for_running(path: Path) -> None:
    """Until a trial of the study is running."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            if any(trial.state == TrialState.RUNNING for trial in trials(path)):
                return
        except (KeyError, UserError):  # the study, or the file, is not there yet
            time.sleep(0.02)
    raise AssertionError("no trial began")


def check(path: Path, n_trials: int) -> None:
    """Nothing lost, nothing twice, nothing in pieces."""
    everything = trials(path)
    ended = [t for t in everything if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    numbers = Counter(logical_number(trial) for trial in ended)
    assert sorted(numbers) == list(range(n_trials))
    assert set(numbers.values()) == {1}, "trials that count twice"
    assert not [t for t in everything if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    with TrajectoryStore(load_study_file(path).storage, create=False) as store:
        runs = [trial.user_attrs[RUN_ATTRIBUTE] for trial in ended]
        assert len(set(runs)) == n_trials
        for trial, run in zip(ended, runs, strict=True):
            record = store.read(run)  # which raises if a chunk is missing or broken
            assert record.state == trial.state.name.lower()
            assert record.trial_number == trial.number
            if trial.state == TrialState.COMPLETE:
                assert record.values == tuple(trial.values)
                assert [len(s.values) for s in record.trajectories if s.name == "loss"] == [20]
        stored = store.runs("shared")
        assert sorted(stored[stored["state"].isin(["complete", "pruned"])]["run"]) == sorted(runs)
        assert store.gc(dry_run=True, grace=0.0) == 0
