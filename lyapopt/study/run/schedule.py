"""Which trials train together: where groups end, from the numbers of trials alone."""

from __future__ import annotations

from typing import Final

from lyapopt.study.file import StudyFile
from lyapopt.study.run.worker_table import Group

_FIRST_STOPS: Final = (2, 5, 10, 15, 20, 30)
_LATER: Final = 20


class Schedule:
    """The groups of a study.

    A larger group trains faster and starts with less knowledge, since its trials do not see each
    other's results. Groups therefore grow at first: they end at trial 2, 5, 10, 15, 20, 30,
    40, 60, 80 and so on, or at the multiples of `trials_at_once`. Under a budget no group is larger
    than all before it, since nobody knows yet what a trial costs. How many trials the study is to
    have in the end changes nothing: a study that is continued has the groups of one that was longer
    from the beginning. (Twenty, and not a power of two: totals are mostly round, and end a group
    then.)

    Args:
        size: `trials_at_once`, if it is given.
        has_budget: Whether the study has one.

    Example:
        >>> [Schedule().group_of(number) for number in (0, 4, 17, 59)]
        [(0, 2), (2, 5), (15, 20), (40, 60)]
        >>> [Schedule(8, has_budget=True).group_of(number) for number in (0, 1, 3, 7, 9)]
        [(0, 1), (1, 2), (2, 4), (4, 8), (8, 16)]
    """

    def __init__(self, size: int | None = None, has_budget: bool = False) -> None:
        self._size = size
        self._has_budget = has_budget

    @classmethod
    def of(cls, file: StudyFile) -> Schedule:
        """The groups of a file's study: a function has one trial in each.

        It runs one trial at a time, and each may learn from the last.
        """
        size = 1 if file.objective is not None else file.trials_at_once
        return cls(size, file.budget is not None)

    def group_of(self, number: int) -> Group:
        """The group that a trial belongs to.

        Args:
            number: Its logical number.
        """
        first = 0
        while (stop := self._stop(first)) <= number:
            first = stop
        return first, stop

    def _stop(self, first: int) -> int:
        """Where the group ends that begins with a trial."""
        if self._size is not None:
            stop = (first // self._size + 1) * self._size
        else:
            later = (first // _LATER + 1) * _LATER
            stop = next((stop for stop in _FIRST_STOPS if stop > first), later)
        return min(stop, 2 * first or 1) if self._has_budget else stop
