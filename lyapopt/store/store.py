"""`TrajectoryStore`: the one door to what is stored of the dynamics of trials."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Connection, Engine, select, update

from lyapopt.store import garbage, schema
from lyapopt.store.engine import make_engine, parse_url, refuse_missing_file, writing
from lyapopt.store.errors import RecordNotFoundError, StoreError, explained, masked
from lyapopt.store.lookup import Numbers, check_study, find_trials, missing_series
from lyapopt.store.optuna_tables import are_present
from lyapopt.store.reading import read_run, read_series
from lyapopt.store.records import RunRecord, TrajectoryRecord
from lyapopt.store.tables import RUNS, TRAJECTORIES
from lyapopt.store.writing import NamedRun, copy_runs, delete_runs, write_run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Names = str | Sequence[str] | None


class TrajectoryStore:
    """Trajectories, exponents and decisions of trials in an SQL database.

    In the database of an Optuna storage, studies and trials are looked up in Optuna's tables, by
    the run that each trial names in its user attribute `RUN_ATTRIBUTE`: a study that is renamed or
    copied keeps its data. In a database of its own (for storages without SQL) they are looked up
    under the names that they had when they were recorded.

    Opening creates the tables, or upgrades them, safely among any number of processes.

    Args:
        url: Of a database in SQLite, PostgreSQL, MySQL or MariaDB; or an engine, which then stays
            the caller's to dispose of.
        create: Whether to create what is missing. A reader of a mistyped path wants to be told.
        timeout: Seconds to wait for the lock of another process, or for a server.

    Raises:
        StoreError: If the database cannot be opened; the message says why and what to do.

    Example:
        >>> import numpy as np
        >>> from lyapopt.store import ExponentRecord, RunRecord, TrajectoryRecord, new_run_id
        >>> store = TrajectoryStore(sqlalchemy.create_engine("sqlite://"))
        >>> loss = TrajectoryRecord("loss", np.array([0.5, 0.25], np.float32))
        >>> growth = ExponentRecord("neighbours@20", 0.02, horizon=20)
        >>> run = RunRecord(
        ...     new_run_id(), "study", 0, "complete", exponents=(growth,), trajectories=(loss,)
        ... )
        >>> store.record(run)
        >>> store.exponents("study")[["trial_number", "name", "value"]].values.tolist()
        [[0, 'neighbours@20', 0.02]]
        >>> store.array("loss", study_name="study", trial_number=0)
        array([0.5 , 0.25], dtype=float32)
    """

    def __init__(
        self,
        url: str | sqlalchemy.URL | Engine,
        *,
        create: bool = True,
        timeout: float = 30.0,
    ) -> None:
        self._timeout = timeout
        self._owned: Engine | None = None
        self._owner = 0  # the process that the engine belongs to
        self._given = url if isinstance(url, Engine) else None
        self._url = url.url if isinstance(url, Engine) else parse_url(url)
        if self._given is None and not create:
            refuse_missing_file(self._url)
        with explained(self._url, "open"):
            schema.ensure(self._engine, create=create)

    @property
    def url(self) -> str:
        """Where the store is, without a password."""
        return masked(self._url)

    def record(self, run: RunRecord) -> None:
        """Store a run, whole or not at all; one stored under the same uuid is replaced.

        Args:
            run: What to store. One transaction, however much it is.

        Raises:
            StoreError: If it could not be stored; `StoreBusyError` if trying again may help.
        """
        self.record_all([run])

    def record_all(self, runs: Iterable[RunRecord]) -> None:
        """Store some runs in one transaction: all of them or none; see `record`.

        Runs of trials that trained together are written together, since it is the end of a
        transaction that takes most of the time.

        Args:
            runs: What to store. They are taken one after the other.

        Raises:
            StoreError: If they could not be stored; `StoreBusyError` if trying again may help.
        """
        with self._writing("record a trial in") as connection:
            for run in runs:
                write_run(connection, run)

    def read(self, run: str) -> RunRecord:
        """One run, as it was recorded.

        Args:
            run: Its identifier.

        Raises:
            RecordNotFoundError: If there is no such run.
        """
        with self._reading() as connection:
            found = read_run(connection, run)
        if found is None:
            raise RecordNotFoundError(f"{self.url} has no run {run!r}")
        return found

    def runs(self, study_name: str | None = None) -> pd.DataFrame:
        """One row for each trial that has a stored run.

        Args:
            study_name: Of one study; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, `state` (ours), `trial_state` (Optuna's), `value`
            (of the first objective), `values`, `verdict`, `reason`, `steps`,
            `gradient_evaluations`, `examples`, `seed`, `started_at`, `finished_at`, `versions`,
            `settings` and `logical_number`. What is missing is NaN.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import runs_frame

        with self._reading() as connection:
            return runs_frame(connection, find_trials(connection, study_name, None))

    def exponents(self, study_name: str | None = None) -> pd.DataFrame:
        """One row for each exponent of each trial.

        Args:
            study_name: Of one study; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, the trial's `verdict`, and the fields of
            `ExponentRecord`. A missing number is NaN here; `read` tells it from one that is NaN.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import exponents_frame

        with self._reading() as connection:
            return exponents_frame(connection, find_trials(connection, study_name, None))

    def decisions(self, study_name: str | None = None) -> pd.DataFrame:
        """One row for each decision about each trial.

        Args:
            study_name: Of one study; None for all.

        Returns:
            `study_name`, `trial_number`, `run`, and the fields of `Decision`.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import decisions_frame

        with self._reading() as connection:
            return decisions_frame(connection, find_trials(connection, study_name, None))

    def trajectories(
        self,
        study_name: str | None = None,
        trial_number: Numbers = None,
        name: Names = None,
    ) -> pd.DataFrame:
        """Series in the long form, a row for each number; `array` gives large ones as they are.

        Args:
            study_name: Of one study; None for all.
            trial_number: One or several trials; None for all.
            name: One or several series, such as `"loss"`; None for all.

        Returns:
            `study_name`, `trial_number`, `name`, `step`, `component` (0 for a series of numbers,
            otherwise the index into the array at that step, counted in its order) and `value`.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        from lyapopt.store.frames import trajectories_frame

        with self._reading() as connection:
            trials = find_trials(connection, study_name, trial_number)
            names = [name] if isinstance(name, str) else name
            return trajectories_frame(read_series(connection, trials, names))

    def series(self, name: str, study_name: str, trial_number: int) -> TrajectoryRecord:
        """One series of one trial, with its steps.

        Args:
            name: Of the series.
            study_name: Of the study.
            trial_number: Of the trial.

        Raises:
            RecordNotFoundError: If there is none; the message says what there is.
        """
        with self._reading() as connection:
            trials = find_trials(connection, study_name, trial_number)
            found = list(read_series(connection, trials, [name]))
            if not found:
                trial = f"trial {trial_number} of study {study_name!r}"
                raise missing_series(connection, trials, name, trial)
        return found[-1].record

    def array(self, name: str, study_name: str, trial_number: int) -> NDArray[np.generic]:
        """One series of one trial as the array that was recorded: shape `(T, ...)`, its dtype.

        Args:
            name: Of the series.
            study_name: Of the study.
            trial_number: Of the trial.

        Raises:
            RecordNotFoundError: If there is none; the message says what there is.
        """
        return self.series(name, study_name, trial_number).values

    def series_names(self, study_name: str | None = None) -> list[str]:
        """Names of the series of a study's trials, or of all.

        Args:
            study_name: Of one study; None for all.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        with self._reading() as connection:
            trials = find_trials(connection, study_name, None)
            names = (
                select(TRAJECTORIES.c.name)
                .join(trials, TRAJECTORIES.c.run == trials.c.run)
                .distinct()
            )
            return sorted(connection.scalars(names))

    def states(self, study_name: str | None = None) -> dict[str, str]:
        """State of each stored run of a study, or of all.

        Args:
            study_name: Of one study; None for all.

        Returns:
            States by run, as they were recorded.

        Raises:
            RecordNotFoundError: If there is no such study.
        """
        with self._reading() as connection:
            trials = find_trials(connection, study_name, None)
            rows = connection.execute(
                select(RUNS.c.run, RUNS.c.state).join(trials, RUNS.c.run == trials.c.run)
            )
            return {row.run: row.state for row in rows}

    def trial_states(self, study_name: str | None = None) -> list[garbage.TrialState]:
        """What Optuna and the store each say of every trial, to find where they disagree.

        Args:
            study_name: Of one study; None for all.

        Returns:
            Also the trials that name no run, and those whose run is not stored.

        Raises:
            StoreError: If Optuna's tables are not in this database.
        """
        with self._reading() as connection:
            if not are_present(connection):
                raise StoreError(f"{self.url} has no tables of Optuna to compare with")
            check_study(connection, study_name)
            return garbage.trial_states(connection, study_name)

    def gc(
        self,
        dry_run: bool = False,
        *,
        grace: float = 3600.0,
        named: Collection[str] | None = None,
    ) -> int:
        """Delete the runs that no trial names any more, such as those of deleted studies.

        Args:
            dry_run: Only count them.
            grace: Seconds for which a run is kept after it was recorded, in any case.
            named: Runs that trials name, for a store that is not in Optuna's database.

        Returns:
            How many runs were deleted, or would be.

        Raises:
            StoreError: If neither Optuna's tables are in this database nor `named` is given.
        """
        with self._writing("delete from") as connection:
            if named is None and not are_present(connection):
                raise StoreError(
                    f"{self.url} has no tables of Optuna, so it cannot be seen which runs their "
                    "trials still name; give the runs that are named"
                )
            known = garbage.named_runs(connection) if named is None else named
            found = garbage.orphans(connection, known, grace)
            if not dry_run:
                delete_runs(connection, found)
        return len(found)

    def mark_interrupted(self, runs: Collection[str]) -> None:
        """Say of runs that they were interrupted, whatever was recorded: their trials do not count.

        Args:
            runs: Their identifiers; unknown ones are passed over.
        """
        with self._writing("record a trial in") as connection:
            connection.execute(
                update(RUNS).where(RUNS.c.run.in_(list(runs))).values(state="interrupted")
            )

    def forget(self, runs: Collection[str]) -> int:
        """Delete runs, except those that trials in this database still name.

        Args:
            runs: Their identifiers; unknown ones are passed over.

        Returns:
            How many were to be deleted.

        Raises:
            StoreError: If they could not be deleted; then none is.
        """
        with self._writing("delete from") as connection:
            named = garbage.named_runs(connection) if are_present(connection) else set()
            unnamed = sorted(set(runs) - named)
            delete_runs(connection, unnamed)
        return len(unnamed)

    def export(
        self,
        path: str | os.PathLike[str],
        study_name: str | None = None,
        *,
        trajectories: bool = True,
    ) -> int:
        """Copy runs into one SQLite file, which a store opens on its own.

        Args:
            path: Of the file. One that exists is added to, runs of the same uuid are replaced.
            study_name: Of one study; None for all.
            trajectories: Whether to copy the series, which are most of the data.

        Returns:
            How many runs were copied.

        Raises:
            StoreError: If the file cannot be written.
            RecordNotFoundError: If there is no such study.
        """
        with self._reading() as source:
            found = find_trials(source, study_name, None)
            rows = source.execute(
                select(found.c.study_name, found.c.trial_number, found.c.run).join(
                    RUNS, RUNS.c.run == found.c.run
                )
            )
            # A run that two studies share, one being a copy of the other, is copied once.
            trials = list({row.run: NamedRun(*row) for row in rows}.values())
            target = sqlalchemy.URL.create("sqlite", database=str(Path(path)))
            with TrajectoryStore(target) as other, other._writing("export to") as connection:
                copy_runs(source, connection, trials, trajectories=trajectories)
        return len(trials)

    def close(self) -> None:
        """Close the connections; the store opens new ones when it is used again."""
        if self._owned is not None:
            self._owned.dispose()
            self._owned = None

    def __enter__(self) -> TrajectoryStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_given": None, "_owned": None}

    def __repr__(self) -> str:
        return f"TrajectoryStore({self.url!r})"

    @property
    def _engine(self) -> Engine:
        if self._given is not None:
            return self._given
        if self._owned is not None and self._owner != os.getpid():
            self._owned.dispose(close=False)  # a fork must not use its parent's connections
            self._owned = None
        if self._owned is None:
            self._owned, self._owner = make_engine(self._url, self._timeout), os.getpid()
        return self._owned

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with explained(self._url, "read from"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self, doing: str) -> Iterator[Connection]:
        with explained(self._url, doing), writing(self._engine) as connection:
            yield connection
