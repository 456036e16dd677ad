"""`lyapopt`: the commands and their options. What they do is imported when they are called."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lyapopt import __version__
from lyapopt.cli.failures import run_reporting_failures
from lyapopt.cli.storage import app as storage_commands

app = typer.Typer(
    name="lyapopt",
    help="Hyperparameter search for PyTorch on Optuna, guided by the dynamics of training.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


File = Annotated[Path, typer.Argument(metavar="FILE", help="A study file.", show_default=False)]
Storage = Annotated[
    str,
    typer.Argument(
        metavar="STORAGE",
        help="A storage URL, a database file, or a study file.",
        show_default=False,
    ),
]
Study = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="Which study, if it holds several.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the file; repeatable."),
]
Output = Annotated[Format, typer.Option("--format", "-f", help="How to print it.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lyapopt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
) -> None:
    """Read the options that come before the command."""


@app.command()
def run(
    file: File,
    overrides: Set = None,
    extra: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Run N more trials than the study has."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run; touch no storage.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the study first, with all its data.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to delete.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the best trial.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes on this machine; as the file says."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Workers on the Dask cluster of this scheduler."),
    ] = None,
) -> int:
    """Run the study of a file, or go on with it.

    Exit codes: 0 done, 1 failed, 2 invalid input, 3 no completed trial, 130 interrupted (the study
    is intact, and the same command goes on with it).
    """
    from lyapopt.cli import run as command

    if dry_run:
        from lyapopt.cli import dry_run as preview

        return preview.show(file, overrides or [], extra)
    options = command.Options(
        extra=extra, fresh=fresh, yes=yes, quiet=quiet, workers=workers, dask=dask
    )
    return command.run(file, overrides or [], options)


@app.command()
def worker(
    file: File,
    overrides: Set = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the best trial.")
    ] = False,
) -> int:
    """Join a study on a database that several machines share, until it has all its trials."""
    from lyapopt.cli import run as command

    options = command.Options(quiet=quiet, workers=1)
    return command.run(file, [*(overrides or []), "load_if_exists=true"], options)


@app.command()
def validate(file: File, overrides: Set = None) -> None:
    """Check a study file without running it or touching its storage."""
    from lyapopt.study.file import load_study_file

    study = load_study_file(file, overrides or [])
    typer.echo(f"{file}: study {study.study_name!r} is valid")


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    from lyapopt.study.file.schema import json_schema_text

    typer.echo(json_schema_text(), nl=False)


@app.command()
def status(storage: Storage, study: Study = None) -> int:
    """Counts by state and verdict, the best trial, compute spent and saved, what is running."""
    from lyapopt.cli import inspection

    return inspection.status(storage, study)


@app.command()
def trials(storage: Storage, study: Study = None, form: Output = Format.TABLE) -> int:
    """Every trial with its parameters, value, exponent, interval, verdict, state and cost."""
    from lyapopt.cli import inspection

    return inspection.trials(storage, study, form.value)


@app.command()
def best(storage: Storage, study: Study = None, form: Output = Format.TABLE) -> int:
    """The best trial: its parameters ready to paste, value, exponent and verdict."""
    from lyapopt.cli import inspection

    return inspection.best(storage, study, form.value)


@app.command()
def dashboard(
    storage: Storage,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; by default 8080, or the next one that is free."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse everything that would change the storage.")
    ] = False,
) -> int:
    """Serve optuna-dashboard for a storage, until Ctrl-C."""
    from lyapopt.cli import dashboard as command

    return command.serve(storage, host, port, read_only=read_only)


app.add_typer(storage_commands, name="storage")

bench = typer.Typer(help="Measure lyapopt against its rivals.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command()
def speed(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds, and nothing compiled: about a minute.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here too.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="steps, exponents, trials, studies or startup.",
        ),
    ] = None,
) -> int:
    """Times of lyapopt and its rivals, interleaved in one run, with the ratios they should have.

    Exit codes: 0 all targets are met, 1 one is missed, 2 invalid input.
    """
    from lyapopt.cli import bench as command

    return command.speed(quick, json, only)


Quick = Annotated[bool, typer.Option("--quick", help="Small tables and few seeds: minutes.")]
Full = Annotated[
    bool, typer.Option("--full", help="All held-out cases, more replays. Goes on where it stopped.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="package.module:build for a network of your own, or a case such as digits-mlp/adam.",
    ),
]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="AXIS",
        help="Of your own network: activation=relu,tanh, init_seed=0,1 or lr=1e-4:1:13.",
    ),
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Replays of every method.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes.")]
BenchStorage = Annotated[
    str, typer.Option("--storage", metavar="URL", help="Database that runs are stored in.")
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here too.")
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page of figures here.")
]


@bench.command()
def search(
    quick: Quick = False,
    full: Full = False,
    task: Tasks = None,
    grid: Grid = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="METHOD", help="One of the methods.")
    ] = None,
    seeds: Seeds = None,
    jobs: Jobs = 2,
    storage: BenchStorage = "sqlite:///runs/bench.db",
    json: Json = None,
    html: Html = None,
) -> int:
    """Rivals, ours and placebos on recorded trainings, all charged alike.

    Tables are recorded once and kept in the user's cache (LYAPOPT_CACHE).
    """
    from lyapopt.cli import bench_evidence as command

    choice = command.Choice(quick, full, task or [], grid or [], seeds, jobs)
    return command.search(choice, only or [], command.Outputs(json, html, storage))


@bench.command()
def signal(
    quick: Quick = False,
    full: Full = False,
    task: Tasks = None,
    grid: Grid = None,
    storage: BenchStorage = "sqlite:///runs/bench.db",
    json: Json = None,
    html: Html = None,
) -> int:
    """What exponents, losses and placebos after a few steps say of the final loss."""
    from lyapopt.cli import bench_evidence as command

    choice = command.Choice(quick, full, task or [], grid or [], None, 1)
    return command.signal(choice, command.Outputs(json, html, storage))


@bench.command()
def paper(
    quick: Quick = False,
    storage: BenchStorage = "sqlite:///runs/bench.db",
    json: Json = None,
    html: Html = None,
) -> int:
    """Where the claims of arXiv:2410.05988 hold, over hundreds of settings of its problem."""
    from lyapopt.cli import bench_evidence as command

    return command.paper(quick, command.Outputs(json, html, storage))


@bench.command()
def store(
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="STORAGE",
            help="A database to measure in; what is written is deleted again. By default a new "
            "SQLite file.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the trials: a few seconds.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers here too.")
    ] = None,
) -> int:
    """Times to write and read trials, bytes on disk, and commands on a study of 10,000 trials.

    Exit codes: 0 all targets are met, 1 one is missed, 2 invalid input.
    """
    from lyapopt.cli import bench as command

    return command.store(storage, quick, json)


def main() -> int:
    """The console entry: runs the command line, and returns its exit code."""
    for name in ("stdout", "stderr"):  # a stream that was closed (`>&-`) is None
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until exit)
    return run_reporting_failures(app)


if __name__ == "__main__":
    raise SystemExit(main())
