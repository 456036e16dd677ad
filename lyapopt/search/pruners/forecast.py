"""Prune what will hardly be among the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.checks import Arguments
from lyapopt.search import attributes
from lyapopt.search.forecasting import Fits, Observation, Surrogate, feature_table, fitted_on
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.store import Decision

_RULE = "ForecastPruner"
_FEWEST = 10


class ForecastPruner(WrappingPruner):
    """Prunes a trial whose predicted probability of entering the best `k` is below `alpha`.

    The final value is forecast from the parameters, the values reported so far and the exponent by
    a tree ensemble that is fitted on the study's complete trials. Its errors on trials that it had
    not seen calibrate it: a forecast from n trials claims no probability below 1 / (n + 1), so that
    nothing is pruned before the study has `1 / alpha` complete trials, nor while its forecasts are
    too wide.

    Args:
        k: How many best trials count.
        alpha: Probability below which a trial is pruned.
        wrapped: Any Optuna pruner, asked for all that is left.
        seed: Seed of the ensemble.

    Raises:
        UserError: If a number is out of its range, or `wrapped` is a Hyperband pruner.

    Example:
        >>> pruner = ForecastPruner(k=5, alpha=0.1, wrapped=optuna.pruners.MedianPruner())
        >>> study = optuna.create_study(pruner=pruner)
    """

    def __init__(
        self,
        *,
        k: int = 5,
        alpha: float = 0.05,
        wrapped: BasePruner | None = None,
        seed: int = 0,
    ) -> None:
        check = Arguments("ForecastPruner")
        check.whole("k", k, least=1)
        check.real("alpha", alpha, above=0, below=1)
        check.whole("seed", seed)
        super().__init__(wrapped)
        self._k = k
        self._alpha = alpha
        self._seed = seed
        self._fits = Fits()

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The probability of entering the best `k`, once it is known well enough."""
        step = trial.last_step
        if step is None:
            return None
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        finished = [
            other
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if other.value is not None and math.isfinite(other.value)
        ]
        finished = [other for other in finished if _early(other, step) is not None]
        finished = finished[: fitted_on(len(finished))]
        if len(finished) < max(_FEWEST, self._k + 1) or 1 / (len(finished) + 1) >= self._alpha:
            return None
        values = np.array([sign * (other.value or 0.0) for other in finished])
        best = float(np.sort(values)[self._k - 1])
        name = study.study_name
        probability = self._probability(name, finished, values, trial, step, sign, best)
        numbers = {"probability": probability, "alpha": self._alpha, "threshold": sign * best}
        is_hopeless = probability < self._alpha
        word = "below" if is_hopeless else "not below"
        reason = (
            f"forecast: probability {probability:.3g} of entering the best {self._k}, {word} "
            f"{self._alpha:g} ({len(finished)} trials)"
        )
        return Decision(step, _RULE, is_hopeless, reason, numbers)

    def _probability(
        self,
        study_name: str,
        finished: Sequence[FrozenTrial],
        values: NDArray[np.float64],
        trial: FrozenTrial,
        step: int,
        sign: float,
        best: float,
    ) -> float:
        last = _early(trial, step)
        if last is None or not math.isfinite(last):
            return 0.0
        space = trial.distributions

        def fit() -> Surrogate:
            observations = [_observe(other, step, sign) for other in finished]
            return Surrogate(feature_table(observations, space), values, self._seed)

        numbers = tuple(other.number for other in finished)
        surrogate = self._fits.get((study_name, numbers, step, tuple(sorted(space))), fit)
        [forecast] = surrogate.forecast(feature_table([_observe(trial, step, sign)], space))
        return forecast.probability_below(best)


def _observe(trial: FrozenTrial, step: int, sign: float) -> Observation:
    """What was known of a trial at a step."""
    reported = [v for s, v in sorted(trial.intermediate_values.items()) if s <= step]
    slope = sign * (reported[-1] - reported[0]) if len(reported) > 1 else None
    return Observation(
        trial.params,
        {
            "last": sign * reported[-1] if reported else None,
            "slope": slope,
            "exponent": attributes.number(trial, attributes.EXPONENT),
            "low": attributes.number(trial, attributes.LOW),
        },
    )


def _early(trial: FrozenTrial, step: int) -> float | None:
    """The last value reported up to a step."""
    steps = [s for s in trial.intermediate_values if s <= step]
    return trial.intermediate_values[max(steps)] if steps else None
