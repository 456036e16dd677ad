"""A study's storage: its attributes, heartbeats, connections, and operations that are repeated."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from lyapopt.store.buffered import Batch, BufferedStorage


@contextmanager
def inside_optimize(study: optuna.Study) -> Iterator[None]:
    """Let `ask` and `tell` behave as inside `Study.optimize`.

    `GridSampler`, `BruteForceSampler` and `MaxTrialsCallback` call `study.stop()`, which raises
    outside of it; and nested runs are to be refused.
    """
    study._thread_local.in_optimize_loop = True
    study._stop_flag = False
    try:
        yield
    finally:
        study._thread_local.in_optimize_loop = False


def stop_was_asked(study: optuna.Study) -> bool:
    """Whether a sampler or a callback has called `study.stop()`."""
    return bool(study._stop_flag)


def study_is_there(study: optuna.Study) -> bool:
    """Whether the storage still has the study; somebody may have deleted or replaced it."""
    try:
        return study._storage.get_study_id_from_name(study.study_name) == study._study_id
    except KeyError:
        return False


def trials_beside(study: optuna.Study, name: str) -> list[FrozenTrial]:
    """The trials of another study in the same storage, as they are now; none without it."""
    storage = study._storage
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    except KeyError:
        return []


def study_key(study: optuna.Study) -> str:
    """What tells a study from others in its storage, and from copies of it."""
    return f"{study._study_id}/{study.study_name}"


def get_study_attribute(study: optuna.Study, name: str) -> Any:
    """A system attribute of the study: Optuna 5 has no public way to them."""
    return study_attributes(study).get(name)


def study_attributes(study: optuna.Study) -> dict[str, Any]:
    """All system attributes of the study."""
    return study._storage.get_study_system_attrs(study._study_id)


def set_study_attribute(study: optuna.Study, name: str, value: Any) -> None:
    """Set a system attribute of the study."""
    study._storage.set_study_system_attr(study._study_id, name, value)


def remove_session(study: optuna.Study) -> None:
    """Give the thread's database session back."""
    study._storage.remove_session()


def close_storage(study: optuna.Study) -> None:
    """Close the connections of a study's storage; it opens new ones when it is used again.

    Left to the garbage collector, they would count against a server's limit for a while.
    """
    study._storage.remove_session()
    engine = engine_of(study)
    if isinstance(study._storage, BufferedStorage):
        study._storage.close()
    elif engine is not None:
        engine.dispose()


def refresh(study: optuna.Study) -> None:
    """Have what others wrote read at the next question, where the storage keeps answers."""
    if isinstance(study._storage, BufferedStorage):
        study._storage.refresh(study._study_id)


def flush(study: optuna.Study) -> None:
    """Write what a storage has collected."""
    if isinstance(study._storage, BufferedStorage):
        study._storage.flush()


@contextmanager
def told_together(study: optuna.Study) -> Iterator[Batch | None]:
    """Let the trials that are told in the body end in one transaction, where a storage can do so.

    Yields:
        What takes writes of one's own into it, and says in the end which trials were not taken;
        `None` where each trial ends at once.
    """
    if isinstance(study._storage, BufferedStorage):
        with study._storage.batch() as batch:
            yield batch
    else:
        yield None


def asked_together(study: optuna.Study) -> AbstractContextManager[None]:
    """Let what others wrote be read once for all trials that are asked for in the body."""
    if isinstance(study._storage, BufferedStorage):
        return study._storage.asking()
    return nullcontext()


def engine_of(study: optuna.Study) -> Engine | None:
    """The engine of a study's SQL storage, also of one within a cache or a buffer.

    Its connections, password and options are those of the study. `None` for storages without SQL.
    """
    backend = getattr(study._storage, "_backend", study._storage)
    return backend.engine if isinstance(backend, RDBStorage) else None


def storage_type(study: optuna.Study) -> str:
    """What a study is kept in, by the name of its class."""
    return type(study._storage).__name__


_OPERATIONS = (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_directions",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_all_studies",
    "_create_new_trial",
    "set_trial_param",
    "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_number_from_id",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial",
    "_get_trials",
    "_get_best_trial_id",
    "get_n_trials",
    "record_heartbeat",
    "_get_stale_trial_ids",
)


def intercept(storage: RDBStorage, around: Callable[[Callable[[], object]], object]) -> None:
    """Let every operation of a storage go through `around`, which may attempt it several times.

    Each of the storage's methods is replaced, so that it stays an `RDBStorage`: Optuna asks
    for that in places. Most operations may be repeated as they are; one that finishes a trial may
    have succeeded although its answer was lost, so that its state is read.
    """
    for name in _OPERATIONS:
        operation = getattr(storage, name)
        setattr(storage, name, functools.partial(_around, around, operation))
    finish = storage.set_trial_state_values

    def set_trial_state_values(
        trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return finish(trial_id, state=state, values=values)
            except optuna.exceptions.UpdateFinishedTrialError:
                if attempts > 1 and storage.get_trial(trial_id).state == state:
                    return True
                raise

        return bool(around(attempt))

    setattr(storage, "set_trial_state_values", set_trial_state_values)  # noqa: B010 (mypy refuses to assign to a method)


_thread = threading.local()


@contextmanager
def attempted_once() -> Iterator[None]:
    """Let no operation of this thread be attempted again in the body.

    For what rests on something that is lost with the connection, such as a lock: by the second
    attempt it may belong to somebody else.
    """
    before = getattr(_thread, "attempts_once", False)
    _thread.attempts_once = True
    try:
        yield
    finally:
        _thread.attempts_once = before


def wrap_operations(
    storage: BaseStorage, wrap: Callable[[Callable[..., object]], Callable[..., object]]
) -> None:
    """Replace every public operation of a storage of any kind by what `wrap` makes of it."""
    for name, value in vars(BaseStorage).items():
        if callable(value) and not name.startswith("_"):
            setattr(storage, name, wrap(getattr(storage, name)))


def _around(
    around: Callable[[Callable[[], object]], object],
    operation: Callable[..., object],
    *args: object,
    **kwargs: object,
) -> object:
    if getattr(_thread, "attempts_once", False):
        return operation(*args, **kwargs)
    return around(lambda: operation(*args, **kwargs))
