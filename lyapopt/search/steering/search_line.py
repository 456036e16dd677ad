"""The search line: the learning rates of one network, among which the edge is looked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from lyapopt.probe import Verdict

Status = Literal["crossed", "cold", "hot", "dead"]
"""Where the target was met: on the line, above it (all rates are cold), below it, or nowhere."""

RESOLUTION = 1 / 4  # decades
_GUESS_FACTOR = math.log(10) / 4
_DECADES_ABOVE_ZERO = 6  # that are searched of a range that begins at zero


def is_numeric(distribution: BaseDistribution) -> bool:
    """Whether a parameter can be steered."""
    return isinstance(distribution, FloatDistribution | IntDistribution)


class Axis:
    """Coordinates of a numeric parameter: its natural logarithm where it is positive.

    A range that begins at zero is searched over the six decades below its upper end, or from its
    first step on; one with negative numbers on the numbers themselves.

    Args:
        distribution: The parameter's, a float or an integer range.

    Attributes:
        low, high: Ends of the axis.
        is_log: Whether coordinates are logarithms.

    Raises:
        TypeError: If the distribution is not numeric.

    Example:
        >>> axis = Axis(FloatDistribution(1e-4, 1.0, log=True))
        >>> [round(axis.value(x), 6) for x in (axis.low, -1.0, axis.high)]
        [0.0001, 0.367879, 1.0]
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            raise TypeError(f"{distribution!r} is not numeric")
        self._distribution = distribution
        low, high = float(distribution.low), float(distribution.high)
        self.is_log = low > 0 or (low == 0 and high > 0)
        if self.is_log:
            low = low or distribution.step or high / 10**_DECADES_ABOVE_ZERO
            low, high = math.log(low), math.log(high)
        self.low, self.high = low, high

    @property
    def decade(self) -> float:
        """Length of a decade; without logarithms it stands for a quarter of the range."""
        return math.log(10) if self.is_log else (self.high - self.low) / 4

    def value(self, coordinate: float) -> int | float:
        """The nearest value that the parameter can take."""
        d = self._distribution
        raw = math.exp(coordinate) if self.is_log else coordinate
        if d.step is not None and not d.log:
            count = round((raw - d.low) / d.step)
            raw = d.low + min(max(count, 0), math.floor((d.high - d.low) / d.step + 1e-8)) * d.step
        raw = min(max(raw, d.low), d.high)
        return round(raw) if isinstance(d, IntDistribution) else float(raw)

    def coordinate(self, value: float) -> float:
        """Where a value lies, the nearest end if it lies outside."""
        if self.is_log:
            value = math.log(value) if value > 0 else self.low
        return min(max(float(value), self.low), self.high)


@dataclass(frozen=True)
class Point:
    """One probed rate.

    Attributes:
        value: The rate.
        coordinate: Where it lies on the axis.
        exponent: Nats per step; NaN where there is none.
        verdict: What the probe said.
        has_blown_up: Whether the loss blew up, whatever the exponent.
    """

    value: int | float
    coordinate: float
    exponent: float
    verdict: Verdict
    has_blown_up: bool = False

    def is_hot(self, target: float) -> bool:
        """Whether the rate lies above the edge."""
        if self.verdict == Verdict.DIVERGED or self.has_blown_up:
            return True
        return not self.exponent < target


@dataclass
class SearchLine:
    """All learning rates of one network, on which its edge is looked for.

    A search line is a configuration with everything fixed but the steered rate: other parameters,
    initial weights and batches are the same along it. Its edge is the rate where the exponent meets
    the target. The search brackets it from the cold side, then bisects: the cold end of the bracket
    is the last rate below the first hot one. Rates above the first hot one do not count, since
    units that died at a huge rate have exponent zero again.

    Args:
        axis: The axis of the steered parameter.
        target: Exponent to be met, nats per step.
        guess: Coordinate near which other search lines had their edge.
        window: Coordinates between which the edge is expected; the whole axis where there is none.
        points: Probed rates, in ascending order.
        stride: How far beyond the probed rates the next one lies, as long as all are cold or all
            hot; `None` halves what is left of the axis.
    """

    axis: Axis
    target: float
    guess: float | None = None
    window: tuple[float, float] | None = None
    points: list[Point] = field(default_factory=list)
    stride: float | None = None

    def next_values(self, count: int) -> list[int | float]:
        """At most `count` rates to probe next, ascending; none when the bracket is narrow."""
        low, high = self.bracket()
        cold, hot = self.ends()
        if not self.points and self.guess is not None:
            middle = (count - 1) / 2
            coordinates = [self.guess + (k - middle) * _GUESS_FACTOR for k in range(count)]
        elif self.points and high - low <= self._resolution() * 1.01:
            return []
        elif self.points and self.stride is not None and (cold is None or hot is None):
            beyond = high - self.stride if cold is None else low + self.stride
            coordinates = [beyond]
        else:
            coordinates = [low + (high - low) * (k + 1) / (count + 1) for k in range(count)]
        known = {point.value for point in self.points}
        values = {self.axis.value(min(max(x, self.axis.low), self.axis.high)) for x in coordinates}
        return sorted(values - known)

    def add(self, points: list[Point]) -> None:
        """Take in probed rates."""
        self.points = sorted([*self.points, *points], key=lambda point: point.value)

    def bracket(self) -> tuple[float, float]:
        """Coordinates between which the edge lies."""
        cold, hot = self.ends()
        low, high = self.window or (self.axis.low, self.axis.high)
        return low if cold is None else cold.coordinate, high if hot is None else hot.coordinate

    @property
    def status(self) -> Status:
        """Whether and where the target was met."""
        cold, hot = self.ends()
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
        cold, hot = self.ends()
        if cold is None or hot is None:
            chosen = hot if cold is None else cold
            assert chosen is not None
            return chosen
        is_usable = hot.exponent < 10 * self.target and not hot.has_blown_up
        if not is_usable or hot.verdict in (Verdict.DIVERGED, Verdict.HOT, Verdict.DEAD):
            return cold
        above = math.log(hot.exponent / self.target)
        below = math.log(self.target / max(cold.exponent, self.target / 10))
        return hot if above < below else cold

    def edge(self) -> float | None:
        """Coordinate of the edge, if the target was crossed."""
        return sum(self.bracket()) / 2 if self.status == "crossed" else None

    def ends(self) -> tuple[Point | None, Point | None]:
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
