"""The version of our tables: they are created or upgraded by the first who records."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from lyapopt.store import view
from lyapopt.store.engine import writing
from lyapopt.store.errors import StoreSchemaError, masked
from lyapopt.store.mutex import DEFAULT_TIMEOUT, server_mutex

HEAD: Final = "1"
"""The version of the tables that `tables` describes."""
VERSION_TABLE: Final = "lyapopt_alembic_version"
"""Ours. A second row in `alembic_version`, which is Optuna's, would break its storage."""

_migrating = threading.Lock()  # alembic's `op` is a global of its module


def ensure(engine: Engine) -> None:
    """Bring tables and view to the version of this code; nothing is written where they are at it.

    Args:
        engine: Engine of the database.

    Raises:
        StoreSchemaError: If the tables are newer than this code.
        StoreBusyError: If another process holds the lock for a minute.
    """
    with engine.connect() as connection:
        if _is_complete(connection):
            return
    # Alembic takes a quarter of a second to import, and a store at its version needs none of it.
    from lyapopt.store import migrations

    with _migrating, _alone(engine) as connection:
        if _is_complete(connection):
            return  # another process was faster
        present = version(connection)
        known = {script.revision for script in migrations.scripts().walk_revisions()}
        if present is not None and present not in known:
            raise _is_newer(connection, present)
        view.drop(connection)
        if present != HEAD:
            migrations.upgrade(connection, VERSION_TABLE)
        view.create(connection)


def check(connection: Connection, *, may_be_made: bool = False) -> bool:
    """Refuse tables that cannot be used as they are; nothing is written.

    Args:
        connection: Connection to the database.
        may_be_made: Whether missing and old ones pass, since whoever records makes them.

    Returns:
        Whether they are there, and at the version of this code.

    Raises:
        StoreSchemaError: If they are newer than this code; or older or missing.
    """
    present = version(connection)
    if present == HEAD:
        return True
    where = masked(connection.engine.url)
    is_older = present is None or (present.isdecimal() and int(present) < int(HEAD))
    if is_older and may_be_made:
        return False
    if present is None:
        raise StoreSchemaError(f"{where} holds no tables of lyapopt: nothing was recorded in it")
    if is_older:
        raise StoreSchemaError(
            f"{where}: the tables of lyapopt have version {present}, and this lyapopt reads "
            f"version {HEAD}. Run: lyapopt storage upgrade"
        )
    raise _is_newer(connection, present)


def _is_newer(connection: Connection, present: str) -> StoreSchemaError:
    return StoreSchemaError(
        f"{masked(connection.engine.url)} was written by a newer lyapopt: its tables have version "
        f"{present}, this one knows up to {HEAD}. Install a newer lyapopt to open it."
    )


def version(connection: Connection) -> str | None:
    """The version of our tables in this database; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found.scalars().first()


def drop_view(engine: Engine) -> None:
    """Drop the view `lyapopt_trials`, before Optuna's tables are migrated; `ensure` restores it."""
    with _alone(engine) as connection:
        view.drop(connection)


def _is_complete(connection: Connection) -> bool:
    if version(connection) != HEAD:
        return False
    return view.exists(connection) or not view.is_possible(connection)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that only one process at a time can be in."""
    dialect = engine.dialect.name
    # SQLite's transactions lock the file. Those of servers keep nobody out, and MySQL commits at
    # every change of a table.
    mutex = nullcontext() if dialect == "sqlite" else server_mutex(engine, "the tables of lyapopt")
    with mutex, writing(engine) as connection:
        if dialect == "postgresql":  # which waits without end for those who read a table
            connection.execute(text(f"SET LOCAL lock_timeout = '{DEFAULT_TIMEOUT:g}s'"))
        yield connection
