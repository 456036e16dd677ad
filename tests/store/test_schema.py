import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from lyapopt.store import StoreError, StoreSchemaError, TrajectoryStore, migrations, schema
from lyapopt.store.tables import METADATA

FIXTURES = Path(__file__).parent / "fixtures"


def _set_version(url, version):
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        update = sqlalchemy.text("UPDATE lyapopt_alembic_version SET version_num = :version")
        connection.execute(update, {"version": version})
    engine.dispose()


def _is_ours(name, kind, parents):
    if kind != "table":
        return True
    return name.startswith("lyapopt_") and name != schema.VERSION_TABLE


def _differences(connection):
    """What Alembic would change to bring our tables to what the code says."""
    options = {"version_table": schema.VERSION_TABLE, "include_name": _is_ours}
    return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)


def test_head_is_the_last_migration():
    assert migrations.scripts().get_current_head() == schema.HEAD


def test_migrations_lead_to_the_tables_of_the_models(database_url, optuna_storage):
    with TrajectoryStore(database_url) as store:
        store.create_tables()
        with store._engine.connect() as connection:
            assert schema.version(connection) == schema.HEAD
            assert _differences(connection) == []


def test_comparisons_of_the_schema_see_our_tables(store):
    with store._engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE lyapopt_decision ADD COLUMN extra INTEGER")
    with store._engine.connect() as connection:
        [(kind, _, table, column)] = _differences(connection)
    assert (kind, table, column.name) == ("remove_column", "lyapopt_decision", "extra")


def _open_together(url, barrier, failures):
    barrier.wait()
    try:
        with TrajectoryStore(url) as store:
            store.create_tables()
    except Exception as error:
        failures.put(repr(error))


def test_many_processes_may_open_an_empty_database_at_once(database_url, optuna_storage):
    context = multiprocessing.get_context("fork")
    barrier, failures = context.Barrier(8), context.SimpleQueue()
    arguments = (database_url, barrier, failures)
    openers = [context.Process(target=_open_together, args=arguments) for _ in range(8)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert failures.empty(), failures.get()
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connection:
        count = sqlalchemy.text("SELECT count(*) FROM lyapopt_alembic_version")
        assert connection.scalar(count) == 1
        assert _differences(connection) == []
    engine.dispose()


def test_preparing_a_database_that_is_at_head_writes_nothing(database_url, optuna_storage):
    with TrajectoryStore(database_url) as store:
        store.create_tables()
    engine = sqlalchemy.create_engine(database_url)
    statements = []
    sqlalchemy.event.listen(
        engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    TrajectoryStore(engine).create_tables()
    engine.dispose()
    words = ("CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "BEGIN")
    assert statements
    assert not [text for text in statements if text.lstrip().upper().startswith(words)]


def test_tables_of_a_newer_version_are_refused(database_url, store):
    store.close()
    _set_version(database_url, "99")
    with pytest.raises(StoreSchemaError, match="newer lyapopt: its tables have version 99"):
        TrajectoryStore(database_url)


def test_an_interrupted_creation_of_tables_is_finished_by_the_next(database_url, store):
    # What MySQL leaves behind, which commits at every change of a table.
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM lyapopt_alembic_version")
        connection.exec_driver_sql("DROP TABLE lyapopt_block")
    store.close()
    with TrajectoryStore(database_url) as again:
        again.create_tables()
        with again._engine.connect() as connection:
            assert schema.version(connection) == schema.HEAD
            assert _differences(connection) == []


def _open_and_die(url, changes):
    """Open a store, and be killed after so many changes of tables, or in the end."""

    def count(connection, cursor, statement, *others):
        nonlocal changes
        changes -= statement.lstrip().split()[0].upper() in ("CREATE", "DROP", "INSERT", "UPDATE")
        if changes == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", count)
    TrajectoryStore(url).create_tables()


@pytest.mark.slow
@pytest.mark.ci
def test_a_process_that_is_killed_while_it_creates_the_tables_leaves_nothing_to_mend(
    database_url, optuna_storage
):
    context = multiprocessing.get_context("fork")
    left = set()
    for changes in range(1, 20):
        opener = context.Process(target=_open_and_die, args=(database_url, changes))
        opener.start()
        opener.join()
        inspector = sqlalchemy.inspect(optuna_storage.engine)
        left.add(sum(name.startswith("lyapopt_") for name in inspector.get_table_names()))
        if opener.exitcode == 0:
            break
        assert opener.exitcode == -signal.SIGKILL
        with TrajectoryStore(database_url) as store:
            store.create_tables()
            with store._engine.connect() as connection:
                assert schema.version(connection) == schema.HEAD
                assert _differences(connection) == []
                assert sqlalchemy.inspect(connection).has_table("lyapopt_trials")
        _remove_our_tables(optuna_storage.engine)
    assert changes > 6, "nothing was killed in the middle"
    # MySQL commits every change of a table at once, the others all together at the end.
    assert len(left) == (7 if optuna_storage.engine.dialect.name == "mysql" else 2)


def _remove_our_tables(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW lyapopt_trials")
        for table in reversed(METADATA.sorted_tables):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
        connection.exec_driver_sql(f"DROP TABLE {schema.VERSION_TABLE}")


def test_only_the_first_record_makes_tables(database_url, optuna_storage, make_run):
    with TrajectoryStore(database_url) as store:
        for use in (
            store.runs,
            store.all_runs,
            lambda: store.gc(grace=0),
            lambda: store.forget([]),
        ):
            with pytest.raises(StoreSchemaError, match="holds no tables of lyapopt"):
                use()
        assert not sqlalchemy.inspect(optuna_storage.engine).has_table("lyapopt_run")
        store.record(make_run())
        assert store.all_runs()
    assert sqlalchemy.inspect(optuna_storage.engine).has_table("lyapopt_trials")


def test_opening_a_file_that_is_not_there_does_not_make_it(tmp_path):
    path = tmp_path / "study.db"
    with TrajectoryStore(f"sqlite:///{path}") as store:
        with pytest.raises(StoreError, match="there is no such file"):
            store.runs()
        assert not path.exists()


def test_a_reader_creates_no_tables(database_url, optuna_storage):
    with pytest.raises(StoreSchemaError, match="holds no tables of lyapopt"):
        TrajectoryStore(database_url, create=False)
    assert not sqlalchemy.inspect(optuna_storage.engine).has_table("lyapopt_run")


def test_a_reader_of_tables_of_an_older_version_is_told_to_upgrade_them(database_url, store):
    store.close()
    _set_version(database_url, "0")
    with pytest.raises(StoreSchemaError, match=r"version 0.*Run: lyapopt storage upgrade"):
        TrajectoryStore(database_url, create=False)


def test_a_reader_of_a_store_without_its_view_does_not_create_it(database_url, optuna_storage):
    with TrajectoryStore(database_url) as store:
        store.create_tables()
        with store._engine.begin() as connection:
            connection.exec_driver_sql("DROP VIEW lyapopt_trials")
    with TrajectoryStore(database_url, create=False) as store:
        assert store.states() == {}
    assert not sqlalchemy.inspect(optuna_storage.engine).has_table("lyapopt_trials")


def test_a_store_without_optuna_has_no_view(store):
    assert not sqlalchemy.inspect(store._engine).has_table("lyapopt_trials")


def test_a_view_waits_until_optunas_tables_have_the_columns_it_needs(database_url, optuna_storage):
    with optuna_storage.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("ALTER TABLE trial_values RENAME value_type TO kind")
        else:
            connection.exec_driver_sql("ALTER TABLE trial_values DROP COLUMN value_type")
    with TrajectoryStore(database_url) as store:
        store.create_tables()
        assert not sqlalchemy.inspect(store._engine).has_table("lyapopt_trials")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("schema_v*.db")), ids=lambda path: path.stem)
def test_databases_of_every_version_are_upgraded_and_read(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    with TrajectoryStore(f"sqlite:///{copy}") as store:
        store.create_tables()
    with TrajectoryStore(f"sqlite:///{copy}", create=False) as store:
        with store._engine.connect() as connection:
            assert schema.version(connection) == schema.HEAD
            assert _differences(connection) == []
        assert store.runs("fixture")["verdict"].tolist() == ["edge", "hot"]
        assert store.exponents("fixture")["value"].tolist() == [0.0125, np.inf]
        assert store.array("loss", "fixture", 0).tolist() == [1.0, 0.5, 0.25]
        assert store.series("weights", "fixture", 1).steps.tolist() == [0, 10]
        assert np.isnan(store.array("weights", "fixture", 1)[1, 1])
        assert store.decisions("fixture")["rule"].tolist() == ["LyapunovPruner"]
    study = optuna.load_study(study_name="fixture", storage=f"sqlite:///{copy}")
    assert [trial.value for trial in study.trials] == [0.25, None]


def test_there_is_a_database_of_every_version():
    versions = [script.revision for script in migrations.scripts().walk_revisions()]
    assert {f"schema_v{version}" for version in versions} == {
        path.stem for path in FIXTURES.glob("*.db")
    }
