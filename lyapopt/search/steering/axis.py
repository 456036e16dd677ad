"""The axis along which a steered parameter is searched."""

from __future__ import annotations

import math

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

_DECADES_ABOVE_ZERO = 6


class Axis:
    """Coordinates of a numeric parameter: its natural logarithm where it is positive.

    A range that begins at zero is searched over the six decades below its upper end, or from its
    first step on; one with negative numbers on the numbers themselves.

    Args:
        distribution: Of the parameter.

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
