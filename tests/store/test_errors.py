import pickle
import shutil
import sqlite3
import stat

import numpy as np
import optuna
import pytest
import sqlalchemy

from lyapopt.store import StoreBusyError, StoreError, TrajectoryRecord, TrajectoryStore
from lyapopt.store.errors import explain, masked
from lyapopt.store.retry import RetryPolicy
from lyapopt.store.trials import read_study
from lyapopt.study.run.storage import open_storage

SECRET = "s3cr3t-pass"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://me:{SECRET}@db:5432/studies",
        f"mysql+pymysql://me@db/studies?passwd={SECRET}",
        f"postgresql://db/studies?password={SECRET}&user=me",
        f"grpc://me:{SECRET}@host:1234567890",
    ],
)
def test_passwords_in_urls_are_masked(url):
    assert SECRET not in masked(url)
    assert "***" in masked(url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:9/test",
        f"mysql+pymysql://me:{SECRET}@127.0.0.1:9/test",
    ],
)
def test_a_server_that_does_not_answer_is_said_without_the_password(url):
    with pytest.raises(StoreBusyError, match="no database server answers there") as caught:
        TrajectoryStore(url, timeout=2)
    assert SECRET not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_neither_repr_nor_url_tell_the_password(store):
    store._url = store._url.set(username="me", password=SECRET)
    assert SECRET not in repr(store) + store.url


def test_a_refused_login_is_said(database_url):
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() != "mysql":
        pytest.skip("SQLite has no users, and the PostgreSQL server of the tests trusts everyone")
    with pytest.raises(StoreError, match="refused the login") as caught:
        TrajectoryStore(url.set(password=SECRET))
    assert SECRET not in str(caught.value)


def test_a_user_that_does_not_exist_is_no_missing_database(database_url):
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has no users")
    with pytest.raises(StoreError, match="refused the login"):
        TrajectoryStore(url.set(username="lyapopt_nobody"))


def test_the_home_of_a_user_who_does_not_exist_is_a_missing_file():
    with pytest.raises(StoreError, match="no such file"):
        read_study("sqlite:///~lyapopt_nobody/x.db", "study")


def test_a_database_that_does_not_exist_is_said(database_url):
    url = sqlalchemy.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        pytest.skip("SQLite creates the file")
    with pytest.raises(StoreError, match="the server has no such database"):
        TrajectoryStore(url.set(database="lyapopt_there_is_none"))


def test_a_url_that_is_none_is_answered_with_examples():
    with pytest.raises(StoreError, match="not the URL of a database"):
        TrajectoryStore("runs/study.db")


@pytest.mark.parametrize("url", ["journal:///study.log", "grpc://localhost:13000"])
def test_storages_without_sql_are_told_to_give_a_database(url):
    with pytest.raises(StoreError, match="Give it a database of its own"):
        TrajectoryStore(url)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgres://me:secret@host/studies", "write postgresql:// for postgres://"),
        ("sqlite:///study.db?mode=ro", r"SQLite takes mode in the form .*uri=true"),
        ("sqlite:///study.db?cache=shared&timeout=3", "SQLite takes cache in"),
    ],
)
def test_what_drivers_would_pass_over_or_not_know_is_told_how_to_write(url, advice):
    with pytest.raises(StoreError, match=advice) as error:
        TrajectoryStore(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        ("postgresql+psycopg2", "pip install psycopg2-binary; or write postgresql+psycopg:// "),
        ("postgresql+pg8000", "pip install pg8000; or write postgresql+psycopg:// "),
        ("mysql+mysqldb", "pip install mysqlclient; or write mysql+pymysql:// "),
        ("mysql+mysqlconnector", "pip install mysql-connector-python; or write mysql+pymysql:// "),
        ("mariadb+mariadbconnector", "pip install mariadb; or write mariadb+pymysql:// "),
        ("mysql+aiomysql", "one of asyncio, which Optuna does not use. Write mysql+pymysql:// "),
        ("postgresql+asyncpg", "one of asyncio, which Optuna does not use. Write postgresql+psyc"),
        ("sqlite+aiosqlite", "one of asyncio, which Optuna does not use. Write sqlite://"),
        ("mysql+nonsense", "no driver for 'mysql+nonsense'"),
    ],
)
def test_a_driver_that_cannot_be_used_is_named_with_its_package(scheme, advice):
    with pytest.raises(StoreError) as error:
        TrajectoryStore(f"{scheme}://me:secret@host/studies")
    assert advice in str(error.value)
    assert "secret" not in str(error.value)


def test_a_directory_that_does_not_exist_is_said(tmp_path):
    with pytest.raises(StoreError, match="the file cannot be opened"):
        TrajectoryStore(f"sqlite:///{tmp_path}/missing/study.db")


def test_a_file_that_is_no_database_is_said(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("version: 1\n" * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        TrajectoryStore(f"sqlite:///{path}")


def test_a_reader_does_not_create_the_file_it_was_to_read(tmp_path):
    path = tmp_path / "mistyped.db"
    with pytest.raises(StoreError, match="there is no such file"):
        TrajectoryStore(f"sqlite:///{path}", create=False)
    assert not path.exists()


def _delete(path):
    path.unlink()


def _move(path):
    path.rename(path.with_name("moved.db"))


def _replace(path):
    other = path.with_name("other.db")
    with TrajectoryStore(f"sqlite:///{other}") as store:
        store.create_tables()
    other.replace(path)


def _delete_folder(path):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("change", [_delete, _move, _replace, _delete_folder])
def test_a_file_that_is_not_where_it_was_is_no_problem_of_permissions(tmp_path, make_run, change):
    path = tmp_path / "runs" / "study.db"
    path.parent.mkdir()
    with TrajectoryStore(f"sqlite:///{path}") as store:
        store.record(make_run())
        change(path)
        with pytest.raises(
            StoreError, match="deleted, moved or replaced while it was open"
        ) as said:
            store.record(make_run())
    assert "permission" not in str(said.value)


def test_a_deleted_file_is_said_of_optunas_storage_too(sqlite_url, tmp_path):
    optuna.create_study(storage=sqlite_url, study_name="study")
    retry = RetryPolicy(seconds=5)
    study = optuna.load_study(storage=open_storage(sqlite_url, retry=retry), study_name="study")
    (tmp_path / "study.db").unlink()
    with pytest.raises(StoreError, match="deleted, moved or replaced while it was open"):
        study.ask()


def test_tables_that_have_gone_are_said(database_url, store, make_run):
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE lyapopt_decision")
    with pytest.raises(StoreError, match=r"a table is missing.*storage doctor"):
        store.record(make_run())


def test_a_database_that_cannot_be_written_is_read_and_refused_for_writing(
    sqlite_url, tmp_path, make_run
):
    with TrajectoryStore(sqlite_url) as store:
        store.record(make_run())
    (tmp_path / "study.db").chmod(stat.S_IREAD)
    # The superuser may write every file; a read-only connection binds everyone.
    url = f"sqlite:///file:{tmp_path}/study.db?mode=ro&uri=true"
    with TrajectoryStore(url) as store:
        assert len(store.runs("study")) == 1
        with pytest.raises(StoreError, match="it cannot be written"):
            store.record(make_run())


def test_a_lock_held_by_another_process_is_said_and_may_be_tried_again(sqlite_url, make_run):
    with TrajectoryStore(sqlite_url, timeout=0.05) as store:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusyError, match="another process holds its lock"):
            store.record(make_run())
        other.execute("COMMIT")
        other.close()
        store.record(make_run())
        assert len(store.runs("study")) == 1


def test_a_full_disk_is_said_and_leaves_what_was_stored(sqlite_url, make_run):
    engine = sqlalchemy.create_engine(sqlite_url)
    store = TrajectoryStore(engine)
    store.record(make_run())

    @sqlalchemy.event.listens_for(engine, "begin")
    def _limit(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")

    noise = np.random.default_rng(0).standard_normal((1000, 100))
    with pytest.raises(StoreError, match="is full"):
        store.record(make_run(trial_number=1, trajectories=(TrajectoryRecord("w", noise),)))
    assert store.runs("study")["trial_number"].tolist() == [0]
    engine.dispose()


def test_errors_can_be_sent_between_processes(sqlite_url, tmp_path):
    with pytest.raises(StoreError) as caught:
        TrajectoryStore(f"sqlite:///{tmp_path}/missing/study.db")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_follows_a_lost_connection_is_worth_another_attempt() -> None:
    url = sqlalchemy.make_url("postgresql+psycopg://someone@127.0.0.1/somewhere")
    cut = RuntimeError("can't change 'autocommit' now: connection in transaction status ACTIVE")
    for error in (
        sqlalchemy.exc.PendingRollbackError("Can't reconnect until it is rolled back."),
        sqlalchemy.exc.ProgrammingError("SELECT 1", {}, cut),
    ):
        assert isinstance(explain(error, url, "lock"), StoreBusyError)
