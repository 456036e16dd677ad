"""What is promised of our method, and whether the numbers bear it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from lyapopt.bench.search.methods import OURS
from lyapopt.bench.search.statistics import areas, cube, differences, interval


@dataclass(frozen=True)
class Target:
    """One statement.

    Attributes:
        text: The statement.
        rival: Whom it compares with.
        difference: Ours less the rival's; negative is better.
        low, high: 95 % interval.
        outcome: `held`, `missed`, or `open`: "not worse" is open where the mean is worse and the
            interval does not exclude either; "better" is missed unless the interval excludes zero.
    """

    text: str
    rival: str
    difference: float
    low: float
    high: float
    outcome: Literal["held", "missed", "open"]


def targets(results: pd.DataFrame, ours: str = OURS) -> list[Target]:
    """The statements that the compared methods allow."""
    methods = list(dict.fromkeys(results["method"]))
    if ours not in methods:
        return []
    found = []
    means = areas(results).groupby("method")[["small", "last"]].mean()
    epochs = [m for m in methods if m.startswith("i-Epoch")]
    if epochs:
        best = str(means.loc[epochs, "small"].idxmin())
        text = "area under regret up to 3 trainings: below the best i-Epoch's"
        found.append(_compare(results, ours, best, "small", text, is_strict=True))
    if "ternary loss search" in methods:
        text = "area under regret up to 3 trainings: not above the ternary loss search's"
        found.append(_compare(results, ours, "ternary loss search", "small", text, is_strict=False))
    pruned = [m for m in ("TPE + Median", "TPE + Hyperband") if m in methods]
    if pruned:
        best = str(means.loc[pruned, "last"].idxmin())
        text = "regret at the largest budget: not above the better of TPE + Median and + Hyperband"
        found.append(_compare(results, ours, best, "last", text, is_strict=False))
    return found


def best_of(results: pd.DataFrame, families: Sequence[str], column: str = "area") -> str:
    """The method of lowest mean area among families."""
    per_run = areas(results)
    chosen = per_run[per_run["family"].isin(families)]
    return str(chosen.groupby("method")[column].mean().idxmin())


def _compare(
    results: pd.DataFrame, ours: str, rival: str, column: str, text: str, is_strict: bool
) -> Target:
    values = cube(areas(results), column, [ours, rival])
    gap = values[..., 0] - values[..., 1]
    low, high = (float(end) for end in interval(gap))
    difference = float(gap.mean())
    return Target(text, rival, difference, low, high, _outcome(difference, low, high, is_strict))


def _outcome(
    difference: float, low: float, high: float, is_strict: bool
) -> Literal["held", "missed", "open"]:
    if is_strict:
        return "held" if high < 0 else "missed"
    if low > 0:
        return "missed"
    return "held" if difference <= 0 else "open"


__all__ = ["Target", "best_of", "differences", "targets"]
