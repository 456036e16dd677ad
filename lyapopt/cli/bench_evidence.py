"""`lyapopt bench search`, `signal` and `paper`: measures, prints tables, writes JSON and HTML."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table as PrintedTable

from lyapopt.bench.tables.cases import FULL, QUICK, STANDARD, Case, cases_of
from lyapopt.errors import UserError

STORAGE = "sqlite:///runs/bench.db"


@dataclass(frozen=True)
class Outputs:
    """Where numbers go beside the terminal.

    Attributes:
        json: File, or `None`.
        html: File, or `None`.
        storage: URL of the database.
    """

    json: Path | None
    html: Path | None
    storage: str

    def check(self) -> None:
        """See to it that files can be written, before anything is measured."""
        for name, path in (("--json", self.json), ("--html", self.html)):
            if path is not None and not path.resolve().parent.is_dir():
                raise UserError(f"{name} {path}: there is no folder {path.parent}")

    def write(self, data: dict[str, Any], page: Callable[[], str]) -> None:
        """Write what was asked for."""
        if self.json is not None:
            self.json.write_text(json.dumps(data, indent=2) + "\n")
        if self.html is not None:
            self.html.write_text(page())


@dataclass(frozen=True)
class Choice:
    """Which cases, how many seeds, how many processes.

    Attributes:
        quick, full: Effort; neither is the standard one.
        tasks: Built-in cases or import paths of build functions, instead of the effort's.
        grid: Axes of users' own networks.
        seeds: Replays, or `None` for the effort's.
        jobs: Processes.
    """

    quick: bool
    full: bool
    tasks: Sequence[str]
    grid: Sequence[str]
    seeds: int | None
    jobs: int

    def cases(self) -> list[Case]:
        """The cases to measure."""
        if self.quick and self.full:
            raise UserError("--quick and --full exclude each other")
        if self.tasks:
            return [_case(name, self.grid) for name in self.tasks]
        if self.grid:
            raise UserError("--grid belongs to --task package.module:build")
        return cases_of(QUICK if self.quick else FULL if self.full else STANDARD)

    def seed_count(self) -> int:
        """How many replays."""
        if self.seeds is not None:
            return self.seeds
        return 10 if self.quick else 30 if self.full else 20


def search(choice: Choice, only: Sequence[str], outputs: Outputs) -> int:
    """Compare methods; the exit code."""
    from lyapopt.bench.search.archive import SearchArchive
    from lyapopt.bench.search.comparison import compare, jobs_of
    from lyapopt.bench.search.live_check import agrees, live_check
    from lyapopt.bench.search.methods import CORE, METHODS
    from lyapopt.bench.search.report import report_of
    from lyapopt.bench.tables.cache import table_of

    unknown = [name for name in only if name not in METHODS]
    if unknown:
        raise UserError(f"--only {unknown[0]!r}: there are {', '.join(METHODS)}")
    outputs.check()
    methods = list(only) or (list(CORE) if choice.quick else list(METHODS))
    cases = choice.cases()
    jobs = jobs_of(cases, methods, choice.seed_count(), progress=_say)
    archive = SearchArchive(outputs.storage)
    missing = archive.missing(jobs)
    _say(f"{len(jobs)} comparisons, {len(jobs) - len(missing)} of them stored already")
    count = 0

    def done(job: Any, rows: pd.DataFrame) -> None:
        nonlocal count
        count += 1
        archive.add(job, rows)
        _say(f"{count}/{len(missing)}  {job.case.name}  {job.method}")

    compare(missing, choice.jobs, done)
    _say("training a few configurations to check the tables")
    checked = pd.concat([live_check(table_of(case)) for case in cases], ignore_index=True)
    report = report_of(archive.results(jobs), live=checked)
    _print("methods by area under regret", report.summary)
    _print("area by case", report.by_case)
    if len(report.against):
        _print("edge of chaos + ranking less each of the others", report.against)
        _print("budget to reach what others have at the largest one", report.reach)
    if report.targets:
        _print("targets", pd.DataFrame([vars(target) for target in report.targets]))
    _print("trained live, beside the table", checked)
    outputs.write(report.as_dict(), lambda: report.as_page(_command()))
    return int(not agrees(checked))


def signal(choice: Choice, outputs: Outputs) -> int:
    """Score early signals; the exit code."""
    from lyapopt.bench.search.archive import add_table, table_name
    from lyapopt.bench.signal.report import SignalReport
    from lyapopt.bench.signal.scores import score_table
    from lyapopt.bench.signal.signals import cells
    from lyapopt.bench.tables.cache import table_of

    outputs.check()
    parts = []
    for case in choice.cases():
        table = table_of(case, progress=_say)
        _say(f"{case.name}: scoring signals")
        scores = score_table(table)
        add_table(outputs.storage, table_name("cells", case), cells(table), "final_loss")
        add_table(outputs.storage, table_name("signals", case), scores, "spearman")
        parts.append(scores)
    report = SignalReport(pd.concat(parts, ignore_index=True))
    _print("signals, means over cases", report.means)
    outputs.write(report.as_dict(), lambda: report.as_page(_command()))
    return 0


def paper(quick: bool, outputs: Outputs) -> int:
    """Judge the paper's claims; the exit code."""
    from lyapopt.bench.paper.report import measure_paper
    from lyapopt.bench.paper.settings import QUICK as SMALL
    from lyapopt.bench.paper.settings import Settings
    from lyapopt.bench.search.archive import add_table

    outputs.check()
    report = measure_paper(SMALL if quick else Settings(), _say)
    add_table(outputs.storage, "paper claims", report.claims, "estimate")
    _print("Table 1", report.table_1)
    _print("claims", report.shares)
    outputs.write(report.as_dict(), lambda: report.as_page(_command()))
    return 0


def _case(name: str, grid: Sequence[str]) -> Case:
    if ":" not in name:
        if grid:
            raise UserError("--grid belongs to --task package.module:build")
        return cases_of([name])[0]
    from lyapopt.bench.tables.own_case import own_case
    from lyapopt.study.file.import_paths import import_object

    return own_case(name, import_object(name, Path.cwd()), grid)


def _print(title: str, frame: pd.DataFrame) -> None:
    table = PrintedTable(title=title, title_justify="left")
    for name in frame.columns:
        is_number = pd.api.types.is_numeric_dtype(frame[name])
        table.add_column(str(name), justify="right" if is_number else "left")
    for row in frame.itertuples(index=False):
        table.add_row(*(_text(value) for value in row))
    console = Console()
    # As wide as its rows where the output is no terminal: a file has no width.
    (console if console.is_terminal else Console(width=240)).print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3g}"
    return str(value)


def _say(what: str) -> None:
    typer.echo(what, err=True)


def _command() -> str:
    return " ".join(
        ["lyapopt", *(os.path.basename(a) if a == sys.argv[0] else a for a in sys.argv[1:])]
    )
