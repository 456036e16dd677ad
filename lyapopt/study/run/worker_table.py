"""Who works on a study, and on which trials: one small table, kept with the study.

It is a system attribute of the Optuna study, so that every storage can keep it and it goes where
the study goes. Whoever reads and writes it holds the study's mutex (`leases`).

A worker leases a *group*: a range of logical numbers, taken before their trials begin. A group
whose worker ended before all its numbers count is *open*: the next worker that needs a group
takes it as it is. Everything that a dead worker left is found through its group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import optuna

from lyapopt.search._optuna import get_study_attribute, set_study_attribute, study_key
from lyapopt.study.run import processes

WORKERS_ATTRIBUTE: Final = "lyapopt:workers"

Group = tuple[int, int]
"""The first logical number of a group, and the one after its last."""


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker behaves towards others and towards its database.

    Args:
        heartbeat: Seconds between two signs of life.
        grace: Seconds of silence after which a worker on another machine is taken for dead.
        poll: Seconds until the study is read again when there is nothing to lease.
        retry_seconds: Seconds for which a database that is locked, full, lost or restarted is
            tried again.
    """

    heartbeat: float = 10.0
    grace: float = 60.0
    poll: float = 0.3
    retry_seconds: float = 120.0


@dataclass
class WorkerRow:
    """One worker.

    Attributes:
        beat: When it last said that it lives, by the clock of the mutex.
        group: The logical numbers that it works on.
    """

    beat: float
    group: Group | None = None


@dataclass
class WorkerTable:
    """The table.

    Attributes:
        study: Key of its study. `copy_study` copies the table along, to where it means nothing.
        started: When the workers that are here began; `timeout` counts from then.
        stop: Why all are to stop, if one of them was asked to.
        workers: By identifier.
        open_groups: Groups that were left unfinished.
    """

    study: str
    started: float | None = None
    stop: str | None = None
    workers: dict[str, WorkerRow] = field(default_factory=dict)
    open_groups: list[Group] = field(default_factory=list)

    @classmethod
    def read(cls, study: optuna.Study) -> WorkerTable:
        """The table of a study; empty if none is stored, or it belongs to another study."""
        key = study_key(study)
        stored = get_study_attribute(study, WORKERS_ATTRIBUTE)
        if not isinstance(stored, dict) or stored.get("study") != key:
            return cls(key)
        workers = {
            name: WorkerRow(row["beat"], _group(row["group"]))
            for name, row in stored["workers"].items()
        }
        opened = [(int(first), int(stop)) for first, stop in stored["open"]]
        return cls(key, stored["started"], stored["stop"], workers, opened)

    def write(self, study: optuna.Study) -> None:
        """Store the table with its study."""
        workers = {name: {"beat": w.beat, "group": w.group} for name, w in self.workers.items()}
        stored = {
            "study": self.study,
            "started": self.started,
            "stop": self.stop,
            "workers": workers,
            "open": self.open_groups,
        }
        set_study_attribute(study, WORKERS_ATTRIBUTE, stored)

    def living(self, now: float, grace: float = WorkerSettings.grace) -> list[str]:
        """Identifiers of the workers that live.

        Args:
            now: Seconds by the clock of the study's mutex.
            grace: Seconds of silence after which one on another machine is taken for dead.
        """
        return [
            name
            for name, worker in self.workers.items()
            if (
                processes.lives_here(name)
                if processes.is_here(name)
                else now - worker.beat <= grace
            )
        ]

    def groups(self) -> Iterator[Group]:
        """Every group that is being worked on or was left."""
        yield from (worker.group for worker in self.workers.values() if worker.group is not None)
        yield from self.open_groups

    def leased_numbers(self) -> set[int]:
        """Logical numbers of all groups that are being worked on."""
        groups = (worker.group for worker in self.workers.values() if worker.group is not None)
        return {number for group in groups for number in range(*group)}

    def leave_open(self, group: Group) -> None:
        """Keep a group for whoever comes next."""
        if group not in self.open_groups:
            self.open_groups = sorted([*self.open_groups, group])


def clear_workers(study: optuna.Study) -> None:
    """Forget who works on a study, such as on a copy of it."""
    set_study_attribute(study, WORKERS_ATTRIBUTE, {})


def _group(stored: Sequence[int] | None) -> Group | None:
    return None if stored is None else (int(stored[0]), int(stored[1]))
