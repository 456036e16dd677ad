"""What a signal is worth: rank correlation, areas under curves, and what it adds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold

from lyapopt.bench import Numbers
from lyapopt.bench.signal.signals import Signal, early_loss, signals
from lyapopt.bench.tables.table import Table
from lyapopt.dynamics.randomness import derive_seed

_RESAMPLES = 500
_TREES = 64
_FOLDS = 5
_BLOWN_UP = 3.0


def score_table(table: Table) -> pd.DataFrame:
    """One row a signal: what it says of the final validation loss, with 95 % intervals.

    Columns: `case`, `signal`, `order` (steps of the reference), `cost`; `spearman` with the final
    loss (diverged trainings rank last); `auc_diverges`: diverges later, among those that have not
    yet; `auc_above`: rate above the best one of its search line; `gain`: rise of the rank
    correlation of a forecast from parameters and early loss when the signal is added, by
    cross-validation over search lines. Each with `_low` and `_high`, by bootstrap over them.
    """
    rng = np.random.default_rng(derive_seed(0, "signal scores", table.case.name))
    draws = _draws(table, rng)
    truth = _Truth.of(table)
    rows = []
    bases: dict[int, Numbers] = {}
    for signal in signals(table):
        steps = max(signal.steps, 5)
        if steps not in bases:
            bases[steps] = _forecast(_features(table, steps), truth.ranks, truth.lines)
        rows.append(
            {
                "case": table.case.name,
                "signal": signal.name,
                "order": signal.steps,
                "cost": signal.cost,
                **_scores(signal, truth, table, draws),
                **_gain(signal, truth, table, bases[steps], draws),
            }
        )
    return pd.DataFrame(rows)


class _Truth:
    """What became of every configuration."""

    def __init__(self, table: Table) -> None:
        rates = len(table.case.rates)
        self.ranks: Numbers = np.asarray(rankdata(table.final), dtype=np.float64)
        self.lines: NDArray[np.int64] = np.arange(len(table.final)) // rates
        self.has_diverged: NDArray[np.bool_] = ~np.isfinite(table.validation[:, -1])
        best = table.final.reshape(-1, rates).argmin(1)
        place = np.arange(len(table.final)) % rates
        self.is_above: NDArray[np.bool_] = place > best[self.lines]
        self.is_best: NDArray[np.bool_] = place == best[self.lines]

    @classmethod
    def of(cls, table: Table) -> _Truth:
        return cls(table)


def _draws(table: Table, rng: np.random.Generator) -> NDArray[np.int64]:
    """Configurations of bootstrap samples of whole lines, `(resamples, N)`."""
    rates = len(table.case.rates)
    lines = len(table.final) // rates
    chosen = rng.integers(lines, size=(_RESAMPLES, lines))
    cells: NDArray[np.int64] = (chosen[..., None] * rates + np.arange(rates)).reshape(
        _RESAMPLES, -1
    )
    return cells


def _scores(
    signal: Signal, truth: _Truth, table: Table, draws: NDArray[np.int64]
) -> dict[str, float]:
    values = filled(signal.values)
    alive = _alive(table, max(signal.steps, 1))
    found: dict[str, float] = {}
    everything = np.ones(len(values), dtype=bool)
    scores: tuple[tuple[str, Callable[[NDArray[np.int64]], float], NDArray[np.bool_]], ...] = (
        ("spearman", lambda i: _spearman(values[i], truth.ranks[i]), everything),
        ("auc_diverges", lambda i: auc(values[i], truth.has_diverged[i]), alive),
        ("auc_above", lambda i: auc(values[i], truth.is_above[i]), ~truth.is_best),
    )
    for name, score, among in scores:
        found[name] = score(np.flatnonzero(among))
        sample = [score(drawn[among[drawn]]) for drawn in draws[:_RESAMPLES]]
        found[f"{name}_low"], found[f"{name}_high"] = _ends(sample)
    return found


def _gain(
    signal: Signal, truth: _Truth, table: Table, base: Numbers, draws: NDArray[np.int64]
) -> dict[str, float]:
    features = _features(table, max(signal.steps, 5))
    with_signal = np.column_stack([features, _ranks(signal.values)])
    forecast = _forecast(with_signal, truth.ranks, truth.lines)

    def gain(i: NDArray[np.int64]) -> float:
        return _spearman(forecast[i], truth.ranks[i]) - _spearman(base[i], truth.ranks[i])

    low, high = _ends([gain(drawn) for drawn in draws])
    return {"gain": gain(np.arange(len(base))), "gain_low": low, "gain_high": high}


def _features(table: Table, steps: int) -> Numbers:
    """Parameters and the loss after some steps."""
    cells = table.case.cells
    columns = [np.log([cell["lr"] for cell in cells])]
    for name, values in table.case.others.items():
        columns += [np.array([float(cell[name] == value) for cell in cells]) for value in values]
    return np.column_stack([*columns, _ranks(early_loss(table, steps))])


def _ranks(values: Numbers) -> Numbers:
    """To trees the same as the values, without their size: losses blow up."""
    return np.asarray(rankdata(filled(values)), dtype=np.float64)


def _forecast(features: Numbers, ranks: Numbers, lines: NDArray[np.int64]) -> Numbers:
    """Forecast ranks of configurations whose line the trees have not seen."""
    found = np.empty(len(ranks))
    folds = GroupKFold(min(_FOLDS, int(lines.max()) + 1))
    for train, test in folds.split(features, groups=lines):
        trees = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=0)
        found[test] = trees.fit(features[train], ranks[train]).predict(features[test])
    return found


def _alive(table: Table, steps: int) -> NDArray[np.bool_]:
    """Configurations that have not visibly diverged after some steps."""
    losses = table.losses[:, :steps]
    with np.errstate(invalid="ignore"):
        alive: NDArray[np.bool_] = np.isfinite(losses).all(1) & (
            losses.max(1) <= _BLOWN_UP * np.abs(losses[:, 0])
        )
    return alive


def filled(values: Numbers) -> Numbers:
    """Numbers in which a missing one is larger than all others: it mostly means a divergence.

    Example:
        >>> filled(np.array([1.0, np.nan, 3.0])).tolist()
        [1.0, 4.0, 3.0]
    """
    known = values[np.isfinite(values)]
    top = float(known.max()) + 1.0 if len(known) else 1.0
    low = float(known.min()) - 1.0 if len(known) else -1.0
    return np.nan_to_num(values, nan=top, posinf=top, neginf=low)


def auc(values: Numbers, is_event: NDArray[np.bool_]) -> float:
    """Probability that an event has the larger value; NaN without events or without others.

    Example:
        >>> auc(np.array([1.0, 2.0, 3.0]), np.array([False, False, True]))
        1.0
    """
    events, others = int(is_event.sum()), int((~is_event).sum())
    if events == 0 or others == 0:
        return math.nan
    ranks = rankdata(values)
    return float((ranks[is_event].sum() - events * (events + 1) / 2) / (events * others))


def _spearman(a: Numbers, b: Numbers) -> float:
    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / norm if norm > 0 else 0.0


def _ends(sample: list[float]) -> tuple[float, float]:
    known = [value for value in sample if math.isfinite(value)]
    if len(known) < _RESAMPLES // 2:
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
