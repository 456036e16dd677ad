"""Rules that keep one of many probed candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.probe import Verdict
from lyapopt.search.forecasting import Fits, Observation, Surrogate, feature_table, fitted_on
from lyapopt.search.probing.records import ScreenedCandidate, ScreeningRecord

Trained = tuple[ScreenedCandidate, float]
"""A candidate that was trained, with its final value (lower is better)."""

Rule = Callable[[Sequence[ScreenedCandidate]], int]
"""A user's rule: candidates to the index of the one to train."""

ENOUGH: Final = 10  # trials, before a forecast is better than the early loss


def paper_rule(candidates: Sequence[ScreenedCandidate]) -> int:
    """Of the candidates whose initial loss lies within the inter-quartile range, the one of lowest
    exponent (Mitra, arXiv:2410.05988, Fig. 5).

    Over six real tasks the rank correlation of exponent and final loss was between -0.28 and +0.40,
    and over init seeds about 0.1: the rule is here as it was published, not as advice.

    Example:
        >>> made = [ScreenedCandidate({}, e, l, l, "edge") for e, l in ((0.1, 1), (-1, 9), (0, 1))]
        >>> paper_rule(made)
        2
    """
    usable = [i for i in _alive(candidates) if candidates[i].exponent is not None]
    if not usable:
        return early_loss_rule(candidates)
    losses = [candidates[i].initial_loss or 0.0 for i in usable]
    low, high = np.quantile(losses, [0.25, 0.75])
    gated = [i for i, loss in zip(usable, losses, strict=True) if low <= loss <= high] or usable
    return min(gated, key=lambda i: (candidates[i].exponent, i))


def early_loss_rule(candidates: Sequence[ScreenedCandidate]) -> int:
    """The candidate of lowest loss at the end of its probe, among those that can train."""

    def badness(i: int) -> tuple[bool, float, int]:
        loss = candidates[i].early_loss
        return i not in alive, math.inf if loss is None else loss, i

    alive = set(_alive(candidates))
    return min(range(len(candidates)), key=badness)


def fit_surrogate(
    history: Sequence[Trained], distributions: Mapping[str, BaseDistribution], seed: int = 0
) -> Surrogate:
    """A tree ensemble from parameters, early losses and exponent to final values."""
    table = feature_table([_observe(candidate) for candidate, _ in history], distributions)
    return Surrogate(table, np.array([value for _, value in history]), seed)


def forecast_rule(
    candidates: Sequence[ScreenedCandidate],
    surrogate: Surrogate,
    best: float,
    distributions: Mapping[str, BaseDistribution],
) -> int:
    """The candidate of highest expected improvement on the best trial so far.

    Args:
        candidates: To choose from.
        surrogate: Fitted to trials of the study.
        best: The lowest value so far.
        distributions: The parameters' distributions, as the surrogate was fitted with.
    """
    alive = _alive(candidates)
    if not alive:
        return early_loss_rule(candidates)
    rows = feature_table([_observe(candidates[i]) for i in alive], distributions)
    forecasts = surrogate.forecast(rows)
    gains = [forecast.expected_improvement(best) for forecast in forecasts]
    if max(gains) == 0:  # nothing is hoped for: the lowest forecast
        gains = [-forecast.median for forecast in forecasts]
    return alive[max(range(len(alive)), key=lambda k: (gains[k], -k))]


class Forecasts:
    """The `forecast` rule for trials of studies.

    What is read of a trial is kept, and so is the surrogate (see `fitted_on`).
    """

    def __init__(self) -> None:
        self._trained: dict[str, dict[int, Trained | None]] = {}
        self._fits = Fits()

    def choose(
        self,
        study: optuna.Study,
        candidates: Sequence[ScreenedCandidate],
        distributions: Mapping[str, BaseDistribution],
        seed: int,
    ) -> int:
        """Which candidate to keep."""
        history = self._history(study)
        if len(history) < ENOUGH:
            return early_loss_rule(candidates)
        numbers = tuple(history)[: fitted_on(len(history))]
        surrogate = self._fits.get(
            (study.study_name, numbers, tuple(sorted(distributions)), seed),
            lambda: fit_surrogate([history[n] for n in numbers], distributions, seed),
        )
        best = min(value for _, value in history.values())
        return forecast_rule(candidates, surrogate, best, distributions)

    def _history(self, study: optuna.Study) -> dict[int, Trained]:
        """Screened trials that were trained, by number."""
        sign = -1.0 if study.directions[0] == StudyDirection.MAXIMIZE else 1.0
        known = self._trained.setdefault(study.study_name, {})
        found: dict[int, Trained] = {}
        for trial in study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)
        ):
            if trial.number not in known:
                known[trial.number] = _trained(trial, sign)
            trained = known[trial.number]
            if trained is not None:
                found[trial.number] = trained
        return found


def _trained(trial: FrozenTrial, sign: float) -> Trained | None:
    """The candidate that a trial trained and its value; a pruned trial's last report.

    With several objectives, the first value.
    """
    record = ScreeningRecord.of_trial(trial)
    values = trial.values or [v for _, v in sorted(trial.intermediate_values.items())[-1:]]
    if record is None or record.chosen is None or not values or not math.isfinite(values[0]):
        return None
    return record.candidates[record.chosen], sign * values[0]


def _observe(candidate: ScreenedCandidate) -> Observation:
    return Observation(
        candidate.params,
        {
            "exponent": candidate.exponent,
            "initial_loss": candidate.initial_loss,
            "early_loss": candidate.early_loss,
        },
    )


def _alive(candidates: Sequence[ScreenedCandidate]) -> list[int]:
    """Candidates that can train at all."""
    lost = {Verdict.DIVERGED.value, Verdict.DEAD.value, "failed"}
    return [i for i, c in enumerate(candidates) if c.verdict not in lost]
