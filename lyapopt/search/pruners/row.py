"""Trials that were pruned in a row, and which one after them passes all the same."""

from __future__ import annotations

import math
from typing import Final

PATIENCE: Final = 10
_SHORTEST: Final = 4
"""A row comes down to this part of the patience, rounded up."""


class Row:
    """The progress of trials that a limit has stopped, since the last one that it has not.

    One passes that is no worse than the best of the last ones, as many as the patience.

    Args:
        is_any_good: Whether any trial has ever been within the limits. Where none has, the limits
            tell nothing of the study: the row that lets a trial pass is halved each time, down to
            a fourth, and for every two trials that it takes longer one may be worse than one more
            of the last ones.
        patience: How many in a row it takes at first.

    Example:
        >>> row = Row(is_any_good=False)
        >>> for _ in range(10):
        ...     row.add(0.001)
        >>> row.lets_pass(0.0005), row.lets_pass(0.002)
        (False, True)
        >>> row.add(0.002)
        >>> row.patience
        5
    """

    def __init__(self, is_any_good: bool, patience: int = PATIENCE) -> None:
        self._is_any_good = is_any_good
        self._patience = patience
        self._row: list[float] = []
        self._passed = 0

    @property
    def patience(self) -> int:
        """How many in a row it takes."""
        if self._is_any_good:
            return self._patience
        return max(-(-self._patience // _SHORTEST), self._patience >> self._passed)

    def lets_pass(self, progress: float) -> bool:
        """Whether a trial is no worse than those that were pruned in a row."""
        beyond = len(self._row) - self.patience
        if beyond < 0 or progress == -math.inf:
            return False
        worse = 0 if self._is_any_good else beyond // 2
        best_first = sorted(self._row[-self.patience :], reverse=True)
        return worse >= self.patience or progress >= best_first[worse]

    def add(self, progress: float) -> None:
        """One more trial beyond a limit; a row ends with one that passes."""
        if self.lets_pass(progress):
            self._row = []
            self._passed += 1
        else:
            self._row.append(progress)

    def end(self) -> None:
        """A trial was within the limits."""
        self._is_any_good = True
        self._row = []
