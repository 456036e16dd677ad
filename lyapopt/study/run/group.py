"""What becomes of one group of trials: asked for, trained together, written, told to Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from lyapopt import interruption
from lyapopt.errors import StudyStoppedError
from lyapopt.search import Candidate, Outcome, attributes
from lyapopt.search._optuna import flush, frozen, identifier, told_together
from lyapopt.store import StoreError
from lyapopt.store.buffered import Batch
from lyapopt.store.retry import as_store_error
from lyapopt.store.writing import write_runs
from lyapopt.study.run import assembly
from lyapopt.study.run.attempts import Attempt, attempts
from lyapopt.study.run.heartbeat import Heartbeat
from lyapopt.study.run.leases import Request
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import OpenStudy
from lyapopt.study.run.recovery import STATES
from lyapopt.study.run.spill import Spill
from lyapopt.study.run.worker_table import Group


class GroupRunner:
    """Runs groups of trials, one group after another.

    Args:
        opened: The study, and all that working on it needs.
        heartbeat: Told which trials are running.
        asks_alone: Whether no other worker may ask for a trial meanwhile: samplers that go through
            finitely many points must not choose at the same time.

    Attributes:
        spill: Where trials are kept that cannot be stored.
        finished: How many trials have ended, interrupted ones left out.
        failures_in_a_row: How many of the last of them failed.
    """

    def __init__(self, opened: OpenStudy, heartbeat: Heartbeat, asks_alone: bool) -> None:
        file = opened.file
        self.spill = Spill(file.study_name, file.storage, [file.base_dir or Path.cwd()])
        self.finished = 0
        self.failures_in_a_row = 0
        self._study = opened.study
        self._objective = opened.objective
        self._leases = opened.leases
        self._store = opened.store
        self._keeps_rows_with_trials = file.store is None
        self._listener = opened.listener
        self._retry = opened.retry
        self._heartbeat = heartbeat
        self._asks_alone = asks_alone
        self._callbacks = assembly.Callbacks.of(file)
        self._attempt = Attempt((), frozenset())
        self._catch = assembly.caught_exceptions(file)
        self._ended: list[tuple[Candidate, FrozenTrial]] = []  # of the group, as Optuna has them
        self._written: set[str] = set()  # runs whose rows are stored
        self._committed: set[str] = set()  # and that Optuna knows to have ended

    def run(self, ledger: Ledger, group: Group, whole: Group) -> None:
        """Run the trials of a group that do not count yet.

        Args:
            ledger: Which count.
            group: The group.
            whole: The group of the schedule that it is a part of.
        """
        deaths = max(map(ledger.deaths, range(*group)))
        for attempt in attempts(group, ledger):
            if attempt.is_alone:
                number = attempt.numbers[0]
                died = f"the process of its group died {deaths} times"
                self._listener.note(f"trial {number} is run alone: {died}")
            self._run(attempt, ledger, whole)

    def _run(self, attempt: Attempt, ledger: Ledger, whole: Group) -> None:
        self._attempt = attempt
        candidates: list[Candidate] = []  # fills as trials are asked for
        try:
            self._train(candidates, ledger, whole)
            self._commit(candidates)
            self._after_group()
        except KeyboardInterrupt:
            self._commit(candidates)
            raise
        except UpdateFinishedTrialError:
            self._commit(candidates)  # taken for dead while it trained: others have the group now
        except Exception as error:
            trouble = as_store_error(error)
            if trouble is not None:
                raise self._spill_all(candidates, trouble) from error
            self._commit(candidates)
            raise
        finally:
            self._heartbeat.speak_for([])

    def _train(self, candidates: list[Candidate], ledger: Ledger, whole: Group) -> None:
        numbers = self._attempt.numbers
        is_rewound = ledger.next_number <= whole[1]
        with self._study.running(range(*whole), numbers):
            request = Request(self._attempt.is_retry, self._attempt.is_alone, is_rewound)
            with self._leases.asking():
                for number in numbers:
                    interruption.poll()
                    candidates.append(self._ask(number, ledger.tries.get(number, ()), request))
            flush(self._study)  # so that each trial names its run before anything can go wrong
            self._heartbeat.speak_for([candidate.trial for candidate in candidates])
            self._listener.group_started([candidate.number for candidate in candidates])
            self._listener.training(tuple(candidates))
            self._objective.train(candidates)

    def _ask(self, number: int, tries: Sequence[FrozenTrial], request: Request) -> Candidate:
        with self._asking():
            trial = self._leases.ask(number, tries, request)
            try:
                candidate = self._objective.prepare(trial)
                trial.set_user_attr(attributes.RUN, candidate.run)
                return candidate
            except BaseException as error:
                if as_store_error(error) is None:
                    # Whatever happened, no trial is left running behind.
                    trial.set_user_attr(attributes.VERDICT, attributes.INTERRUPTED)
                    self._study.tell(trial, state=TrialState.FAIL)
                raise

    def _asking(self) -> AbstractContextManager[object]:
        return self._leases.locked() if self._asks_alone else nullcontext()

    # When the group has ended, or was interrupted

    def _commit(self, candidates: list[Candidate]) -> None:
        """Tell Optuna what has ended, and mark the rest as interrupted.

        The rows of all are written with the trials' ends or before the first: `recovery` counts on
        it.
        """
        self._mark_interrupted(candidates)
        left = [candidate for candidate in candidates if candidate.run not in self._committed]
        left = [candidate for candidate in left if self._is_ours(self._conclude, candidate)]
        with self._leases.locked():
            self._tell_all(left)

    def _tell_all(self, candidates: list[Candidate]) -> None:
        lost = set()
        with told_together(self._study) as batch:
            self._store_rows(candidates, batch)
            for candidate in candidates:
                try:
                    self._tell(candidate)
                except UpdateFinishedTrialError:
                    lost.add(candidate.run)
                else:
                    if batch is None:
                        self._has_ended(candidate)
        if batch is not None:
            self._written.update(candidate.run for candidate in candidates)
        for candidate in candidates:  # now that their rows are there to be marked
            _, trial_id = identifier(self._study, candidate.trial)
            if candidate.run in lost or (batch is not None and trial_id in batch.losses):
                self._throw_away(candidate)
            elif batch is not None:
                self._has_ended(candidate)

    def _mark_interrupted(self, candidates: list[Candidate]) -> None:
        """Mark all if one has not ended: a group is repeated whole. Otherwise what is not kept."""
        have_ended = not any(candidate.is_running for candidate in candidates)
        if not have_ended or len(candidates) < len(self._attempt.numbers):
            left, reason = candidates, "interrupted"
        else:
            left = [c for c in candidates if c.number not in self._attempt.kept]
            reason = "run for the sake of its group"
            for candidate in left:
                if self._attempt.is_alone:
                    candidate.trial.set_user_attr(attributes.SURVIVED, 1)
        for candidate in left:
            if candidate.run not in self._committed:
                candidate.outcome = Outcome("interrupted", reason=reason)

    def _is_ours(self, act: Callable[[Candidate], None], candidate: Candidate) -> bool:
        """Act on a candidate; whether it was still ours and not taken for dead."""
        try:
            act(candidate)
        except UpdateFinishedTrialError:
            self._throw_away(candidate)
            return False
        return True

    def _conclude(self, candidate: Candidate) -> None:
        if candidate.run not in self._written:
            self._retry(lambda: self._objective.conclude(candidate))

    def _store_rows(self, candidates: list[Candidate], batch: Batch | None) -> None:
        """Write rows, in the transaction of the batch if they go to the same database."""
        new = [candidate for candidate in candidates if candidate.run not in self._written]
        store = self._store
        if not new or store is None:
            return
        if batch is not None and self._keeps_rows_with_trials:
            records = [self._objective.record_of(candidate) for candidate in new]
            batch.also(lambda connection: write_runs(connection, records))
            return
        flush(self._study)  # `recovery` finds rows by what their trial says
        self._retry(lambda: store.record_all(map(self._objective.record_of, new)))
        self._written.update(candidate.run for candidate in new)

    def _tell(self, candidate: Candidate) -> None:
        outcome = candidate.outcome
        assert outcome is not None
        value = outcome.value if outcome.state == "complete" else None
        self._leases.tell(candidate.trial, value, STATES[outcome.state])

    def _has_ended(self, candidate: Candidate) -> None:
        """Count a trial that Optuna knows to have ended, and say so."""
        outcome = candidate.outcome
        assert outcome is not None
        self._committed.add(candidate.run)
        if outcome.state == "interrupted":
            return
        self.finished += 1
        self.failures_in_a_row = self.failures_in_a_row + 1 if outcome.state == "failed" else 0
        trial = frozen(candidate.trial)
        self._listener.finished(trial, outcome.reason)
        self._ended.append((candidate, trial))

    def _throw_away(self, candidate: Candidate) -> None:
        self._listener.note(
            f"trial {candidate.trial.number} was taken for dead while it ran, and is run again"
        )
        if self._store is not None:
            self._store.mark_interrupted([candidate.run])

    def _after_group(self) -> None:
        """What may stop the study comes when all trials of a group are told."""
        ended, self._ended = self._ended, []
        for _, trial in ended:
            self._callbacks(self._study, trial)
        for candidate, _ in ended:
            if candidate.error is not None and not isinstance(candidate.error, self._catch):
                assert candidate.outcome is not None
                raise StudyStoppedError(
                    f"trial {candidate.trial.number} failed, and on_failure.catch does not name "
                    f"its error: {candidate.outcome.reason}"
                ) from candidate.error

    def _spill_all(self, candidates: list[Candidate], error: StoreError) -> StoreError:
        """Keep what has ended in files, and say so with the error that was in the way."""
        files = [
            self.spill.write(self._objective.record_of(candidate))
            for candidate in candidates
            if candidate.outcome is not None
            and candidate.outcome.state != "interrupted"
            and candidate.run not in self._committed
        ]
        if not files:
            return error
        folders = ", ".join(sorted({str(path.parent) for path in files}))
        return type(error)(
            f"{error} {len(files)} trials that had ended are kept in {folders} "
            f"({files[0].name}, ...); the next run imports them."
        )
