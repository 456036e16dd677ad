"""All trials of a study in a few queries: a table of ten thousand trials in about a second.

Optuna's own storage builds an object with all its relations for each trial, which takes ten times
as long, and opening it imports more than a command that only reads should.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import sqlalchemy
from sqlalchemy import Connection, String, cast, column, inspect, select, table

from lyapopt.store.aggregation import decodes_slowly, grouped_rows
from lyapopt.store.engine import make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import RecordNotFoundError, explained, masked
from lyapopt.store.lookup import ATTRIBUTES, STUDIES, TRIALS, VALUES, check_study, has_optuna
from lyapopt.store.states import (
    COST,
    EXPONENT,
    FAILED,
    HIGH,
    INTERRUPTED,
    LOW,
    RUN_ATTRIBUTE,
    VERDICT,
    WORKER_ATTRIBUTE,
    State,
    state_from,
    state_of,
)
from lyapopt.store.tables import RUNS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["StoredStudy", "StoredTrial", "read_study", "study_names"]

_TIMEOUT = 30.0  # seconds to wait for another process's lock
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}

_DIRECTIONS = table(
    "study_directions", column("study_id"), column("direction"), column("objective")
)
_TIMES = table(
    "trials",
    column("trial_id"),
    column("study_id"),
    column("number"),
    column("state"),
    column("datetime_start", sqlalchemy.DateTime()),
    column("datetime_complete", sqlalchemy.DateTime()),
)
_SYSTEM_ATTRIBUTES = table(
    "trial_system_attributes", column("trial_id"), column("key"), column("value_json")
)
_PARAMS = table(
    "trial_params",
    column("param_id"),
    column("trial_id"),
    column("param_name"),
    column("param_value"),
    column("distribution_json"),
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
    """

    number: int
    state: State
    values: tuple[float, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    started: datetime | None = None
    finished: datetime | None = None
    reason: str | None = None

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
        )

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
        return None if found in (FAILED, INTERRUPTED, None) else str(found)

    @property
    def gradient_evaluations(self) -> float:
        """Gradient evaluations that the trial has cost."""
        return self._number(COST) or 0.0

    def _number(self, name: str) -> float | None:
        found = self.attributes.get(name)
        return float(found) if isinstance(found, int | float) else None


@dataclass
class StoredStudy:
    """A study with all its trials, by number.

    Attributes:
        name: Name of the study.
        directions: `minimize` or `maximize`, one for each objective.
        trials: Its trials, in the order of their numbers.
    """

    name: str
    directions: tuple[str, ...]
    trials: list[StoredTrial]


def study_names(url: str) -> list[str]:
    """Names of the studies in a database.

    Raises:
        StoreError: If it cannot be read; `RecordNotFoundError` if it is not there, or holds no
            studies of Optuna.
    """
    with _connected(url) as connection:
        return list(connection.scalars(select(STUDIES.c.study_name).order_by(STUDIES.c.study_id)))


def read_study(url: str, study_name: str, *, reasons_url: str | None = None) -> StoredStudy:
    """A study with all its trials.

    Args:
        url: URL of Optuna's database.
        study_name: Name of the study.
        reasons_url: URL of the store, where it is not in the same database.

    Raises:
        StoreError: If it cannot be read; `RecordNotFoundError` if it has no such study.
    """
    with _connected(url) as connection:
        check_study(connection, study_name)
        study_id = connection.scalar(
            select(STUDIES.c.study_id).where(STUDIES.c.study_name == study_name)
        )
        assert study_id is not None
        directions = connection.scalars(
            select(_DIRECTIONS.c.direction)
            .where(_DIRECTIONS.c.study_id == study_id)
            .order_by(_DIRECTIONS.c.objective)
        )
        with _without_collections():
            trials = _trials(connection, study_id)
        study = StoredStudy(
            study_name, tuple(direction.lower() for direction in directions), trials
        )
        reasons = _reasons(connection, study_name)
    if reasons_url is not None:
        with _connected(reasons_url, holds_studies=False) as connection:
            reasons |= _reasons(connection, study_name)
    for trial in study.trials:
        trial.reason = reasons.get(str(trial.attributes.get(RUN_ATTRIBUTE)))
    return study


def _trials(connection: Connection, study_id: int) -> list[StoredTrial]:
    """Trials by number. Rows are taken as tuples: there are ten and more for every trial."""
    times = select(
        _TIMES.c.trial_id,
        _TIMES.c.number,
        _TIMES.c.state,
        _TIMES.c.datetime_start,
        _TIMES.c.datetime_complete,
    ).where(_TIMES.c.study_id == study_id)
    trials: dict[int, StoredTrial] = {}
    optuna_states: dict[int, str] = {}
    for trial_id, number, state, started, finished in connection.execute(
        times.order_by(_TIMES.c.number)
    ).all():
        optuna_states[trial_id] = state
        trials[trial_id] = StoredTrial(number, "waiting", started=started, finished=finished)
    for trial_id, key, text in _attributes(connection, study_id):
        if trial_id in trials:  # otherwise it began after the first query
            trials[trial_id].attributes[key] = json.loads(text)
    for trial_id, name, value in _params(connection, study_id):
        if trial_id in trials:
            trials[trial_id].params[name] = value
    values = (
        select(VALUES.c.trial_id, VALUES.c.value, VALUES.c.value_type)
        .join(TRIALS, TRIALS.c.trial_id == VALUES.c.trial_id)
        .where(TRIALS.c.study_id == study_id)
        .order_by(VALUES.c.objective)
    )
    for trial_id, number, value_type in connection.execute(values).all():
        if trial_id in trials:
            trials[trial_id].values += (float(_NOT_FINITE.get(value_type, number)),)
    failed = any(state == "FAIL" for state in optuna_states.values())
    ours = _trials_of_workers(connection, study_id) if failed else {}
    for trial_id, trial in trials.items():
        system_attributes = ours.get(trial_id, {})
        trial.state = state_from(optuna_states[trial_id], trial.attributes, system_attributes)
        if trial.state != "complete":
            trial.values = ()
    return list(trials.values())


def _attributes(connection: Connection, study_id: int) -> Iterator[tuple[int, str, str]]:
    """User attributes of all trials: a trial's number in the database, key, value as JSON."""
    owner, key, value = ATTRIBUTES.c.trial_id, ATTRIBUTES.c.key, ATTRIBUTES.c.value_json
    join = ATTRIBUTES.join(TRIALS, TRIALS.c.trial_id == owner)
    of_study = TRIALS.c.study_id == study_id
    if decodes_slowly(connection):
        for trial_id, (text, name) in grouped_rows(connection, join, of_study, owner, value, key):
            yield trial_id, name, text
    else:
        query = select(owner, key, value).select_from(join).where(of_study)
        for trial_id, name, text in connection.execute(query).all():
            yield trial_id, name, text


def _trials_of_workers(connection: Connection, study_id: int) -> dict[int, dict[str, str]]:
    """System attributes of the failed trials that a worker of ours ran: the worker's alone."""
    rows = connection.execute(
        select(_SYSTEM_ATTRIBUTES.c.trial_id, _SYSTEM_ATTRIBUTES.c.value_json)
        .join(TRIALS, TRIALS.c.trial_id == _SYSTEM_ATTRIBUTES.c.trial_id)
        .where(TRIALS.c.study_id == study_id, cast(TRIALS.c.state, String(16)) == "FAIL")
        .where(_SYSTEM_ATTRIBUTES.c.key == WORKER_ATTRIBUTE)
    )
    return {trial_id: {WORKER_ATTRIBUTE: json.loads(text)} for trial_id, text in rows}


def _params(connection: Connection, study_id: int) -> Iterator[tuple[int, str, Any]]:
    """Parameters with their values, in the order in which they were suggested.

    The distribution is far longer than the number, and nearly always one for each parameter of a
    study: it is fetched once for all trials, and row by row only where a parameter has several
    that are read differently.
    """
    of_study = _TIMES.c.study_id == study_id
    join = _PARAMS.join(_TIMES, _TIMES.c.trial_id == _PARAMS.c.trial_id)
    readers: dict[str, set[_Reader]] = {}
    each = select(_PARAMS.c.param_name, _PARAMS.c.distribution_json).select_from(join)
    for name, distribution in connection.execute(each.where(of_study).distinct()).all():
        readers.setdefault(name, set()).add(_reader(distribution))
    is_one = all(len(several) == 1 for several in readers.values())
    if is_one and decodes_slowly(connection):
        fields = _PARAMS.c.param_id, _PARAMS.c.param_value, _PARAMS.c.param_name
        found = grouped_rows(connection, join, of_study, _PARAMS.c.trial_id, *fields)
        for trial_id, (_, text, name) in sorted(found, key=lambda row: int(row[1][0])):
            if name in readers:  # otherwise it was suggested after the first query
                yield trial_id, name, _only(readers[name])(float(text))
        return
    columns = [_PARAMS.c.trial_id, _PARAMS.c.param_name, _PARAMS.c.param_value]
    if not is_one:
        columns.append(_PARAMS.c.distribution_json)
    rows = select(*columns).select_from(join).where(of_study).order_by(_PARAMS.c.param_id)
    for trial_id, name, number, *distributions in connection.execute(rows).all():
        if distributions:
            yield trial_id, name, _reader(distributions[0])(number)
        elif name in readers:
            yield trial_id, name, _only(readers[name])(number)


class _Reader(NamedTuple):
    """How a stored number is read: as the index of a choice, a whole number, or as it is."""

    reads: Literal["choice", "int", "float"]
    choices: tuple[Any, ...] = ()

    def __call__(self, number: float) -> Any:
        match self.reads:
            case "choice":
                return self.choices[int(number)]
            case "int":
                return int(number)
        return number


def _only(readers: set[_Reader]) -> _Reader:
    [reader] = readers
    return reader


@lru_cache(maxsize=1024)
def _reader(distribution_json: str) -> _Reader:
    distribution = json.loads(distribution_json)
    if distribution["name"] == "CategoricalDistribution":
        return _Reader("choice", tuple(distribution["attributes"]["choices"]))
    return _Reader("int" if distribution["name"].startswith("Int") else "float")


def _reasons(connection: Connection, study_name: str) -> dict[str, str]:
    if not inspect(connection).has_table(RUNS.name):
        return {}
    rows = connection.execute(
        select(RUNS.c.run, RUNS.c.reason).where(
            RUNS.c.study_name == study_name, RUNS.c.reason.is_not(None)
        )
    )
    return {row.run: str(row.reason) for row in rows}


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
            if holds_studies and not has_optuna(connection):
                raise RecordNotFoundError(f"{masked(parsed)} holds no studies of Optuna")
            yield connection
    finally:
        engine.dispose()
