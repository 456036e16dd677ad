"""Why a trial was pruned, or was not."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    ThresholdPruner,
)
from optuna.trial import FrozenTrial

from lyapopt.errors import UserError
from lyapopt.store import Decision

_COMPARE_WITH_FINISHED = (MedianPruner, NopPruner, PercentilePruner, ThresholdPruner)


class DecidingPruner(BasePruner):
    """A pruner with a rule of its own, a wrapped pruner for the rest, and reasons for both.

    The wrapped pruner is always asked, and asked once, since a pruner such as successive halving
    keeps its books when it is.

    Args:
        wrapped: Any Optuna pruner but Hyperband.

    Raises:
        UserError: If a Hyperband pruner is wrapped, at whatever depth: Optuna must see it as the
            outermost one, or its brackets would not be kept apart.
    """

    def __init__(self, wrapped: BasePruner | None = None) -> None:
        _refuse_hyperband(type(self).__name__, wrapped)
        self._wrapped = wrapped or NopPruner()
        self._decisions: dict[int, Decision] = {}

    @property
    def wrapped(self) -> BasePruner:
        """The wrapped pruner."""
        return self._wrapped

    @abstractmethod
    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The pruner's own rule: its decision, or `None` if it has nothing to say."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether `trial` should stop."""
        others = bool(self._wrapped.prune(study, trial))
        own = self.decide(study, trial)
        if own is None:
            self._decisions.pop(trial.number, None)
        else:
            self._decisions[trial.number] = own
        return others or (own is not None and own.pruned)

    def take_decision(self, trial: FrozenTrial) -> Decision | None:
        """What the pruner's own rule said when it was last asked for `trial`; once."""
        return self._decisions.pop(trial.number, None)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decisions": {}}


def decisions_of(pruner: BasePruner, trial: FrozenTrial, pruned: bool) -> list[Decision]:
    """What has just been decided about `trial`: by our rules, whether they pruned or not, outermost
    first; and by another pruner, if that is who pruned.

    Args:
        pruner: Has just been asked.
        trial: What for.
        pruned: What it answered.
    """
    found: list[Decision] = []
    inner: BasePruner = pruner
    while isinstance(inner, DecidingPruner):
        own = inner.take_decision(trial)
        if own is not None:
            found.append(own)
        inner = inner.wrapped
    if not pruned or any(decision.pruned for decision in found):
        return found
    step = trial.last_step or 0
    value = trial.intermediate_values.get(step)
    rule = type(inner).__name__
    numbers = {} if value is None else {"value": value}
    return [*found, Decision(step, rule, True, f"{rule} at step {step}", numbers)]


def reads_initial_loss(pruner: BasePruner | None) -> bool:
    """Whether a pruner, or one that it wraps, compares trials by their initial loss."""
    while pruner is not None:
        if getattr(pruner, "reads_initial_loss", False):
            return True
        pruner = getattr(pruner, "wrapped", None) or getattr(pruner, "_wrapped_pruner", None)
    return False


def needs_whole_groups(pruner: BasePruner) -> bool:
    """Whether trials of an interrupted group are to be repeated although they had ended.

    A median pruner compares a trial with trials of earlier groups, so that one trial of a group can
    be repeated without the others. Successive halving and Hyperband note the rungs of every trial
    as they are reached, in this group too: to repeat one trial as it was, all must run again. Of a
    pruner that is not known the same is assumed.

    Args:
        pruner: Any Optuna pruner.

    Example:
        >>> import optuna
        >>> needs_whole_groups(optuna.pruners.MedianPruner())
        False
        >>> needs_whole_groups(optuna.pruners.PatientPruner(optuna.pruners.HyperbandPruner(), 1))
        True
    """
    if isinstance(pruner, DecidingPruner):
        return needs_whole_groups(pruner.wrapped)
    if type(pruner) is PatientPruner:
        inner: BasePruner | None = getattr(pruner, "_wrapped_pruner", None)
        return inner is not None and needs_whole_groups(inner)
    return type(pruner) not in _COMPARE_WITH_FINISHED


def _refuse_hyperband(name: str, wrapped: BasePruner | None) -> None:
    while wrapped is not None:
        if isinstance(wrapped, HyperbandPruner):
            raise UserError(
                f"{name}: Optuna does not see a Hyperband pruner inside another pruner, and its "
                "brackets would not be kept apart; wrap SuccessiveHalvingPruner instead"
            )
        wrapped = getattr(wrapped, "wrapped", None) or getattr(wrapped, "_wrapped_pruner", None)
