"""Copying runs into another database, to share them as one file."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from lyapopt.store.models import CHILDREN, Base, Block, Run, Trajectory
from lyapopt.store.writing import delete_runs, table_of

_RUNS_AT_ONCE = 200


def copy_runs(
    source: Connection,
    target: Connection,
    trials: Sequence[tuple[str, int, str]],
    *,
    trajectories: bool,
) -> None:
    """Copy runs as they are stored, in place of what the target has under the same uuid.

    Args:
        source: To read from.
        target: In the transaction to write in.
        trials: `(study_name, trial_number, run)` of each, as they are called now; the copy
            remembers these names, since it has no tables of Optuna to look them up in.
        trajectories: Whether the series are copied as well.
    """
    models = [m for m in CHILDREN if trajectories or m not in (Trajectory, Block)]
    for first in range(0, len(trials), _RUNS_AT_ONCE):
        some = trials[first : first + _RUNS_AT_ONCE]
        runs = [run for _, _, run in some]
        delete_runs(target, runs)
        _copy_headers(source, target, some)
        for model in models:
            _copy(source, target, model, runs)


def _copy_headers(
    source: Connection, target: Connection, trials: Sequence[tuple[str, int, str]]
) -> None:
    named = {run: {"study_name": name, "trial_number": number} for name, number, run in trials}
    table = table_of(Run)
    found = source.execute(select(table).where(table.c.run.in_(list(named))))
    rows = [dict(row._mapping) | named[row.run] for row in found]
    if rows:
        target.execute(insert(table), rows)


def _copy(source: Connection, target: Connection, model: type[Base], runs: Sequence[str]) -> None:
    table = table_of(model)
    found = source.execute(select(table).where(table.c.run.in_(runs)))
    rows = [dict(row._mapping) for row in found]
    if rows:
        target.execute(insert(table), rows)
