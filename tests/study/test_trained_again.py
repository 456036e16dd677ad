"""A trial that is trained again comes out the same, and what differs is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch

from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.replay import replay, studied_file
from lyapopt.study.run.runner import run_study
from lyapopt.tasks.builder import TaskBuilder

Run = Callable[..., tuple[int, str, str]]

STUDY = """\
storage: sqlite:///study.db
seed: 3
task: {name: xor, hidden: 4, steps: 40}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {type: float, low: 0.01, high: 3.0, log: true}
  init_seed: {type: seed}
probe: {horizon: 8, neighbours: 2}
pruner: {name: lyapunov, wrapped: {name: median, n_startup_trials: 3}}
n_trials: 8
"""

PROMOTING = """\
storage: sqlite:///study.db
task: {name: xor, hidden: 4, steps: 40}
search_space: {lr: {type: float, low: 0.01, high: 3.0, log: true}}
probe: {horizon: 8, neighbours: 2}
sampler: {name: edge-of-chaos, base: random}
pruner: none
n_trials: 4
rank_at: 10
promote: 2
"""

FUNCTION = """\
storage: sqlite:///study.db
objective: {call: "own:objective"}
pruner: {name: median, n_startup_trials: 2}
n_trials: 6
"""

OWN = """\
import optuna
import torch


def objective(trial):
    x = trial.suggest_float("x", -2, 2)
    noise = torch.randn(3)
    for step in range(3):
        trial.report(float((noise * x).sum()) * step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x**2 + float(noise.sum())
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)


def ran(text: str) -> str:
    Path("study.yaml").write_text(text)
    run_study(load_study_file("study.yaml"))
    return "study.yaml"


@pytest.mark.parametrize(
    ("text", "names"),
    [(STUDY, ["study"]), (PROMOTING, ["study", "study-promoted"]), (FUNCTION, ["study"])],
    ids=["task", "promoting", "function"],
)
def test_every_trial_comes_out_the_same_bit_for_bit_from_the_file_or_the_storage_alone(
    text: str, names: list[str]
) -> None:
    ran(text)
    url = f"sqlite:///{Path.cwd()}/study.db"
    for name in names:
        study = optuna.load_study(study_name=name, storage=url)
        stored = [(t.state, t.values, t.intermediate_values) for t in study.trials]
        for trial in study.trials:
            for file in (load_study_file("study.yaml"), studied_file(url, name)):
                again = replay(file, name, trial.number)
                assert again.differences == []
                assert {each.what for each in again.compared} >= {"state"}
        again = [(t.state, t.values, t.intermediate_values) for t in study.trials]
        assert stored == again


def test_what_differs_is_said_with_how_far_it_is_off(run: Run) -> None:
    ran(STUDY)
    best = optuna.load_study(study_name=None, storage="sqlite:///study.db").best_trial
    code, out, _ = run("replay", "study.db", "--trial", str(best.number))
    assert code == 0
    assert "the same, bit for bit" in out
    with sqlite3.connect("study.db") as connection:
        connection.execute("UPDATE trial_values SET value = value * 1.25")
    code, out, _ = run("replay", "study.yaml", "--trial", str(best.number))
    assert code == 1
    assert "1 of " in out
    assert "differ, by 0.2 of their size at most" in out
    assert f"value: {best.value * 1.25!r} is stored, {best.value!r} came out" in out


def test_the_weights_of_the_best_trial_are_saved(run: Run) -> None:
    ran(STUDY)
    best = optuna.load_study(study_name=None, storage="sqlite:///study.db").best_trial
    code, _, err = run("best", "study.yaml", "--save", "models/best.pt")
    assert code == 0
    assert "saved models/best.pt" in err
    assert "last run with" not in err
    training = TaskBuilder("xor", {"hidden": 4, "steps": 40})(dict(best.params))
    training.model.load_state_dict(torch.load("models/best.pt"))
    assert isinstance(training.data, tuple)
    inputs, target = training.data
    with torch.no_grad():
        assert float(training.loss_fn(training.model(inputs), target)) == pytest.approx(
            best.value, rel=1e-12
        )


def test_what_cannot_be_trained_again_is_refused(run: Run) -> None:
    ran(FUNCTION)
    assert "has no trial 99; it has: 0 to 5" in run("replay", "study.db", "--trial", "99")[2]
    assert "no trained model of ours" in run("best", "study.db", "--save", "x.pt")[2]
    study = optuna.create_study(study_name="plain", storage="sqlite:///plain.db")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    study.ask()
    code, _, err = run("replay", "plain.db", "--trial", "0")
    assert code == 2
    assert "give the study file instead of the storage" in err
    file = load_study_file("study.yaml", ["storage=sqlite:///plain.db"])
    with pytest.raises(UserError, match="is of study 'study', not of 'plain'"):
        replay(file, "plain", 0)
    file = load_study_file("study.yaml", ["storage=sqlite:///plain.db", "study_name=plain"])
    with pytest.raises(UserError, match="trial 1 is running"):
        replay(file, "plain", 1)


@pytest.mark.parametrize("text", [STUDY, PROMOTING], ids=["task", "promoting"])
def test_a_file_that_has_changed_is_said(run: Run, text: str) -> None:
    path = Path(ran(text))
    study = optuna.load_study(study_name="study", storage="sqlite:///study.db")
    arguments = (
        "replay",
        "study.yaml",
        "--study",
        "study",
        "--trial",
        str(study.best_trial.number),
    )
    assert "last run with" not in run(*arguments)[2]
    path.write_text(path.read_text().replace("hidden: 4", "hidden: 8"))
    code, out, err = run(*arguments)
    assert code == 1
    assert "differ" in out
    assert "study.yaml is not what the study was last run with" in err
