"""Deleting a study with all that is stored of it, while nobody runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import optuna

from lyapopt.errors import UserError
from lyapopt.store import RecordNotFoundError, StoreSchemaError
from lyapopt.store.errors import masked
from lyapopt.store.states import run_in
from lyapopt.study.analysis.overview import load_study
from lyapopt.study.file import StudyFile
from lyapopt.study.run import processes
from lyapopt.study.run.promotion import promoted_file
from lyapopt.study.run.storage import open_storage, open_store, reading_study, study_mutex
from lyapopt.study.run.worker_table import WorkerTable

__all__ = ["delete_study", "number_of_trials", "sole_runner"]


def number_of_trials(file: StudyFile) -> int | None:
    """Trials of a file's study, or `None` if there is no such study."""
    try:
        return len(load_study(file.storage, file.study_name).trials)
    except RecordNotFoundError:
        return None


def delete_study(file: StudyFile) -> None:
    """Delete a file's study, and that of its promoted trials: Optuna's rows, then ours.

    In that order, a crash in between leaves rows that nobody names, which `storage gc` finds.

    Raises:
        UserError: If another process is running it, or the storage cannot be written.
    """
    if file.promote and number_of_trials(promoted := promoted_file(file)) is not None:
        delete_study(promoted)
    with sole_runner(file.storage, file.study_name):
        stored = load_study(file.storage, file.study_name)
        named = (run_in(trial.attributes) for trial in stored.trials)
        runs = [run for run in named if run is not None]
        storage = open_storage(file.storage, create=False)
        optuna.delete_study(study_name=file.study_name, storage=storage)
        with suppress(RecordNotFoundError, StoreSchemaError):  # nothing was recorded
            store = open_store(file.store or file.storage, create=False)
            if store is not None:
                with store:
                    store.forget(runs)


@contextmanager
def sole_runner(storage: str, study_name: str, store: str | None = None) -> Iterator[None]:
    """While nobody works on a study, and nobody can begin to.

    Args:
        storage: URL of Optuna's storage.
        study_name: Name of the study, which need not exist.
        store: URL of a store of its own.

    Raises:
        UserError: If a process is running it.
    """
    mutex = study_mutex(storage, store, study_name)
    with mutex or nullcontext():
        if mutex is not None:
            for name in _workers(storage, study_name, mutex.now()):
                raise UserError(
                    f"study {study_name!r} in {masked(storage)} is being run by another process "
                    f"({processes.short_name(name)}); wait for it, or use another study_name"
                )
        yield


def _workers(storage: str, study_name: str, now: float) -> list[str]:
    """The living workers of a study, at a time by the clock of its mutex."""
    with reading_study(storage, study_name) as study:
        return [] if study is None else list(WorkerTable.read(study).living(now))
