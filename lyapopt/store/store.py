"""`TrajectoryStore`: the one door to what is stored of the dynamics of trials."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection, select, update

from lyapopt.store import schema
from lyapopt.store.completion import endings
from lyapopt.store.encoding import to_json
from lyapopt.store.engine import writing
from lyapopt.store.errors import StoreError, explained
from lyapopt.store.lookup import check_runs_of_trials, has_optuna, orphans, runs_of_trials
from lyapopt.store.reader import StoreReader
from lyapopt.store.records import RunRecord
from lyapopt.store.states import INTERRUPTED
from lyapopt.store.tables import RUNS
from lyapopt.store.writing import copy_runs, delete_runs, write_runs


class TrajectoryStore(StoreReader):
    """Trajectories, exponents and decisions of trials in an SQL database.

    In the database of an Optuna storage, studies and trials are looked up in Optuna's tables, by
    the run that each trial names in its user attribute `RUN_ATTRIBUTE`: a study that is renamed or
    copied keeps its data. In a database of its own (for storages without SQL) they are looked up
    under the names that they had when they were recorded.

    Opening changes nothing. The first `record` creates the tables, or upgrades them, safely among
    any number of processes, unless `create_tables` has done so.

    Args:
        url: URL of a database in SQLite, PostgreSQL, MySQL or MariaDB; or an engine, which then
            stays the caller's to dispose of.
        create: Whether recording creates what is missing and upgrades what is old. Without it, a
            database that has not our tables is refused at once: a reader of a mistyped path wants
            to be told.
        timeout: Seconds to wait for the lock of another process, or for a server.

    Raises:
        StoreError: If the database cannot be opened; the message says why and what to do.
        StoreSchemaError: If there are no tables, and they are not to be created, or when something
            is read of them; or if they are of another version.

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

    def create_tables(self) -> None:
        """Create the tables, or upgrade them, and the view beside Optuna's; once is enough.

        Raises:
            StoreError: If the database cannot be written.
        """
        with explained(self._url, "open"):
            schema.ensure(self._engine)
        self._has_tables = self._is_prepared = True

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
        with self._recording("record a trial in") as connection:
            write_runs(connection, runs)

    def gc(
        self,
        dry_run: bool = False,
        *,
        grace: float = 3600.0,
        named: Collection[str] | None = None,
    ) -> int:
        """Delete the runs that no trial names any more, such as those of deleted studies.

        Args:
            dry_run: Whether to count them only.
            grace: Seconds for which a run is kept after it was recorded, in any case.
            named: Identifiers of the runs that trials name, for a store that is not in Optuna's
                database.

        Returns:
            How many runs were deleted, or would be.

        Raises:
            StoreError: If neither Optuna's tables are in this database nor `named` is given.
            DamagedDataError: If it cannot be read which run some trial names.
        """
        with self._reading() if dry_run else self._writing("delete from") as connection:
            if named is None and not has_optuna(connection):
                raise StoreError(
                    f"{self.url} has no tables of Optuna, so it cannot be seen which runs their "
                    "trials still name; give the runs that are named"
                )
            if named is None:
                check_runs_of_trials(connection)
            known = runs_of_trials(connection) if named is None else named
            found = orphans(connection, known, grace)
            if not dry_run:
                delete_runs(connection, found)
        return len(found)

    def mark_interrupted(self, runs: Collection[str]) -> None:
        """Say of runs that they were interrupted, whatever was recorded: their trials do not count.

        Args:
            runs: Identifiers of the runs; unknown ones are passed over.
        """
        with self._writing("record a trial in") as connection:
            of_runs = RUNS.c.run.in_(list(runs))
            connection.execute(update(RUNS).where(of_runs).values(state=INTERRUPTED))

    def forget(self, runs: Collection[str]) -> int:
        """Delete runs, except those that trials in this database still name.

        Args:
            runs: Identifiers of the runs; unknown ones are passed over.

        Returns:
            How many were to be deleted.

        Raises:
            StoreError: If they could not be deleted; then none is.
        """
        with self._writing("delete from") as connection:
            named = runs_of_trials(connection) if has_optuna(connection) else set()
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
            path: Path of the file. One that exists is added to, runs of the same uuid are replaced.
            study_name: Name of the study; None for all studies.
            trajectories: Whether to copy the series, which are most of the data.

        Returns:
            How many runs were copied.

        Raises:
            StoreError: If the file cannot be written.
            RecordNotFoundError: If there is no such study.
        """
        with self._trials(study_name) as (source, found):
            trials = select(found.c.study_name, found.c.trial_number, found.c.run)
            rows = source.execute(trials.join(RUNS, RUNS.c.run == found.c.run))
            # A run that two studies share, one being a copy of the other, is copied once.
            runs = {row.run: dict(row._mapping) for row in rows}
            for run, (state, values) in endings(source, found).items():
                runs[run] |= {"state": state, "values_json": to_json(values) if values else None}
            target = sqlalchemy.URL.create("sqlite", database=str(Path(path)))
            with TrajectoryStore(target) as other, other._recording("export to") as connection:
                copy_runs(source, connection, runs, trajectories=trajectories)
        return len(runs)

    @contextmanager
    def _recording(self, doing: str) -> Iterator[Connection]:
        if not self._is_prepared:
            self.create_tables()
        with self._writing(doing) as connection:
            yield connection

    @contextmanager
    def _writing(self, doing: str) -> Iterator[Connection]:
        """A transaction on tables that are there."""
        if not self._has_tables:
            with self._reading():  # which refuses others
                pass
        with explained(self._url, doing), writing(self._engine) as connection:
            yield connection
