"""The version of our tables: created or upgraded when a store is opened, by one process at a time.

Alembic keeps our version in a table of its own. A second row in `alembic_version`, which is
Optuna's, would break every opening of its storage.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from lyapopt.store import view
from lyapopt.store.engine import MYSQL, writing
from lyapopt.store.errors import StoreBusyError, StoreSchemaError, masked
from lyapopt.store.tables import METADATA, TABLE_PREFIX

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

HEAD: Final = "1"
"""The version of the tables that `models` describes."""
VERSION_TABLE: Final = "lyapopt_alembic_version"

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_NAME = "lyapopt_schema"
_LOCK_KEY = 0x6C796170  # PostgreSQL names advisory locks by a number: "lyap"
_LOCK_SECONDS = 60
_alembic_in_this_process = threading.Lock()  # its `op` is a global of the module


def ensure(engine: Engine, *, create: bool = True) -> None:
    """Bring the tables to the version of this code; nothing is written where they are at it.

    Args:
        engine: Of the database.
        create: Whether to create the tables where there are none.

    Raises:
        StoreSchemaError: If the tables are newer than this code, or missing and not to be created.
        StoreBusyError: If another process holds the lock for a minute.
    """
    with engine.connect() as connection:
        if version(connection) == HEAD and not _lacks_view(connection):
            return
    with _alembic_in_this_process, _locked(engine) as connection:
        present = version(connection)
        if present == HEAD and not _lacks_view(connection):
            return  # another process was faster
        _check(present, create, engine)
        view.drop(connection)
        if present != HEAD:
            _migrate(connection)
        view.create(connection)


def version(connection: Connection) -> str | None:
    """The version of our tables in this database; None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found.scalars().first()


def drop_view(engine: Engine) -> None:
    """Drop the view `lyapopt_trials`, before Optuna's tables are migrated; opening restores it."""
    with _locked(engine) as connection:
        view.drop(connection)


def is_ours(name: str | None, kind: str, parents: Any) -> bool:
    """Alembic's `include_name`: comparisons of the schema look at our tables only."""
    if kind == "table":
        return name is not None and name.startswith(TABLE_PREFIX) and name != VERSION_TABLE
    return True


def differences(connection: Connection) -> list[Any]:
    """What Alembic would change to bring our tables to the models; empty when all is well."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {"version_table": VERSION_TABLE, "include_name": is_ours}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, METADATA))


def scripts() -> ScriptDirectory:
    """Our migrations."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_MIGRATIONS))


def _lacks_view(connection: Connection) -> bool:
    return not view.exists(connection) and view.is_possible(connection)


def _check(present: str | None, create: bool, engine: Engine) -> None:
    if present is None and not create:
        raise StoreSchemaError(
            f"{masked(engine.url)} holds no tables of lyapopt: nothing was recorded in it"
        )
    known = {script.revision for script in scripts().walk_revisions()}
    if present is not None and present not in known:
        raise StoreSchemaError(
            f"{masked(engine.url)} was written by a newer lyapopt: its tables have version "
            f"{present}, this one knows up to {HEAD}. Install a newer lyapopt to open it."
        )


def _migrate(connection: Connection) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    directory = scripts()

    def to_head(revision: Any, context: Any) -> Any:
        return directory._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), directory, fn=to_head) as environment:
        environment.configure(
            connection=connection,
            target_metadata=METADATA,
            version_table=VERSION_TABLE,
            include_name=is_ours,
            render_as_batch=True,
        )
        environment.run_migrations()


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A transaction that only one process at a time can be in."""
    with writing(engine) as connection:  # which on SQLite locks the file
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if connection.dialect.name not in MYSQL:
            yield connection
            return
        # MySQL commits at every change of a table, and its named lock is not a transaction's.
        name = f"{_LOCK_NAME}_{engine.url.database}"[:64]
        seconds = _LOCK_SECONDS
        got = connection.scalar(text("SELECT GET_LOCK(:name, :s)"), {"name": name, "s": seconds})
        if got != 1:
            raise StoreBusyError(
                f"another process is changing the tables in {masked(engine.url)} since more than "
                f"{seconds} s. Try again when it has finished."
            )
        try:
            yield connection
            connection.commit()  # before the next process is let in
        finally:
            connection.rollback()
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
