"""The database server is stopped, crashed and started again while a study runs on it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import own_postgresql
import pytest
import worker_study as shared

from lyapopt.study.file import load_study_file
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.runner import run_study

pytestmark = pytest.mark.slow

_MANY = 100_000


@pytest.fixture
def server() -> object:
    programs = own_postgresql.programs()
    if programs is None:
        pytest.skip("no initdb is found: install PostgreSQL's server (Debian: postgresql)")
    with own_postgresql.running(programs) as started:
        yield started


def _ended(path: Path) -> int:
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in shared.trials(path))


def _said(run: subprocess.Popen[str]) -> str:
    """Why a run gave up."""
    assert run.stdout is not None
    return f"the run gave up: {run.stdout.read()[-2000:]}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_restarted_in_mid_run_loses_nothing(
    server: own_postgresql.Server, tmp_path: Path, workers: int
) -> None:
    path = shared.write(tmp_path, server.url, n_trials=_MANY)
    command = [sys.executable, "-m", "lyapopt", "run", str(path), "--workers", str(workers)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        shared.wait_for_running(path)
        for mode in ("fast", "immediate"):
            server.stop(mode)
            time.sleep(1.5)  # long enough for every worker to find nobody there
            assert run.poll() is None, _said(run)
            server.start()
            before = _ended(path)
            while _ended(path) == before:
                assert run.poll() is None, _said(run)
                time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=120)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130, said
    begun = Ledger.read(shared.trials(path)).next_number
    run_study(load_study_file(path), total=begun, settings=shared.QUICK)
    shared.check(path, begun)
