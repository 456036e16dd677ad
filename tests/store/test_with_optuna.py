"""What people do to studies in Optuna's database, and what must become of our rows."""

import subprocess
import sys

import optuna
import pytest
import sqlalchemy
from optuna_dashboard import wsgi
from werkzeug.test import Client

from lyapopt.store import RUN_ATTRIBUTE, RecordNotFoundError, TrajectoryStore, schema


@pytest.fixture
def study(optuna_storage):
    return optuna.create_study(storage=optuna_storage, study_name="study")


@pytest.fixture
def beside(study, database_url):
    """The store in the database of the study."""
    with TrajectoryStore(database_url) as opened:
        opened.create_tables()
        yield opened


def _view(store, columns="*"):
    with store._engine.connect() as connection:
        query = f"SELECT {columns} FROM lyapopt_trials ORDER BY study_name, trial_number"
        return [dict(row) for row in connection.execute(sqlalchemy.text(query)).mappings()]


def _rename(storage, study, name):
    response = Client(wsgi(storage)).post(
        f"/api/studies/{study._study_id}/rename", json={"study_name": name}
    )
    assert response.status_code == 201


def test_the_view_joins_trials_to_verdict_and_exponent(study, beside, finish_trial):
    run = finish_trial(study, beside, verdict="hot")
    [row] = _view(beside)
    assert (row["study_name"], row["trial_number"], row["trial_state"]) == ("study", 0, "COMPLETE")
    assert (row["run"], row["verdict"], row["value"]) == (run.run, "hot", 0.25)
    assert (row["exponent"], row["exponent_low"], row["exponent_high"]) == (0.0125, 0.01, 0.015)


def test_the_view_has_one_row_a_trial_whatever_was_recorded(study, beside, finish_trial):
    finish_trial(study, beside, exponents=(), trajectories=(), decisions=())
    finish_trial(study, beside)
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=1)
    assert [row["trial_number"] for row in _view(beside)] == [0, 1]


def test_the_view_appears_when_optuna_comes_after_the_store(database_url, finish_trial):
    with TrajectoryStore(database_url) as store:
        store.create_tables()
    study = optuna.create_study(storage=optuna.storages.RDBStorage(database_url))
    with TrajectoryStore(database_url) as store:
        finish_trial(study, store)
        assert len(_view(store)) == 1


def test_a_study_that_the_dashboard_renames_keeps_its_data(
    study, beside, optuna_storage, finish_trial
):
    runs = [finish_trial(study, beside) for _ in range(3)]
    _rename(optuna_storage, study, "renamed")
    assert beside.runs("renamed")["run"].tolist() == [run.run for run in runs]
    assert beside.trajectories("renamed", 2, "loss")["value"].tolist() == (
        runs[2].trajectories[0].values.tolist()
    )
    assert {row["study_name"] for row in _view(beside)} == {"renamed"}
    assert beside.gc(grace=0) == 0
    with pytest.raises(RecordNotFoundError, match="no study 'study'"):
        beside.runs("study")


def test_a_copied_study_shares_the_runs_of_the_original(
    study, beside, optuna_storage, finish_trial
):
    run = finish_trial(study, beside)
    optuna.copy_study(
        from_study_name="study",
        from_storage=optuna_storage,
        to_storage=optuna_storage,
        to_study_name="copy",
    )
    assert beside.runs("copy")["run"].tolist() == [run.run]
    assert beside.runs()["study_name"].tolist() == ["copy", "study"]
    optuna.delete_study(study_name="study", storage=optuna_storage)
    assert beside.gc(grace=0) == 0
    assert len(beside.exponents("copy")) == 1


def test_a_study_can_be_deleted_beside_our_tables(study, beside, optuna_storage, finish_trial):
    finish_trial(study, beside)
    optuna.delete_study(study_name="study", storage=optuna_storage)
    assert optuna.study.get_all_study_names(optuna_storage) == []
    with beside._engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT count(*) FROM trials")) == 0
    assert _view(beside) == []
    with pytest.raises(RecordNotFoundError, match="no study 'study'"):
        beside.exponents("study")


def test_trials_that_get_the_ids_of_deleted_ones_do_not_get_their_data(
    study, beside, optuna_storage, finish_trial
):
    finish_trial(study, beside, verdict="hot")
    old_id = study.trials[0]._trial_id
    optuna.delete_study(study_name="study", storage=optuna_storage)
    again = optuna.create_study(storage=optuna_storage, study_name="study")
    again.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=1)
    if optuna_storage.engine.dialect.name == "sqlite":
        assert again.trials[0]._trial_id == old_id
    assert beside.runs("study").empty
    assert _view(beside) == []
    run = finish_trial(again, beside, verdict="edge")
    assert [(row["run"], row["verdict"]) for row in _view(beside)] == [(run.run, "edge")]


def test_optuna_loads_a_study_whose_database_has_our_tables(
    study, beside, database_url, finish_trial
):
    run = finish_trial(study, beside)
    loaded = optuna.load_study(study_name="study", storage=database_url)
    assert loaded.trials[0].user_attrs[RUN_ATTRIBUTE] == run.run
    loaded._storage._backend.engine.dispose()


def _upgrade_storage(url):
    code = "import sys; from optuna.cli import main; sys.argv[0] = 'optuna'; sys.exit(main())"
    command = [sys.executable, "-c", code, "storage", "upgrade", "--storage", url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["v3.2.0.a", "v3.0.0.d"], ids=["no change", "one migration"])
def test_optuna_upgrades_its_storage_beside_our_tables(
    study, beside, database_url, finish_trial, version
):
    finish_trial(study, beside)
    with beside._engine.begin() as connection:
        set_version = sqlalchemy.text("UPDATE alembic_version SET version_num = :version")
        connection.execute(set_version, {"version": version})
    result = _upgrade_storage(database_url)
    assert result.returncode == 0, result.stderr
    assert len(optuna.load_study(study_name="study", storage=database_url).trials) == 1
    assert beside.runs("study")["trial_number"].tolist() == [0]
    assert len(_view(beside)) == 1


def test_tables_of_optuna_can_be_rebuilt_once_the_view_is_dropped(
    study, beside, database_url, finish_trial
):
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    finish_trial(study, beside)
    schema.drop_view(beside._engine)
    with beside._engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("trial_values", recreate="auto") as batch:
            batch.alter_column("value", type_=sqlalchemy.Double(), existing_nullable=True)
    beside.close()
    with TrajectoryStore(database_url) as again:
        again.create_tables()
        assert len(_view(again)) == 1


def test_our_version_leaves_that_of_optuna_alone(study, beside):
    with beside._engine.connect() as connection:
        versions = connection.scalars(sqlalchemy.text("SELECT version_num FROM alembic_version"))
        assert versions.all() == ["v3.2.0.a"]


def test_a_mistyped_study_is_answered_with_the_nearest(study, beside):
    with pytest.raises(RecordNotFoundError, match="Did you mean 'study'"):
        beside.runs("sutdy")


def test_a_study_without_trials_has_empty_frames(study, beside):
    assert beside.exponents("study").empty
    assert beside.trajectories("study").empty


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_the_view_shows_infinite_values_as_optuna_stores_them(study, beside, finish_trial, value):
    finish_trial(study, beside, values=(value,))
    [row] = _view(beside)
    assert row["value"] is None
    assert row["value_type"] == ("INF_POS" if value > 0 else "INF_NEG")


def test_databases_of_an_old_character_set_are_joined_as_well(database_url, finish_trial):
    if not database_url.startswith("mysql"):
        pytest.skip("character sets of databases are a matter of MySQL and MariaDB")
    engine = sqlalchemy.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER DATABASE CHARACTER SET latin1")
    engine.dispose()
    study = optuna.create_study(storage=optuna.storages.RDBStorage(database_url))
    with TrajectoryStore(database_url) as store:
        finish_trial(study, store, reason="爆発 💥")
        assert store.runs(study.study_name)["reason"].tolist() == ["爆発 💥"]
        assert len(_view(store)) == 1
