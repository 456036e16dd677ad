"""`StoreReader`: the connections of a store, and all that reads from it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy
from sqlalchemy import Connection, Engine, Subquery, select

from lyapopt.checks import Arguments
from lyapopt.store import schema
from lyapopt.store.completion import complete_runs, endings
from lyapopt.store.damage import warn_of
from lyapopt.store.engine import (
    absolute,
    make_engine,
    parse_url,
    refuse_missing_file,
    sqlite_path,
)
from lyapopt.store.errors import RecordNotFoundError, StoreError, explained, masked
from lyapopt.store.lookup import Numbers, find_trials, trials_without_number
from lyapopt.store.reading import (
    examine_run,
    names_of_series,
    read_run,
    read_series,
    runs_without_header,
    trials_with_missing_pieces,
    trials_without_run,
)
from lyapopt.store.records import RunRecord, TrajectoryRecord
from lyapopt.store.tables import EXPONENTS, RUNS, TRAJECTORIES

# `frames` is imported where it is used: pandas takes half a second, and writing needs none of it.
if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Names = str | Sequence[str] | None


class StoreReader:
    """The half of `TrajectoryStore` that reads; see there."""

    def __init__(
        self,
        url: str | sqlalchemy.URL | Engine,
        *,
        create: bool = True,
        timeout: float = 30.0,
    ) -> None:
        check = Arguments("TrajectoryStore", StoreError)
        example = "the URL of a database, such as sqlite:///runs/study.db, or an engine"
        check.instance("url", url, (str, sqlalchemy.URL, Engine), example)
        check.flag("create", create)
        self._timeout = check.real("timeout", timeout, least=0)
        self._owned: Engine | None = None
        self._owner = 0  # the process that the engine belongs to
        self._given = url if isinstance(url, Engine) else None
        self._url = url.url if isinstance(url, Engine) else parse_url(url)
        self._place = absolute(self._url)  # a program may change its working directory
        self._has_tables = False  # as far as this object has seen
        self._is_prepared = not create  # for recording
        if create and self._will_be_file():
            return
        if self._given is None and not create:
            refuse_missing_file(self._url)
        with explained(self._url, "open"), self._engine.connect() as connection:
            self._has_tables = schema.check(connection, may_be_made=create)

    def _will_be_file(self) -> bool:
        """Whether there is no file yet, and a folder for it: a connection would make it, empty."""
        path = sqlite_path(self._place) if self._given is None else None
        return path is not None and not path.exists() and path.parent.is_dir()

    @property
    def url(self) -> str:
        """Where the store is, without a password."""
        return masked(self._url)

    def read(self, run: str) -> RunRecord:
        """One run, as it was recorded.

        Args:
            run: Identifier of the run.

        Raises:
            RecordNotFoundError: If there is no such run.
            DamagedDataError: If anything of it is missing or cannot be read.
        """
        with self._reading() as connection:
            found = read_run(connection, run)
        if found is None:
            raise RecordNotFoundError(f"{self.url} has no run {run!r}")
        return found

    def damage_of(self, run: str) -> list[str]:
        """What of one run is missing or cannot be read, a text for each thing.

        Args:
            run: Identifier of the run.
        """
        with self._reading() as connection:
            return examine_run(connection, run)[1]

    def runs_without_header(self) -> list[str]:
        """Identifiers of runs of which only rows of other tables are left."""
        with self._reading() as connection:
            return runs_without_header(connection)

    def runs(self, study_name: str | None = None, trial_number: Numbers = None) -> pd.DataFrame:
        """One row for each trial that has a stored run.

        Args:
            study_name: Name of the study; None for all studies.
            trial_number: Number of one or several trials; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, `state` (ours), `trial_state` (Optuna's), `value`
            (of the first objective), `values`, `verdict`, `reason`, `steps`,
            `gradient_evaluations`, `examples`, `seed`, `started_at`, `finished_at`, `versions`,
            `settings` and `logical_number`. What is missing is NaN.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import runs_frame

        with self._table(study_name, trial_number) as (connection, trials, damage):
            return runs_frame(connection, trials, damage)

    def exponents(
        self, study_name: str | None = None, trial_number: Numbers = None
    ) -> pd.DataFrame:
        """One row for each exponent of each trial.

        Args:
            study_name: Name of the study; None for all studies.
            trial_number: Number of one or several trials; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, the trial's `verdict`, and the fields of
            `ExponentRecord`. A missing number is NaN here; `read` tells it from one that is NaN.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import exponents_frame

        with self._table(study_name, trial_number) as (connection, trials, damage):
            return exponents_frame(connection, trials, damage)

    def decisions(
        self, study_name: str | None = None, trial_number: Numbers = None
    ) -> pd.DataFrame:
        """One row for each decision about each trial.

        Args:
            study_name: Name of the study; None for all studies.
            trial_number: Number of one or several trials; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, and the fields of `Decision`.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import decisions_frame

        with self._table(study_name, trial_number) as (connection, trials, damage):
            return decisions_frame(connection, trials, damage)

    def trajectories(
        self,
        study_name: str | None = None,
        trial_number: Numbers = None,
        name: Names = None,
    ) -> pd.DataFrame:
        """Series in the long form, a row for each number; `array` gives large ones as they are.

        Args:
            study_name: Name of the study; None for all studies.
            trial_number: Number of one or several trials; None for all.
            name: Name of one or several series, such as `"loss"`; None for all.

        Returns:
            `study_name`, `trial_number`, `name`, `step`, `component` (0 for a series of numbers,
            otherwise the index into the array at that step, counted in its order) and `value`.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import trajectories_frame

        names = [name] if isinstance(name, str) else name
        with self._table(study_name, trial_number) as (connection, trials, damage):
            found = read_series(connection, trials, names, damage)
            table = trajectories_frame(found)
            damage += trials_with_missing_pieces(connection, trials)
            return table

    def series(self, name: str, study_name: str, trial_number: int) -> TrajectoryRecord:
        """One series of one trial, with its steps.

        Args:
            name: Name of the series.
            study_name: Name of the study.
            trial_number: Number of the trial.

        Raises:
            RecordNotFoundError: If there is none; the message says what there is.
            DamagedDataError: If it cannot be read.
        """
        with self._trials(study_name, trial_number) as (connection, trials):
            found = list(read_series(connection, trials, [name]))
            if found:
                return found[-1].record
            trial = f"trial {trial_number} of study {study_name!r}"
            run = connection.scalar(select(RUNS.c.run).join(trials, RUNS.c.run == trials.c.run))
            if run is None:
                raise RecordNotFoundError(f"{self.url} has stored nothing of {trial}")
            there = ", ".join(names_of_series(connection, run)) or "none at all"
            raise RecordNotFoundError(f"{trial} has no series {name!r}; it has: {there}")

    def array(self, name: str, study_name: str, trial_number: int) -> NDArray[np.generic]:
        """One series of one trial as the array that was recorded: shape `(T, ...)`, its dtype.

        Args:
            name: Name of the series.
            study_name: Name of the study.
            trial_number: Number of the trial.

        Raises:
            RecordNotFoundError: If there is none; the message says what there is.
        """
        return self.series(name, study_name, trial_number).values

    def series_names(self, study_name: str | None = None) -> list[str]:
        """Names of the series of a study's trials, in alphabetical order.

        Args:
            study_name: Name of the study; None for all studies.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        with self._trials(study_name) as (connection, trials):
            is_found = TRAJECTORIES.c.run == trials.c.run
            names = select(TRAJECTORIES.c.name).join(trials, is_found).distinct()
            return sorted(connection.scalars(names))

    def states(self, study_name: str | None = None) -> dict[str, str]:
        """State of each stored run of a study, by run.

        Args:
            study_name: Name of the study; None for all studies.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        with self._trials(study_name) as (connection, trials):
            states = select(RUNS.c.run, RUNS.c.state).join(trials, RUNS.c.run == trials.c.run)
            stored = {row.run: row.state for row in connection.execute(states)}
            return stored | {run: end.state for run, end in endings(connection, trials).items()}

    def runs_without_exponents(self, study_name: str | None = None) -> set[str]:
        """The runs of a study that have a verdict, but no exponent that it could be of.

        Args:
            study_name: Name of the study; None for all studies.
        """
        with self._trials(study_name) as (connection, trials):
            is_measured = select(EXPONENTS.c.run).where(EXPONENTS.c.run == RUNS.c.run).exists()
            runs = select(RUNS.c.run).join(trials, RUNS.c.run == trials.c.run)
            return set(connection.scalars(runs.where(RUNS.c.verdict.is_not(None), ~is_measured)))

    def all_runs(self) -> list[str]:
        """Identifiers of all runs that are stored, whether or not a trial names them."""
        with self._reading() as connection:
            return list(connection.scalars(select(RUNS.c.run)))

    def close(self) -> None:
        """Close the connections; the store opens new ones when it is used again."""
        if self._owned is not None:
            self._owned.dispose()
            self._owned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_given": None, "_owned": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def _engine(self) -> Engine:
        if self._given is not None:
            return self._given
        if self._owned is not None and self._owner != os.getpid():
            self._owned.dispose(close=False)  # a fork must not use its parent's connections
            self._owned = None
        if self._owned is None:
            self._owned, self._owner = make_engine(self._place, self._timeout), os.getpid()
        return self._owned

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        complete_runs()
        if not self._has_tables and self._given is None:
            refuse_missing_file(self._place)
        with explained(self._url, "read from"), self._engine.connect() as connection:
            self._has_tables = self._has_tables or schema.check(connection)
            yield connection

    @contextmanager
    def _table(
        self, study_name: str | None, numbers: Numbers = None
    ) -> Iterator[tuple[Connection, Subquery, list[str]]]:
        """As `_trials`; what is added to the list, or not stored at all, is warned of."""
        with self._trials(study_name, numbers) as (connection, trials):
            damage = trials_without_run(connection, trials)
            if numbers is None:
                damage += trials_without_number(connection, study_name)
            yield connection, trials, damage
        warn_of(self.url, damage)

    @contextmanager
    def _trials(
        self, study_name: str | None, numbers: Numbers = None
    ) -> Iterator[tuple[Connection, Subquery]]:
        """A connection, and the trials that are asked for; see `find_trials`."""
        with self._reading() as connection:
            yield connection, find_trials(connection, study_name, numbers)
