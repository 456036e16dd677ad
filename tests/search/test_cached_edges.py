"""Cached edges: which trials need no probes, and where their rates lie."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from networks import Quadratic, tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.search import EdgeOfChaosSampler, Objective, SearchSpace, SeedParameter, attributes
from lyapopt.search.probing.records import DRAWN
from lyapopt.search.steering import STEERING, SteeringRecord

LR = FloatDistribution(1e-4, 10.0, log=True)
CURVATURES = {"flat": 2.0, "steep": 20.0}
optuna.logging.set_verbosity(optuna.logging.WARNING)


def valley(params: Mapping[str, Any]) -> Training:
    """A quadratic whose edge depends on its kind and on nothing else."""
    return Quadratic(curvature=CURVATURES[params["kind"]])(params)


SPACE = SearchSpace({"kind": ["flat", "steep"], "init_seed": SeedParameter(), "lr": LR})


def edge_sampler(reuse: float | None = 0.25, **options: Any) -> EdgeOfChaosSampler:
    given = {"build": valley, "search_space": SPACE, "target": 0.01, "seed": 3, **options}
    return EdgeOfChaosSampler(RandomSampler(0), reuse=reuse, **given)


def records(study: optuna.Study) -> list[SteeringRecord]:
    found = [SteeringRecord.of_trial(trial) for trial in study.trials]
    return [record for record in found if record is not None]


def ask_many(study: optuna.Study, count: int, space: SearchSpace = SPACE) -> list[optuna.Trial]:
    trials = [study.ask() for _ in range(count)]
    for trial in trials:
        space.suggest(trial)
    return trials


def test_the_first_trial_of_each_kind_is_probed_and_the_others_are_drawn_above_it() -> None:
    study = optuna.create_study(sampler=edge_sampler(rounds=6))
    ask_many(study, 300)
    by_kind: dict[str, list[SteeringRecord]] = {"flat": [], "steep": []}
    for trial, record in zip(study.trials, records(study), strict=True):
        by_kind[trial.params["kind"]].append(record)
    for kind, found in by_kind.items():
        first, *others = found
        assert first.status == "crossed"
        assert first.gradient_evaluations > 0
        assert {other.status for other in others} == {DRAWN}
        assert {other.gradient_evaluations for other in others} == {0.0}
        decades = np.log10([other.value for other in others])
        assert first.value < 2 / CURVATURES[kind] < first.value * 10**0.5
        middle = math.log10(first.value) + 0.25
        assert abs(decades.mean() - middle) < 0.25 * 4 / math.sqrt(len(others))
        assert 0.2 < decades.std() < 0.3


def test_a_spread_of_zero_repeats_the_rate() -> None:
    study = optuna.create_study(sampler=edge_sampler(reuse=0.0))
    ask_many(study, 12)
    values = {(t.params["kind"], t.params["lr"]) for t in study.trials}
    assert len(values) == 2


def test_trials_that_differ_in_a_continuous_parameter_share_an_edge() -> None:
    space = SearchSpace(
        {
            "kind": ["flat", "steep"],
            "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
            "dropout": FloatDistribution(0.0, 0.5, step=0.25),
            "lr": FloatDistribution(1e-3, 1e3, log=True),
        }
    )
    study = optuna.create_study(sampler=edge_sampler(search_space=space))
    ask_many(study, 30, space)
    searched = [
        (trial.params["kind"], trial.params["dropout"])
        for trial, record in zip(study.trials, records(study), strict=True)
        if record.status != DRAWN
    ]
    assert len(searched) == len(set(searched)) > 2


def test_another_kind_is_searched_near_the_edge_that_is_known_in_a_round_less() -> None:
    study = optuna.create_study(sampler=edge_sampler(rates_at_once=1, rounds=6))
    ask_many(study, 20)
    searched = [record for record in records(study) if record.status != DRAWN]
    first, second = searched[:2]
    assert len(first.probes) > len(second.probes)
    rates = [rate for rate, _, _ in second.probes]
    assert all(first.value / 100 <= rate <= first.value * 100 for rate in rates)


def test_a_kind_whose_edge_was_not_reached_is_searched_again_from_where_it_ended() -> None:
    def build(params: Mapping[str, Any]) -> Training:  # edges six decades apart
        return Quadratic(curvature=2e-2 if params["kind"] == "flat" else 2e4)(params)

    wide = FloatDistribution(1e-6, 1e4, log=True)
    space = SearchSpace({"kind": ["flat", "steep"], "init_seed": SeedParameter(), "lr": wide})
    sampler = edge_sampler(build=build, search_space=space, rates_at_once=3, rounds=4)
    study = optuna.create_study(sampler=sampler)
    ask_many(study, 30, space)
    found: dict[str, list[str]] = {"flat": [], "steep": []}
    for trial, record in zip(study.trials, records(study), strict=True):
        found[trial.params["kind"]].append(record.status)
    near, far = sorted(statuses.index("crossed") for statuses in found.values())
    assert near == 0
    assert 1 <= far <= 3
    for kind, edge in (("flat", 100.0), ("steep", 1e-4)):
        crossed = [
            record.value
            for trial, record in zip(study.trials, records(study), strict=True)
            if trial.params["kind"] == kind and record.status == "crossed"
        ]
        assert edge / 10 < crossed[0] <= edge * 1.1


def test_a_group_is_answered_as_one_search_a_kind() -> None:
    study = optuna.create_study(sampler=edge_sampler())
    objective = Objective(valley, SPACE, seed=3)
    candidates = [objective.prepare(study.ask()) for _ in range(12)]
    objective.train(candidates)
    for candidate in candidates:
        objective.finish(candidate)
    statuses = [record.status for record in records(study)]
    assert statuses.count("crossed") == 2
    assert statuses.count(DRAWN) == 10
    assert {trial.params["kind"] for trial in study.trials} == {"flat", "steep"}


def test_a_group_whose_kind_has_no_edge_is_searched_to_the_last_trial() -> None:
    cold = SearchSpace(
        {
            "kind": ["flat"],
            "init_seed": SeedParameter(),
            "lr": FloatDistribution(1e-6, 1e-3, log=True),
        }
    )
    sampler = edge_sampler(search_space=cold)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(5)]
    rates = sampler.propose_rates([{"kind": "flat", "init_seed": k} for k in range(5)])
    assert all(math.isfinite(rate) for rate in rates)
    assert len(trials) == len(rates)


def test_a_drawn_trial_costs_its_training_alone() -> None:
    study = optuna.create_study(sampler=edge_sampler())
    study.optimize(Objective(valley, SPACE, seed=3), n_trials=8)
    costs: dict[bool, set[float]] = {True: set(), False: set()}
    for trial, record in zip(study.trials, records(study), strict=True):
        if trial.state.name != "COMPLETE":
            continue  # beyond the edge it diverges
        cost = trial.user_attrs[attributes.COST] - record.gradient_evaluations
        costs[record.status == DRAWN].add(cost)
    [drawn] = costs[True]
    assert drawn >= max(costs[False])  # a probed trial goes on from its probe


def test_pruned_and_failed_trials_leave_their_edges_to_others() -> None:
    study = optuna.create_study(sampler=edge_sampler())
    for trial in ask_many(study, 6):
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    before = len([r for r in records(study) if r.status != DRAWN])
    for trial in ask_many(study, 6):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert len([r for r in records(study) if r.status != DRAWN]) == before == 2


def test_edges_outlive_the_process_in_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="again", sampler=edge_sampler())
    ask_many(study, 8)
    other = optuna.load_study(storage=url, study_name="again", sampler=edge_sampler())
    ask_many(other, 4)
    assert [record.status for record in records(other)[8:]] == [DRAWN] * 4


def test_without_a_declared_space_every_parameter_tells_lines_apart() -> None:
    sampler = edge_sampler(build=tanh_network, search_space=None)
    study = optuna.create_study(sampler=sampler)
    for width in (8, 8, 9):
        trial = study.ask()
        trial.suggest_int("width", width, width)
        trial.suggest_float("lr", 1e-4, 10.0, log=True)
    assert [record.status == DRAWN for record in records(study)] == [False, True, False]


def test_without_reuse_every_trial_is_probed() -> None:
    study = optuna.create_study(sampler=edge_sampler(reuse=None))
    ask_many(study, 6)
    assert all(record.gradient_evaluations > 0 for record in records(study))


def test_draws_follow_from_seed_and_trial_number() -> None:
    def rates(sampler: EdgeOfChaosSampler) -> list[float]:
        study = optuna.create_study(sampler=sampler)
        return [trial.params["lr"] for trial in ask_many(study, 8)]

    assert rates(edge_sampler()) == rates(pickle.loads(pickle.dumps(edge_sampler())))
    assert rates(edge_sampler()) != rates(edge_sampler(seed=4))


def test_rates_stay_in_their_range() -> None:
    narrow = SearchSpace(
        {
            "kind": ["flat"],
            "init_seed": SeedParameter(),
            "lr": FloatDistribution(0.5, 1.5),
        }
    )
    study = optuna.create_study(sampler=edge_sampler(reuse=5.0, search_space=narrow))
    ask_many(study, 40, narrow)
    rates = [trial.params["lr"] for trial in study.trials]
    assert 0.5 <= min(rates) < max(rates) <= 1.5


def test_records_written_before_lines_had_names_are_read() -> None:
    study = optuna.create_study(sampler=edge_sampler())
    [trial] = ask_many(study, 1)
    old = dict(study.trials[trial.number].user_attrs[STEERING])
    del old["line"]
    trial.set_user_attr(STEERING, old)
    [record] = records(study)
    assert record.line == ""
    ask_many(study, 2)
    assert len(records(study)) == 3


@pytest.mark.parametrize("reuse", [-0.1, math.nan, math.inf, "a lot", True])
def test_a_spread_that_is_none_is_refused(reuse: Any) -> None:
    with pytest.raises(UserError, match="reuse must be a finite number of at least 0"):
        edge_sampler(reuse=reuse)


def test_integers_are_drawn_as_integers() -> None:
    space = SearchSpace(
        {"kind": ["flat"], "init_seed": SeedParameter(), "rate": IntDistribution(1, 64, log=True)}
    )

    def build(params: Mapping[str, Any]) -> Training:
        return Quadratic(curvature=0.1)({"lr": params["rate"]})

    sampler = edge_sampler(build=build, search_space=space, steer="rate")
    study = optuna.create_study(sampler=sampler)
    ask_many(study, 10, space)
    assert all(isinstance(trial.params["rate"], int) for trial in study.trials)
