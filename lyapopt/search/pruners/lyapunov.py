"""Prune what the first steps say will not train: too slow, too hot, dead or diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from lyapopt.checks import Arguments
from lyapopt.probe import Verdict, VerdictRule
from lyapopt.search import attributes
from lyapopt.search._optuna import identifier
from lyapopt.search.pruners.decision import WrappingPruner
from lyapopt.search.pruners.row import PATIENCE, Row
from lyapopt.search.pruners.usual import (
    begins_above,
    has_slow_trained,
    late_loss,
    progress_of,
    usual_first_loss,
    usual_progress,
)
from lyapopt.store import Decision

_RULE = "LyapunovPruner"
_ALIVE: Final = (Verdict.EDGE, Verdict.NEUTRAL, Verdict.CONTRACTING, Verdict.HOT)
_MOST_REMEMBERED: Final = 1000
"""Trials of which it is kept what is usual beside them: more than run at a time."""


@dataclass(frozen=True)
class _Standing:
    """How a slow or hot trial stands among those before it.

    Attributes:
        passes: Why it passes all the same; `None` if it is pruned.
        usual_fall: How far losses usually fall, if that was asked.
    """

    passes: str | None
    usual_fall: float | None = None


class LyapunovPruner(WrappingPruner):
    """Prunes a trial whose loss has not fallen (slow), whose exponent is too high (hot), and one
    that is dead or has diverged.

    It reads what the probe has left in the trial's user attributes, and decides from the first
    report on. In a study with several objectives, where Optuna has no pruning, an `Objective` asks
    for this rule alone after the probe; what is wrapped is not asked.

    With a limit `slow` an `Objective` trains the first `horizon` steps of a trial alone. One that
    is slow or has diverged by then costs these steps, and has a verdict and `loss_fall`, but no
    exponent. The trials that are left, and slow ones that pass (below), are then measured, by
    neighbours beside those steps or, in another precision, by a twin that begins where the trial
    began; what that costs is in `Probe`. All trials are measured where something else may read
    their exponents: with a sampler or a wrapped pruner that is not Optuna's (`EdgeOfChaosSampler`
    reads those of its own probes alone), with constraints, or with the exponent as the value; and
    where neighbours or tangents would run beside steps that take more than 64 MiB to keep, or
    losses are coarser than float32.

    A network may begin far above the others: one whose initial weights are too large has a loss of
    20 where others begin at 2.3, and is at 4 after the probe. It has learned nothing then that the
    others do not begin with. So the fall is read from its own first loss or from the median of the
    first losses of the study's latest hundred trials, whichever is lower.

    Both limits are absolute, and a study may lie beyond them as a whole: a loss with a large
    constant in it falls by a small share, some losses stand on a plateau at first, and normalised
    networks may train well at exponents that are hot elsewhere. So after `patience` slow or hot
    trials in a row the next one passes whose loss has fallen by no less than that of those. Where
    no trial of the study has ever been within the limits, the row is halved each time, down to a
    fourth (10, 5, 3), and the longer it takes the less it must have fallen: at most three times
    `patience` are pruned in a row.

    What a study has shown counts for more than a limit. A hot trial passes whose loss has fallen as
    far as the median of the latest trials within the limits: what expands and learns is fast, and
    not about to blow up. A slow one passes once a slow one is in the better half of the completed
    trials, of which there are four or more: there, losses stand on a plateau first. (Values of
    several objectives do not say which half is better, and this is left out for them.) Whether a
    trial passes is settled when it is first asked for.

    Args:
        slow: Share of the first loss that the loss must have fallen by over the probe's horizon
            (the mean of its second half; `lyapopt.probe.verdicts.relative_fall`); `None` never
            prunes for it.
        hot: Settled exponent above which a trial is pruned, nats per step; `None` never prunes for
            it.
        dead: Whether to prune dead trials.
        patience: How many slow or hot trials in a row are pruned before one passes. With fewer it
            shows sooner where a loss stands on a plateau first; `sampler: auto` takes 4.
        wrapped: Any Optuna pruner, asked for all that is left.

    Raises:
        UserError: If a number is out of its range, or `wrapped` is a Hyperband pruner, which must
            be the outermost one to be seen by Optuna.

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
        patience: int = PATIENCE,
        wrapped: BasePruner | None = None,
    ) -> None:
        check = Arguments("LyapunovPruner")
        check.optional(check.real, "slow", slow, below=1)
        check.optional(check.real, "hot", hot, above=0)
        check.flag("dead", dead)
        self._patience = check.whole("patience", patience, least=1)
        super().__init__(wrapped)
        self._slow = slow
        self._hot = hot
        self._dead = dead
        self.reads_initial_loss = slow is not None
        self._first_losses: dict[tuple[str, int], float | None] = {}
        self._standings: dict[tuple[str, int, bool], _Standing] = {}

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
        first = self._first_loss(study, trial)
        reason = self._fault(trial, first)
        if reason is None:
            return None
        standing = self._standing(study, trial, first)
        numbers = self._numbers(trial, first, standing)
        if standing.passes is not None:
            reason = f"{reason}; passes, since {standing.passes}"
        return Decision(step, _RULE, standing.passes is None, reason, numbers)

    def _first_loss(self, study: optuna.Study, trial: FrozenTrial) -> float | None:
        """The usual first loss, looked up once a trial, which may ask at each of many reports."""
        if self._slow is None or attributes.number(trial, attributes.LOSS_FALL) is None:
            return None
        key = identifier(study, trial)
        if key not in self._first_losses:
            _make_room(self._first_losses)
            self._first_losses[key] = usual_first_loss(_before(study, trial), trial)
        return self._first_losses[key]

    def _standing(self, study: optuna.Study, trial: FrozenTrial, first: float | None) -> _Standing:
        """Whether a slow or hot trial passes: settled when it is first asked, with what it has."""
        key = (*identifier(study, trial), self._is_hot(trial))
        if key not in self._standings:
            _make_room(self._standings)
            self._standings[key] = self._judge(study, trial, first)
        return self._standings[key]

    def _judge(self, study: optuna.Study, trial: FrozenTrial, first: float | None) -> _Standing:
        before, progress, usual = _before(study, trial), progress_of(trial, first), None
        if self._is_hot(trial):
            usual = usual_progress(before, first, self._is_within)
            if usual is not None and progress >= usual:
                return _Standing("its loss fell as far as usual", usual)
        elif self._has_slow_trained(study, before, first):
            return _Standing("slow trials of this study have trained as well as others")
        row = self._row(before, first)
        passes = row.lets_pass(progress)
        return _Standing(f"{row.patience} in a row were no better" if passes else None, usual)

    def _has_slow_trained(
        self, study: optuna.Study, before: Sequence[FrozenTrial], first: float | None
    ) -> bool:
        """In a study with several objectives none says alone how well a trial has trained."""
        directions = study.directions
        if self._slow is None or len(directions) > 1:
            return False
        return has_slow_trained(before, first, self._slow, directions[0])

    def _numbers(
        self, trial: FrozenTrial, first: float | None, standing: _Standing | None = None
    ) -> dict[str, float]:
        numbers = {
            "loss_fall": attributes.number(trial, attributes.LOSS_FALL),
            "slow": self._slow,
            "exponent": attributes.number(trial, attributes.EXPONENT),
            "hot": self._hot,
            "usual_first_loss": first if begins_above(trial, first) else None,
            "usual_fall": None if standing is None else standing.usual_fall,
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

    def _row(self, before: Sequence[FrozenTrial], first: float | None) -> Row:
        """The slow and hot trials at the end of a sequence, of which some have passed.

        It follows from the attributes of the trials before one alone, whatever has become of
        them, so that it is the same in a group of trials and after an interruption. All of them are
        judged by the first losses as they are known now, and not as they were known then.
        """
        since: list[float] = []
        is_any_good = False
        for trial in reversed(before):
            progress = progress_of(trial, first)
            if self._is_hot(trial) or self._is_slow(progress):
                since.append(progress)
            elif trial.user_attrs.get(attributes.VERDICT) in _ALIVE:
                is_any_good = True
                break
        row = Row(is_any_good, self._patience)
        for progress in reversed(since):
            row.add(progress)
        return row


def _before(study: optuna.Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """The trials with lower numbers."""
    return study.get_trials(deepcopy=False)[: trial.number]


def _make_room(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()


def _moved(fall: float) -> str:
    return f"fell by {fall:.2%}" if fall >= 0 else f"rose by {-fall:.2%}"


def _wanted(slow: float) -> str:
    """What the loss should have done, to go on with."""
    if slow > 0:
        return f", where a fall of at least {slow:.2%} is needed"
    return f", where it may rise by {-slow:.2%} at most" if slow < 0 else ", where it must not rise"
