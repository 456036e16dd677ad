"""Ctrl-C and SIGTERM in every command, at any time: one exit code, no traceback, nothing broken."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from command_line import command, environment, lyapopt, start, write
from optuna.trial import TrialState

from lyapopt.search._optuna import logical_number
from lyapopt.study.analysis.overview import load_study
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage

SIGNALS = (signal.SIGINT, signal.SIGTERM)

QUICK_STUDY = """
version: 1
study_name: quick
storage: "{url}"
seed: 1
task: {{name: xor, hidden: 3, steps: 100}}
search_space:
  lr: {{type: float, low: 0.01, high: 3.0, log: true}}
  init_seed: {{type: seed}}
probe: {{horizon: 6, neighbours: 1}}
sampler: {{name: random}}
n_trials: {n_trials}
trials_at_once: 4
"""

FUNCTION_STUDY = """
study_name: function
storage: "{url}"
objective: {{call: "own_function:objective"}}
search_space: {{}}
n_trials: 3
"""

# The second trial does WHAT, unless it was begun before.
FUNCTION = """
import gc, pathlib, time, weakref
HERE = pathlib.Path(__file__).parent

class Thing:
    pass

def there():
    (HERE / "there").touch()

def slow_commit(connection):
    there()
    time.sleep(1)

if (HERE / "slow").exists():
    import sqlalchemy
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", slow_commit)

def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    if trial.number == 1 and not (HERE / "there").exists():
        return WHAT(x)
    return x

def sleeps(x):
    there()
    time.sleep(1000)

def takes_it_for_an_error(x):
    there()
    try:
        time.sleep(1000)
    except BaseException:
        return 1e9

def is_in_a_callback(x):
    def callback(_):
        there()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass
    thing = Thing()
    reference = weakref.ref(thing, callback)
    del thing
    time.sleep(1000)

def is_in_the_garbage_collector(x):
    def callback(phase, info):
        if phase == "start":
            there()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                pass
    gc.callbacks.append(callback)
    try:
        gc.collect()
        time.sleep(1000)
    finally:
        gc.callbacks.remove(callback)
"""


def ended(process: subprocess.Popen[str], number: int) -> str:
    """What it said, once it has ended by this signal."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 128 + number, out + err
    assert "Traceback" not in out + err
    assert "Exception ignored" not in out + err
    return err


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not there():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def can_be_written(url: str) -> None:
    """Nobody has left a transaction open."""
    arguments = {"timeout": 0.5} if url.startswith("sqlite") else {}
    engine = sqlalchemy.create_engine(url, connect_args=arguments)
    with engine.connect() as connection:
        if url.startswith("sqlite"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("DELETE FROM trial_user_attributes WHERE trial_id = -1")
        connection.rollback()
    engine.dispose()


def states(path: Path) -> dict[int, list[TrialState]]:
    file = load_study_file(path)
    study = load_study(file.storage, file.study_name)
    del study
    storage = open_storage(file.storage, create=False)
    [found] = [s for s in storage.get_all_studies() if s.study_name == file.study_name]
    numbers: dict[int, list[TrialState]] = {}
    for trial in storage.get_all_trials(found._study_id):
        numbers.setdefault(logical_number(trial), []).append(trial.state)
    return numbers


def goes_on(path: Path, n_trials: int) -> None:
    try:
        assert not run_study(load_study_file(path), total=n_trials).interrupted
    finally:
        sys.modules.pop("own_function", None)
    found = states(path)
    assert sorted(found) == list(range(n_trials))
    for number, tries in found.items():
        done = [state for state in tries if state != TrialState.FAIL]
        assert done in ([TrialState.COMPLETE], [TrialState.PRUNED]), (number, tries)


# At any time


@pytest.mark.parametrize(
    "arguments",
    [
        "bench store",
        pytest.param("status study.db", marks=pytest.mark.slow),
        pytest.param("dashboard study.db", marks=pytest.mark.slow),
    ],
)
def test_a_command_that_is_still_importing_ends_at_once(tmp_path: Path, arguments: str) -> None:
    if "study.db" in arguments:
        assert lyapopt(tmp_path, "storage", "init", "study.db").returncode == 0
    number = random.choice(SIGNALS)
    process = start(tmp_path, *arguments.split())
    libraries = Path(f"/proc/{process.pid}/maps")
    if libraries.exists():  # NumPy comes late, so that torch, Optuna or pandas are being imported
        wait_until(lambda: "numpy" in libraries.read_text(), process)
    else:
        time.sleep(1.0)
    process.send_signal(number)
    assert ended(process, number) == "interrupted\n"


@pytest.mark.slow
def test_a_dashboard_that_serves_ends_well_by_ctrl_c_and_by_sigterm(tmp_path: Path) -> None:
    assert lyapopt(tmp_path, "storage", "init", "study.db").returncode == 0
    for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
        process = start(tmp_path, "dashboard", "study.db")
        assert process.stderr is not None
        assert "Ctrl-C ends it" in process.stderr.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (code, "")


# In the code of a user


@pytest.mark.parametrize(
    "what",
    [
        "takes_it_for_an_error",
        "is_in_a_callback",
        pytest.param("sleeps", marks=pytest.mark.slow),
        pytest.param("is_in_the_garbage_collector", marks=pytest.mark.slow),
    ],
)
def test_a_function_is_ended_whatever_it_does_and_its_trial_is_run_again(
    tmp_path: Path, sqlite_url: str, what: str
) -> None:
    write_function(tmp_path, sqlite_url, what)
    process = start(tmp_path, "run", "study.yaml")
    wait_until((tmp_path / "there").exists, process)
    process.send_signal(signal.SIGINT)
    assert "interrupted with 1 trial done" in ended(process, signal.SIGINT)
    assert not running(tmp_path / "study.yaml")
    goes_on(tmp_path / "study.yaml", 3)


def write_function(folder: Path, url: str, what: str) -> None:
    write(folder, FUNCTION_STUDY.format(url=url))
    (folder / "own_function.py").write_text(FUNCTION.replace("WHAT", what))


# In the middle of writing


@pytest.mark.parametrize("second", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_commit_is_finished_and_a_second_signal_leaves_no_transaction(
    tmp_path: Path, database_url: str, second: bool
) -> None:
    write_function(tmp_path, database_url, "float")
    (tmp_path / "slow").touch()
    process = start(tmp_path, "run", "study.yaml")
    wait_until((tmp_path / "there").exists, process)
    process.send_signal(signal.SIGTERM)
    if second:
        assert process.stderr is not None
        while "a second one stops at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
    ended(process, signal.SIGTERM)
    can_be_written(database_url)
    (tmp_path / "slow").unlink()
    if not second:
        assert not running(tmp_path / "study.yaml")
    goes_on(tmp_path / "study.yaml", 3)


# With several processes


def run_in_a_terminal(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that leads a group, as a shell starts it: a terminal sends Ctrl-C to all of it."""
    return subprocess.Popen(
        command("run", "study.yaml", *arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def none_of(group: int) -> bool:
    """Whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("signals", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_in_a_terminal_ends_all_workers_of_a_run(
    tmp_path: Path, database_url: str, signals: int
) -> None:
    path = tmp_path / write(tmp_path, QUICK_STUDY.format(url=database_url, n_trials=100_000))
    process = run_in_a_terminal(tmp_path, "--workers", "2")
    assert process.stderr is not None
    while "trial " not in (line := process.stderr.readline()):
        assert line
    for left in reversed(range(signals)):
        os.killpg(process.pid, signal.SIGINT)
        while left and "a second one stops at once" not in process.stderr.readline():
            pass
    said = ended(process, signal.SIGINT)
    wait_for(lambda: none_of(process.pid))
    can_be_written(database_url)
    if signals == 1:
        assert "the same command goes on" in said
        assert not running(path)
    goes_on(path, max(states(path)) + 1)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_workers_that_are_being_started_ends_them(
    tmp_path: Path, sqlite_url: str, number: int
) -> None:
    write(tmp_path, QUICK_STUDY.format(url=sqlite_url, n_trials=8))
    process = run_in_a_terminal(tmp_path, "--workers", "2")
    assert process.stderr is not None
    while "0 of 8 trials done" not in (line := process.stderr.readline()):
        assert line, "it has ended"
    os.killpg(process.pid, number)
    ended(process, number)
    wait_for(lambda: none_of(process.pid))
    goes_on(tmp_path / "study.yaml", 8)


def wait_for(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_signals_at_any_time_leave_nothing_running_and_nothing_locked(
    tmp_path: Path, database_url: str, workers: str
) -> None:
    path = tmp_path / write(tmp_path, QUICK_STUDY.format(url=database_url, n_trials=100_000))
    chance = random.Random(workers)
    longest = 1.0  # seconds: grows until trials end
    for _ in range(12):
        number, in_terminal = chance.choice(SIGNALS), chance.random() < 0.5
        process = run_in_a_terminal(tmp_path, "--workers", workers)
        time.sleep(0.1 + chance.uniform(0, longest))
        send = os.killpg if in_terminal else os.kill
        send(process.pid, number)
        said = ended(process, number)
        wait_for(lambda group=process.pid: none_of(group))
        if "the same command goes on" in said:
            can_be_written(database_url)
            assert not running(path)
        if " 0 trials done" in said or "the same" not in said:
            longest = min(2 * longest, 60.0)
    goes_on(path, max(states(path)) + 1)


def running(path: Path) -> list[int]:
    """Logical numbers of trials that are left running."""
    return [number for number, tries in states(path).items() if TrialState.RUNNING in tries]
