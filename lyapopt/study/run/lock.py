"""For what must not be done to a study while it runs, such as deleting it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import optuna

from lyapopt.errors import UserError
from lyapopt.search._optuna import get_study_attribute, study_key
from lyapopt.study.run import processes
from lyapopt.study.run.leases import WorkerSettings, lives
from lyapopt.study.run.storage import masked, open_storage, study_mutex
from lyapopt.study.run.worker_table import REGISTRY_ATTRIBUTE, Registry


@contextmanager
def sole_runner(storage: str, study_name: str, store: str | None = None) -> Iterator[None]:
    """While nobody works on a study, and nobody can begin to.

    Args:
        storage: URL of Optuna's storage.
        study_name: Of the study; it need not exist.
        store: URL of a store of its own.

    Raises:
        UserError: If a process is running it.
    """
    mutex = study_mutex(storage, store, study_name)
    with mutex or nullcontext():
        if mutex is not None:
            for name in workers(storage, study_name, mutex.now()):
                raise UserError(
                    f"study {study_name!r} in {masked(storage)} is being run by another process "
                    f"({processes.short_name(name)}); wait for it, or use another study_name"
                )
        yield


def workers(storage: str, study_name: str, now: float) -> list[str]:
    """The living workers of a study.

    Args:
        storage: URL of Optuna's storage.
        study_name: Of the study.
        now: By the clock of the study's mutex.
    """
    try:
        study = optuna.load_study(study_name=study_name, storage=open_storage(storage))
    except KeyError:
        return []
    registry = Registry.of(study_key(study), get_study_attribute(study, REGISTRY_ATTRIBUTE))
    grace = WorkerSettings().grace
    return [name for name, worker in registry.workers.items() if lives(name, worker, now, grace)]
