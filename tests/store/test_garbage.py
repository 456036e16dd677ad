from datetime import UTC, datetime, timedelta

import optuna
import pytest
import sqlalchemy

from lyapopt.store import RUN_ATTRIBUTE, StoreError, TrajectoryStore


@pytest.fixture
def study(optuna_storage):
    return optuna.create_study(storage=optuna_storage, study_name="study")


@pytest.fixture
def beside(study, database_url):
    with TrajectoryStore(database_url) as opened:
        yield opened


def _count(store, table="run"):
    with store._engine.connect() as connection:
        return connection.scalar(sqlalchemy.text(f"SELECT count(*) FROM lyapopt_{table}"))


def test_runs_of_a_deleted_study_are_deleted_with_all_that_belongs_to_them(
    study, beside, optuna_storage, finish_trial
):
    finish_trial(study, beside)
    kept = optuna.create_study(storage=optuna_storage, study_name="kept")
    run = finish_trial(kept, beside)
    optuna.delete_study(study_name="study", storage=optuna_storage)
    assert beside.gc(grace=0) == 1
    assert list(beside.states()) == [run.run]
    assert beside.read(run.run).trajectories
    counts = [_count(beside, table) for table in ("exponent", "trajectory", "block", "decision")]
    assert counts == [1, 4, 1, 1]


def test_a_dry_run_only_counts(study, beside, make_run):
    beside.record(make_run("gone"))
    assert beside.gc(dry_run=True, grace=0) == 1
    assert _count(beside) == 1


def test_runs_that_were_recorded_a_moment_ago_are_kept(study, beside, make_run):
    beside.record(make_run("gone"))
    assert beside.gc() == 0
    with beside._engine.begin() as connection:
        long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
        update = sqlalchemy.text("UPDATE lyapopt_run SET recorded_at = :moment")
        connection.execute(update, {"moment": long_ago})
    assert beside.gc() == 1


def test_the_run_of_a_trial_that_is_running_is_kept(study, beside, make_run):
    named, nameless = study.ask(), study.ask()
    runs = [make_run("study", trial.number, state="running") for trial in (named, nameless)]
    named.set_user_attr(RUN_ATTRIBUTE, runs[0].run)
    for run in runs:
        beside.record(run)
    assert beside.gc(grace=0) == 0
    assert _count(beside) == 2


def test_many_orphans_are_deleted_at_once(study, beside, make_run):
    for number in range(450):
        beside.record(make_run("gone", number, trajectories=(), exponents=(), decisions=()))
    assert beside.gc(grace=0) == 450
    assert _count(beside) == 0


def test_a_store_of_its_own_is_told_which_runs_are_named(store, make_run):
    kept, gone = make_run(), make_run(trial_number=1)
    store.record(kept)
    store.record(gone)
    with pytest.raises(StoreError, match="give the runs that are named"):
        store.gc(grace=0)
    assert store.gc(grace=0, named=[kept.run]) == 1
    assert list(store.states()) == [kept.run]
