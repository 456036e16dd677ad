"""Whether screening picks good activations and init seeds: against random choice at equal cost.

One axis varies at a time, and rates are near the usual one. Of the candidates of an axis a rule
keeps one after the probe, which is trained. Random choice has the same gradients, probes included:
one training and a part of a second, the better of which counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import wilcoxon

from lyapopt.bench import Numbers, Progress, silent
from lyapopt.bench.rates.lines import final_losses
from lyapopt.bench.search.frozen import SCREENED
from lyapopt.bench.tables.cases import Case, build_cell, cases_of, twin
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.probe import Probe
from lyapopt.search.probing.probes import optimizer_name
from lyapopt.search.probing.records import ScreenedCandidate
from lyapopt.search.screening.rules import (
    ENOUGH,
    early_loss_rule,
    fit_surrogate,
    forecast_rule,
    paper_rule,
)
from lyapopt.search.steering.rate_rules import usual_rate

_SEEDS = tuple(range(SCREENED.candidates))
_AROUND = (0.3, 1.0, 3.0)


def scan(cases: Sequence[str], progress: Progress = silent) -> pd.DataFrame:
    """One row an axis and rule, over all choices that can be made in the cases.

    Columns: `axis`, `rule`, `choices`, `regret` (0 is the best candidate of a choice, 1 an
    untrained network), `random` (that of random choice at equal gradients), `wins`, `losses`, `p`
    (Wilcoxon's signed rank over choices).

    Args:
        cases: Names of built-in cases whose networks differ in activation or initialisation.
        progress: Called with every case.
    """
    rows = []
    for case in cases_of(cases):
        progress(case.name)
        rows += list(_choices(_near_usual_rate(case)))
    found = pd.DataFrame(rows)
    return pd.DataFrame([_row(part) for _, part in found.groupby(["axis", "rule"])])


def _row(part: pd.DataFrame) -> dict[str, object]:
    """What one rule has made of all choices along an axis."""
    gap = (part["regret"] - part["random"]).to_numpy()
    return {
        "axis": part["axis"].iloc[0],
        "rule": part["rule"].iloc[0],
        "choices": len(part),
        "regret": part["regret"].mean(),
        "random": part["random"].mean(),
        "wins": int((gap < 0).sum()),
        "losses": int((gap > 0).sum()),
        "p": float(wilcoxon(gap).pvalue),
    }


def _near_usual_rate(case: Case) -> Case:
    """The case with more seeds, and few rates that are near the usual one of its optimizer."""
    usual = usual_rate(optimizer_name(build_cell(case, case.cells[0]).optimizer))
    rates = tuple(factor * usual for factor in _AROUND)
    return replace(case, axes={**case.axes, "init_seed": _SEEDS, "lr": rates})


def _choices(case: Case) -> Iterator[dict[str, object]]:
    """Every choice along either axis, with what each rule makes of it."""
    trainings = [build_cell(case, params) for params in case.cells]
    measured = Probe(horizon=SCREENED.horizon, neighbours=SCREENED.neighbours).measure(
        [twin(training) for training in trainings]
    )
    steps = trainings[0].steps or 0
    untrained, losses = final_losses(trainings, steps)
    final = np.minimum(losses, untrained)
    candidates = [ScreenedCandidate.of(p, m) for p, m in zip(case.cells, measured, strict=True)]
    surrogate = _Forecast(case, candidates, final)
    for axis in case.axes:
        if axis == "lr":
            continue
        for group in _groups(case, axis):
            if not final[group].min() < untrained:
                continue  # none of them learns
            cost = (1 + SCREENED.neighbours) * SCREENED.horizon * len(group) - SCREENED.horizon
            values = (final[group] - final[group].min()) / (untrained - final[group].min())
            chance = _random(values, cost / steps)
            own = [candidates[cell] for cell in group]
            picks = {
                "fall of the loss": early_loss_rule(own),
                f"forecast from {ENOUGH} trials": surrogate.choose(own),
                "exponent": paper_rule(own),
            }
            for rule, pick in picks.items():
                name = "init seed" if axis == "init_seed" else "activation or distribution"
                yield {"axis": name, "rule": rule, "regret": values[pick], "random": chance}


def _groups(case: Case, axis: str) -> list[list[int]]:
    """Configurations that differ along one axis alone."""
    found: dict[tuple[object, ...], list[int]] = {}
    for cell, params in enumerate(case.cells):
        key = tuple(value for name, value in params.items() if name != axis)
        found.setdefault(key, []).append(cell)
    return list(found.values())


def _random(values: Numbers, more: float) -> float:
    """Mean of the best of one training and, with the probability `more`, of a second one."""
    one = float(values.mean())
    pairs = np.minimum.outer(values, values)
    two = float(pairs[~np.eye(len(values), dtype=bool)].mean())
    return one + min(more, 1.0) * (two - one)


class _Forecast:
    """What the `forecast` rule keeps in a study that has trained ten other networks.

    Args:
        case: Where they are drawn from.
        candidates: All of its configurations.
        final: Their losses.
    """

    def __init__(self, case: Case, candidates: Sequence[ScreenedCandidate], final: Numbers) -> None:
        rng = np.random.default_rng(derive_seed(0, "screening", case.name))
        drawn = rng.choice(len(candidates), size=ENOUGH, replace=False)
        self._distributions = {
            name: CategoricalDistribution(values) for name, values in case.others.items()
        } | {"lr": FloatDistribution(case.rates[0], case.rates[-1], log=True)}
        self._best = float(final[drawn].min())
        history = [(candidates[cell], float(final[cell])) for cell in drawn]
        self._surrogate = fit_surrogate(history, self._distributions)

    def choose(self, candidates: Sequence[ScreenedCandidate]) -> int:
        """Which one it keeps."""
        return forecast_rule(candidates, self._surrogate, self._best, self._distributions)
