"""Scales: exponents about zero, and losses over decades, with what blew up at the edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LINEAR: Final = 1e-4  # nats per step, below which the axis of exponents is linear
_TOP: Final = 10.0  # nats per step: whatever lies beyond is drawn there
_TICKS: Final = (-10.0, -1.0, -0.1, -0.01, -0.001, 0.0, 0.001, 0.01, 0.1, 1.0, 10.0)
_DECADES_ABOVE, _DECADES_BELOW = 3, 6  # of the median loss, that a loss axis shows


def symlog(exponents: ArrayLike) -> Floats:
    """Exponents on their axis: linear within 1e-4 of zero, logarithmic over four decades to 1.

    A decade is a unit: 0.01 lies at 2, 0.1 at 3, 1 at 4. Beyond 10 nats per step, and at
    infinity, it ends.

    Example:
        >>> symlog([0.0, 0.01, -1.0, float("inf")]).round(2).tolist()
        [0.0, 2.0, -4.0, 5.0]
    """
    values = np.clip(np.asarray(exponents, dtype=np.float64), -_TOP, _TOP)
    scaled: Floats = np.sign(values) * np.log10(1 + np.abs(values) / _LINEAR)
    return scaled


def symlog_axis(*exponents: ArrayLike, **options: Any) -> dict[str, Any]:
    """Settings of an axis that shows these exponents, zero, and a tick a decade.

    Args:
        *exponents: All that is drawn on it, nats per step.
        **options: Further settings.
    """
    low, high = symlog_span(*exponents)
    ticks = [tick for tick in _TICKS if low <= symlog(tick) <= high]
    return {
        "tickvals": symlog(ticks).round(6).tolist(),
        "ticktext": [f"{tick:g}".replace("-", "−") for tick in ticks],
        "range": [low, high],
        "zeroline": True,
        "zerolinewidth": 1.5,
        **options,
    }


def symlog_span(*exponents: ArrayLike) -> tuple[float, float]:
    """Ends of the axis of these exponents, on its scale: at least from -0.001 to 0.1."""
    parts = [symlog(np.ravel(np.asarray(each, dtype=np.float64))) for each in exponents]
    values = np.concatenate([*parts, symlog([-1e-3, 0.1])])
    known = values[~np.isnan(values)]
    return float(known.min()) - 0.35, float(known.max()) + 0.35


@dataclass(frozen=True)
class LossScale:
    """The axis of a loss.

    Attributes:
        kind: `log`, or `linear` where losses are negative.
        low, high: What it shows.
    """

    kind: Literal["log", "linear"]
    low: float
    high: float

    @classmethod
    def of(cls, losses: ArrayLike, start: float = 0.0) -> LossScale:
        """The axis that shows these losses, without those that would flatten all others.

        It reaches three decades above the median and six below; NaN and infinities have no say.

        Args:
            losses: All that is drawn on it.
            start: A loss that it shows in any case, such as that before training.

        Example:
            >>> LossScale.of([0.1, 0.2, 0.4, 4e47])
            LossScale(kind='log', low=0.1, high=200.0)
            >>> LossScale.of([-3.0, 1.0, float("nan")])
            LossScale(kind='linear', low=-3.0, high=1.0)
        """
        values = np.ravel(np.asarray(losses, dtype=np.float64))
        known = values[np.isfinite(values)]
        if not len(known):
            return cls("log", 0.1, 1.0)
        if (known < 0).any():
            middle, spread = float(np.median(known)), float(np.ptp(np.quantile(known, [0.1, 0.9])))
            reach = 10 * spread if spread > 0 else math.inf
            low = max(float(known.min()), middle - reach)
            return cls("linear", low, min(float(known.max()), middle + reach))
        positive = known[known > 0]
        if not len(positive):
            return cls("linear", 0.0, 1.0)
        middle = float(np.quantile(positive, 0.5, method="lower"))
        low = max(float(positive.min()), middle / 10**_DECADES_BELOW)
        high = max(middle * 10**_DECADES_ABOVE, start)
        return cls("log", low, min(float(positive.max()), high))

    def clipped(self, losses: ArrayLike) -> Floats:
        """Losses as they are drawn: what lies outside is on the edge, NaN stays."""
        return np.clip(np.asarray(losses, dtype=np.float64), self.low, self.high)

    def is_outside(self, losses: ArrayLike) -> NDArray[np.int64]:
        """1 above the axis, -1 below it, 0 on it."""
        values = np.asarray(losses, dtype=np.float64)
        return (values > self.high).astype(np.int64) - (values < self.low)

    def axis(self, **options: Any) -> dict[str, Any]:
        """Settings of the axis."""
        if self.kind == "linear":
            margin = 0.05 * (self.high - self.low) or 1.0
            ends = [self.low - margin, self.high + margin]
            return {"type": "linear", "range": ends, **options}
        return {**log_axis([self.low, self.high]), **options}


def log_axis(values: ArrayLike) -> dict[str, Any]:
    """Settings of a logarithmic axis that shows these positive numbers, with enough ticks.

    Decades are named where there are several; of fewer, their parts are.

    Example:
        >>> log_axis([0.001, 1.0])["dtick"], log_axis([0.2, 0.6])["dtick"]
        (1, 'D1')
    """
    found = np.ravel(np.asarray(values, dtype=np.float64))
    known = np.log10(found[(found > 0) & np.isfinite(found)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (-1.0, 0.0)
    span = high - low
    margin = max(0.06 * span, 0.05)
    ticks: dict[str, Any] = {"nticks": 6, "tickformat": ".3~g"}
    if span >= 2:
        ticks = {"dtick": max(1, math.ceil(span / 8)), "exponentformat": "power"}
    elif span >= 0.2:
        ticks = {"dtick": "D2" if span >= 0.7 else "D1", "tickformat": ".3~g"}
    return {
        "type": "log", "range": [low - margin, high + margin], "zeroline": False, **ticks
    }  # fmt: skip


def rounded(values: ArrayLike, digits: int = 6) -> list[float | None]:
    """Numbers as a figure has them: six digits, so that it stays small; `None` for no number.

    Example:
        >>> rounded([0.123456789, 4e47, float("nan")])
        [0.123457, 4e+47, None]
    """
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [float(f"{each:.{digits}g}") if math.isfinite(each) else None for each in numbers]
