"""What trials tell of candidates, kept from one to the next: finished ones do not change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search.forecasting import Fits, fitted_on
from lyapopt.search.screening.records import ScreenedCandidate, ScreeningRecord
from lyapopt.search.screening.rules import (
    ENOUGH,
    Trained,
    early_loss_rule,
    fit_surrogate,
    forecast_rule,
)


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
