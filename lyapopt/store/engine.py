"""Connections: how an engine is made, and how a transaction begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy
from sqlalchemy import Connection, Engine, exc

from lyapopt.redaction import ENCODING_HINT, has_bare_at, has_lost_end, redacted
from lyapopt.store.drivers import EXTRAS, advice_on_driver, is_asynchronous
from lyapopt.store.errors import RecordNotFoundError, StoreError, masked
from lyapopt.store.urls import completed

MYSQL: Final = ("mysql", "mariadb")
_OF_DRIVER: Final = {
    "uri",
    "timeout",
    "isolation_level",
    "detect_types",
    "check_same_thread",
    "cached_statements",
}
"""What the driver of SQLite takes from a URL."""


def has_sql(url: str) -> bool:
    """Whether the URL of a storage is one of a database, which our tables can be in.

    Optuna's journal files and gRPC proxies are none.
    """
    return not url.startswith(("journal://", "grpc://"))


def parse_url(url: str | sqlalchemy.URL) -> sqlalchemy.URL:
    """A database URL, parsed, with the home folder for `~` and a driver that is installed.

    Raises:
        StoreError: If it is not one, such as the URL of a journal file or of a gRPC proxy, or if
            it can be read in two ways.
    """
    if isinstance(url, str) and has_bare_at(url):
        raise StoreError(f"{masked(url)!r} has more than one @: {ENCODING_HINT}")
    if isinstance(url, str) and has_lost_end(url):
        raise StoreError(f"{redacted(url)!r} ends at its ?: in the name of a file, write %3F for ?")
    try:
        parsed = sqlalchemy.make_url(url)
    except (exc.ArgumentError, ValueError) as error:  # a port that is no number is a ValueError
        raise StoreError(
            f"{masked(url)!r} is not the URL of a database ({ENCODING_HINT}). Examples: "
            "sqlite:///runs/study.db, postgresql+psycopg://user@host/name, mysql+pymysql://user@host/name"
        ) from error
    if parsed.get_backend_name() == "postgres":
        raise StoreError(f"{masked(parsed)}: write postgresql:// for postgres://")
    if not is_supported(parsed):
        raise StoreError(
            "lyapopt writes to SQLite, PostgreSQL, MySQL and MariaDB, not to "
            f"{parsed.get_backend_name()!r} ({masked(parsed)}). Give it a database of its own, "
            "such as sqlite:///runs/trajectories.db"
        )
    if ignored := _ignored(parsed):
        raise StoreError(
            f"{masked(parsed)}: SQLite takes {', '.join(ignored)} in the form "
            "sqlite:///file:PATH?mode=ro&uri=true only"
        )
    return completed(parsed)


def _ignored(url: sqlalchemy.URL) -> list[str]:
    """Options of an SQLite file that its driver would not see: SQLAlchemy only warns of them."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query:
        return []
    return sorted(set(url.query) - _OF_DRIVER)


def is_supported(url: sqlalchemy.URL) -> bool:
    """Whether our tables can be in a database of that kind."""
    return url.get_backend_name() in ("sqlite", *EXTRAS)


def make_engine(url: sqlalchemy.URL, timeout: float) -> Engine:
    """An engine for this database.

    The journal mode of SQLite stays as it is: a file in WAL mode cannot be opened by the browser
    dashboard, and which mode it has is its owner's choice.

    Args:
        url: URL of the database.
        timeout: Seconds that SQLite waits for the lock of another process, and that a connection
            to a server may take.

    Raises:
        StoreError: If the driver is missing, or is one of asyncio.
    """
    if is_asynchronous(url):
        raise StoreError(
            f"{masked(url)}: the driver {url.drivername!r} is one of asyncio, which Optuna does "
            f"not use. {advice_on_driver(url)}"
        )
    backend = url.get_backend_name()
    options: dict[str, object] = {}
    if backend == "sqlite":
        options["connect_args"] = {"timeout": timeout} if "timeout" not in url.query else {}
    else:
        options["pool_pre_ping"] = True  # servers close connections that idle during a long trial
        if "connect_timeout" not in url.query:
            options["connect_args"] = {"connect_timeout": max(int(timeout), 1)}
    try:
        return sqlalchemy.create_engine(url, **options)
    except (ImportError, exc.NoSuchModuleError) as error:
        raise StoreError(
            f"no driver for {url.drivername!r}, needed for {masked(url)}. {advice_on_driver(url)}"
        ) from error


def refuse_missing_file(url: sqlalchemy.URL) -> None:
    """SQLite creates the file that it is asked to open; whoever only reads wants to know.

    Raises:
        RecordNotFoundError: If the URL names an SQLite file that does not exist.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        raise RecordNotFoundError(f"{masked(url)}: there is no such file. Check its path.")


def sqlite_path(url: sqlalchemy.URL) -> Path | None:
    """The file of an SQLite database; None for one in memory or by URI, and for servers."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return None if "uri" in url.query else Path(str(url.database))


def absolute(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """The URL with the path of its SQLite file made absolute, if it has one."""
    path = sqlite_path(url)
    return url if path is None else url.set(database=str(path.absolute()))


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, committed at the end of the body, or rolled back as a whole.

    On SQLite it takes the lock at once: a transaction that reads first and then writes is refused
    without waiting when another process is about to write.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite" and not _in_transaction(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()


def _in_transaction(connection: Connection) -> bool:
    return bool(getattr(connection.connection.dbapi_connection, "in_transaction", False))
