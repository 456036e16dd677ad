"""What a short measurement says of a system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lyapopt.checks import Arguments

_SMALLEST = 1e-300  # first loss that a share is taken of


class Verdict(StrEnum):
    """What a short measurement says of a system."""

    DIVERGED = "diverged"
    DEAD = "dead"
    HOT = "hot"
    EDGE = "edge"
    NEUTRAL = "neutral"
    CONTRACTING = "contracting"
    SLOW = "slow"
    """Its loss has not fallen, so that its exponent was not measured."""


@dataclass(frozen=True)
class VerdictRule:
    """Limits between the verdicts, on the settled exponent in nats per step.

    Attributes:
        hot: Exponent above which training is too hot.
        resolution: How far from 0 an exponent without an interval counts as 0.
        slow: Share of the first loss that the loss must have fallen by; see `relative_fall`.
        blow_up: Loss over initial loss at which training has diverged.
    """

    hot: float = 0.1
    resolution: float = 1e-3
    slow: float = 0.01
    blow_up: float = 1e3

    def __post_init__(self) -> None:
        check = Arguments("VerdictRule")
        check.real("hot", self.hot, above=0)
        check.real("resolution", self.resolution, least=0)
        check.real("slow", self.slow)
        check.real("blow_up", self.blow_up, above=1)

    def judge(
        self,
        exponent: float,
        low: float | None,
        high: float | None,
        losses: NDArray[np.float64],
        *,
        is_finite: bool,
        stands_still: bool,
    ) -> Verdict:
        """The verdict on one system.

        Args:
            exponent: The settled exponent, nats per step.
            low, high: Ends of its interval, if there is one.
            losses: Loss of the reference at every step of the horizon.
            is_finite: Whether the state is finite after the horizon.
            stands_still: Whether no gradient moves the weights any more (see
                `lyapopt.probe.standstill`). A network may die at any step.

        Example:
            >>> rule, falling = VerdictRule(), np.linspace(1.0, 0.5, 20)
            >>> state = dict(is_finite=True, stands_still=False)
            >>> [str(rule.judge(e, None, None, falling, **state)) for e in (0.5, 0.02, 0.0, -0.02)]
            ['hot', 'edge', 'neutral', 'contracting']
            >>> str(rule.judge(0.02, -0.01, 0.05, falling, **state))
            'neutral'
        """
        if math.isnan(exponent) or self.has_diverged(losses, is_finite=is_finite):
            return Verdict.DIVERGED
        if stands_still:
            return Verdict.DEAD
        if exponent > self.hot:
            return Verdict.HOT
        surely_above = exponent - self.resolution if _is_missing(low) else low
        surely_below = exponent + self.resolution if _is_missing(high) else high
        if surely_above is not None and surely_above > 0:
            return Verdict.EDGE
        if surely_below is not None and surely_below < 0:
            return Verdict.CONTRACTING
        return Verdict.NEUTRAL

    def has_diverged(self, losses: NDArray[np.float64], *, is_finite: bool) -> bool:
        """Whether the losses, or a state that is not finite, say that a training has diverged."""
        if not is_finite or not np.isfinite(losses).all():
            return True
        return bool(losses.max() > self.highest_loss(losses))

    def highest_loss(self, losses: NDArray[np.float64]) -> float:
        """The loss above which a training that began with these losses has blown up.

        Example:
            >>> VerdictRule(blow_up=100).highest_loss(np.array([2.0, 1.0, 0.5, 0.5]))
            200.0
        """
        return self.blow_up * initial_scale(losses)

    def is_slow(self, fall: float) -> bool:
        """Whether a loss that has fallen by this share of the first one is slow."""
        return fall < self.slow


def _is_missing(end: float | None) -> bool:
    return end is None or math.isnan(end)


def relative_fall(losses: NDArray[np.float64]) -> float:
    """Share of the first loss by which the mean of the second half of the horizon lies below it.

    The mean of many steps, since mini-batches make single losses noisy. A share, so that the size
    of a loss does not matter; it is of the first loss's absolute value, so that losses may be
    negative. NaN of a single loss, and where one is not finite.

    Example:
        >>> relative_fall(np.array([2.0, 1.9, 1.5, 1.0]))
        0.375
        >>> relative_fall(np.array([-1.0, -1.0, -1.5, -1.5]))
        0.5
    """
    if len(losses) < 2 or not np.isfinite(losses).all():
        return math.nan
    first, later = float(losses[0]), float(losses[len(losses) // 2 :].mean())
    fall = first - later
    return 0.0 if fall == 0 else fall / max(abs(first), _SMALLEST)


def initial_scale(losses: NDArray[np.float64]) -> float:
    """Size of the losses at the start: one mini-batch may happen to fit, a quarter will not."""
    first = abs(losses[: tail_length(len(losses))])
    return max(float(np.median(first)), float(first[0]), math.ulp(1.0))


def tail_length(horizon: int) -> int:
    """A quarter of the horizon, at least one step."""
    return max(1, horizon // 4)
