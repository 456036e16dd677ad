"""An ordinary `Study.optimize` loop on `RDBStorage`, on `BufferedStorage`, and in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from lyapopt.bench.timing import Row, Timings
from lyapopt.store.buffered import BufferedStorage

PARAMETERS: Final = 4
ATTRIBUTES: Final = 10
REPORTS: Final = 20
AT_LEAST: Final = 8.0
"""How many times as long as a buffered loop the plain one takes."""


def objective(trial: optuna.Trial) -> float:
    """Nothing but what goes to the storage; every second trial is pruned halfway."""
    values = [trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(PARAMETERS)]
    for i in range(ATTRIBUTES):
        trial.set_user_attr(f"attribute {i}", values[i % PARAMETERS] + i)
    for step in range(REPORTS):
        trial.report(trial.number % 2 + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return sum(values)


def compare(group: str, storage: RDBStorage, study_name: str, trials: int, rounds: int) -> Row:
    """Time loops of some trials in turn, each as a study of its own, which is deleted.

    Args:
        group: What the row is about.
        storage: The database.
        study_name: Name of the study; there must be none of it.
        trials: Trials of a loop.
        rounds: How often each storage has its turn.
    """
    rivals: dict[str, Callable[[], BaseStorage]] = {
        "RDBStorage": lambda: storage,
        "BufferedStorage": lambda: BufferedStorage(storage),
        "in memory": InMemoryStorage,
    }
    found: dict[str, list[float]] = {name: [] for name in rivals}
    with _without_a_line_for_each_trial():
        for make in rivals.values():  # connections, caches, imports
            _seconds(make(), study_name, 2)
        for _ in range(rounds):
            for name, make in rivals.items():
                found[name].append(_seconds(make(), study_name, trials) / trials)
    timings = Timings(found)
    return Row(
        group,
        f"a trial of {PARAMETERS} parameters, {ATTRIBUTES} attributes and {REPORTS} reports: "
        "RDBStorage / BufferedStorage",
        timings.ratio("RDBStorage", "BufferedStorage"),
        AT_LEAST,
        detail=f"{timings.medians(*rivals, unit='ms')}, the last in memory",
    )


@contextmanager
def _without_a_line_for_each_trial() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _seconds(storage: BaseStorage, study_name: str, trials: int) -> float:
    """By the clock on the wall, which waits for the disk."""
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=REPORTS // 2),
    )
    try:
        started = time.perf_counter()
        study.optimize(objective, n_trials=trials)
        return time.perf_counter() - started
    finally:
        with suppress(KeyError):  # somebody else has deleted it
            optuna.delete_study(study_name=study_name, storage=storage)
