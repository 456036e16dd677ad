"""Which trials of a study count, which are to be run again, and which come next.

A trial has a logical number, which its randomness follows from. It counts when it is COMPLETE or
PRUNED, or FAILED by its own fault (its build or training raised) with no retry left. A trial that
was interrupted, or whose process died, is asked for again under its logical number, with its whole
group (`attempts`). If its process died every time, it counts as failed in the end (`recovery`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search import attributes
from lyapopt.search._optuna import every_trial, logical_number
from lyapopt.store.states import cost_in, count_in, state_of


@dataclass(frozen=True)
class Ledger:
    """The state of a study, read once.

    Attributes:
        done: Logical numbers that count.
        tries: All tries of every logical number that has begun, in their order.
        next_number: The logical number of the first trial that has not begun.
        gradient_evaluations: What all trials have cost so far.
        states: How many trials ended in which state.
    """

    done: frozenset[int]
    tries: Mapping[int, Sequence[FrozenTrial]]
    next_number: int
    gradient_evaluations: float
    states: Counter[str] = field(default_factory=Counter)

    @property
    def begun(self) -> frozenset[int]:
        """Logical numbers that have begun, done or not."""
        return frozenset(self.tries)

    @property
    def unfinished(self) -> frozenset[int]:
        """Logical numbers that have begun and do not count."""
        return self.begun - self.done

    def deaths(self, number: int) -> int:
        """How often the process of a trial died while it ran."""
        return _most(self.tries.get(number, ()), attributes.DEATHS)

    def survived(self, number: int) -> bool:
        """Whether a trial came to its end alone, after the process of its group had died."""
        return _most(self.tries.get(number, ()), attributes.SURVIVED) > 0

    def has_failed(self, number: int) -> bool:
        """Whether a try of a trial failed by its own fault."""
        return any(map(_failed_by_itself, self.tries.get(number, ())))

    def is_given_up(self, number: int) -> bool:
        """Whether a trial counts as failed because its process died so often."""
        return any(map(_is_given_up, self.tries.get(number, ())))

    @classmethod
    def of(cls, study: optuna.Study, max_retries: int) -> Ledger:
        """The ledger of a study, with the trials that its storage has now."""
        return cls.read(every_trial(study), max_retries)

    @classmethod
    def read(cls, trials: Iterable[FrozenTrial], max_retries: int = 0) -> Ledger:
        """The ledger of a study's trials.

        Args:
            trials: All of them.
            max_retries: How often a trial that failed by its own fault is repeated.
        """
        begun: dict[int, list[FrozenTrial]] = {}
        cost = 0.0
        states: Counter[str] = Counter()
        for trial in trials:
            if trial.state == TrialState.WAITING:
                continue
            begun.setdefault(logical_number(trial), []).append(trial)
            cost += cost_in(trial.user_attrs)
            states[state_of(trial)] += 1
        done = frozenset(number for number, tries in begun.items() if _counts(tries, max_retries))
        return cls(done, begun, max(begun, default=-1) + 1, cost, states)


def _most(tries: Iterable[FrozenTrial], name: str) -> int:
    return max((count_in(trial.user_attrs, name) or 0 for trial in tries), default=0)


def _failed_by_itself(trial: FrozenTrial) -> bool:
    return state_of(trial) == "failed" and not _is_given_up(trial)


def _is_given_up(trial: FrozenTrial) -> bool:
    return state_of(trial) == "failed" and bool(count_in(trial.user_attrs, attributes.DEATHS))


def _counts(tries: Sequence[FrozenTrial], max_retries: int) -> bool:
    states = Counter(state_of(trial) for trial in tries)
    ended = states["complete"] + states["pruned"]
    return ended > 0 or any(map(_is_given_up, tries)) or states["failed"] > max_retries
