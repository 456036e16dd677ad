"""What a short measurement says of a system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lyapopt.checks import Arguments


class Verdict(StrEnum):
    """What a short measurement says of a system."""

    DIVERGED = "diverged"
    HOT = "hot"
    EDGE = "edge"
    COOL = "cool"
    DEAD = "dead"


@dataclass(frozen=True)
class VerdictRule:
    """Thresholds between the verdicts.

    Attributes:
        hot: Exponent, nats per step, above which training is too hot.
        cool: Exponents within +-`cool` of 0 are slow, if the loss falls by less than `fall` too.
        fall: Relative fall of the loss over the horizon below which training is slow.
        blow_up: Loss over initial loss at which training has diverged.
    """

    hot: float = 0.3
    cool: float = 1e-3
    fall: float = 0.01
    blow_up: float = 1e3

    def __post_init__(self) -> None:
        check = Arguments("VerdictRule")
        check.real("hot", self.hot, above=0)
        check.real("cool", self.cool, least=0)
        check.real("fall", self.fall)
        check.real("blow_up", self.blow_up, above=1)

    def judge(
        self,
        exponent: float,
        low: float | None,
        losses: NDArray[np.float64],
        *,
        is_finite: bool,
        stands_still: bool,
    ) -> Verdict:
        """The verdict on one system.

        Args:
            exponent: Nats per step.
            low: Lower end of its interval, if there is one.
            losses: Loss of the reference at every step of the horizon.
            is_finite: Whether the state is finite after the horizon.
            stands_still: Whether separations, and weights or losses, are equal to rounding over
                the last quarter of the horizon. A network may die at any step.

        Example:
            >>> rule = VerdictRule()
            >>> falling = np.linspace(1.0, 0.5, 20)
            >>> state = dict(is_finite=True, stands_still=False)
            >>> str(rule.judge(0.02, None, falling, **state))
            'edge'
            >>> str(rule.judge(0.7, 0.5, falling, **state))
            'hot'
        """
        if not is_finite or math.isnan(exponent) or not np.isfinite(losses).all():
            return Verdict.DIVERGED
        if losses.max() > self.blow_up * initial_scale(losses):
            return Verdict.DIVERGED
        if stands_still:
            return Verdict.DEAD
        if (exponent if low is None or math.isnan(low) else low) > self.hot:
            return Verdict.HOT
        if abs(exponent) <= self.cool and _relative_fall(losses) < self.fall:
            return Verdict.COOL
        return Verdict.EDGE


def initial_scale(losses: NDArray[np.float64]) -> float:
    """Size of the losses at the start: one mini-batch may happen to fit, a quarter will not."""
    first = abs(losses[: tail_length(len(losses))])
    return max(float(np.median(first)), float(first[0]), math.ulp(1.0))


def tail_length(horizon: int) -> int:
    """A quarter of the horizon, at least one step."""
    return max(1, horizon // 4)


def _relative_fall(losses: NDArray[np.float64]) -> float:
    """Fall from the first quarter of the horizon to the last (mini-batches make losses noisy)."""
    quarter = tail_length(len(losses))
    first, last = losses[:quarter].mean(), losses[-quarter:].mean()
    return float((first - last) / max(abs(first), np.finfo(np.float64).tiny))
