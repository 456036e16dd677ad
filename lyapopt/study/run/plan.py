"""What a study does next: which group of trials, and whether there is a reason to stop."""

from __future__ import annotations

import optuna

from lyapopt.registry import is_exhaustive
from lyapopt.search._optuna import grid_points_left, stop_was_asked
from lyapopt.study.file import StudyFile
from lyapopt.study.run.leases import Situation, base_sampler
from lyapopt.study.run.worker_table import Group

_LARGEST_GROUP = 16
_GROUPS_OF_A_STUDY = 6
_FAILURES_IN_A_ROW = 5


class Plan:
    """The limits of a study file, and what they leave to do.

    Args:
        file: A validated study file.
        study: Its study.
    """

    def __init__(self, file: StudyFile, study: optuna.Study) -> None:
        self._file = file
        self._study = study
        self.sampler = base_sampler(study)

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
        if budget is not None and ledger.gradient_evaluations >= budget.gradient_evaluations:
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
        limits = [
            group_size(self._file, total, len(situation.table.workers)),
            lacking,
            self._affordable(situation),
            None if points is None else points - len(in_progress - ledger.begun),
        ]
        count = min(limit for limit in limits if limit is not None)
        if count < 1:
            return None
        first = situation.next_number()
        return first, first + count

    def _affordable(self, situation: Situation) -> int | None:
        """How many trials the budget still pays for, at the cost of those that are done.

        One at first, and then no more than have ended: until then nobody knows what a trial costs,
        and the first may have been pruned.
        """
        ledger, in_progress = situation.ledger, situation.in_progress
        if self._file.budget is None:
            return None
        if not ledger.done:
            return 0 if in_progress else 1
        average = ledger.gradient_evaluations / len(ledger.done)
        left = self._file.budget.gradient_evaluations - ledger.gradient_evaluations
        left -= average * len(in_progress)
        if left <= 0:
            return 0
        return min(len(ledger.done), max(1, int(left / max(average, 1.0))))

    def _owes_points(self, situation: Situation) -> bool:
        """Whether points of a finite space were tried, in vain: its sampler takes them for done."""
        return self.is_exhaustive and bool(
            situation.ledger.unfinished.keys() - situation.in_progress
        )


def group_size(file: StudyFile, total: int | None, workers: int = 1) -> int:
    """How many trials train together, if there are enough.

    Args:
        file: A study file, which may say so.
        total: Trials in the study, if that is limited.
        workers: How many processes share them.
    """
    if file.trials_at_once is not None:
        return file.trials_at_once
    if file.objective is not None:
        return 1  # a function runs one trial at a time, and each may learn from the last
    return default_group_size(file.n_trials or total, workers)


def default_group_size(total: int | None, workers: int = 1) -> int:
    """How many trials train together unless the file says: a sixth of the study, at most 16.

    A larger group trains faster and starts with less knowledge, since its trials do not see each
    other's results.

    Args:
        total: Trials in the study, if that is limited.
        workers: How many processes share them.
    """
    if total is None:
        return _LARGEST_GROUP
    return max(1, min(_LARGEST_GROUP, total // (_GROUPS_OF_A_STUDY * workers)))
