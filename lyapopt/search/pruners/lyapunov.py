"""Prune what the exponent says cannot train."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from lyapopt.checks import Arguments
from lyapopt.probe import Probe, Verdict
from lyapopt.search import attributes
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.store import Decision

_RULE = "LyapunovPruner"


class LyapunovPruner(WrappingPruner):
    """Prunes a trial whose exponent is too high (hot), or whose training is dead or diverged.

    It reads what the probe has left in the trial's user attributes, so that it costs nothing and
    decides from the first report on. In a study with several objectives, where Optuna has no
    pruning, an `Objective` asks for this rule alone after the probe; what is wrapped is not asked.

    Args:
        hot: Exponent above which a trial is pruned, nats per step: the lower end of the interval
            where there is one, else the exponent; `None` never prunes for it.
        dead: Whether to prune dead trials.
        level: Confidence level of the interval whose lower end must lie above `hot`. It is that of
            the trial's probe, stretched as a normal distribution's where the probe's level is
            another.
        hot_quantile: A threshold relative to the study instead: a trial is hot whose exponent lies
            above this quantile of the exponents of the study's complete trials, once there are
            `n_startup_trials`, and above zero.
        n_startup_trials: How many complete trials `hot_quantile` waits for.
        wrapped: Any Optuna pruner, asked for all that is left.

    Raises:
        UserError: If a threshold is out of its range, or `wrapped` is a Hyperband pruner, which
            must be the outermost one to be seen by Optuna.

    Example:
        >>> pruner = LyapunovPruner(hot=0.3, wrapped=optuna.pruners.MedianPruner())
        >>> study = optuna.create_study(pruner=pruner)
    """

    def __init__(
        self,
        *,
        hot: float | None = 0.3,
        dead: bool = True,
        level: float = 0.95,
        hot_quantile: float | None = None,
        n_startup_trials: int = 10,
        wrapped: BasePruner | None = None,
    ) -> None:
        check = Arguments("LyapunovPruner")
        check.optional(check.real, "hot", hot, above=0)
        check.flag("dead", dead)
        check.real("level", level, above=0, below=1)
        check.optional(check.real, "hot_quantile", hot_quantile, above=0, below=1)
        check.whole("n_startup_trials", n_startup_trials, least=1)
        super().__init__(wrapped)
        self._hot = hot
        self._dead = dead
        self._level = level
        self._hot_quantile = hot_quantile
        self._n_startup_trials = n_startup_trials

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The reason to prune `trial`, if this pruner has one."""
        verdict = trial.user_attrs.get(attributes.VERDICT)
        step = trial.last_step or 0
        exponent = attributes.number(trial, attributes.EXPONENT)
        low = self._low(trial, exponent)
        numbers = {
            name: value
            for name, value in (("exponent", exponent), ("low", low), ("hot", self._hot))
            if value is not None
        }
        if verdict == Verdict.DIVERGED:
            return Decision(step, _RULE, True, "diverged", numbers)
        if verdict == Verdict.DEAD and self._dead:
            return Decision(step, _RULE, True, "dead: the training stands still", numbers)
        measured = exponent if low is None else low
        if measured is None:
            return None
        if self._hot is not None and measured > self._hot:
            reason = f"hot: exponent {measured:.3g} above {self._hot:.3g} nats per step"
            return Decision(step, _RULE, True, reason, numbers)
        threshold = self._relative_threshold(study)
        if threshold is not None and measured > threshold:
            reason = (
                f"hot: exponent {measured:.3g} above {threshold:.3g} nats per step, the "
                f"{self._hot_quantile:g} quantile of the study's"
            )
            return Decision(step, _RULE, True, reason, {**numbers, "threshold": threshold})
        return None

    def _low(self, trial: FrozenTrial, exponent: float | None) -> float | None:
        """The interval's lower end at this pruner's level."""
        low = attributes.number(trial, attributes.LOW)
        if low is None or exponent is None:
            return low
        measured = attributes.number(trial, attributes.LEVEL) or Probe.level
        if not 0 < measured < 1:  # somebody else's attribute of that name
            measured = Probe.level
        if math.isclose(measured, self._level):
            return low
        return exponent - (exponent - low) * _quantile(self._level) / _quantile(measured)

    def _relative_threshold(self, study: optuna.Study) -> float | None:
        if self._hot_quantile is None:
            return None
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        measured = [attributes.number(trial, attributes.EXPONENT) for trial in trials]
        known = [exponent for exponent in measured if exponent is not None]
        if len(known) < self._n_startup_trials:
            return None
        return max(0.0, float(np.quantile(known, self._hot_quantile)))


def _quantile(level: float) -> float:
    """Half the width of a two-sided normal interval, in standard deviations."""
    return NormalDist().inv_cdf((1 + level) / 2)
