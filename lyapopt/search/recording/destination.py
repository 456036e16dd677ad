"""Where the rows of trials go: by default into the database of their own study.

A study without one, or whose database does not take our tables, is said so once, and training goes
on: what is recorded is no reason to lose a trial.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import optuna
from sqlalchemy import Engine

from lyapopt.checks import Arguments
from lyapopt.display import one_line
from lyapopt.search import attributes
from lyapopt.search._optuna import engine_of, frozen_in_memory, storage_type
from lyapopt.search.candidate import Candidate
from lyapopt.settings import RecordSettings
from lyapopt.store import (
    RunRecord,
    StoreBusyError,
    StoreError,
    StoreFullError,
    TrajectoryStore,
)
from lyapopt.store.engine import is_supported, sqlite_path
from lyapopt.store.errors import masked
from lyapopt.store.retry import RetryPolicy

SWITCH: Final = "LYAPOPT_RECORD"
"""Environment variable that turns recording off for whole programs: `LYAPOPT_RECORD=0`."""

_OFF: Final = ("0", "false", "no", "off")
_RETRY: Final = RetryPolicy(seconds=60.0)
_HOW: Final = "Their user attributes are. To keep nothing, and to hear nothing of it: record=False."

_PASSING: Final = (StoreBusyError, StoreFullError)

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_said: set[str] = set()
_refused: WeakSet[Engine] = WeakSet()


@dataclass(frozen=True)
class Recording:
    """What is kept of trials, and where.

    Attributes:
        settings: What is kept.
        store: Where, if it is not the database of the study.
        is_wanted: Whether anything is to be kept.
    """

    settings: RecordSettings
    store: TrajectoryStore | None = None
    is_wanted: bool = True

    @classmethod
    def of(
        cls, check: Arguments, record: RecordSettings | bool | None, store: TrajectoryStore | None
    ) -> Recording:
        """From the arguments `record` and `store` of a public class or function.

        Raises:
            UserError: If one is of another type.
        """
        settings = "True, False or a lyapopt.search.RecordSettings"
        kinds = (RecordSettings, bool)
        check.optional(check.instance, "record", record, types=kinds, expected=settings)
        stores = "a lyapopt.TrajectoryStore"
        check.optional(check.instance, "store", store, types=TrajectoryStore, expected=stores)
        if record is False:
            return cls(RecordSettings(weights="none"), None, is_wanted=False)
        return cls(record if isinstance(record, RecordSettings) else RecordSettings(), store)

    @property
    def is_on(self) -> bool:
        """Whether anything is to be kept, and the environment does not forbid it."""
        return self.is_wanted and os.environ.get(SWITCH, "").strip().lower() not in _OFF

    def keep(self, candidate: Candidate, run: Callable[[], RunRecord]) -> None:
        """Write the run of a trial, if it is to be kept, and name it in the trial.

        Args:
            candidate: The trial.
            run: What is stored of it.

        Raises:
            StoreError: If a store that was given cannot be written to. The database of a study
                that cannot be is logged.
        """
        if not self.is_on:
            return
        trial = candidate.trial
        if self.store is not None:
            self.store.record(run())
        elif not _record_beside(trial, run):
            return
        # Rows first: a trial that names a run without rows would count as damaged.
        if frozen_in_memory(trial).user_attrs.get(attributes.RUN) != candidate.run:
            attributes.show(trial, attributes.RUN, candidate.run)


def _record_beside(trial: optuna.Trial, run: Callable[[], RunRecord]) -> bool:
    """Write a run into the database of its study; whether it is there now."""
    engine = database_of(trial.study)
    # Opened for every trial: a few queries, and no engine outlives its study.
    store = None if engine is None else _opened(engine)
    if store is None:
        return False
    try:
        _RETRY(lambda: store.record(run()), store.url)
    except StoreError as error:
        if isinstance(error, _PASSING) or is_new(str(error)):
            _log.warning("trial %d is not recorded: %s", trial.number, one_line(error))
        return False
    return True


def _opened(engine: Engine) -> TrajectoryStore | None:
    """Our tables in a database, made if need be; `None` if it does not take them."""
    if engine in _refused:
        return None

    def attempt() -> TrajectoryStore:
        store = TrajectoryStore(engine)
        store.create_tables()
        return store

    try:
        return _RETRY(attempt, engine.url)
    except StoreError as error:
        with _lock:
            is_first = engine not in _refused
            if not isinstance(error, _PASSING):
                _refused.add(engine)
        if is_first:
            _log.warning("trajectories and exponents are not kept: %s %s", one_line(error), _HOW)
        return None


def database_of(study: optuna.Study) -> Engine | None:
    """The engine of the database that a study is kept in, and that our tables can be in.

    Where there is none, that is said once a process, with what to do.
    """
    engine = engine_of(study)
    storage = storage_type(study)
    if storage == "InMemoryStorage" or (engine is not None and _is_in_memory(engine)):
        _say_once(
            "a study in memory",
            "Give it a database: optuna.create_study(storage='sqlite:///study.db')",
        )
        return None
    if engine is None or not is_supported(engine.url):
        where = storage if engine is None else masked(engine.url)
        _say_once(
            f"a study in {where}",
            "Give them a database: store=lyapopt.TrajectoryStore('sqlite:///trajectories.db')",
        )
        return None
    return engine


def _is_in_memory(engine: Engine) -> bool:
    is_sqlite = engine.url.get_backend_name() == "sqlite"
    return is_sqlite and sqlite_path(engine.url) is None and "uri" not in engine.url.query


def _say_once(what: str, advice: str) -> None:
    if is_new(what):
        _log.warning(
            "trajectories and exponents of the trials of %s are not kept. %s. %s",
            what,
            advice,
            _HOW,
        )


def is_new(what: str) -> bool:
    """Whether this has not been said in this process; from now on it has."""
    with _lock:
        is_new = what not in _said
        _said.add(what)
    return is_new
