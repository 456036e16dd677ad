"""Opening a study's database: its tables are made by one process, and each operation is retried."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage

from lyapopt.errors import UserError
from lyapopt.search._optuna import close_storage, intercept
from lyapopt.store import RecordNotFoundError, StoreSchemaError, TrajectoryStore
from lyapopt.store.buffered import BufferedStorage
from lyapopt.store.engine import has_sql, make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import UnfinishedTablesError, explained, masked
from lyapopt.store.lookup import Presence, presence_of_optuna
from lyapopt.store.mutex import DEFAULT_TIMEOUT, Mutex, database_mutex, file_mutex
from lyapopt.store.retry import RetryPolicy, as_store_error
from lyapopt.store.urls import as_text

__all__ = [
    "check_tables",
    "initialise",
    "journal_path",
    "open_storage",
    "open_store",
    "presence_of_tables",
    "reading_study",
    "study_mutex",
]

_LOCK_TIMEOUT: Final = 60  # seconds that SQLite waits for another process's transaction
_CONNECT_TIMEOUT: Final = 30  # seconds


@contextmanager
def reading_study(url: str, name: str) -> Iterator[optuna.Study | None]:
    """A study as it is, while something is read of it; `None` if there is none.

    Args:
        url: Its storage, which is not changed.
        name: Its name.

    Raises:
        UserError: If the storage cannot be opened.
    """
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(url, create=False))
    except (RecordNotFoundError, KeyError):
        yield None
        return
    try:
        yield study
    finally:
        close_storage(study)


def open_storage(
    url: str,
    *,
    create: bool = True,
    retry: RetryPolicy | None = None,
    heartbeat: int | None = None,
    grace: int | None = None,
    is_buffered: bool = False,
    parameters_at_once: bool = False,
) -> BaseStorage:
    """Optuna's storage behind a URL, cached, so that a study of many trials polls fast.

    Any number of processes may open an empty database at once: its tables are created under a
    lock, by one of them.

    Args:
        url: `sqlite:///path`, `postgresql+psycopg://...`, `mysql+pymysql://...`, `journal:///path`
            or `grpc://host:port`.
        create: Whether to make what is not there: tables, the file of a SQLite database and its
            folder. Without it the database stays as it is.
        retry: How each operation is tried again while the database is in trouble; by default it
            is attempted once.
        heartbeat: Seconds between two heartbeats of a running trial, where there are any.
        grace: Seconds without one after which Optuna takes the trial for dead.
        is_buffered: Whether trials are written in bulk, where the storage has SQL.
        parameters_at_once: Whether parameters are written as they are suggested all the same.

    Raises:
        UserError: If it cannot be opened; the message says why, without a password.
        RecordNotFoundError: If there is nothing, and it is not to be made.
    """
    try:
        if url.startswith("journal://"):
            return _journal_storage(url, create)
        if url.startswith("grpc://"):
            return _grpc_storage(url)
        attempt = retry or RetryPolicy(seconds=0)
        storage = attempt(lambda: _rdb_storage(url, create, retry, heartbeat, grace), url)
        if not is_buffered:
            return optuna.storages.get_storage(storage)
        return BufferedStorage(storage, retry=attempt, parameters_at_once=parameters_at_once)
    except UserError:
        raise
    except ImportError as error:
        advice = "pip install grpcio protobuf"  # a missing driver of a database is a `StoreError`
        raise UserError(f"storage {masked(url)}: {error}. Install it with: {advice}") from error
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
        trouble = as_store_error(error, url if has_sql(url) else None)
        raise trouble or UserError(f"storage {masked(url)}: {error}") from error
    except RuntimeError as error:  # Optuna says so of tables of another version
        raise UserError(
            f"storage {masked(url)}: {error} Better, since our view has to step aside for it: "
            "lyapopt storage upgrade"
        ) from error


def initialise(url: str) -> bool:
    """Create Optuna's tables, unless they are there; one process at a time.

    Args:
        url: URL of a database.

    Returns:
        Whether they were created now.

    Raises:
        StoreError: If the database cannot be written, or is another application's.
    """
    parsed = parse_url(url)
    if _own_presence(parsed) == "whole":
        return False
    mutex = database_mutex(url, "the tables of Optuna")
    try:
        with mutex, explained(parsed, "create tables in"):
            presence = _own_presence(parsed)
            if presence == "whole":
                return False
            # All that is made now is of this version: that is known without asking Alembic.
            storage = RDBStorage(
                as_text(parsed),
                engine_kwargs=_engine_options(parsed),
                skip_compatibility_check=presence == "none",
            )
            storage.remove_session()
            storage.engine.dispose()
            mutex.discard()  # whoever waits for it finds the tables there, under any lock
            return True
    finally:
        mutex.close()


def check_tables(url: str | sqlalchemy.URL) -> None:
    """Refuse a database without Optuna's tables; it is not changed.

    Raises:
        RecordNotFoundError: If they are not there.
        UnfinishedTablesError: If not all of them are.
        StoreSchemaError: If another application is in their place.
    """
    parsed = parse_url(url)
    refuse_missing_file(parsed)
    presence = presence_of_tables(parsed)
    if presence == "none":
        raise RecordNotFoundError(
            f"{masked(parsed)} holds no tables of Optuna: `lyapopt run` creates them, or "
            "`lyapopt storage init`"
        )
    if presence == "unfinished":
        raise UnfinishedTablesError(
            f"{masked(parsed)}: Optuna's tables are not all there: `lyapopt storage init` creates "
            "what is missing"
        )
    if presence == "foreign":
        raise _is_foreign(parsed)


def open_store(url: str | None, *, create: bool = True) -> TrajectoryStore | None:
    """The trajectory store at `url`, or `None` where the URL has no SQL behind it."""
    if url is None or not has_sql(url):
        return None
    store = TrajectoryStore(url, create=create)
    if create:
        store.create_tables()
    return store


def study_mutex(
    storage: str, store: str | None, study_name: str, timeout: float = DEFAULT_TIMEOUT
) -> Mutex | None:
    """The lock that the workers of a study share.

    It is in the study's database. That of a journal file is beside the file. A gRPC proxy has
    none, so that the store's serves.

    Args:
        storage: URL of Optuna's storage.
        store: URL of a store of its own.
        study_name: Name of the study.
        timeout: Seconds to wait for another worker.

    Returns:
        The mutex, or `None` where there is none to be had.
    """
    name = f"study {study_name}"
    if storage.startswith("journal://"):
        return file_mutex(journal_path(storage), name, timeout)
    if has_sql(storage):
        return database_mutex(storage, name, timeout)
    return None if store is None else database_mutex(store, name, timeout)


def _journal_storage(url: str, create: bool) -> BaseStorage:
    path = journal_path(url)
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise RecordNotFoundError(f"storage {masked(url)}: there is no file {path}")
    return JournalStorage(JournalFileBackend(str(path)))


def _grpc_storage(url: str) -> BaseStorage:
    host, _, port = url.removeprefix("grpc://").partition(":")
    if not port.isdecimal():
        raise UserError(f"storage {masked(url)}: expected grpc://host:port")
    return GrpcStorageProxy(host=host, port=int(port))


def _rdb_storage(
    url: str,
    create: bool,
    retry: RetryPolicy | None,
    heartbeat: int | None,
    grace: int | None,
) -> RDBStorage:
    parsed = parse_url(url)
    is_checked = False
    if create:
        if parsed.get_backend_name() == "sqlite":
            Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        is_checked = initialise(url)
    else:
        check_tables(parsed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = RDBStorage(
            as_text(parsed),
            engine_kwargs=_engine_options(parsed),
            skip_compatibility_check=is_checked,
            skip_table_creation=True,
            heartbeat_interval=heartbeat,
            grace_period=grace,
        )
    if retry is not None:
        intercept(storage, lambda attempt: retry(attempt, parsed))
    return storage


def _engine_options(url: sqlalchemy.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        arguments = {} if "timeout" in url.query else {"timeout": _LOCK_TIMEOUT}
        return {"connect_args": arguments}
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_TIMEOUT}
    return {"connect_args": arguments, "pool_pre_ping": True}


def presence_of_tables(url: sqlalchemy.URL) -> Presence:
    """Whether Optuna's tables are in a database; it is not changed."""
    engine = make_engine(url, _CONNECT_TIMEOUT)
    try:
        with explained(url, "open"), engine.connect() as connection:
            return presence_of_optuna(connection)
    finally:
        engine.dispose()


def _own_presence(url: sqlalchemy.URL) -> Presence:
    """Whether Optuna's tables are in a database that is not another application's."""
    presence = presence_of_tables(url)
    if presence == "foreign":
        raise _is_foreign(url)
    return presence


def _is_foreign(url: sqlalchemy.URL) -> StoreSchemaError:
    return StoreSchemaError(
        f"{masked(url)} belongs to another application: its tables have names of Optuna's "
        "(alembic_version, studies, trials) and other contents. Give the study a database of its "
        "own"
    )


def journal_path(url: str) -> Path:
    """The file of a journal storage, `journal:///path`; it stays where it is, whoever moves."""
    return Path(os.path.expanduser(url.removeprefix("journal:///"))).absolute()
