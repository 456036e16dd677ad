"""The search along one line of learning rates for the rate where the exponent meets its target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from lyapopt.probe import Verdict
from lyapopt.search.steering.axis import Axis

Status = Literal["crossed", "cold", "hot", "dead"]
"""Where the target was met: in the line, above it (all rates are cold), below it, or nowhere."""

RESOLUTION = 1 / 4  # decades
_GUESS_FACTOR = math.log(10) / 4


@dataclass(frozen=True)
class Point:
    """One probed rate.

    Attributes:
        value: The rate.
        coordinate: Where it lies on the axis.
        exponent: Nats per step; NaN where there is none.
        verdict: What the probe said.
        is_wild: Whether the loss blew up, whatever the exponent.
    """

    value: int | float
    coordinate: float
    exponent: float
    verdict: Verdict
    is_wild: bool = False

    def is_hot(self, target: float) -> bool:
        """Whether the rate lies above the edge."""
        if self.verdict in (Verdict.DIVERGED, Verdict.HOT) or self.is_wild:
            return True
        return not self.exponent < target


@dataclass
class Line:
    """Bracketing from the cold side, then bisection.

    The cold end of the bracket is the last rate below the first hot one; whatever comes after the
    first hot rate is not looked at, since units that died at a huge rate have exponent zero again.

    Args:
        axis: Of the steered parameter.
        target: Exponent to be met, nats per step.
        guess: Coordinate near which other lines had their edge.
        window: Coordinates between which the edge is expected; the whole axis where there is none.
        points: Rates that were probed, in ascending order.
    """

    axis: Axis
    target: float
    guess: float | None = None
    window: tuple[float, float] | None = None
    points: list[Point] = field(default_factory=list)

    def next_values(self, count: int) -> list[int | float]:
        """At most `count` rates to probe next, ascending; none when the bracket is narrow."""
        low, high = self.bracket()
        if not self.points and self.guess is not None:
            middle = (count - 1) / 2
            wanted = [self.guess + (k - middle) * _GUESS_FACTOR for k in range(count)]
        elif self.points and high - low <= self._resolution() * 1.01:
            return []
        else:
            wanted = [low + (high - low) * (k + 1) / (count + 1) for k in range(count)]
        known = {point.value for point in self.points}
        values = {self.axis.value(min(max(x, self.axis.low), self.axis.high)) for x in wanted}
        return sorted(values - known)

    def add(self, points: list[Point]) -> None:
        """Take in probed rates."""
        self.points = sorted([*self.points, *points], key=lambda point: point.value)

    def bracket(self) -> tuple[float, float]:
        """Coordinates between which the edge lies."""
        cold, hot = self._ends()
        low, high = self.window or (self.axis.low, self.axis.high)
        return low if cold is None else cold.coordinate, high if hot is None else hot.coordinate

    @property
    def status(self) -> Status:
        """Whether and where the target was met."""
        cold, hot = self._ends()
        if all(point.verdict == Verdict.DEAD for point in self.points):
            return "dead"
        if hot is None:
            return "cold"
        return "hot" if cold is None else "crossed"

    def winner(self) -> Point:
        """The probed rate nearest to the edge.

        Of the two ends of the bracket it is the one whose exponent is nearer to the target, as a
        ratio; a hot end that trains badly never is.
        """
        cold, hot = self._ends()
        if cold is None or hot is None:
            chosen = hot if cold is None else cold
            assert chosen is not None
            return chosen
        is_usable = hot.exponent < 10 * self.target and not hot.is_wild
        if not is_usable or hot.verdict in (Verdict.DIVERGED, Verdict.HOT, Verdict.DEAD):
            return cold
        above = math.log(hot.exponent / self.target)
        below = math.log(self.target / max(cold.exponent, self.target / 10))
        return hot if above < below else cold

    def edge(self) -> float | None:
        """Coordinate of the edge, if the line has one."""
        return sum(self.bracket()) / 2 if self.status == "crossed" else None

    def _ends(self) -> tuple[Point | None, Point | None]:
        """The last cold point below the first hot one, and that one."""
        cold: Point | None = None
        alive = [p for p in self.points if p.verdict != Verdict.DEAD]
        for point in self.points:
            is_dead = point.verdict == Verdict.DEAD
            # Rates too small to move a weight are dead as well: those lie below the living ones.
            killed = is_dead and bool(alive) and point.value > alive[0].value
            if killed or (not is_dead and point.is_hot(self.target)):
                return cold, point
            cold = point
        return cold, None

    def _resolution(self) -> float:
        return RESOLUTION * self.axis.decade
