"""`lyapopt bench search`: every method on every table at every budget."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pandas as pd

from lyapopt.bench import Progress, silent
from lyapopt.bench.search.methods import METHODS, Method
from lyapopt.bench.search.replay import Replay
from lyapopt.bench.search.statistics import BUDGETS
from lyapopt.bench.tables.cache import table_of, table_path
from lyapopt.bench.tables.cases import Case
from lyapopt.bench.tables.table import Table


@dataclass(frozen=True)
class Job:
    """One method on one case.

    Attributes:
        case: The case, without its build function: a replay builds nothing.
        path: Where its table is.
        method: Name of the method.
        seeds: One for each replay.
        budgets: Budgets in full trainings, ascending.
    """

    case: Case
    path: Path
    method: str
    seeds: tuple[int, ...]
    budgets: tuple[float, ...] = BUDGETS


def compare(
    jobs: Sequence[Job],
    processes: int = 1,
    done: Callable[[Job, pd.DataFrame], None] = lambda job, rows: None,
) -> pd.DataFrame:
    """Run jobs, in parallel if asked to; the result does not depend on how many processes.

    Args:
        jobs: Methods on cases.
        processes: How many at once.
        done: Called with every job that is done, and its rows.

    Returns:
        One row a case, method, seed and budget: columns `case`, `method`, `family`, `seed`,
        `budget`, `regret`, `spent` (of the largest budget of an anytime method).
    """
    found: dict[int, pd.DataFrame] = {}
    for place, rows in _run_all(jobs, processes):
        found[place] = rows
        done(jobs[place], rows)
    if not found:
        return pd.DataFrame(columns=_COLUMNS)
    return pd.concat([found[place] for place in sorted(found)], ignore_index=True)


_COLUMNS = ["case", "method", "family", "seed", "budget", "regret", "spent"]


def jobs_of(
    cases: Iterable[Case],
    methods: Sequence[str],
    seeds: int,
    folder: Path | None = None,
    progress: Progress = silent,
) -> list[Job]:
    """Every method on every case; tables that are missing are recorded first."""
    jobs = []
    for case in cases:
        table_of(case, folder, progress)
        path = table_path(case, folder)
        known = replace(case, build=None)
        jobs += [Job(known, path, method, tuple(range(seeds))) for method in methods]
    return jobs


def run_job(job: Job) -> pd.DataFrame:
    """All replays of one method on one case."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = _load(job.path, job.case)
    method = METHODS[job.method]
    rows = [row for seed in job.seeds for row in _replays(method, table, seed, job.budgets)]
    return pd.DataFrame(rows, columns=_COLUMNS)


_Row = tuple[str, str, str, int, float, float, float]


def _replays(method: Method, table: Table, seed: int, budgets: tuple[float, ...]) -> Iterator[_Row]:
    """Regrets at every budget; a method that plans for its budget runs once for each."""
    replay = Replay(table, budgets[-1], seed)
    if method.is_anytime:
        _run(method, replay)
    for budget in budgets:
        if not method.is_anytime:
            replay = Replay(table, budget, seed)
            _run(method, replay)
        regret = float(table.regret(replay.best_at(budget)))
        yield table.case.name, method.name, method.family, seed, budget, regret, replay.spent


def _run(method: Method, replay: Replay) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        method.run(replay)


_LOADED: dict[Path, Table] = {}


def _load(path: Path, case: Case) -> Table:
    """The table, kept for the next job; one at a time."""
    if path not in _LOADED:
        _LOADED.clear()
        _LOADED[path] = Table.load(path, case)
    return _LOADED[path]


def _run_all(jobs: Sequence[Job], processes: int) -> Iterator[tuple[int, pd.DataFrame]]:
    if processes == 1 or len(jobs) < 2:
        for place, job in enumerate(jobs):
            yield place, run_job(job)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context)
    try:
        places = {pool.submit(run_job, job): place for place, job in enumerate(jobs)}
        for future in as_completed(places):
            yield places[future], future.result()
    finally:  # an interruption does not wait for what has not begun
        pool.shutdown(cancel_futures=True)
