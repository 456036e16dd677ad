"""`lyapopt bench store`: what it costs to write, keep and read trials, measured here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import optuna
import sqlalchemy

from lyapopt import interruption
from lyapopt.bench import Progress, silent
from lyapopt.bench.store import loops
from lyapopt.bench.store.filling import STEPS, TRAJECTORIES, add_trials, run_of
from lyapopt.bench.timing import Report, Row, Spread, temporary_folder
from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.store.engine import make_engine, parse_url
from lyapopt.store.errors import masked
from lyapopt.store.tables import METADATA

_STUDY: Final = "lyapopt-bench-store"
_TIMEOUT: Final = 30.0  # seconds
_DIALECTS: Final = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mysql": "MySQL or MariaDB",
    "mariadb": "MySQL or MariaDB",
}

# The URL goes through the environment: the arguments of a process are seen by everyone.
_URL_VARIABLE: Final = "LYAPOPT_BENCH_STORAGE"
_COMMAND: Final = (
    "import os, sys\n"
    f"sys.argv = ['lyapopt', sys.argv[1], os.environ['{_URL_VARIABLE}'], *sys.argv[2:]]\n"
    "from lyapopt.cli.main import main\n"
    "sys.exit(main())"
)


@dataclass(frozen=True)
class Size:
    """How much is written and read.

    Args:
        recorded: Trials that are written with all their trajectories, and whose curves are read.
        listed: Trials of the study that the commands list.
        looped: Trials of an ordinary loop of Optuna.
        rounds: How often each loop and each reading is repeated.
    """

    recorded: int = 1000
    listed: int = 10_000
    looped: int = 100
    rounds: int = 7


FULL: Final = Size()
QUICK: Final = Size(recorded=100, listed=1000, looped=20, rounds=3)


def measure(url: str | None = None, size: Size = FULL, progress: Progress = silent) -> Report:
    """Measure one database.

    Args:
        url: URL of the database; a study named `lyapopt-bench-store` is made in it, and deleted at
            the end. By default an SQLite file in a temporary folder.
        size: How much; the targets are meant for `FULL`.
        progress: Called with what is measured.

    Returns:
        How many times as long an ordinary loop takes on `RDBStorage` as on `BufferedStorage`, time
        to write a trial of 600 steps and 17 trajectories, bytes on disk for each sample, time
        to read the loss curves of 1,000 trials, and of the commands `status`, `trials` and `best`
        with a study of 10,000, as whole processes.

    Raises:
        UserError: If the database cannot be used, or has a study of that name.
    """
    with _database(url) as place:
        parsed = parse_url(place)
        TrajectoryStore(place).close()  # which explains what is wrong, if anything is
        group = _DIALECTS[parsed.get_backend_name()]
        storage = optuna.storages.RDBStorage(place)
        try:
            progress(f"{group}: {size.rounds} loops of {size.looped} trials")
            rows = [_looped(group, place, storage, size)]
            progress(f"{group}: writing and reading {size.recorded} trials")
            rows += list(_recorded(group, place, storage, size))
            progress(f"{group}: commands with {size.listed} trials")
            rows += _commands(group, place, storage, size)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    return Report(rows, [f"measured in {masked(place)}"] if url else [])


def _looped(group: str, url: str, storage: optuna.storages.RDBStorage, size: Size) -> Row:
    with _study(url, storage):
        pass  # which explains it if there is one of the name
    return loops.compare(group, storage, _STUDY, size.looped, size.rounds)


def _recorded(
    group: str, url: str, storage: optuna.storages.RDBStorage, size: Size
) -> Iterator[Row]:
    """Write trials one after the other, then read their loss curves."""
    count = size.recorded
    with _study(url, storage) as (study, engine, runs), TrajectoryStore(url) as store:
        rng = np.random.default_rng(0)
        before, seconds = 0.0, []
        for number in range(count + 1):
            interruption.poll()
            run = run_of(_STUDY, number, rng)
            runs.append(run.run)
            seconds.append(_timed(partial(store.record, run)))
            if number == 0:  # which pays for connections and empty pages, and does not count
                before, seconds = _bytes(engine), []
        used = (_bytes(engine) - before) / (STEPS * TRAJECTORIES * count)
        milliseconds = [1000 * each for each in seconds]
        yield Row(
            group,
            f"write a trial of {STEPS} steps x {TRAJECTORIES} trajectories",
            Spread.of(milliseconds),
            10.0 if engine.dialect.name == "sqlite" else 20.0,
            "at most",
            "ms",
            f"95 % within {np.quantile(milliseconds, 0.95):.3g} ms",
        )
        yield Row(group, "disk space of a float32", Spread.of([used]), 4.0, "at most", "bytes")
        add_trials(engine, study, runs[1:], seed=0)
        name = f"read the loss curves of {count:,} trials"
        reading = _repeated(size.rounds, lambda: store.trajectories(_STUDY, name="loss"))
        yield Row(group, name, reading, 1.0, "at most", "s")


def _commands(
    group: str, url: str, storage: optuna.storages.RDBStorage, size: Size
) -> Iterator[Row]:
    """Commands of the command line as whole processes, by the clock on the wall."""
    with _study(url, storage) as (study, engine, _):
        add_trials(engine, study, [f"{number:032x}" for number in range(size.listed)], seed=1)
        for command in ("status", "trials", "best"):
            seconds = _repeated(size.rounds, partial(_run, command, url))
            name = f"lyapopt {command} with {size.listed:,} trials"
            yield Row(group, name, seconds, 2.0, "at most", "s")


def _run(command: str, url: str) -> None:
    subprocess.run(
        [sys.executable, "-c", _COMMAND, command, "--study", _STUDY],
        env={**os.environ, _URL_VARIABLE: url},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _repeated(rounds: int, call: Callable[[], object]) -> Spread:
    if rounds > 1:
        call()  # caches of the database and of the system
    return Spread.of([_timed(call) for _ in range(rounds)])


def _timed(call: Callable[[], object]) -> float:
    interruption.poll()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _bytes(engine: sqlalchemy.Engine) -> float:
    """What our tables take on disk, with their indices; of SQLite, the whole file."""
    if engine.dialect.name == "sqlite":
        return float(Path(str(engine.url.database)).stat().st_size)
    tables = [table.name for table in METADATA.sorted_tables]
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            query = " + ".join(f"pg_total_relation_size('{name}')" for name in tables)
            return float(connection.exec_driver_sql(f"SELECT {query}").scalar() or 0)
        for name in tables:
            connection.exec_driver_sql(f"ANALYZE TABLE {name}").all()
        names = ", ".join(f"'{name}'" for name in tables)
        query = (
            "SELECT sum(data_length + index_length) FROM information_schema.tables "
            f"WHERE table_schema = DATABASE() AND table_name IN ({names})"
        )
        return float(connection.exec_driver_sql(query).scalar() or 0)


@contextmanager
def _study(
    url: str, storage: optuna.storages.RDBStorage
) -> Iterator[tuple[optuna.Study, sqlalchemy.Engine, list[str]]]:
    """An empty study, an engine, and a list for the runs that are recorded; in the end all goes."""
    try:
        study = optuna.create_study(storage=storage, study_name=_STUDY)
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(
            f"{masked(url)} has a study {_STUDY!r} already, perhaps of a measurement that was "
            "killed. Delete it, or give another database."
        ) from None
    engine = make_engine(parse_url(url), _TIMEOUT)
    runs: list[str] = []
    try:
        yield study, engine, runs
    finally:
        engine.dispose()
        optuna.delete_study(study_name=_STUDY, storage=storage)
        if runs:
            with TrajectoryStore(url) as store:
                store.forget(runs)


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with temporary_folder() as folder:
        yield f"sqlite:///{folder}/study.db"
