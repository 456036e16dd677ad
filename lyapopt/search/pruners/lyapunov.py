"""Prune what the first steps say will not train: too slow, too hot, dead or diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from lyapopt.checks import Arguments
from lyapopt.probe import Verdict, VerdictRule
from lyapopt.search import attributes
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.store import Decision

PATIENCE: Final = 10
"""Prunings in a row after which a trial that is no worse than those may pass."""

_RULE = "LyapunovPruner"


class LyapunovPruner(WrappingPruner):
    """Prunes a trial whose loss has not fallen (slow), whose exponent is too high (hot), and one
    that is dead or has diverged.

    It reads what the probe has left in the trial's user attributes, and decides from the first
    report on. In a study with several objectives, where Optuna has no pruning, an `Objective` asks
    for this rule alone after the probe; what is wrapped is not asked.

    With a limit `slow` an `Objective` trains the first `horizon` steps of a trial alone. One that
    is slow or has diverged by then costs these steps, and has a verdict and `loss_fall`, but no
    exponent. Neighbours, which cost `neighbours * horizon` more, then run beside those steps for
    the trials that are left, and for slow ones that pass (below). They run for all trials where
    something else may read their exponents: with a sampler or a wrapped pruner that is not
    Optuna's, with constraints, or with the exponent as the value; and where the network is measured
    by a twin or by tangents, or its first steps take more than 64 MiB.

    Both limits are absolute, and a study may lie beyond them as a whole: a loss with a large
    constant in it falls by a small share, and normalised networks may train well at exponents that
    are hot elsewhere. So after ten slow or hot trials in a row the next one passes whose loss has
    fallen by no less than that of those ten.

    Args:
        slow: Share of the first loss that the loss must have fallen by over the probe's horizon
            (the mean of its second half; `lyapopt.probe.verdicts.relative_fall`); `None` never
            prunes for it.
        hot: Settled exponent above which a trial is pruned, nats per step; `None` never prunes for
            it.
        dead: Whether to prune dead trials.
        wrapped: Any Optuna pruner, asked for all that is left.

    Raises:
        UserError: If a limit is out of its range, or `wrapped` is a Hyperband pruner, which must be
            the outermost one to be seen by Optuna.

    Example:
        >>> pruner = LyapunovPruner(hot=0.1, wrapped=optuna.pruners.MedianPruner())
        >>> study = optuna.create_study(pruner=pruner)
    """

    def __init__(
        self,
        *,
        slow: float | None = VerdictRule.slow,
        hot: float | None = VerdictRule.hot,
        dead: bool = True,
        wrapped: BasePruner | None = None,
    ) -> None:
        check = Arguments("LyapunovPruner")
        check.optional(check.real, "slow", slow, below=1)
        check.optional(check.real, "hot", hot, above=0)
        check.flag("dead", dead)
        super().__init__(wrapped)
        self._slow = slow
        self._hot = hot
        self._dead = dead

    @property
    def slow(self) -> float | None:
        """Share of the first loss that the loss must have fallen by."""
        return self._slow

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The reason to prune `trial`, or to let it pass all the same, if there is one."""
        step, verdict = trial.last_step or 0, trial.user_attrs.get(attributes.VERDICT)
        numbers = self._numbers(trial)
        if verdict == Verdict.DIVERGED:
            return Decision(step, _RULE, True, "diverged", numbers)
        if verdict == Verdict.DEAD and self._dead:
            return Decision(step, _RULE, True, "dead: the training stands still", numbers)
        reason = self._fault(trial)
        if reason is None:
            return None
        if self._passes(study, trial):
            reason = f"{reason}; passes, since {PATIENCE} in a row were no better"
            return Decision(step, _RULE, False, reason, numbers)
        return Decision(step, _RULE, True, reason, numbers)

    def _numbers(self, trial: FrozenTrial) -> dict[str, float]:
        numbers = {
            "loss_fall": attributes.number(trial, attributes.LOSS_FALL),
            "slow": self._slow,
            "exponent": attributes.number(trial, attributes.EXPONENT),
            "hot": self._hot,
        }
        return {name: value for name, value in numbers.items() if value is not None}

    def _fault(self, trial: FrozenTrial) -> str | None:
        """Why a trial is slow or hot, in words; `None` if it is neither, or was not measured."""
        exponent = attributes.number(trial, attributes.EXPONENT)
        if self._hot is not None and exponent is not None and exponent > self._hot:
            return f"hot: exponent {exponent:.3g} above {self._hot:.3g} nats per step"
        fall = attributes.number(trial, attributes.LOSS_FALL)
        if self._slow is not None and fall is not None and fall < self._slow:
            return f"slow: the loss {_moved(fall)} of its first value{_wanted(self._slow)}"
        return None

    def _passes(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a slow or hot trial passes after ten in a row.

        It follows from the attributes of the trials before it alone, whatever has become of them,
        so that it is the same in a group of trials and after an interruption.
        """
        before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        row: list[float] = []
        for fall in self._falls_since_the_last_good_one(before):
            row = [] if _is_no_worse(fall, row) else [*row, fall]
        return _is_no_worse(_fall_of(trial), row)

    def _falls_since_the_last_good_one(self, trials: Sequence[FrozenTrial]) -> list[float]:
        """Falls of the slow and hot trials at the end of a sequence, in its order."""
        found: list[float] = []
        for trial in reversed(trials):
            if self._fault(trial) is not None:
                found.append(_fall_of(trial))
            elif _is_good(trial):
                break
        return found[::-1]


def _moved(fall: float) -> str:
    return f"fell by {fall:.2%}" if fall >= 0 else f"rose by {-fall:.2%}"


def _wanted(slow: float) -> str:
    """What the loss should have done, to go on with."""
    if slow > 0:
        return f", where a fall of at least {slow:.2%} is needed"
    return f", where it may rise by {-slow:.2%} at most" if slow < 0 else ", where it must not rise"


def _is_no_worse(fall: float, row: Sequence[float]) -> bool:
    """Whether a fall is none below those of the last ten in a row; false with fewer."""
    return len(row) >= PATIENCE and fall >= max(row[-PATIENCE:])


def _fall_of(trial: FrozenTrial) -> float:
    fall = attributes.number(trial, attributes.LOSS_FALL)
    return -math.inf if fall is None else fall


def _is_good(trial: FrozenTrial) -> bool:
    """Whether a trial without a fault was measured, and can train."""
    verdict = trial.user_attrs.get(attributes.VERDICT)
    return verdict in (Verdict.EDGE, Verdict.NEUTRAL, Verdict.CONTRACTING, Verdict.HOT)
