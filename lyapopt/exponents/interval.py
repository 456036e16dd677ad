"""A confidence interval that knows what it is an interval for."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from lyapopt.exponents.quantities import Quantity

Over = Literal["time", "neighbours", "replicas"]

_GONE_ON = "the mean growth rate of this run, had it gone on in the same way"
_NOT_OVER_TIME: dict[str, str] = {
    "neighbours": "of this run, averaged over directions of perturbation",
    "replicas": "of this configuration, averaged over its seeds",
}


def estimand_of(quantity: Quantity, over: Over) -> str:
    """What an interval over `over` for a growth rate is an interval for, in words.

    Fresh directions never turn, so that a long run of isotropic growth tends to its own mean and
    not to the asymptotic exponent.

    Example:
        >>> estimand_of(Quantity.ISOTROPIC_GROWTH, "replicas")
        'isotropic growth of this configuration, averaged over its seeds'
    """
    if over != "time":
        return f"{quantity} {_NOT_OVER_TIME[over]}"
    is_isotropic = quantity is Quantity.ISOTROPIC_GROWTH
    return f"{quantity if is_isotropic else Quantity.ASYMPTOTIC_EXPONENT}: {_GONE_ON}"


class _Ends(NamedTuple):
    low: Tensor
    high: Tensor


class Interval(_Ends):
    """A confidence interval: unpacks to `(low, high)`, and says what it covers.

    Attributes:
        low, high: The ends; NaN where there is no interval (a flag says why).
        level: Confidence level.
        over: What was averaged over: `time`, `neighbours` or `replicas`.
        estimand: The quantity that the interval covers, in words.
        unit, per: Unit of the ends.
    """

    level: float
    over: Over
    estimand: str
    unit: str
    per: str

    @classmethod
    def of(
        cls,
        low: Tensor,
        high: Tensor,
        *,
        level: float,
        over: Over,
        quantity: Quantity,
        unit: str,
        per: str,
    ) -> Interval:
        """An interval with its description."""
        interval = cls(low, high)
        interval.level, interval.over = level, over
        interval.estimand = estimand_of(quantity, over)
        interval.unit, interval.per = unit, per
        return interval

    def __repr__(self) -> str:
        return (
            f"Interval(low={self.low}, high={self.high}, level={self.level}, "
            f"unit='{self.unit} per {self.per}', estimand={self.estimand!r})"
        )
