"""How several workers share one study: who trains which trials, so that totals hold.

**What is leased.** A worker leases a *group*, a range of logical numbers (`ledger`), and then
asks Optuna for the trials of that range one by one. Leases are in the study's table of workers
(`worker_table`), written under the study's mutex (`lyapopt.store.mutex`), so that no two workers
hold a number.

**What counts towards `n_trials`.** A logical number counts when it has a trial that is COMPLETE
or PRUNED, or that FAILED by its own fault more often than `on_failure.max_retries`, or whose
worker died `on_failure.max_deaths` times. Trials that were interrupted, or whose worker died less
often, do not count: their numbers are asked for and run again. A worker
leases at most `n_trials`, less what counts, less what living workers have leased. When nothing is
left to lease it waits until the rest counts, since a worker may die and leave its numbers; so
every worker ends when the study has all its trials.

**`budget`** counts what every trial has cost, whoever ran it and however it ended; a leased number
that has not ended yet counts with the average cost of the trials that have, and before any trial
has ended only one is leased. So the budget is overrun by a group that costs more than those before
it.

**`timeout`** counts from when the first of the workers that are present began.

**Who is dead.** On the same machine the operating system tells at once (`processes`). Elsewhere a
worker is dead when it has not renewed its row for the grace period, by the clock of the
database; each has a thread that renews it and records Optuna's heartbeat for its running trials.
Running trials that no living worker has leased are settled (`recovery`). A worker that was taken
for dead and comes back finds its trials ended, and throws away what it did.

**Reproducibility.** With one worker and neither a time limit nor a budget, a study that was
interrupted or killed at any moment and resumed equals an uninterrupted one bit for bit (`attempts`
says how, and when not). With several, what a sampler sees depends on who is faster; what a trial
does follows, to rounding, from its parameters and logical number alone. A budget counts what was
abandoned, so that it buys fewer trials.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from lyapopt.display import one_line
from lyapopt.search import attributes
from lyapopt.search._optuna import (
    asked_together,
    attempted_once,
    begin_trial,
    create_trial,
    every_trial,
    fail_stale,
    frozen,
    grid_place,
    kept_in_study,
    logical_number,
    put_back,
    take_waiting,
    worker_of,
)
from lyapopt.search.samplers.seeded import SeededSampler
from lyapopt.store import TrajectoryStore
from lyapopt.store.mutex import Mutex
from lyapopt.store.retry import RetryPolicy
from lyapopt.store.states import state_of
from lyapopt.study.file import StudyFile
from lyapopt.study.run import processes
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.recovery import Settled, settle
from lyapopt.study.run.worker_table import Group, WorkerRow, WorkerSettings, WorkerTable

_log = logging.getLogger(__name__)


@dataclass
class Situation:
    """The study under its mutex.

    Attributes:
        table: Who works on what.
        ledger: Which trials count.
        elapsed: Seconds since the workers that are here began.
        settled: What became of trials that dead workers had left running.
    """

    table: WorkerTable
    ledger: Ledger
    elapsed: float
    settled: Settled

    @property
    def in_progress(self) -> frozenset[int]:
        """Logical numbers that living workers have leased and that do not count yet."""
        return frozenset(self.table.leased_numbers() - self.ledger.done)

    def take_open(self, limit: int | None = None) -> Group | None:
        """The first group that was left unfinished, taken off the list.

        Args:
            limit: How many trials it may run at most; what is beyond stays on the list.
        """
        if not self.table.open_groups:
            return None
        first, stop = self.table.open_groups.pop(0)
        left = [number for number in range(first, stop) if number not in self.ledger.done]
        if limit is not None and len(left) > limit:
            self.table.leave_open((left[limit], stop))
            stop = left[limit]
        return first, stop

    def next_number(self) -> int:
        """The first logical number that is neither begun nor leased."""
        ends = [stop for _, stop in self.table.groups()]
        return max([self.ledger.next_number, *ends])


@dataclass(frozen=True)
class Request:
    """What is asked for under a number that may have been asked for before.

    Attributes:
        is_retry: Whether the trial failed by its own fault and is repeated with its parameters.
        is_alone: Whether it is run alone since the process of its group died; that is noted.
        is_rewound: Whether what samplers keep in the study is to be what it was at the first try:
            nothing was asked for since, but for trials that are asked for again, too.
    """

    is_retry: bool = False
    is_alone: bool = False
    is_rewound: bool = True

    def begun_like(self, tries: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The try that began as this one is to begin; `None` if there was none."""
        if not tries or (self.is_retry and state_of(tries[-1]) == "failed"):
            return None
        return tries[-1] if self.is_retry else tries[0]

    def params(self, tries: Sequence[FrozenTrial]) -> dict[str, Any]:
        """The parameters that are fixed: enqueued, or those of a trial that is repeated."""
        if not tries:
            return {}
        begun = self.begun_like(tries)
        fixed = dict((begun or tries[-1]).system_attrs.get("fixed_params", {}))
        return fixed if begun is not None else fixed | tries[-1].params


class Leases:
    """One worker's share of a study.

    Args:
        file: What the study does about failures.
        study: The study, which all workers have open.
        mutex: The study's lock.
        store: Where rows of dead workers' trials may be.
        settings: How the worker behaves.
        retry: How often the mutex's database is tried.
    """

    def __init__(
        self,
        file: StudyFile,
        study: optuna.Study,
        mutex: Mutex,
        store: TrajectoryStore | None,
        settings: WorkerSettings,
        retry: RetryPolicy,
    ) -> None:
        self.worker = processes.new_worker_id()
        self._policy = file.on_failure
        self._study = study
        self._mutex = mutex
        self._store = store
        self._settings = settings
        self._retry = retry
        self._is_registered = False
        self._is_alone = False

    @contextmanager
    def locked(self) -> Iterator[Mutex]:
        """While no other worker changes the study."""
        self._retry(self._mutex.__enter__)
        try:
            yield self._mutex
        finally:
            self._mutex.__exit__(None, None, None)

    @contextmanager
    def survey(self) -> Iterator[Situation]:
        """The study as it is, with what dead workers left settled and the own group given back.

        What the body changes in the table is written when it ends; what it raises is not.
        """
        with self.locked() as mutex:
            now = mutex.now()
            table = WorkerTable.read(self._study)
            self._remove_dead(table, now)
            self._enter(table, now)
            settled = self._settle(table)
            ledger = self.ledger()
            table.open_groups = [
                group for group in table.open_groups if not ledger.done.issuperset(range(*group))
            ]
            assert table.started is not None
            yield Situation(table, ledger, now - table.started, settled)
            self._write(table)

    def take(self, situation: Situation, group: Group) -> None:
        """Lease a group; inside `survey`."""
        situation.table.workers[self.worker].group = group
        self._is_alone = len(situation.table.workers) == 1

    def ledger(self) -> Ledger:
        """Which trials count."""
        return Ledger.of(self._study, self._policy.max_retries)

    def beat(self) -> None:
        """Say that this worker lives."""
        with self._mutex as mutex:
            table = WorkerTable.read(self._study)
            own = table.workers.get(self.worker)
            if own is not None:  # otherwise it was taken for dead, and will see when it tells
                own.beat = mutex.now()
                self._write(table)

    def leave(self) -> None:
        """End this worker: its group is left to others."""
        if self._is_registered:
            self._retry(self._give_back)
        self.forget()

    def forget(self) -> None:
        """End this worker, and leave its row: for when the database cannot be reached any more."""
        processes.leave(self.worker)
        self._is_registered = False

    def close(self) -> None:
        """Close what the mutex keeps open."""
        self._mutex.close()

    def asking(self) -> AbstractContextManager[None]:
        """While the trials of a group are asked for: a single worker looks once what is enqueued.

        Several workers create trials at the same time, so that each reads their count every time.
        """
        return asked_together(self._study) if self._is_alone else nullcontext()

    def ask(self, number: int, tries: Sequence[FrozenTrial], request: Request) -> optuna.Trial:
        """Begin the trial of a leased logical number.

        Args:
            number: The logical number.
            tries: Earlier tries of it.
            request: What is asked for.
        """
        study, sampler = self._study, base_sampler(self._study)
        with self.locked():
            begun = request.begun_like(tries)
            if begun is not None and request.is_rewound:
                put_back(study, sampler, begun.system_attrs)
            attrs = kept_in_study(study, sampler)
            trial_id = None if tries else take_waiting(study, number, self.worker, attrs)
            if trial_id is None:
                trial_id = create_trial(
                    study,
                    number,
                    self.worker,
                    params=request.params(tries),
                    user_attrs={attributes.SURVIVED: 0} if request.is_alone else {},
                    system_attrs=attrs | grid_place(sampler, number),
                )
        trial = begin_trial(study, trial_id)
        if request.is_retry:  # what it would draw was drawn for the try that it repeats
            put_back(study, sampler, attrs)
        return trial

    def tell(
        self, trial: optuna.Trial, value: float | Sequence[float] | None, state: TrialState
    ) -> None:
        """Tell Optuna how a trial ended.

        Raises:
            UpdateFinishedTrialError: If it was taken for dead, and others run it by now.
        """
        with self.locked():
            if frozen(trial).state != TrialState.RUNNING:
                raise UpdateFinishedTrialError
            self._study.tell(trial, value, state=state)

    # Under the mutex

    def _write(self, table: WorkerTable) -> None:
        """Write the table, or have it read again first if the database was away.

        The mutex is lost with the database: when that is back, another worker may have leased what
        this table says is free.
        """
        self._mutex.check()
        with attempted_once():
            table.write(self._study)

    def _give_back(self) -> None:
        with self.survey() as situation:
            del situation.table.workers[self.worker]

    def _remove_dead(self, table: WorkerTable, now: float) -> None:
        living = table.living(now, self._settings.grace)
        for name in set(table.workers) - {*living, self.worker}:
            _log.info("%s is dead", one_line(processes.short_name(name)))
            group = table.workers.pop(name).group
            if group is not None:
                table.leave_open(group)

    def _enter(self, table: WorkerTable, now: float) -> None:
        """Be in the table, without a group: the one that was held has ended."""
        if not self._is_registered:
            processes.enter(self.worker)
            self._is_registered = True
        if not table.workers or table.started is None:
            table.started, table.stop = now, None
        own = table.workers.get(self.worker)
        if own is not None and own.group is not None:
            table.leave_open(own.group)
        table.workers[self.worker] = WorkerRow(now)

    def _settle(self, table: WorkerTable) -> Settled:
        """End running trials of ours that no living worker has leased.

        Then those of others, such as `Study.optimize` in a script, whose heartbeat stopped.
        """
        leased = table.leased_numbers()
        left = [
            trial
            for trial in every_trial(self._study)
            if trial.state == TrialState.RUNNING
            and worker_of(trial) is not None
            and logical_number(trial) not in leased
        ]
        if left:
            self._mutex.check()  # what was leased since the table was read is not left
        groups, limit = table.open_groups, self._policy.max_deaths
        settled = settle(self._study, left, self._store, groups, limit)
        fail_stale(self._study)
        return settled


def base_sampler(study: optuna.Study) -> optuna.samplers.BaseSampler:
    """The sampler that a study's file names, without the one that seeds it."""
    sampler = study.sampler
    return sampler.base if isinstance(sampler, SeededSampler) else sampler
