"""Studies that were read, kept until they change."""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lyapopt.store.changes import Changes
from lyapopt.store.engine import has_sql
from lyapopt.store.errors import RecordNotFoundError
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import load_study, names_of_studies
from lyapopt.study.naming import PROMOTED_SUFFIX

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_KEPT = 6  # studies in memory


@dataclass
class Shelved:
    """A study as it was at one moment.

    Attributes:
        stamp: Of that moment; another one after a change.
        data: Its tables, each read when it is first asked for.
        damage: What of it cannot be read and is left out.
        lock: Held by whoever reads a table or draws a figure.
        answers: What was answered about it, by question.
    """

    stamp: str
    data: StudyData
    damage: tuple[str, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)
    answers: dict[str, bytes] = field(default_factory=dict)

    def answer(self, question: str, make: Callable[[], bytes]) -> bytes:
        """What was answered before, or what is made now."""
        found = self.answers.get(question)
        if found is not None:
            return found
        with self.lock:  # one thread reads and draws, the others find what it has made
            if question not in self.answers:
                self.answers[question] = make()
            return self.answers[question]


class Shelf:
    """All studies of a storage.

    Args:
        url: URL of Optuna's storage.
        storage: It, opened and cached; it is asked where there is no SQL.
        store: URL of a store of its own.
    """

    def __init__(self, url: str, storage: BaseStorage, store: str | None = None) -> None:
        self._url, self._store, self._storage = url, store, storage
        self._changes = Changes(url) if has_sql(url) else None
        self._kept: OrderedDict[str, Shelved] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of the studies, in the order in which they were made.

        Raises:
            UserError: If the storage cannot be read.
        """
        return names_of_studies(self._url)

    def stamp(self, name: str) -> str:
        """A text that is another one after the study has changed.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        found = self._stamp(name)
        if found is None:
            near = difflib.get_close_matches(name, self.names(), n=1)
            advice = f". Did you mean {near[0]!r}?" if near else ""
            raise RecordNotFoundError(f"there is no study {name!r}{advice}")
        # What its best trials came to in full is shown with a study.
        return found + (self._stamp(name + PROMOTED_SUFFIX) or "")

    def study(self, name: str) -> Shelved:
        """A study as it is now.

        Raises:
            RecordNotFoundError: If there is no such study.
            UserError: If it cannot be read.
        """
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # of several threads that ask for a study that has changed, one reads it
            stamp = self.stamp(name)
            kept = self._kept.get(name)
            if kept is None or kept.stamp != stamp:
                stored = load_study(self._url, name, self._store)
                kept = Shelved(stamp, StudyData(stored, self._url, self._store), stored.damage)
            with self._lock:
                self._kept[name] = kept
                self._kept.move_to_end(name)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return kept

    def _stamp(self, name: str) -> str | None:
        return self._changes.stamp(name) if self._changes is not None else self._counted(name)

    def _counted(self, name: str) -> str | None:
        """How many trials are in which state: all that a storage without SQL says for little."""
        try:
            study_id = self._storage.get_study_id_from_name(name)
        except KeyError:
            return None
        trials = self._storage.get_all_trials(study_id, deepcopy=False)
        states = [trial.state.value for trial in trials]
        text = repr((study_id, sorted((each, states.count(each)) for each in set(states))))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
