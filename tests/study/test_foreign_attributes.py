"""Attributes of other tools that are called like ours are not taken for ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lyapopt import LyapunovPruner, load, load_study_file, run_study
from lyapopt.search import attributes
from lyapopt.search._optuna.history import NUMBER_ATTRIBUTE
from lyapopt.search.probing.records import SCREENING, STEERING, ScreeningRecord, SteeringRecord
from lyapopt.store.states import DEATHS, RUN_ATTRIBUTE
from lyapopt.study.admin.doctor import examine
from lyapopt.study.admin.maintenance import collect_garbage

NAMES = [
    *(attributes.COST, attributes.EXPONENT, attributes.LOW, attributes.HIGH, attributes.VERDICT),
    *(attributes.LEVEL, attributes.LOSS_FALL, attributes.INITIAL_LOSS, attributes.PROMOTED_FROM),
    *(RUN_ATTRIBUTE, DEATHS, NUMBER_ATTRIBUTE, STEERING, SCREENING),
]
VALUES: list[Any] = ["many", [1, 2], {"a": 1}, None, True, float("inf"), float("nan"), -5, 10**400]

STUDY = """
task: xor
study_name: foreign
storage: {storage}
search_space: {{lr: {{type: float, low: 1e-3, high: 0.5, log: true}}}}
sampler: edge-of-chaos
pruner: {{name: lyapunov, slow: null}}
probe: {{horizon: 4}}
budget: {{gradient_evaluations: 1000000}}
n_trials: {n_trials}
"""


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    """A study of plain Optuna: every name of ours with every strange value."""
    url = f"sqlite:///{tmp_path / 'foreign.db'}"
    study = optuna.create_study(storage=url, study_name="foreign")
    lr = optuna.distributions.FloatDistribution(1e-3, 0.5, log=True)
    study.add_trials(
        optuna.trial.create_trial(
            state=TrialState.FAIL if i % 3 == 0 else TrialState.COMPLETE,
            value=None if i % 3 == 0 else 0.5,
            params={"lr": 0.1},
            distributions={"lr": lr},
            user_attrs={name: value},
        )
        for name in NAMES
        for i, value in enumerate(VALUES)
    )
    return url


def test_a_foreign_study_is_shown_and_its_numbers_are_not_counted(foreign: str) -> None:
    data = load(foreign)
    overview = data.overview
    assert overview.gradient_evaluations == 0
    assert set(overview.verdicts) == {"many"}
    assert overview.best[0].value == 0.5
    for name in (attributes.COST, attributes.EXPONENT, attributes.LOW, attributes.HIGH):
        assert name not in data.trials or data.trials[name].dropna().isin([-5]).all()
    examine(foreign, None, deep=True)


def test_a_foreign_study_can_be_gone_on_with(foreign: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    count = len(NAMES) * len(VALUES)
    path.write_text(STUDY.format(storage=foreign, n_trials=count + 3))
    result = run_study(load_study_file(path))
    trials = load(foreign).trials
    assert len(trials) == count + 3
    assert trials["state"].iloc[-3:].isin(["complete", "pruned"]).all()
    assert result.ledger.gradient_evaluations == trials[attributes.COST].iloc[-3:].sum()
    assert collect_garbage(foreign, None, dry_run=True) == 0


@pytest.mark.parametrize("fall", ["high", None, float("nan"), True])
def test_a_fall_of_the_loss_that_is_no_number_prunes_nothing(fall: Any) -> None:
    study = optuna.create_study(pruner=LyapunovPruner())
    trial = study.ask()
    trial.set_user_attr(attributes.LOSS_FALL, fall)
    trial.report(1.0, 1)
    assert not trial.should_prune()


@pytest.mark.parametrize("cost", ["many", None, True])
def test_a_record_of_probes_with_a_cost_that_is_no_number_is_not_ours(cost: Any) -> None:
    steering = SteeringRecord("lr", 0.1, 0.0, 0.01, "crossed", None, "SGD", cost, 5, ())
    screening = ScreeningRecord("paper", None, (), cost, 5)
    trial = optuna.trial.create_trial(
        value=0.0,
        user_attrs={STEERING: steering.as_attribute(), SCREENING: screening.as_attribute()},
    )
    assert SteeringRecord.of_trial(trial) is None
    assert ScreeningRecord.of_trial(trial) is None


def test_attributes_called_like_columns_do_not_take_their_place(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    study = optuna.create_study(storage=url)
    trial = study.ask({"lr": optuna.distributions.FloatDistribution(0.1, 1.0)})
    for name in ("state", "value", "trial_number", "params_lr", "reason"):
        trial.set_user_attr(name, "foreign")
    study.tell(trial, 0.25)
    row = load(url).trials.iloc[0]
    assert (row["state"], row["value"], row["trial_number"]) == ("complete", 0.25, 0)
    assert row["params_lr"] == trial.params["lr"]
    assert row["user_attrs_state"] == row["user_attrs_params_lr"] == "foreign"
