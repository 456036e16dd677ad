"""Reading a whole study in few queries finds what Optuna itself finds."""

from __future__ import annotations

import math

import optuna
import pytest

from lyapopt.store.states import VERDICT, WORKER_ATTRIBUTE
from lyapopt.store.trials import StoredTrial, read_study

ATTRIBUTES = {
    "text": 'a "quoted" line\nand a second, \x1e and \x1f',
    "numbers": [1, 2.5, 1e-300, None],
    "nested": {"a": [True, "ü"]},
    "a key, with ünusual characters \x1f": -0.1,
    "not a number": math.nan,
    "infinite": math.inf,
    "long": "x" * 5000,
}


def objective(trial: optuna.Trial) -> float:
    for key, value in ATTRIBUTES.items():
        trial.set_user_attr(key, value)
    trial.suggest_float("lr", 1e-7, 10.0, log=True)
    trial.suggest_int("width", 1, 2**40)
    trial.suggest_categorical("activation", ["tanh", "relu", None, 3])
    trial.suggest_float("step", 0.1, 0.9, step=0.1)
    if trial.number == 3:
        raise optuna.TrialPruned
    return math.inf if trial.number == 4 else trial.params["lr"]


def check(url: str, study: optuna.Study) -> None:
    found = read_study(url, study.study_name)
    assert [trial.number for trial in found.trials] == [trial.number for trial in study.trials]
    for ours, theirs in zip(found.trials, study.trials, strict=True):
        assert list(ours.params.items()) == list(theirs.params.items())
        assert repr(sorted(ours.attributes.items())) == repr(sorted(theirs.user_attrs.items()))
        assert list(ours.values) == list(theirs.values or [])
        assert (ours.started, ours.finished) == (theirs.datetime_start, theirs.datetime_complete)


@pytest.fixture
def study(optuna_storage: optuna.storages.RDBStorage) -> optuna.Study:
    other = optuna.create_study(storage=optuna_storage, study_name="other")
    other.optimize(objective, n_trials=1)
    sampler = optuna.samplers.RandomSampler(0)
    return optuna.create_study(storage=optuna_storage, study_name="study", sampler=sampler)


def test_a_study_is_read_as_optuna_reads_it(database_url: str, study: optuna.Study) -> None:
    check(database_url, study)
    study.optimize(objective, n_trials=5)
    study.ask()
    check(database_url, study)


def test_ranges_may_change_and_trials_may_have_other_parameters(
    database_url: str, study: optuna.Study
) -> None:
    study.optimize(lambda trial: trial.suggest_float("momentum", 0.0, 1.0), n_trials=2)
    study.optimize(lambda trial: trial.suggest_float("momentum", 0.0, 0.5), n_trials=2)
    study.optimize(objective, n_trials=2)
    check(database_url, study)


def test_what_plain_optuna_failed_is_failed_and_what_is_run_again_is_interrupted(
    database_url: str, study: optuna.Study
) -> None:
    study.optimize(_fail, n_trials=1, catch=ValueError)
    for attributes in ({}, {VERDICT: "edge"}, {VERDICT: "failed"}, {VERDICT: "interrupted"}):
        of_worker, plain = study.ask(), study.ask()
        study._storage.set_trial_system_attr(of_worker._trial_id, WORKER_ATTRIBUTE, "here/1")
        for trial in (of_worker, plain):
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    states = ["failed", "interrupted", "failed", "interrupted", "failed"]
    states += ["failed", "failed", "interrupted", "interrupted"]
    assert [trial.state for trial in read_study(database_url, "study").trials] == states
    assert [StoredTrial.of(trial).state for trial in study.trials] == states


def _fail(trial: optuna.Trial) -> float:
    raise ValueError("a fault of the objective")
