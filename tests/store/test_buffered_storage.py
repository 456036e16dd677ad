"""`BufferedStorage`: what is written when, what others see, and what is lost with a process."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt import BufferedStorage, UserError
from lyapopt.store.buffered.pending import Batch
from lyapopt.store.buffered.writing import create_trials, in_json
from lyapopt.store.engine import writing
from lyapopt.store.retry import RetryPolicy

FORK = multiprocessing.get_context("fork")
LONG = 3600.0  # seconds: no timer within a test


@pytest.fixture
def sqlite_url(memory: Path, empty_database: Path) -> str:
    """A file that costs no disk access."""
    shutil.copy(empty_database, memory / "study.db")
    return f"sqlite:///{memory}/study.db"


@pytest.fixture
def plain(sqlite_url: str) -> Iterator[RDBStorage]:
    """What another process has of the same database."""
    storage = RDBStorage(sqlite_url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture
def storage(sqlite_url: str, plain: RDBStorage) -> Iterator[BufferedStorage]:
    backend = RDBStorage(sqlite_url, engine_kwargs={"connect_args": {"timeout": 0.1}})
    buffered = BufferedStorage(backend, interval=LONG, retry=RetryPolicy(seconds=0))
    yield buffered
    buffered.flush()
    backend.remove_session()
    backend.engine.dispose()


@pytest.fixture
def study(storage: BufferedStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="study")


def seen_by(storage: RDBStorage, number: int = -1) -> FrozenTrial:
    """A trial of the study as the database has it."""
    return storage.get_all_trials(storage.get_study_id_from_name("study"))[number]


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def commits_of(storage: BufferedStorage) -> Iterator[list[object]]:
    """A list that gets longer with each transaction."""
    found: list[object] = []

    def count(connection: object) -> None:
        found.append(connection)

    engine = storage._backend.engine
    sqlalchemy.event.listen(engine, "commit", count)
    yield found
    sqlalchemy.event.remove(engine, "commit", count)


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 1)
    trial.set_user_attr("double", 2 * x)
    for step in range(5):
        trial.report(x**2 + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x**2


# When it is written


def test_reports_wait_until_the_trial_ends_or_flush_is_called(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    trial = study.ask()
    assert seen_by(plain).state == TrialState.RUNNING  # creation does not wait
    with commits_of(storage) as commits:
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("pair", (1, 2))
        trial.report(0.5, 1)
        assert commits == []
        assert (seen_by(plain).params, seen_by(plain).intermediate_values) == ({}, {})
        assert study.trials[0].user_attrs == {"pair": [1, 2]}  # and so it is in memory
        storage.flush()
        assert len(commits) == 1
        assert seen_by(plain).intermediate_values == {1: 0.5}
        assert seen_by(plain).params == trial.params
        storage.flush()
        assert len(commits) == 1  # nothing is left to write
        trial.report(0.25, 2)
        study.tell(trial, 1.5)
        assert len(commits) == 2
    assert seen_by(plain).state == TrialState.COMPLETE
    assert seen_by(plain).intermediate_values == {1: 0.5, 2: 0.25}


def test_a_timer_writes_while_there_is_something_and_then_ends(
    sqlite_url: str, plain: RDBStorage
) -> None:
    storage = BufferedStorage(sqlite_url, interval=0.05)
    study = optuna.create_study(storage=storage, study_name="study")
    trial = study.ask()
    timer = storage._buffer._timer
    trial.report(0.5, 1)
    del study, storage  # the timer keeps what is not written
    gc.collect()
    wait_until(lambda: seen_by(plain).intermediate_values == {1: 0.5})
    wait_until(lambda: timer._thread is None)
    trial.report(0.25, 2)  # and it begins again
    wait_until(lambda: seen_by(plain).intermediate_values == {1: 0.5, 2: 0.25})


def test_a_batch_ends_its_trials_in_one_transaction(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    trials = [study.ask() for _ in range(3)]
    with commits_of(storage) as commits:
        with storage.batch(), storage.batch():
            for trial in trials[:2]:
                trial.set_user_attr("told", True)
                study.tell(trial, trial.number)
            assert [each.state.name for each in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
            elsewhere = threading.Thread(target=storage.flush)  # such as the timer, or another tell
            elsewhere.start()
            elsewhere.join()
            assert seen_by(plain, 0).user_attrs == {"told": True}
            assert seen_by(plain, 0).state == seen_by(plain, 1).state == TrialState.RUNNING
        assert len(commits) == 2
    assert seen_by(plain, 0).state == seen_by(plain, 1).state == TrialState.COMPLETE

    def fail_after_one() -> None:
        with storage.batch():
            study.tell(trials[2], 2)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail_after_one()
    assert seen_by(plain, 2).state == TrialState.COMPLETE  # what was told before stays told


def test_a_batch_writes_what_belongs_to_its_trials_in_the_same_transaction(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    lost, kept = study.ask(), study.ask()
    rename = sqlalchemy.text("UPDATE studies SET study_name = :name")

    def fail(connection: sqlalchemy.Connection) -> None:
        connection.execute(rename, {"name": "never"})
        raise LookupError("mine")

    def tell_both(also: Callable[[sqlalchemy.Connection], object]) -> Batch:
        with storage.batch() as batch:
            batch.also(also)
            study.tell(lost, 1.0)
            study.tell(kept, 2.0)
        return batch

    with pytest.raises(LookupError, match="mine"):
        tell_both(fail)
    assert [trial.state.name for trial in plain.get_all_trials(study._study_id)] == ["RUNNING"] * 2
    assert [trial.state.name for trial in study.trials] == ["RUNNING"] * 2
    plain.set_trial_state_values(lost._trial_id, TrialState.FAIL)
    with commits_of(storage) as commits:
        batch = tell_both(lambda connection: connection.execute(rename, {"name": "renamed"}))
        assert len(commits) == 1
    assert batch.losses == {lost._trial_id}
    assert plain.get_study_name_from_id(study._study_id) == "renamed"
    assert [trial.value for trial in plain.get_all_trials(study._study_id)] == [None, 2.0]


def test_a_group_is_created_in_one_transaction(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    distribution = optuna.distributions.FloatDistribution(0, 1)
    waiting = optuna.trial.create_trial(
        state=TrialState.WAITING,
        params={"x": 0.25},
        distributions={"x": distribution},
        user_attrs={"pair": (1, 2)},
    )
    running = optuna.trial.create_trial(state=TrialState.RUNNING)
    running.datetime_start = datetime(2026, 1, 1, tzinfo=UTC)
    with commits_of(storage) as commits:
        ids = storage.create_new_trials(study._study_id, [None, waiting, running, *[None] * 1199])
        assert len(commits) == 1
    seen = plain.get_all_trials(study._study_id)
    assert [trial._trial_id for trial in seen] == ids
    assert [trial.number for trial in seen] == list(range(1202))
    assert (seen[1].params, seen[1].user_attrs) == ({"x": 0.25}, {"pair": [1, 2]})
    again = BufferedStorage(plain).get_all_trials(study._study_id)  # more than a statement takes
    assert again == seen == storage.get_all_trials(study._study_id)
    with pytest.raises(TypeError):
        storage.create_new_trials(
            study._study_id, [None, optuna.trial.create_trial(value=1, user_attrs={"a": {1}})]
        )
    with pytest.raises(KeyError):
        storage.create_new_trials(study._study_id + 1, [None])
    assert len(plain.get_all_trials(study._study_id)) == 1202


def test_closing_writes_what_is_left_or_says_what_is_lost(
    study: optuna.Study,
    storage: BufferedStorage,
    plain: RDBStorage,
    sqlite_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trial = study.ask()
    trial.report(0.5, 1)
    storage.close()
    assert seen_by(plain).intermediate_values == {1: 0.5}
    trial.report(0.25, 2)  # connections open again
    with locked(sqlite_url), caplog.at_level(logging.WARNING):
        storage.close()
    assert "reports of unfinished trials are lost" in caplog.text
    storage.flush()
    assert seen_by(plain).intermediate_values == {1: 0.5}


# Other processes


def test_a_trial_that_another_process_ended_takes_no_more_writes_and_others_do(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    lost, told, kept, reset = (study.ask() for _ in range(4))
    for trial in (lost, told, kept, reset):
        trial.report(0.5, 1)
    plain.set_trial_state_values(reset._trial_id, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(reset._trial_id, TrialState.WAITING)
    lost.report(0.5, 2)
    plain.set_trial_state_values(lost._trial_id, TrialState.FAIL)
    plain.set_trial_state_values(told._trial_id, TrialState.COMPLETE, [7.0])
    storage.flush()
    assert seen_by(plain, 0).intermediate_values == {1: 0.5}
    assert seen_by(plain, 2).intermediate_values == {1: 0.5}
    assert seen_by(plain, 3).intermediate_values == {}
    with pytest.raises(UpdateFinishedTrialError, match="Trial#0 has already finished"):
        lost.report(0.25, 3)
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[1].value == 7.0
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(told._trial_id, TrialState.COMPLETE, [1.0])
    plain.set_trial_state_values(kept._trial_id, TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):  # by the very call that ends it
        storage.set_trial_state_values(kept._trial_id, TrialState.COMPLETE, [1.0])
    assert study.trials[2].state == TrialState.FAIL


def test_a_trial_that_another_process_ended_is_no_error_at_the_end_of_a_batch(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    lost, kept = study.ask(), study.ask()
    with storage.batch():
        study.tell(lost, 1.0)
        study.tell(kept, 2.0)
        plain.set_trial_state_values(lost._trial_id, TrialState.FAIL)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert plain.get_all_trials(study._study_id) == study.trials


def test_what_others_create_enqueue_report_and_end_is_seen_at_every_new_trial(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    elsewhere = optuna.load_study(study_name="study", storage=plain)
    mine = study.ask()
    theirs = elsewhere.ask()
    theirs.report(0.5, 1)
    plain.set_trial_user_attr(mine._trial_id, "note", "of others")
    mine.report(1.0, 1)  # not written yet, and not lost by reading
    elsewhere.enqueue_trial({"x": 0.75})
    taken = study.ask()
    assert taken.suggest_float("x", 0, 1) == 0.75
    assert study.trials[1].intermediate_values == {1: 0.5}
    assert study.trials[0].user_attrs == {"note": "of others"}
    assert study.trials[0].intermediate_values == {1: 1.0}
    theirs.report(0.25, 2)
    storage.refresh(study._study_id)
    assert study.trials[1].intermediate_values == {1: 0.5, 2: 0.25}
    elsewhere.tell(theirs, 3.0)
    elsewhere.tell(mine.number, 4.0)  # asked here, told there
    study.ask()
    assert [trial.value for trial in study.get_trials(states=[TrialState.COMPLETE])] == [4.0, 3.0]
    assert study.best_value == 3.0


def test_trials_that_are_asked_for_together_look_once_at_what_others_wrote(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    elsewhere = optuna.load_study(study_name="study", storage=plain)
    elsewhere.enqueue_trial({"x": 0.25})
    with storage.asking():
        first = study.ask()
        elsewhere.enqueue_trial({"x": 0.75})
        second = study.ask()  # under a number that nobody knew of here
    assert [first.number, second.number] == [0, 2]
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "WAITING", "RUNNING"]
    third = study.ask()
    found = [trial.suggest_float("x", 0, 1) for trial in (first, third)]
    assert (third.number, found) == (1, [0.25, 0.75])


def test_what_others_report_is_seen_after_an_interval(sqlite_url: str, plain: RDBStorage) -> None:
    study = optuna.create_study(
        storage=BufferedStorage(sqlite_url, interval=0.05), study_name="study"
    )
    theirs = optuna.load_study(study_name="study", storage=plain).ask()
    theirs.report(0.5, 1)
    wait_until(lambda: [trial.intermediate_values for trial in study.trials] == [{1: 0.5}])
    theirs.report(0.25, 2)
    read = study._storage.get_trial
    wait_until(lambda: read(theirs._trial_id).intermediate_values == {1: 0.5, 2: 0.25})


def test_attributes_that_others_add_before_the_end_are_not_missed(
    study: optuna.Study, plain: RDBStorage
) -> None:
    trial = study.ask()
    plain.set_trial_user_attr(trial._trial_id, "note", "of others")
    study.tell(trial, 1.0)
    study.ask()
    assert study.trials[0].user_attrs == {"note": "of others"}


def test_a_study_that_was_deleted_elsewhere_is_not_there_whoever_has_its_ids(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    told = study.ask()
    study.tell(told, 1.0)
    trial = study.ask()
    trial.report(0.5, 1)
    plain.delete_study(study._study_id)
    with pytest.raises(KeyError):
        study.tell(trial, 1.0)
    with pytest.raises(KeyError):
        storage.get_all_trials(study._study_id)
    new = optuna.create_study(storage=plain, study_name="other")
    assert new._study_id == study._study_id  # SQLite gives ids again
    new.add_trial(optuna.trial.create_trial(value=5.0))
    assert [trial.value for trial in storage.get_all_trials(new._study_id)] == [5.0]
    plain.delete_study(new._study_id)
    new = optuna.create_study(storage=plain, study_name="other")
    new.enqueue_trial({"x": 1})
    assert optuna.load_study(study_name="other", storage=storage).ask().params == {}
    assert [trial.state.name for trial in plain.get_all_trials(new._study_id)] == ["RUNNING"]


def test_a_deleted_study_takes_what_was_not_written_with_it(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    trial = study.ask()
    trial.report(0.5, 1)
    optuna.delete_study(study_name="study", storage=storage)
    storage.flush()
    assert plain.get_all_studies() == []
    with pytest.raises(KeyError):
        trial.report(0.25, 2)


# Optuna's tools


def test_a_dead_trial_is_tried_again_as_the_callback_says(sqlite_url: str) -> None:
    callback = optuna.storages.RetryHeartbeatStaleTrialCallback(
        max_retry=1, inherit_intermediate_values=True
    )
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        backend = RDBStorage(
            sqlite_url,
            heartbeat_interval=1,
            grace_period=1,
            heartbeat_stale_trial_callback=callback,
        )
    study = optuna.create_study(storage=BufferedStorage(backend), study_name="study")

    def die() -> None:
        storage = study._storage
        trial = study.ask()
        storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        trial.suggest_float("x", 0, 1)
        trial.report(0.5, 1)
        storage.flush()  # type: ignore[attr-defined]
        trial.report(0.25, 2)
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    dead = study.trials[0]
    assert dead.intermediate_values == {1: 0.5}
    time.sleep(2.1)  # the grace period, in the whole seconds of SQLite's clock
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    failed, again = study.trials
    assert failed.state == TrialState.FAIL
    assert again.params == dead.params
    assert again.intermediate_values == {1: 0.5}
    assert again.system_attrs["failed_trial"] == 0
    backend.engine.dispose()


def test_a_study_is_copied_in_and_out_and_shown_by_the_dashboard(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    testing = pytest.importorskip("werkzeug.test")
    study.optimize(objective, n_trials=5)
    trial = study.ask()
    trial.report(0.5, 1)
    for source, target in ((storage, plain), (plain, storage)):
        optuna.copy_study(
            from_study_name="study",
            from_storage=source,
            to_storage=target,
            to_study_name=f"into {type(target).__name__}",
        )
    outward = optuna.load_study(study_name="into RDBStorage", storage=plain).trials
    assert [each.params for each in outward] == [each.params for each in study.trials]
    assert outward[-1].intermediate_values == {1: 0.5}  # what is only in memory is copied too
    inward = optuna.load_study(study_name="into BufferedStorage", storage=storage).trials
    assert [each.values for each in inward] == [each.values for each in study.trials]
    client = testing.Client(dashboard.wsgi(storage))
    shown = client.get(f"/api/studies/{study._study_id}?after=0").get_json()
    assert [each["state"] for each in shown["trials"]].count("Running") == 1
    assert shown["trials"][-1]["intermediate_values"] == [{"step": 1, "value": 0.5}]


def test_threads_share_it(sqlite_url: str, plain: RDBStorage) -> None:
    storage = BufferedStorage(sqlite_url, interval=0.02)
    study = optuna.create_study(storage=storage, study_name="study")
    study.optimize(objective, n_trials=24, n_jobs=4)
    storage.flush()
    trials = plain.get_all_trials(study._study_id)
    assert [trial.number for trial in trials] == list(range(24))
    assert all(trial.state.is_finished() and trial.params for trial in trials)
    assert all(trial.user_attrs == {"double": 2 * trial.params["x"]} for trial in trials)
    assert all(trial.last_step == 4 for trial in trials if trial.state == TrialState.COMPLETE)
    assert sorted(map(repr, study.trials)) == sorted(map(repr, trials))


# Forks, copies and ends of processes


def test_a_child_begins_empty_whatever_the_threads_of_its_parent_do(
    sqlite_url: str, plain: RDBStorage
) -> None:
    storage = BufferedStorage(sqlite_url, interval=0.001)
    study = optuna.create_study(storage=storage, study_name="study")
    trial = study.ask()
    is_over = threading.Event()

    def write() -> None:
        step = 0
        while not is_over.is_set():
            trial.report(0.5, step := step + 1)
            storage.flush()

    def add_one() -> None:
        assert storage._buffer._pending == {}
        optuna.load_study(study_name="study", storage=storage).optimize(objective, n_trials=1)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        child = FORK.Process(target=add_one)
        child.start()
        child.join(60)
        assert child.exitcode == 0
    is_over.set()
    writer.join()
    study.tell(trial, 1.0)
    trials = plain.get_all_trials(study._study_id)
    assert [each.number for each in trials] == list(range(4))
    assert all(each.state.is_finished() for each in trials)


def test_forking_and_pickling_write_first(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage
) -> None:
    trial = study.ask()
    trial.report(0.5, 1)
    child = FORK.Process(target=lambda: None)
    child.start()
    child.join()
    assert seen_by(plain).intermediate_values == {1: 0.5}
    trial.report(0.25, 2)
    copied = pickle.loads(pickle.dumps(storage))
    assert seen_by(plain).intermediate_values == {1: 0.5, 2: 0.25}
    assert copied.get_all_trials(study._study_id) == study.trials
    copied.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])
    assert seen_by(plain).value == 1.0


@pytest.mark.parametrize("leaves", ["returns", "exits"])
def test_a_process_that_ends_writes_first(
    study: optuna.Study, storage: BufferedStorage, plain: RDBStorage, leaves: str
) -> None:
    def report() -> None:
        study.ask().report(0.5, 1)
        if leaves == "exits":
            raise SystemExit

    child = FORK.Process(target=report)
    child.start()
    child.join()
    assert seen_by(plain).intermediate_values == {1: 0.5}


def _optimize_and_say(url: str, said: Any) -> None:
    study = optuna.load_study(study_name="study", storage=BufferedStorage(url, interval=0.01))
    study.optimize(objective, n_trials=None, callbacks=[lambda _, trial: said.send(trial.number)])


def check_that_a_kill_loses_no_finished_trial(url: str) -> None:
    backend = RDBStorage(url)
    study = optuna.create_study(storage=backend, study_name="study")
    for trials in (3, 8):
        here, there = FORK.Pipe(duplex=False)
        child = FORK.Process(target=_optimize_and_say, args=(url, there))
        child.start()
        there.close()
        numbers = [here.recv() for _ in range(trials)]
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        while here.poll():
            try:
                numbers.append(here.recv())
            except EOFError:
                break
        finished = [trial for trial in study.trials if trial.state.is_finished()]
        assert set(numbers) <= {trial.number for trial in finished}
        for trial in finished:
            assert trial.user_attrs == {"double": 2 * trial.params["x"]}
            assert list(trial.intermediate_values) == list(range(trial.last_step + 1))
    backend.remove_session()
    backend.engine.dispose()


def test_a_kill_loses_no_finished_trial(sqlite_url: str) -> None:
    check_that_a_kill_loses_no_finished_trial(sqlite_url)


@pytest.mark.slow
def test_a_kill_loses_no_finished_trial_on_servers(database_url: str) -> None:
    check_that_a_kill_loses_no_finished_trial(database_url)


def _optimize_some(url: str) -> None:
    study = optuna.load_study(study_name="study", storage=BufferedStorage(url))
    study.optimize(objective, n_trials=12)


@pytest.mark.slow
def test_processes_share_a_study(database_url: str) -> None:
    backend = RDBStorage(database_url)
    study = optuna.create_study(storage=backend, study_name="study")
    workers = [FORK.Process(target=_optimize_some, args=(database_url,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [trial.number for trial in study.trials] == list(range(48))
    assert all(trial.state.is_finished() for trial in study.trials)
    assert all(trial.user_attrs == {"double": 2 * trial.params["x"]} for trial in study.trials)
    backend.remove_session()
    backend.engine.dispose()


# A database in trouble


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Another process is writing to the file."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


def test_a_trial_that_could_not_be_written_has_not_ended_and_loses_nothing(
    study: optuna.Study,
    storage: BufferedStorage,
    plain: RDBStorage,
    sqlite_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = study.ask(), study.ask()
    first.report(0.5, 1)
    with locked(sqlite_url):
        with pytest.raises(StorageInternalError, match="another process holds its lock"):
            study.tell(first, 1.0)
        batch = storage.batch()
        batch.__enter__()
        study.tell(first, 1.0)
        study.tell(second, 2.0)
        with pytest.raises(StorageInternalError):
            batch.__exit__(None, None, None)
        with caplog.at_level(logging.WARNING):
            assert storage._buffer.flush_quietly()
            assert storage._buffer.flush_quietly()
        assert len([each for each in caplog.records if "stored later" in each.message]) == 1
        assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 2
    study.tell(first, 3.0)
    assert [trial.value for trial in plain.get_all_trials(study._study_id)] == [3.0, None]
    assert seen_by(plain, 0).intermediate_values == {1: 0.5}


def lose_the_answer_once(monkeypatch: pytest.MonkeyPatch, engine: sqlalchemy.Engine) -> list[int]:
    """The next commit succeeds, and the connection breaks before its answer arrives."""
    losses: list[int] = []
    commit = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        commit(connection)
        if not losses:
            losses.append(1)
            error = engine.dialect.loaded_dbapi.OperationalError("SQLITE_BUSY")
            error.sqlite_errorname = "SQLITE_BUSY"
            raise error

    monkeypatch.setattr(engine.dialect, "do_commit", do_commit)
    return losses


@pytest.mark.parametrize("state", ["COMPLETE", "FAIL"])
def test_an_end_whose_answer_was_lost_is_written_once(
    study: optuna.Study,
    storage: BufferedStorage,
    plain: RDBStorage,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    storage._buffer.retry = RetryPolicy(seconds=10, first=0.001)
    trial = study.ask()
    trial.report(0.5, 1)
    losses = lose_the_answer_once(monkeypatch, storage._backend.engine)
    study.tell(trial, 1.0 if state == "COMPLETE" else None, state=TrialState[state])
    assert losses == [1]
    assert seen_by(plain).state == TrialState[state]
    assert seen_by(plain).intermediate_values == {1: 0.5}


@pytest.mark.slow
def test_a_trial_whose_answer_was_lost_is_created_once_on_servers(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a file gives its answer or has not written")
    backend = RDBStorage(database_url)
    storage = BufferedStorage(backend, retry=RetryPolicy(seconds=10, first=0.001))
    study_id = storage.create_new_study([StudyDirection.MINIMIZE])
    losses = lose_the_answer_once(monkeypatch, backend.engine)
    ids = storage.create_new_trials(study_id, [None, None])
    assert losses == [1]
    assert [trial._trial_id for trial in backend.get_all_trials(study_id)] == ids
    backend.remove_session()
    backend.engine.dispose()


def test_an_id_that_a_crashed_server_gives_again_is_not_taken_for_ones_own(
    postgresql_url: str,
) -> None:
    backend = RDBStorage(postgresql_url)
    study_id = backend.create_new_study([StudyDirection.MINIMIZE])
    theirs = backend.create_new_trial(study_id)
    with writing(backend.engine) as connection:
        # The earlier attempt had this id, and was never committed.
        [(ours, number)] = create_trials(connection, study_id, [in_json(None)], [theirs])
    assert (ours != theirs, number) == (True, 1)
    backend.remove_session()
    backend.engine.dispose()


# What it is made from


@pytest.mark.parametrize(
    ("storage", "options", "message"),
    [
        ("journal:///a.log", {}, "not to 'journal'"),
        (optuna.storages.InMemoryStorage(), {}, "the URL of a database or an RDBStorage"),
        (5, {}, "storage must be the URL"),
        ("sqlite://", {"interval": 0}, "interval must be"),
        ("sqlite://", {"interval": "2"}, "interval must be"),
        ("sqlite://", {"retry": 3}, "retry must be a RetryPolicy"),
    ],
)
def test_what_it_cannot_be_made_from_is_refused(
    storage: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        BufferedStorage(storage, **options)


def test_a_database_in_memory_and_the_cached_storage_of_optuna_will_do(plain: RDBStorage) -> None:
    storage = BufferedStorage("sqlite://", interval=0.001)
    study = optuna.create_study(storage=storage)
    study.optimize(objective, n_trials=3)
    assert len(study.trials) == 3
    assert storage._buffer._timer._thread is None  # other threads would see another database
    cached = optuna.storages.get_storage(plain)
    optuna.create_study(storage=BufferedStorage(cached), study_name="study").ask()
    assert seen_by(plain).state == TrialState.RUNNING
