"""All trials of a study in a few queries: a table of ten thousand trials in about a second.

Optuna's own storage builds an object with all its relations for each trial, which takes ten times
as long, and opening it imports more than a command that only reads should.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, column, inspect, select, table

from lyapopt.store.completion import complete_runs
from lyapopt.store.engine import make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import RecordNotFoundError, explained, masked
from lyapopt.store.lookup import STUDIES, STUDY_ATTRIBUTES, check_study, has_optuna
from lyapopt.store.reading import nothing_stored
from lyapopt.store.running import Progress, progress_of
from lyapopt.store.states import (
    COST,
    EXPONENT,
    FAILED,
    HIGH,
    INTERRUPTED,
    LOW,
    MEASURED,
    MEASURING,
    VERDICT,
    WORKER_ATTRIBUTE,
    State,
    cost_in,
    number_in,
    run_in,
    state_from,
    state_of,
)
from lyapopt.store.tables import RUNS
from lyapopt.store.trial_rows import (
    Unreadable,
    attributes,
    heads,
    params,
    run_by_workers,
    values,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["StoredStudy", "StoredTrial", "has_study_attribute", "read_study", "study_names"]

_AT_ONCE = 500  # runs that one query asks for; SQLite has a limit
_TIMEOUT = 30.0  # seconds to wait for another process's lock

_DIRECTIONS = table(
    "study_directions", column("study_id"), column("direction"), column("objective")
)


@dataclass
class StoredTrial:
    """What is known of a trial.

    Attributes:
        number: Optuna's number.
        state: `complete`, `pruned`, `failed`, `interrupted`, `running` or `waiting`.
        values: Values of the objectives; empty unless complete.
        params: Suggested parameters in their order.
        attributes: All user attributes.
        started: Local time, as Optuna keeps it.
        finished: Local time.
        reason: Why it was pruned or failed.
        progress: How far it has come, while it runs.
    """

    number: int
    state: State
    values: tuple[float, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    finished: datetime | None = None
    reason: str | None = None
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def of(cls, trial: FrozenTrial, reason: str | None = None) -> StoredTrial:
        """A trial that Optuna has read, as `read_study` would give it."""
        return cls(
            trial.number,
            state_of(trial),
            tuple(trial.values or ()) if trial.state.name == "COMPLETE" else (),
            dict(trial.params),
            dict(trial.user_attrs),
            trial.datetime_start,
            trial.datetime_complete,
            reason,
            _reported(trial),
        )

    @property
    def without_exponent(self) -> str:
        """What is said in the place of an exponent that there is not."""
        if self.verdict == "slow":
            return "not measured: the loss had not fallen"
        return "not measured"

    @property
    def value(self) -> float | None:
        """The first objective's value, of a complete trial."""
        return self.values[0] if self.values else None

    @property
    def exponent(self) -> float | None:
        """Nats per step, if it was measured."""
        return self._number(EXPONENT)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Interval of the exponent, if it has one."""
        low, high = self._number(LOW), self._number(HIGH)
        return None if low is None or high is None else (low, high)

    @property
    def verdict(self) -> str | None:
        """The probe's verdict; none where there is only a state, such as `failed`."""
        found = self.attributes.get(VERDICT)
        return found if isinstance(found, str) and found not in (FAILED, INTERRUPTED) else None

    @property
    def measured(self) -> str | None:
        """How its exponent was measured, where that was in another precision than the training."""
        found = self.attributes.get(MEASURED)
        return found if isinstance(found, str) else None

    @property
    def gradient_evaluations(self) -> float:
        """Gradient evaluations that the trial has cost."""
        return cost_in(self.attributes)

    @property
    def measuring(self) -> float:
        """Of these, what measuring has taken beside training."""
        return self._number(MEASURING) or 0.0

    @property
    def so_far(self) -> float:
        """Gradient evaluations that a running trial has cost at least: one for every step."""
        steps = self.progress.step if self.state == "running" else None
        return max(0.0, (steps or 0) - self.gradient_evaluations)

    def _number(self, name: str) -> float | None:
        return number_in(self.attributes, name)


def _reported(trial: FrozenTrial) -> Progress:
    """The last report of a trial that runs, as Optuna has read it."""
    if trial.state.name != "RUNNING" or not trial.intermediate_values:
        return Progress()
    step = max(trial.intermediate_values)
    return Progress(step, trial.intermediate_values[step])


@dataclass
class StoredStudy:
    """A study with all its trials, by number.

    Attributes:
        name: Name of the study.
        directions: `minimize` or `maximize`, one for each objective.
        trials: Its trials, in the order of their numbers.
        damage: What of it cannot be read and is left out, a text for each thing.
    """

    name: str
    directions: tuple[str, ...]
    trials: list[StoredTrial]
    damage: tuple[str, ...] = ()


def study_names(url: str) -> list[str]:
    """Names of the studies in a database.

    Raises:
        StoreError: If it cannot be read; `RecordNotFoundError` if it is not there, or holds no
            studies of Optuna.
    """
    with _connected(url) as connection:
        return list(connection.scalars(select(STUDIES.c.study_name).order_by(STUDIES.c.study_id)))


def has_study_attribute(url: str, study_name: str, key: str) -> bool:
    """Whether a study has a system attribute of this name.

    Args:
        url: URL of Optuna's database.
        study_name: Name of the study.
        key: Name of the attribute.

    Raises:
        StoreError: If it cannot be read.
    """
    found = (
        select(STUDY_ATTRIBUTES.c.key)
        .join(STUDIES, STUDIES.c.study_id == STUDY_ATTRIBUTES.c.study_id)
        .where(STUDIES.c.study_name == study_name, STUDY_ATTRIBUTES.c.key == key)
    )
    with _connected(url) as connection:
        return connection.scalar(found) is not None


def read_study(url: str, study_name: str, *, reasons_url: str | None = None) -> StoredStudy:
    """A study with all its trials.

    Args:
        url: URL of Optuna's database.
        study_name: Name of the study.
        reasons_url: URL of the store, where it is not in the same database.

    Raises:
        StoreError: If it cannot be read; `RecordNotFoundError` if it has no such study.
    """
    complete_runs()
    with _connected(url) as connection:
        check_study(connection, study_name)
        study_id = connection.scalar(
            select(STUDIES.c.study_id).where(STUDIES.c.study_name == study_name)
        )
        assert study_id is not None
        damage: list[str] = []
        directions = _directions(connection, study_id, damage)
        with _without_collections():
            trials = _trials(connection, study_id, len(directions), damage)
        runs = [run for trial in trials if (run := run_in(trial.attributes)) is not None]
        kept = _kept(connection, runs)
    if reasons_url is not None:
        with _connected(reasons_url, holds_studies=False) as connection:
            kept |= _kept(connection, runs)
    for trial in trials:
        found = kept.get(run_in(trial.attributes) or "")
        if found is not None:
            trial.reason = found.reason
            if found.cost is not None:
                trial.attributes[COST] = found.cost
    damage += _without_run(trials, kept)
    return StoredStudy(study_name, directions, trials, tuple(damage))


def _directions(connection: Connection, study_id: int, damage: list[str]) -> tuple[str, ...]:
    found = connection.scalars(
        select(_DIRECTIONS.c.direction)
        .where(_DIRECTIONS.c.study_id == study_id)
        .order_by(_DIRECTIONS.c.objective)
    )
    directions = tuple(str(direction).lower() for direction in found)
    if not directions or not {*directions} <= {"minimize", "maximize"}:
        words = ", ".join(directions) or "not there"
        damage.append(f"the directions of the study cannot be read: they are {words}")
    return directions


def _trials(
    connection: Connection, study_id: int, objectives: int, damage: list[str]
) -> list[StoredTrial]:
    """Trials by number; what of them cannot be read is left out, and said in `damage`."""
    unreadable: list[Unreadable] = []
    trials: dict[int, StoredTrial] = {}
    optuna_states: dict[int, str] = {}
    for trial_id, number, state, started, finished in heads(connection, study_id, unreadable):
        optuna_states[trial_id] = state
        trials[trial_id] = StoredTrial(number, "waiting", started=started, finished=finished)
    # Rows of trials that are unknown are of trials that began after the first query.
    for trial_id, key, value in attributes(connection, study_id, unreadable):
        if trial_id in trials:
            trials[trial_id].attributes[key] = value
    for trial_id, name, value in params(connection, study_id, unreadable):
        if trial_id in trials:
            trials[trial_id].params[name] = value
    for trial_id, value in values(connection, study_id, unreadable):
        if trial_id in trials:
            trials[trial_id].values += (value,)
    failed = any(state == "FAIL" for state in optuna_states.values())
    ours = run_by_workers(connection, study_id) if failed else set()
    for trial_id, trial in trials.items():
        system_attributes = {WORKER_ATTRIBUTE: ""} if trial_id in ours else {}
        try:
            trial.state = state_from(optuna_states[trial_id], trial.attributes, system_attributes)
        except ValueError as error:
            unreadable.append(Unreadable(trial_id, "its state", error))
            trial.state = "failed"
        if trial.state != "complete":
            trial.values = ()
        elif len(trial.values) < objectives:  # nobody knows which objectives the others are of
            missing = ValueError(f"{len(trial.values)} of {objectives} are stored")
            unreadable.append(Unreadable(trial_id, "values", missing))
            trial.values = ()
    running = [trial_id for trial_id, state in optuna_states.items() if state == "RUNNING"]
    for trial_id, progress in progress_of(connection, running).items():
        trials[trial_id].progress = progress
    known = {trial_id: f"trial {trial.number}" for trial_id, trial in trials.items()}
    for each in unreadable:
        damage.append(f"{known.get(each.trial_id, 'a trial')}: {each.in_words()}")
    numbers = Counter(known.values())
    damage += [
        f"{each}: {count} trials have its number" for each, count in numbers.items() if count > 1
    ]
    return list(trials.values())


class _Kept(NamedTuple):
    """What is stored of a run.

    Attributes:
        reason: Why its trial was pruned or failed.
        cost: Gradient evaluations, of a loop of the user's own: once its trial has ended, which a
            raised error does, Optuna takes no more attributes, and the last count is here.
    """

    reason: str | None
    cost: float | None


def _kept(connection: Connection, runs: Sequence[str]) -> dict[str, _Kept]:
    """Those of these runs that are stored."""
    if not inspect(connection).has_table(RUNS.name):
        return {}
    found: dict[str, _Kept] = {}
    for first in range(0, len(runs), _AT_ONCE):
        some = runs[first : first + _AT_ONCE]
        query = select(RUNS.c.run, RUNS.c.reason, RUNS.c.state, RUNS.c.gradient_evaluations)
        for run, reason, state, cost in connection.execute(query.where(RUNS.c.run.in_(some))):
            found[run] = _Kept(
                None if reason is None else str(reason), float(cost) if state == "running" else None
            )
    return found


def _without_run(trials: Iterable[StoredTrial], stored: Container[str]) -> list[str]:
    """A text for the finished trials of which nothing is stored.

    If that is so of all of them, they were recorded in another database, which nobody named.
    """
    named = {
        trial.number: run
        for trial in trials
        if trial.state in ("complete", "pruned") and (run := run_in(trial.attributes)) is not None
    }
    missing = [number for number, run in named.items() if run not in stored]
    return [nothing_stored(missing)] if 0 < len(missing) < len(named) else []


@contextmanager
def _without_collections() -> Iterator[None]:
    """No cyclic garbage is made here, and searching for it among so many objects takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _connected(url: str, *, holds_studies: bool = True) -> Iterator[Connection]:
    """A connection to a database that is there, and that holds studies if it should."""
    parsed = parse_url(url)
    refuse_missing_file(parsed)
    engine = make_engine(parsed, _TIMEOUT)
    try:
        with explained(parsed, "read from"), engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                _read_any_text(connection)
            if holds_studies and not has_optuna(connection):
                raise RecordNotFoundError(f"{masked(parsed)} holds no studies of Optuna")
            yield connection
    finally:
        engine.dispose()


def _read_any_text(connection: Connection) -> None:
    """Let SQLite give texts that are not UTF-8, which end a query otherwise."""
    driver: Any = connection.connection.dbapi_connection
    driver.text_factory = lambda text: text.decode("utf-8", "replace")
