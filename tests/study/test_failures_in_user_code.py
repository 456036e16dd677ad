"""What a user's code raises, and studies that go on after it."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lyapopt.errors import StudyStoppedError, UserError
from lyapopt.search._optuna import logical_number
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import RunResult, run_study

STUDY = """
study_name: small
storage: sqlite:///{path}/{name}.db
task: {{name: xor, hidden: 3, steps: 20}}
search_space:
  activation: [relu, tanh]
  lr: [0.05, 0.1, 0.2]
probe: {{horizon: 5}}
sampler: grid
n_trials: 6
trials_at_once: 2
"""
OWN = """
from lyapopt.tasks.builder import TaskBuilder

def build(params):
    if params["lr"] == 0.1:
        raise SystemExit(0)
    return TaskBuilder("xor", {"hidden": 3, "steps": 20})(params)

def callback(study, trial):
    if trial.number == 1:
        raise ValueError("I do not like trial 1")
"""


def study_file(folder: Path, name: str = "a", extra: str = "") -> Path:
    (folder / "own_code.py").write_text(OWN)
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(path=folder, name=name) + extra)
    return path


def run(path: Path, *overrides: str, listener: StudyListener | None = None) -> RunResult:
    return run_study(load_study_file(path, overrides), listener)


def trials(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="small", storage=load_study_file(path).storage).trials


class InterruptSecondGroup(StudyListener):
    groups = 0

    def group_started(self, numbers: list[int]) -> None:
        self.groups += 1
        if self.groups == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("sampler", ["grid", "brute-force", "random", "nsgaii", "qmc"])
def test_a_study_of_any_sampler_goes_on_after_an_interruption(tmp_path: Path, sampler: str) -> None:
    whole, broken = study_file(tmp_path, "whole"), study_file(tmp_path, "broken")
    chosen = f"sampler={sampler}"
    run(whole, chosen)
    assert run(broken, chosen, listener=InterruptSecondGroup()).interrupted
    run(broken, chosen)
    found = [
        {
            logical_number(t): (t.params, t.values)
            for t in trials(path)
            if t.state != TrialState.FAIL
        }
        for path in (whole, broken)
    ]
    assert len(found[0]) == 6
    if sampler == "qmc":  # its place in the sequence is counted in the study
        assert found[0].keys() == found[1].keys()
    else:
        assert found[0] == found[1]


def test_a_build_that_exits_fails_its_trial_only(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    path.write_text(
        path.read_text().replace("{name: xor, hidden: 3, steps: 20}", "{build: 'own_code:build'}")
    )
    run(path)
    failed = [t.params["lr"] for t in trials(path) if t.state == TrialState.FAIL]
    assert failed == [0.1, 0.1]
    assert len(trials(path)) == 6


def test_an_error_that_is_not_to_be_caught_stops_the_study_after_its_group(tmp_path: Path) -> None:
    path = study_file(tmp_path, extra="on_failure: {catch: [OSError]}\n")
    path.write_text(
        path.read_text().replace("{name: xor, hidden: 3, steps: 20}", "{build: 'own_code:build'}")
    )
    with pytest.raises(StudyStoppedError, match="SystemExit"):
        run(path)
    assert not [t for t in trials(path) if t.state == TrialState.RUNNING]


def test_a_callback_that_raises_loses_no_trial(tmp_path: Path) -> None:
    path = study_file(tmp_path, extra="callbacks: ['own_code:callback']\n")
    with pytest.raises(UserError, match="callback raised ValueError: I do not like trial 1"):
        run(path)
    assert [t.state for t in trials(path)] == [TrialState.COMPLETE] * 2


def test_a_callback_that_is_no_function_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    path = study_file(tmp_path, extra="callbacks: ['os:path']\n")
    with pytest.raises(UserError, match="os:path is not a function"):
        run(path)


def test_enqueued_parameters_survive_an_interruption(tmp_path: Path) -> None:
    path = study_file(tmp_path, extra="enqueue: [{lr: 0.2}, {lr: 0.05}, {lr: 0.2}]\n")
    path.write_text(path.read_text().replace("sampler: grid", "sampler: random"))
    run(path, listener=InterruptSecondGroup())
    run(path)
    done = {logical_number(t): t.params["lr"] for t in trials(path) if t.state != TrialState.FAIL}
    assert [done[0], done[1], done[2]] == [0.2, 0.05, 0.2]
    assert len(done) == 6
