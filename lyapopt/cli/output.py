"""Trials on stdout: as a table for people, as JSON, YAML or CSV for programs."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from lyapopt.cli.fields import Fields, as_dict, json_ready
from lyapopt.cli.text import echo, interval, print_rows, short
from lyapopt.cli.trial_table import PlainTable
from lyapopt.store.trials import StoredTrial
from lyapopt.yaml_text import yaml_lines

__all__ = ["print_best", "print_document", "print_row", "print_trials"]

_PREFIX = "params_"
_FIXED = frozenset(Fields(()).usual)


def print_trials(
    trials: Sequence[StoredTrial],
    form: str,
    names: Sequence[str] | None = None,
    fields: Fields | None = None,
    more: str = "--columns all, or -f csv, has them",
    study_name: str | None = None,
) -> None:
    """Print trials, all digits of their numbers except in the table.

    Args:
        trials: In the order to print.
        form: `table`, `json`, `yaml` or `csv`.
        names: Fields to print, in this order, and no others.
        fields: Those of the whole study, of which these may be a part.
        more: Where the columns are that the terminal has no room for, in words.
        study_name: Name of their study, where it is to be said.
    """
    known = fields or Fields(trials)
    named = {} if study_name is None else {"study": study_name}
    if form == "table":
        if study_name is not None and trials:
            echo(f"study {short(study_name)}")
        _print_table(trials, names, known, more)
    elif form == "csv":
        _print_csv(trials, names, known, named)
    elif names is None:
        _print_documents([{**named, **as_dict(trial)} for trial in trials], trials, form)
    else:
        _print_documents(known.rows(names, trials), trials, form)


def print_best(
    trials: Sequence[StoredTrial],
    form: str,
    facts: Callable[[StoredTrial], Mapping[str, str]] = lambda trial: {},
) -> None:
    """Print the best trial, or the trials of a Pareto front.

    Args:
        trials: At least one.
        form: `table`, `json`, `yaml` or `csv`.
        facts: What to say of each beside what is stored of it, by label.
    """
    if form == "csv":
        named = facts(trials[0])
        _print_csv(trials, None, Fields(trials), {k: v for k, v in named.items() if k == "study"})
    elif form == "table":
        for position, trial in enumerate(trials):
            if position:
                typer.echo()
            _print_one(trial, facts(trial))
    else:
        documents = [{**as_dict(trial), **facts(trial)} for trial in trials]
        if len(documents) > 1:
            _print_documents(documents, trials, form)
        else:
            [document] = documents
            print_document(json_ready(document, trials[0]) if form == "json" else document, form)


def _print_one(trial: StoredTrial, facts: Mapping[str, str]) -> None:
    values = ", ".join(short(value) for value in trial.values)
    exponent = "" if trial.exponent is None else short(trial.exponent)
    print_rows(
        [
            ("trial", str(trial.number)),
            ("value" if len(trial.values) == 1 else "values", values),
            (
                "exponent",
                f"{exponent} {interval(trial.interval)}".strip() or trial.without_exponent,
            ),
            ("verdict", short(trial.verdict) or "none"),
            *facts.items(),
        ]
    )
    typer.echo("params:")
    for line in yaml_lines(dict(trial.params)):
        typer.echo(f"  {line}")


def print_document(data: Any, form: str) -> None:
    """Print plain data as JSON, of which no number may be other than finite, or as YAML."""
    if form == "json":
        typer.echo(json.dumps(data, indent=2, default=str, allow_nan=False))
    else:
        print("\n".join(yaml_lines(data)))


def print_row(row: Mapping[str, Any]) -> None:
    """Print one row of CSV, with its header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([list(row), list(row.values())])


def _print_documents(
    rows: Sequence[Mapping[str, Any]], trials: Sequence[StoredTrial], form: str
) -> None:
    if form == "json":
        rows = [json_ready(row, trial) for row, trial in zip(rows, trials, strict=True)]
    print_document(list(rows), form)


def _print_csv(
    trials: Sequence[StoredTrial],
    names: Sequence[str] | None,
    fields: Fields,
    named: Mapping[str, str],
) -> None:
    params = [_PREFIX + name for name in fields.params]
    usual = [name for name in fields.usual if name not in fields.params.values()]
    shown = [*usual, *params] if names is None else list(names)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*named, *shown])
    for trial in trials:
        writer.writerow([*named.values(), *(_cell(fields, name, trial) for name in shown)])


def _cell(fields: Fields, name: str, trial: StoredTrial) -> Any:
    """A field with all its digits; empty where the trial does not have it."""
    value = fields.get(name, trial)
    if value is not None or name in (*_FIXED, *fields.values):
        return value
    return "null" if name.removeprefix(_PREFIX) in trial.params else None


def _print_table(
    trials: Sequence[StoredTrial], names: Sequence[str] | None, fields: Fields, more: str
) -> None:
    if not trials:
        typer.echo("no trials")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    table = PlainTable(trials, width, names, fields)
    for line in table.lines():
        print(line)
    if table.left_out:
        what = ", ".join(table.left_out)
        echo(f"no room here for {what}: {more}", err=True)
