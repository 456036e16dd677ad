"""Tables of a database: made, upgraded, cleaned: `lyapopt storage init | upgrade | gc`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from lyapopt.errors import UserError
from lyapopt.store import StoreSchemaError, TrajectoryStore, schema
from lyapopt.store.engine import has_sql, make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import explained, masked
from lyapopt.store.mutex import database_mutex
from lyapopt.store.states import run_in
from lyapopt.store.urls import as_text
from lyapopt.study.run.storage import (
    check_tables,
    initialise,
    open_storage,
    presence_of_tables,
)

_TIMEOUT = 30.0  # seconds


def init_storage(storage: str, store: str | None = None) -> bool:
    """Create all tables, Optuna's and ours; any number of processes may do so at once.

    Args:
        storage: URL of Optuna's storage.
        store: URL of a store of its own, where the storage has no SQL.

    Returns:
        Whether Optuna's tables were created now.

    Raises:
        UserError: If a database cannot be written.
    """
    created = False
    if has_sql(storage):
        path = Path(parse_url(storage).database or "")
        if storage.startswith("sqlite"):
            path.parent.mkdir(parents=True, exist_ok=True)
        created = initialise(storage)
    elif store is None:
        raise UserError(
            f"storage {masked(storage)} has no tables: Optuna makes it when a study begins; for "
            "trajectories and exponents, give `store: URL`"
        )
    with TrajectoryStore(store or storage) as trajectories:
        trajectories.create_tables()
    return created


@dataclass(frozen=True)
class Versions:
    """Versions of the tables in a database.

    Attributes:
        optuna: Version of Optuna's tables; `None` where there are none.
        lyapopt: Version of ours; `None` where there are none.
    """

    optuna: str | None
    lyapopt: str | None


def upgrade_storage(storage: str) -> tuple[Versions, Versions]:
    """Bring Optuna's tables and ours to the versions of what is installed; none are created.

    Our view is dropped first, since databases refuse to change tables that a view reads, and put
    back at the end. Nobody else opens the database for that long, but nobody should be running a
    study in it either.

    Args:
        storage: URL of a database.

    Returns:
        The versions before and after.

    Raises:
        UserError: If it cannot be upgraded.
    """
    if not has_sql(storage):
        raise UserError(f"storage {masked(storage)} has no tables to upgrade")
    url = parse_url(storage)
    refuse_missing_file(url)
    engine = make_engine(url, _TIMEOUT)
    try:
        with explained(url, "open"), engine.connect() as connection:
            ours = schema.version(connection)
        if ours is None or presence_of_tables(url) in ("whole", "unfinished"):
            check_tables(url)
            before, after = _upgrade_optuna(storage, engine, ours)
            return Versions(before, ours), Versions(after, ours and schema.HEAD)
        with explained(url, "upgrade"):
            schema.ensure(engine)  # a store in a database of its own
        return Versions(None, ours), Versions(None, schema.HEAD)
    finally:
        engine.dispose()


def _upgrade_optuna(storage: str, engine: sqlalchemy.Engine, ours: str | None) -> tuple[str, str]:
    """Upgrade Optuna's tables, without our view, which is put back.

    Args:
        storage: URL of the database.
        engine: Engine of the database.
        ours: Version of our tables; `None` where there are none, and no view.

    Returns:
        The versions of Optuna's tables before and after.
    """
    with database_mutex(storage, "the tables of Optuna"), explained(engine.url, "upgrade"):
        if ours is not None:
            schema.drop_view(engine)
        backend = RDBStorage(
            as_text(engine.url), skip_compatibility_check=True, skip_table_creation=True
        )
        try:
            before = backend.get_current_version()
            if before not in backend.get_all_versions():
                raise StoreSchemaError(
                    f"{masked(storage)}: Optuna's tables have version {before}, and the installed "
                    f"Optuna knows up to {backend.get_head_version()}. Install a newer Optuna"
                )
            backend.upgrade()
            return before, backend.get_current_version()
        finally:
            backend.remove_session()
            backend.engine.dispose()
            if ours is not None:
                schema.ensure(engine)


def collect_garbage(
    storage: str, store: str | None = None, *, dry_run: bool = False, grace: float = 3600.0
) -> int:
    """Delete the runs that no trial names any more, such as those of deleted studies.

    Args:
        storage: URL of Optuna's storage.
        store: URL of a store of its own.
        dry_run: Only count them.
        grace: Seconds for which a run is kept after it was recorded, in any case.

    Returns:
        How many were deleted, or would be.

    Raises:
        UserError: If the databases cannot be opened.
    """
    named = None
    if store is not None:
        opened = open_storage(storage, create=False)
        named = {
            run
            for name in optuna.get_all_study_names(opened)
            for trial in optuna.load_study(study_name=name, storage=opened).get_trials(
                deepcopy=False
            )
            if (run := run_in(trial.user_attrs)) is not None
        }
    with TrajectoryStore(store or storage, create=False) as trajectories:
        return trajectories.gc(dry_run, grace=grace, named=named)
