"""What trials of a study usually show after the probe, and what became of those that were slow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search import attributes

_RECENT: Final = 100
"""Trials that say what is usual, the latest ones."""
_FEWEST: Final = 4
"""Completed trials that may speak against a limit."""


@dataclass(frozen=True)
class Usual:
    """What is known of the trials before one.

    Attributes:
        first_loss: Median of the first losses; `None` if none is known.
        progress: Median progress of the trials within the limits; `None` without any.
        slow_may_train: Whether slow trials have been seen to train as well as others: one of them
            is in the better half of the completed trials, of which there are four or more.
    """

    first_loss: float | None = None
    progress: float | None = None
    slow_may_train: bool = False


def usual_of(
    before: Sequence[FrozenTrial],
    trial: FrozenTrial,
    slow: float | None,
    is_within: Callable[[FrozenTrial, float], bool],
    direction: StudyDirection | None,
) -> Usual:
    """What is usual among the trials before one, and that one.

    Args:
        before: Those with lower numbers.
        trial: The one.
        slow: Share that a loss must have fallen by, if there is such a limit.
        is_within: Whether a trial with such a progress is within the limits.
        direction: Of the only objective; `None` where there are several, of which none says alone
            how well a trial has trained.
    """
    recent = before[-_RECENT:]
    first = _median(attributes.number(each, attributes.INITIAL_LOSS) for each in (*recent, trial))
    falls = [progress_of(each, first) for each in recent]
    within = [p for each, p in zip(recent, falls, strict=True) if is_within(each, p)]
    may_train = (
        slow is not None and direction is not None and _is_refuted(before, first, slow, direction)
    )
    return Usual(first, _median(within), may_train)


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


def _is_refuted(
    before: Sequence[FrozenTrial], first: float | None, slow: float, direction: StudyDirection
) -> bool:
    """Whether a slow trial is in the better half of those that were trained to their end."""
    completed = [each for each in before if each.state == TrialState.COMPLETE]
    if len(completed) < _FEWEST:
        return False
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    ranked = sorted((sign * float(each.value or 0.0), each.number) for each in completed)
    better = {number for _, number in ranked[: len(ranked) // 2]}
    return any(
        -math.inf < progress_of(each, first) < slow for each in completed if each.number in better
    )


def _median(numbers: Iterable[float | None]) -> float | None:
    found = [number for number in numbers if number is not None]
    return statistics.median(found) if found else None
