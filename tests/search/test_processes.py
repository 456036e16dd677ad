"""Seeded samplers in spawned processes and in threads: the same study as here."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from networks import Quadratic, tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from lyapopt.probe import Probe
from lyapopt.search import EdgeOfChaosSampler, Objective, ScreeningSampler

SPACE = {"lr": FloatDistribution(1e-3, 1.0, log=True), "width": IntDistribution(4, 8)}
PROBE = Probe(horizon=6)


def sampler(which: str) -> BaseSampler:
    make: Any = {"edge": EdgeOfChaosSampler, "screening": ScreeningSampler}[which]
    return make(  # type: ignore[no-any-return]
        TPESampler(n_startup_trials=2, seed=4),
        build=tanh_network,
        probe=PROBE,
        search_space=SPACE,
        seed=4,
        **({"candidates": 4} if which == "screening" else {}),
    )


def trials(given: BaseSampler) -> list[Any]:
    """Parameters, values and attributes of a short study."""
    study = optuna.create_study(sampler=given)
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE, seed=4), n_trials=5)
    return [(trial.params, trial.value, dict(trial.user_attrs)) for trial in study.trials]


def _find_modules(folder: str) -> None:
    sys.path.insert(0, folder)


@pytest.mark.parametrize("which", ["edge", "screening"])
def test_a_spawned_process_gets_the_same_study_from_the_same_seed(which: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        1, context, initializer=_find_modules, initargs=(str(Path(__file__).parent),)
    ) as pool:
        there = pool.submit(trials, sampler(which)).result()  # the sampler travels by pickle
    assert there == trials(sampler(which))


@pytest.mark.parametrize("which", ["edge", "screening"])
def test_threads_share_a_sampler(which: str, tmp_path: Path) -> None:
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/a.db",
        sampler=sampler(which),
        pruner=optuna.pruners.NopPruner(),
    )
    objective = Objective(tanh_network, SPACE, probe=PROBE, seed=4)
    study.optimize(objective, n_trials=8, n_jobs=4)
    assert len(study.trials) == 8
    for trial in study.trials:
        # What is drawn depends on which trials have ended, and the highest rates diverge.
        has_diverged = trial.user_attrs["verdict"] == "diverged"
        assert trial.state == (TrialState.PRUNED if has_diverged else TrialState.COMPLETE)
        record = trial.user_attrs[f"lyapopt:{'steering' if which == 'edge' else 'screening'}"]
        if which == "edge":
            assert record["value"] == trial.params["lr"]
        else:
            assert record["candidates"][record["chosen"]][0] == trial.params


def test_what_a_thread_steers_follows_from_seed_and_number_alone() -> None:
    def rates(n_jobs: int) -> dict[int, float]:
        steering = EdgeOfChaosSampler(RandomSampler(0), build=Quadratic(), seed=0)
        study = optuna.create_study(sampler=steering, pruner=optuna.pruners.NopPruner())

        def objective(trial: optuna.Trial) -> float:
            trial.suggest_float("lr", 1e-4, 10, log=True)
            raise optuna.TrialPruned  # no history, which would depend on who is first

        study.optimize(objective, n_trials=8, n_jobs=n_jobs)
        return {trial.number: trial.params["lr"] for trial in study.trials}

    assert rates(4) == rates(1)
