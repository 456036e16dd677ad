"""Pruners that say why a trial was pruned, or was not."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, TypeGuard, runtime_checkable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.trial import FrozenTrial

from lyapopt.errors import UserError
from lyapopt.search._optuna import wrapped_pruners
from lyapopt.search.arguments import SearchArguments
from lyapopt.store import Decision


@runtime_checkable
class DecidingPruner(Protocol):
    """A pruner with a rule of its own that says what it decided and why.

    Attributes:
        reads_initial_loss: Whether its rule needs the loss before the first step.
    """

    reads_initial_loss: bool

    @property
    def wrapped(self) -> BasePruner:
        """The pruner that is asked beside it."""

    def decide(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The decision of its own rule, or `None` if that has nothing to say."""

    def take_decision(self, trial: FrozenTrial) -> Decision | None:
        """What its own rule decided when it was last asked for `trial`; once."""


class WrappingPruner(BasePruner):
    """A pruner with a rule of its own, a wrapped pruner for the rest, and reasons for both.

    The wrapped pruner is always asked, and asked once, since a pruner such as successive halving
    keeps its books when it is.

    Args:
        wrapped: Any Optuna pruner but Hyperband.

    Raises:
        UserError: If a Hyperband pruner is wrapped, at whatever depth: Optuna must see it as the
            outermost one, or its brackets would not be kept apart.
    """

    reads_initial_loss = False

    def __init__(self, wrapped: BasePruner | None = None) -> None:
        SearchArguments(type(self).__name__).pruner(wrapped)
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

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_decisions": {}}


def decides(pruner: object) -> TypeGuard[DecidingPruner]:
    """Whether a pruner is a `DecidingPruner`; asked at every report, and the protocol is slow."""
    if isinstance(pruner, WrappingPruner):
        return True
    is_optunas = type(pruner).__module__.startswith("optuna.")
    return not is_optunas and isinstance(pruner, DecidingPruner)


def decisions_of(pruner: BasePruner, trial: FrozenTrial, pruned: bool) -> list[Decision]:
    """What has just been decided about a trial, by which rule and why.

    By every pruner that decides, whether it pruned or not, outermost first; and by the pruner that
    they wrap, if it was that one that pruned.

    Args:
        pruner: The pruner that has just been asked.
        trial: The trial that it was asked about.
        pruned: What it answered.
    """
    found: list[Decision] = []
    inner: BasePruner = pruner
    while decides(inner):
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
    return any(decides(inner) and inner.reads_initial_loss for inner in wrapped_pruners(pruner))


def _refuse_hyperband(name: str, wrapped: BasePruner | None) -> None:
    if any(isinstance(inner, HyperbandPruner) for inner in wrapped_pruners(wrapped)):
        raise UserError(
            f"{name}: Optuna does not see a Hyperband pruner inside another pruner, and its "
            "brackets would not be kept apart; wrap SuccessiveHalvingPruner instead"
        )
