"""One process at work on a study: it leases groups of trials and runs them until it is to stop.

What several processes need to share a study is in `leases`; with one it is the same code. What
becomes of one group is in `group`.
"""

from __future__ import annotations

from lyapopt import interruption
from lyapopt.errors import StudyStoppedError
from lyapopt.search._optuna import remember_exhaustion, stop_was_asked, study_is_there
from lyapopt.store.states import INTERRUPTED
from lyapopt.study.run.events import WAITING, RunResult, StudyEvent
from lyapopt.study.run.group import GroupRunner
from lyapopt.study.run.heartbeat import Heartbeat
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import OpenStudy
from lyapopt.study.run.plan import Plan, total_of
from lyapopt.study.run.recovery import Settled
from lyapopt.study.run.spill import import_spilled
from lyapopt.study.run.worker_table import Group


class Execution:
    """What one process does of a study.

    Args:
        opened: The study, and all that working on it needs.
    """

    def __init__(self, opened: OpenStudy) -> None:
        self._file = opened.file
        self._study = opened.study
        self._leases = opened.leases
        self._listener = opened.listener
        self._opened = opened
        self._plan = Plan(opened.file, opened.study)
        self._heartbeat = Heartbeat(opened.study, opened.leases, opened.settings.heartbeat)
        self._groups = GroupRunner(opened, self._heartbeat, self._plan.is_exhaustive)
        self._is_waiting = False

    def run(self, extra: int | None, total: int | None) -> RunResult:
        """Work on the study until there is a reason to stop; arguments as of `run_study`."""
        self._import_spilled()
        ledger = self._opened.retry(self._enter)
        remember_exhaustion(self._plan.sampler, self._study)
        if extra is not None or total is None:
            total = total_of(self._file, len(ledger.done), extra)
        self._listener.started(StudyEvent(self._study.study_name, total, ledger))
        with self._heartbeat:
            try:
                return self._work(total)
            except KeyboardInterrupt:
                return self._stopped(self._leases.ledger(), total, INTERRUPTED)
            except KeyError as error:
                if study_is_there(self._study):
                    raise
                raise StudyStoppedError(
                    f"study {self._study.study_name!r} was deleted while it ran"
                ) from error

    def _import_spilled(self) -> None:
        store, spill = self._opened.store, self._groups.spill
        with self._leases.locked():
            count = import_spilled(self._study, store, spill, self._leases.ledger())
        if count:
            self._listener.note(f"{count} trials were imported from spill files")

    def _enter(self) -> Ledger:
        with self._leases.survey() as situation:
            self._note_settled(situation.settled)
            return situation.ledger

    def _note_settled(self, settled: Settled) -> None:
        if settled.kept:
            self._listener.note(
                f"{settled.kept} trials had ended when their process died; they are kept"
            )
        if settled.repeated:
            self._listener.note(
                f"{settled.repeated} trials were left running by a process that died"
            )

    def _work(self, total: int | None) -> RunResult:
        while True:
            interruption.poll()
            ledger, lease, reason = self._opened.retry(lambda: self._lease(total))
            if reason is not None:
                return self._stopped(ledger, total, reason)
            if lease is None:
                self._wait()
            else:
                self._is_waiting = False
                self._groups.run(ledger, *lease)

    def _lease(self, total: int | None) -> tuple[Ledger, tuple[Group, Group] | None, str | None]:
        """Survey the study, and lease a group unless there is a reason to stop.

        Returns:
            The ledger; the group, and the one of the schedule that it is a part of; the reason.
        """
        with self._leases.survey() as situation:
            ledger, table = situation.ledger, situation.table
            failures = self._groups.failures_in_a_row
            reason = self._plan.reason_to_stop(situation, total, failures) or table.stop
            if reason is None:
                group = self._plan.next_group(situation, total)
                if group is None:
                    return ledger, None, None
                self._leases.take(situation, group)
                return ledger, (group, self._plan.whole(situation, group)), None
            if stop_was_asked(self._study):
                table.stop = reason
            return ledger, None, reason

    def _wait(self) -> None:
        if not self._is_waiting:
            self._listener.note(WAITING)
        self._is_waiting = True
        interruption.wait(self._opened.settings.poll)

    def _stopped(self, ledger: Ledger, total: int | None, reason: str) -> RunResult:
        self._listener.stopped(StudyEvent(self._study.study_name, total, ledger), reason)
        # A signal that came while the last trials were written was for what follows.
        interrupted = interruption.came() or reason == INTERRUPTED
        return RunResult(ledger, self._groups.finished, reason, interrupted)
