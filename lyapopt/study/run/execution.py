"""One process at work on a study: it claims groups of trials, trains them together, tells them.

What several processes need to share a study is in `claims`; with one it is the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.errors import StudyStoppedError
from lyapopt.search import Candidate, Objective, Outcome, attributes
from lyapopt.search._optuna import (
    OrderedStudy,
    close_storage,
    frozen,
    remember_exhaustion,
    stop_was_asked,
    study_is_there,
)
from lyapopt.search.function_objective import FunctionObjective
from lyapopt.search.pruners.repetition import needs_whole_groups
from lyapopt.store import StoreError, TrajectoryStore
from lyapopt.store.retry import RetryPolicy, as_store_error
from lyapopt.study.file import StudyFile
from lyapopt.study.run import assembly
from lyapopt.study.run.events import WAITING, StudyEvent, StudyListener
from lyapopt.study.run.heartbeat import Heartbeat
from lyapopt.study.run.interruption import undisturbed
from lyapopt.study.run.leases import Claims, Situation, WorkerSettings
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import create_or_load, mutex_of, storage_of
from lyapopt.study.run.plan import Plan
from lyapopt.study.run.promotion import Promotion
from lyapopt.study.run.recovery import STATES
from lyapopt.study.run.spill import Spill, import_spilled
from lyapopt.study.run.storage import open_store
from lyapopt.study.run.worker_table import Group


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        ledger: All trials of the study at the end.
        new: How many trials this run finished.
        reason: Why it stopped.
        interrupted: Whether it was interrupted.
        promoted: What training the best trials in full came to, where the file says `promote`.
    """

    ledger: Ledger
    new: int
    reason: str
    interrupted: bool = False
    promoted: RunResult | None = None


class Execution:
    """What one process does of a study; see `run_study`."""

    def __init__(
        self,
        file: StudyFile,
        study: OrderedStudy,
        objective: Objective | FunctionObjective,
        claims: Claims,
        store: TrajectoryStore | None,
        listener: StudyListener,
        settings: WorkerSettings,
        retry: RetryPolicy,
    ) -> None:
        self.file = file
        self.study = study
        self.objective = objective
        self.claims = claims
        self.listener = listener
        self.settings = settings
        self._plan = Plan(file, study)
        self._store = store
        self._retry = retry
        self._heartbeat = Heartbeat(study, claims, settings.heartbeat)
        self._spill = Spill(file.study_name, file.storage, [file.base_dir or Path.cwd()])
        self._callbacks = assembly.Callbacks.of(file)
        self._catch = assembly.caught_exceptions(file)
        self._ended: list[tuple[Candidate, FrozenTrial]] = []
        self._failures_in_a_row = 0
        self._new = 0
        self._is_waiting = False
        self._stored: set[str] = set()  # runs whose rows are written
        self._told: set[str] = set()  # and that Optuna knows to have ended

    @classmethod
    def open(
        cls,
        file: StudyFile,
        listener: StudyListener,
        settings: WorkerSettings,
        promotion: Promotion | None = None,
    ) -> Execution:
        """Open the study of a file and all that working on it needs."""
        retry = RetryPolicy(settings.retry_seconds, notify=listener.note)
        storage = storage_of(file, settings, retry)
        store = _store(file, listener, retry)
        space = assembly.search_space(file)
        networks = None if promotion is None else promotion.networks
        objective = assembly.objective(file, space, store, networks)
        mutex = mutex_of(file)
        with mutex:
            study = create_or_load(file, listener, storage)
        if promotion is not None:
            study.sampler = promotion.sampler()
        policy = file.on_failure
        claims = Claims(study, mutex, store, settings, policy.max_retries, policy.max_deaths, retry)
        return cls(file, study, objective, claims, store, listener, settings, retry)

    def close(self) -> None:
        """Leave the study to the other workers, or to the next run."""
        with undisturbed():
            try:
                self.claims.leave()
            except Exception as error:
                if as_store_error(error) is None and study_is_there(self.study):
                    raise
                self.claims.forget()  # what made the run fail; the next one finds us dead
            self.claims.close()
            close_storage(self.study)
            if self._store is not None:
                self._store.close()

    def run(self, extra: int | None, total: int | None) -> RunResult:
        """Work on the study until there is a reason to stop; arguments as of `run_study`."""
        self._import_spilled()
        situation = self._retry(self._first_look)
        remember_exhaustion(self._plan.sampler, self.study)
        if extra is not None:
            total = len(situation.ledger.done) + extra
        elif total is None:
            total = self.file.n_trials
        self.listener.started(StudyEvent(self.study.study_name, total, situation.ledger))
        with self._heartbeat:
            try:
                return self._work(total)
            except KeyboardInterrupt:
                return self._stopped(self.claims.ledger(), total, "interrupted", interrupted=True)
            except KeyError as error:
                if study_is_there(self.study):
                    raise
                raise StudyStoppedError(
                    f"study {self.study.study_name!r} was deleted while it ran"
                ) from error

    def _import_spilled(self) -> None:
        with self.claims.alone():
            count = import_spilled(self.study, self._store, self._spill, self.claims.ledger())
        if count:
            self.listener.note(f"{count} trials were imported from spill files")

    def _first_look(self) -> Situation:
        with self.claims.looking() as situation:
            if situation.told:
                self.listener.note(
                    f"{situation.told} trials had ended when their process died; they are kept"
                )
            if situation.again:
                self.listener.note(
                    f"{situation.again} trials were left running by a process that died"
                )
            return situation

    def _work(self, total: int | None) -> RunResult:
        while True:
            ledger, group, reason = self._retry(lambda: self._claim(total))
            if reason is not None:
                return self._stopped(ledger, total, reason)
            if group is None:
                self._wait()
            else:
                self._is_waiting = False
                self._run_group(ledger, group)

    def _claim(self, total: int | None) -> tuple[Ledger, Group | None, str | None]:
        """Look at the study, and claim a group unless there is a reason to stop."""
        with self.claims.looking() as situation:
            ledger, registry = situation.ledger, situation.registry
            reason = self._plan.reason_to_stop(situation, total, self._failures_in_a_row)
            reason = reason or registry.stop
            if reason is None:
                group = self._plan.next_group(situation, total)
                if group is not None:
                    self.claims.take(situation, group)
                return ledger, group, None
            if stop_was_asked(self.study):
                registry.stop = reason
            return ledger, None, reason

    def _wait(self) -> None:
        if not self._is_waiting:
            self.listener.note(WAITING)
        self._is_waiting = True
        time.sleep(self.settings.poll)

    def _stopped(
        self, ledger: Ledger, total: int | None, reason: str, *, interrupted: bool = False
    ) -> RunResult:
        self.listener.stopped(StudyEvent(self.study.study_name, total, ledger), reason)
        return RunResult(ledger, self._new, reason, interrupted)

    # One group

    def _run_group(self, ledger: Ledger, group: Group) -> None:
        """Ask for a group, train it, tell it."""
        candidates: list[Candidate] = []  # fills as trials are asked for
        try:
            with self.study.running(range(*group)):
                for number in range(*group):
                    if number not in ledger.done:
                        candidates.append(self._ask(number, ledger))
                candidates.sort(key=lambda candidate: candidate.number)
                self._heartbeat.speak_for([candidate.trial for candidate in candidates])
                self.listener.group_started([candidate.number for candidate in candidates])
                self.objective.train(candidates)
            with undisturbed():
                self._tell_all(candidates)
            self._after_group()
        except KeyboardInterrupt:
            with undisturbed():
                self._tell_all(candidates)
            raise
        except optuna.exceptions.UpdateFinishedTrialError:
            # Taken for dead while it trained: others have the group now.
            with undisturbed():
                self._tell_all(candidates)
        except Exception as error:
            trouble = as_store_error(error)
            if trouble is not None:
                raise self._spill_all(candidates, trouble) from error
            with undisturbed():
                self._tell_all(candidates)
            raise
        finally:
            self._heartbeat.speak_for([])

    def _ask(self, number: int, ledger: Ledger) -> Candidate:
        with self._asking():
            trial = self.claims.ask(number, ledger.unfinished.get(number))
            try:
                return self.objective.prepare(trial)
            except BaseException as error:
                if as_store_error(error) is None:
                    # Whatever happened, no trial is left running behind.
                    trial.set_user_attr(attributes.VERDICT, attributes.INTERRUPTED)
                    self.study.tell(trial, state=TrialState.FAIL)
                raise

    def _asking(self) -> AbstractContextManager[object]:
        """Samplers that go through finitely many points must not choose at the same time."""
        return self.claims.alone() if self._plan.is_exhaustive else nullcontext()

    def _tell_all(self, candidates: list[Candidate]) -> None:
        """Tell what has ended, and mark the rest as interrupted.

        The rows of all are written before any is told: `recovery` counts on it.
        """
        self._mark_interrupted(candidates)
        left = [candidate for candidate in candidates if candidate.run not in self._told]
        left = [candidate for candidate in left if self._is_ours(self._conclude, candidate)]
        self._store_rows(left)
        for candidate in left:
            self._is_ours(self._tell, candidate)

    def _is_ours(self, act: Callable[[Candidate], None], candidate: Candidate) -> bool:
        """Act on a candidate; whether it was still ours and not taken for dead."""
        try:
            act(candidate)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._throw_away(candidate)
            return False
        return True

    def _mark_interrupted(self, candidates: list[Candidate]) -> None:
        """Mark what has not ended, and all of the group if it can only be repeated whole."""
        left = [candidate for candidate in candidates if candidate.is_running]
        if left and needs_whole_groups(self.study.pruner):
            left = [candidate for candidate in candidates if candidate.run not in self._told]
        for candidate in left:
            candidate.outcome = Outcome("interrupted", reason="interrupted")

    def _after_group(self) -> None:
        """What may stop the study comes when all trials of a group are told."""
        ended, self._ended = self._ended, []
        for _, trial in ended:
            self._callbacks(self.study, trial)
        for candidate, _ in ended:
            if candidate.error is not None and not isinstance(candidate.error, self._catch):
                assert candidate.outcome is not None
                raise StudyStoppedError(
                    f"trial {candidate.trial.number} failed, and on_failure.catch does not name "
                    f"its error: {candidate.outcome.reason}"
                ) from candidate.error

    def _conclude(self, candidate: Candidate) -> None:
        if candidate.run not in self._stored:
            self._retry(lambda: self.objective.conclude(candidate))

    def _store_rows(self, candidates: list[Candidate]) -> None:
        new = [candidate for candidate in candidates if candidate.run not in self._stored]
        store = self._store
        if new and store is not None:
            self._retry(lambda: store.record_all(map(self.objective.record_of, new)))
        self._stored.update(candidate.run for candidate in new)

    def _tell(self, candidate: Candidate) -> None:
        assert candidate.outcome is not None
        outcome = candidate.outcome
        value = outcome.value if outcome.state == "complete" else None
        if not self.claims.tell(candidate.trial, value, STATES[outcome.state]):
            self._throw_away(candidate)
            return
        self._told.add(candidate.run)
        if outcome.state == "interrupted":
            return
        self._new += 1
        failed = outcome.state == "failed"
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        trial = frozen(candidate.trial)
        self.listener.finished(trial, outcome.reason)
        self._ended.append((candidate, trial))

    def _throw_away(self, candidate: Candidate) -> None:
        self.listener.note(
            f"trial {candidate.trial.number} was taken for dead while it ran, and is run again"
        )
        if self._store is not None:
            self._store.mark_interrupted([candidate.run])

    def _spill_all(self, candidates: list[Candidate], error: StoreError) -> StoreError:
        """Keep what has ended in files, and say so with the error that was in the way."""
        files = []
        with undisturbed():
            for candidate in candidates:
                if candidate.outcome is None or candidate.outcome.state == "interrupted":
                    continue
                if candidate.run not in self._told:
                    files.append(self._spill.write(self.objective.record_of(candidate)))
        if not files:
            return error
        folders = ", ".join(sorted({str(path.parent) for path in files}))
        return type(error)(
            f"{error} {len(files)} trials that had ended are kept in {folders} "
            f"({files[0].name}, ...); the next run imports them."
        )


def _store(file: StudyFile, listener: StudyListener, retry: RetryPolicy) -> TrajectoryStore | None:
    store = retry(lambda: open_store(file.store or file.storage))
    if store is None:
        listener.note(
            "this storage has no SQL: trajectories and exponents are not kept; give `store: URL`"
        )
    return store
