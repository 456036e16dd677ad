"""`lyapopt status`, `trials` and `best`: what a storage holds of a study."""

from __future__ import annotations

from datetime import datetime

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.numbers import assignments, duration
from lyapopt.cli.output import print_best, print_trials
from lyapopt.cli.rows import print_rows
from lyapopt.cli.summary import facts
from lyapopt.cli.target import target_of, with_study
from lyapopt.errors import UserError
from lyapopt.store import RecordNotFoundError
from lyapopt.study.analysis.overview import Overview, StoredStudy, StoredTrial, load_study

_RUNNING_SHOWN = 20


def status(storage: str, study_name: str | None) -> int:
    """Print where a study stands.

    Args:
        storage: URL, database file or study file.
        study_name: Which study, if there are several.

    Returns:
        The exit code.
    """
    study = _study(storage, study_name)
    overview = Overview.of(study)
    typer.echo(f"study {study.name}: {', '.join(study.directions)}\n")
    rows = facts(study, overview)
    for position, trial in enumerate(overview.running[:_RUNNING_SHOWN]):
        rows.append(("" if position else "running", _running(trial)))
    if len(overview.running) > _RUNNING_SHOWN:
        rows.append(("", f"and {len(overview.running) - _RUNNING_SHOWN} more"))
    print_rows(rows)
    return exit_codes.DONE


def trials(storage: str, study_name: str | None, form: str) -> int:
    """Print every trial of a study.

    Args:
        storage: URL, database file or study file.
        study_name: Which study, if there are several.
        form: `table`, `json`, `yaml` or `csv`.

    Returns:
        The exit code.
    """
    print_trials(_study(storage, study_name).trials, form)
    return exit_codes.DONE


def best(storage: str, study_name: str | None, form: str) -> int:
    """Print the best trial of a study, or its Pareto front.

    Args:
        storage: URL, database file or study file.
        study_name: Which study, if there are several.
        form: `table`, `json`, `yaml` or `csv`.

    Returns:
        The exit code: 3 if there is no completed trial.
    """
    study = _study(storage, study_name)
    found = Overview.of(study).best
    if not found:
        typer.echo(f"study {study.name!r} has no completed trial", err=True)
        return exit_codes.NO_COMPLETED_TRIAL
    print_best(found, form)
    return exit_codes.DONE


def _study(storage: str, study_name: str | None) -> StoredStudy:
    target, name = with_study(target_of(storage, study_name))
    try:
        return load_study(target.storage, name, target.store)
    except RecordNotFoundError as error:
        if target.file is None or study_name is not None:
            raise
        raise UserError(f"{error}\nto run the study: lyapopt run {target.file}") from error


def _running(trial: StoredTrial) -> str:
    age = ""
    if trial.started is not None:
        age = f", for {duration(max(0.0, (datetime.now() - trial.started).total_seconds()))}"
    return f"trial {trial.number}{age}: {assignments(trial.params)}"
