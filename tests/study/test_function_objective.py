"""Study files whose objective is the user's own function."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lyapopt import registry
from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.study.admin.doctor import examine
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study

OBJECTIVE = """
import optuna
import torch


def objective(trial, offset):
    x = trial.suggest_float("x", -1, 1)
    if x > 0.8:
        raise RuntimeError("x is too large")
    if x < -0.8:
        raise optuna.TrialPruned("x is too small")
    if -0.1 < x < 0.1:
        return float("nan")
    return x**2 + offset + 1e-3 * torch.rand(()).item()
"""
STUDY = """
study_name: own
storage: sqlite:///{path}/{name}.db
objective: {{call: "own_objective:objective", kwargs: {{offset: 1.0}}}}
sampler: random
n_trials: 40
"""


def run(folder: Path, name: str) -> optuna.Study:
    (folder / "own_objective.py").write_text(OBJECTIVE)
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(path=folder, name=name))
    file = load_study_file(path)
    run_study(file)
    return optuna.load_study(study_name="own", storage=file.storage)


def test_a_function_s_trials_end_as_it_says(tmp_path: Path) -> None:
    study = run(tmp_path, "a")
    assert len(study.trials) == 40
    for trial in study.trials:
        x = trial.params["x"]
        if x > 0.8:
            assert trial.state == TrialState.FAIL
        elif x < -0.8 or -0.1 < x < 0.1:  # `on_failure.nan` is `prune` unless the file says else
            assert trial.state == TrialState.PRUNED
        else:
            assert trial.state == TrialState.COMPLETE
            assert trial.value is not None
            assert 1 <= trial.value - x**2 < 1.001
    with TrajectoryStore(f"sqlite:///{tmp_path}/a.db", create=False) as store:
        reasons = store.runs("own").set_index("trial_number")["reason"]
    failed = [t.number for t in study.trials if t.params["x"] > 0.8]
    assert all("x is too large" in reasons[number] for number in failed)


def test_the_same_seed_gives_a_function_the_same_numbers(tmp_path: Path) -> None:
    first, second = run(tmp_path, "a"), run(tmp_path, "b")
    assert [t.values for t in first.trials] == [t.values for t in second.trials]


def test_a_sampler_whose_package_is_installed_runs_by_name(tmp_path: Path) -> None:
    (tmp_path / "returning.py").write_text(RETURNS)
    path = tmp_path / "cma.yaml"
    path.write_text(
        f"study_name: r\nstorage: sqlite:///{tmp_path}/r.db\nn_trials: 8\nsampler: cma-es\n"
        'objective: {call: "returning:objective", kwargs: {what: one}}\n'
    )
    assert run_study(load_study_file(path)).new == 8


def test_a_sampler_whose_package_is_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(registry._BY_CLASS["CmaEsSampler"], package="no_such_package_here")
    monkeypatch.setitem(registry._BY_CLASS, "CmaEsSampler", row)
    path = tmp_path / "cma.yaml"
    path.write_text(
        f"study_name: r\nstorage: sqlite:///{tmp_path}/r.db\nn_trials: 8\nsampler: cma-es\n"
        'objective: {call: "a:b"}\n'
    )
    with pytest.raises(UserError, match="pip install no_such_package_here"):
        load_study_file(path)


RETURNS = """
import math
from dataclasses import replace
from pathlib import Path


def objective(trial, what):
    x = trial.suggest_float("x", 0, 1)
    returned = {"none": None, "one": x, "pair": (x, -x), "text": "hello", "nan": math.nan}
    return returned[what]
"""


def returning(folder: Path, what: str, more: str = "") -> list[optuna.trial.FrozenTrial]:
    (folder / "returning.py").write_text(RETURNS)
    path = folder / "returning.yaml"
    path.write_text(
        f"study_name: r\nstorage: sqlite:///{folder}/r.db\nn_trials: 2\n{more}\n"
        f'objective: {{call: "returning:objective", kwargs: {{what: {what}}}}}\n'
    )
    run_study(load_study_file(path))
    return optuna.load_study(study_name="r", storage=f"sqlite:///{folder}/r.db").trials


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("none", "returned None: is there a path without a `return`?"),
        ("pair", "returned 2 values, and the study has 1 direction"),
        ("text", "returned 'hello', which is no number"),
    ],
)
def test_what_is_no_value_fails_the_trial_and_says_why(
    tmp_path: Path, what: str, reason: str
) -> None:
    trials = returning(tmp_path, what)
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    with TrajectoryStore(f"sqlite:///{tmp_path}/r.db", create=False) as store:
        assert all(reason in stored for stored in store.runs("r")["reason"])


@pytest.mark.parametrize(
    ("policy", "state"),
    [("prune", TrialState.PRUNED), ("fail", TrialState.FAIL), ("worst", TrialState.COMPLETE)],
)
def test_a_value_that_is_nan_becomes_what_the_file_says(
    tmp_path: Path, policy: str, state: TrialState
) -> None:
    more = f"direction: maximize\non_failure: {{nan: {policy}}}"
    trials = returning(tmp_path, "nan", more)
    assert [trial.state for trial in trials] == [state] * 2
    if policy == "worst":
        assert [trial.value for trial in trials] == [-math.inf] * 2


def test_an_objective_may_have_several_values(tmp_path: Path) -> None:
    trials = returning(tmp_path, "pair", "directions: [minimize, maximize]")
    for trial in trials:
        assert trial.values == [trial.params["x"], -trial.params["x"]]


WATCHED = """
import lyapopt
import torch
from torch import nn
from lyapopt import Objective, Probe
from lyapopt.tasks.builder import TaskBuilder
from optuna.distributions import FloatDistribution


def watched(trial):
    lr = trial.suggest_float("lr", 0.01, 0.1)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    monitor = lyapopt.watch(trial, model, optimizer, nn.functional.mse_loss, horizon=4)
    for _ in range(9):
        monitor.observe(torch.ones(2, 3), torch.zeros(2, 1))
        optimizer.step()
        monitor.should_stop()
    if trial.number == 1:
        raise ValueError("after all that")
    return lr


def folds(trial):
    build = TaskBuilder("xor", {"steps": 8})
    one = Objective(build, {"lr": FloatDistribution(0.01, 0.1)}, probe=Probe(horizon=4))
    return one(trial) + one(trial)
"""


@pytest.mark.parametrize(("name", "cost"), [("watched", 2 * 4 + 9), ("folds", None)])
def test_what_is_measured_inside_a_function_is_kept_with_its_trial(
    name: str, cost: float | None, tmp_path: Path
) -> None:
    (tmp_path / "measuring.py").write_text(WATCHED)
    url = f"sqlite:///{tmp_path}/a.db"
    path = tmp_path / "a.yaml"
    text = STUDY.format(path=tmp_path, name="a").replace("n_trials: 40", "n_trials: 2")
    call = f'objective: {{call: "measuring:{name}"}}'
    path.write_text(text.replace(text.splitlines()[3], call))
    run_study(load_study_file(path))
    study = optuna.load_study(study_name="own", storage=url)
    assert len(study.trials) == 2
    with TrajectoryStore(url, create=False) as store:
        runs = store.runs("own")
        assert set(runs["run"]) == set(store.all_runs())
        assert store.array("separation", "own", 1).shape == (5, 1)
        assert store.array("loss", "own", 0).shape == ((4,) if name == "watched" else (8,))
        exponents = store.exponents("own")["value"].tolist()
    shown = [trial.user_attrs["exponent"] for trial in study.trials]
    assert shown == pytest.approx(exponents, rel=1e-5)
    costs = [trial.user_attrs["gradient_evaluations"] for trial in study.trials]
    assert costs == pytest.approx(runs["gradient_evaluations"].tolist(), rel=1e-5)
    assert cost is None or costs == [cost] * 2
    assert not [each for each in examine(url) if each.level == "wrong"]
