"""What a trial shows in Optuna and its dashboard: at most seven rounded scalars."""

from __future__ import annotations

import math
from typing import Final

from optuna.trial import FrozenTrial

from lyapopt.probe import Measurement, Probe, Verdict
from lyapopt.store.states import (
    COST,
    DEATHS,
    EXPONENT,
    FAILED,
    HIGH,
    INTERRUPTED,
    LOSS_FALL,
    LOW,
    MEASURED,
    RUN_ATTRIBUTE,
    SURVIVED,
    VERDICT,
    number_in,
)

__all__ = [
    "COST",
    "DEATHS",
    "EXPONENT",
    "FAILED",
    "HIGH",
    "INITIAL_LOSS",
    "INTERRUPTED",
    "LEVEL",
    "LOSS_FALL",
    "LOW",
    "MEASURED",
    "PROMOTED_FROM",
    "RUN",
    "SURVIVED",
    "VERDICT",
    "number",
    "of_measurement",
    "rounded",
]

LEVEL: Final = "exponent_level"
INITIAL_LOSS: Final = "initial_loss"
PROMOTED_FROM: Final = "promoted_from"

RUN: Final = RUN_ATTRIBUTE


def of_measurement(measurement: Measurement) -> dict[str, float | str]:
    """The attributes that a measurement gives; numbers that are not finite are left out.

    A column with a hole is plotted by the dashboard, one with `None` or NaN in it is not. Nor does
    a diverged training show an exponent: what was measured before it blew up is in the store, with
    the flags that say so, and would look like any other number here.
    """
    if measurement.verdict == Verdict.DIVERGED:
        return {VERDICT: str(measurement.verdict)}
    numbers = {
        EXPONENT: measurement.exponent,
        LOW: measurement.low,
        HIGH: measurement.high,
        LOSS_FALL: measurement.loss_fall,
    }
    found: dict[str, float | str] = {
        name: rounded(value)
        for name, value in numbers.items()
        if value is not None and math.isfinite(value)
    }
    found[VERDICT] = str(measurement.verdict)
    if measurement.level != Probe.level and LOW in found:
        found[LEVEL] = measurement.level
    return found


def number(trial: FrozenTrial, name: str) -> float | None:
    """A finite number among a trial's user attributes, or `None`."""
    return number_in(trial.user_attrs, name)


def rounded(value: float) -> float:
    """Six significant digits: what a table shows, and short in the database.

    Example:
        >>> rounded(0.123456789)
        0.123457
    """
    return float(f"{value:.6g}")
