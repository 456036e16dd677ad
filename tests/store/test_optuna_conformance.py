"""Optuna's own cases for storages, in databases that have our tables, and of the buffered one."""

import shutil

import optuna
import pytest
import sqlalchemy
from optuna.testing.pytest_storages import StorageTestCase

from lyapopt import BufferedStorage
from lyapopt.store import TrajectoryStore


def _with_both_tables(url):
    storage = optuna.storages.RDBStorage(url)
    with TrajectoryStore(url) as store:
        store.create_tables()
        assert sqlalchemy.inspect(store._engine).has_table("lyapopt_trials")
    if storage.engine.dialect.name == "mysql":
        _keep_microseconds(storage.engine)
    return storage


def _keep_microseconds(engine):
    """Four cases compare microseconds; on MySQL the columns that Optuna creates have none.

    Without this they fail in a database that has no tables but Optuna's, too.
    """
    with engine.begin() as connection:
        for column in ("datetime_start", "datetime_complete"):
            connection.exec_driver_sql(f"ALTER TABLE trials MODIFY {column} DATETIME(6)")


def _close(storage):
    storage.scoped_session.remove()
    storage.engine.dispose()


class TestSQLiteBesideOurTables(StorageTestCase):
    @pytest.fixture
    def storage(self, empty_database, sqlite_url):
        shutil.copy(empty_database, sqlite_url.removeprefix("sqlite:///"))
        storage = optuna.storages.RDBStorage(sqlite_url)
        yield storage
        _close(storage)


class TestBufferedSQLite(StorageTestCase):
    @pytest.fixture
    def storage(self, empty_database, sqlite_url):
        shutil.copy(empty_database, sqlite_url.removeprefix("sqlite:///"))
        backend = optuna.storages.RDBStorage(sqlite_url)
        storage = BufferedStorage(backend)
        yield storage
        storage.flush()
        _close(backend)


@pytest.mark.slow
class TestEveryDatabaseBesideOurTables(StorageTestCase):
    @pytest.fixture
    def storage(self, database_url):
        storage = _with_both_tables(database_url)
        yield storage
        _close(storage)


@pytest.mark.slow
class TestEveryDatabaseBuffered(StorageTestCase):
    @pytest.fixture
    def storage(self, database_url):
        backend = _with_both_tables(database_url)
        storage = BufferedStorage(backend)
        yield storage
        storage.flush()
        _close(backend)
