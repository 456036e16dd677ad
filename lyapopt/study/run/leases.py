"""How several workers share one study: who trains which trials, so that totals hold.

**What is claimed.** A worker claims a *group*, a range of logical numbers (`ledger`), and then
asks Optuna for the trials of that range one by one. Claims are in the study's `registry`, written
under the study's mutex (`lyapopt.store.mutex`), so that no two workers hold a number.

**What counts towards `n_trials`.** A logical number counts when it has a trial that is COMPLETE
or PRUNED, or that FAILED by its own fault more often than `on_failure.max_retries`, or whose
worker died `on_failure.max_deaths` times. Trials that were interrupted, or whose worker died less
often, do not count: their numbers are run again, with the parameters that they had. A worker
claims at most `n_trials`, less what counts, less what living workers have claimed. When nothing is
left to claim it waits until the rest counts, since a worker may die and leave its numbers; so
every worker ends when the study has all its trials.

**`budget`** counts what every trial has cost, whoever ran it and however it ended; a claim that is
not told yet counts with the average cost of the trials that are, and before any trial has ended
only one is claimed. So the budget is overrun by a group that costs more than those before it.

**`timeout`** counts from when the first of the workers that are present began.

**Who is dead.** On the same machine the operating system tells at once (`processes`). Elsewhere a
worker is dead when it has not renewed its entry for the grace period, by the clock of the
database; each has a thread that renews it and records Optuna's heartbeat for its running trials.
Running trials that no living worker has claimed are settled (`recovery`). A worker that was taken
for dead and comes back finds its trials ended, and throws away what it did.

**Reproducibility.** With one worker, a study that was interrupted or killed at any moment and
resumed equals an uninterrupted one, trial for trial, unless it was killed so often at the same
trials that they are run one at a time (`recovery`). With several, what a sampler sees depends on
who is faster; what a trial does follows from its parameters and logical number alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from lyapopt.search._optuna import (
    begin_again,
    begin_trial,
    create_trial,
    every_trial,
    fail_stale,
    frozen,
    get_study_attribute,
    grid_place,
    logical_number,
    set_study_attribute,
    study_key,
    take_waiting,
    worker_of,
)
from lyapopt.search.pruners.repetition import needs_whole_groups
from lyapopt.search.seeding import SeededSampler
from lyapopt.store import TrajectoryStore
from lyapopt.store.mutex import Mutex
from lyapopt.store.retry import RetryPolicy
from lyapopt.study.run import processes
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.recovery import DEATHS_OF_A_GROUP, settle
from lyapopt.study.run.worker_table import REGISTRY_ATTRIBUTE, Group, Registry, Worker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker behaves towards others and towards its database.

    Args:
        heartbeat: Seconds between two signs of life.
        grace: Seconds of silence after which a worker on another machine is taken for dead.
        poll: Seconds between two looks when there is nothing to claim.
        retry_seconds: Seconds for which an operation is tried again on a database that is locked,
            full, lost or restarted.
    """

    heartbeat: float = 10.0
    grace: float = 60.0
    poll: float = 0.3
    retry_seconds: float = 120.0


@dataclass
class Situation:
    """The study under its mutex.

    Attributes:
        registry: Who works on what.
        ledger: Which trials count.
        elapsed: Seconds since the workers that are here began.
        told: Trials of dead workers that had ended and were told now.
        again: Trials of dead workers that are to be run again.
    """

    registry: Registry
    ledger: Ledger
    elapsed: float
    told: int = 0
    again: int = 0

    @property
    def busy(self) -> frozenset[int]:
        """Logical numbers that living workers have claimed and that do not count yet."""
        groups = (worker.group for worker in self.registry.workers.values())
        numbers = {n for group in groups if group is not None for n in range(*group)}
        return frozenset(numbers - self.ledger.done)

    def take_open(self, limit: int | None = None) -> Group | None:
        """The first group that was left unfinished, taken off the list.

        Args:
            limit: How many trials it may run at most; what is beyond stays on the list.
        """
        if not self.registry.open_groups:
            return None
        first, stop = self.registry.open_groups.pop(0)
        left = [number for number in range(first, stop) if number not in self.ledger.done]
        if limit is not None and len(left) > limit:
            self.registry.leave_open((left[limit], stop))
            stop = left[limit]
        return first, stop

    def next_number(self) -> int:
        """The first logical number that is neither begun nor claimed."""
        ends = [stop for _, stop in self.registry.groups()]
        return max([self.ledger.next_number, *ends])


class Claims:
    """One worker's share of a study.

    Args:
        study: Which all workers have open.
        mutex: Of the study.
        store: Where rows of dead workers' trials may be.
        settings: How it behaves.
        max_retries: How often a trial that failed by its own fault is repeated.
        max_deaths: How often the worker of a trial may die before the trial counts as failed.
        retry: How operations on the mutex's database are tried again.
    """

    def __init__(
        self,
        study: optuna.Study,
        mutex: Mutex,
        store: TrajectoryStore | None,
        settings: WorkerSettings,
        max_retries: int,
        max_deaths: int | None,
        retry: RetryPolicy,
    ) -> None:
        self.worker = processes.new_worker_id()
        self._study = study
        self._mutex = mutex
        self._store = store
        self._settings = settings
        self._max_retries = max_retries
        self._max_deaths = max_deaths
        self._retry = retry
        self._is_registered = False

    @contextmanager
    def alone(self) -> Iterator[Mutex]:
        """While no other worker changes the study."""
        self._retry(self._mutex.__enter__)
        try:
            yield self._mutex
        finally:
            self._mutex.__exit__(None, None, None)

    @contextmanager
    def looking(self) -> Iterator[Situation]:
        """The study as it is, with what dead workers left settled and the own group given back.

        What the body changes in the registry is written when it ends; what it raises is not.
        """
        with self.alone() as mutex:
            now = mutex.now()
            registry = self._read()
            self._end_dead(registry, now)
            self._enter(registry, now)
            told, again = self._settle(registry)
            ledger = self.ledger()
            for group in self._left(registry):
                for piece in _pieces(group, ledger):
                    registry.leave_open(piece)
            assert registry.started is not None
            yield Situation(registry, ledger, now - registry.started, told, again)
            self._write(registry)

    def take(self, situation: Situation, group: Group) -> None:
        """Claim a group; inside `looking`."""
        situation.registry.workers[self.worker].group = group

    def ledger(self) -> Ledger:
        """Which trials count."""
        return Ledger.read(every_trial(self._study), self._max_retries)

    def beat(self) -> None:
        """Say that this worker lives."""
        with self._mutex as mutex:
            registry = self._read()
            entry = registry.workers.get(self.worker)
            if entry is not None:  # otherwise it was taken for dead, and will see when it tells
                entry.beat = mutex.now()
                self._write(registry)

    def leave(self) -> None:
        """End this worker: its group is left to others."""
        if self._is_registered:
            with self.looking() as situation:
                del situation.registry.workers[self.worker]
        self.forget()

    def forget(self) -> None:
        """End this worker without a word, when the database cannot be reached any more."""
        processes.leave(self.worker)
        self._is_registered = False

    def close(self) -> None:
        """Close what the mutex keeps open."""
        self._mutex.close()

    def ask(self, number: int, tried: FrozenTrial | None) -> optuna.Trial:
        """Begin the trial of a claimed logical number.

        Args:
            number: The logical number.
            tried: An earlier try of it, whose parameters are taken over. If it had not got as far
                as all of them, the rest is drawn from the same seed again.
        """
        with self.alone():
            if tried is not None:
                params = {**tried.system_attrs.get("fixed_params", {}), **tried.params}
                attrs = tried.system_attrs
                trial_id = create_trial(self._study, number, self.worker, params, attrs)
            else:
                waiting = take_waiting(self._study, number, self.worker)
                trial_id = self._fresh(number) if waiting is None else waiting
        begin = begin_trial if tried is None else begin_again
        return begin(self._study, trial_id)

    def _fresh(self, number: int) -> int:
        sampler = self._study.sampler
        base = sampler.base if isinstance(sampler, SeededSampler) else sampler
        place = grid_place(base, number)
        return create_trial(self._study, number, self.worker, carried=place)

    def tell(
        self, trial: optuna.Trial, value: float | Sequence[float] | None, state: TrialState
    ) -> bool:
        """Tell a trial, unless it was taken for dead and is run by somebody else by now.

        Returns:
            Whether the result was taken.
        """
        with self.alone():
            if frozen(trial).state != TrialState.RUNNING:
                return False
            self._study.tell(trial, value, state=state)
            return True

    # Under the mutex

    def _read(self) -> Registry:
        stored = get_study_attribute(self._study, REGISTRY_ATTRIBUTE)
        return Registry.of(study_key(self._study), stored)

    def _write(self, registry: Registry) -> None:
        self._mutex.check()
        set_study_attribute(self._study, REGISTRY_ATTRIBUTE, registry.as_json())

    def _end_dead(self, registry: Registry, now: float) -> None:
        for name, worker in list(registry.workers.items()):
            if name != self.worker and not lives(name, worker, now, self._settings.grace):
                _log.info("%s is dead", processes.short_name(name))
                del registry.workers[name]
                if worker.group is not None:
                    registry.leave_open(worker.group)

    def _enter(self, registry: Registry, now: float) -> None:
        """Be in the registry, without a group: the one that was held has ended."""
        if not self._is_registered:
            processes.enter(self.worker)
            self._is_registered = True
        if not registry.workers or registry.started is None:
            registry.started, registry.stop = now, None
        own = registry.workers.get(self.worker)
        if own is not None and own.group is not None:
            registry.leave_open(own.group)
        registry.workers[self.worker] = Worker(now)

    def _settle(self, registry: Registry) -> tuple[int, int]:
        """End running trials of ours that no living worker has claimed.

        Then those of others, such as `Study.optimize` in a script, whose heartbeat stopped.
        """
        claimed = {
            n
            for worker in registry.workers.values()
            if worker.group is not None
            for n in range(*worker.group)
        }
        left = [
            trial
            for trial in every_trial(self._study)
            if trial.state == TrialState.RUNNING
            and worker_of(trial) is not None
            and logical_number(trial) not in claimed
        ]
        groups = registry.open_groups if needs_whole_groups(self._study.pruner) else []
        settled = settle(self._study, left, self._store, groups, self._max_deaths)
        fail_stale(self._study)
        return settled

    @staticmethod
    def _left(registry: Registry) -> list[Group]:
        """Groups that were left, taken off the list to be put back if they are unfinished."""
        left, registry.open_groups = registry.open_groups, []
        return left


def _pieces(group: Group, ledger: Ledger) -> list[Group]:
    """What is left to do of a group: all of it together, or its trials one at a time."""
    left = [number for number in range(*group) if number not in ledger.done]
    deaths = max((ledger.deaths.get(number, 0) for number in left), default=0)
    if deaths < DEATHS_OF_A_GROUP:
        return [group] if left else []
    return [(number, number + 1) for number in left]


def lives(name: str, worker: Worker, now: float, grace: float) -> bool:
    """Whether a worker lives.

    Args:
        name: Its identifier.
        worker: Its entry in the registry.
        now: By the clock of the study's mutex.
        grace: Seconds of silence after which one on another machine is taken for dead.
    """
    if processes.is_here(name):
        return processes.lives_here(name)
    return now - worker.beat <= grace
