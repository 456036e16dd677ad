"""Rows that are missing, and rows that hold what they cannot hold."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy

from lyapopt.store import (
    RUN_ATTRIBUTE,
    DamagedDataError,
    DamagedDataWarning,
    RunRecord,
    TrajectoryRecord,
    TrajectoryStore,
)
from lyapopt.store.trials import StoredStudy, read_study


def execute(url: str, statement: str, **values: Any) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement), values)
    engine.dispose()


@pytest.fixture
def two_runs(
    database_url: str, store: TrajectoryStore, make_run: Callable[..., RunRecord]
) -> tuple[RunRecord, RunRecord]:
    """Two runs in a store of its own; the tests damage the first."""
    runs = make_run(trial_number=0), make_run(trial_number=1)
    store.record_all(runs)
    return runs


MISSING = {
    "all blocks": "DELETE FROM lyapopt_block WHERE run = :run",
    "pieces of the last series": (
        "DELETE FROM lyapopt_trajectory WHERE run = :run AND name = 'separation'"
    ),
    "pieces of the first series": (
        "DELETE FROM lyapopt_trajectory WHERE run = :run AND name = 'loss'"
    ),
    "steps of a series": "DELETE FROM lyapopt_trajectory WHERE run = :run AND part = 'steps'",
    "values of a series": (
        "DELETE FROM lyapopt_trajectory WHERE run = :run AND part = 'values' "
        "AND name = 'validation_loss'"
    ),
    "all pieces": "DELETE FROM lyapopt_trajectory WHERE run = :run",
}


@pytest.mark.parametrize("what", MISSING)
def test_no_row_of_series_can_be_missing_in_silence(
    database_url: str, store: TrajectoryStore, two_runs: tuple[RunRecord, RunRecord], what: str
) -> None:
    whole = store.trajectories("study")
    execute(database_url, MISSING[what], run=two_runs[0].run)
    with pytest.warns(DamagedDataWarning, match="trial 0 of study 'study'"):
        found = store.trajectories("study")
    of_other = whole.query("trial_number == 1")["value"].tolist()
    assert found.query("trial_number == 1")["value"].tolist() == of_other
    assert store.damage_of(two_runs[0].run)
    assert store.damage_of(two_runs[1].run) == []
    with pytest.raises(DamagedDataError):
        store.read(two_runs[0].run)


def test_what_is_whole_is_read_without_a_warning(
    store: TrajectoryStore, two_runs: tuple[RunRecord, RunRecord]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(store.trajectories()["trial_number"]) == {0, 1}
        assert len(store.runs()) == len(store.exponents()) == len(store.decisions()) == 2
    assert [store.damage_of(run.run) for run in two_runs] == [[], []]


def test_empty_series_and_runs_without_series_are_whole(
    store: TrajectoryStore, make_run: Callable[..., RunRecord]
) -> None:
    empty = TrajectoryRecord("loss", np.empty(0, np.float32), np.empty(0, np.int64))
    runs = make_run(trajectories=(empty,)), make_run(trajectories=())
    store.record_all(runs)
    assert [store.damage_of(run.run) for run in runs] == [[], []]
    assert store.array("loss", "study", 0).shape == (0,)


@pytest.mark.parametrize("table", ["lyapopt_exponent", "lyapopt_decision"])
def test_a_gap_among_the_rows_of_a_run_is_said(
    database_url: str, store: TrajectoryStore, make_run: Callable[..., RunRecord], table: str
) -> None:
    one = make_run()
    exponents = (*one.exponents, one.exponents[0].__class__("second", 1.0))
    run = make_run(exponents=exponents, decisions=one.decisions * 2)
    store.record(run)
    execute(database_url, f"DELETE FROM {table} WHERE position = 0")
    frame = store.exponents if table == "lyapopt_exponent" else store.decisions
    with pytest.warns(DamagedDataWarning, match=" 0 is missing"):
        assert len(frame("study")) == 1
    [damage] = store.damage_of(run.run)
    assert damage.endswith(" 0 is missing")


def test_rows_that_have_lost_their_header_are_found(
    sqlite_url: str, make_run: Callable[..., RunRecord]
) -> None:
    with TrajectoryStore(sqlite_url) as store:
        run = make_run()
        store.record(run)
        execute(sqlite_url, "DELETE FROM lyapopt_run")
        assert store.runs_without_header() == [run.run]
        assert store.damage_of(run.run)


# SQLite takes any value in any column; what is damaged there would be refused elsewhere.
CHANGED = [
    ("lyapopt_block", "data", b"nothing that was compressed"),
    ("lyapopt_block", "data", "a text"),
    ("lyapopt_block", "data", b""),
    ("lyapopt_trajectory", "shape_json", "[40"),
    ("lyapopt_trajectory", "shape_json", '"many"'),
    ("lyapopt_trajectory", "shape_json", "[-1]"),
    ("lyapopt_trajectory", "shape_json", "[99999999999999]"),
    ("lyapopt_trajectory", "dtype", "<z9"),
    ("lyapopt_trajectory", "dtype", "|O"),
    ("lyapopt_trajectory", "codec", "lzma"),
    ("lyapopt_trajectory", "n_values", "many"),
    ("lyapopt_trajectory", "n_values", 10**12),
    ("lyapopt_trajectory", "byte_offset", 10**9),
    ("lyapopt_trajectory", "byte_length", 0),
    ("lyapopt_trajectory", "block", 7),
    ("lyapopt_trajectory", "part", "halves"),
    ("lyapopt_exponent", "value", "many"),
    ("lyapopt_exponent", "value_kind", "huge"),
    ("lyapopt_exponent", "flags_json", "{"),
    ("lyapopt_exponent", "details_json", b"\xff"),
    ("lyapopt_exponent", "name", ""),
    ("lyapopt_exponent", "horizon", 2.5),
    ("lyapopt_decision", "pruned", "perhaps"),
    ("lyapopt_decision", "numbers_json", "none"),
    ("lyapopt_decision", "step", "last"),
    ("lyapopt_run", "state", "finished"),
    ("lyapopt_run", "started_at", "yesterday"),
    ("lyapopt_run", "finished_at", 5),
    ("lyapopt_run", "gradient_evaluations", "many"),
    ("lyapopt_run", "seed", b"seed"),
    ("lyapopt_run", "values_json", "0.5"),
    ("lyapopt_run", "values_json", '["many"]'),
    ("lyapopt_run", "versions_json", "[]"),
    ("lyapopt_run", "versions_json", "["),
    ("lyapopt_run", "settings_json", b"\x00"),
]


@pytest.mark.parametrize(("table", "column", "value"), CHANGED)
def test_a_damaged_value_is_said_and_hides_nothing_else(
    sqlite_url: str, make_run: Callable[..., RunRecord], table: str, column: str, value: object
) -> None:
    with TrajectoryStore(sqlite_url) as store:
        runs = make_run(trial_number=0), make_run(trial_number=1)
        store.record_all(runs)
        frames = {
            "lyapopt_run": store.runs,
            "lyapopt_exponent": store.exponents,
            "lyapopt_decision": store.decisions,
        }
        frame = frames.get(table, store.trajectories)
        whole = frame("study").query("trial_number == 1")
        where = "part = 'values' AND run" if table == "lyapopt_trajectory" else "run"
        statement = f"UPDATE {table} SET {column} = :value WHERE {where} = :run"
        execute(sqlite_url, statement, value=value, run=runs[0].run)
        assert store.damage_of(runs[0].run)
        assert store.damage_of(runs[1].run) == []
        with pytest.raises(DamagedDataError, match=runs[0].run):
            store.read(runs[0].run)
        with pytest.warns(DamagedDataWarning, match="trial 0 of study 'study'"):
            found = frame("study")
        rest = found.query("trial_number == 1")
        pd.testing.assert_frame_equal(
            rest.reset_index(drop=True).astype("object"),
            whole.reset_index(drop=True).astype("object"),
        )
        assert len(store.read(runs[1].run).trajectories) == 3


def test_each_damaged_thing_of_a_run_is_said(
    sqlite_url: str, make_run: Callable[..., RunRecord]
) -> None:
    with TrajectoryStore(sqlite_url) as store:
        run = make_run()
        store.record(run)
        execute(sqlite_url, "UPDATE lyapopt_run SET started_at = 'yesterday'")
        execute(sqlite_url, "UPDATE lyapopt_exponent SET flags_json = '{'")
        execute(sqlite_url, "UPDATE lyapopt_trajectory SET codec = 'x' WHERE name <> 'loss'")
        damage = "\n".join(store.damage_of(run.run))
    for what in ("header", "exponent 0", "'separation'", "'validation_loss'"):
        assert what in damage
    assert "'loss'" not in damage


def test_finished_trials_of_which_nothing_is_stored_are_said(
    database_url: str,
    optuna_storage: optuna.storages.RDBStorage,
    store: TrajectoryStore,
    finish_trial: Callable[..., RunRecord],
) -> None:
    study = optuna.create_study(study_name="study", storage=optuna_storage)
    runs = [finish_trial(study, store) for _ in range(3)]
    store.forget([])
    for table in ("block", "trajectory", "decision", "exponent", "run"):
        execute(database_url, f"DELETE FROM lyapopt_{table} WHERE run = :run", run=runs[1].run)
    study.ask()  # which runs, and need not be stored
    for frame in (store.runs, store.exponents, store.decisions, store.trajectories):
        with pytest.warns(
            DamagedDataWarning, match=r"nothing is stored of 1 finished trials \(1\)"
        ):
            assert set(frame("study")["trial_number"]) == {0, 2}
    [said] = read_study(database_url, "study").damage
    assert said == "nothing is stored of 1 finished trials (1)"


def test_runs_of_a_copied_study_are_found_and_those_in_another_database_are_not_missed(
    optuna_storage: optuna.storages.RDBStorage,
    database_url: str,
    store: TrajectoryStore,
    finish_trial: Callable[..., RunRecord],
    tmp_path: Path,
) -> None:
    study = optuna.create_study(study_name="study", storage=optuna_storage)
    finish_trial(study, store, reason="dead")
    optuna.copy_study(
        from_study_name="study",
        from_storage=optuna_storage,
        to_storage=optuna_storage,
        to_study_name="copy",
    )
    finish_trial(optuna.load_study(study_name="copy", storage=optuna_storage), store)
    copied = read_study(database_url, "copy")
    assert (copied.trials[0].reason, copied.damage) == ("dead", ())
    elsewhere = optuna.create_study(study_name="elsewhere", storage=optuna_storage)
    other = TrajectoryStore(f"sqlite:///{tmp_path / 'other.db'}")
    finish_trial(elsewhere, other, reason="hot")
    assert read_study(database_url, "elsewhere").damage == ()
    [trial] = read_study(database_url, "elsewhere", reasons_url=str(other.url)).trials
    assert trial.reason == "hot"


@pytest.fixture
def study_url(sqlite_url: str) -> str:
    """A study of three finished trials, with attributes."""
    study = optuna.create_study(study_name="study", storage=sqlite_url)

    def objective(trial: optuna.Trial) -> float:
        trial.set_user_attr("exponent", 0.5)
        trial.set_user_attr("gradient_evaluations", 10)
        trial.suggest_categorical("activation", ["relu", "tanh"])
        trial.suggest_int("units", 1, 4)
        return trial.suggest_float("lr", 0.0, 1.0)

    study.optimize(objective, n_trials=3)
    return sqlite_url


OF_OPTUNA = [
    ("trial_user_attributes", "value_json", "{"),
    ("trial_user_attributes", "value_json", ""),
    ("trial_user_attributes", "value_json", None),
    ("trial_user_attributes", "value_json", b"\xff\xfe"),
    ("trial_user_attributes", "value_json", "[" * 100_000),
    ("trial_user_attributes", "value_json", "9" * 10_000),
    ("trial_params", "distribution_json", "{"),
    ("trial_params", "distribution_json", '{"name": "CategoricalDistribution"}'),
    ("trial_params", "distribution_json", "[]"),
    ("trial_params", "distribution_json", None),
    ("trial_params", "param_value", "many"),
    ("trial_params", "param_value", None),
    ("trial_values", "value", "many"),
    ("trial_values", "value", None),
    ("trials", "datetime_start", "yesterday"),
    ("trials", "datetime_complete", b"\xff"),
    ("trials", "state", "DONE"),
    ("trials", "number", "first"),
]


@pytest.mark.parametrize(("table", "column", "value"), OF_OPTUNA)
def test_a_study_with_a_damaged_row_is_read_without_it(
    study_url: str, table: str, column: str, value: object
) -> None:
    before = read_study(study_url, "study")
    statement = f"UPDATE {table} SET {column} = :value WHERE trial_id = 2"
    execute(study_url, statement, value=value)
    after = read_study(study_url, "study")
    assert before.damage == ()
    assert after.damage
    assert [each for each in after.trials if each.number != 1] == [
        each for each in before.trials if each.number != 1
    ]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM trial_values WHERE trial_id = 2", "trial 1: values cannot be read"),
        ("UPDATE trials SET number = 0 WHERE trial_id = 2", "trial 0: 2 trials have its number"),
    ],
)
def test_a_value_that_is_gone_and_a_number_that_is_there_twice_are_said(
    study_url: str, statement: str, said: str
) -> None:
    execute(study_url, statement)
    [damage] = read_study(study_url, "study").damage
    assert damage.startswith(said)


def test_a_value_that_is_gone_does_not_give_its_place_to_another_objective(
    sqlite_url: str,
) -> None:
    directions = ["minimize", "minimize"]
    study = optuna.create_study(study_name="two", storage=sqlite_url, directions=directions)
    study.optimize(lambda trial: (1.0, 2.0), n_trials=2)
    execute(sqlite_url, "DELETE FROM trial_values WHERE trial_id = 1 AND objective = 0")
    found = read_study(sqlite_url, "two")
    assert [trial.values for trial in found.trials] == [(), (1.0, 2.0)]
    assert found.damage == ("trial 0: values cannot be read: 1 of 2 are stored",)


def test_text_that_is_not_utf8_is_read_as_far_as_it_can_be(study_url: str) -> None:
    execute(
        study_url,
        "UPDATE trial_user_attributes SET value_json = CAST(:value AS TEXT) WHERE trial_id = 2",
        value=b'"\xff"',
    )
    study = read_study(study_url, "study")
    assert study.trials[1].attributes["exponent"] == "\ufffd"
    assert study.trials[1].exponent is None


@pytest.mark.parametrize("value", ["many", [1], {"a": 1}, None, True, 10**400, float("nan")])
def test_attributes_of_others_under_our_names_are_no_numbers_of_ours(
    study_url: str, value: object
) -> None:
    statement = "UPDATE trial_user_attributes SET value_json = :value WHERE trial_id = 2"
    execute(study_url, statement, value=json.dumps(value))
    [_, trial, _] = read_study(study_url, "study").trials
    assert isinstance(trial.gradient_evaluations, float)
    assert trial.exponent is None or isinstance(trial.exponent, float)


def test_a_study_whose_directions_are_lost_shows_its_trials(study_url: str) -> None:
    execute(study_url, "DELETE FROM study_directions")
    study = read_study(study_url, "study")
    assert isinstance(study, StoredStudy)
    assert len(study.trials) == 3
    assert "directions" in study.damage[0]


@pytest.mark.parametrize("number", [None, "first", b"1"])
def test_series_of_trials_with_a_number_that_is_damaged_are_left_out(
    study_url: str, make_run: Callable[..., RunRecord], number: object
) -> None:
    study = optuna.load_study(study_name="study", storage=study_url)
    store = TrajectoryStore(study_url)
    for trial in study.trials[:2]:
        record = make_run(trial_number=trial.number)
        store.record(record)
        execute(
            study_url,
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:id, :k, :v)",
            id=trial.number + 1,
            k=RUN_ATTRIBUTE,
            v=json.dumps(record.run),
        )
    assert set(store.trajectories("study")["trial_number"]) == {0, 1}
    execute(study_url, "UPDATE trials SET number = :number WHERE trial_id = 2", number=number)
    for frame in (store.runs, store.exponents, store.decisions, store.trajectories):
        with pytest.warns(DamagedDataWarning, match="the number of 1 of its trials"):
            assert set(frame("study")["trial_number"]) == {0}
