"""Screening: which candidate is kept, what it costs, what is stored."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from networks import tanh_network
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler

from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Probe
from lyapopt.search import Objective, ScreeningSampler, SearchSpace, SeedParameter
from lyapopt.search.screening import SCREENING, ScreenedCandidate, ScreeningRecord
from lyapopt.search.screening.rules import (
    Forecasts,
    early_loss_rule,
    fit_surrogate,
    forecast_rule,
    paper_rule,
)
from lyapopt.search.steering import SteeringFailedError
from lyapopt.store import TrajectoryStore

LR = FloatDistribution(1e-3, 1.0, log=True)
SPACE = SearchSpace({"lr": LR, "width": IntDistribution(4, 8), "init_seed": SeedParameter()})
PROBE = Probe(horizon=8)


def candidate(
    exponent: float | None = 0.0, initial: float = 1.0, early: float = 0.5, verdict: str = "edge"
) -> ScreenedCandidate:
    return ScreenedCandidate({"lr": 0.01 + early}, exponent, initial, early, verdict)


def study(**options: Any) -> optuna.Study:
    sampler = ScreeningSampler(
        TPESampler(seed=2),
        **{
            "build": tanh_network,
            "probe": PROBE,
            "candidates": 5,
            "search_space": SPACE,
            "seed": 2,
            **options,
        },
    )
    return optuna.create_study(sampler=sampler)


def test_the_paper_rule_keeps_the_lowest_exponent_inside_the_gate() -> None:
    made = [
        candidate(-9.0, initial=100.0),
        candidate(0.2, initial=1.0),
        candidate(-0.1, initial=1.1),
        candidate(0.3, initial=1.2),
        candidate(-8.0, initial=0.001),
    ]
    assert paper_rule(made) == 2


def test_candidates_that_cannot_train_are_not_kept_while_there_are_others() -> None:
    made = [
        candidate(-9.0, early=0.0, verdict="dead"),
        candidate(None, early=0.1, verdict="diverged"),
        candidate(0.1, early=0.9),
    ]
    assert paper_rule(made) == early_loss_rule(made) == 2
    surrogate = fit_surrogate([(candidate(k / 9, early=k / 9), k) for k in range(10)], {"lr": LR})
    assert forecast_rule(made, surrogate, 0.0, {"lr": LR}) == 2


def test_the_forecast_rule_learns_what_early_losses_do_not_tell() -> None:
    history = [(candidate(k / 20, early=k / 20), 1.0 - k / 20) for k in range(20)]
    made = [candidate(0.1, early=0.1), candidate(0.9, early=0.9)]
    surrogate = fit_surrogate(history, {"lr": LR})
    assert early_loss_rule(made) == 0
    assert forecast_rule(made, surrogate, 0.05, {"lr": LR}) == 1


def test_a_study_is_screened_by_early_loss_until_there_is_enough_to_learn_from() -> None:
    made = [candidate(0.1, early=0.1), candidate(0.9, early=0.9)]
    kept = optuna.create_study()
    forecasts = Forecasts()
    for k in range(20):
        record = ScreeningRecord("forecast", 0, (candidate(k / 20, early=k / 20),), 16, 16)
        kept.add_trial(
            optuna.trial.create_trial(
                user_attrs={SCREENING: record.as_attribute()},
                **(
                    {"value": 1.0 - k / 20}
                    if k % 2
                    else {
                        "state": optuna.trial.TrialState.PRUNED,
                        "intermediate_values": {5: 1.0 - k / 20},
                    }
                ),
            )
        )
        chosen = forecasts.choose(kept, made, {"lr": LR}, 0)
        if k < 9:
            assert chosen == 0
    assert chosen == 1


def test_every_candidate_is_measured_counted_and_stored(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    sampler = ScreeningSampler(
        RandomSampler(1),
        build=tanh_network,
        probe=PROBE,
        candidates=4,
        rule="paper",
        search_space=SPACE,
        seed=1,
    )
    kept = optuna.create_study(storage=url, study_name="s", sampler=sampler)
    store = TrajectoryStore(url)
    kept.optimize(Objective(tanh_network, SPACE, probe=PROBE, store=store, seed=1), n_trials=2)
    for trial in kept.trials:
        record = ScreeningRecord.of_trial(trial)
        assert record is not None
        assert record.chosen is not None
        assert record.gradient_evaluations == 4 * 16
        assert record.candidates[record.chosen].params == trial.params
        assert len({c.params["init_seed"] for c in record.candidates}) == 4
        # Four probes, the 52 steps after the kept one, and ten evaluations of a third of a step.
        assert trial.user_attrs["gradient_evaluations"] == pytest.approx(64 + 52 + 10 / 3, 1e-5)
        names = store.exponents("s").query(f"trial_number == {trial.number}")["name"]
        assert [name for name in names if name.startswith("candidate")] == [
            f"candidate {k}" for k in range(4)
        ]


def test_a_users_rule_is_given_the_candidates() -> None:
    seen = []

    def last(candidates: list[ScreenedCandidate]) -> int:
        seen.append(candidates)
        return len(candidates) - 1

    made = study(rule=last)
    made.optimize(Objective(tanh_network, SPACE, probe=PROBE, seed=2), n_trials=1)
    assert seen[0][-1].params == made.trials[0].params


def test_a_rule_that_returns_no_index_is_refused() -> None:
    with pytest.raises(UserError, match="returned 7 for 5 candidates"):
        study(rule=lambda candidates: 7).ask(SPACE.distributions)


def test_probes_are_charged_also_where_the_rule_fails() -> None:
    def broken(candidates: list[ScreenedCandidate]) -> int:
        raise ValueError("no idea")

    made = study(rule=broken)
    with pytest.raises(ValueError, match="no idea"):
        made.ask(SPACE.distributions)
    made.tell(0, state=optuna.trial.TrialState.FAIL)
    record = ScreeningRecord.of_trial(made.trials[0])
    assert record is not None
    assert record.chosen is None
    assert len(record.candidates) == 5
    assert made.trials[0].user_attrs["gradient_evaluations"] == record.gradient_evaluations > 0


def test_a_seeded_study_repeats_itself_also_after_pickling() -> None:
    def values(made: optuna.Study) -> list[Any]:
        made.optimize(Objective(tanh_network, SPACE, probe=PROBE, seed=2), n_trials=3)
        return [(trial.params, trial.value) for trial in made.trials]

    pickled = study()
    pickled.sampler = pickle.loads(pickle.dumps(pickled.sampler))
    assert values(study()) == values(pickled)


def test_a_build_that_raises_costs_a_candidate_and_not_the_trial() -> None:
    def build(params: Mapping[str, Any]) -> Training:
        if params["width"] % 2:
            raise ValueError("odd widths are not built")
        return tanh_network(params)

    made = study(build=build, candidates=8, rule="paper")
    made.optimize(Objective(build, SPACE, probe=PROBE, seed=2), n_trials=4)
    assert all(trial.params["width"] % 2 == 0 for trial in made.trials)

    def never(params: Mapping[str, Any]) -> Training:
        raise ValueError("nothing is built")

    with pytest.raises(SteeringFailedError, match="nothing is built"):
        study(build=never).ask(SPACE.distributions)


def test_by_the_rule_of_the_loss_the_lowest_one_after_the_probe_is_kept() -> None:
    made = study(rule="loss")
    made.ask(SPACE.distributions)
    record = ScreeningRecord.of_trial(made.trials[0])
    assert record is not None
    assert record.chosen is not None
    losses = [c.early_loss for c in record.candidates if c.early_loss is not None]
    assert record.rule == "loss"
    assert record.candidates[record.chosen].early_loss == min(losses)


@pytest.mark.parametrize("options", [{"candidates": 0}, {"rule": "best"}, {"build": None}])
def test_settings_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(UserError):
        study(**options)
