"""Trials on stdout: as a table for people, as JSON, YAML or CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from lyapopt.cli.text import interval, print_rows, short
from lyapopt.cli.trial_table import trial_lines
from lyapopt.store.trials import StoredTrial
from lyapopt.yaml_text import yaml_lines

__all__ = ["print_best", "print_trials"]


def print_trials(trials: Sequence[StoredTrial], form: str) -> None:
    """Print trials, all digits of their numbers except in the table.

    Args:
        trials: In the order to print.
        form: `table`, `json`, `yaml` or `csv`.
    """
    if form == "table":
        _print_table(trials)
    elif form == "csv":
        _print_csv(trials)
    else:
        _print_document([as_dict(trial) for trial in trials], form)


def print_best(trials: Sequence[StoredTrial], form: str) -> None:
    """Print the best trial, or the trials of a Pareto front.

    Args:
        trials: At least one.
        form: `table`, `json`, `yaml` or `csv`.
    """
    if form == "csv":
        _print_csv(trials)
    elif form == "table":
        for position, trial in enumerate(trials):
            if position:
                typer.echo()
            _print_one(trial)
    else:
        documents = [as_dict(trial) for trial in trials]
        _print_document(documents[0] if len(documents) == 1 else documents, form)


def as_dict(trial: StoredTrial) -> dict[str, Any]:
    """A trial as plain data.

    Example:
        >>> as_dict(StoredTrial(7, "complete", (0.25,), {"lr": 0.1}))["params"]
        {'lr': 0.1}
    """
    low, high = trial.interval or (None, None)
    values = [float(value) for value in trial.values]
    return {
        "trial": trial.number,
        "state": trial.state,
        **({"values": values} if len(values) > 1 else {"value": values[0] if values else None}),
        "exponent": trial.exponent,
        "exponent_low": low,
        "exponent_high": high,
        "verdict": trial.verdict,
        "gradient_evaluations": trial.gradient_evaluations,
        "reason": trial.reason,
        "params": dict(trial.params),
    }


def _as_json(value: Any) -> Any:
    """JSON has no infinity: such numbers become text."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _print_one(trial: StoredTrial) -> None:
    values = ", ".join(short(value) for value in trial.values)
    exponent = "" if trial.exponent is None else short(trial.exponent)
    print_rows(
        [
            ("trial", str(trial.number)),
            ("value" if len(trial.values) == 1 else "values", values),
            ("exponent", f"{exponent} {interval(trial.interval)}".strip() or "not measured"),
            ("verdict", short(trial.verdict) or "none"),
        ]
    )
    typer.echo("params:")
    for line in yaml_lines(dict(trial.params)):
        typer.echo(f"  {line}")


def _print_document(data: Any, form: str) -> None:
    if form == "json":
        typer.echo(json.dumps(_as_json(data), indent=2, default=str))
    else:
        print("\n".join(yaml_lines(data)))


def _print_csv(trials: Sequence[StoredTrial]) -> None:
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    objectives = max((len(trial.values) for trial in trials), default=1)
    values = ["value"] if objectives < 2 else [f"value_{k}" for k in range(objectives)]
    fixed = ["exponent", "exponent_low", "exponent_high", "verdict", "gradient_evaluations"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["trial", "state", *values, *fixed, "reason", *(f"params_{name}" for name in names)]
    )
    for trial in trials:
        row = as_dict(trial)
        found = [*trial.values, *[None] * (len(values) - len(trial.values))]
        writer.writerow(
            [
                trial.number,
                trial.state,
                *found,
                *(row[name] for name in fixed),
                trial.reason,
                *(_cell(trial.params, name) for name in names),
            ]
        )


def _cell(params: Mapping[str, Any], name: str) -> Any:
    """A parameter with all its digits; empty where the trial does not have it."""
    return "null" if name in params and params[name] is None else params.get(name)


def _print_table(trials: Sequence[StoredTrial]) -> None:
    if not trials:
        typer.echo("no trials")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in trial_lines(trials, width):
        print(line)
