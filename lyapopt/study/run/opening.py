"""Opening the study of a file: its storage, its mutex, the study itself, and all around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    check_distribution_compatibility,
)
from optuna.storages import BaseStorage

from lyapopt import interruption
from lyapopt.errors import UserError
from lyapopt.search import SearchSpace
from lyapopt.search._optuna import (
    OrderedStudy,
    begin_with,
    close_storage,
    every_trial,
    get_study_attribute,
    ordered,
    set_study_attribute,
    study_is_there,
    wrap_operations,
)
from lyapopt.search.candidate import RunsCandidates
from lyapopt.search.samplers.given import GivenSampler
from lyapopt.store import TrajectoryStore
from lyapopt.store.damage import UNREADABLE, in_words
from lyapopt.store.engine import has_sql
from lyapopt.store.errors import DamagedDataError, masked
from lyapopt.store.examination import damage_of_study
from lyapopt.store.mutex import Mutex
from lyapopt.store.retry import RetryPolicy, as_store_error
from lyapopt.study.file import StudyFile
from lyapopt.study.file.messages import as_written
from lyapopt.study.naming import DEFINITION
from lyapopt.study.run import assembly, earlier
from lyapopt.study.run.choices import DIGEST, keep_choices, known_digest
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.leases import Leases
from lyapopt.study.run.storage import open_storage, open_store, study_mutex
from lyapopt.study.run.worker_table import WorkerSettings


@dataclass(frozen=True)
class OpenStudy:
    """A study, and all that a worker needs to work on it.

    Attributes:
        file: The validated study file.
        study: Its study in Optuna.
        objective: What a trial does.
        leases: The worker's share of the study.
        store: Where trajectories are kept, if anywhere.
        listener: Told what happens.
        settings: How the worker behaves towards others and towards its database.
        retry: How often what fails in the database is tried.
    """

    file: StudyFile
    study: OrderedStudy
    objective: RunsCandidates
    leases: Leases
    store: TrajectoryStore | None
    listener: StudyListener
    settings: WorkerSettings
    retry: RetryPolicy

    @classmethod
    def open(
        cls,
        file: StudyFile,
        listener: StudyListener,
        settings: WorkerSettings,
        given: GivenSampler | None = None,
        networks: Sequence[int] | None = None,
    ) -> OpenStudy:
        """Open the study of a file.

        Args:
            file: A validated study file.
            listener: Told what happens.
            settings: How the worker behaves.
            given: The sampler, if it is not the file's.
            networks: As for `Objective`.
        """
        retry = _retry(listener, settings)
        storage = _storage(file, settings, retry)
        store = _store(file, listener, retry)
        space = assembly.search_space(file)
        objective = assembly.objective(file, space, networks)
        mutex = mutex_of(file)
        with mutex, _naming_damage(file):
            study = _create_or_load(file, space, listener, storage)
        if given is not None:
            study.sampler = given
        leases = Leases(file, study, mutex, store, settings, retry)
        return cls(file, study, objective, leases, store, listener, settings, retry)

    def close(self) -> None:
        """Leave the study to the other workers, or to the next run."""
        try:
            self.leases.leave()
        except Exception as error:
            if as_store_error(error) is None and study_is_there(self.study):
                raise
            self.leases.forget()  # what made the run fail; the next one finds us dead
        finally:
            self.leases.close()
            close_storage(self.study)
            if self.store is not None:
                self.store.close()


def open_study(file: StudyFile, listener: StudyListener, settings: WorkerSettings) -> OrderedStudy:
    """Create or load the study of a file, in its storage, while nobody else does.

    Raises:
        UserError: If the storage cannot be opened, or has no lock for several workers.
    """
    storage = _storage(file, settings, _retry(listener, settings))
    mutex = mutex_of(file)
    with mutex, _naming_damage(file):
        study = _create_or_load(file, assembly.search_space(file), listener, storage)
    mutex.close()
    return study


@contextmanager
def opened_study(
    file: StudyFile, listener: StudyListener, settings: WorkerSettings
) -> Iterator[OrderedStudy]:
    """`open_study` for as long as the body lasts."""
    study = open_study(file, listener, settings)
    try:
        yield study
    finally:
        close_storage(study)


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


def _retry(listener: StudyListener, settings: WorkerSettings) -> RetryPolicy:
    return RetryPolicy(settings.retry_seconds, notify=listener.note)


def _storage(file: StudyFile, settings: WorkerSettings, retry: RetryPolicy) -> BaseStorage:
    """The storage of a file, whose operations are tried again, with heartbeats."""
    storage = open_storage(
        file.storage,
        retry=retry,
        heartbeat=max(1, round(settings.heartbeat)),
        grace=max(1, round(settings.grace)),
        is_buffered=True,
        # A function suggests while it runs: what it dies of is seen in its parameters.
        parameters_at_once=file.objective is not None,
    )
    wrap_operations(storage, interruption.shielded)
    return storage


def _store(file: StudyFile, listener: StudyListener, retry: RetryPolicy) -> TrajectoryStore | None:
    store = retry(lambda: open_store(file.store or file.storage))
    if store is None:
        listener.note(
            "this storage has no SQL: trajectories and exponents are not kept; give `store: URL`"
        )
    return store


@contextmanager
def _naming_damage(file: StudyFile) -> Iterator[None]:
    """Say what of a study is damaged, where Optuna fails to read it with some error of Python.

    Raises:
        DamagedDataError: If anything is.
    """
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        damage = damage_of_study(file.storage, file.study_name) if has_sql(file.storage) else []
        if not damage:
            raise
        raise DamagedDataError(
            f"study {file.study_name!r} in {masked(file.storage)} is damaged, so that Optuna "
            f"cannot go on with it: {in_words(damage)}. Restore a copy, or use another study_name"
        ) from error


def _create_or_load(
    file: StudyFile, space: SearchSpace, listener: StudyListener, storage: BaseStorage
) -> OrderedStudy:
    """The Optuna study of a file, with its sampler and pruner.

    Args:
        file: A validated study file.
        space: Its search space.
        listener: Told if the file has changed since the study began.
        storage: The file's storage. The caller keeps others from creating the study meanwhile.

    Raises:
        UserError: If it exists and may not be loaded, has other directions, or trials whose
            parameters have other types, choices or scales.
    """
    sampler, pruner = assembly.sampler(file, space), assembly.pruner(file)
    begins_with = [] if _has_begun(storage, file.study_name) else earlier.read(file, space)
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
    _check_parameters(study, space.distributions)
    _name_values(study, file)
    _compare_digest(study, file, listener, begins_with)
    opened = ordered(study)
    begin_with(opened, earlier.kept_trials(study, space))
    return opened


def _has_begun(storage: BaseStorage, name: str) -> bool:
    """Whether there is a study of that name which a run has opened."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return False
    attributes = (storage.get_study_user_attrs, storage.get_study_system_attrs)
    return any(DIGEST in get(study_id) for get in attributes)


def _check_parameters(study: optuna.Study, distributions: dict[str, BaseDistribution]) -> None:
    """Refuse a file whose parameters have changed in ways that a study cannot follow.

    Optuna lets a range become wider or narrower. It refuses other choices, another type, or a
    logarithm that came or went, but only when the first trial suggests the parameter.

    Args:
        study: The study as it is stored.
        distributions: The file's parameters by name.

    Raises:
        UserError: If one has changed, with what to do.
    """
    known: dict[str, BaseDistribution] = {}
    for trial in every_trial(study):
        known.update(trial.distributions)
    for name, distribution in distributions.items():
        before = known.get(name)
        if before is None:
            continue
        try:
            check_distribution_compatibility(before, distribution)
        except ValueError:
            raise UserError(
                f"search_space.{name}: the trials of study {study.study_name!r} have "
                f"{_in_words(before)}, and the file says {_in_words(distribution)}; a study keeps "
                "its choices and scales: use another study_name, or --fresh to begin again"
            ) from None


def _in_words(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"choices {', '.join(map(as_written, distribution.choices))}"
    number = type(distribution).__name__.removesuffix("Distribution").lower()
    is_logarithmic = getattr(distribution, "log", False)
    return f"a logarithmic {number}" if is_logarithmic else f"a linear {number}"


def _compare_digest(
    study: optuna.Study, file: StudyFile, listener: StudyListener, begins_with: earlier.Earlier
) -> None:
    """Remember what the study is defined by; say so if that has changed."""
    known = known_digest(study)
    definition = file.definition()
    if definition is not None and get_study_attribute(study, DEFINITION) != definition:
        set_study_attribute(study, DEFINITION, definition)  # for `replay`
    if known is not None and file.warm_start is not None and not earlier.is_kept(study):
        listener.note("warm_start is for a study that begins: this one goes on without it")
    if known == file.digest():
        return
    if known is not None:
        listener.note("the study file has changed since the study began: its trials will differ")
    else:
        for params in file.enqueue[len(study.get_trials(deepcopy=False)) :]:
            study.enqueue_trial(dict(params))
        keep_choices(study, file)
        if begins_with:
            earlier.keep(study, begins_with)
            listener.note(f"the sampler begins with {len(begins_with)} trials of another study")
    set_study_attribute(study, DIGEST, file.digest())


def _name_values(study: optuna.Study, file: StudyFile) -> None:
    """Say what the values of a study are: axes and tables of dashboards are named after it."""
    names = assembly.names_of_values(file)
    if names and study.metric_names is None:
        with warnings.catch_warnings():  # Optuna calls the method experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)
