"""The trials of a study as samplers and pruners see them: interruptions leave no trace."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import optuna
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from lyapopt.search._optuna.storage import refresh
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


class _Past(NamedTuple):
    """The first trials of a study, which have ended, and how they are shown.

    Attributes:
        trials: As the storage has them.
        shown: Those of them that samplers and pruners see.
        is_renumbered: Whether one among these has a number of its own.
        in_states: Those that are shown, by the states that were asked for.
    """

    trials: list[FrozenTrial]
    shown: list[FrozenTrial]
    is_renumbered: bool
    in_states: dict[tuple[TrialState, ...], list[FrozenTrial]]

    def of(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """Those that are shown in some states; the caller does not change the list."""
        if states is None:
            return self.shown
        key = tuple(state for state in TrialState if state in states)
        if key not in self.in_states:
            self.in_states[key] = [trial for trial in self.shown if trial.state in key]
        return self.in_states[key]


_NO_PAST: Final = _Past([], [], False, {})


class OrderedStudy(optuna.Study):
    """A study that shows its samplers and pruners a history that interruptions do not change.

    A trial that was interrupted is run again under a later number, and with its group. Samplers see
    trials in order of their first try, no try that was interrupted, and of the group that is
    running what they would if it had just begun. Overrides `Study._get_trials`, which nearly all
    samplers and pruners read through; the others are taught to (`by_number`). What really is there:
    `every_trial`.
    """

    _group: Container[int] = ()
    _asked: Container[int] = ()
    _former: Container[int] = ()
    _earlier: Sequence[FrozenTrial] = ()
    _past: _Past = _NO_PAST

    @classmethod
    def of(cls, study: optuna.Study) -> OrderedStudy:
        """The same study in this form."""
        return cls(study.study_name, study._storage, study.sampler, study.pruner)

    @contextmanager
    def running(self, group: Container[int], asked: Container[int]) -> Iterator[None]:
        """While trials of a group are asked for and trained.

        Of these no former try is seen; the others of the group are seen as running, since trials of
        a group do not see each other's results.

        Args:
            group: Logical numbers of the whole group.
            asked: Those among them that are asked for.
        """
        self._former = {
            trial._trial_id
            for trial in every_trial(self)
            if trial.state != TrialState.WAITING and logical_number(trial) in asked
        }
        self._group, self._asked, self._past = group, asked, _NO_PAST
        try:
            yield
        finally:
            self._group = self._asked = self._former = ()
            self._past = _NO_PAST

    @contextmanager
    def preceded_by(self, trials: Sequence[FrozenTrial]) -> Iterator[None]:
        """While the sampler is asked: trials of another study come first (`begin_with`)."""
        self._earlier = trials
        try:
            yield
        finally:
            self._earlier = ()

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        every = super()._get_trials(deepcopy=deepcopy, states=None, use_cache=use_cache)
        past = self._past_of(every) if not deepcopy else _NO_PAST
        rest = self._shown(every[len(past.trials) :])
        trials = past.of(states) + _in_states(rest, states)
        if past.is_renumbered or _are_renumbered(rest):
            trials.sort(key=lambda trial: (logical_number(trial), trial.number))
        return _in_states(self._earlier, states) + trials

    def _past_of(self, every: list[FrozenTrial]) -> _Past:
        """What is known of the first trials, with those that have ended since.

        A study is read several times a trial: without this, that takes a time that grows with the
        square of the trials.
        """
        known = self._past
        count = len(known.trials)
        if every[:count] != known.trials:  # the same objects, unless they were read anew
            known, count = _NO_PAST, 0
        ended = list(itertools.takewhile(self._has_settled, every[count:]))
        if ended:
            shown = self._shown(ended)
            self._past = known = _Past(
                known.trials + ended,
                known.shown + shown,
                known.is_renumbered or _are_renumbered(shown),
                {},
            )
        return known

    def _has_settled(self, trial: FrozenTrial) -> bool:
        """Whether a trial is shown as it is from now on."""
        return trial.state.is_finished() and logical_number(trial) not in self._group

    def _shown(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [
            self._as_seen(trial)
            for trial in trials
            if trial._trial_id not in self._former and not is_superseded(trial)
        ]

    def _as_seen(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return trial
        number = logical_number(trial)
        if number not in self._group or number in self._asked:
            return trial
        seen = copy.copy(trial)
        seen.state, seen.values, seen.intermediate_values = TrialState.RUNNING, None, {}
        return seen


def _in_states(
    trials: Sequence[FrozenTrial], states: Container[TrialState] | None
) -> list[FrozenTrial]:
    return list(trials) if states is None else [t for t in trials if t.state in states]


def _are_renumbered(trials: Sequence[FrozenTrial]) -> bool:
    return any(NUMBER_ATTRIBUTE in trial.user_attrs for trial in trials)


def every_trial(study: optuna.Study) -> list[FrozenTrial]:
    """All trials that the storage has now, also those that an `OrderedStudy` hides."""
    refresh(study)
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def is_superseded(trial: FrozenTrial) -> bool:
    """Whether a trial was interrupted: it is run again under its logical number."""
    return (
        trial.state == TrialState.FAIL
        and worker_of(trial) is not None
        and state_of(trial) == INTERRUPTED
    )
