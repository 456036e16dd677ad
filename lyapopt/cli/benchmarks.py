"""What the commands of `lyapopt bench` share: cases to measure, printed tables, written files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from lyapopt.bench.tables.cases import FULL, QUICK, STANDARD, Case, cases_of
from lyapopt.bench.tables.own_case import own_case
from lyapopt.bench.timing import Report, Row
from lyapopt.cli.text import echo
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.study.file import import_object


@dataclass(frozen=True)
class Outputs:
    """Files that numbers go to, beside the terminal.

    Attributes:
        json: A file for all numbers, or `None`.
        html: A file for a page of figures, or `None`.
    """

    json: Path | None
    html: Path | None = None

    def __post_init__(self) -> None:
        """Refuse files that cannot be written, before anything is measured."""
        for name, path in (("--json", self.json), ("--html", self.html)):
            if path is not None and not path.resolve().parent.is_dir():
                raise UserError(
                    f"{name} {one_line(path)}: there is no folder {one_line(path.parent)}"
                )

    def write(self, numbers: Mapping[str, Any], page: Callable[[str], str] | None = None) -> None:
        """Write what was asked for.

        Args:
            numbers: Plain data.
            page: From the command that made the numbers to the HTML of a page.
        """
        if self.json is not None:
            self.json.write_text(json.dumps(numbers, indent=2) + "\n")
        if self.html is not None and page is not None:
            self.html.write_text(page(_command()))


def chosen_cases(quick: bool, full: bool, tasks: Sequence[str], grid: Sequence[str]) -> list[Case]:
    """The cases to measure.

    Args:
        quick, full: Which built-in cases; the standard ones with neither.
        tasks: Built-in cases or import paths of build functions, instead of those.
        grid: Axes of the grid of a user's own network.
    """
    if quick and full:
        raise UserError("--quick and --full exclude each other")
    if tasks:
        return [_case(name, grid) for name in tasks]
    if grid:
        raise UserError("--grid belongs to --task package.module:build")
    return cases_of(QUICK if quick else FULL if full else STANDARD)


def _case(name: str, grid: Sequence[str]) -> Case:
    if ":" in name:
        return own_case(name, import_object(name, Path.cwd()), grid)
    if grid:
        raise UserError("--grid belongs to --task package.module:build")
    return cases_of([name])[0]


def say(what: str) -> None:
    """Report progress, on stderr."""
    echo(what, err=True)


def print_frame(title: str, frame: pd.DataFrame) -> None:
    """Print a table of numbers and texts."""
    table = Table(title=title, title_justify="left")
    for name in frame.columns:
        is_number = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(one_line(name), justify="right" if is_number else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*(_text(value) for value in row))
    _print(table, width=240)


def print_report(title: str, report: Report) -> None:
    """Print ratios beside their targets."""
    table = Table(title=title, title_justify="left")
    for name in ("", "what", "median", "quartiles", "target", "", "times"):
        table.add_column(name, justify="right" if name in ("median", "quartiles") else "left")
    last = ""
    for row in report.rows:
        table.add_row(
            one_line(row.group) if row.group != last else "",
            one_line(row.name),
            f"{row.measured.median:.3g} {row.unit}",
            f"{row.measured.low:.3g} .. {row.measured.high:.3g}",
            _target(row),
            {True: "yes", False: "NO", None: ""}[row.holds],
            one_line(row.detail),
        )
        last = row.group
    _print(table, width=200)
    for note in report.notes:
        echo(f"note: {one_line(note)}")


def _target(row: Row) -> str:
    return "" if row.target is None else f"{row.sense} {row.target:.3g}"


def _print(table: Table, width: int) -> None:
    """Print a table, as wide as its rows where the output is no terminal: a file has no width."""
    is_terminal = Console().is_terminal
    # A text in brackets or between colons is no markup and no emoji.
    Console(width=None if is_terminal else width, markup=False, emoji=False).print(table)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3g}"
    return one_line(value)


def _command() -> str:
    return " ".join(["lyapopt", *sys.argv[1:]])
