"""A study that begins with another study's trials."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from networks import tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler

from lyapopt.probe import Probe
from lyapopt.search import (
    EdgeOfChaosSampler,
    Objective,
    ScreeningSampler,
    SearchSpace,
    SteeringFailedError,
)
from lyapopt.search.screening import SCREENING, ScreeningRecord
from lyapopt.search.steering import STEERING, SteeringRecord
from lyapopt.store import TrajectoryStore

SPACE = SearchSpace({"lr": FloatDistribution(1e-3, 1.0, log=True), "width": IntDistribution(4, 8)})
PROBE = Probe(horizon=6)


def edge(seed: int = 0) -> EdgeOfChaosSampler:
    return EdgeOfChaosSampler(
        TPESampler(seed=seed), build=tanh_network, probe=PROBE, search_space=SPACE, seed=seed
    )


def warm(sampler: Any, others: list[optuna.trial.FrozenTrial], **options: Any) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, **options)
    study.add_trials(others)
    return study


def steered_trials(target: float, count: int = 40) -> list[optuna.trial.FrozenTrial]:
    """Trials of an earlier study, all of whose best were steered to `target`."""
    record = SteeringRecord("lr", 0.1, target, target, "crossed", 0.1, "SGD", 240, 240, ())
    return [
        optuna.trial.create_trial(
            params={"lr": 0.1, "width": 4 + k % 5},
            distributions=SPACE.distributions,
            value=float(k),
            user_attrs={STEERING: record.as_attribute()},
        )
        for k in range(count)
    ]


def test_steering_aims_at_what_was_good_in_the_other_study() -> None:
    def targets(study: optuna.Study) -> list[float]:
        found = []
        for _ in range(6):
            trial = study.ask()
            SPACE.suggest(trial)
            found.append(study.trials[trial.number].user_attrs[STEERING]["target"])
        return found

    cold = targets(optuna.create_study(sampler=edge()))
    warmed = targets(warm(edge(), steered_trials(0.1)))
    assert sum(warmed) > 4 * sum(cold)


def test_screening_forecasts_from_the_candidates_of_the_other_study() -> None:
    def screening() -> ScreeningSampler:
        return ScreeningSampler(
            RandomSampler(0),
            build=tanh_network,
            probe=PROBE,
            candidates=6,
            rule="forecast",
            search_space=SPACE,
        )

    other = optuna.create_study(sampler=screening())
    other.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=12)
    # The other way round than early losses have it: the forecast can only know it from trials.
    reversed_ = []
    for trial in other.trials:
        record = ScreeningRecord.of_trial(trial)
        assert record is not None
        early = record.candidates[record.chosen].early_loss
        assert early is not None
        trial.value = -early
        reversed_.append(trial)
    study = warm(screening(), reversed_)
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=4)
    by_early_loss = 0
    for trial in study.trials[12:]:
        record = ScreeningRecord.of_trial(trial)
        assert record is not None
        losses = [c.early_loss for c in record.candidates]
        by_early_loss += losses[record.chosen] == min(x for x in losses if x is not None)
    assert by_early_loss < 4


def test_new_trials_have_runs_of_their_own_and_leave_those_of_the_other_study_alone(
    tmp_path: Any,
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    store = TrajectoryStore(url)
    objective = Objective(tanh_network, SPACE, probe=PROBE, store=store)
    other = optuna.create_study(storage=url, study_name="other", sampler=edge())
    other.optimize(objective, n_trials=3)
    before = store.exponents("other")
    study = warm(edge(), other.trials, storage=url, study_name="warm")
    study.optimize(objective, n_trials=3)
    runs = [trial.user_attrs["lyapopt:run"] for trial in study.trials]
    assert runs[:3] == [trial.user_attrs["lyapopt:run"] for trial in other.trials]
    assert len(set(runs)) == 6
    assert store.exponents("other").equals(before)
    for trial in study.trials[3:]:
        kept = store.read(trial.user_attrs["lyapopt:run"])
        assert (kept.study_name, kept.trial_number) == ("warm", trial.number)
    optuna.delete_study(study_name="warm", storage=url)
    store.gc(grace=0)
    assert store.exponents("other").equals(before)


def test_attributes_that_are_no_records_are_passed_over() -> None:
    broken = [
        optuna.trial.create_trial(
            params={"lr": 0.1, "width": 4},
            distributions=SPACE.distributions,
            value=1.0,
            user_attrs={STEERING: odd, SCREENING: odd, "exponent": "high"},
        )
        for odd in ("nothing", 3, [1], {})
    ]
    study = warm(edge(), broken)
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=1)
    assert study.trials[-1].state == optuna.trial.TrialState.COMPLETE
    with pytest.raises(SteeringFailedError):
        warm(
            EdgeOfChaosSampler(build=lambda params: params["depth"], search_space=SPACE), broken
        ).ask(SPACE.distributions)
