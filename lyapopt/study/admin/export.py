"""Studies copied out of a database: into one file, or as tables. `lyapopt storage export`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import optuna
import pandas as pd

from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.study.analysis.data import load
from lyapopt.study.analysis.overview import names_of_studies
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.worker_table import clear_workers

Format = Literal["sqlite", "csv", "parquet"]


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
        study_name: Name of one study; None for all.
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
    clear_workers(copy)  # nobody works on the copy


def _export_tables(
    storage: str,
    folder: Path,
    names: Iterable[str],
    store: str | None,
    format: Format,
    trajectories: bool,
) -> list[Path]:
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
