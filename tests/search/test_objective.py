"""What a trial does: suggest, build, probe, train, record; and the parts that it is made of."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from networks import Quadratic, tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from torch import nn

import lyapopt
from lyapopt.dynamics import Training
from lyapopt.dynamics.precision import in_dtype
from lyapopt.errors import UserError
from lyapopt.figures.weight_trajectories import collect as collect_weights
from lyapopt.paper import GatedPercentilePruner
from lyapopt.probe import Probe
from lyapopt.search import (
    LyapunovPruner,
    Objective,
    RecordSettings,
    SearchSpace,
    SeededSampler,
    SeedParameter,
    TrialFailedError,
)
from lyapopt.search.probing.building import seeded
from lyapopt.search.training_group import checkpoint_steps
from lyapopt.search.trajectory_recorder import gaussian_projection, signed_sums
from lyapopt.store import TrajectoryStore

LR = FloatDistribution(1e-3, 0.5, log=True)
PROBE = Probe(horizon=6)


def single(build: Any, space: Any, **options: Any) -> optuna.trial.FrozenTrial:
    study = optuna.create_study(sampler=RandomSampler(0), pruner=options.pop("pruner", None))
    study.optimize(
        Objective(build, space, probe=PROBE, **options), n_trials=1, catch=(TrialFailedError,)
    )
    return study.trials[0]


# Spaces


def test_conditions_constants_and_lists_make_a_trials_parameters() -> None:
    space = SearchSpace(
        {"kind": ["a", "b"], "x": LR, "c": 3, "seed": SeedParameter()},
        conditions={"x": {"kind": ["a"]}},
    )
    study = optuna.create_study(sampler=RandomSampler(1))
    for _ in range(8):
        params = space.suggest(study.ask())
        assert ("x" in params) == (params["kind"] == "a")
        assert params["c"] == 3
    assert "x" not in space.suggest(study.ask(), without="x")
    with pytest.raises(UserError, match="a condition for 'y'"):
        SearchSpace({"x": LR}, conditions={"y": {"x": 1}})


# Randomness


def test_draws_follow_from_study_seed_and_number_alone() -> None:
    def draws(skip: int) -> list[dict[str, Any]]:
        sampler = SeededSampler(RandomSampler(), 7, {"s": SeedParameter(5, 9)})
        study = optuna.create_study(sampler=sampler)
        for _ in range(skip):
            study.tell(study.ask(), 0.0)
        space = {"x": LR, "s": IntDistribution(5, 9)}
        return [study.ask(space).params for _ in range(6 - skip)]

    assert draws(0)[3:] == draws(3)
    assert all(5 <= params["s"] <= 9 for params in draws(0))


def test_seeding_leaves_the_global_generators_as_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draw()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    with seeded(1):
        inside = draw()
    assert draw() == expected
    with seeded(1):
        assert draw() == inside


# Casting


def test_a_float32_training_is_measured_in_float64_with_its_optimizer_attached() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    data = (torch.randn(4, 2), torch.randn(4, 1))
    first = in_dtype(Training(model, nn.MSELoss(), optimizer, data), torch.float64, "cpu")
    assert next(first.model.parameters()).dtype == torch.float64
    assert optimizer.param_groups[0]["params"][0] is model.weight
    second = in_dtype(
        Training(nn.Linear(2, 1), nn.MSELoss(), optimizer, data), torch.float64, "cpu"
    )
    assert first.data[0] is second.data[0]
    assert first.data[0].dtype == torch.float64


# Recording


@pytest.mark.parametrize("projection", [gaussian_projection, signed_sums])
def test_a_projection_keeps_lengths_on_average(projection: Any) -> None:
    source = torch.Generator().manual_seed(1)
    vectors = torch.randn(1000, 6000, dtype=torch.float64, generator=source)
    vectors[500:] *= torch.arange(6000) % 64 == 0  # one unit of a layer of 64
    project = projection(6000, 64, 0, like=vectors)
    squares = (project(vectors).norm(dim=1) / vectors.norm(dim=1)).square()
    for some in squares.split(500):
        assert abs(float(some.mean()) - 1) < 0.04
        assert float(some.std()) < 1.3 * (2 / 64) ** 0.5  # as good as a Gaussian one
    assert torch.allclose(project(vectors[0] + vectors[1]), project(vectors[:2]).sum(0))


def test_losses_and_weights_of_every_step_are_kept(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = optuna.create_study(storage=url, study_name="s", sampler=RandomSampler(0))
    store = TrajectoryStore(url)
    record = RecordSettings(every=5, weights="full", dtype="float64")
    study.optimize(Objective(Quadratic(), {"lr": 0.1}, record=record, store=store), n_trials=1)
    weights = store.series("weights", "s", 0)
    assert weights.steps is not None
    assert weights.steps.tolist() == [0, 5, 10, 15, 20, 25]
    # Gradient descent on 5 w^2 with lr 0.1 ends in the minimum in one step.
    assert weights.values[:, 0].tolist() == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-12)
    assert store.array("loss", "s", 0)[0] == pytest.approx(5.0)


def test_neighbours_are_kept_as_differences_while_they_are_measured(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = optuna.create_study(storage=url, study_name="s", sampler=RandomSampler(0))
    store = TrajectoryStore(url)
    record = RecordSettings(weights="full", neighbours=2, dtype="float64")
    probe = Probe(horizon=10, neighbours=3, radius=1e-5, segment=4)
    objective = Objective(Quadratic(), {"lr": 0.05}, probe=probe, record=record, store=store)
    study.optimize(objective, n_trials=1)
    found = store.array("neighbours", "s", 0)
    assert found.shape == (10, 2)
    # On 5 w^2 with lr 0.05 separations halve at every step, and are rescaled at every fourth.
    assert abs(found[:, 0]) == pytest.approx([1e-5 / 2 ** (t % 4) for t in range(10)], rel=1e-6)
    path = collect_weights(lyapopt.load(url).trajectories(0))
    assert path is not None
    grown = [abs(float(each[0])) for each in path.neighbours[1]]
    assert grown == pytest.approx([1e-5 / 2**t for t in range(10)], rel=1e-6)


def test_neighbours_of_a_twin_in_another_precision_are_kept_too(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = optuna.create_study(storage=url, study_name="s", sampler=RandomSampler(0))
    store = TrajectoryStore(url)
    record = RecordSettings(projection_dim=3, neighbours=5)

    def build(params: dict[str, Any]) -> Training:
        model, x = nn.Linear(4, 2), torch.randn(16, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
        return Training(model, nn.MSELoss(), optimizer, (x, x[:, :2]), steps=30)

    probe = Probe(horizon=10, neighbours=2)
    objective = Objective(build, {"lr": 0.05}, probe=probe, record=record, store=store)
    study.optimize(objective, n_trials=1)
    assert store.array("neighbours", "s", 0).shape == (10, 2 * 3)
    assert store.array("weights", "s", 0).shape == (30, 3)


def test_checkpoints_begin_after_the_probe_and_end_at_the_end() -> None:
    assert checkpoint_steps(20, 20, 5) == [20]
    assert checkpoint_steps(20, 22, 10) == [20, 21, 22]
    assert checkpoint_steps(20, 600, 1) == [600]


# Trials


def test_a_group_trains_to_what_its_trials_reach_alone() -> None:
    space = {"lr": LR, "width": IntDistribution(3, 4)}

    def study() -> optuna.Study:
        return optuna.create_study(sampler=SeededSampler(RandomSampler(), 0))

    objective = Objective(tanh_network, space, probe=PROBE)
    alone, together = study(), study()
    alone.optimize(objective, n_trials=6)
    candidates = [objective.prepare(together.ask()) for _ in range(6)]
    objective.train(candidates)
    for candidate, trial in zip(candidates, alone.trials, strict=True):
        assert candidate.outcome is not None
        assert candidate.params == trial.params
        assert candidate.outcome.value == pytest.approx(trial.value, rel=1e-9)


def test_trials_of_different_lengths_end_each_at_its_own(tmp_path: Any) -> None:
    def build(params: Mapping[str, Any]) -> Training:
        training = tanh_network(params)
        training.steps = params["steps"]
        return training

    def study() -> optuna.Study:
        sampler, pruner = SeededSampler(RandomSampler(), 0), optuna.pruners.NopPruner()
        return optuna.create_study(sampler=sampler, pruner=pruner)

    # Some end at the probe's horizon, some between the checkpoints of others.
    lengths = [60, 6, 17, 60, 7, 33, 6, 18]
    space = {"lr": LR, "steps": optuna.distributions.CategoricalDistribution(lengths)}
    store = TrajectoryStore(f"sqlite:///{tmp_path}/store.db")
    objective = Objective(build, space, probe=PROBE, store=store, reports=4)
    alone, together = study(), study()
    for one in (alone, together):
        for steps in lengths:
            one.enqueue_trial({"steps": steps})
    alone.optimize(objective, n_trials=len(lengths))
    candidates = [objective.prepare(together.ask()) for _ in lengths]
    objective.train(candidates)
    for candidate, trial, steps in zip(candidates, alone.trials, lengths, strict=True):
        assert candidate.outcome is not None
        assert candidate.outcome.value == pytest.approx(trial.value, rel=1e-9)
        assert candidate.steps == steps
        assert candidate.gradient_evaluations == pytest.approx(
            trial.user_attrs["gradient_evaluations"], rel=1e-5
        )
        objective.finish(candidate)
        loss = store.read(candidate.run).trajectories[0]
        assert (loss.name, len(loss.values)) == ("loss", steps)


def test_the_cost_is_what_was_computed() -> None:
    trial = single(tanh_network, {"lr": 0.1}, reports=3)
    # 6 steps of two trajectories, 54 of one, three evaluations at a third of a gradient.
    assert trial.user_attrs["gradient_evaluations"] == pytest.approx(12 + 54 + 1)


@pytest.mark.parametrize(
    ("nan", "state"),
    [("prune", TrialState.PRUNED), ("fail", TrialState.FAIL), ("worst", TrialState.COMPLETE)],
)
def test_a_trial_that_diverges_ends_as_the_study_says(nan: Any, state: TrialState) -> None:
    build = Quadratic(steps=4000)
    trial = single(build, {"lr": 5.0}, nan=nan)
    assert trial.state == state
    assert trial.user_attrs["verdict"] in ("diverged", "failed")


@pytest.mark.parametrize("pruner", [optuna.pruners.NopPruner(), LyapunovPruner()])
@pytest.mark.parametrize("at", [1, 4, 20], ids=lambda at: f"at step {at}")
@pytest.mark.parametrize("left", [1e-4, 1.0])
@pytest.mark.parametrize("peak", [900.0, 1100.0, 1e7, 1e200])
def test_a_loss_that_has_blown_up_is_never_reported(
    peak: float, left: float, at: int, pruner: Any
) -> None:
    """It comes to `peak` times the first one at a step, and falls to `left` times that."""
    growth = {at: peak**0.5 / 0.99**at, at + 1: left**0.5}

    def build(params: Mapping[str, Any]) -> Training:
        training = Quadratic(curvature=10.0, steps=40)({"lr": 0.1})
        # One step multiplies the weight by 1 - 10 lr, and the loss by the square of that.
        rates = torch.optim.lr_scheduler.LambdaLR(
            training.optimizer, lambda t: 1 + growth.get(t, -0.99)
        )
        return dataclasses.replace(training, scheduler=rates)

    trial = single(build, {"lr": 0.1}, pruner=pruner, reports=40)
    has_blown_up = at <= PROBE.horizon and peak > 1000
    values = list(trial.intermediate_values.values())
    assert all(value <= 5.0 * 1000 for value in values)
    if peak > 1000:
        assert trial.user_attrs["verdict"] == "diverged"
        assert trial.state == TrialState.PRUNED
        assert bool(values) != has_blown_up
        assert trial.value == (values[-1] if values else None)


def test_a_build_that_raises_fails_its_trial_with_the_reason(tmp_path: Any) -> None:
    def build(params: Mapping[str, Any]) -> Training:
        raise ZeroDivisionError("nothing to divide by")

    store = TrajectoryStore(f"sqlite:///{tmp_path}/a.db")
    study = optuna.create_study(study_name="s")
    objective = Objective(build, {"lr": 0.1}, store=store)
    with pytest.raises(TrialFailedError, match="nothing to divide by"):
        study.optimize(objective, n_trials=1)
    assert "ZeroDivisionError" in store.read(study.trials[0].user_attrs["lyapopt:run"]).reason
    assert single(lambda params: 3, {"lr": 0.1}).state == TrialState.FAIL


def test_a_hot_trial_is_pruned_at_the_horizon_and_the_decision_stored(tmp_path: Any) -> None:
    store = TrajectoryStore(f"sqlite:///{tmp_path}/a.db")
    study = optuna.create_study(study_name="s", pruner=LyapunovPruner(slow=None, hot=0.3))
    objective = Objective(Quadratic(), {"lr": 0.24}, probe=PROBE, store=store)
    study.optimize(objective, n_trials=1)
    run = store.read(study.trials[0].user_attrs["lyapopt:run"])
    assert study.trials[0].state == TrialState.PRUNED
    assert run.steps == 6
    [decision] = run.decisions
    assert decision.rule == "LyapunovPruner"
    assert decision.pruned
    assert decision.numbers["hot"] == 0.3
    assert decision.numbers["exponent"] == pytest.approx(np.log(1.4), rel=1e-4)


def measured_trial(exponent: float, loss: float, number: int) -> optuna.trial.FrozenTrial:
    """A trial that has ended at `loss`, as its exponent and its early values had it."""
    return optuna.trial.create_trial(
        params={"lr": 0.1},
        distributions={"lr": LR},
        value=loss,
        intermediate_values={PROBE.horizon: loss, 30: loss},
        user_attrs={"exponent": exponent, "initial_loss": 4.0 + number / 10},
    )


@pytest.mark.parametrize(
    ("pruner", "numbers", "reason"),
    [
        (LyapunovPruner(slow=None, hot=0.3), {"exponent", "hot"}, "hot: exponent 0.336 above 0.3"),
        (
            LyapunovPruner(hot=None),
            {"loss_fall", "slow"},
            "slow: the loss rose by",
        ),
        (
            GatedPercentilePruner(percentile=50),
            {"exponent", "threshold", "initial_loss", "gate_low", "gate_high"},
            "the 50th percentile of",
        ),
    ],
    ids=["hot", "slow", "gated"],
)
def test_every_pruner_stores_its_decision_with_reason_and_numbers(
    pruner: Any, numbers: set[str], reason: str, tmp_path: Any
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    store = TrajectoryStore(url)
    study = optuna.create_study(storage=url, study_name="s", pruner=pruner)
    study.add_trials([measured_trial(k / 100, k / 100, k) for k in range(20)])
    study.enqueue_trial({"lr": 0.24 if "0.3" in reason else 0.2334})
    study.optimize(Objective(Quadratic(), {"lr": LR}, probe=PROBE, store=store), n_trials=1)
    trial = study.trials[-1]
    assert trial.state == TrialState.PRUNED
    [decision] = store.read(trial.user_attrs["lyapopt:run"]).decisions
    assert decision.pruned
    assert reason in decision.reason
    assert numbers <= set(decision.numbers)
    assert len(store.decisions("s")) >= 1


def test_a_value_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="value must be"):
        Objective(Quadratic(), {"lr": 0.1}, "speed")  # type: ignore[arg-type]


# The exponent as a value


def test_the_exponent_alone_is_an_objective_that_costs_its_probe() -> None:
    trial = single(Quadratic(), {"lr": 0.05}, value="exponent")
    assert trial.value == pytest.approx(np.log(0.5))
    assert trial.user_attrs["gradient_evaluations"] == 12
    assert not trial.intermediate_values


@pytest.mark.parametrize("nan", ["prune", "fail"])
def test_a_trial_without_an_exponent_ends_as_the_study_says(nan: Any) -> None:
    trial = single(Quadratic(), {"lr": 1e200}, value="exponent", nan=nan)
    assert trial.state == {"prune": TrialState.PRUNED, "fail": TrialState.FAIL}[nan]


def test_loss_and_exponent_together_are_two_objectives_pruned_by_verdict() -> None:
    study = optuna.create_study(
        directions=["minimize", "minimize"],
        sampler=RandomSampler(0),
        pruner=LyapunovPruner(hot=0.3, wrapped=optuna.pruners.MedianPruner()),
    )
    objective = Objective(Quadratic(), SearchSpace({"lr": LR}), "both", PROBE)
    for lr in (0.05, 0.24):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=2)
    good, hot = study.trials
    assert good.values[0] < 1e-6
    assert good.values[1] == pytest.approx(np.log(0.5))
    assert hot.state == TrialState.PRUNED
    assert hot.user_attrs["gradient_evaluations"] < 15


def test_not_hot_is_a_constraint() -> None:
    study = optuna.create_study(sampler=RandomSampler(0))
    objective = Objective(Quadratic(), SearchSpace({"lr": LR}), probe=PROBE, constrain_hot=0.1)
    for lr in (0.05, 0.24):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=2)
    feasible, hot = (trial.constraints for trial in study.trials)
    assert feasible == pytest.approx({"not hot": np.log(0.5) - 0.1})
    assert hot == pytest.approx({"not hot": np.log(1.4) - 0.1})
