"""Studies copied out of a database: into one file, or as tables. `lyapopt storage export`."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import optuna
import pandas as pd

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.store.damage import UNREADABLE
from lyapopt.store.errors import masked
from lyapopt.store.urls import sqlite_url
from lyapopt.study.analysis.data import load
from lyapopt.study.analysis.overview import names_of_studies
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.worker_table import clear_workers

Format = Literal["sqlite", "csv", "parquet"]

_LONGEST_NAME: Final = 100  # bytes of a study's name in that of a file, which has 255 at the most
_DIGEST_SIZE: Final = 6  # bytes
_LIKE_OURS: Final = re.compile(rf"-[0-9a-f]{{{2 * _DIGEST_SIZE}}}$")


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
        The files that were written; the rows of each table name their study. Series are in a file
        for each study, `trajectories-NAME`, with a digest where NAME is none for a file.

    Raises:
        UserError: If the target exists or cannot be written, or there is no such study.
    """
    names = [study_name] if study_name is not None else names_of_studies(storage)
    path = Path(target)
    if format == "sqlite":
        return [_export_database(storage, path, names, store, trajectories)]
    if path.is_file():
        raise UserError(f"{one_line(path)} is a file: tables are written into a folder")
    return _export_tables(storage, path, names, store, format, trajectories)


def _export_database(
    storage: str, path: Path, names: Iterable[str], store: str | None, trajectories: bool
) -> Path:
    if path.exists():
        raise UserError(f"{one_line(path)} exists already; give the name of a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")  # which gets its name when it is whole
    part.unlink(missing_ok=True)
    url = sqlite_url(part)
    source = open_storage(storage, create=False)
    copies = open_storage(url)
    try:
        with TrajectoryStore(store or storage, create=False) as rows:
            for name in names:
                interruption.poll()
                _copy_study(name, source, copies)
                rows.export(part, name, trajectories=trajectories)
        with TrajectoryStore(url) as whole:
            whole.create_tables()  # with the view
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
    except UNREADABLE as error:
        raise UserError(
            f"study {name!r} is damaged and cannot be copied as a whole ({error}); `lyapopt "
            "storage doctor` says what is wrong, and `-f csv` exports the rest"
        ) from error
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
    if not studies:
        raise UserError(f"{masked(storage)} holds no study to export")
    tables = {
        "trials": [study.trials for study in studies],
        "exponents": [study.exponents for study in studies],
        "decisions": [study.decisions for study in studies],
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = [_write(pd.concat(parts), folder / name, format) for name, parts in tables.items()]
    if trajectories:
        files = _file_names([study.name for study in studies])
        for study in studies:
            interruption.poll()
            path = folder / f"trajectories-{files[study.name]}"
            written.append(_write(study.trajectories(), path, format))
    return written


def _file_names(studies: Sequence[str]) -> dict[str, str]:
    """Names of files for studies: two of them never share one, and each can be a file's name.

    What cannot be in the name of a file is replaced, and what is too long is cut; then a digest of
    the name tells the study from others. File systems that take `A` for `a` hold both.
    """
    letters = {name: re.sub(r"[^\w.-]", "_", name) for name in studies}
    spellings = Counter(text.casefold() for text in letters.values())
    return {
        name: text
        if text == name
        and len(text.encode()) <= _LONGEST_NAME
        and spellings[text.casefold()] == 1
        and not _LIKE_OURS.search(text)
        else f"{_cut(text)}-{blake2b(_bytes(name), digest_size=_DIGEST_SIZE).hexdigest()}"
        for name, text in letters.items()
    }


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_LONGEST_NAME].decode("utf-8", "ignore")


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
        raise UserError(f"cannot write {one_line(target)}: {one_line(error)}") from error
    return target


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed objects as text: Parquet has one type a column."""
    mixed = [name for name, dtype in table.dtypes.items() if dtype.kind == "O"]
    return table.astype(dict.fromkeys(mixed, "str")) if mixed else table
