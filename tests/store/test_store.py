import dataclasses
import math
import multiprocessing
import pickle

import numpy as np
import pytest
import sqlalchemy

from lyapopt.store import (
    Decision,
    ExponentRecord,
    RecordNotFoundError,
    StoreError,
    TrajectoryRecord,
    TrajectoryStore,
)


def _assert_same(back, run):
    """All fields equal; arrays bit by bit, with their dtypes."""
    assert dataclasses.replace(back, trajectories=()) == dataclasses.replace(run, trajectories=())
    for ours, theirs in zip(back.trajectories, run.trajectories, strict=True):
        assert ours.name == theirs.name
        assert ours.values.dtype == theirs.values.dtype
        assert ours.values.tobytes() == theirs.values.tobytes()
        np.testing.assert_equal(ours.steps, theirs.steps)


def test_a_run_is_read_back_as_it_was_recorded(store, make_run):
    run = make_run()
    store.record(run)
    _assert_same(store.read(run.run), run)


def test_a_run_with_nothing_but_its_name_is_read_back(store, make_run):
    run = make_run(
        state="running",
        values=None,
        verdict=None,
        reason=None,
        logical_number=None,
        finished_at=None,
        exponents=(),
        trajectories=(),
        decisions=(),
    )
    store.record(run)
    _assert_same(store.read(run.run), run)


def test_recording_again_replaces_the_whole_run(store, make_run):
    first = make_run(state="running")
    again = dataclasses.replace(
        first, state="complete", exponents=(), trajectories=first.trajectories[:1]
    )
    store.record(first)
    store.record(again)
    _assert_same(store.read(first.run), again)
    assert len(store.runs()) == 1


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, 0.0, 1e-310, 1.5e308])
def test_exponents_that_are_no_common_numbers_come_back(store, make_run, value):
    run = make_run(exponents=(ExponentRecord("e", value, low=value, high=value, details={}),))
    store.record(run)
    assert store.read(run.run).exponents == run.exponents


def test_an_exponent_that_is_nan_is_not_one_that_is_missing(store, make_run):
    run = make_run(exponents=(ExponentRecord("e", math.nan, details={"at": math.inf}),))
    store.record(run)
    [exponent] = store.read(run.run).exponents
    assert math.isnan(exponent.value)
    assert exponent.low is None
    assert exponent.details == {"at": math.inf}


def test_losses_that_diverge_come_back_with_nan_and_infinities(store, make_run):
    loss = np.array([1.0, 1e30, np.inf, -np.inf, np.nan], np.float32)
    run = make_run(trajectories=(TrajectoryRecord("loss", loss),))
    store.record(run)
    assert store.array("loss", "study", 0).tobytes() == loss.tobytes()


def test_numpy_numbers_are_taken_like_python_numbers(store, make_run):
    run = make_run(
        steps=np.int64(3),
        gradient_evaluations=np.float32(2.5),
        exponents=(ExponentRecord("e", np.float32(0.5), horizon=np.int64(20)),),
        decisions=(Decision(np.int32(1), "r", np.True_, "", {"a": np.float32(0.5)}),),
    )
    store.record(run)
    back = store.read(run.run)
    assert (back.steps, back.gradient_evaluations) == (3, 2.5)
    assert back.exponents[0].value == 0.5
    assert back.decisions[0].pruned is True


def test_text_of_any_language_and_length_comes_back(store, make_run):
    reason = "Gradient 爆発 💥 " * 10_000
    run = make_run("Größe 'quoted' \"twice\" %s", reason=reason, settings={"key": "ü" * 100_000})
    store.record(run)
    back = store.read(run.run)
    assert (back.reason, back.study_name, back.settings) == (reason, run.study_name, run.settings)


def test_names_that_differ_in_case_only_are_two_series(store, make_run):
    series = (TrajectoryRecord("loss", np.zeros(2)), TrajectoryRecord("Loss", np.ones(2)))
    store.record(make_run(trajectories=series))
    assert store.array("Loss", "study", 0).tolist() == [1.0, 1.0]
    assert store.array("loss", "study", 0).tolist() == [0.0, 0.0]


def test_large_weights_are_stored_in_pieces_and_come_back_whole(store, make_run):
    weights = np.random.default_rng(0).standard_normal((30, 50_000)).astype(np.float32)
    store.record(make_run(trajectories=(TrajectoryRecord("weights", weights),)))
    np.testing.assert_array_equal(store.array("weights", "study", 0), weights)


def test_nothing_is_stored_of_a_run_that_cannot_be_stored_whole(store, make_run):
    run = make_run(exponents=(ExponentRecord("without a unit", 0.1, unit=None),))
    with pytest.raises(StoreError, match="cannot record a trial in"):
        store.record(run)
    with pytest.raises(RecordNotFoundError):
        store.read(run.run)
    with store._engine.connect() as connection:
        for table in ("exponent", "trajectory", "block", "decision"):
            count = sqlalchemy.text(f"SELECT count(*) FROM lyapopt_{table}")
            assert connection.scalar(count) == 0


def test_a_missing_series_is_answered_with_those_that_are_there(store, make_run):
    store.record(make_run())
    with pytest.raises(RecordNotFoundError, match="it has: loss, validation_loss, separation"):
        store.array("accuracy", "study", 0)


def test_a_missing_trial_is_named(store, make_run):
    store.record(make_run())
    with pytest.raises(RecordNotFoundError, match="stored nothing of trial 7 of study 'study'"):
        store.array("loss", "study", 7)


def test_a_missing_run_is_named(store):
    with pytest.raises(RecordNotFoundError, match="has no run 'abc'"):
        store.read("abc")


def test_a_series_keeps_the_steps_at_which_it_was_taken(store, make_run):
    store.record(make_run())
    assert store.series("validation_loss", "study", 0).steps.tolist() == [0, 10, 20, 30]
    assert store.series("loss", "study", 0).steps is None


def test_a_pickled_store_opens_the_same_database(store, make_run):
    run = make_run()
    store.record(run)
    with pickle.loads(pickle.dumps(store)) as other:
        _assert_same(other.read(run.run), run)


def test_a_closed_store_opens_again_when_it_is_used(store, make_run):
    run = make_run()
    store.record(run)
    store.close()
    _assert_same(store.read(run.run), run)


def _record_in_fork(store, run):
    store.record(run)


def test_a_forked_process_uses_connections_of_its_own(store, make_run):
    runs = [make_run(trial_number=number) for number in range(4)]
    store.record(runs[0])
    context = multiprocessing.get_context("fork")
    forks = [context.Process(target=_record_in_fork, args=(store, run)) for run in runs[1:]]
    for fork in forks:
        fork.start()
    for fork in forks:
        fork.join()
    assert store.runs()["trial_number"].tolist() == [0, 1, 2, 3]


def test_an_engine_that_was_given_stays_open_when_the_store_closes(sqlite_url, make_run):
    engine = sqlalchemy.create_engine(sqlite_url)
    with engine.connect() as held, TrajectoryStore(engine) as store:
        store.record(make_run())
    assert not held.invalidated
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT count(*) FROM lyapopt_run")) == 1


def test_the_file_of_sqlite_is_not_switched_to_another_journal(sqlite_url, make_run):
    with TrajectoryStore(sqlite_url) as store:
        store.record(make_run())
    with sqlalchemy.create_engine(sqlite_url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
