"""Several processes on one study, on every database."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import worker_study as shared
from optuna.trial import TrialState

from lyapopt.errors import UserError
from lyapopt.search._optuna import get_study_attribute
from lyapopt.search.attributes import INTERRUPTED, VERDICT
from lyapopt.store import RUN_ATTRIBUTE, TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.leases import Leases
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.worker_table import WORKERS_ATTRIBUTE, WorkerSettings
from lyapopt.study.run.workers import run_workers


def _join(workers: list[Any]) -> list[int | None]:
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def test_several_workers_that_start_at_once_share_the_trials(
    database_url: str, tmp_path: Path
) -> None:
    path = shared.write(tmp_path, database_url)
    assert _join([shared.start(path) for _ in range(3)]) == [0, 0, 0]
    shared.check(path, 12)
    assert len(shared.trials(path)) == 12
    study = optuna.load_study(study_name="shared", storage=database_url)
    table = get_study_attribute(study, WORKERS_ATTRIBUTE)
    assert table["workers"] == {}
    assert table["open"] == []


def test_a_killed_workers_trials_are_marked_and_run_again_at_once(
    database_url: str, tmp_path: Path
) -> None:
    path = shared.write(tmp_path, database_url)
    first = shared.start(path)
    shared.wait_for_running(path)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)  # in the middle of whatever it does
    first.join()
    left = [trial for trial in shared.trials(path) if trial.state == TrialState.RUNNING]
    patient = WorkerSettings(heartbeat=30.0, grace=600.0, poll=0.05)
    notes: list[str] = []
    started = time.monotonic()
    run_study(load_study_file(path), listener=_Notes(notes), settings=patient)
    assert time.monotonic() - started < patient.grace / 2  # it did not wait for the grace
    shared.check(path, 12)
    assert any("died" in note for note in notes) == bool(left)


class _Notes(StudyListener):
    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_run_workers_shares_a_study_among_processes(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db")
    finished: list[int] = []

    class Finished(StudyListener):
        def finished(self, trial: optuna.trial.FrozenTrial, reason: str | None) -> None:
            finished.append(trial.number)

    result = run_workers(load_study_file(path), 2, Finished(), settings=shared.QUICK)
    assert result.new == 12
    assert sorted(finished) == list(range(12))
    assert "all 12 trials are done" in result.reason
    shared.check(path, 12)
    again = run_workers(load_study_file(path), 2, settings=shared.QUICK)
    assert again.new == 0
    more = run_workers(load_study_file(path), 2, extra=3, settings=shared.QUICK)
    assert more.new == 3
    shared.check(path, 15)


def test_an_error_of_every_worker_is_the_error_of_the_run(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db")
    file = load_study_file(path, ["callbacks=['no_such_module:f']"])
    with pytest.raises(UserError, match="no_such_module"):
        run_workers(file, 2, settings=shared.QUICK)


def test_the_budget_holds_across_workers(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=500)
    overrides = ["budget.gradient_evaluations=200", "pruner=null", "trials_at_once=1"]
    result = run_workers(load_study_file(path, overrides), 3, settings=shared.QUICK)
    costs = [trial.user_attrs["gradient_evaluations"] for trial in shared.trials(path)]
    assert sum(costs) == pytest.approx(result.ledger.gradient_evaluations)
    assert 200 <= sum(costs) < 200 + 2 * max(costs)


@pytest.mark.slow
def test_the_time_limit_counts_from_the_first_worker_that_is_present(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=100000)
    file = load_study_file(path, ["timeout=3"])
    result = run_workers(file, 2, settings=shared.QUICK)
    assert "time" in result.reason
    late = run_study(file, settings=shared.QUICK)  # nobody is there: the clock begins anew
    assert late.new > 0


def test_a_worker_that_was_taken_for_dead_throws_its_trials_away(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=4)
    file = load_study_file(path)

    class Sleeper(StudyListener):
        """Is held up while it trains its first group, and others take it for dead."""

        slept = False
        notes: list[str]

        def __init__(self) -> None:
            self.notes = []

        def note(self, text: str) -> None:
            self.notes.append(text)

        def group_started(self, numbers: list[int]) -> None:
            if self.slept:
                return
            self.slept = True
            study = optuna.load_study(study_name="shared", storage=file.storage)
            stored = get_study_attribute(study, WORKERS_ATTRIBUTE)
            [name] = stored["workers"]
            elsewhere = "far" + name  # as if it ran on another machine, and had been silent
            stored["workers"] = {elsewhere: {**stored["workers"][name], "beat": 0.0}}
            study._storage.set_study_system_attr(study._study_id, WORKERS_ATTRIBUTE, stored)
            worker = shared.start(path)
            worker.join(120)
            assert worker.exitcode == 0

    sleeper = Sleeper()
    result = run_study(file, sleeper, settings=shared.QUICK)
    assert result.new == 0
    assert any("taken for dead" in note for note in sleeper.notes)
    shared.check(path, 4)


def test_rows_of_a_trial_that_others_ended_while_it_was_told_do_not_count(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=4)
    file = load_study_file(path)
    tell, taken = Leases.tell, []

    def end_first(self: Leases, trial: optuna.Trial, *arguments: Any) -> None:
        if not taken:  # it is told, its rows are about to be written
            taken.append(trial.user_attrs[RUN_ATTRIBUTE])
            plain = open_storage(file.storage, create=False)
            plain.set_trial_user_attr(trial._trial_id, VERDICT, INTERRUPTED)
            plain.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            trial.study._storage.refresh(trial.study._study_id)
        tell(self, trial, *arguments)

    monkeypatch.setattr(Leases, "tell", end_first)
    assert run_study(file, settings=shared.QUICK).new == 4
    shared.check(path, 4)
    with TrajectoryStore(file.storage, create=False) as store:
        assert store.read(taken[0]).state == "interrupted"


def test_a_worker_that_lives_keeps_its_trials_though_its_heart_stands_still(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=6)
    silent = WorkerSettings(heartbeat=60.0, grace=1.0, poll=0.05)
    notes: list[str] = []

    class Slow(_Notes):
        other: Any = None

        def group_started(self, numbers: list[int]) -> None:
            if self.other is None:
                self.other = shared.start(path, silent)
                time.sleep(3.0)  # on a machine that is too busy even for the heartbeat

    slow = Slow(notes)
    run_study(load_study_file(path), slow, settings=silent)
    assert _join([slow.other]) == [0]
    assert not any("taken for dead" in note for note in notes)
    assert {trial.state.name for trial in shared.trials(path)} <= {"COMPLETE", "PRUNED"}
    shared.check(path, 6)


def test_a_trial_of_another_program_whose_heartbeat_stopped_is_failed(memory: Path) -> None:
    url = f"sqlite:///{memory}/study.db"
    path = shared.write(memory, url, n_trials=2)
    run_study(load_study_file(path), settings=shared.QUICK)
    storage = optuna.storages.RDBStorage(url, heartbeat_interval=1, grace_period=1)
    foreign = optuna.load_study(study_name="shared", storage=storage).ask()
    storage.record_heartbeat(foreign._trial_id)
    time.sleep(2.5)
    settings = WorkerSettings(heartbeat=1.0, grace=1.0, poll=0.05)
    run_study(load_study_file(path), extra=2, settings=settings)
    assert shared.trials(path)[foreign.number].state == TrialState.FAIL


def test_running_trials_have_optunas_heartbeat(database_url: str, tmp_path: Path) -> None:
    path = shared.write(tmp_path, database_url, n_trials=2)
    file = load_study_file(path)
    beats: list[int] = []

    class Slow(StudyListener):
        def group_started(self, numbers: list[int]) -> None:
            time.sleep(2.5)
            engine = optuna.storages.RDBStorage(database_url).engine
            with engine.connect() as connection:
                query = "SELECT count(*) FROM trial_heartbeats"
                beats.append(connection.exec_driver_sql(query).scalar() or 0)

    run_study(file, Slow(), settings=shared.QUICK)
    assert beats == [2]


@pytest.mark.slow
def test_a_study_that_others_stop_stops_every_worker(memory: Path) -> None:
    (memory / "stopper.py").write_text(
        "def stop(study, trial):\n    if trial.number >= 4:\n        study.stop()\n"
    )
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=1000)
    file = load_study_file(path, ["callbacks=['stopper:stop']"])
    result = run_workers(file, 2, settings=shared.QUICK)
    assert "stop" in result.reason
    assert len(shared.trials(path)) < 40


@pytest.mark.slow
def test_workers_do_not_take_the_same_points_of_a_grid(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=100)
    text = path.read_text().replace("{name: random}", "grid")
    text = text.replace("{type: float, low: 0.01, high: 3.0, log: true}", "[0.1, 0.2, 0.3, 0.4]")
    text = text.replace("init_seed: {type: seed}", "activation: [relu, tanh]")
    path.write_text(text)
    run_workers(load_study_file(path), 2, settings=shared.QUICK)
    tried = [tuple(sorted(trial.params.items())) for trial in shared.trials(path)]
    assert len(tried) == len(set(tried)) == 8
