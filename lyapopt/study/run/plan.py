"""What a study does next: which group of trials, and whether there is a reason to stop."""

from __future__ import annotations

import math

import optuna

from lyapopt.registry import is_exhaustive
from lyapopt.search._optuna import grid_points_left, stop_was_asked, trials_beside
from lyapopt.search.samplers.given import GivenSampler
from lyapopt.study.file import StudyFile
from lyapopt.study.naming import PROMOTED_SUFFIX
from lyapopt.study.run.leases import Situation, base_sampler
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.schedule import Schedule
from lyapopt.study.run.worker_table import Group

_GROUPS_OF_A_WORKER = 6
_FAILURES_IN_A_ROW = 5


def total_of(file: StudyFile, done: int, extra: int | None = None) -> int | None:
    """How many trials a study is to have, if that is limited: it does not lose those it has.

    Args:
        file: A validated study file.
        done: How many count already.
        extra: How many more there are to be, whatever the file says.
    """
    if extra is not None:
        return done + extra
    return None if file.n_trials is None else max(file.n_trials, done)


def spent_on_promoted(file: StudyFile, study: optuna.Study) -> float:
    """Gradient evaluations that training the best trials of a study in full has cost so far."""
    if not file.promote:
        return 0.0
    trials = trials_beside(study, file.study_name + PROMOTED_SUFFIX)
    return Ledger.read(trials).gradient_evaluations


class Plan:
    """The limits of a study file, and what they leave to do.

    Args:
        file: A validated study file.
        study: Its study.
    """

    def __init__(self, file: StudyFile, study: optuna.Study) -> None:
        self._file = file
        self._study = study
        self._schedule = Schedule.of(file)
        self.sampler = base_sampler(study)
        # Promoted trainings cost alike: one that the budget does not pay for is not begun.
        self._costs_are_alike = isinstance(self.sampler, GivenSampler)
        self._gradients = self._own_budget()

    @property
    def is_exhaustive(self) -> bool:
        """Whether the sampler goes through finitely many points, each of them once."""
        return is_exhaustive(self.sampler)

    def reason_to_stop(
        self, situation: Situation, total: int | None, failures_in_a_row: int
    ) -> str | None:
        """Why nothing more is to be leased, or `None`."""
        ledger, elapsed = situation.ledger, situation.elapsed
        budget = self._file.budget
        limit = self._file.on_failure.max_failures
        if total is not None and len(ledger.done) >= total:
            return f"all {total} trials are done"
        if self._costs_are_alike and ledger.done and self._affordable(situation) == 0:
            return "what is left of the budget pays for no other training"
        if budget is not None and ledger.gradient_evaluations >= self._gradients:
            return f"the budget of {budget.gradient_evaluations} gradient evaluations is spent"
        if self._file.timeout is not None and elapsed >= self._file.timeout:
            return f"the time of {self._file.timeout:g} s is up"
        if stop_was_asked(self._study) and not self._owes_points(situation):
            return "the sampler or a callback asked to stop"
        if limit is not None and ledger.states["failed"] > limit:
            return f"more than {limit} trials failed (on_failure.max_failures)"
        if failures_in_a_row >= _FAILURES_IN_A_ROW and not ledger.states["complete"]:
            return f"the first {failures_in_a_row} trials failed"
        if grid_points_left(self.sampler, self._study) == 0:
            return "the grid is exhausted"
        return None

    def next_group(self, situation: Situation, total: int | None) -> Group | None:
        """The next group: one that was left, or a new one; `None` if others have the rest."""
        ledger, in_progress = situation.ledger, situation.in_progress
        lacking = None if total is None else total - len(ledger.done) - len(in_progress)
        if lacking is not None and lacking < 1:
            return None
        group = situation.take_open(lacking)
        if group is not None:
            return group
        free = [number for number in ledger.unfinished if number not in in_progress]
        if free:
            return min(free), min(free) + 1
        points = grid_points_left(self.sampler, self._study)
        first = situation.next_number()
        limits = [
            self._schedule.group_of(first)[1] - first,
            self._share(situation, total),
            lacking,
            self._affordable(situation),
            None if points is None else points - len(in_progress - ledger.begun),
        ]
        count = min(limit for limit in limits if limit is not None)
        if count < 1:
            return None
        return first, first + count

    def whole(self, situation: Situation, group: Group) -> Group:
        """The group of the schedule that a leased one is a part of, where a limit has cut it.

        Its trials do not see each other's results, however it was cut. Among several workers
        groups are what they happen to be.
        """
        first = (
            group[0] if len(situation.table.workers) > 1 else self._schedule.group_of(group[0])[0]
        )
        return first, group[1]

    def _share(self, situation: Situation, total: int | None) -> int | None:
        """How many trials one of several workers takes at once, so that each gets some."""
        workers = len(situation.table.workers)
        if workers < 2 or total is None or self._file.trials_at_once is not None:
            return None
        return max(1, total // (_GROUPS_OF_A_WORKER * workers))

    def _affordable(self, situation: Situation) -> int | None:
        """How many trials the budget still pays for, at the cost of those that are done.

        One at first, and then no more than have ended: until then nobody knows what a trial costs,
        and the first may have been pruned. (The schedule has such groups, too.)
        """
        ledger, in_progress = situation.ledger, situation.in_progress
        if self._gradients == math.inf:
            return None
        if not ledger.done:
            return 0 if in_progress else 1
        average = ledger.gradient_evaluations / len(ledger.done)
        left = self._gradients - ledger.gradient_evaluations
        left -= average * len(in_progress)
        if left <= 0:
            return 0
        least = 0 if self._costs_are_alike else 1
        return min(len(ledger.done), max(least, int(left / max(average, 1.0))))

    def _own_budget(self) -> float:
        """The budget without what training the best in full has cost so far: it covers both."""
        if self._file.budget is None:
            return math.inf
        return self._file.budget.gradient_evaluations - spent_on_promoted(self._file, self._study)

    def _owes_points(self, situation: Situation) -> bool:
        """Whether points of a finite space were tried, in vain: its sampler takes them for done."""
        return self.is_exhaustive and bool(situation.ledger.unfinished - situation.in_progress)
