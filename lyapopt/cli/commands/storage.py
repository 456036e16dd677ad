"""`lyapopt storage init | upgrade | gc | export | doctor`: the database side."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Storage
from lyapopt.cli.text import echo, plural
from lyapopt.display import one_line, printable
from lyapopt.errors import UserError
from lyapopt.interruption import finishing

if TYPE_CHECKING:
    from lyapopt.cli.target import Target

# The functions below import what they work with when they are called: `--help` of every command
# imports this file, and SQLAlchemy and Optuna take 1.5 s.
app = typer.Typer(
    help="Create, upgrade, clean, export and examine study databases.", no_args_is_help=True
)

Study = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="Which study; all by default.")
]


class ExportFormat(StrEnum):
    """What an export is."""

    SQLITE = "sqlite"
    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def init(storage: Storage) -> int:
    """Create the tables, before many workers come; any number of processes may do so at once."""
    from lyapopt.store.errors import masked
    from lyapopt.study.admin.maintenance import init_storage

    target = _new_target(storage)
    with finishing():
        created = init_storage(target.storage, target.store)
    echo(f"{one_line(masked(target.storage))}: {'created' if created else 'was there already'}")
    return exit_codes.DONE


@app.command()
def upgrade(storage: Storage) -> int:
    """Bring Optuna's tables and ours to the versions of what is installed; create none."""
    from lyapopt.cli.target import target_of
    from lyapopt.study.admin.maintenance import upgrade_storage

    target = target_of(storage)
    with finishing():
        before, after = upgrade_storage(target.storage)
    for whose, old, new in (
        ("Optuna's", before.optuna, after.optuna),
        ("our", before.lyapopt, after.lyapopt),
    ):
        echo(f"{whose} tables: " + ("none" if old is None else f"{old} -> {new}"))
    return exit_codes.DONE


@app.command()
def gc(
    storage: Storage,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    grace: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="Keep what was recorded since, in any case."),
    ] = 3600.0,
) -> int:
    """Delete what is stored of trials that are gone, such as those of deleted studies."""
    from lyapopt.cli.target import target_of
    from lyapopt.study.admin.maintenance import collect_garbage

    target = target_of(storage)
    with finishing():
        count = collect_garbage(target.storage, target.store, dry_run=dry_run, grace=grace)
    echo(f"{plural(count, 'run')} {'would be' if dry_run else 'were'} deleted")
    return exit_codes.DONE


@app.command()
def export(
    storage: Storage,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A new file; a folder for csv and parquet."
        ),
    ],
    study: Study = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="What to write.")
    ] = ExportFormat.SQLITE,
    trajectories: Annotated[
        bool, typer.Option(help="Whether to copy the series, which are most of the data.")
    ] = True,
) -> int:
    """Copy studies into one SQLite file that dashboards open, or into tables."""
    from lyapopt.cli.target import target_of
    from lyapopt.study.admin.export import export as copy

    target = target_of(storage, study)
    with finishing():
        files = copy(
            target.storage,
            output,
            target.study_name,
            store=target.store,
            format=form.value,
            trajectories=trajectories,
        )
    for file in files:
        echo(printable(str(file)))
    return exit_codes.DONE


@app.command()
def doctor(
    storage: Storage,
    deep: Annotated[bool, typer.Option("--deep", help="Read every series as well.")] = False,
) -> int:
    """Say what a database holds, what is wrong with it, and what to do. Changes nothing.

    Exit codes: 0 nothing is wrong, 1 something is.
    """
    from lyapopt.cli.target import target_of
    from lyapopt.study.admin.doctor import examine

    target = target_of(storage)
    findings = examine(target.storage, target.store, deep=deep)
    for finding in findings:
        advice = "" if finding.advice is None else f"\n       -> {one_line(finding.advice)}"
        echo(f"{finding.level:5}  {one_line(finding.what)}{advice}")
    wrong = any(finding.level == "wrong" for finding in findings)
    return exit_codes.FAILED if wrong else exit_codes.DONE


def _new_target(text: str) -> Target:
    """As `target_of`, but a database file need not be there."""
    from lyapopt.cli.target import Target, target_of
    from lyapopt.store.urls import sqlite_url

    if "://" in text or Path(text).exists():
        return target_of(text)
    if Path(text).suffix.lower() in (".db", ".sqlite", ".sqlite3"):
        return Target(sqlite_url(text))
    raise UserError(
        f"{one_line(text)} is neither a storage URL nor a database file such as study.db"
    )
