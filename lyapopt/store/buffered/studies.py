"""What is known of a study's trials in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.store._optuna import trial_id_of
from lyapopt.store.buffered.reading import Changes, Header

_PRECISION = timedelta(seconds=1)  # of a moment in MySQL's tables


@dataclass
class Study:
    """The trials of one study. They are replaced and never changed, since others hold them.

    Attributes:
        name: Name of the study, once it was read.
        directions: Its directions, once they were read.
        trials: By id.
        unsettled: Ids of trials that were not finished when they were last read.
        last: The largest id that was read; those above it are new.
        read_at: When it was read last, on the monotonic clock.
        read_in_full_at: The same, with the trials that wait.
        distributions: Of each parameter one of its distributions in the study.
        is_polled: Whether it was read for the trial that is to be created next.
    """

    name: str | None = None
    directions: list[StudyDirection] | None = None
    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    unsettled: set[int] = field(default_factory=set)
    last: int = -1
    read_at: float = -math.inf
    read_in_full_at: float = -math.inf
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    is_polled: bool = False
    _ordered: list[FrozenTrial] | None = None
    _places: dict[int, int] = field(default_factory=dict)

    def put(self, trial: FrozenTrial) -> None:
        """Add a trial, or replace it by how it is now."""
        trial_id = trial_id_of(trial)
        self.trials[trial_id] = trial
        if self._ordered is None:
            return
        place = self._places.get(trial_id)
        if place is not None and self._ordered[place].number == trial.number:
            self._ordered[place] = trial
        elif place is None and (not self._ordered or self._ordered[-1].number < trial.number):
            self._places[trial_id] = len(self._ordered)
            self._ordered.append(trial)
        else:
            self._ordered = None

    def remember_distributions(self, trial: FrozenTrial) -> None:
        """Parameters of a study keep their distributions but for their ranges."""
        for name, distribution in trial.distributions.items():
            self.distributions.setdefault(name, distribution)

    def drop(self, trial_id: int) -> None:
        """Forget a trial; it is read again when it is asked for."""
        del self.trials[trial_id]
        self._ordered = None
        self.read_at = -math.inf

    def in_state(self, state: TrialState) -> set[int]:
        """Ids of the unsettled trials in a state."""
        known = (trial_id for trial_id in self.unsettled if trial_id in self.trials)
        return {trial_id for trial_id in known if self.trials[trial_id].state == state}

    @property
    def ordered(self) -> list[FrozenTrial]:
        """The trials in the order of their numbers."""
        if self._ordered is None:
            self._ordered = sorted(self.trials.values(), key=lambda trial: trial.number)
            self._places = {trial_id_of(each): i for i, each in enumerate(self._ordered)}
        return self._ordered

    def continues(self, changes: Changes) -> bool:
        """Whether what was read belongs to this study, and not to another that got its ids.

        SQLite gives the ids of what was deleted to what is new.
        """
        if self.name is not None and self.name != changes.name:
            return False
        needed = self.unsettled if self.last < 0 else self.unsettled | {self.last}
        return all(
            trial_id in changes.seen and self._is_same(trial_id, changes.seen[trial_id])
            for trial_id in needed
        )

    def _is_same(self, trial_id: int, header: Header) -> bool:
        known = self.trials.get(trial_id)
        if known is None or trial_id in self.unsettled:
            return known is None or known.number == header.number
        start, number, state = known.datetime_start, known.number, known.state
        if (number, state) != (header.number, header.state) or start is None:
            return (number, state, start) == tuple(header)
        return header.start is not None and abs(start - header.start) <= _PRECISION


def in_states(trials: Iterable[FrozenTrial], states: object) -> list[FrozenTrial]:
    """The trials in these states; all of them without any."""
    if states is None:
        return list(trials)
    return [trial for trial in trials if trial.state in states]  # type: ignore[operator]  # Optuna's are any container
