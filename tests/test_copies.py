"""Every public object has pickles and copies that behave as it does."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.trial import FixedTrial
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lyapopt
from lyapopt.paper import GatedPercentilePruner
from lyapopt.search.monitor import Monitor
from lyapopt.search.steering import Steering

SPACE = {"lr": FloatDistribution(1e-3, 1.0, log=True)}
X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
PROBE = lyapopt.Probe(horizon=4, neighbours=2)


def build(params: dict[str, Any]) -> lyapopt.Training:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.1), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=params.get("lr", 0.1), momentum=0.9)
    data = DataLoader(TensorDataset(X, X[:, :1]), batch_size=8, shuffle=True)
    return lyapopt.Training(model, nn.functional.mse_loss, optimizer, data, steps=6)


def training_map() -> lyapopt.TrainingMap:
    step = lyapopt.TrainingMap([build({"lr": 0.1}), build({"lr": 0.2})])
    step(step.initial_state(), 0)
    return step


def measured(function: Callable[..., Any]) -> Any:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return function(model, nn.MSELoss(), optimizer, (X, X[:, :1]), horizon=4)


def monitor(trial: Any = None) -> Monitor:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = lyapopt.watch(trial, model, optimizer, nn.functional.mse_loss, horizon=4)
    found.observe(X, X[:, :1])
    return found


def study_data(url: str) -> lyapopt.StudyData:
    study = optuna.create_study(storage=url, study_name="s")
    study.optimize(lyapopt.Objective(build, SPACE, probe=PROBE), n_trials=2)
    return lyapopt.load(url, "s")


def store(url: str) -> lyapopt.TrajectoryStore:
    study_data(url)
    return lyapopt.TrajectoryStore(url)


def study_names(storage: lyapopt.BufferedStorage) -> list[str]:
    optuna.create_study(storage=storage, study_name="new", load_if_exists=True)
    return [study.study_name for study in storage.get_all_studies()]


def values(measurement: Any) -> Any:
    return repr(measurement), measurement.value, vars(measurement.interval())


def one_step(step: lyapopt.TrainingMap) -> Any:
    z, losses = step.step_with_losses(step.initial_state(), 0)
    return z, losses, step.gradient_evaluations, step.examples


def proposals(sampler: Any) -> Any:
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=3)
    return [trial.params for trial in study.trials]


def decisions(pruner: Any) -> Any:
    study = optuna.create_study(pruner=pruner)
    found = []
    for losses in ([1.0, 0.5, 0.2, 0.1], [1.0, 0.9, 0.8, 0.7], [1.0, 1.0, 1.0, 1.0]):
        trial = study.ask()
        for step, loss in enumerate(losses):
            trial.report(loss, step)
            found.append(trial.should_prune())
        study.tell(trial, losses[-1])
    return found


def rest(watching: Monitor) -> Any:
    for _ in range(4):
        watching.observe(X, X[:, :1])
    return watching.exponent, watching.verdict, watching.gradient_evaluations


def itself(value: Any) -> Any:
    return value


def arguments(callback: Any) -> Any:
    return {name: value for name, value in vars(callback).items() if name != "monitor"}


TPE = optuna.samplers.TPESampler
OBJECTS: dict[str, tuple[Callable[[str], Any], Callable[[Any], Any]]] = {
    "BufferedStorage": (lyapopt.BufferedStorage, study_names),
    "EdgeOfChaosSampler": (
        lambda _: lyapopt.EdgeOfChaosSampler(TPE(seed=0), build=build, probe=PROBE),
        proposals,
    ),
    "Exponent": (lambda _: measured(lyapopt.training_exponent), values),
    "GatedPercentilePruner": (lambda _: GatedPercentilePruner(), decisions),
    "LyapunovPruner": (lambda _: lyapopt.LyapunovPruner(), decisions),
    "Measurement": (lambda _: PROBE.measure([build({})])[0], itself),
    "Objective": (
        lambda _: lyapopt.Objective(build, SPACE, probe=PROBE),
        lambda objective: objective(FixedTrial({"lr": 0.1})),
    ),
    "Probe": (lambda _: PROBE, itself),
    "ScreeningSampler": (
        lambda _: lyapopt.ScreeningSampler(
            TPE(seed=0), build=build, search_space=SPACE, probe=PROBE, candidates=2
        ),
        proposals,
    ),
    "SearchSpace": (lambda _: lyapopt.SearchSpace(SPACE), itself),
    "SeededSampler": (lambda _: lyapopt.SeededSampler(TPE(), 0), proposals),
    "Spectrum": (lambda _: measured(lyapopt.training_spectrum), lambda s: (repr(s), s.values)),
    "StudyData": (study_data, lambda data: (repr(data), data.trials)),
    "Training": (lambda _: build({}), lambda training: one_step(lyapopt.TrainingMap([training]))),
    "TrainingMap": (lambda _: training_map(), one_step),
    "TrajectoryStore": (store, lambda opened: (repr(opened), opened.runs())),
    "UserError": (
        lambda _: lyapopt.UserError("what to do"),
        str,
    ),
    "Verdict": (lambda _: lyapopt.Verdict.HOT, itself),
    "Steering": (lambda _: lyapopt.steer(build, steps=400), itself),
    "Monitor": (lambda _: monitor(), rest),
    "LightningWatch": (lambda _: lyapopt.LightningWatch(horizon=4), arguments),
    "SkorchWatch": (lambda _: lyapopt.SkorchWatch(horizon=4), arguments),
}


def test_every_public_class_is_here() -> None:
    classes = {name for name in lyapopt.__all__ if inspect.isclass(getattr(lyapopt, name))}
    protocols = {name for name in classes if getattr(getattr(lyapopt, name), "_is_protocol", False)}
    assert classes - protocols <= set(OBJECTS)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    return bool(a.equals(b)) if hasattr(a, "equals") else bool(a == b)


@pytest.mark.parametrize("name", OBJECTS)
def test_copies_behave_as_their_originals(name: str, tmp_path: Path) -> None:
    make, behaviour = OBJECTS[name]
    original = make(f"sqlite:///{tmp_path}/study.db")
    copies = [copy.deepcopy(original), pickle.loads(pickle.dumps(original))]
    copies.append(pickle.loads(pickle.dumps(copies[0])))
    assert all(type(copied) is type(original) for copied in copies)
    expected = behaviour(original)
    for copied in copies:
        assert same(behaviour(copied), expected)


def test_a_copy_of_a_monitor_measures_on_and_leaves_the_trial_to_the_original() -> None:
    trial = optuna.create_study().ask()
    original = monitor(trial)
    copied = copy.deepcopy(original)
    exponent, _, cost = rest(copied)
    assert exponent is not None
    assert "exponent" not in trial.user_attrs
    assert not copied.should_stop()
    assert rest(original)[::2] == (exponent, cost)
    assert trial.user_attrs["exponent"] == pytest.approx(exponent, rel=1e-3)


def test_measurements_and_steerings_are_equal_where_their_numbers_are() -> None:
    one, other = (PROBE.measure([build({"lr": lr})])[0] for lr in (0.1, 0.2))
    assert one == PROBE.measure([build({"lr": 0.1})])[0]
    assert one != other
    assert isinstance(found := lyapopt.steer(build, steps=400), Steering)
    assert found == lyapopt.steer(build, steps=400)
    assert found != lyapopt.steer(build, steps=200)
