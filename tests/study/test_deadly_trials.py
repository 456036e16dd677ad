"""Trials that kill every process that runs them: given up in the end, and the study goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import worker_study as shared

import lyapopt
from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.workers import run_workers

MODULE = """
import os, signal, torch
from lyapopt import Training

class Deadly(torch.nn.Linear):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSEGV)

def build(params):
    model = (Deadly if params["kind"] == 2 else torch.nn.Linear)(2, 1)
    data = (torch.ones(4, 2), torch.ones(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Training(model, torch.nn.MSELoss(), optimizer, data, steps=20)

def objective(trial):
    if trial.suggest_categorical("kind", [0, 1, 2, 3, 4]) == 2:
        os._exit(3)
    return 1.0
"""
TEXT = """
version: 1
study_name: deadly
storage: sqlite:///{folder}/study.db
{what}
sampler: grid
n_trials: 5
on_failure: {{max_deaths: 3}}
"""
TOGETHER = """
task: {build: deadly_trials_module:build}
search_space: {kind: [0, 1, 2, 3, 4]}
probe: {horizon: 5, neighbours: 1}
trials_at_once: 5
"""
ALONE = """
objective: {call: deadly_trials_module:objective}
search_space: {kind: [0, 1, 2, 3, 4]}
"""


class _Notes(StudyListener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _write(folder: Path, what: str) -> Path:
    (folder / "deadly_trials_module.py").write_text(MODULE)
    path = folder / "study.yaml"
    path.write_text(TEXT.format(what=what, folder=folder))
    return path


def _check(folder: Path) -> None:
    data = lyapopt.load(folder / "study.db")
    states = data.trials.groupby("params_kind")["state"].agg(list).to_dict()
    assert states.pop(2) == ["interrupted", "interrupted", "failed"]
    assert {tuple(of_kind)[-1] for of_kind in states.values()} == {"complete"}
    [reason] = data.trials.loc[data.trials["state"] == "failed", "reason"]
    assert "its process died 3 times while it ran" in reason
    assert data.runs.set_index("state").loc["failed", "reason"] == reason


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("what", [TOGETHER, ALONE], ids=["together", "alone"])
def test_workers_that_a_trial_kills_are_replaced_until_it_is_given_up(
    what: str, memory: Path
) -> None:
    path = _write(memory, what)
    listener = _Notes()
    result = run_workers(load_study_file(path), 2, listener, settings=shared.QUICK)
    assert len(result.ledger.done) == 5
    assert result.new == 4
    assert sum("its trials are run again" in note for note in listener.notes) == 3
    _check(memory)


def test_a_process_that_is_started_again_and_again_ends_the_study_too(memory: Path) -> None:
    path = _write(memory, TOGETHER)
    command = [sys.executable, "-m", "lyapopt", "run", str(path)]
    codes = [subprocess.run(command, capture_output=True).returncode for _ in range(4)]
    assert codes == [-signal.SIGSEGV] * 3 + [0]
    _check(memory)
    assert run_study(load_study_file(path), settings=shared.QUICK).new == 0


@pytest.mark.slow
def test_workers_that_only_die_are_not_started_for_ever(memory: Path) -> None:
    path = _write(memory, ALONE)
    (memory / "deadly_trials_module.py").write_text("import os\nos._exit(3)")
    with pytest.raises(UserError, match=r"died \(code 3\)"):
        run_workers(load_study_file(path), 2, settings=shared.QUICK)
