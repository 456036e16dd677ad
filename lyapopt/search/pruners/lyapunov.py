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
from lyapopt.search._optuna import identifier
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.search.pruners.row import Row
from lyapopt.search.pruners.usual import Usual, begins_above, late_loss, progress_of, usual_of
from lyapopt.store import Decision

_RULE = "LyapunovPruner"
_ALIVE: Final = (Verdict.EDGE, Verdict.NEUTRAL, Verdict.CONTRACTING, Verdict.HOT)
_MOST_REMEMBERED: Final = 1000
"""Trials of which it is kept what is usual beside them: more than run at a time."""


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
    Optuna's (`EdgeOfChaosSampler` reads those of its own probes alone), with constraints, or with
    the exponent as the value; and where the network is measured by a twin or by tangents, or its
    first steps take more than 64 MiB.

    A network may begin far above the others: one whose initial weights are too large has a loss of
    20 where others begin at 2.3, and is at 4 after the probe. It has learned nothing then that the
    others do not begin with. So the fall is read from its own first loss or from the median of the
    first losses of the study's latest hundred trials, whichever is lower.

    Both limits are absolute, and a study may lie beyond them as a whole: a loss with a large
    constant in it falls by a small share, some losses stand on a plateau at first, and normalised
    networks may train well at exponents that are hot elsewhere. So after ten slow or hot trials in
    a row the next one passes whose loss has fallen by no less than that of those ten. Where no
    trial of the study has ever been within the limits, it is after five then, and then after three,
    and the longer it takes the less it must have fallen: at most thirty are pruned in a row.

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
        self.reads_initial_loss = slow is not None
        self._usual: dict[tuple[str, int], Usual] = {}

    @property
    def slow(self) -> float | None:
        """Share of the first loss that the loss must have fallen by."""
        return self._slow

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The reason to prune `trial`, or to let it pass all the same, if there is one."""
        step, verdict = trial.last_step or 0, trial.user_attrs.get(attributes.VERDICT)
        if verdict == Verdict.DIVERGED:
            return Decision(step, _RULE, True, "diverged", self._numbers(trial, None))
        if verdict == Verdict.DEAD and self._dead:
            numbers = self._numbers(trial, None)
            return Decision(step, _RULE, True, "dead: the training stands still", numbers)
        usual = self._usual_of(study, trial)
        reason = self._fault(trial, usual.first_loss)
        if reason is None:
            return None
        numbers = self._numbers(trial, usual)
        passes = self._passes(study, trial, usual)
        if passes is not None:
            return Decision(step, _RULE, False, f"{reason}; passes, since {passes}", numbers)
        return Decision(step, _RULE, True, reason, numbers)

    def _passes(self, study: optuna.Study, trial: FrozenTrial, usual: Usual) -> str | None:
        """Why a slow or hot trial passes all the same; `None` if it does not."""
        progress = progress_of(trial, usual.first_loss)
        if self._is_hot(trial):
            if usual.progress is not None and progress >= usual.progress:
                return "its loss fell as far as usual"
        elif usual.slow_may_train:
            return "slow trials of this study have trained as well as others"
        row = self._row(_before(study, trial), usual)
        return f"{row.patience} in a row were no better" if row.lets_pass(progress) else None

    def _usual_of(self, study: optuna.Study, trial: FrozenTrial) -> Usual:
        """What is usual in a study; it is looked up once a trial, which may ask at many reports."""
        if attributes.number(trial, attributes.LOSS_FALL) is None:
            return Usual()
        key = identifier(study, trial)
        if key not in self._usual:
            if len(self._usual) >= _MOST_REMEMBERED:
                self._usual.clear()
            directions = study.directions
            self._usual[key] = usual_of(
                _before(study, trial),
                trial,
                self._slow,
                self._is_within,
                directions[0] if len(directions) == 1 else None,
            )
        return self._usual[key]

    def _numbers(self, trial: FrozenTrial, usual: Usual | None) -> dict[str, float]:
        first = None if usual is None else usual.first_loss
        is_hot = usual is not None and self._is_hot(trial)
        numbers = {
            "loss_fall": attributes.number(trial, attributes.LOSS_FALL),
            "slow": self._slow,
            "exponent": attributes.number(trial, attributes.EXPONENT),
            "hot": self._hot,
            "usual_first_loss": first if begins_above(trial, first) else None,
            "usual_fall": usual.progress if usual is not None and is_hot else None,
        }
        return {name: value for name, value in numbers.items() if value is not None}

    def _is_hot(self, trial: FrozenTrial) -> bool:
        exponent = attributes.number(trial, attributes.EXPONENT)
        return self._hot is not None and exponent is not None and exponent > self._hot

    def _is_slow(self, progress: float) -> bool:
        return self._slow is not None and -math.inf < progress < self._slow

    def _is_within(self, trial: FrozenTrial, progress: float) -> bool:
        """Whether a trial was measured, is within both limits, and can train."""
        has_fault = self._is_hot(trial) or self._is_slow(progress)
        return not has_fault and trial.user_attrs.get(attributes.VERDICT) in _ALIVE

    def _fault(self, trial: FrozenTrial, usual: float | None) -> str | None:
        """Why a trial is slow or hot, in words; `None` if it is neither, or was not measured."""
        if self._is_hot(trial):
            exponent = attributes.number(trial, attributes.EXPONENT)
            return f"hot: exponent {exponent:.3g} above {self._hot:.3g} nats per step"
        fall = attributes.number(trial, attributes.LOSS_FALL)
        if self._slow is None or fall is None:
            return None
        if fall < self._slow:
            return f"slow: the loss {_moved(fall)} of its first value{_wanted(self._slow)}"
        if self._is_slow(progress_of(trial, usual)):
            return (
                f"slow: the loss {_moved(fall)}, to {late_loss(trial):.3g}, where networks of "
                f"this study begin at {usual:.3g}"
            )
        return None

    def _row(self, before: Sequence[FrozenTrial], usual: Usual) -> Row:
        """The slow and hot trials at the end of a sequence, of which some have passed.

        It follows from the attributes of the trials before one alone, whatever has become of
        them, so that it is the same in a group of trials and after an interruption. All of them are
        judged by the first losses as they are known now, and not as they were known then.
        """
        since: list[float] = []
        is_any_good = False
        for trial in reversed(before):
            progress = progress_of(trial, usual.first_loss)
            if self._is_hot(trial) or self._is_slow(progress):
                since.append(progress)
            elif trial.user_attrs.get(attributes.VERDICT) in _ALIVE:
                is_any_good = True
                break
        row = Row(is_any_good)
        for progress in reversed(since):
            row.add(progress)
        return row


def _before(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """The trials with lower numbers."""
    return study.get_trials(deepcopy=False)[: trial.number]


def _moved(fall: float) -> str:
    return f"fell by {fall:.2%}" if fall >= 0 else f"rose by {-fall:.2%}"


def _wanted(slow: float) -> str:
    """What the loss should have done, to go on with."""
    if slow > 0:
        return f", where a fall of at least {slow:.2%} is needed"
    return f", where it may rise by {-slow:.2%} at most" if slow < 0 else ", where it must not rise"
