"""Trials that have ended and cannot be stored: kept in files, imported by the next run.

A spill file is a small SQLite database with our tables and one run. It is written beside the
study file, beside the database or in the folder for temporary files: the first of them that
takes it, since a full disk may be the very reason.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.display import one_line
from lyapopt.search._optuna import NUMBER_ATTRIBUTE, every_trial, logical_number
from lyapopt.store import RUN_ATTRIBUTE, RunRecord, StoreError, TrajectoryStore, new_run_id
from lyapopt.store.engine import parse_url, sqlite_path
from lyapopt.store.states import run_in
from lyapopt.store.urls import sqlite_url
from lyapopt.study.file import absolute_url
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.recovery import STATES, result_attributes
from lyapopt.study.run.storage import journal_path

_log = logging.getLogger(__name__)

_PREFIX = "lyapopt-spill"


class Spill:
    """The spill files of one study.

    Args:
        study_name: Name of the study.
        storage: URL of its storage.
        folders: Where to write, in this order; then beside the database, then in the folder for
            temporary files.
    """

    def __init__(self, study_name: str, storage: str, folders: Sequence[Path] = ()) -> None:
        self._study_name = study_name
        place = absolute_url(storage).rpartition("@")[2]  # no user, no password
        name = f"{place}/{study_name}"
        self._digest = blake2b(name.encode(), digest_size=5).hexdigest()
        self._folders = [*folders, *_beside(storage), Path(tempfile.gettempdir())]

    def write(self, record: RunRecord) -> Path:
        """Keep one run.

        Returns:
            The file.

        Raises:
            StoreError: If no folder takes it.
        """
        trouble: Exception | None = None
        for folder in self._folders:
            path = folder / f"{_PREFIX}-{self._digest}-{record.run}.db"
            try:
                with TrajectoryStore(sqlite_url(path)) as store:
                    store.record(record)
            except (StoreError, OSError) as error:
                trouble = error
                _discard(path)
            else:
                return path
        raise StoreError(
            f"trial {record.trial_number} of study {self._study_name!r} is lost: it could not be "
            f"kept in a file either: {trouble}"
        )

    def files(self) -> list[Path]:
        """The files that there are."""
        found = {
            path.resolve()
            for folder in self._folders
            if folder.is_dir()
            for path in folder.glob(f"{_PREFIX}-{self._digest}-*.db")
        }
        return sorted(found)

    def records(self) -> Iterator[tuple[Path, RunRecord]]:
        """Each file with what it holds; files that cannot be read are passed over."""
        for path in self.files():
            try:
                with TrajectoryStore(sqlite_url(path), create=False) as store:
                    yield path, store.read(path.stem.rpartition("-")[2])
            except StoreError as error:
                _log.warning("spill file %s cannot be read: %s", one_line(path), one_line(error))


def import_spilled(
    study: optuna.Study, store: TrajectoryStore | None, spill: Spill, ledger: Ledger
) -> int:
    """Take the spilled trials of a study into its database.

    A trial that is still running in Optuna gets its rows, and is told when it is settled. One that
    was marked as interrupted meanwhile is added anew, finished, if its logical number does not
    count yet; if it does, the trial was repeated with the same result, and the file goes.

    Args:
        study: The study; the caller holds its mutex.
        store: Where rows go.
        spill: Where the files are.
        ledger: Which numbers count.

    Returns:
        How many trials were imported.
    """
    imported = added = 0
    everything = every_trial(study)
    trials = {run_in(trial.user_attrs): trial for trial in everything}
    for path, record in spill.records():
        trial = trials.get(record.run)
        if trial is None:
            _log.warning("spill file %s holds a trial that study no longer has", one_line(path))
            continue
        number = logical_number(trial)
        if trial.state == TrialState.FAIL and record.state in ("complete", "pruned"):
            if number in ledger.done:
                _discard(path)
                continue
            record = replace(record, run=new_run_id(), trial_number=len(everything) + added)
            added += 1
            if store is not None:  # rows first: what is told must have them
                store.record(record)
            study.add_trial(_finished(trial, record))
        elif store is not None:
            store.record(record)
        imported += 1
        _discard(path)
    return imported


def _finished(trial: FrozenTrial, record: RunRecord) -> FrozenTrial:
    """A trial with the parameters of one that failed, and the result of its run."""
    return optuna.trial.create_trial(
        state=STATES[record.state],
        values=list(record.values) if record.values else None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={
            **trial.user_attrs,
            **result_attributes(record),
            RUN_ATTRIBUTE: record.run,
            NUMBER_ATTRIBUTE: logical_number(trial),
        },
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _beside(storage: str) -> list[Path]:
    if storage.startswith("sqlite"):
        path = sqlite_path(parse_url(storage))
        return [] if path is None else [path.parent]
    if storage.startswith("journal://"):
        return [journal_path(storage).parent]
    return []


def _discard(path: Path) -> None:
    for name in (path, path.with_name(f"{path.name}-journal")):
        name.unlink(missing_ok=True)
