"""Errors of samplers, pruners and stores inside a trial are seen as they are, and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState
from torch import nn

from lyapopt import EdgeOfChaosSampler, Objective, Probe, Training, TrajectoryStore
from lyapopt.search import SeededSampler, TrialFailedError

SPACE = {"lr": FloatDistribution(1e-3, 0.5, log=True)}
PROBE = Probe(horizon=4)


class OwnError(Exception):
    """What only the sampler or pruner under test raises."""


class BrokenPruner(BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        raise OwnError("the pruner is broken")


class BrokenSampler(RandomSampler):
    def sample_independent(self, *arguments: Any) -> Any:
        raise OwnError("the sampler is broken")


class BrokenSteering(EdgeOfChaosSampler):
    def propose_rates(self, *arguments: Any, **options: Any) -> list[int | float]:
        raise OwnError("steering is broken")


def build(params: Mapping[str, Any], steps: int | None = 8) -> Training:
    model = nn.Linear(2, 1, dtype=torch.float64)
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(-1, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return Training(model, nn.MSELoss(), optimizer, (x, model(x).detach() + 1), steps=steps)


def endless(params: Mapping[str, Any]) -> Training:
    return build(params, steps=None)


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (RandomSampler(0), BrokenPruner()),
        (BrokenSampler(0), NopPruner()),
        (SeededSampler(BrokenSampler(0), 0), NopPruner()),
        (BrokenSteering(build=build, probe=PROBE, search_space=SPACE, seed=0), NopPruner()),
    ],
    ids=["pruner", "sampler", "wrapped sampler", "steering"],
)
def test_catch_matches_the_error_of_a_sampler_or_pruner(
    sampler: BaseSampler, pruner: BasePruner
) -> None:
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(Objective(build, SPACE, probe=PROBE), n_trials=2, catch=(OwnError,))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    with pytest.raises(OwnError, match="is broken"):
        study.optimize(Objective(build, SPACE, probe=PROBE), n_trials=1)


def test_a_trial_that_a_pruner_broke_is_recorded_with_the_reason(tmp_path: Path) -> None:
    store = TrajectoryStore(f"sqlite:///{tmp_path / 'own.db'}")
    study = optuna.create_study(sampler=RandomSampler(0), pruner=BrokenPruner())
    study.optimize(Objective(build, SPACE, probe=PROBE, store=store), n_trials=1, catch=(OwnError,))
    run = store.read(study.trials[0].user_attrs["lyapopt:run"])
    assert run.state == study.trials[0].user_attrs["verdict"] == "failed"
    assert "OwnError: the pruner is broken" in str(run.reason)
    assert run.gradient_evaluations > 0


def test_an_error_in_recording_does_not_hide_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = Objective(build, SPACE, probe=PROBE)
    monkeypatch.setattr(objective, "finish", lambda candidate: 1 / 0)
    study = optuna.create_study(sampler=RandomSampler(0), pruner=BrokenPruner())
    with pytest.raises(OwnError):
        study.optimize(objective, n_trials=1)


def test_an_error_of_the_build_function_is_the_cause_of_the_trials_failure() -> None:
    def broken(params: Mapping[str, Any]) -> Training:
        raise OwnError("no data")

    study = optuna.create_study(sampler=RandomSampler(0))
    with pytest.raises(TrialFailedError, match="build: OwnError: no data") as caught:
        study.optimize(Objective(broken, SPACE, probe=PROBE), n_trials=1)
    assert isinstance(caught.value.__cause__, OwnError)


@pytest.mark.parametrize("value", ["loss", "both"])
def test_a_training_without_steps_fails_and_says_what_to_write(value: Any) -> None:
    directions = ["minimize"] * (2 if value == "both" else 1)
    study = optuna.create_study(directions=directions, sampler=RandomSampler(0))
    objective = Objective(endless, SPACE, value, PROBE)
    study.optimize(objective, n_trials=2, catch=(TrialFailedError,))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2
    with pytest.raises(TrialFailedError, match=r"steps is missing.*steps=1000"):
        study.optimize(objective, n_trials=1)


def test_one_training_without_steps_fails_alone_in_its_group() -> None:
    def some(params: Mapping[str, Any]) -> Training:
        return build(params, steps=None if params["lr"] < 0.02 else 8)

    study = optuna.create_study(sampler=RandomSampler(0))
    objective = Objective(some, SPACE, probe=PROBE)
    candidates = [objective.prepare(study.ask()) for _ in range(6)]
    objective.train(candidates)
    states = {c.params["lr"] < 0.02: c.outcome.state for c in candidates if c.outcome is not None}
    assert states == {True: "failed", False: "complete"}


def test_a_training_whose_value_is_its_exponent_needs_no_steps() -> None:
    study = optuna.create_study(sampler=RandomSampler(0))
    study.optimize(Objective(endless, SPACE, "exponent", PROBE), n_trials=1)
    assert study.trials[0].value == pytest.approx(study.trials[0].user_attrs["exponent"], rel=1e-5)


def test_a_refusal_says_the_line_of_the_build_function_and_none_of_ours() -> None:
    def refused(params: Mapping[str, Any]) -> Training:
        return build(params, steps=-1)

    def refused_later(params: Mapping[str, Any]) -> Training:
        training = build(params)
        weights = training.model.parameters
        return replace(training, loss_fn=lambda out, y: out.mean() + next(weights()).sum())

    line = build.__code__.co_firstlineno + 4
    for trains, end in [(refused, f" ({__file__}:{line})"), (refused_later, "forward pass")]:
        with pytest.raises(TrialFailedError) as failure:
            optuna.create_study().optimize(Objective(trains, SPACE, probe=PROBE), n_trials=1)
        assert str(failure.value).endswith(end)
