"""Opening the study of a file: its storage, its mutex, and the study itself."""

from __future__ import annotations

import optuna

from lyapopt.errors import UserError
from lyapopt.search._optuna import OrderedStudy
from lyapopt.store.mutex import Mutex
from lyapopt.store.retry import RetryPolicy
from lyapopt.study.file import StudyFile
from lyapopt.study.run import assembly
from lyapopt.study.run.compatibility import check_parameters
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.leases import WorkerSettings
from lyapopt.study.run.storage import masked, open_storage, study_mutex


def storage_of(
    file: StudyFile, settings: WorkerSettings, retry: RetryPolicy
) -> optuna.storages.BaseStorage:
    """The storage of a file, whose operations are tried again, with heartbeats.

    Raises:
        UserError: If it cannot be opened.
    """
    return open_storage(
        file.storage,
        retry=retry,
        heartbeat=max(1, round(settings.heartbeat)),
        grace=max(1, round(settings.grace)),
    )


def mutex_of(file: StudyFile) -> Mutex:
    """The lock that the workers of a file's study share.

    Raises:
        UserError: If there is none to be had.
    """
    mutex = study_mutex(file.storage, file.store, file.study_name)
    if mutex is None:
        raise UserError(
            f"storage {masked(file.storage)} has no lock that keeps two workers from doing the "
            "same trials; give `store: URL`, a database that all workers reach"
        )
    return mutex


def open_study(file: StudyFile, listener: StudyListener, settings: WorkerSettings) -> OrderedStudy:
    """Create or load the study of a file, in its storage, while nobody else does.

    Raises:
        UserError: If the storage cannot be opened, or has no lock for several workers.
    """
    storage = storage_of(file, settings, RetryPolicy(settings.retry_seconds, notify=listener.note))
    mutex = mutex_of(file)
    with mutex:
        study = create_or_load(file, listener, storage)
    mutex.close()
    return study


def create_or_load(
    file: StudyFile, listener: StudyListener, storage: optuna.storages.BaseStorage
) -> OrderedStudy:
    """The Optuna study of a file, with its sampler and pruner.

    Args:
        file: A validated study file.
        listener: Told if the file has changed since the study began.
        storage: The file's storage. The caller keeps others from creating the study meanwhile.

    Raises:
        UserError: If it exists and may not be loaded, has other directions, or trials whose
            parameters are of another kind.
    """
    space = assembly.search_space(file)
    sampler, pruner = assembly.sampler(file, space), assembly.pruner(file)
    try:
        study = optuna.create_study(
            study_name=file.study_name,
            storage=storage,
            sampler=sampler,
            pruner=pruner,
            directions=list(file.all_directions),
            load_if_exists=file.load_if_exists,
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(
            f"study {file.study_name!r} exists already, and load_if_exists is false; use another "
            "study_name or storage"
        ) from None
    stored = [direction.name.lower() for direction in study.directions]
    if stored != list(file.all_directions):
        raise UserError(
            f"study {file.study_name!r} exists with directions {stored}, and the file says "
            f"{list(file.all_directions)}; use another study_name"
        )
    check_parameters(study, space.distributions)
    _compare_digest(study, file, listener)
    return OrderedStudy.of(study)


def _compare_digest(study: optuna.Study, file: StudyFile, listener: StudyListener) -> None:
    """Remember what the study is defined by; say so if that has changed."""
    known = study.user_attrs.get("lyapopt:digest")
    if known == file.digest():
        return
    if known is not None:
        listener.note("the study file has changed since the study began: its trials will differ")
    else:
        for params in file.enqueue[len(study.get_trials(deepcopy=False)) :]:
            study.enqueue_trial(dict(params))
    study.set_user_attr("lyapopt:digest", file.digest())
