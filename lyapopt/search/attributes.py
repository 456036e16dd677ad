"""What a trial shows in Optuna and its dashboard: at most seven rounded scalars."""

from __future__ import annotations

import math
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial

from lyapopt.probe import Measurement, Probe, Verdict
from lyapopt.store.retry import RetryPolicy
from lyapopt.store.states import (
    COST,
    DEATHS,
    EXPONENT,
    FAILED,
    HIGH,
    INITIAL_LOSS,
    INTERRUPTED,
    LOSS_FALL,
    LOW,
    MEASURED,
    MEASURING,
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
    "MEASURING",
    "PROMOTED_FROM",
    "RUN",
    "SURVIVED",
    "VERDICT",
    "number",
    "of_measurement",
    "rounded",
    "show",
]

LEVEL: Final = "exponent_level"
PROMOTED_FROM: Final = "promoted_from"

RUN: Final = RUN_ATTRIBUTE

_RETRY: Final = RetryPolicy(seconds=60.0)


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


def show(trial: optuna.Trial, name: str, value: Any) -> None:
    """Set a user attribute of a trial, again where the database says that it is worth trying.

    Servers break off one of two transactions that wait for each other, which trials of several
    threads or processes do. Optuna raises that; what we add to a trial must not cost it.

    Raises:
        StoreError: If the database does not take it, for a minute where it may change its mind.
        UpdateFinishedTrialError: If the trial has ended.
    """
    _RETRY(lambda: trial.set_user_attr(name, value))
