"""Rules of early pruning under random search, replayed on tables without Optuna: in seconds.

`LyapunovPruner`'s limits were chosen by `scan(HELD_IN)`. That hot trials pass whose losses fall as
far as usual, and slow ones where slow ones have trained, is not in it: `lyapopt bench search`
replays the pruner itself. What is pruned costs the steps up to the horizon, and the neighbours that
were run; what is not costs a full training and its evaluation. With ranking, what is left is
trained for a part of a training, and the best to the end.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.bench import Numbers, Progress, silent
from lyapopt.bench.search.frozen import PRUNED, RANKED
from lyapopt.bench.search.statistics import BUDGETS, SMALL, area
from lyapopt.bench.tables.cache import table_of
from lyapopt.bench.tables.cases import cases_of
from lyapopt.bench.tables.measures import measurements
from lyapopt.bench.tables.table import Table
from lyapopt.probe import Verdict
from lyapopt.search.pruners.row import Row

_STREAM = 20_000  # candidates, more than any budget pays for
_FEW = [budget for budget in BUDGETS if budget <= SMALL]


@dataclass(frozen=True)
class PruningRule:
    """What is pruned after `horizon` steps.

    Attributes:
        horizon: Steps of the probe; nothing is pruned after 0.
        slow: Share that the loss must have fallen by.
        hot, cold: Exponents above and below which a trial is pruned.
        neighbours_for: `all`, or those whose loss has `fallen`.
        trend: Student's t of the loss's slope that must not be exceeded.
        is_shared: Whether the loss must lie below where the networks of a study begin, too.
    """

    horizon: int = 10
    slow: float | None = None
    hot: float | None = None
    cold: float | None = None
    neighbours_for: Literal["all", "fallen"] = "fallen"
    trend: float | None = None
    is_shared: bool = True

    def apply(self, table: Table) -> Pruned:
        """What the rule does to every configuration of a table."""
        count = len(table.final)
        if not self.horizon:
            nothing = np.zeros(count)
            return Pruned(self, np.ones(count, dtype=bool), nothing, nothing, nothing, nothing)
        found = measurements(table, 1, self.horizon)
        exponents = np.array([one.exponent for one in found])
        lost = np.array([one.verdict in (Verdict.DIVERGED, Verdict.DEAD) for one in found])
        is_kept = ~lost
        if self.hot is not None:
            is_kept &= ~(exponents > self.hot)
        if self.cold is not None:
            is_kept &= ~(exponents < self.cold)
        falls = np.where(lost, -np.inf, [one.loss_fall for one in found])
        firsts = table.losses[:, 0]
        has_fallen = ~lost if self.slow is None else falls >= self.slow
        if self.trend is not None:
            has_fallen &= _trend(table.losses[:, : self.horizon]) < self.trend
        extra = self.horizon if self.hot is not None or self.cold is not None else 0
        is_run = has_fallen | (self.neighbours_for == "all")
        neighbours = np.where(is_run, float(extra), 0.0)
        cost = neighbours + float(self.horizon)
        return Pruned(self, is_kept & has_fallen, cost, neighbours, falls, firsts)


@dataclass(frozen=True)
class Pruned:
    """What a rule does to the configurations of a table, `(N,)` each.

    Attributes:
        rule: The rule.
        is_kept: Whether they are trained on, as far as that depends on themselves alone.
        cost: Of those that are not trained on.
        extra: What their neighbours cost.
        falls: Shares that their losses have fallen by; -inf of those that never pass.
        firsts: Their first losses.
    """

    rule: PruningRule
    is_kept: NDArray[np.bool_]
    cost: Numbers
    extra: Numbers
    falls: Numbers
    firsts: Numbers

    def stream(self, seed: int) -> Iterator[tuple[int, bool]]:
        """Random configurations, and whether each is trained on."""
        row = Row(is_any_good=False)
        firsts: list[float] = []
        slow = -np.inf if self.rule.slow is None else self.rule.slow
        for cell in np.random.default_rng(seed).integers(0, len(self.falls), _STREAM).tolist():
            first, fall = float(self.firsts[cell]), float(self.falls[cell])
            if np.isfinite(first):
                insort(firsts, first)
            if self.rule.is_shared and fall > -np.inf and first > (usual := median(firsts)):
                fall = 1 - first * (1 - fall) / usual
            if self.is_kept[cell] and fall >= slow:
                row.end()
                yield cell, True
                continue
            passes = row.lets_pass(fall)
            if fall > -np.inf:
                row.add(fall)
            yield cell, passes


def _trend(losses: Numbers) -> Numbers:
    """Student's t of the slope of each row."""
    steps = losses.shape[1]
    x = np.arange(steps) - (steps - 1) / 2
    with np.errstate(all="ignore"):
        slope = (losses * x).sum(1) / (x * x).sum()
        rest = losses - losses.mean(1, keepdims=True) - slope[:, None] * x
        error = np.sqrt((rest * rest).sum(1) / (steps - 2) / (x * x).sum())
        student: Numbers = slope / np.maximum(error, 1e-300)
    return student


def _alone(table: Table, pruned: Pruned, seed: int) -> Numbers:
    """Regrets at all budgets of training whatever is kept to the end, `(budgets,)`."""
    regrets, whole = table.regret(table.final), table.facts.steps + table.facts.evaluation_cost
    limit = BUDGETS[-1] * table.facts.steps
    spent, found = 0.0, [(0.0, 1.0)]
    for cell, is_kept in pruned.stream(seed):
        spent += whole + pruned.extra[cell] if is_kept else pruned.cost[cell]
        if spent > limit:
            break
        if is_kept:
            found.append((spent, float(regrets[cell])))
    at = [budget * table.facts.steps for budget in BUDGETS]
    return np.array([min(regret for cost, regret in found if cost <= most) for most in at])


def _ranked(table: Table, pruned: Pruned, seed: int, budget: float) -> float:
    """Regret of ranking what is kept after a part of a training."""
    facts, checkpoints = table.facts, table.checkpoints
    place = int(abs(checkpoints - RANKED.part * facts.steps).argmin())
    part = int(checkpoints[place]) + facts.evaluation_cost
    values = np.nan_to_num(table.validation[:, place], nan=np.inf)
    limit, rest = budget * facts.steps, facts.steps - part + 2 * facts.evaluation_cost
    keep = max(1, min(max(1, round(RANKED.share * budget)), int(limit / (rest + part))))
    spent, most = 0.0, 0.0
    begun: list[tuple[float, int, int]] = []
    for cell, is_kept in pruned.stream(seed):
        if begun and spent + most + keep * rest > limit:
            break
        cost = part + pruned.extra[cell] if is_kept else pruned.cost[cell]
        spent, most = spent + cost, max(most, cost)
        if is_kept:
            begun.append((float(values[cell]), len(begun), cell))
    paid = min(keep, max(0, int((limit - spent) / rest)))
    regrets = table.regret(table.final)
    return min((float(regrets[cell]) for _, _, cell in sorted(begun)[:paid]), default=1.0)


_TRIED = {
    "nothing": PruningRule(0),
    **{
        f"fell by {fall:.1%} at step {h}": PruningRule(h, fall)
        for h, fall in ((10, 0.0), (10, 0.005), (10, 0.02), (10, 0.05), (5, 0.01), (20, 0.01))
    },
    "fell by 1.0% at step 10": PruningRule(10, 0.01),
    "exponent within .001 and .1": PruningRule(10, hot=0.1, cold=0.001, neighbours_for="all"),
    "trend t < -2 and exponent below .1": PruningRule(10, hot=0.1, trend=-2.0),
    **{f"frozen, exponent below {hot:g}": PruningRule(10, 0.01, hot) for hot in (0.05, 0.2, 0.3)},
    "frozen": PruningRule(PRUNED.horizon, PRUNED.slow, PRUNED.hot),
    "frozen, from its own first loss alone": PruningRule(
        PRUNED.horizon, PRUNED.slow, PRUNED.hot, is_shared=False
    ),
    "frozen, neighbours for all": PruningRule(
        PRUNED.horizon, PRUNED.slow, PRUNED.hot, neighbours_for="all"
    ),
}


def scan(
    names: Sequence[str], seeds: int = 40, ranked_seeds: int = 12, progress: Progress = silent
) -> pd.DataFrame:
    """Mean areas under regret of all rules that were tried, a row each.

    Columns: `rule`, `area` and `small` alone, `ranked` and `ranked_small` with ranking.

    Args:
        names: Cases; tables that are missing are recorded.
        seeds, ranked_seeds: Replays of each.
        progress: Called with every row.
    """
    tables = [table_of(case, progress=progress) for case in cases_of(names)]
    rows = []
    for name, rule in _TRIED.items():
        alone, ranked = [], []
        for table in tables:
            pruned = rule.apply(table)
            alone.append(np.mean([_alone(table, pruned, seed) for seed in range(seeds)], 0))
            ranked.append(
                [
                    np.mean([_ranked(table, pruned, seed, b) for seed in range(ranked_seeds)])
                    for b in BUDGETS
                ]
            )
        own, of_ranked = np.mean(alone, 0), np.mean(ranked, 0)
        row = (
            float(area(own, BUDGETS)),
            float(area(own[: len(_FEW)], _FEW)),
            float(area(of_ranked, BUDGETS)),
            float(area(of_ranked[: len(_FEW)], _FEW)),
        )
        rows.append((name, *row))
        progress(f"{name}: " + " ".join(f"{number:.3f}" for number in row))
    return pd.DataFrame(rows, columns=["rule", "area", "small", "ranked", "ranked_small"])
