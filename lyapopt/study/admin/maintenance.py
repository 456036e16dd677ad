"""The database side of a study: `lyapopt storage init | upgrade | gc | export`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
import pandas as pd
from optuna.storages import RDBStorage

from lyapopt.errors import UserError
from lyapopt.search._optuna import set_study_attribute
from lyapopt.store import RUN_ATTRIBUTE, TrajectoryStore, schema
from lyapopt.store.engine import make_engine, parse_url
from lyapopt.store.errors import explained, masked
from lyapopt.store.mutex import database_mutex
from lyapopt.study.analysis.overview import names_of_studies
from lyapopt.study.run.storage import has_sql, initialise, open_storage
from lyapopt.study.run.worker_table import REGISTRY_ATTRIBUTE

Format = Literal["sqlite", "csv", "parquet"]

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
    TrajectoryStore(store or storage).close()
    return created


@dataclass(frozen=True)
class Versions:
    """Versions of the tables in a database.

    Attributes:
        optuna: Of Optuna's.
        lyapopt: Of ours; `None` where there are none.
    """

    optuna: str
    lyapopt: str | None


def upgrade_storage(storage: str) -> tuple[Versions, Versions]:
    """Bring Optuna's tables and ours to the versions of what is installed.

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
    with database_mutex(storage, "the tables of Optuna"), explained(url, "upgrade"):
        engine = make_engine(url, _TIMEOUT)
        try:
            schema.drop_view(engine)
            with engine.connect() as connection:
                ours = schema.version(connection)
        finally:
            engine.dispose()
        backend = RDBStorage(storage, skip_compatibility_check=True)
        before = Versions(backend.get_current_version(), ours)
        try:
            backend.upgrade()
            after = Versions(backend.get_current_version(), schema.HEAD)
        finally:
            backend.remove_session()
            backend.engine.dispose()
            TrajectoryStore(storage).close()
    return before, after


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
            str(trial.user_attrs[RUN_ATTRIBUTE])
            for name in optuna.get_all_study_names(opened)
            for trial in optuna.load_study(study_name=name, storage=opened).get_trials(
                deepcopy=False
            )
            if RUN_ATTRIBUTE in trial.user_attrs
        }
    with TrajectoryStore(store or storage, create=False) as trajectories:
        return trajectories.gc(dry_run, grace=grace, named=named)


def export(
    storage: str,
    target: str | os.PathLike[str],
    study_name: str | None = None,
    *,
    store: str | None = None,
    format: Format = "sqlite",
    trajectories: bool = True,
) -> list[Path]:
    """Copy studies out of a database, to share or to read elsewhere.

    Args:
        storage: URL of Optuna's storage.
        target: For `sqlite` one file, which holds Optuna's study and our rows, so that dashboards
            and `lyapopt` open it; otherwise a folder for tables.
        study_name: Of one study; None for all.
        store: URL of a store of its own.
        format: `sqlite`, `csv`, or `parquet` (which needs `pip install 'lyapopt[parquet]'`).
        trajectories: Whether the series are copied as well: they are most of the data.

    Returns:
        The files that were written.

    Raises:
        UserError: If the target exists or cannot be written, or there is no such study.
    """
    names = [study_name] if study_name is not None else names_of_studies(storage)
    path = Path(target)
    if format == "sqlite":
        return [_export_database(storage, path, names, store, trajectories)]
    if path.is_file():
        raise UserError(f"{path} is a file: tables are written into a folder")
    return _export_tables(storage, path, names, store, format, trajectories)


def _export_database(
    storage: str, path: Path, names: Iterable[str], store: str | None, trajectories: bool
) -> Path:
    if path.exists():
        raise UserError(f"{path} exists already; give the name of a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")  # which gets its name when it is whole
    part.unlink(missing_ok=True)
    url = f"sqlite:///{part}"
    source = open_storage(storage, create=False)
    copies = open_storage(url)
    try:
        with TrajectoryStore(store or storage, create=False) as rows:
            for name in names:
                _copy_study(name, source, copies)
                rows.export(part, name, trajectories=trajectories)
        TrajectoryStore(url).close()  # which makes the view
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    return path


def _copy_study(
    name: str, source: optuna.storages.BaseStorage, target: optuna.storages.BaseStorage
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
    except KeyError:
        raise UserError(f"there is no study {name!r} to export") from None
    copy = optuna.load_study(study_name=name, storage=target)
    set_study_attribute(copy, REGISTRY_ATTRIBUTE, {})  # nobody works on the copy


def _export_tables(
    storage: str,
    folder: Path,
    names: Iterable[str],
    store: str | None,
    format: Format,
    trajectories: bool,
) -> list[Path]:
    from lyapopt.study.analysis.data import load

    studies = [load(storage, name, store=store) for name in names]
    tables = {
        "trials": [study.trials for study in studies],
        "exponents": [study.exponents for study in studies],
        "decisions": [study.decisions for study in studies],
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = [_write(pd.concat(parts), folder / name, format) for name, parts in tables.items()]
    if trajectories:
        for study in studies:
            name = f"trajectories-{_as_file_name(study.name)}"
            written.append(_write(study.trajectories(), folder / name, format))
    return written


def _as_file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _write(table: pd.DataFrame, path: Path, format: Format) -> Path:
    target = path.with_name(f"{path.name}.{format}")
    try:
        if format == "csv":
            table.to_csv(target, index=False)
        else:
            _plain(table).to_parquet(target, index=False)
    except ImportError as error:
        raise UserError(
            "Parquet needs pyarrow: pip install 'lyapopt[parquet]', or export as csv"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {target}: {error}") from error
    return target


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed objects as text: Parquet has one type a column."""
    mixed = [name for name, dtype in table.dtypes.items() if dtype.kind == "O"]
    return table.astype(dict.fromkeys(mixed, "str")) if mixed else table
