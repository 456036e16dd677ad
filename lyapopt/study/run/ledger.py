"""Which trials of a study count, which are to be run again, and which come next.

A trial has a logical number, which its randomness follows from. It counts when it is COMPLETE or
PRUNED, or FAILED by its own fault (its build or training raised) with no retry left. A trial that
was interrupted, or whose process died, is run again under its logical number, with the parameters
that it had. If its process died every time, it counts as failed in the end (`recovery`).
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
        unfinished: Logical numbers that began and do not count: the trial to repeat, by number.
        begun: Logical numbers that have begun, done or not.
        next_number: The logical number of the first trial that has not begun.
        gradient_evaluations: What all trials have cost so far.
        states: How many trials ended in which state.
        deaths: How often the process of a logical number died while its trial ran; those that
            never did are left out.
    """

    done: frozenset[int]
    unfinished: dict[int, FrozenTrial]
    next_number: int
    gradient_evaluations: float
    states: Counter[str] = field(default_factory=Counter)
    begun: frozenset[int] = frozenset()
    deaths: Mapping[int, int] = field(default_factory=dict)

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
        done = {number for number, tries in begun.items() if _counts(tries, max_retries)}
        unfinished = {
            number: tries[-1] for number, tries in sorted(begun.items()) if number not in done
        }
        next_number = max(begun, default=-1) + 1
        deaths = {number: count for number, tries in begun.items() if (count := deaths_of(tries))}
        return cls(frozenset(done), unfinished, next_number, cost, states, frozenset(begun), deaths)


def deaths_of(tries: Iterable[FrozenTrial]) -> int:
    """How often the processes of these tries of one trial died."""
    counts = (count_in(trial.user_attrs, attributes.DEATHS) for trial in tries)
    return max((count or 0 for count in counts), default=0)


def _counts(tries: Sequence[FrozenTrial], max_retries: int) -> bool:
    states = Counter(state_of(trial) for trial in tries)
    ended = states["complete"] + states["pruned"]
    given_up = any(
        state_of(trial) == "failed" and count_in(trial.user_attrs, attributes.DEATHS)
        for trial in tries
    )
    return ended > 0 or given_up or states["failed"] > max_retries
