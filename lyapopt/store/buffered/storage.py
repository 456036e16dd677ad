"""`BufferedStorage`: an Optuna storage that answers from memory and writes in bulk."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.checks import Arguments, shown
from lyapopt.errors import UserError
from lyapopt.store._optuna import distribution_of, rdb_of, with_fields
from lyapopt.store.buffered.buffer import TrialBuffer
from lyapopt.store.buffered.pending import End
from lyapopt.store.buffered.plain import copied, is_key, is_number, is_plain, is_step, is_text
from lyapopt.store.buffered.studies import in_states
from lyapopt.store.buffered.together import TogetherStorage
from lyapopt.store.engine import parse_url
from lyapopt.store.retry import RetryPolicy
from lyapopt.store.urls import as_text

_RETRY_SECONDS = 30.0
_WAITING = (TrialState.WAITING,)


class BufferedStorage(TogetherStorage):
    """Optuna's `RDBStorage` with one transaction a trial instead of one a value.

    What this process has written is answered from memory. Parameters, attributes and reports are
    collected, and go to the database in one transaction: when a trial ends, by `flush()`, every
    `interval` seconds while there are any, before the process forks or the storage is pickled, and
    at exit. Then the tables hold what the same calls would have left through `RDBStorage`, and
    every tool of Optuna reads them. Studies and trials are created and deleted at once, a waiting
    trial is taken at once, heartbeats and attributes of studies are written at once.

    `Study.tell` returns when the trial is in the database. A process that is killed loses what its
    unfinished trials were given since the last flush, and no finished trial.

    Several processes may work on one study. What others write to trials that are not finished is
    read at every new trial, otherwise at most once an interval. If somebody else has finished a
    trial of this process (its heartbeat stopped, say), its writes are dropped, and the next one
    raises `UpdateFinishedTrialError`, a flush later than with `RDBStorage`.

    Threads may share it, and a forked child begins with nothing in memory.

    Args:
        storage: URL of a database in SQLite, PostgreSQL, MySQL or MariaDB, or an `RDBStorage`,
            which may have heartbeats and callbacks.
        interval: Seconds between two flushes, so that others see a running trial.
        retry: How a transaction is attempted again while the database is locked or away; by default
            for 30 seconds.
        parameters_at_once: Whether each parameter is written when it is suggested, so that a trial
            whose process dies in it is known by its parameters.

    Raises:
        UserError: If `storage` is neither, or another argument is wrong.
        StorageInternalError: By any method that the database does not answer.

    Example:
        >>> import optuna
        >>> storage = BufferedStorage("sqlite://")
        >>> study = optuna.create_study(storage=storage)
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=3)
        >>> len(study.trials)
        3
    """

    def __init__(
        self,
        storage: str | BaseStorage,
        *,
        interval: float = 2.0,
        retry: RetryPolicy | None = None,
        parameters_at_once: bool = False,
    ) -> None:
        arguments = Arguments("BufferedStorage")
        interval = arguments.real("interval", interval, above=0)
        arguments.flag("parameters_at_once", parameters_at_once)
        arguments.optional(
            arguments.instance, "retry", retry, types=RetryPolicy, expected="a RetryPolicy"
        )
        backend: object = storage
        if isinstance(storage, str):
            backend = RDBStorage(as_text(parse_url(storage)))
        elif isinstance(storage, BaseStorage):
            backend = rdb_of(storage)
        if not isinstance(backend, RDBStorage):
            expected = "the URL of a database or an RDBStorage"
            raise UserError(f"BufferedStorage: storage must be {expected}, not {shown(storage)}")
        parse_url(backend.engine.url)  # which refuses databases that we do not write to
        self._backend = backend
        self._parameters_at_once = parameters_at_once
        self._begin(interval, retry or RetryPolicy(seconds=_RETRY_SECONDS))

    def _begin(self, interval: float, retry: RetryPolicy) -> None:
        self._buffer = TrialBuffer(self._backend, interval, retry)
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        buffer = self._buffer
        return {
            "backend": self._backend,
            "interval": buffer.interval,
            "retry": buffer.retry,
            "parameters_at_once": self._parameters_at_once,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._backend = state["backend"]
        self._parameters_at_once = state["parameters_at_once"]
        self._begin(state["interval"], state["retry"])

    def flush(self) -> None:
        """Write all that was collected, in one transaction; also what a batch of this thread holds.

        Raises:
            StorageInternalError: If it could not be written; it is kept.
        """
        with self._buffer.lock:
            batch = self._batch
            if batch is None:
                self._buffer.write()
            else:
                self._buffer.end(batch)
                batch.is_open = True

    def close(self) -> None:
        """Write what is left, once, and close the connections; a later call opens new ones.

        What the database does not take then is lost, and a warning says so.
        """
        with self._buffer.lock:
            self._buffer.close()
        self._backend.remove_session()
        self._backend.engine.dispose()

    def refresh(self, study_id: int) -> None:
        """Have what other processes wrote to a study read at the next question, whenever that is.

        Args:
            study_id: Id of the study.
        """
        with self._buffer.lock:
            self._buffer.expire(study_id)

    # Writing

    def delete_study(self, study_id: int) -> None:
        """See `BaseStorage`; deleted at once, and with it what its trials were given."""
        with self._buffer.lock:
            super().delete_study(study_id)
            self._buffer.forget(study_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See `BaseStorage`; written at once."""
        return self.create_new_trials(study_id, [template_trial])[0]

    def create_new_trials(
        self, study_id: int, template_trials: Sequence[FrozenTrial | None]
    ) -> list[int]:
        """Add trials to a study as `create_new_trial` does, all in one transaction.

        Args:
            study_id: Id of the study.
            template_trials: What each begins with; `None` for a running trial with nothing.

        Returns:
            Their ids. Their numbers follow each other.

        Raises:
            KeyError: If there is no such study.
            ValueError: If a parameter has another distribution in the study.
            TypeError: If an attribute has no JSON.
        """
        buffer = self._buffer
        with buffer.lock:
            given = [each for each in template_trials if each is not None]
            for each in given:
                self._check_template(study_id, each)
            if all(is_plain(each, self._dialect) for each in given):
                if study_id in (self._polled or ()):
                    buffer.study(study_id).is_polled = True
                return buffer.create(study_id, template_trials)
            buffer.study(study_id)
            ids = [self._backend.create_new_trial(study_id, each) for each in template_trials]
            buffer.study(study_id, poll=True)
            return ids

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """See `BaseStorage`; set twice, it stays as it was set first, as with `RDBStorage`."""
        buffer = self._buffer
        with buffer.lock:
            trial = buffer.unfinished(trial_id)
            self._check_distribution(buffer.study_id(trial_id), param_name, distribution)
            text = distribution_to_json(distribution)
            if not (
                is_key(param_name, trial.params, self._dialect)
                and is_number(param_value_internal)
                and is_text(text, self._dialect)
            ):
                arguments = (param_name, param_value_internal, distribution)
                self._pass(trial_id, self._backend.set_trial_param, *arguments)
                return
            if param_name in trial.params:
                return
            value, kept = float(param_value_internal), distribution_of(text)
            buffer.pending(trial_id).params[param_name] = (value, text)
            params = trial.params | {param_name: kept.to_external_repr(value)}
            distributions = trial.distributions | {param_name: kept}
            buffer.put(with_fields(trial, params=params, distributions=distributions))
            if self._parameters_at_once:
                buffer.write()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See `BaseStorage`; written at once, unless a batch holds the ends of its trials."""
        buffer = self._buffer
        with buffer.lock:
            buffer.unfinished(trial_id)
            plain = all(is_number(v, finite=False) and not math.isnan(v) for v in values or ())
            if not state.is_finished() or not plain:
                finish = self._backend.set_trial_state_values
                return bool(self._pass(trial_id, finish, state, values))
            numbers = None if values is None else tuple(map(float, values))
            buffer.finish(trial_id, End(state, numbers, datetime.now(), self._batch))
            return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """See `BaseStorage`; collected."""
        buffer = self._buffer
        with buffer.lock:
            trial = buffer.unfinished(trial_id)
            if not (is_step(step) and is_number(intermediate_value, finite=False)):
                report = self._backend.set_trial_intermediate_value
                self._pass(trial_id, report, step, intermediate_value)
                return
            new = {int(step): float(intermediate_value)}
            buffer.pending(trial_id).intermediate_values.update(new)
            buffer.put(with_fields(trial, intermediate_values=trial.intermediate_values | new))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`; collected."""
        self._set_attribute(trial_id, "user_attrs", key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`; collected."""
        self._set_attribute(trial_id, "system_attrs", key, value)

    def _set_attribute(self, trial_id: int, kind: str, key: str, value: Any) -> None:
        buffer = self._buffer
        with buffer.lock:
            trial = buffer.unfinished(trial_id)
            attributes: dict[str, Any] = getattr(trial, kind)
            text = json.dumps(value)
            if not (is_key(key, attributes, self._dialect) and is_text(text, self._dialect)):
                self._pass(trial_id, getattr(self._backend, f"set_trial_{kind[:-1]}"), key, value)
                return
            getattr(buffer.pending(trial_id), kind)[key] = text
            buffer.put(with_fields(trial, **{kind: attributes | {key: json.loads(text)}}))

    def _pass(self, trial_id: int, write: Callable[..., Any], *arguments: Any) -> Any:
        """Let Optuna's storage write something, after all that came before it."""
        self._buffer.write()
        try:
            return write(trial_id, *arguments)
        finally:
            self._buffer.reread(trial_id)

    @property
    def _dialect(self) -> str:
        return self._backend.engine.dialect.name

    def _check_template(self, study_id: int, template: FrozenTrial) -> None:
        for name in template.params:
            self._check_distribution(study_id, name, template.distributions[name])

    def _check_distribution(self, study_id: int, name: str, new: BaseDistribution) -> None:
        old = self._buffer.distribution(study_id, name)
        if old is not None:
            check_distribution_compatibility(old, new)

    # Reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """See `BaseStorage`; a copy, as `RDBStorage` gives."""
        with self._buffer.lock:
            trial = self._buffer.trial(trial_id)
        return with_fields(
            trial,
            params=dict(trial.params),
            distributions=dict(trial.distributions),
            user_attrs=copied(trial.user_attrs),
            system_attrs=copied(trial.system_attrs),
            intermediate_values=dict(trial.intermediate_values),
        )

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """See `BaseStorage`; trials that wait are read anew, since `Study.ask` looks for them."""
        with self._buffer.lock:
            polls = states == _WAITING and study_id not in (self._polled or ())
            study = self._buffer.study(study_id, poll=polls)
            if polls and self._polled is not None:
                self._polled.add(study_id)
            trials = in_states(study.ordered, states)
        return copy.deepcopy(trials) if deepcopy else trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """See `BaseStorage`."""
        directions = self.get_study_directions(study_id)
        if len(directions) > 1:
            raise RuntimeError("Best trial can be obtained only for single-objective optimization.")
        complete = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.COMPLETE,))
        trials = [trial for trial in complete if trial.values]
        if not trials:
            raise ValueError("No trials are completed yet.")
        best = max if directions[0] == StudyDirection.MAXIMIZE else min
        return copy.deepcopy(best(trials, key=lambda trial: trial.values[0]))

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        """See `BaseStorage`."""
        with self._buffer.lock:
            value = self._buffer.internal_value(trial_id, param_name)
        return self._backend.get_trial_param(trial_id, param_name) if value is None else value

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """See `BaseStorage`."""
        with self._buffer.lock:
            known = self._buffer.trial_id(study_id, trial_number)
        if known is not None:
            return known
        return self._backend.get_trial_id_from_study_id_trial_number(study_id, trial_number)
