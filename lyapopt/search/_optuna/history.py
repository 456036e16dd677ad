"""The trials of a study as samplers and pruners see them: interruptions leave no trace."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from lyapopt.store.states import INTERRUPTED, WORKER_ATTRIBUTE, count_in, state_of

NUMBER_ATTRIBUTE = "lyapopt:number"
"""User attribute of a trial whose logical number is not Optuna's (after an interruption)."""


def logical_number(trial: BaseTrial) -> int:
    """The number that a trial's randomness follows from.

    It is Optuna's number until a trial is interrupted and run again: the second try has a new
    number in Optuna and keeps the logical one, and so does every trial after it.
    """
    number = count_in(trial.user_attrs, NUMBER_ATTRIBUTE)
    return trial.number if number is None else number


def worker_of(trial: FrozenTrial) -> str | None:
    """Who runs a trial, or ran it; `None` if it is not one of ours."""
    return trial.system_attrs.get(WORKER_ATTRIBUTE)


class OrderedStudy(optuna.Study):
    """A study that shows its samplers and pruners a history that interruptions do not change.

    A trial that was interrupted is run again under a later number, and a group of trials may have
    ended in part. Samplers see trials in order of their first try, no try that was
    interrupted, and finished trials of the group that is running as still running. Overrides
    `Study._get_trials`, which all samplers and pruners read through; Hyperband, which makes
    studies of its own, is taught to read through it too. What really is there: `every_trial`.
    """

    _group: Container[int] = ()

    @classmethod
    def of(cls, study: optuna.Study) -> OrderedStudy:
        """The same study in this form."""
        ordered = cls(study.study_name, study._storage, study.sampler, study.pruner)
        for pruner in wrapped_pruners(study.pruner):
            if isinstance(pruner, optuna.pruners.HyperbandPruner):
                _order_brackets(pruner, ordered)
        return ordered

    @contextmanager
    def running(self, group: Container[int]) -> Iterator[None]:
        """While a group of logical numbers is asked for and trained."""
        self._group = group
        try:
            yield
        finally:
            self._group = ()

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy=deepcopy, states=None, use_cache=use_cache)
        trials = [trial for trial in trials if not is_superseded(trial)]
        if any(NUMBER_ATTRIBUTE in trial.user_attrs for trial in trials):
            trials = sorted(trials, key=lambda trial: (logical_number(trial), trial.number))
            trials = [self._as_seen(trial) for trial in trials]
        return trials if states is None else [t for t in trials if t.state in states]

    def _as_seen(self, trial: FrozenTrial) -> FrozenTrial:
        if not trial.state.is_finished() or logical_number(trial) not in self._group:
            return trial
        if trial.state == TrialState.FAIL:
            return trial
        seen = copy.copy(trial)
        seen.state, seen.values = TrialState.RUNNING, None
        return seen


def every_trial(study: optuna.Study) -> list[FrozenTrial]:
    """All trials that the storage has, also those that an `OrderedStudy` hides."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether a trial was interrupted: it is run again under its logical number."""
    return worker_of(trial) is not None and state_of(trial) == INTERRUPTED


def wrapped_pruners(pruner: object) -> Iterator[BasePruner]:
    """A pruner, the one that it wraps, and so on inwards.

    Ours, and those of others that are made like them, show it as `wrapped`; Optuna's
    `PatientPruner` keeps it to itself.
    """
    while isinstance(pruner, BasePruner):
        yield pruner
        pruner = getattr(pruner, "wrapped", None) or getattr(pruner, "_wrapped_pruner", None)


def _order_brackets(pruner: optuna.pruners.HyperbandPruner, study: OrderedStudy) -> None:
    """Let Hyperband place trials by logical number, and its brackets see the ordered history.

    It takes a trial's bracket from Optuna's number, and the study that it shows to a bracket reads
    the storage without asking ours.
    """
    bracket_of, create = pruner._get_bracket_id, pruner._create_bracket_study

    def bracket_id(any_study: optuna.Study, trial: FrozenTrial) -> int:
        placed = copy.copy(trial)
        placed.number = logical_number(trial)
        return bracket_of(any_study, placed)

    def bracket_study(any_study: optuna.Study, bracket: int) -> optuna.Study:
        made: Any = create(any_study, bracket)

        def get_trials(
            deepcopy: bool = True, states: Container[TrialState] | None = None
        ) -> list[FrozenTrial]:
            trials = study._get_trials(deepcopy, states)
            return [trial for trial in trials if bracket_id(made, trial) == bracket]

        made._get_trials, made.get_trials = study._get_trials, get_trials
        return made  # type: ignore[no-any-return]  # what Optuna makes is typed as Any

    own: Any = pruner
    own._get_bracket_id, own._create_bracket_study = bracket_id, bracket_study


def bracket_study(study: optuna.Study) -> optuna.Study:
    """The study as pruners and samplers see it inside a Hyperband bracket: most of it is hidden."""
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    hyperband._try_initialization(study)
    hyperband._n_brackets = 1
    hyperband._trial_allocation_budgets = [1]
    hyperband._total_trial_allocation_budget = 1
    inner = optuna.Study(study.study_name, study._storage, study.sampler, hyperband)
    return hyperband._create_bracket_study(inner, 0)
