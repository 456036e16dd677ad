"""The paper's comparison as a pruner."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from lyapopt.checks import Arguments
from lyapopt.search import attributes
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.store import Decision

_RULE = "GatedPercentilePruner"


class GatedPercentilePruner(WrappingPruner):
    """Prunes a trial whose exponent is high among those of comparable initial loss.

    The rule as it was published: of trials whose initial loss lies within the inter-quartile range
    of all initial losses, the one with the lower exponent ends at the lower loss. A trial outside
    that range is compared with none.

    Outside the paper's setting (small networks on exclusive or, one learning rate) the rule does
    not hold: over six real tasks the rank correlation of exponent and final loss was between -0.28
    and +0.40. It is here to be tested, not as advice; `LyapunovPruner` acts on what does hold.

    Args:
        percentile: Share in percent of comparable trials that are kept: those of lowest exponent.
        n_startup_trials: How many measured trials the rule waits for.
        wrapped: Any Optuna pruner, asked for all that is left.

    Raises:
        UserError: If a number is out of its range, or `wrapped` is a Hyperband pruner.

    Source: Mitra, arXiv:2410.05988, Fig. 5.

    Example:
        >>> study = optuna.create_study(pruner=GatedPercentilePruner(percentile=50))
    """

    reads_initial_loss = True

    def __init__(
        self,
        *,
        percentile: float = 50.0,
        n_startup_trials: int = 8,
        wrapped: BasePruner | None = None,
    ) -> None:
        check = Arguments("GatedPercentilePruner")
        check.real("percentile", percentile, above=0, below=100)
        check.whole("n_startup_trials", n_startup_trials, least=1)
        super().__init__(wrapped)
        self._percentile = percentile
        self._n_startup_trials = n_startup_trials

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The comparison, for a trial inside the gate."""
        own = _measured(trial)
        if own is None:
            return None
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        others = [_measured(other) for other in study.get_trials(deepcopy=False, states=states)]
        known = np.array([other for other in others if other is not None])
        if len(known) < self._n_startup_trials:
            return None
        low, high = np.quantile(known[:, 0], [0.25, 0.75])
        loss, exponent = own
        if not low <= loss <= high:
            return None
        comparable = known[(low <= known[:, 0]) & (known[:, 0] <= high), 1]
        if len(comparable) == 0:
            return None
        threshold = float(np.percentile(comparable, self._percentile))
        is_high = exponent > threshold
        reason = (
            f"exponent {exponent:.3g} {'above' if is_high else 'not above'} {threshold:.3g}, the "
            f"{self._percentile:g}th percentile of {len(comparable)} trials with initial losses "
            f"from {low:.3g} to {high:.3g}"
        )
        numbers = {
            "exponent": exponent,
            "threshold": threshold,
            "initial_loss": loss,
            "gate_low": float(low),
            "gate_high": float(high),
        }
        return Decision(trial.last_step or 0, _RULE, is_high, reason, numbers)


def _measured(trial: FrozenTrial) -> tuple[float, float] | None:
    """Initial loss and exponent of a trial that has both."""
    loss = attributes.number(trial, attributes.INITIAL_LOSS)
    exponent = attributes.number(trial, attributes.EXPONENT)
    return None if loss is None or exponent is None else (loss, exponent)
