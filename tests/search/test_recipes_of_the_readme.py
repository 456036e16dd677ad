"""The blocks of the README run as they are, with fewer trials."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import optuna
import pytest
import torch
from recipes import recipe_with
from torch import nn

import lyapopt
from lyapopt import LyapunovPruner


@pytest.mark.parametrize(("rate", "state"), [(100.0, "PRUNED"), (0.05, "COMPLETE")])
def test_three_lines_watch_a_loop_of_ones_own(rate: float, state: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        model, loss_fn = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        batches = [(torch.ones(8, 3), torch.ones(8, 1)) for _ in range(25)]
        training = "optimizer.zero_grad(); loss_fn(model(x), y).backward(); optimizer.step()"
        names = {"trial": trial, "model": model, "optimizer": optimizer, "loss_fn": loss_fn}
        recipe = recipe_with("monitor.observe(x, y)").replace("...", training)
        names |= {"batches": batches, "lyapopt": lyapopt, "optuna": optuna}
        exec(recipe, names)
        return 0.0

    study = optuna.create_study(pruner=LyapunovPruner())
    study.optimize(objective, n_trials=1)
    assert [trial.state.name for trial in study.trials] == [state]


@pytest.mark.slow
def test_a_network_of_ones_own_by_a_study_file_and_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mytask", raising=False)
    (tmp_path / "mytask.py").write_text(recipe_with("def build(params)").replace("300", "30"))
    importlib.invalidate_caches()
    file = recipe_with("task: {build", "yaml").replace("n_trials: 30", "n_trials: 2")
    (tmp_path / "mystudy.yaml").write_text(file)
    lyapopt.run_study(lyapopt.load_study_file("mystudy.yaml"))
    assert len(lyapopt.load("runs/mine.db").trials) == 2
    names: dict[str, object] = {}
    exec(recipe_with("from mytask import build").replace("n_trials=30", "n_trials=2"), names)
    measured, study = names["measurement"], names["study"]
    assert isinstance(measured, lyapopt.Measurement)
    assert isinstance(study, optuna.Study)
    assert len(study.trials) == 2


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_three_lines_train_many_a_little_and_the_best_in_full(direction: str) -> None:
    study, full = [optuna.create_study(direction=direction) for _ in range(2)]
    trained: list[tuple[int, float]] = []

    def objective(trial: optuna.Trial, steps: int = 2000) -> float:
        x = trial.suggest_float("x", -1.0, 1.0)
        trained.append((steps, x))
        if trial.number == 3 and steps == 75:
            raise optuna.TrialPruned
        return x

    recipe = recipe_with("lyapopt.enqueue_best")
    assert len(recipe.strip().splitlines()) == 3
    exec(recipe, {"study": study, "full": full, "objective": objective, "lyapopt": lyapopt})
    short = [x for steps, x in trained if steps == 75]
    assert len(short) == 60
    del short[3]
    best = sorted(short, reverse=direction == "maximize")[:5]
    assert [x for steps, x in trained if steps == 2000] == best
