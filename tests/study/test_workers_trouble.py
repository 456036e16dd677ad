"""Databases in trouble while a study runs: locked, full, disconnected; and what is kept then."""

from __future__ import annotations

import resource
import sqlite3
import threading
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import worker_study as shared

from lyapopt.errors import UserError
from lyapopt.search._optuna import engine_of, frozen
from lyapopt.store import RUN_ATTRIBUTE, StoreBusyError, TrajectoryStore
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.leases import Leases
from lyapopt.study.run.opening import OpenStudy
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.spill import Spill
from lyapopt.study.run.worker_table import Group, WorkerSettings, WorkerTable

IMPATIENT = WorkerSettings(heartbeat=60.0, poll=0.05, retry_seconds=1.0)


class _At(StudyListener):
    """Does something when a group begins to train, once."""

    def __init__(self, group: int, action: Any) -> None:
        self._left = group
        self._action = action
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def group_started(self, numbers: list[int]) -> None:
        self._left -= 1
        if self._left == 0:
            self._action()


def _file(path: Path) -> Any:
    return load_study_file(path)


def test_connections_that_a_server_ends_are_made_again(postgresql_url: str, memory: Path) -> None:
    path = shared.write(memory, _victim(postgresql_url), n_trials=6)
    end = _At(2, lambda: _end_connections(postgresql_url))
    assert run_study(_file(path), end, settings=shared.QUICK).new == 6
    shared.check(path, 6)


def _victim(url: str) -> str:
    return f"{url}&application_name=victim{url[-12:]}"


def _end_connections(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        name = f"victim{url[-12:]}"
        ended = connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = '{name}'"
        )
        assert ended.all()
    engine.dispose()


def _lease(worker: OpenStudy) -> Group:
    with worker.leases.survey() as situation:
        first = situation.next_number()
        worker.leases.take(situation, (first, first + 2))
        return first, first + 2


@pytest.mark.parametrize("is_written", [False, True], ids=["not written", "without an answer"])
def test_a_lease_is_not_written_again_after_the_lock_was_lost(
    postgresql_url: str, memory: Path, is_written: bool
) -> None:
    files = []
    for name, url in (("one", _victim(postgresql_url)), ("other", postgresql_url)):
        (memory / name).mkdir()
        files.append(_file(shared.write(memory / name, url)))
    one, other = (OpenStudy.open(file, StudyListener(), shared.QUICK) for file in files)
    leased: list[Group] = []

    def lose_all(connection: Any) -> None:
        """The server ends all connections of one worker, and another one leases at once."""
        if leased or not writes:
            return
        if is_written:
            connection.connection.dbapi_connection.commit()
            connection.connection.dbapi_connection.execute("SELECT 1")
        _end_connections(postgresql_url)
        leased.append(_lease(other))

    writes: list[str] = []

    def note(*arguments: Any) -> None:
        statement = str(arguments[2])
        if "study_system_attributes" in statement and not statement.startswith("SELECT"):
            writes.append(statement)

    engine = engine_of(one.study)
    assert engine is not None
    sqlalchemy.event.listen(engine, "after_cursor_execute", note)
    sqlalchemy.event.listen(engine, "commit", lose_all)
    mine = one.retry(lambda: _lease(one))
    table = WorkerTable.read(other.study)
    groups = {name: row.group for name, row in table.workers.items()}
    assert groups == {one.leases.worker: mine, other.leases.worker: leased[0]}
    assert not set(range(*mine)) & set(range(*leased[0])), "two workers have the same trials"
    for each in (one, other):
        each.close()


def test_a_lock_that_is_held_for_a_while_is_waited_for(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db?timeout=0.1", n_trials=4)
    holder = sqlite3.connect(memory / "study.db", check_same_thread=False)

    def hold() -> None:
        holder.execute("BEGIN EXCLUSIVE")
        threading.Timer(1.5, holder.rollback).start()

    assert run_study(_file(path), _At(1, hold), settings=shared.QUICK).new == 4
    shared.check(path, 4)


def test_trials_that_cannot_be_stored_are_kept_in_files_and_imported_by_the_next_run(
    memory: Path,
) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db?timeout=0.1", n_trials=6)
    holder = sqlite3.connect(memory / "study.db", check_same_thread=False)
    tell = Leases.tell

    def locked(*args: Any) -> bool:  # our rows are written, and then the lock is taken
        holder.execute("BEGIN EXCLUSIVE")
        return tell(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Leases, "tell", locked)
        with pytest.raises(StoreBusyError, match=r"kept in .* next run imports"):
            run_study(_file(path), settings=IMPATIENT)
    holder.rollback()
    spill = Spill("shared", f"sqlite:///{memory}/study.db?timeout=0.1", [memory])
    kept = dict(spill.records())
    assert len(kept) == 2
    listener = _At(0, None)
    run_study(_file(path), listener, settings=shared.QUICK)
    assert any("2 trials were imported" in note for note in listener.notes)
    assert spill.files() == []
    shared.check(path, 6)
    stored = {trial.user_attrs[RUN_ATTRIBUTE]: trial for trial in shared.trials(path)}
    for record in kept.values():
        assert stored[record.run].values == list(record.values or ()) or record.state == "pruned"


def test_a_spilled_trial_that_was_marked_meanwhile_is_added_finished(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db?timeout=0.1", n_trials=2)
    holder = sqlite3.connect(memory / "study.db", check_same_thread=False)

    def locked(*args: Any) -> bool:
        holder.execute("BEGIN EXCLUSIVE")
        return frozen(args[1]) is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Leases, "tell", locked)
        with pytest.raises(StoreBusyError):
            run_study(_file(path), settings=IMPATIENT)
    holder.rollback()
    spill = Spill("shared", f"sqlite:///{memory}/study.db?timeout=0.1", [memory])
    hidden = [(file, file.rename(file.with_suffix(".hidden"))) for file in spill.files()]
    with TrajectoryStore(f"sqlite:///{memory}/study.db") as store:  # as if rows had not come
        store.forget([])
        for trial in shared.trials(path):
            store.mark_interrupted([trial.user_attrs[RUN_ATTRIBUTE]])
    run_study(load_study_file(path, ["timeout=0.001"]), settings=shared.QUICK)
    assert {trial.state.name for trial in shared.trials(path)} == {"FAIL"}
    for file, elsewhere in hidden:
        elsewhere.rename(file)
    assert run_study(_file(path), settings=shared.QUICK).new == 0
    shared.check(path, 2)


def _run_with_little_space(path: Path, connection: Any) -> None:
    used = (path.parent / "study.db").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (used + 40_000, hard))
    try:
        run_study(_file(path), settings=IMPATIENT)
    except UserError as error:
        connection.send(str(error))


def test_a_full_disk_is_said_and_nothing_is_lost(memory: Path) -> None:
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=2)
    run_study(_file(path), settings=shared.QUICK)
    path = shared.write(memory, f"sqlite:///{memory}/study.db", n_trials=60)
    context = get_context("forkserver")
    context.set_forkserver_preload(shared.PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_run_with_little_space, args=(path, theirs))
    worker.start()
    assert ours.poll(120), "it did not end"
    message = ours.recv()
    worker.join()
    assert "disk" in message
    assert "Tried again for 1 s" in message
    before = {t.number for t in shared.trials(path) if t.state.name in ("COMPLETE", "PRUNED")}
    run_study(load_study_file(path, ["n_trials=20"]), settings=shared.QUICK)
    after = {t.number for t in shared.trials(path) if t.state.name in ("COMPLETE", "PRUNED")}
    assert before <= after
    shared.check(path, 20)
