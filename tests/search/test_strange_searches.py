"""Searches that are odd or wrong: they work, or say what is the matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
import torch
from networks import Quadratic, tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

import lyapopt
from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search import (
    EdgeOfChaosSampler,
    Objective,
    ScreeningSampler,
    SearchSpace,
    SteeringFailedError,
)
from lyapopt.search.screening import ScreeningRecord
from lyapopt.search.steering import STEERING

LR = FloatDistribution(1e-4, 10.0, log=True)
PROBE = Probe(horizon=5)


def edge(build: Any, **options: Any) -> optuna.Study:
    sampler = EdgeOfChaosSampler(build=build, probe=PROBE, seed=0, target=0.01, **options)
    return optuna.create_study(sampler=sampler)


@pytest.mark.parametrize("name", ["", "a b", "ü/λ", "lyapopt:steering", "x" * 300, "lr.0", "{}"])
def test_a_steered_parameter_may_be_named_anything(name: str) -> None:
    study = edge(Quadratic(rate=name), steer=name)
    trial = study.ask({name: LR})
    assert study.trials[0].user_attrs[STEERING]["name"] == name
    assert 0.1 < trial.params[name] < 0.4


@pytest.mark.parametrize(
    ("distribution", "curvature"),
    [
        (IntDistribution(1, 100), 0.05),
        (IntDistribution(1, 100, log=True), 0.05),
        (IntDistribution(1, 99, step=7), 0.05),
        (IntDistribution(0, 100), 0.05),
        (FloatDistribution(0, 80, step=5.0), 0.05),
        (FloatDistribution(0, 1), 10.0),
        (FloatDistribution(-1e-9, 0.5), 10.0),
    ],
)
def test_ranges_of_every_kind_are_steered_to_their_edge(
    distribution: Any, curvature: float
) -> None:
    rate = edge(Quadratic(curvature=curvature), rounds=5).ask({"lr": distribution}).params["lr"]
    assert distribution._contains(distribution.to_internal_repr(rate))
    assert 1 / curvature < rate < 2.4 / curvature  # the edge lies at two


@pytest.mark.parametrize(
    "distribution", [FloatDistribution(0.1, 0.1), IntDistribution(3, 3), FloatDistribution(0, 0)]
)
def test_a_range_of_one_point_costs_no_probe(distribution: Any) -> None:
    build = Quadratic()
    assert edge(build).ask({"lr": distribution}).params["lr"] == distribution.low
    assert not build.seen


def test_networks_that_are_not_finite_fail_their_trials_and_not_the_study() -> None:
    def build(params: Mapping[str, Any]) -> Training:
        training = tanh_network(params)
        with torch.no_grad():
            next(training.model.parameters()).fill_(math.nan)
        return training

    study = edge(build)
    study.optimize(Objective(build, {"lr": LR}, probe=PROBE), n_trials=2, catch=(Exception,))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    assert all(trial.user_attrs["gradient_evaluations"] > 0 for trial in study.trials)
    with pytest.raises(SteeringFailedError, match="not finite"):
        lyapopt.steer(build)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyError("depth")])
def test_a_build_function_that_raises_in_a_probe_fails_its_trial(error: BaseException) -> None:
    def build(params: Mapping[str, Any]) -> Training:
        raise error

    for sampler in (
        EdgeOfChaosSampler(build=build, probe=PROBE),
        ScreeningSampler(build=build, probe=PROBE, search_space={"lr": LR}),
    ):
        study = optuna.create_study(sampler=sampler)
        study.optimize(
            lambda trial: trial.suggest_float("lr", 1e-4, 10, log=True),
            n_trials=2,
            catch=(SteeringFailedError,),
        )
        assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2


def test_a_study_of_which_every_trial_was_pruned_goes_on() -> None:
    study = edge(Quadratic())

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("width", 1, 9)
        trial.suggest_float("lr", 1e-4, 10, log=True)
        raise optuna.TrialPruned

    study.optimize(objective, n_trials=15)
    assert {trial.state for trial in study.trials} == {TrialState.PRUNED}


def test_samplers_that_probe_do_not_wrap_one_another() -> None:
    space = {"lr": LR}
    steering = EdgeOfChaosSampler(build=tanh_network, search_space=space)
    screening = ScreeningSampler(build=tanh_network, search_space=space)
    with pytest.raises(UserError, match="its base must not probe itself, as ScreeningSampler"):
        EdgeOfChaosSampler(screening, build=tanh_network)
    with pytest.raises(UserError, match="its base must not probe itself, as EdgeOfChaosSampler"):
        ScreeningSampler(steering, build=tanh_network)


def test_conditions_hold_for_screened_candidates() -> None:
    space = SearchSpace(
        {"optimizer": ["sgd", "adam"], "lr": LR, "width": IntDistribution(4, 8)},
        conditions={"width": {"optimizer": "adam"}},
    )
    sampler = ScreeningSampler(
        TPESampler(n_startup_trials=2, seed=0),
        build=tanh_network,
        probe=PROBE,
        search_space=space,
        candidates=3,
        seed=0,
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(Objective(tanh_network, space, probe=PROBE, seed=0), n_trials=8)
    for trial in study.trials:
        assert ("width" in trial.params) == (trial.params["optimizer"] == "adam")


def test_a_condition_on_a_constant_holds_for_screened_candidates() -> None:
    space = SearchSpace(
        {"optimizer": "adam", "lr": LR, "width": IntDistribution(4, 8)},
        conditions={"width": {"optimizer": "adam"}},
    )
    sampler = ScreeningSampler(
        build=tanh_network, probe=PROBE, search_space=space, candidates=2, seed=0
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(Objective(tanh_network, space, probe=PROBE, seed=0), n_trials=1)
    record = ScreeningRecord.of_trial(study.trials[0])
    assert record is not None
    assert all("width" in candidate.params for candidate in record.candidates)


def test_steer_says_when_the_rate_is_not_read() -> None:
    with pytest.raises(UserError, match="does build read params\\['eta'\\]"):
        lyapopt.steer(lambda params: tanh_network({"lr": 0.1}), name="eta")
    with pytest.raises(SteeringFailedError, match="given: lr; `name` says"):
        lyapopt.steer(lambda params: tanh_network({"lr": params["eta"]}))


@pytest.mark.parametrize("sampler_class", [EdgeOfChaosSampler, ScreeningSampler])
def test_samplers_work_with_the_study_that_a_hyperband_bracket_shows(sampler_class: Any) -> None:
    space = {"lr": FloatDistribution(1e-3, 1.0, log=True), "width": IntDistribution(4, 8)}
    sampler = sampler_class(build=tanh_network, probe=PROBE, search_space=space, seed=0)
    pruner = optuna.pruners.HyperbandPruner(min_resource=5, max_resource=60)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(Objective(tanh_network, space, probe=PROBE, seed=0, reports=4), n_trials=12)
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    probed = {"lyapopt:steering", "lyapopt:screening"}
    assert all(probed & set(trial.user_attrs) for trial in study.trials)
