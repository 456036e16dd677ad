"""Who works on a study, and on which trials: one small table, kept with the study.

It is a system attribute of the Optuna study, so that every kind of storage can keep it and it
goes where the study goes. Whoever reads and writes it holds the study's mutex (`claims`).

A worker owns a *group*: a range of logical numbers, claimed before their trials begin. A group
whose worker ended before all its numbers count is *open*: the next worker that looks for work
takes it as it is. Everything a dead worker left is found through its group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

REGISTRY_ATTRIBUTE: Final = "lyapopt:workers"

Group = tuple[int, int]
"""First and last-but-one logical number."""


@dataclass
class Worker:
    """One worker.

    Attributes:
        beat: When it last said that it lives, by the clock of the mutex.
        group: The logical numbers that it works on.
    """

    beat: float
    group: Group | None = None


@dataclass
class Registry:
    """The table.

    Attributes:
        study: Which study it is of. `copy_study` copies it along, where it means nothing.
        started: When the workers that are here began; `timeout` counts from then.
        stop: Why all are to stop, if one of them was asked to.
        workers: By identifier.
        open_groups: Groups that were left unfinished.
    """

    study: str
    started: float | None = None
    stop: str | None = None
    workers: dict[str, Worker] = field(default_factory=dict)
    open_groups: list[Group] = field(default_factory=list)

    @classmethod
    def of(cls, study: str, stored: Any) -> Registry:
        """The table as it is stored; empty if none is, or it belongs to another study."""
        if not isinstance(stored, dict) or stored.get("study") != study:
            return cls(study)
        workers = {
            name: Worker(entry["beat"], _group(entry["group"]))
            for name, entry in stored["workers"].items()
        }
        opened = [(int(first), int(stop)) for first, stop in stored["open"]]
        return cls(study, stored["started"], stored["stop"], workers, opened)

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "study": self.study,
            "started": self.started,
            "stop": self.stop,
            "workers": {
                name: {"beat": worker.beat, "group": worker.group}
                for name, worker in self.workers.items()
            },
            "open": self.open_groups,
        }

    def groups(self) -> Iterator[Group]:
        """Every group that is being worked on or was left."""
        yield from (worker.group for worker in self.workers.values() if worker.group is not None)
        yield from self.open_groups

    def leave_open(self, group: Group) -> None:
        """Keep a group for whoever comes next."""
        if group not in self.open_groups:
            self.open_groups = sorted([*self.open_groups, group])


def _group(stored: Any) -> Group | None:
    return None if stored is None else (int(stored[0]), int(stored[1]))
