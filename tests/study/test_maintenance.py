"""Creating, upgrading, cleaning, exporting and examining a study database."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy
import worker_study as shared
from typer.testing import CliRunner

import lyapopt
from lyapopt.cli.main import app
from lyapopt.errors import UserError
from lyapopt.store import (
    RUN_ATTRIBUTE,
    DamagedDataError,
    DamagedDataWarning,
    RunRecord,
    TrajectoryRecord,
    TrajectoryStore,
    new_run_id,
)
from lyapopt.store.states import WORKER_ATTRIBUTE
from lyapopt.store.view import VIEW_NAME
from lyapopt.study.admin.doctor import examine
from lyapopt.study.admin.export import export
from lyapopt.study.admin.maintenance import collect_garbage, init_storage, upgrade_storage
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a database with a small study in it, to be read only."""
    folder = tmp_path_factory.mktemp("finished")
    path = shared.write(folder, f"sqlite:///{folder}/study.db", n_trials=8)
    run_study(load_study_file(path), settings=shared.QUICK)
    return f"sqlite:///{folder}/study.db"


def _init(url: str, barrier: Any, results: Any) -> None:
    barrier.wait()
    try:
        results.put(init_storage(url))
    except Exception as error:
        results.put(repr(error))


def test_an_empty_database_may_be_initialised_by_many_processes_at_once(
    database_url: str,
) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.SimpleQueue()
    processes = [
        context.Process(target=_init, args=(database_url, barrier, results)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(results.get() for _ in processes) == [False] * 7 + [True]
    optuna.create_study(storage=database_url, study_name="study")


def test_upgrade_steps_aside_with_the_view_and_puts_it_back(database_url: str) -> None:
    init_storage(database_url)
    engine = sqlalchemy.create_engine(database_url)
    old = "v3.0.0.d"  # the schema before the newest of Optuna's migrations
    with engine.begin() as connection:
        head = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    before, after = upgrade_storage(database_url)
    assert before.optuna == after.optuna == head != old
    assert sqlalchemy.inspect(engine).has_table(VIEW_NAME)
    engine.dispose()


def test_garbage_is_what_no_trial_names(finished: str, tmp_path: Path) -> None:
    assert collect_garbage(finished, dry_run=True, grace=0.0) == 0
    [copy] = export(finished, tmp_path / "copy.db")
    optuna.delete_study(study_name="shared", storage=f"sqlite:///{copy}")
    assert collect_garbage(f"sqlite:///{copy}", grace=0.0) == 8


def test_an_export_is_a_database_of_its_own_with_optunas_study(
    finished: str, tmp_path: Path
) -> None:
    [path] = export(finished, tmp_path / "out" / "share.db")
    assert [file.name for file in path.parent.iterdir()] == ["share.db"]
    before = optuna.load_study(study_name="shared", storage=finished)
    after = optuna.load_study(study_name="shared", storage=f"sqlite:///{path}")
    assert [t.params for t in after.trials] == [t.params for t in before.trials]
    assert [t.values for t in after.trials] == [t.values for t in before.trials]
    a, b = lyapopt.load(finished), lyapopt.load(path)
    assert a.trajectories().equals(b.trajectories())
    assert a.exponents.equals(b.exponents)
    with pytest.raises(UserError, match="exists already"):
        export(finished, path)


def test_an_export_without_trajectories_is_small(finished: str, tmp_path: Path) -> None:
    [whole] = export(finished, tmp_path / "whole.db")
    [small] = export(finished, tmp_path / "small.db", trajectories=False)
    assert small.stat().st_size < whole.stat().st_size
    assert len(lyapopt.load(small).exponents) == 8
    assert lyapopt.load(small).trajectories().empty


def test_an_exported_study_can_be_gone_on_with(finished: str, tmp_path: Path) -> None:
    [copy] = export(finished, tmp_path / "copy.db")
    path = shared.write(tmp_path, f"sqlite:///{copy}", n_trials=10)
    assert run_study(load_study_file(path), settings=shared.QUICK).new == 2
    shared.check(path, 10)


def test_tables_are_exported_as_csv(finished: str, tmp_path: Path) -> None:
    files = export(finished, tmp_path, format="csv")
    assert [file.name for file in files] == [
        "trials.csv",
        "exponents.csv",
        "decisions.csv",
        "trajectories-shared.csv",
    ]
    trials = pd.read_csv(files[0])
    assert list(trials["trial_number"]) == list(range(8))
    assert trials["params_lr"].notna().all()
    loss = pd.read_csv(files[3]).query("name == 'loss' and trial_number == 0")
    expected = lyapopt.load(finished).trajectories(0, "loss")
    assert loss["value"].to_numpy() == pytest.approx(expected["value"].to_numpy())


def test_tables_are_exported_as_parquet(finished: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'lyapopt[parquet]'")
    files = export(finished, tmp_path, format="parquet")
    trials, exponents = pd.read_parquet(files[0]), pd.read_parquet(files[1])
    assert len(trials) == len(exponents) == 8
    assert trials["value"].equals(lyapopt.load(finished).trials["value"])


def test_a_study_that_is_not_there_is_not_exported(finished: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study 'shard'"):
        export(finished, tmp_path / "x.db", "shard")
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_finds_nothing_wrong_with_a_finished_study(finished: str) -> None:
    findings = examine(finished, deep=True)
    assert {finding.level for finding in findings} == {"fine"}
    text = "\n".join(finding.what for finding in findings)
    assert "study 'shared'" in text
    assert "intact" in text
    assert "all series of 8 runs can be read" in text


def test_the_doctor_finds_what_is_wrong(finished: str, tmp_path: Path) -> None:
    [copy] = export(finished, tmp_path / "copy.db")
    url = f"sqlite:///{copy}"
    study = optuna.load_study(study_name="shared", storage=url)
    with TrajectoryStore(url) as store:
        named = [trial.user_attrs[RUN_ATTRIBUTE] for trial in study.trials]
        store.mark_interrupted(named[:1])
        store._owned.dispose()  # type: ignore[union-attr]
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("DELETE FROM lyapopt_run WHERE run = :run"), {"run": named[1]}
        )
        connection.execute(
            sqlalchemy.text("UPDATE lyapopt_block SET data = :data WHERE run = :run"),
            {"data": b"not a series", "run": named[2]},
        )
        connection.exec_driver_sql("PRAGMA user_version = 1")
    engine.dispose()
    left = study.ask()
    study._storage.set_trial_system_attr(left._trial_id, WORKER_ATTRIBUTE, "here/1|999999|1|x")
    findings = examine(url, deep=True)
    text = "\n".join(f"{finding.level}: {finding.what}" for finding in findings)
    assert "wrong: study 'shared': nothing is stored of 1 finished trials (1)" in text
    assert "wrong: study 'shared': 1 trials ended otherwise than their rows say (0)" in text
    assert f"wrong: run {named[2]}" in text
    assert "note: study 'shared': 1 trials were left by workers that died" in text


def test_load_needs_no_name_where_there_is_one_study(finished: str) -> None:
    data = lyapopt.load(finished)
    assert data.name == "shared"
    assert len(data.trials) == len(data.runs) == len(data.exponents) == 8
    assert {"params_lr", "exponent", "verdict", "value"} <= set(data.trials.columns)
    assert "loss" in data.series_names()
    assert set(data.trajectories([0, 1], "loss")["trial_number"]) == {0, 1}
    with pytest.raises(UserError, match="shard"):
        lyapopt.load(finished, "shard")


def test_studies_are_compared_side_by_side(finished: str) -> None:
    table = lyapopt.compare([lyapopt.load(finished), lyapopt.load(finished)])
    assert list(table["study_name"]) == ["shared", "shared"]
    best = optuna.load_study(study_name="shared", storage=finished).best_trial
    assert list(table["best_trial"]) == [best.number] * 2
    assert (table["complete"] + table["pruned"] == 8).all()


def _copy(finished: str, folder: Path) -> tuple[str, list[str]]:
    """A copy of the study to damage, and the runs of its trials."""
    [copy] = export(finished, folder / "damaged.db")
    url = f"sqlite:///{copy}"
    study = optuna.load_study(study_name="shared", storage=url)
    return url, [trial.user_attrs[RUN_ATTRIBUTE] for trial in study.trials]


def _execute(url: str, statement: str, **values: Any) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement), values)
    engine.dispose()


def test_the_doctor_reports_all_damage_and_goes_on(finished: str, tmp_path: Path) -> None:
    url, runs = _copy(finished, tmp_path)
    damage = {
        "DELETE FROM lyapopt_block WHERE run = :run": runs[0],
        "UPDATE lyapopt_block SET data = 'a text' WHERE run = :run": runs[1],
        "UPDATE lyapopt_trajectory SET shape_json = '[' WHERE run = :run": runs[2],
        "UPDATE lyapopt_run SET started_at = 'yesterday' WHERE run = :run": runs[3],
        "DELETE FROM lyapopt_trajectory WHERE run = :run AND part = 'values'": runs[4],
    }
    for statement, run in damage.items():
        _execute(url, statement, run=run)
    _execute(url, "DELETE FROM lyapopt_run WHERE run = :run", run=runs[5])
    _execute(url, "DELETE FROM lyapopt_exponent WHERE run = :run", run=runs[6])
    _execute(
        url,
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'exponent' AND trial_id = "
        "(SELECT trial_id FROM trials WHERE number = 7)",
    )
    wrong = [each.what for each in examine(url, deep=True) if each.level == "wrong"]
    text = "\n".join(wrong)
    for run in damage.values():
        assert f"run {run}" in text
    assert f"1 stored runs have lost their header: {runs[5]}" in text
    assert "nothing is stored of 1 finished trials (5)" in text
    assert "the exponents of 1 trials are missing in the store (6)" in text
    assert "trial 7: attribute 'exponent' cannot be read" in text


def test_the_doctor_finds_parameters_that_were_deleted(finished: str, tmp_path: Path) -> None:
    url, _ = _copy(finished, tmp_path)
    of_trials = "trial_id IN (SELECT trial_id FROM trials WHERE number IN"
    _execute(url, f"DELETE FROM trial_params WHERE param_name = 'lr' AND {of_trials} (3, 5))")
    _execute(url, f"DELETE FROM trial_params WHERE {of_trials} (0))")
    found = [f"{each.level}: {each.what}" for each in examine(url) if each.level != "fine"]
    assert "wrong: study 'shared': parameter 'lr' of 2 trials is lost (3, 5)" in found
    assert (
        "note: study 'shared': 1 trials have no parameter 'lr' (0), as if it had been added to the "
        "file after them"
    ) in found


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE trial_params",
        "DROP TABLE trial_user_attributes",
        "DROP TABLE lyapopt_block",
        "ALTER TABLE lyapopt_run DROP COLUMN seed",
        "UPDATE study_system_attributes SET value_json = '{'",
        "UPDATE trials SET state = 'DONE'",
        "DELETE FROM study_directions",
        "UPDATE lyapopt_alembic_version SET version_num = 'x'",
    ],
)
def test_nothing_that_was_done_to_a_database_stops_the_doctor(
    finished: str, tmp_path: Path, statement: str
) -> None:
    url, _ = _copy(finished, tmp_path)
    _execute(url, "DROP VIEW lyapopt_trials")
    _execute(url, statement)
    levels = {finding.level for finding in examine(url, deep=True)}
    assert levels & {"wrong", "note"}


def test_load_warns_of_damage_and_gives_the_rest(finished: str, tmp_path: Path) -> None:
    url, runs = _copy(finished, tmp_path)
    attribute = (
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'gradient_evaluations'"
    )
    _execute(url, f"{attribute} AND trial_id = 1")
    with pytest.warns(DamagedDataWarning, match="attribute 'gradient_evaluations' cannot be read"):
        data = lyapopt.load(url)
    assert data.trials["gradient_evaluations"].isna().tolist() == [True] + 7 * [False]
    _execute(url, "DELETE FROM lyapopt_block WHERE run = :run", run=runs[3])
    with pytest.warns(DamagedDataWarning, match="trial 3 of study 'shared'"):
        assert set(data.trajectories(name="loss")["trial_number"]) == {0, 1, 2, 4, 5, 6, 7}
    with pytest.raises(DamagedDataError, match="trial 3"):
        data.array("loss", 3)


@pytest.mark.parametrize("command", ["status", "trials", "best"])
def test_commands_show_a_damaged_study_and_say_what_is_damaged(
    finished: str, tmp_path: Path, command: str
) -> None:
    url, _ = _copy(finished, tmp_path)
    best = optuna.load_study(study_name="shared", storage=url).best_trial
    _execute(
        url,
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'verdict' "
        f"AND trial_id <> {best._trial_id}",
    )
    result = CliRunner().invoke(app, [command, url])
    assert result.exit_code == 0, result.output
    assert f"{best.number}" in result.stdout
    said = [line for line in result.stderr.splitlines() if line.startswith("damaged: ")]
    assert "attribute 'verdict' cannot be read" in said[0]
    assert said[-1] == "damaged: and 2 more; all of them: lyapopt storage doctor"
    assert len(said) == 6


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("trial_user_attributes SET value_json = '{' WHERE key = 'verdict'", "'verdict'"),
        ("trial_system_attributes SET value_json = '{'", "attribute 'lyapopt:worker'"),
        ("study_system_attributes SET value_json = '{' WHERE key LIKE '%digest'", "lyapopt:digest"),
        ("trial_params SET distribution_json = '{' WHERE param_name = 'lr'", "parameter 'lr'"),
        ("trial_values SET value_type = 'ODD'", "its kind is 'ODD'"),
        ("trials SET state = 'ODD' WHERE number = 2", "trial 2: its state"),
        ("study_directions SET direction = 'UP'", "the directions of the study"),
    ],
)
def test_a_run_that_cannot_go_on_with_a_damaged_study_says_what_is_damaged(
    finished: str, tmp_path: Path, statement: str, what: str
) -> None:
    url, _ = _copy(finished, tmp_path)
    _execute(url, f"UPDATE {statement}")
    path = tmp_path / "study.yaml"
    path.write_text(shared.TEXT.format(url=url, n_trials=9))
    result = CliRunner().invoke(app, ["run", str(path)])
    assert isinstance(result.exception, DamagedDataError), result.output
    assert "damaged.db is damaged, so that Optuna cannot go on with it: " in str(result.exception)
    assert what in str(result.exception)


ALIKE = ["a/b", "a b", "a_b", "A_B", "a_b-" + "0" * 12, "x" * 500, "x" * 499 + "y", "\u00e9" * 300]


def test_every_study_gets_a_file_of_its_own_whatever_its_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with TrajectoryStore(url) as store:
        for seed, name in enumerate(ALIKE):
            study = optuna.create_study(storage=url, study_name=name)
            run = RunRecord(
                new_run_id(),
                name,
                0,
                "complete",
                trajectories=(TrajectoryRecord("loss", np.array([float(seed)])),),
            )
            trial = study.ask()
            trial.set_user_attr(RUN_ATTRIBUTE, run.run)
            store.record(run)
            study.tell(trial, 0.5)
    files = export(url, tmp_path / "tables", format="csv")[3:]
    assert len({file.name.casefold() for file in files}) == len(ALIKE)
    assert max(len(os.fsencode(file.name)) for file in files) < 255
    tables = [pd.read_csv(file) for file in files]
    assert {table["study_name"][0]: table["value"][0] for table in tables} == {
        name: float(seed) for seed, name in enumerate(ALIKE)
    }
    [of_one] = export(url, tmp_path / "one", "a/b", format="csv")[3:]
    assert of_one.name in {file.name for file in files}  # which does not depend on the others


def test_attributes_that_are_named_like_columns_hide_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, study_name="study")

    def objective(trial: optuna.Trial) -> float:
        for name in ("value", "state", "trial_number", "params_lr", "reason", "mine"):
            trial.set_user_attr(name, "theirs")
        return trial.suggest_float("lr", 0.5, 0.5)

    study.optimize(objective, n_trials=1)
    [row] = lyapopt.load(url).trials.to_dict(orient="records")
    assert (row["value"], row["state"], row["trial_number"]) == (0.5, "complete", 0)
    assert row["params_lr"] == 0.5
    assert row["reason"] is None
    assert row["user_attrs_value"] == row["user_attrs_reason"] == row["mine"] == "theirs"


@pytest.mark.parametrize("damaged", ["{", "5", "", None])
def test_no_run_is_garbage_while_a_trial_names_one_that_cannot_be_read(
    finished: str, tmp_path: Path, damaged: str | None
) -> None:
    url, runs = _copy(finished, tmp_path)
    statement = "UPDATE trial_user_attributes SET value_json = :value WHERE key = :key"
    _execute(url, f"{statement} AND trial_id = 3", value=damaged, key=RUN_ATTRIBUTE)
    with pytest.raises(DamagedDataError, match="trial_id 3"):
        collect_garbage(url, grace=0.0)
    with TrajectoryStore(url, create=False) as store:
        assert set(store.all_runs()) == set(runs)
    findings = examine(url)
    assert not [each for each in findings if each.advice == "lyapopt storage gc"]
    assert any("trial_id 3" in each.what for each in findings)
