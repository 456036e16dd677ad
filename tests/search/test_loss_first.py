"""Neighbours are run for the trials that the loss lets through, and nothing else changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
import torch
from networks import Quadratic
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner, NopPruner, PatientPruner
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from lyapopt.dynamics import Training
from lyapopt.exponents.derivatives import COST
from lyapopt.paper import GatedPercentilePruner
from lyapopt.probe import Probe
from lyapopt.search import Candidate, EdgeOfChaosSampler, LyapunovPruner, Objective, RecordSettings
from lyapopt.search._optuna import inside_optimize, ordered
from lyapopt.search.loss_first import needed_fall
from lyapopt.store import TrajectoryStore
from lyapopt.store.trials import StoredTrial
from lyapopt.tasks.builder import TaskBuilder

RATES = FloatDistribution(1e-4, 1e3, log=True)
STEPS = 40
ROUNDING = 1e-9
"""Stacks of other sizes add in another order; a separation of 1e-6 shows it a million times larger
than a loss does, and 40 steps at an exponent of .1 make it e^4 as large."""


BUILDS: dict[str, Any] = {
    "momentum": TaskBuilder("xor", {"steps": STEPS, "hidden": 4, "momentum": 0.9}),
    "adam": TaskBuilder(
        "digits", {"steps": STEPS, "hidden": [8], "optimizer": "adam", "dropout": 0.1}
    ),
    "quadratic": Quadratic(steps=STEPS),
    "float32": TaskBuilder(
        "digits", {"steps": STEPS, "hidden": [8], "dropout": 0.1}, torch.float32
    ),
}


def trained(
    build: Any, pruner: LyapunovPruner, neighbours: Any, probe: Probe, count: int, at_once: int
) -> tuple[list[FrozenTrial], list[Candidate]]:
    """Trials of a study that trains them in groups, and what was measured of them."""
    study = ordered(optuna.create_study(sampler=RandomSampler(3), pruner=pruner))
    objective = Objective(
        build, {"lr": RATES}, probe=probe, record=False, neighbours=neighbours, reports=3
    )
    found: list[Candidate] = []
    with inside_optimize(study):
        while len(found) < count:
            group = [objective.prepare(study.ask()) for _ in range(at_once)]
            objective.train(group)
            for candidate in group:
                objective.finish(candidate)
                outcome = candidate.outcome
                assert outcome is not None
                is_complete = outcome.state == "complete"
                state = TrialState.COMPLETE if is_complete else TrialState.PRUNED
                study.tell(candidate.trial, outcome.value if is_complete else None, state)
            found += group
    return study.get_trials(deepcopy=False), found


BESIDE: dict[str, tuple[str, Probe, int, float]] = {
    "one neighbour": ("momentum", Probe(horizon=8), 8, ROUNDING),
    "three neighbours": ("adam", Probe(horizon=8, neighbours=3), 24, ROUNDING),
    "a quadratic": ("quadratic", Probe(horizon=8), 8, ROUNDING),
    "a tangent": ("momentum", Probe(horizon=8, estimator="tangent"), 16 + COST, ROUNDING),
    "two tangents": (
        "adam",
        Probe(horizon=8, estimator="tangent", neighbours=2),
        32 + COST,
        ROUNDING,
    ),
    "a tangent in float32": ("float32", Probe(horizon=8, estimator="tangent"), 16 + COST, 1e-5),
    "a twin": ("float32", Probe(horizon=8), 16, 1e-5),
    "a twin with three neighbours": ("float32", Probe(horizon=8, neighbours=3), 32, 1e-5),
}
"""What is built, how it is measured, what that costs beyond the training, and its rounding."""


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize(("name", "probe", "saving", "rounding"), BESIDE.values(), ids=BESIDE)
def test_trials_end_alike_and_those_that_stay_have_the_same_exponents(
    name: str, probe: Probe, saving: int, rounding: float, at_once: int
) -> None:

    def run(of: str) -> tuple[list[FrozenTrial], list[Candidate]]:
        pruner = LyapunovPruner(wrapped=MedianPruner(n_startup_trials=2))
        return trained(BUILDS[name], pruner, of, probe, 24, at_once)

    (trials, some), (others, every) = run("auto"), run("all")
    skipped = 0
    for trial, other, one, full in zip(trials, others, some, every, strict=True):
        assert (trial.state, trial.params) == (other.state, other.params)
        assert trial.intermediate_values == pytest.approx(other.intermediate_values, rel=ROUNDING)
        assert one.steps == full.steps
        assert one.measurement is not None
        assert full.measurement is not None
        assert one.measurement.losses == pytest.approx(full.measurement.losses, rel=rounding)
        fall = full.measurement.loss_fall
        near = pytest.approx(fall, rel=rounding, abs=rounding, nan_ok=True)
        assert one.measurement.loss_fall == near
        if one.exponent is None:
            skipped += 1
            assert trial.state == TrialState.PRUNED
            assert "exponent" not in trial.user_attrs
            word = trial.user_attrs["verdict"]
            assert word == "diverged" or (word in ("slow", "dead") and fall < 0.01)
            assert "measured" not in trial.user_attrs
            saved = saving
        else:
            assert one.exponent == pytest.approx(full.exponent, abs=ROUNDING)
            assert one.verdict == full.verdict
            saved = 0
        assert one.gradient_evaluations == pytest.approx(full.gradient_evaluations - saved)
        assert full.measuring == pytest.approx(saving)
        assert one.measuring == pytest.approx(saving - saved)
        assert trial.user_attrs.get("lyapopt:measuring", 0.0) == pytest.approx(one.measuring)
        batch = full.examples // (full.steps + saving)
        assert full.examples - one.examples == saved * batch
    assert 0 < skipped < len(trials)


@pytest.mark.parametrize(
    ("build", "highest"),
    [(Quadratic(), 1e-5), (TaskBuilder("xor", {"steps": STEPS, "hidden": 4}, torch.float32), 1e-4)],
    ids=["float64", "float32"],
)
def test_slow_trials_that_pass_after_ten_in_a_row_are_measured(build: Any, highest: float) -> None:
    rates = FloatDistribution(highest / 100, highest, log=True)
    study = optuna.create_study(sampler=RandomSampler(0), pruner=LyapunovPruner())
    objective = Objective(build, {"lr": rates}, probe=Probe(horizon=6), record=False)
    study.optimize(objective, n_trials=40)
    passed = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert passed
    for trial in study.trials:
        assert ("exponent" in trial.user_attrs) == (trial in passed)
        assert (trial.user_attrs["verdict"] == "slow") == (trial not in passed)


def test_a_slow_trial_is_stored_without_an_exponent(tmp_path: Any) -> None:
    store = TrajectoryStore(f"sqlite:///{tmp_path}/a.db")
    study = optuna.create_study(study_name="s", pruner=LyapunovPruner())
    record = RecordSettings(neighbours=1)
    probe = Probe(horizon=6)
    objective = Objective(
        Quadratic(), {"lr": FloatDistribution(1e-7, 1)}, probe=probe, record=record, store=store
    )
    for rate in (1e-6, 0.01):
        study.enqueue_trial({"lr": rate})
    study.optimize(objective, n_trials=2)
    slow, good = (store.read(t.user_attrs["lyapopt:run"]) for t in study.trials)
    assert (slow.verdict, slow.steps, slow.exponents) == ("slow", 6, ())
    assert "a fall of at least 1.00% is needed" in slow.reason
    assert {each.name for each in slow.trajectories} == {"loss", "weights", "validation_loss"}
    said = StoredTrial.of(study.trials[0]).without_exponent
    assert said == "not measured: the loss had not fallen"
    [exponent] = good.exponents
    assert exponent.value is not None
    assert {"separation", "neighbours"} <= {each.name for each in good.trajectories}


def test_a_trial_that_is_measured_again_by_itself_keeps_its_neighbours_once(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Probe.run

    def fails_together(self: Probe, step: Any, z0: Any, observe: Any = None) -> Any:
        def watch(t: int, z: Any, losses: Any) -> None:
            observe(t, z, losses)
            if t == 3 and len(step.trainings) > 1:
                raise MemoryError("too many at once")

        return run(self, step, z0, watch)

    monkeypatch.setattr(Probe, "run", fails_together)
    for name, rate in {"quadratic": 0.01, "float32": 0.5}.items():
        store = TrajectoryStore(f"sqlite:///{tmp_path}/{name}.db")
        study = optuna.create_study(pruner=LyapunovPruner(), sampler=RandomSampler(0))
        objective = Objective(
            BUILDS[name],
            {"lr": FloatDistribution(rate, 2 * rate)},
            probe=Probe(horizon=6),
            record=RecordSettings(neighbours=1, weights="full"),
            store=store,
        )
        group = [objective.prepare(study.ask()) for _ in range(3)]
        objective.train(group)
        for candidate in group:
            objective.finish(candidate)
        kept = [
            each.values.shape[0]
            for candidate in group
            for each in store.read(candidate.run).trajectories
            if each.name == "neighbours"
        ]
        assert kept
        assert set(kept) == {6}
        assert all(candidate.reference is None for candidate in group)


def test_networks_whose_losses_are_coarser_than_a_small_fall_are_measured_at_once() -> None:
    data = torch.eye(4, dtype=torch.bfloat16), torch.ones(4, 1, dtype=torch.bfloat16)

    def build(params: Mapping[str, Any]) -> Training:
        model = torch.nn.Linear(4, 1).to(torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
        return Training(model, torch.nn.MSELoss(), optimizer, data, steps=STEPS)

    study = optuna.create_study(pruner=LyapunovPruner(), sampler=RandomSampler(0))
    objective = Objective(build, {"lr": 1e-4}, probe=Probe(horizon=6), record=False)
    study.optimize(objective, n_trials=1)
    [trial] = study.trials
    assert trial.user_attrs["measured"] == "neighbours in float64"
    assert "exponent" in trial.user_attrs


@pytest.mark.parametrize("build", [BUILDS["quadratic"], BUILDS["float32"]])
def test_what_passed_is_read_from_a_finished_study_as_it_was_decided(build: Any) -> None:
    study = optuna.create_study(pruner=LyapunovPruner(patience=2), sampler=RandomSampler(0))
    rates = FloatDistribution(1e-6, 1e-4, log=True)
    study.optimize(
        Objective(build, {"lr": rates}, probe=Probe(horizon=6), record=False), n_trials=16
    )
    again = LyapunovPruner(patience=2)
    for trial in study.trials:
        decision = again.decide(study, trial)
        has_passed = trial.state == TrialState.COMPLETE
        assert (decision is None or not decision.pruned) == has_passed


def a_callers_own(trial: FrozenTrial) -> Sequence[float]:
    return [trial.user_attrs["exponent"]]


class OwnSampler(RandomSampler):
    """May read whatever it likes."""


class OwnPruner(NopPruner):
    """Likewise."""


@pytest.mark.parametrize(
    ("options", "fall"),
    [
        ({"pruner": LyapunovPruner()}, 0.01),
        ({"pruner": LyapunovPruner(slow=0.2, wrapped=PatientPruner(MedianPruner(), 2))}, 0.2),
        ({"pruner": LyapunovPruner(), "sampler": TPESampler()}, 0.01),
        ({"pruner": LyapunovPruner(slow=None)}, None),
        ({"pruner": MedianPruner()}, None),
        ({"pruner": LyapunovPruner(wrapped=LyapunovPruner(slow=None))}, None),
        ({"pruner": LyapunovPruner(wrapped=GatedPercentilePruner())}, None),
        ({"pruner": LyapunovPruner(wrapped=OwnPruner())}, None),
        ({"pruner": LyapunovPruner(), "sampler": OwnSampler()}, None),
        (
            {
                "pruner": LyapunovPruner(),
                "sampler": NSGAIISampler(constraints_func=a_callers_own),
            },
            None,
        ),
        (
            {
                "pruner": LyapunovPruner(),
                "sampler": EdgeOfChaosSampler(RandomSampler(), build=Quadratic()),
            },
            0.01,  # it reads the exponents of its own probes alone
        ),
        (
            {
                "pruner": LyapunovPruner(),
                "sampler": EdgeOfChaosSampler(OwnSampler(), build=Quadratic()),
            },
            None,
        ),
        ({"pruner": LyapunovPruner(), "directions": ["minimize", "minimize"]}, None),
    ],
)
def test_neighbours_are_run_for_all_where_something_else_may_read_exponents(
    options: Mapping[str, Any], fall: float | None
) -> None:
    assert needed_fall(optuna.create_study(**options)) == fall


@pytest.mark.parametrize(
    "options",
    [
        {"value": "exponent"},
        {"constrain_hot": 0.1},
    ],
    ids=["exponent", "constraint"],
)
def test_every_trial_is_measured_where_its_exponent_is_wanted(options: Any) -> None:
    study = optuna.create_study(pruner=LyapunovPruner(), sampler=RandomSampler(0))
    objective = Objective(
        Quadratic(), {"lr": 1e-6}, **{"probe": Probe(horizon=6), "record": False, **options}
    )
    study.optimize(objective, n_trials=1)
    assert "exponent" in study.trials[0].user_attrs
