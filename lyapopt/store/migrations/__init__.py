"""Alembic migrations of our tables; there is no env.py.

A new version is a file in `versions/` with the next number as its revision, the change of
`tables.py`, the new `HEAD` in `schema.py`, and a fixture database of the version before.
MySQL commits at every change of a table, so a migration must be able to run again after it was
interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from lyapopt.store.tables import METADATA

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext


def scripts() -> ScriptDirectory:
    """The migrations."""
    return ScriptDirectory(str(Path(__file__).parent))


def upgrade(connection: Connection, version_table: str) -> None:
    """Bring our tables to the last version.

    Args:
        connection: In the transaction to write in. One thread at a time may do so, since alembic
            keeps its context in a global.
        version_table: Name of the table that holds the version of ours.
    """
    directory = scripts()

    def to_head(revision: Any, context: MigrationContext) -> Any:
        return directory._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), directory, fn=to_head) as environment:
        environment.configure(
            connection=connection,
            target_metadata=METADATA,
            version_table=version_table,
            render_as_batch=True,
        )
        environment.run_migrations()
