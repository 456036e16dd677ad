"""Trials in memory, what they were given since the last flush, and the database behind them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, exc

from lyapopt.display import one_line
from lyapopt.store._optuna import begin_with_new_connections, trial_id_of, with_id
from lyapopt.store.buffered import lifetime
from lyapopt.store.buffered.pending import Batch, End, Pending, ended
from lyapopt.store.buffered.reading import read_changes, some_distribution, study_of
from lyapopt.store.buffered.studies import Study
from lyapopt.store.buffered.writing import Loss, create_trials, in_json, write_pending
from lyapopt.store.engine import writing
from lyapopt.store.errors import StoreError
from lyapopt.store.retry import RetryPolicy

T = TypeVar("T")

_log = logging.getLogger(__name__)


class TrialBuffer:
    """The trials of a database; every method but those for forks wants its `lock` to be held.

    A trial is read again until it has been read as finished: other processes may write to it.

    Args:
        backend: Optuna's storage.
        interval: Seconds between two flushes, and between two readings of the same trials.
        retry: How transactions are attempted again.
    """

    def __init__(self, backend: RDBStorage, interval: float, retry: RetryPolicy) -> None:
        self.backend = backend
        self.interval = interval
        self.retry = retry
        self._is_private = _is_in_memory(backend.engine.url)
        self._begin()
        lifetime.watch(self)

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self._studies: dict[int, Study] = {}
        self._homes: dict[int, int] = {}
        self._pending: dict[int, Pending] = {}
        self._timer = lifetime.Timer(self.interval)
        self._is_in_trouble = False

    # Reading

    def study(self, study_id: int, *, poll: bool = False) -> Study:
        """A study as it was in the database an interval ago at most; with `poll`, as it is now.

        Raises:
            KeyError: If there is no such study.
        """
        study = self._studies.get(study_id)
        if study is None or poll or self._is_due(study):
            study = self._refresh(study_id)
        study.is_polled |= poll
        return study

    def trial(self, trial_id: int) -> FrozenTrial:
        """A trial; if it is not finished, as it was an interval ago at most.

        Raises:
            KeyError: If there is no such trial.
        """
        trial = self._known(trial_id)
        study_id = self._homes[trial_id]
        if trial.state.is_finished() or not self._is_due(self._studies[study_id]):
            return trial
        self._refresh(study_id)
        return self._known(trial_id)

    def unfinished(self, trial_id: int) -> FrozenTrial:
        """A trial that takes writes, as far as is known.

        Raises:
            KeyError: If there is no such trial.
            UpdateFinishedTrialError: If it is finished.
        """
        trial = self._known(trial_id)
        if trial.state.is_finished():
            raise _is_finished(trial)
        return trial

    def trial_id(self, study_id: int, number: int) -> int | None:
        """The id of the trial with this number, if it is known."""
        study = self._studies.get(study_id)
        if study is None or not 0 <= number < len(study.ordered):
            return None
        trial = study.ordered[number]
        return trial_id_of(trial) if trial.number == number else None

    def study_id(self, trial_id: int) -> int:
        """The id of a known trial's study."""
        return self._homes[trial_id]

    def internal_value(self, trial_id: int, name: str) -> float | None:
        """The internal value of a parameter that is not in the database yet."""
        pending = self._pending.get(trial_id)
        return None if pending is None or name not in pending.params else pending.params[name][0]

    def distribution(self, study_id: int, name: str) -> BaseDistribution | None:
        """A distribution that a parameter has in a study already, if it has any."""
        study = self._studies.get(study_id) or self._refresh(study_id)
        if name not in study.distributions:
            found = self._read(lambda connection: some_distribution(connection, study_id, name))
            if found is not None:
                study.distributions[name] = found
        return study.distributions.get(name)

    def expire(self, study_id: int) -> None:
        """Have what may have changed of a study read at the next question."""
        if study_id in self._studies:
            self._studies[study_id].read_at = -math.inf

    def reread(self, trial_id: int) -> None:
        """Have a trial read again, after something went past the buffer."""
        study_id = self._homes.pop(trial_id, None)
        if study_id is not None:
            self._studies[study_id].unsettled.add(trial_id)
            self._studies[study_id].drop(trial_id)

    def forget(self, study_id: int) -> None:
        """Forget a study with its trials and their writes."""
        study = self._studies.pop(study_id, None)
        for trial_id in () if study is None else study.trials:
            self._homes.pop(trial_id, None)
            self._pending.pop(trial_id, None)

    # Writing

    def pending(self, trial_id: int) -> Pending:
        """What a trial was given, to be added to; it will be written."""
        if not self._is_private:
            self._timer.start(self)
        return self._pending.setdefault(trial_id, Pending())

    def put(self, trial: FrozenTrial) -> None:
        """Let a known trial be like this from now on."""
        study = self._studies[self._homes[trial_id_of(trial)]]
        study.put(trial)
        study.remember_distributions(trial)

    def finish(self, trial_id: int, end: End) -> None:
        """End a trial, and write it with all else, unless it is held.

        Raises:
            KeyError: If there is no such trial, any more.
            UpdateFinishedTrialError: If it is finished, perhaps by somebody else.
            StorageInternalError: If it could not be written; then it is not finished.
        """
        trial = self.unfinished(trial_id)
        self.pending(trial_id).end = end
        self.put(ended(trial, end))
        if not end.is_held:
            try:
                losses = self.write()
            except BaseException:
                self._take_back(trial_id)
                raise
            if trial_id in losses:
                raise KeyError(_MISSING) if losses[trial_id] == "deleted" else _is_finished(trial)

    def end(self, batch: Batch) -> None:
        """Write the ends that were held for a batch, with all else.

        Raises:
            StorageInternalError: If they could not be written; then none of its trials is finished.
        """
        batch.is_open = False
        told = {
            trial_id
            for trial_id, each in self._pending.items()
            if each.end is not None and each.end.batch is batch
        }
        try:
            batch.losses |= told & self.write(batch.writes).keys()
            batch.writes.clear()
        except BaseException:
            for trial_id in told:
                self._take_back(trial_id)
            raise

    def write(
        self, others: Sequence[Callable[[Connection], object]] = (), *, patiently: bool = True
    ) -> dict[int, Loss]:
        """Write all that is not held, in one transaction.

        Args:
            others: What else is written, before it.
            patiently: Whether to try again while the database is in trouble.

        Returns:
            The trials that somebody else has finished or deleted: what was to be written to them
            is dropped.

        Raises:
            StorageInternalError: If nothing could be written; all is kept for the next time.
        """
        chosen = {
            trial_id: part
            for trial_id, each in self._pending.items()
            if (part := each.writable()) is not None
        }
        if not chosen and not others:
            return {}

        def work(connection: Connection, again: bool) -> dict[int, Loss]:
            for other in others:
                other(connection)
            return write_pending(connection, chosen, again)

        losses = self._transact(work, self.retry if patiently else _ONCE)
        for trial_id, written in chosen.items():
            rest = self._pending.pop(trial_id).without(written)
            if trial_id in losses:
                self.reread(trial_id)
            elif rest is not None:
                self._pending[trial_id] = rest
        return losses

    def create(self, study_id: int, templates: Sequence[FrozenTrial | None]) -> list[int]:
        """Add trials to a study, at once and in one transaction, and give their ids.

        Raises:
            KeyError: If there is no such study.
        """
        study = self._studies.get(study_id) or self._refresh(study_id)
        trials = [in_json(template) for template in templates]
        earlier: list[int] = []
        new = self._transact(
            lambda connection, again: create_trials(connection, study_id, trials, earlier)
        )
        if not study.is_polled or (new and new[0][1] != len(study.trials)):
            study.read_at = -math.inf  # others may have added trials, or written to theirs
        study.is_polled = False
        for (trial_id, number), trial in zip(new, trials, strict=True):
            self._homes[trial_id] = study_id
            study.unsettled.add(trial_id)
            self.put(with_id(trial, trial_id, number))
        return [trial_id for trial_id, _ in new]

    # Timers, forks and the end

    def flush_quietly(self, *, is_last: bool = False, patiently: bool = False) -> bool:
        """Flush, log what goes wrong, and say whether there was anything to flush.

        All threads wait meanwhile, so that a database in trouble is tried once unless it is said
        otherwise. What could not be written is kept for the next time.
        """
        with self.lock:
            if not self._pending:
                return False
            try:
                self.write(patiently=patiently)
                self._is_in_trouble = False
            except Exception as error:
                if is_last or not self._is_in_trouble:
                    self._is_in_trouble = True
                    what = "are lost" if is_last else "will be stored later"
                    _log.warning("reports of unfinished trials %s: %s", what, one_line(error))
            return True

    def close(self) -> None:
        """Write what is left, and forget what cannot be written."""
        self.flush_quietly(is_last=True, patiently=False)
        self._pending.clear()

    def before_fork(self) -> None:
        """Flush, and keep other threads out until the fork is over."""
        self.lock.acquire()
        self.flush_quietly()

    def after_fork(self) -> None:
        """Let other threads in again."""
        self.lock.release()

    def begin_in_child(self) -> None:
        """Begin empty, with a lock and connections of one's own: the parent writes its own."""
        self._begin()
        if not self._is_private:
            begin_with_new_connections(self.backend)

    def _known(self, trial_id: int) -> FrozenTrial:
        if trial_id not in self._homes:
            self._refresh(self._read(lambda connection: study_of(connection, trial_id)))
        if trial_id not in self._homes:
            raise KeyError(_MISSING)
        return self._studies[self._homes[trial_id]].trials[trial_id]

    def _is_due(self, study: Study) -> bool:
        return time.monotonic() - study.read_at >= self.interval

    def _refresh(self, study_id: int) -> Study:
        """Read what is new in a study, and all trials that were not finished."""
        study = self._studies.setdefault(study_id, Study())
        now = time.monotonic()
        settled = set() if study.last in study.unsettled else {study.last}
        is_full = now - study.read_in_full_at >= self.interval
        waiting = set() if is_full else study.in_state(TrialState.WAITING)
        try:
            changes = self._read(
                lambda connection: read_changes(
                    connection, study_id, study.last, study.unsettled, settled, waiting
                )
            )
        except KeyError:
            self.forget(study_id)
            raise
        if not study.continues(changes):
            self.forget(study_id)
            return self._refresh(study_id)
        study.name, study.read_at = changes.name, now
        if is_full:
            study.read_in_full_at = now
        for trial in changes.trials:
            self._merge(study_id, study, trial)
        study.last = max([study.last, *changes.seen])
        return study

    def _merge(self, study_id: int, study: Study, trial: FrozenTrial) -> None:
        trial_id = trial_id_of(trial)
        if trial.state.is_finished():
            study.unsettled.discard(trial_id)
            self._pending.pop(trial_id, None)  # somebody else has finished it
        else:
            study.unsettled.add(trial_id)
        pending = self._pending.get(trial_id)
        self._homes[trial_id] = study_id
        self.put(trial if pending is None else pending.on(trial))

    def _take_back(self, trial_id: int) -> None:
        """Let a trial go on whose end could not be written."""
        if trial_id in self._pending:
            self._pending[trial_id].end = None
        self.reread(trial_id)

    def _read(self, work: Callable[[Connection], T]) -> T:
        def attempt() -> T:
            with self.backend.engine.connect() as connection:
                return work(connection)

        return self._attempt(attempt, self.retry)

    def _transact(
        self, work: Callable[[Connection, bool], T], retry: RetryPolicy | None = None
    ) -> T:
        attempts = 0

        def attempt() -> T:
            nonlocal attempts
            attempts += 1
            with writing(self.backend.engine) as connection:
                return work(connection, attempts > 1)

        return self._attempt(attempt, retry or self.retry)

    def _attempt(self, attempt: Callable[[], T], retry: RetryPolicy) -> T:
        try:
            return retry(attempt, self.backend.engine.url)
        except (StoreError, exc.SQLAlchemyError) as error:
            raise StorageInternalError(str(error)) from error


_ONCE: Final = RetryPolicy(seconds=0)
_MISSING: Final = "Record does not exist."


def _is_finished(trial: FrozenTrial) -> UpdateFinishedTrialError:
    return UpdateFinishedTrialError(
        f"Trial#{trial.number} has already finished and can not be updated."
    )


def _is_in_memory(url: sqlalchemy.URL) -> bool:
    """Whether nobody else can see the database, and each thread perhaps another one."""
    if url.get_backend_name() != "sqlite":
        return False
    name = url.database or ""
    return name in ("", ":memory:") or ":memory:" in name or url.query.get("mode") == "memory"
