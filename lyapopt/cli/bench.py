"""`lyapopt bench`: measures, then prints a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from lyapopt.bench.report import Report, Row
from lyapopt.bench.speed.suite import PARTS, QUICK, Effort, measure_speed
from lyapopt.bench.store.measuring import FULL as FULL_STORE
from lyapopt.bench.store.measuring import QUICK as QUICK_STORE
from lyapopt.bench.store.measuring import measure as measure_store
from lyapopt.cli.target import target_of
from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study


def speed(quick: bool, file: Path | None, only: Sequence[str] | None) -> int:
    """Measure, print, and write JSON if asked to; the exit code."""
    unknown = sorted(set(only or ()) - set(PARTS))
    if unknown:
        raise UserError(f"--only {unknown[0]}: there are {', '.join(PARTS)}")
    _refuse_missing_folder(file)
    report = measure_speed(
        QUICK if quick else Effort(),
        lambda path: run_study(load_study_file(path, [])),
        lambda part: typer.echo(f"measuring {part} ...", err=True),
        only or None,
    )
    return _finish("speed", report, file)


def store(storage: str | None, quick: bool, file: Path | None) -> int:
    """Measure, print, and write JSON if asked to; the exit code."""
    _refuse_missing_folder(file)
    report = measure_store(
        None if storage is None else target_of(storage).storage,
        QUICK_STORE if quick else FULL_STORE,
        lambda what: typer.echo(f"measuring {what} ...", err=True),
    )
    return _finish("store", report, file)


def _refuse_missing_folder(file: Path | None) -> None:
    if file is not None and not file.parent.is_dir():
        raise UserError(f"--json {file}: there is no folder {file.parent}")


def _finish(what: str, report: Report, file: Path | None) -> int:
    if file is not None:
        file.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    _print(f"lyapopt bench {what}", report)
    return int(any(row.holds is False for row in report.rows))


def _print(title: str, report: Report) -> None:
    table = Table(title=title, title_justify="left")
    for name in ("", "what", "median", "quartiles", "target", "", "times"):
        table.add_column(name, justify="right" if name in ("median", "quartiles") else "left")
    last = ""
    for row in report.rows:
        mark = {True: "yes", False: "NO", None: ""}[row.holds]
        table.add_row(
            row.group if row.group != last else "",
            row.name,
            _number(row.measured.median) + f" {row.unit}",
            f"{_number(row.measured.low)} .. {_number(row.measured.high)}",
            _target(row),
            mark,
            row.detail,
        )
        last = row.group
    console = Console()
    # As wide as its rows where the output is no terminal: a file has no width.
    console = console if console.is_terminal else Console(width=200)
    console.print(table)
    for note in report.notes:
        typer.echo(f"note: {note}")


def _target(row: Row) -> str:
    return "" if row.target is None else f"{row.sense} {_number(row.target)}"


def _number(value: float) -> str:
    return f"{value:.3g}"
