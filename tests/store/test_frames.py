import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from lyapopt.store import Decision, ExponentRecord, TrajectoryRecord


def test_runs_come_as_one_row_for_each_trial(store, make_run):
    for number in (1, 0):
        store.record(make_run(trial_number=number))
    store.record(make_run("another"))
    frame = store.runs("study")
    assert frame["trial_number"].tolist() == [0, 1]
    assert frame["value"].tolist() == [0.25, 1.25]
    assert frame["verdict"].tolist() == ["edge", "edge"]
    assert frame.loc[0, "settings"]["probe"] == {"horizon": 20, "radius": 1e-6}
    assert frame.loc[0, "started_at"] == datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
    assert sorted(store.runs()["study_name"]) == ["another", "study", "study"]


def test_exponents_come_with_interval_conditions_and_the_verdict_of_their_trial(store, make_run):
    store.record(make_run(verdict="hot"))
    [row] = store.exponents("study").to_dict("records")
    assert (row["verdict"], row["name"], row["value"]) == ("hot", "neighbours@20", 0.0125)
    assert (row["low"], row["high"], row["level"], row["unit"]) == (0.01, 0.015, 0.95, "nats")
    assert (row["horizon"], row["neighbours"], row["flags"]) == (20, 16, ("unaligned",))


def test_exponents_of_a_trial_keep_their_order(store, make_run):
    exponents = tuple(ExponentRecord(name, 0.0) for name in ("second", "first", "third"))
    store.record(make_run(exponents=exponents))
    assert store.exponents("study")["name"].tolist() == ["second", "first", "third"]


def test_infinite_exponents_are_infinite_in_frames(store, make_run):
    exponents = (ExponentRecord("a", math.inf), ExponentRecord("b", None))
    store.record(make_run(exponents=exponents))
    frame = store.exponents("study")
    assert frame["value"][0] == math.inf
    assert math.isnan(frame["value"][1])


def test_decisions_come_in_the_order_in_which_they_were_taken(store, make_run):
    decisions = (
        Decision(40, "Median", True, "worse than the median", {"loss": math.inf}),
        Decision(20, "LyapunovPruner", False),
    )
    store.record(make_run(decisions=decisions))
    frame = store.decisions("study")
    assert frame["step"].tolist() == [40, 20]
    assert frame["pruned"].tolist() == [True, False]
    assert frame.loc[0, "numbers"] == {"loss": math.inf}


def test_a_series_of_numbers_has_a_row_for_each_step(store, make_run):
    run = make_run()
    store.record(run)
    frame = store.trajectories("study", 0, "validation_loss")
    assert frame["step"].tolist() == [0, 10, 20, 30]
    assert frame["component"].tolist() == [0, 0, 0, 0]
    assert frame["value"].tolist() == run.trajectories[1].values.tolist()


def test_a_series_of_arrays_has_a_row_for_each_step_and_component(store, make_run):
    run = make_run()
    store.record(run)
    frame = store.trajectories("study", 0, "separation")
    wide = frame.pivot(index="step", columns="component", values="value")
    np.testing.assert_array_equal(wide.to_numpy(), run.trajectories[2].values)
    assert wide.index.tolist() == list(range(21))


def test_float32_stays_float32_in_frames_of_one_kind(store, make_run):
    store.record(make_run())
    assert store.trajectories("study", 0, "loss")["value"].dtype == np.float32


def test_several_trials_and_series_come_in_one_frame(store, make_run):
    for number in range(4):
        store.record(make_run(trial_number=number))
    frame = store.trajectories("study", [1, 3], ["loss", "validation_loss"])
    counts = frame.groupby(["trial_number", "name"], observed=True).size()
    assert counts.to_dict() == {
        (1, "loss"): 40,
        (1, "validation_loss"): 4,
        (3, "loss"): 40,
        (3, "validation_loss"): 4,
    }


def test_two_studies_can_be_compared_in_one_frame(store, make_run):
    store.record(make_run("a"))
    store.record(make_run("b"))
    frame = store.trajectories(name="loss")
    assert frame.groupby("study_name", observed=True).size().to_dict() == {"a": 40, "b": 40}


@pytest.mark.parametrize("what", ["runs", "exponents", "decisions", "trajectories"])
def test_frames_of_nothing_have_the_columns_and_types_of_others(store, make_run, what):
    empty = getattr(store, what)("study")
    store.record(make_run())
    full = getattr(store, what)("study")
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    kinds = [column for column in full.columns if column not in ("study_name", "name", "value")]
    pd.testing.assert_series_equal(empty[kinds].dtypes, full[kinds].dtypes)


def test_a_series_without_rows_takes_no_row(store, make_run):
    store.record(make_run(trajectories=(TrajectoryRecord("loss", np.zeros((0, 3))),)))
    assert store.trajectories("study").empty


def test_states_are_given_by_run(store, make_run):
    complete, pruned = make_run(), make_run(trial_number=1, state="pruned")
    store.record(complete)
    store.record(pruned)
    assert store.states("study") == {complete.run: "complete", pruned.run: "pruned"}
