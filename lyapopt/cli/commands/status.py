"""`lyapopt status`: where a study stands."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Storage, Study
from lyapopt.cli.text import assignments, duration, echo, print_rows, short

if TYPE_CHECKING:
    from lyapopt.study.analysis.overview import StoredTrial

_RUNNING_SHOWN = 20


def status(storage: Storage, study: Study = None) -> int:
    """Counts by state and verdict, the best trial, compute spent and saved, what is running."""
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.summary import facts
    from lyapopt.cli.target import stored_study
    from lyapopt.study.analysis.overview import Overview

    stored = stored_study(storage, study)
    overview = Overview.of(stored)
    echo(f"study {short(stored.name)}: {', '.join(map(short, stored.directions))}\n")
    rows = facts(stored, overview)
    for position, trial in enumerate(overview.running[:_RUNNING_SHOWN]):
        rows.append(("" if position else "running", _running(trial)))
    if len(overview.running) > _RUNNING_SHOWN:
        rows.append(("", f"and {len(overview.running) - _RUNNING_SHOWN} more"))
    print_rows(rows)
    return exit_codes.DONE


def _running(trial: StoredTrial) -> str:
    age = ""
    if trial.started is not None:
        age = f", for {duration(max(0.0, (datetime.now() - trial.started).total_seconds()))}"
    return f"trial {trial.number}{age}: {assignments(trial.params)}"
