"""From regrets to intervals, ranks and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata, wilcoxon

from lyapopt.bench import Numbers
from lyapopt.dynamics.randomness import derive_seed

BUDGETS = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
SMALL = 3.0
RESAMPLES = 2000


def area(regrets: Numbers, budgets: Sequence[float]) -> Numbers:
    """Area under regret over the logarithm of the budget, as a mean: between 0 and 1.

    Args:
        regrets: `(..., budgets)`.
        budgets: Ascending.

    Example:
        >>> float(area(np.array([1.0, 0.0]), [1.0, 10.0]))
        0.5
    """
    x = np.log(np.asarray(budgets, dtype=np.float64))
    return np.asarray(np.trapezoid(regrets, x, axis=-1) / (x[-1] - x[0]))


def areas(results: pd.DataFrame) -> pd.DataFrame:
    """One row a case, method and seed: `area` over all budgets, and `small` up to three trainings.

    Args:
        results: Columns `case`, `method`, `family`, `seed`, `budget`, `regret`.
    """
    keys = ["case", "method", "family", "seed"]
    wide = results.pivot_table(index=keys, columns="budget", values="regret", sort=True)
    budgets = [float(budget) for budget in wide.columns]
    few = [budget for budget in budgets if budget <= SMALL]
    found = wide.index.to_frame(index=False)
    values = wide.to_numpy(dtype=np.float64)
    found["area"] = area(values, budgets)
    found["small"] = area(values[:, : len(few)], few)
    found["last"] = values[:, -1]
    return found


def cube(frame: pd.DataFrame, column: str, methods: Sequence[str]) -> Numbers:
    """A column as `(cases, seeds, methods)`; the same seed is the same stream of candidates."""
    wide = frame.pivot_table(index=["case", "seed"], columns="method", values=column)[list(methods)]
    cases = frame["case"].nunique()
    values: Numbers = wide.to_numpy(dtype=np.float64)
    return values.reshape(cases, -1, len(methods))


def resampled_means(values: Numbers, resamples: int = RESAMPLES, seed: int = 0) -> Numbers:
    """Means of a hierarchical bootstrap: cases are drawn, then seeds within each.

    Args:
        values: `(cases, seeds, ...)`.
        resamples: How many means.
        seed: What the draws follow from.

    Returns:
        `(resamples, ...)`.
    """
    rng = np.random.default_rng(derive_seed(seed, "hierarchical bootstrap"))
    cases, seeds = values.shape[:2]
    chosen = rng.integers(cases, size=(resamples, cases, 1))
    replicas = rng.integers(seeds, size=(resamples, cases, seeds))
    drawn: Numbers = values[chosen, replicas]
    means: Numbers = drawn.mean(axis=(1, 2))
    return means


def interval(
    values: Numbers, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[Numbers, Numbers]:
    """Bootstrap interval of the mean over cases and seeds, for every further axis."""
    means = resampled_means(values, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method: mean areas with 95 % intervals, mean rank, regret at every budget."""
    per_run = areas(results)
    methods = list(dict.fromkeys(per_run["method"]))
    family = per_run.groupby("method")["family"].first()
    found = pd.DataFrame({"method": methods, "family": [family[m] for m in methods]})
    for column in ("area", "small"):
        values = cube(per_run, column, methods)
        found[column] = values.mean((0, 1))
        found[f"{column}_low"], found[f"{column}_high"] = interval(values)
    ranked = ~found["family"].isin(["control"])
    values = cube(per_run, "area", methods)[..., ranked.to_numpy()]
    ranks = _ranks(values)
    low, high = interval(ranks)
    found.loc[ranked, "rank"] = ranks.mean((0, 1))
    found.loc[ranked, "rank_low"], found.loc[ranked, "rank_high"] = low, high
    means = results.groupby(["method", "budget"])["regret"].mean().unstack()
    for budget in means.columns:
        found[f"regret at {budget:g}"] = [means.loc[m, budget] for m in methods]
    return found.sort_values("area", ignore_index=True)


def differences(results: pd.DataFrame, ours: str, column: str = "area") -> pd.DataFrame:
    """Ours less every other method, paired by case and seed: negative is better.

    Columns `method`, `difference`, `low`, `high` (95 %, hierarchical bootstrap), `p` (Wilcoxon
    signed rank over pairs) and `p_holm` (Holm's correction for the number of methods).
    """
    per_run = areas(results)
    others = [m for m in dict.fromkeys(per_run["method"]) if m != ours]
    values = cube(per_run, column, [ours, *others])
    rows = []
    for place, method in enumerate(others, start=1):
        gap = values[..., 0] - values[..., place]
        low, high = interval(gap)
        is_tied = not np.any(gap)
        p = 1.0 if is_tied else float(wilcoxon(gap.ravel(), zero_method="zsplit").pvalue)
        rows.append({"method": method, "difference": gap.mean(), "low": low, "high": high, "p": p})
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(found["p"].to_numpy(dtype=np.float64))
    return found.sort_values("difference", ignore_index=True)


def holm(p: Numbers) -> Numbers:
    """Holm's correction of p values for how many there are.

    Source: S. Holm, Scand. J. Stat. 6 (1979) 65-70.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    scaled = p[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def compute_to_reach(results: pd.DataFrame, ours: str) -> pd.DataFrame:
    """The budget at which ours has the mean regret that each other method has at the largest.

    Columns `method`, `regret` (theirs at the largest budget), `budget` (ours to reach it, by
    interpolation over log budget; NaN where it is not reached).
    """
    means = results.groupby(["method", "budget"])["regret"].mean().unstack()
    budgets = np.log([float(budget) for budget in means.columns])
    own = np.minimum.accumulate(means.loc[ours].to_numpy(dtype=np.float64))
    rows = []
    for method in means.index:
        if method != ours:
            target = float(means.loc[method].iloc[-1])
            rows.append(
                {"method": method, "regret": target, "budget": _reached(budgets, own, target)}
            )
    return pd.DataFrame(rows)


def _reached(x: Numbers, y: Numbers, target: float) -> float:
    if y[-1] > target:
        return math.nan
    first = int(np.argmax(y <= target))
    if first == 0 or y[first - 1] == y[first]:
        return math.exp(x[first])
    share = (y[first - 1] - target) / (y[first - 1] - y[first])
    return math.exp(x[first - 1] + share * (x[first] - x[first - 1]))


def _ranks(values: Numbers) -> Numbers:
    return np.asarray(rankdata(values, axis=-1), dtype=np.float64)
