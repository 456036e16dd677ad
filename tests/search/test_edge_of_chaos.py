"""Steering the learning rate: where it lands, what it costs, what it says when it cannot."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pytest
import torch
from networks import Quadratic, tanh_network
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search import (
    EdgeOfChaosSampler,
    Objective,
    SearchSpace,
    SeedParameter,
    SteeringFailedError,
)
from lyapopt.search.steering import STEERING, SteeringRecord
from lyapopt.search.steering.growth import settled_exponent
from lyapopt.store import TrajectoryStore

LR = FloatDistribution(1e-4, 10.0, log=True)
optuna.logging.set_verbosity(optuna.logging.WARNING)


def steered_rate(build: Any, distribution: Any = LR, **options: Any) -> float:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=build, seed=0, **options))
    return float(study.ask({"lr": distribution}).params["lr"])


def record(trial: optuna.Trial | optuna.trial.FrozenTrial) -> SteeringRecord:
    if isinstance(trial, optuna.Trial):
        trial = trial.study.trials[trial.number]
    found = SteeringRecord.of_trial(trial)
    assert found is not None
    return found


@pytest.mark.parametrize("curvature", [0.5, 10.0, 300.0])
@pytest.mark.parametrize("rates_at_once", [1, 3])
def test_the_rate_of_a_quadratic_is_just_below_two_over_its_curvature(
    curvature: float, rates_at_once: int
) -> None:
    edge = 2 / curvature  # where ln |1 - lr h| crosses zero
    rate = steered_rate(
        Quadratic(curvature=curvature), target=0.01, rates_at_once=rates_at_once, rounds=8
    )
    assert edge / 10**0.25 <= rate <= edge * 10**0.25


def test_a_rate_at_which_perturbations_vanish_is_cold() -> None:
    build = Quadratic(curvature=10.0)  # at lr 0.1 one step ends in the minimum
    [measurement] = Probe(horizon=20).measure([build({"lr": 0.1})])
    assert settled_exponent(measurement) < math.log(1e-12)
    rate = steered_rate(build, FloatDistribution(1e-4, 100.0, log=True), target=0.01, rounds=6)
    assert 0.1 < rate < 0.4


def test_a_line_that_is_cold_everywhere_ends_at_its_upper_end() -> None:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=Quadratic(), seed=0, rounds=6))
    trial = study.ask({"lr": FloatDistribution(1e-6, 1e-3, log=True)})
    assert record(trial).status == "cold"
    assert record(trial).edge is None
    assert trial.params["lr"] > 1e-3 / 10**0.3


def test_a_line_that_is_hot_everywhere_ends_at_its_lower_end() -> None:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=Quadratic(), seed=0, rounds=6))
    trial = study.ask({"lr": FloatDistribution(1.0, 1e3, log=True)})
    assert record(trial).status == "hot"
    assert trial.params["lr"] < 10**0.3


def relu_network(params: Mapping[str, Any]) -> Training:
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).unsqueeze(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(1, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1, bias=False)
    ).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return Training(model, torch.nn.MSELoss(), optimizer, (x, (3 * x).sin()), steps=40)


def test_rates_that_kill_every_unit_are_not_taken_for_cold_ones() -> None:
    [huge] = Probe(horizon=20).measure([relu_network({"lr": 1e4})])
    rate = steered_rate(relu_network, FloatDistribution(1e-4, 1e4, log=True), target=0.01)
    [measured] = Probe(horizon=20).measure([relu_network({"lr": rate})])
    assert math.isfinite(measured.exponent)
    assert rate < 10
    assert huge.losses[-1] > measured.losses[-1]


def test_a_network_that_is_dead_from_the_start_gets_some_rate_and_no_edge() -> None:
    def dead(params: Mapping[str, Any]) -> Training:
        training = relu_network(params)
        with torch.no_grad():
            for parameter in training.model.parameters():
                parameter.fill_(-1.0)
            training.model[0].weight.zero_()
        return training

    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=dead, seed=0))
    trial = study.ask({"lr": LR})
    assert record(trial).status == "dead"
    assert 1e-4 <= trial.params["lr"] <= 10


def test_all_probes_of_a_trial_are_counted_kept_and_charged() -> None:
    probe = Probe(horizon=10, neighbours=2)
    sampler = EdgeOfChaosSampler(RandomSampler(0), build=tanh_network, probe=probe, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 10, log=True), n_trials=1)
    [trial] = study.trials
    assert record(trial).gradient_evaluations == 30 * len(record(trial).probes)
    assert trial.user_attrs["gradient_evaluations"] == record(trial).gradient_evaluations


def test_an_objective_goes_on_from_the_winners_probe_and_stores_all_of_them(
    tmp_path: Any,
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    space = {"lr": LR, "width": IntDistribution(4, 8)}
    sampler = EdgeOfChaosSampler(TPESampler(seed=0), build=tanh_network, search_space=space, seed=3)
    study = optuna.create_study(storage=url, study_name="s", sampler=sampler)
    store = TrajectoryStore(url)
    objective = Objective(tanh_network, space, store=store, seed=3, reports=2)
    study.optimize(objective, n_trials=2)
    for trial in study.trials:
        probes = record(trial).gradient_evaluations
        # The probes, the 40 steps that were left, and two evaluations at a third of a gradient.
        assert trial.user_attrs["gradient_evaluations"] == pytest.approx(probes + 40 + 2 / 3, 1e-5)
        exponents = store.exponents("s").query(f"trial_number == {trial.number}")
        assert len(exponents) == 1 + len(record(trial).probes)
        rounds = [each["round"] for each in exponents["details"][1:]]
        assert rounds == list(record(trial).rounds)
        assert rounds.count(1) == 3
        assert set(rounds) == set(range(1, max(rounds) + 1))
        losses = store.array("loss", "s", trial.number)
        assert losses.shape == (60,)
        weights = store.array("weights", "s", trial.number)
        assert len(weights) == 60


def test_going_on_from_a_probe_is_the_same_training_as_beginning_anew() -> None:
    space = {"lr": LR}
    sampler = EdgeOfChaosSampler(build=tanh_network, seed=3)
    steered = optuna.create_study(sampler=sampler)
    steered.optimize(Objective(tanh_network, space, seed=3), n_trials=1)
    plain = optuna.create_study(sampler=RandomSampler(0))
    plain.enqueue_trial(steered.trials[0].params)
    plain.optimize(Objective(tanh_network, space, seed=3), n_trials=1)
    assert steered.trials[0].value == pytest.approx(plain.trials[0].value, rel=1e-12)
    exponents = [study.trials[0].user_attrs["exponent"] for study in (steered, plain)]
    assert exponents[0] == pytest.approx(exponents[1], rel=1e-5)


def test_a_group_is_steered_to_the_rates_that_its_trials_get_one_by_one() -> None:
    def study() -> optuna.Study:
        sampler = EdgeOfChaosSampler(build=tanh_network, search_space={"lr": LR}, seed=1)
        return optuna.create_study(sampler=sampler)

    single, group = study(), study()
    alone = [single.ask({"lr": LR}).params["lr"] for _ in range(4)]
    trials = [group.ask() for _ in range(4)]
    sampler = group.sampler
    assert isinstance(sampler, EdgeOfChaosSampler)
    proposed = sampler.propose_rates([{}] * 4, trials=trials)
    assert proposed == alone
    assert [trial.suggest_float("lr", 1e-4, 10, log=True) for trial in trials] == alone


def test_rates_that_were_proposed_for_parameters_answer_the_trial_that_has_them() -> None:
    build = Quadratic()
    space = {"width": IntDistribution(1, 9), "lr": LR}
    sampler = EdgeOfChaosSampler(RandomSampler(0), build=build, search_space=space, seed=0)
    rates = sampler.propose_rates([{"width": width} for width in range(1, 10)])
    probes = len(build.seen)
    study = optuna.create_study(sampler=sampler)
    trial = study.ask()
    width = trial.suggest_int("width", 1, 9)
    assert trial.suggest_float("lr", 1e-4, 10, log=True) == rates[width - 1]
    assert len(build.seen) == probes


def test_a_declared_space_may_name_the_steered_parameter_first() -> None:
    build = Quadratic()
    space = SearchSpace({"lr": LR, "width": IntDistribution(1, 9), "kind": ["a", "b"], "c": 7})
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=build, search_space=space, seed=0))
    for _ in range(3):
        trial = study.ask()
        params = space.suggest(trial)
        built = {key: value for key, value in build.seen[-1].items() if key != "lr"}
        assert built == {key: value for key, value in params.items() if key != "lr"}
        study.tell(trial, 1.0)


def test_define_by_run_works_with_the_steered_parameter_last_and_says_when_it_is_not() -> None:
    build = Quadratic()
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=build, seed=0))

    def last(trial: optuna.Trial) -> float:
        trial.suggest_int("width", 1, 9)
        return trial.suggest_float("lr", 1e-4, 10, log=True)

    def first(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-4, 10, log=True)
        return rate + trial.suggest_int("depth", 1, 9)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.optimize(last, n_trials=1)
    assert build.seen[-1]["width"] == study.trials[0].params["width"]
    with pytest.warns(UserWarning, match="'lr' was suggested before depth"):
        study.optimize(first, n_trials=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        study.optimize(first, n_trials=1)


def test_a_build_function_that_raises_fails_its_trial_with_the_reason_and_the_study_goes_on() -> (
    None
):
    def build(params: Mapping[str, Any]) -> Training:
        if params["width"] % 2:
            raise ValueError("odd widths are not built")
        return tanh_network(params)

    space = {"width": IntDistribution(4, 9), "lr": LR}
    sampler = EdgeOfChaosSampler(RandomSampler(0), build=build, search_space=space, seed=0)
    study = optuna.create_study(sampler=sampler)
    objective = Objective(build, space, seed=0)
    candidates = [objective.prepare(study.ask()) for _ in range(8)]
    objective.train(candidates)
    for candidate in candidates:
        objective.finish(candidate)
        assert candidate.outcome is not None
        if candidate.params["width"] % 2:
            assert candidate.outcome.state == "failed"
            assert "odd widths are not built" in str(candidate.outcome.reason)
        else:
            assert candidate.outcome.state == "complete"
    assert {candidate.outcome.state for candidate in candidates if candidate.outcome} == {
        "failed",
        "complete",
    }


def test_a_missing_parameter_in_a_probe_is_explained() -> None:
    study = optuna.create_study(
        sampler=EdgeOfChaosSampler(build=lambda params: params["depth"], seed=0)
    )
    with pytest.raises(SteeringFailedError, match="suggest lr last, or give the sampler"):
        study.ask({"lr": LR})


def test_a_steered_parameter_that_is_categorical_is_reported_once() -> None:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=Quadratic(), seed=0))
    space = {"a": IntDistribution(0, 3), "lr": CategoricalDistribution([0.1, 0.2])}
    with pytest.warns(UserWarning, match="'lr' is categorical.*there are: a"):
        trial = study.ask(space)
    assert trial.params["lr"] in (0.1, 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.ask(space)


def test_a_steered_parameter_that_no_trial_has_is_reported_once() -> None:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=Quadratic(), steer="eta", seed=0))
    with pytest.warns(UserWarning, match="no parameter 'eta' to steer.*there are: lr, x"):
        study.optimize(
            lambda t: t.suggest_float("lr", 0, 1) + t.suggest_float("x", 0, 1), n_trials=3
        )
    assert len(study.trials) == 3


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"eta": LR}, "no parameter 'lr' to steer; it has eta"),
        ({"lr": ["a", "b"]}, "not a numeric range"),
        ({"lr": 0.1, "x": LR}, "no parameter 'lr' to steer; it has x"),
        ({"lr": SeedParameter()}, "not a numeric range"),
    ],
)
def test_a_declared_space_that_cannot_be_steered_is_refused(space: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EdgeOfChaosSampler(build=Quadratic(), search_space=space)


@pytest.mark.parametrize(
    "options",
    [
        {"target": -1},
        {"target": "hot"},
        {"rounds": 0},
        {"rates_at_once": 1.5},
        {"n_steered_trials": 0},
        {"n_steered_trials": 2.5},
    ],
)
def test_settings_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(UserError):
        EdgeOfChaosSampler(build=Quadratic(), **options)


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    "base",
    [
        RandomSampler,
        lambda seed: TPESampler(seed=seed, n_startup_trials=3, multivariate=True),
        lambda seed: CmaEsSampler(seed=seed, n_startup_trials=3),
    ],
)
def test_the_first_trials_are_steered_and_later_ones_have_all_parameters_from_the_base_sampler(
    base: Callable[..., BaseSampler], is_declared: bool
) -> None:
    space = {"width": IntDistribution(4, 8), "lr": LR}
    sampler = EdgeOfChaosSampler(
        base(seed=0),
        build=tanh_network,
        search_space=space if is_declared else None,
        n_steered_trials=3,
        seed=0,
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(Objective(tanh_network, space, seed=0), n_trials=6)
    assert [STEERING in trial.user_attrs for trial in study.trials] == [True] * 3 + [False] * 3
    assert all(trial.params.keys() == {"width", "lr"} for trial in study.trials)
    spaces = [sampler.infer_relative_search_space(study, trial) for trial in study.trials]
    assert all("lr" not in space for space in spaces[:3])
    alone = base(seed=0).infer_relative_search_space(study, study.trials[-1])
    assert spaces[3:] == [alone] * 3


def test_a_conditional_steered_parameter_is_steered_where_it_applies() -> None:
    space = SearchSpace(
        {"optimizer": ["sgd", "none"], "lr": LR}, conditions={"lr": {"optimizer": "sgd"}}
    )

    def build(params: Mapping[str, Any]) -> Training:
        return tanh_network({"lr": 0.01, **params, "optimizer": "sgd"})

    sampler = EdgeOfChaosSampler(RandomSampler(0), build=build, search_space=space, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.optimize(Objective(build, space, seed=0), n_trials=6)
    is_steered = {trial.params["optimizer"]: STEERING in trial.user_attrs for trial in study.trials}
    assert is_steered == {"sgd": True, "none": False}


def run(seed: int, sampler: EdgeOfChaosSampler | None = None) -> list[Any]:
    space = {"width": IntDistribution(4, 8), "lr": LR}
    sampler = sampler or EdgeOfChaosSampler(
        TPESampler(seed=seed), build=tanh_network, search_space=space, seed=seed
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(Objective(tanh_network, space, seed=seed), n_trials=4)
    return [(trial.params, trial.value, trial.user_attrs[STEERING]) for trial in study.trials]


def test_a_seeded_study_repeats_itself_exactly() -> None:
    assert run(5) == run(5)
    assert run(5) != run(6)


def test_a_sampler_survives_pickling() -> None:
    space = {"width": IntDistribution(4, 8), "lr": LR}
    sampler = EdgeOfChaosSampler(TPESampler(seed=5), build=tanh_network, search_space=space, seed=5)
    assert run(5, pickle.loads(pickle.dumps(sampler))) == run(5)


def test_threads_steer_their_own_trials() -> None:
    sampler = EdgeOfChaosSampler(RandomSampler(0), build=Quadratic(), seed=0, target=0.01)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda t: t.suggest_float("lr", 1e-4, 10, log=True), n_trials=8, n_jobs=4)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len({trial.params["lr"] for trial in study.trials[:4]}) == 1


def test_the_adaptive_target_moves_to_the_exponents_of_the_best_trials() -> None:
    from lyapopt.search.steering.target import PRIORS, target_centre

    def steered(target: float, optimizer: str = "Adam") -> SteeringRecord:
        return SteeringRecord("lr", 0.1, target, target, "crossed", 0.1, optimizer, 240, 240, ())

    history = [steered(0.1)] * 10 + [steered(1e-3)] * 30
    assert target_centre([], "Adam") == pytest.approx(PRIORS["Adam"])
    way = math.log(target_centre(history, "Adam") / PRIORS["Adam"])
    assert way > 0.5 * math.log(0.1 / PRIORS["Adam"])  # the best trials outweigh the prior
    assert target_centre(history, "SGD") == pytest.approx(PRIORS["SGD"])
    for optimizer in PRIORS:
        assert target_centre([steered(0.3, optimizer)] * 40, optimizer) > 0.1


def test_pruned_and_failed_trials_leave_the_study_running() -> None:
    study = optuna.create_study(sampler=EdgeOfChaosSampler(build=Quadratic(), seed=0))

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-4, 10, log=True)
        if trial.number % 3 == 0:
            raise optuna.TrialPruned
        if trial.number % 3 == 1:
            raise ValueError
        return rate

    study.optimize(objective, n_trials=9, catch=(ValueError,))
    assert all(trial.user_attrs["gradient_evaluations"] > 0 for trial in study.trials)
