"""What a sampler has probed is what the trial then trains, whatever draws the parameters."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, QMCSampler, RandomSampler, TPESampler

from lyapopt.probe import Probe
from lyapopt.search import EdgeOfChaosSampler, Objective, ScreeningSampler, SearchSpace
from lyapopt.search.screening import SCREENING
from lyapopt.search.steering import STEERING
from lyapopt.tasks.builder import TaskBuilder

SPACE = SearchSpace(
    {
        "momentum": FloatDistribution(0.1, 0.9, step=0.1),
        "lr": FloatDistribution(1e-2, 1.0, log=True),
        "activation": CategoricalDistribution(["relu", "tanh"]),
        "weight_decay": 0.1,
    },
    {"momentum": {"activation": "relu"}, "weight_decay": {"activation": "tanh"}},
)
BUILD = TaskBuilder("xor", {"steps": 12})
PROBE = Probe(horizon=6)
ENQUEUED: list[dict[str, Any]] = [
    {"activation": "relu", "momentum": 0.9},
    {"activation": "tanh", "momentum": 0.9},
    {"activation": "relu", "momentum": 0.2, "lr": 0.3},
]
BASES = {
    "cma-es": CmaEsSampler,
    "multivariate tpe": lambda seed: TPESampler(seed=seed, multivariate=True, n_startup_trials=3),
    "qmc": lambda seed: QMCSampler(scramble=True, seed=seed),
    "random": RandomSampler,
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=3),
}


def screening(base: BaseSampler, seed: int) -> BaseSampler:
    return ScreeningSampler(
        base, build=BUILD, probe=PROBE, candidates=3, search_space=SPACE, seed=seed
    )


def steering(base: BaseSampler, seed: int) -> BaseSampler:
    return EdgeOfChaosSampler(
        base, build=BUILD, probe=PROBE, search_space=SPACE, rounds=1, seed=seed
    )


def run(sampler: BaseSampler, enqueued: list[dict[str, Any]], trials: int, seed: int) -> Any:
    study = optuna.create_study(sampler=sampler)
    for params in enqueued:
        study.enqueue_trial(params)
    objective = Objective(BUILD, SPACE, value="exponent", probe=PROBE, record=False, seed=seed)
    study.optimize(objective, n_trials=trials)
    return study.trials


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("probing", [screening, steering])
def test_the_exponent_of_a_trial_is_that_of_its_own_parameters(
    probing: Any, base: str, seed: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = probing(BASES[base](seed=seed), seed)
    found = run(sampler, ENQUEUED, 8, seed)
    for trial, params in zip(found, ENQUEUED, strict=False):
        kept = SPACE.with_constants(params).items() - {("weight_decay", 0.1)}
        assert kept <= trial.params.items()
    again = run(RandomSampler(), [trial.params for trial in found], len(found), seed)
    assert [trial.params for trial in found] == [trial.params for trial in again]
    exponents = [trial.value for trial in again]
    assert [trial.value for trial in found] == pytest.approx(exponents, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("probing", [screening, steering])
def test_what_is_probed_is_taken_over_also_where_parameters_have_conditions(
    probing: Any,
) -> None:
    for trial in run(probing(CmaEsSampler(seed=0), 0), [], 6, 0):
        [kept] = [v for n, v in trial.user_attrs.items() if n in (SCREENING, STEERING)]
        assert trial.user_attrs["gradient_evaluations"] == kept["gradient_evaluations"]


def test_a_probe_of_other_parameters_is_not_taken_over() -> None:
    """As where a callable space gives the build function more than was suggested."""
    space: dict[str, Any] = {"lr": FloatDistribution(1e-2, 1.0)}
    sampler = ScreeningSampler(
        RandomSampler(0), build=BUILD, probe=PROBE, candidates=2, search_space=space, seed=0
    )

    def space_of(trial: optuna.Trial) -> dict[str, Any]:
        return {"lr": trial.suggest_float("lr", 1e-2, 1.0), "momentum": 0.9}

    screened, plain = (optuna.create_study(sampler=s) for s in (sampler, RandomSampler()))
    objective = Objective(BUILD, space_of, value="exponent", probe=PROBE, record=False, seed=0)
    screened.optimize(objective, n_trials=1)
    plain.enqueue_trial(screened.best_params)
    plain.optimize(objective, n_trials=1)
    assert screened.best_value == pytest.approx(plain.best_value, rel=1e-6)


def test_candidates_that_are_drawn_one_by_one_are_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("optuna")
    logger.addHandler(caplog.handler)
    try:
        run(screening(CmaEsSampler(seed=0), 0), [], 4, 0)
    finally:
        logger.removeHandler(caplog.handler)
    assert not [each for each in caplog.records if "independently" in each.getMessage()]
