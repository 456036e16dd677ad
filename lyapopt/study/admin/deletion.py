"""Deleting a study with all that is stored of it."""

from __future__ import annotations

import optuna

from lyapopt.store import RUN_ATTRIBUTE, RecordNotFoundError
from lyapopt.study.analysis.overview import load_study
from lyapopt.study.file import StudyFile
from lyapopt.study.run.lock import sole_runner
from lyapopt.study.run.promotion import promoted_file
from lyapopt.study.run.storage import open_storage, open_store

__all__ = ["delete_study", "number_of_trials"]


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
        named = (trial.attributes.get(RUN_ATTRIBUTE) for trial in stored.trials)
        runs = [str(run) for run in named if run is not None]
        storage = open_storage(file.storage, create=False)
        optuna.delete_study(study_name=file.study_name, storage=storage)
        store = open_store(file.store or file.storage)
        if store is not None:
            with store:
                store.forget(runs)
