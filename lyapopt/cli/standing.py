"""What `lyapopt status` shows of a study, once or until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lyapopt import interruption
from lyapopt.cli import exit_codes
from lyapopt.cli.fields import as_dict, json_ready
from lyapopt.cli.output import print_document, print_row
from lyapopt.cli.summary import best_in_words, cost_in_words, facts
from lyapopt.cli.target import promoted_of, stored_study, target_of
from lyapopt.cli.text import assignments, count, duration, echo, print_rows, short
from lyapopt.study.analysis.overview import Overview, StoredStudy, StoredTrial

__all__ = ["show", "watch_it"]

_RUNNING_SHOWN = 20
_SECONDS = 2.0
_SILENT = 120.0
"""Seconds without a heartbeat after which a running trial is called silent."""
_COSTS = ("gradient_evaluations", "so_far_of_running", "saved")
_STATES = ("complete", "pruned", "failed", "interrupted", "running", "waiting")


@dataclass(frozen=True)
class Standing:
    """A study, and the one in which its best trials were trained in full, if there is one."""

    study: StoredStudy
    promoted: StoredStudy | None

    @classmethod
    def of(cls, text: str, study_name: str | None) -> Standing:
        """The study that STORAGE and `--study` mean.

        Raises:
            UserError: If there is no such study.
        """
        study = stored_study(text, study_name)
        return cls(study, promoted_of(target_of(text), study.name))


def show(text: str, study_name: str | None, form: str) -> int:
    """Print where a study stands.

    Args:
        text: STORAGE, as it was given.
        study_name: From `--study`.
        form: `table`, `json`, `yaml` or `csv`.

    Returns:
        The exit code.
    """
    _PRINT[form](Standing.of(text, study_name))
    return exit_codes.DONE


def watch_it(text: str, study_name: str | None, form: str) -> int:
    """Print it again and again, until Ctrl-C: in place on a terminal, else where it changes."""

    def current() -> str:
        with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()):
            show(text, study_name, form)
        return printed.getvalue()

    console = Console(file=sys.stdout)
    with interruption.finishing(lambda _: None):
        try:
            if console.is_terminal:
                _in_place(current, console)
            else:
                _as_it_changes(current)
        except interruption.Interrupted:
            interruption.forget(signal.SIGINT)  # Ctrl-C is how this is meant to end
    return exit_codes.DONE


def _in_place(current: Callable[[], str], console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(Text(current().rstrip()), refresh=True)
            interruption.wait(_SECONDS)


def _as_it_changes(current: Callable[[], str]) -> None:
    before = ""
    while True:
        text = current()
        if text != before:
            print(text, end="" if text.startswith("{") else "\n", flush=True)
        before = text
        interruption.wait(_SECONDS)


# One form each


def _print_table(standing: Standing) -> None:
    study, promoted = standing.study, standing.promoted
    overview = Overview.of(study)
    echo(f"study {short(study.name)}: {', '.join(map(short, study.directions))}\n")
    rows = facts(study, overview)
    if promoted is not None:
        full = Overview.of(promoted)
        best = f"{best_in_words(full.best[0])}, trained in full"
        rows.append(("promoted", f"{best} (study {short(promoted.name)})"))
        rows += [("", assignments(full.best[0].params)), ("", cost_in_words(full))]
    for position, trial in enumerate(overview.running[:_RUNNING_SHOWN]):
        rows.append(("" if position else "running", _running(trial)))
    if len(overview.running) > _RUNNING_SHOWN:
        rows.append(("", f"and {len(overview.running) - _RUNNING_SHOWN} more"))
    print_rows(rows)


def _running(trial: StoredTrial) -> str:
    text = f"trial {trial.number}"
    if trial.started is not None:
        text += f", for {duration(_age(trial))}"
    step, value, silence = trial.progress
    if step is not None:
        text += f", at step {count(step)} with {short(value)}"
    if silence is not None and silence > _SILENT:
        text += f", silent for {duration(silence)}"
    return f"{text}: {assignments(trial.params)}"


def _age(trial: StoredTrial) -> float:
    assert trial.started is not None
    return max(0.0, (datetime.now() - trial.started).total_seconds())


def _as_document(standing: Standing) -> dict[str, Any]:
    study, promoted = standing.study, standing.promoted
    overview = Overview.of(study)
    document: dict[str, Any] = {
        "study": study.name,
        "directions": list(study.directions),
        "states": {state: overview.states[state] for state in _STATES},
        "verdicts": dict(overview.verdicts.most_common()),
        "best": [json_ready(as_dict(trial), trial) for trial in overview.best],
        "gradient_evaluations": overview.gradient_evaluations,
        "so_far_of_running": overview.so_far,
        "saved": overview.saved,
        "running": [_running_document(trial) for trial in overview.running],
    }
    if promoted is not None:
        document["promoted"] = _as_document(Standing(promoted, None))
    return document


def _running_document(trial: StoredTrial) -> dict[str, Any]:
    step, value, silence = trial.progress
    row = {
        "trial": trial.number,
        "seconds": None if trial.started is None else round(_age(trial), 1),
        "step": step,
        "reported": value,
        "seconds_since_heartbeat": silence,
        "params": dict(trial.params),
    }
    return json_ready(row)


def _print_json(standing: Standing) -> None:
    print_document(_as_document(standing), "json")


def _print_yaml(standing: Standing) -> None:
    print_document(_as_document(standing), "yaml")


def _print_csv(standing: Standing) -> None:
    document = _as_document(standing)
    states = document.pop("states")
    best = document.pop("best")
    first: dict[str, Any] = best[0] if best else {}
    print_row(
        {
            "study": document["study"],
            **states,
            "best_trial": first.get("trial"),
            "best_value": first.get("value"),
            **{name: document[name] for name in _COSTS},
        }
    )


_PRINT = {"table": _print_table, "json": _print_json, "yaml": _print_yaml, "csv": _print_csv}
