"""Journal files and Optuna's gRPC proxy: with a database of our own beside them, and without."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from pathlib import Path

import optuna
import pytest
import worker_study as shared

import lyapopt
from lyapopt.errors import UserError
from lyapopt.store import RUN_ATTRIBUTE, TrajectoryStore
from lyapopt.study.admin.maintenance import collect_garbage, init_storage
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.workers import run_workers


class _Notes(StudyListener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_journal_with_a_store_keeps_everything_with_several_workers(memory: Path) -> None:
    journal, store = f"journal:///{memory}/study.log", f"sqlite:///{memory}/ours.db"
    path = shared.write(memory, journal, n_trials=8)
    file = load_study_file(path, [f"store={store}"])
    assert run_workers(file, 2, settings=shared.QUICK).new == 8
    named = {
        trial.user_attrs[RUN_ATTRIBUTE]
        for trial in optuna.load_study(
            study_name="shared", storage=open_storage(journal, create=False)
        ).trials
    }
    with TrajectoryStore(store, create=False) as rows:
        assert set(rows.states("shared")) == named
    data = lyapopt.load(journal, store=store)
    assert len(data.trials) == len(data.exponents) == 8
    assert collect_garbage(journal, store, grace=0.0, dry_run=True) == 0


def test_a_journal_without_a_store_says_what_is_not_kept(memory: Path) -> None:
    path = shared.write(memory, f"journal:///{memory}/study.log", n_trials=4)
    listener = _Notes()
    assert run_study(load_study_file(path), listener, settings=shared.QUICK).new == 4
    assert any("trajectories and exponents are not kept" in note for note in listener.notes)
    with pytest.raises(UserError, match="no SQL"):
        _ = lyapopt.load(f"journal:///{memory}/study.log").exponents
    with pytest.raises(UserError, match="store: URL"):
        init_storage(f"journal:///{memory}/study.log")


def test_a_journal_that_is_not_there_is_said(memory: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        lyapopt.load(f"journal:///{memory}/none.log")


@pytest.mark.skipif(importlib.util.find_spec("grpc") is not None, reason="grpc is installed")
def test_a_grpc_proxy_needs_its_driver() -> None:
    with pytest.raises(UserError, match="install"):
        open_storage("grpc://127.0.0.1:1")


def test_a_grpc_proxy_with_a_store_keeps_everything(memory: Path) -> None:
    pytest.importorskip("grpc", reason="pip install grpcio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    behind = open_storage(f"sqlite:///{memory}/behind.db")
    serve = optuna.storages.run_grpc_proxy_server
    arguments = {"storage": behind, "host": "127.0.0.1", "port": port}
    threading.Thread(target=serve, kwargs=arguments, daemon=True).start()
    time.sleep(1.0)
    path = shared.write(memory, f"grpc://127.0.0.1:{port}", n_trials=4)
    with pytest.raises(UserError, match="give `store: URL`"):
        run_study(load_study_file(path), settings=shared.QUICK)
    file = load_study_file(path, [f"store=sqlite:///{memory}/ours.db"])
    assert run_study(file, settings=shared.QUICK).new == 4
    with TrajectoryStore(f"sqlite:///{memory}/ours.db", create=False) as rows:
        assert len(rows.states("shared")) == 4
