"""What trials of a study usually show after the probe, and what became of those that were slow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search import attributes

_RECENT: Final = 100
"""Trials that say what is usual, the latest ones."""
_FEWEST: Final = 4
"""Completed trials that may speak against a limit."""


def usual_first_loss(before: Sequence[FrozenTrial], trial: FrozenTrial) -> float | None:
    """Where the networks of a study begin: the median of their first losses, if any is known."""
    recent = (*before[-_RECENT:], trial)
    return _median(attributes.number(each, attributes.INITIAL_LOSS) for each in recent)


def usual_progress(
    before: Sequence[FrozenTrial],
    first: float | None,
    is_within: Callable[[FrozenTrial, float], bool],
) -> float | None:
    """How far the losses of trials within the limits have usually fallen; `None` without any.

    Args:
        before: Trials with lower numbers.
        first: The usual first loss.
        is_within: Whether a trial with such a progress is within the limits.
    """
    known = [(each, progress_of(each, first)) for each in before[-_RECENT:]]
    return _median(progress for each, progress in known if is_within(each, progress))


def has_slow_trained(
    before: Sequence[FrozenTrial], first: float | None, slow: float, direction: StudyDirection
) -> bool:
    """Whether a slow trial is in the better half of the completed ones, of which there are four.

    Args:
        before: Trials with lower numbers.
        first: The usual first loss.
        slow: Share that a loss must have fallen by.
        direction: Of the study.
    """
    completed = [each for each in before if each.state == TrialState.COMPLETE]
    if len(completed) < _FEWEST:
        return False
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    completed.sort(key=lambda each: sign * float(each.value or 0.0))
    better = completed[: len(completed) // 2]
    return any(-math.inf < progress_of(each, first) < slow for each in better)


def progress_of(trial: FrozenTrial, usual: float | None) -> float:
    """Share by which the loss lies below its first value, or below the usual one if that is lower.

    -inf where it is not known.
    """
    fall = attributes.number(trial, attributes.LOSS_FALL)
    if fall is None:
        return -math.inf
    if usual is None or not begins_above(trial, usual):
        return fall
    return (usual - late_loss(trial)) / max(abs(usual), math.ulp(0.0))


def begins_above(trial: FrozenTrial, usual: float | None) -> bool:
    """Whether a trial has a higher first loss than is usual."""
    first = attributes.number(trial, attributes.INITIAL_LOSS)
    return usual is not None and first is not None and first > usual


def late_loss(trial: FrozenTrial) -> float:
    """The loss after the probe, as its fall says it."""
    first = attributes.number(trial, attributes.INITIAL_LOSS)
    fall = attributes.number(trial, attributes.LOSS_FALL)
    assert first is not None
    assert fall is not None
    return first - fall * abs(first)


def _median(numbers: Iterable[float | None]) -> float | None:
    found = [number for number in numbers if number is not None]
    return statistics.median(found) if found else None
