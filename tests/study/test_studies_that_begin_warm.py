"""Study files over studies that were begun by other means, or with several values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from lyapopt.store import TrajectoryStore
from lyapopt.study.admin.doctor import examine
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import RunResult, run_study

TEXT = """
version: 1
study_name: first
storage: sqlite:///{folder}/a.db
seed: 3
task: {{name: xor, hidden: 4, steps: 40}}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {{type: float, low: 0.01, high: 3.0, log: true}}
probe: {{horizon: 8}}
n_trials: 4
trials_at_once: 2
"""


def run(path: Path, *overrides: str) -> RunResult:
    return run_study(load_study_file(path, overrides))


def write(folder: Path, more: str = "") -> Path:
    path = folder / "study.yaml"
    path.write_text(TEXT.format(folder=folder) + more)
    return path


def test_a_file_goes_on_from_trials_that_were_added_from_another_study(tmp_path: Path) -> None:
    path = write(tmp_path, "sampler: {name: edge-of-chaos, steer: lr}\n")
    run(path)
    url = load_study_file(path).storage
    first = optuna.load_study(study_name="first", storage=url)
    optuna.create_study(study_name="second", storage=url).add_trials(first.trials)
    before = TrajectoryStore(url).exponents("first")
    result = run(path, "study_name=second", "n_trials=7")
    assert result.new == 3  # what was added counts
    second = optuna.load_study(study_name="second", storage=url)
    runs = [trial.user_attrs["lyapopt:run"] for trial in second.trials]
    assert len(set(runs)) == 7
    assert runs[:4] == [trial.user_attrs["lyapopt:run"] for trial in first.trials]
    assert TrajectoryStore(url).exponents("first").equals(before)
    assert {finding.level for finding in examine(url)} == {"fine"}


def test_loss_and_exponent_are_two_values_of_a_file_and_hot_trials_are_pruned(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        "value: both\ndirections: [minimize, minimize]\n"
        "pruner: {name: lyapunov, hot: 0.05, slow: null}\n",
    )
    run(path, "n_trials=10", "search_space.lr.low=0.5", "search_space.lr.high=3")
    study = optuna.load_study(study_name="first", storage=load_study_file(path).storage)
    states = {trial.state for trial in study.trials}
    assert TrialState.PRUNED in states
    pruned: list[Any] = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert all(
        t.user_attrs["verdict"] == "diverged" or t.user_attrs["exponent"] > 0.05 for t in pruned
    )
    assert all(len(t.values) == 2 for t in study.trials if t.state == TrialState.COMPLETE)
